"""argmin: solvers for D(Hx, y) + λR(x).

An iterative solver is a generator of `Iterate`; who calls it owns the loop, and may stop at any yield.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numba
import numpy as np

from napari_invrecon.recon.fidelities import Fidelity
from napari_invrecon.recon.operators import Array, LinearOperator, forward_fft, in_slabs, inverse_fft

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.regularisers import Regulariser


@dataclass(frozen=True)
class Iterate:
    """Where a reconstruction stands.

    Attributes
    ----------
    step, n_steps
        Steps done, and the most that there will be.
    x
        The estimate so far in the scaled units of the solver, or None while there is none.
    objective, residual
        The value of D + λR, and ‖Hx − y‖ relative to what the noise explains (1 = fits to the noise); NaN if unknown.
    stage
        What is being done, in words.
    """

    step: int
    n_steps: int
    x: Any = None
    objective: float = float("nan")
    residual: float = float("nan")
    stage: str = ""


Result = TypeVar("Result")
Steps = Generator[Iterate, bool | None, Result]
"""A running reconstruction: yields iterates, returns its result; ``send(True)`` asks it to finish with what it has."""


def finish(steps: Steps[Result]) -> Result:
    """Run to the end and give the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def finish_at(steps: Steps[Result], last: int | None) -> Steps[Result]:
    """The same, asked to finish at iteration ``last``, as a recorded run was; None: to its end."""
    asked: bool | None = None
    while True:
        try:
            state = steps.send(asked)
        except StopIteration as end:
            result: Result = end.value
            return result
        asked = (yield state) or (last is not None and state.step >= last)


def spectral(y: NDArray[Any], otf: NDArray[Any], penalty: Array, lam: float) -> NDArray[Any]:
    """argmin ‖Hx − y‖² + λ‖Lx‖² in closed form: x = F⁻¹[ H̄ / (|H|² + λ|L|²) · Y ].

    ``y`` fills the periodic field over the last axes (leading axes are independent); ``otf`` is H and ``penalty`` |L|²
    on its ``rfftn`` grid. Frequencies that neither H nor L sees are returned as zero.

    Source: Tikhonov & Arsenin, Solutions of Ill-Posed Problems, 1977.
    """
    ndim = penalty.ndim
    weight = np.square(otf.real) + np.square(otf.imag)
    weight += np.float32(lam) * penalty
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = otf.conj() / weight
    gain[weight == 0] = 0
    transform = forward_fft(y, ndim)
    transform *= gain
    return inverse_fft(transform, y.shape[-ndim:], overwrite=True)


@dataclass(frozen=True)
class Window:
    """A data term that sees the periodic field through a window, D(Hx[view]); beyond it x is free.

    The PSF brings in what lies as far beyond the window as its view starts in the field. Differences farther out do
    not count in R (`gradients.counted`): the two sides of the field do not know of each other. Where the view is the
    whole of a period they do.
    """

    fidelity: Fidelity
    view: tuple[slice, ...]

    def ends(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The pixels after the last that count, on every axis of a field of this shape; n + 1: all of them."""
        return tuple(
            n + 1 if part.stop - part.start == n else part.stop + part.start
            for n, part in zip(shape, self.view, strict=True)
        )


def admm(
    data: Array | Window,
    otf: NDArray[np.complex64],
    regulariser: Regulariser,
    lam: float,
    start: Array,
    *,
    nonnegative: bool = False,
    n_steps: int = 200,
    tolerance: float = 1e-3,
    threads: int = 1,
) -> Steps[Array]:
    """argmin D(Hx) + λR(x), x ≥ 0 on request, by the alternating direction method of multipliers, over-relaxed.

    Hx (seen through a window), Kx of the regulariser and x of the constraint each get a copy, pulled to it with a
    weight ρ. The x-update (Σ ρ KᵀK) x = Σ ρ Kᵀq is exact: one division in Fourier space.

    Parameters
    ----------
    data
        The whole periodic field y, for ‖Hx − y‖² (it needs no copy), or a `Window`.
    otf
        H on the ``rfftn`` grid of the field.
    regulariser, lam
        R and λ, for data scaled to a range of about one.
    start
        The first x, shape of the field; not changed.
    nonnegative
        Whether x ≥ 0 is required.
    n_steps
        At most.
    tolerance
        Stops when ‖x − x_before‖ / ‖x − mean x‖ is below it, in the window: beyond it x settles when nobody looks.
    threads
        For the kernels of a step.

    Yields
    ------
    Iterate
        ``x`` is new; ``objective`` and ``residual``, D(Hx), are those of the x before and of the copy of its Kx, whose
        terms the step computes.

    Source: Boyd et al. 2011, doi:10.1561/2200000016; over-relaxation: Eckstein & Bertsekas 1992,
    doi:10.1007/BF01581204; data through a window: Almeida & Figueiredo 2013, doi:10.1109/TIP.2013.2258354.
    """
    shape, ndim = start.shape, start.ndim
    x = np.array(start, np.float32, order="C")
    rho = np.float32(regulariser.stiffness * lam)
    window = data if isinstance(data, Window) else None
    view = window.view if window else tuple(slice(0, n) for n in shape)
    ends = window.ends(shape) if window else tuple(n + 1 for n in shape)
    pull_prior = _prior_copy(regulariser, x, ends, threads)
    pull_sign = _sign_copy(x, threads) if nonnegative else None
    stiffness = _DATA_STIFFNESS if window else np.float32(2)
    inverse = np.square(otf.real) + np.square(otf.imag)
    inverse *= stiffness
    inverse += rho * (regulariser.K.power(shape) + np.float32(nonnegative))
    np.divide(1, inverse, out=inverse, where=inverse > 0)
    transform = forward_fft(x, ndim)
    if isinstance(data, Window):
        blurred = inverse_fft(transform * otf, shape, overwrite=True)
        pull_data = _data_copy(data, blurred, threads)
    else:
        measured = forward_fft(data, ndim)
        misfit = _spectral_misfit(transform, otf, measured, shape)

    for step in range(1, n_steps + 1):
        pulled, value = pull_prior(x)
        if pull_sign is not None:
            pull_sign(x, pulled)
        transform = forward_fft(pulled, ndim)
        if window:
            misfit = pull_data(blurred)
            measured = forward_fft(blurred, ndim)
        _update(transform, measured, otf, inverse, rho, stiffness, threads)
        following = misfit
        if window:
            np.multiply(transform, otf, out=measured)
        else:
            following = _spectral_misfit(transform, otf, measured, shape)
        before, x = x, inverse_fft(transform, shape, overwrite=True)
        change = relative_change(x, before, view, threads)
        asked = yield Iterate(step, n_steps, x, misfit + lam * value, misfit)
        if asked or change < tolerance:
            break
        misfit = following
        if window:
            blurred = inverse_fft(measured, shape, overwrite=True)
    return np.maximum(x, 0) if nonnegative else x


_DATA_STIFFNESS = np.float32(0.25)  # ρ of the data's copy, whose term has curvature 2: measured on phantoms
_RELAXATION = np.float32(1.8)
_LEAST_SPREAD = 1e-3  # of x: what varies less is as good as constant


def _prior_copy(
    regulariser: Regulariser, x: Array, ends: tuple[int, ...], threads: int
) -> Callable[[Array], tuple[Array, float]]:
    """x ↦ (Kᵀq, R): one over-relaxed step of the copy of Kx, with the prox of R/stiffness."""
    step, K = 1 / regulariser.stiffness, regulariser.K
    state = K.forward(x.copy())
    if regulariser.fused is not None:
        fused, pulled = regulariser.fused, np.empty_like(x)

        def pull_fused(x: Array) -> tuple[Array, float]:
            return pulled, fused(x, state, pulled, step, float(_RELAXATION), ends, threads)

        return pull_fused
    counts = K.counted(x.shape, ends)

    def shrunk(state: Array) -> Array:
        return np.where(counts, regulariser.prox(state, step), state)

    copy = shrunk(state)

    def pull(x: Array) -> tuple[Array, float]:
        nonlocal state, copy
        state = state + _RELAXATION * (K.forward(x) - copy)
        copy = shrunk(state)
        value = float(np.vdot(copy, state - copy)) / (regulariser.degree * step) if regulariser.degree else math.nan
        return K.adjoint(2 * copy - state), value

    return pull


def _sign_copy(x: Array, threads: int) -> Callable[[Array, Array], float]:
    """(x, pulled) ↦ 0; adds q of the copy that must not be negative to ``pulled``."""
    state = x.copy()

    def pull(x: Array, pulled: Array) -> float:
        arrays = (x.ravel(), state.ravel(), pulled.ravel())
        return in_slabs(lambda start, stop: _sign_step(*arrays, _RELAXATION, start, stop), x.size, threads)

    return pull


def _data_copy(data: Window, blurred: Array, threads: int) -> Callable[[Array], float]:
    """Hx ↦ D; Hx becomes q of the copy of Hx that the data pull; beyond the window it is Hx itself."""
    state = blurred.copy()
    step = float(1 / _DATA_STIFFNESS)

    def pull(blurred: Array) -> float:
        return data.fidelity.fused(blurred, state, data.view, step, float(_RELAXATION), threads)

    return pull


def _squares(x: Array) -> float:
    return float(np.sum(np.square(x), dtype=np.float64))


def _spectral_misfit(
    transform: NDArray[np.complex64],
    otf: NDArray[np.complex64],
    measured: NDArray[np.complex64],
    shape: tuple[int, ...],
) -> float:
    """‖Hx − y‖² from the transforms of x and y (Parseval)."""
    rows = [each.reshape(-1, each.shape[-1]) for each in (transform, otf, measured)]
    return float(_half_squares(*rows, shape[-1] % 2 == 0)) / math.prod(shape)


def _update(
    transform: NDArray[np.complex64],
    measured: NDArray[np.complex64],
    otf: NDArray[np.complex64],
    inverse: Array,
    rho: np.float32,
    stiffness: np.float32,
    threads: int,
) -> None:
    """X ← (ρ X + stiffness H̄ Y) · inverse, in place."""
    rows = [each.reshape(-1, each.shape[-1]) for each in (transform, measured, otf, inverse)]
    in_slabs(lambda start, stop: _update_rows(*rows, rho, stiffness, start, stop), len(rows[0]), threads)


def relative_change(x: Array, before: Array, view: tuple[slice, ...], threads: int = 1) -> float:
    """‖x − before‖ / ‖x − mean x‖ in the view; x has a range of about one."""
    part, earlier = (each[view].reshape(-1, view[-1].stop - view[-1].start) for each in (x, before))
    sums = np.empty((len(part), 3))
    pivot = part[0, 0]  # squares about it do not cancel
    in_slabs(lambda start, stop: _change_rows(part, earlier, pivot, sums, start, stop), len(part), threads)
    moved, above, squares = sums.sum(axis=0)
    size = max(squares - above**2 / part.size, _LEAST_SPREAD**2 * part.size)
    return float(np.sqrt(moved / size))


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _update_rows(
    transform: Any, measured: Any, otf: Any, inverse: Any, rho: Any, stiffness: Any, start: int, stop: int
) -> float:
    for row in range(start, stop):
        t, y, h, g = transform[row], measured[row], otf[row], inverse[row]
        for k in range(g.size):
            c = np.uintp(k)
            real = rho * t[c].real + stiffness * (h[c].real * y[c].real + h[c].imag * y[c].imag)
            imag = rho * t[c].imag + stiffness * (h[c].real * y[c].imag - h[c].imag * y[c].real)
            t[c] = complex(g[c] * real, g[c] * imag)
    return 0.0


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _half_squares(transform: Any, otf: Any, measured: Any, even: bool) -> float:
    """Σ |HX − Y|² over the whole spectrum, of which a real transform stores half."""
    total, last = 0.0, transform.shape[1] - 1
    for row in range(len(transform)):
        t, h, y = transform[row], otf[row], measured[row]
        squares, edge = np.float32(0), np.float32(0)
        for k in range(last + 1):
            c = np.uintp(k)
            real = h[c].real * t[c].real - h[c].imag * t[c].imag - y[c].real
            imag = h[c].real * t[c].imag + h[c].imag * t[c].real - y[c].imag
            square = real * real + imag * imag
            squares += square
            if k == 0 or (even and k == last):
                edge += square
        total += float(2 * squares - edge)
    return total


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _change_rows(x: Any, before: Any, pivot: Any, sums: Any, start: int, stop: int) -> float:
    for row in range(start, stop):
        one, two = x[row], before[row]
        moved, above, squares = np.float32(0), np.float32(0), np.float32(0)
        for k in range(one.size):
            c = np.uintp(k)
            moved += (one[c] - two[c]) ** 2
            above += one[c] - pivot
            squares += (one[c] - pivot) ** 2
        sums[row, 0], sums[row, 1], sums[row, 2] = moved, above, squares
    return 0.0


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _sign_step(x: Any, state: Any, pulled: Any, alpha: Any, start: int, stop: int) -> float:
    for k in range(start, stop):
        c = np.uintp(k)
        state[c] += alpha * (x[c] - max(state[c], np.float32(0)))
        pulled[c] += abs(state[c])
    return 0.0


def fista(
    H: LinearOperator,
    fidelity: Fidelity,
    regulariser: Regulariser,
    lam: float,
    start: Array,
    *,
    curvature: float,
    nonnegative: bool = False,
    n_steps: int = 500,
    tolerance: float = 1e-5,
) -> Steps[Array]:
    """argmin D(Hx) + λR(x) by accelerated proximal gradient steps, restarted when the momentum turns uphill.

    ``regulariser`` acts on x itself (K = 1) and with ``nonnegative`` is separable (l1, l2); ``curvature`` bounds the
    second derivative of D (2 for `least_squares`); ‖H‖ ≤ 1 is assumed.

    Source: Beck & Teboulle 2009, doi:10.1137/080716542; restart: O'Donoghue & Candès 2015,
    doi:10.1007/s10208-013-9150-3.
    """
    step = 1 / curvature
    x = start.astype(np.float32)
    ahead, t = x, 1.0
    for count in range(1, n_steps + 1):
        descended = ahead - np.float32(step) * H.T(fidelity.gradient(H(ahead)))
        new = regulariser.prox(descended, step * lam)
        if nonnegative:
            new = np.maximum(new, 0)
        if np.vdot(ahead - new, new - x) > 0:
            t = 1.0
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead = (new + np.float32((t - 1) / t_next) * (new - x)).astype(np.float32)
        change = np.sqrt(_squares(new - x) / max(_squares(new), 1e-30))
        x, t = new, t_next
        misfit = fidelity.value(H(x))
        asked = yield Iterate(count, n_steps, x, misfit + lam * regulariser.value(x), misfit)
        if asked or change < tolerance:
            break
    return x


def primal_dual(
    H: LinearOperator,
    fidelity: Fidelity,
    regulariser: Regulariser,
    lam: float,
    start: Array,
    *,
    nonnegative: bool = False,
    n_steps: int = 1000,
    tolerance: float = 1e-5,
) -> Steps[Array]:
    """argmin D(Hx) + λR(x), x ≥ 0 on request, for any H with ‖H‖ ≤ 1, without an inner solve.

    Dual variables p of Hx and q of Kx ascend, x descends; steps στ (‖H‖² + ‖K‖²) < 1.

    Source: Chambolle & Pock 2011, doi:10.1007/s10851-010-0251-1.
    """
    K = regulariser.K
    size = 1 + float(K.power(start.shape).max())
    tau = np.float32(0.99 / size**0.5 * _PRIMAL_SHARE)
    sigma = np.float32(0.99 / size**0.5 / _PRIMAL_SHARE)
    x = start.astype(np.float32)
    extrapolated = x
    p = np.zeros(H.range_shape, np.float32)
    q = np.zeros_like(K.forward(x))
    for count in range(1, n_steps + 1):
        p = p + sigma * H(extrapolated)
        p = p - sigma * fidelity.prox(p / sigma, float(1 / sigma))
        q = q + sigma * K.forward(extrapolated)
        q = q - sigma * regulariser.prox(q / sigma, float(lam / sigma))
        new = (x - tau * (H.T(p) + K.adjoint(q))).astype(np.float32)
        if nonnegative:
            new = np.maximum(new, 0)
        extrapolated = 2 * new - x
        change = np.sqrt(_squares(new - x) / max(_squares(new), 1e-30))
        x = new
        misfit = fidelity.value(H(x))
        asked = yield Iterate(count, n_steps, x, misfit + lam * regulariser.value(x), misfit)
        if asked or change < tolerance:
            break
    return x


_PRIMAL_SHARE = 2.0  # √(τ/σ): an image's range is larger than that of the duals, λ and 2σ
