"""argmin: solvers for D(Hx, y) + λR(x).

An iterative solver is a generator of `Iterate`; who calls it owns the loop, and may stop at any yield.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_invrecon.recon.fidelities import Fidelity
from napari_invrecon.recon.gradients import counted, gradient, gradient_adjoint
from napari_invrecon.recon.operators import Array, LinearOperator, forward_fft, gradient_power, inverse_fft

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
    return inverse_fft(transform, y.shape[-ndim:])


@dataclass(frozen=True)
class Window:
    """A data term that sees the periodic field through a window, D(Hx[view]); beyond it x is free.

    The PSF brings in what lies as far beyond the window as its view starts in the field. Differences farther out do
    not count in R (`gradients.counted`): the two sides of the field do not know of each other.
    """

    fidelity: Fidelity
    view: tuple[slice, ...]

    @property
    def ends(self) -> tuple[int, ...]:
        """The pixels after the last that count, on every axis."""
        return tuple(part.stop + part.start for part in self.view)


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
        Stops when ‖x − x_before‖ / ‖x‖ is below it, in the window: beyond it x is still settling when nobody looks.
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
    x = start.astype(np.float32)
    rho = np.float32(_STIFFNESS * lam)
    power = np.square(otf.real) + np.square(otf.imag)
    view = data.view if isinstance(data, Window) else tuple(slice(None) for _ in shape)
    ends = data.ends if isinstance(data, Window) else tuple(n + 1 for n in shape)
    pull_prior = _prior_copy(regulariser, x, ends, threads)
    pull_sign = _sign_copy(x) if nonnegative else None
    weight = rho * (gradient_power(shape) if regulariser.on == "gradient" else np.float32(1))
    if nonnegative:
        weight = weight + rho
    blurred = inverse_fft(forward_fft(x, ndim) * otf, shape)
    if isinstance(data, Window):
        pull_data = _data_copy(data, blurred)
        weight = weight + _DATA_STIFFNESS * power
        back = _DATA_STIFFNESS * otf.conj()
    else:
        constant = 2 * otf.conj() * forward_fft(data, ndim)
        weight = weight + 2 * power
    with np.errstate(divide="ignore"):
        inverse = np.where(weight > 0, 1 / weight, 0).astype(np.float32)

    for step in range(1, n_steps + 1):
        pulled, value = pull_prior(x)
        if pull_sign is not None:
            pulled = pulled + pull_sign(x)
        transform = forward_fft(pulled, ndim)
        transform *= rho
        transform += back * forward_fft(pull_data(blurred), ndim) if isinstance(data, Window) else constant
        transform *= inverse
        misfit = data.fidelity.value(blurred[data.view]) if isinstance(data, Window) else _squares(blurred - data)
        before, x = x, inverse_fft(transform.copy(), shape)
        blurred = inverse_fft(transform * otf, shape)
        change = np.sqrt(_squares((x - before)[view]) / max(_squares(x[view]), 1e-30))
        asked = yield Iterate(step, n_steps, x, misfit + lam * value, misfit)
        if asked or change < tolerance:
            break
    return np.maximum(x, 0) if nonnegative else x


_STIFFNESS = 10.0  # ρ of the prior's copy in units of λ: measured on phantoms, 15 to 30 iterations to 1 % of the limit
_DATA_STIFFNESS = np.float32(0.5)  # ρ of the data's copy, whose term has curvature 2
_RELAXATION = np.float32(1.8)


def _prior_copy(
    regulariser: Regulariser, x: Array, ends: tuple[int, ...], threads: int
) -> Callable[[Array], tuple[Array, float]]:
    """x ↦ (Kᵀq, R): one over-relaxed step of the copy of Kx, with the prox of R/stiffness."""
    step = 1 / _STIFFNESS
    on_gradient = regulariser.on == "gradient"
    state = gradient(x) if on_gradient else x.copy()
    if regulariser.fused is not None:
        fused, pulled = regulariser.fused, np.empty_like(x)

        def pull_fused(x: Array) -> tuple[Array, float]:
            return pulled, fused(x, state, pulled, step, float(_RELAXATION), ends, threads)

        return pull_fused
    counts = counted(x.shape, ends)

    def shrunk(state: Array) -> Array:
        copy = regulariser.prox(state, step)
        return np.where(counts, copy, state) if on_gradient else copy

    copy = shrunk(state)

    def pull(x: Array) -> tuple[Array, float]:
        nonlocal state, copy
        state = state + _RELAXATION * ((gradient(x) if on_gradient else x) - copy)
        copy = shrunk(state)
        value = float(np.vdot(copy, state - copy)) / (regulariser.degree * step) if regulariser.degree else math.nan
        q = 2 * copy - state
        return (gradient_adjoint(q) if on_gradient else q), value

    return pull


def _sign_copy(x: Array) -> Callable[[Array], Array]:
    """x ↦ q of the copy that must not be negative."""
    state = x.copy()

    def pull(x: Array) -> Array:
        nonlocal state
        state = state + _RELAXATION * (x - np.maximum(state, 0))
        return np.abs(state)

    return pull


def _data_copy(data: Window, blurred: Array) -> Callable[[Array], Array]:
    """Hx ↦ q of the copy of Hx that the data pull; beyond the window it is Hx itself."""
    state = blurred.copy()
    step = float(1 / _DATA_STIFFNESS)

    def fitted(v: Array) -> Array:
        copy = v.copy()
        copy[data.view] = data.fidelity.prox(v[data.view], step)
        return copy

    copy = fitted(state)

    def pull(blurred: Array) -> Array:
        nonlocal state, copy
        state = state + _RELAXATION * (blurred - copy)
        copy = fitted(state)
        return 2 * copy - state

    return pull


def _squares(x: Array) -> float:
    return float(np.sum(np.square(x), dtype=np.float64))


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

    ``regulariser`` acts on x and with ``nonnegative`` is separable (l1, l2); ``curvature`` bounds the second
    derivative of D (2 for `least_squares`); ‖H‖ ≤ 1 is assumed.

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
    on_gradient = regulariser.on == "gradient"
    size = 1 + (4 * start.ndim if on_gradient else 1)
    tau = np.float32(0.99 / size**0.5 * _PRIMAL_SHARE)
    sigma = np.float32(0.99 / size**0.5 / _PRIMAL_SHARE)
    x = start.astype(np.float32)
    extrapolated = x
    p = np.zeros(H.range_shape, np.float32)
    q = np.zeros((start.ndim, *x.shape) if on_gradient else x.shape, np.float32)
    for count in range(1, n_steps + 1):
        p = p + sigma * H(extrapolated)
        p = p - sigma * fidelity.prox(p / sigma, float(1 / sigma))
        q = q + sigma * (gradient(extrapolated) if on_gradient else extrapolated)
        q = q - sigma * regulariser.prox(q / sigma, float(lam / sigma))
        new = (x - tau * (H.T(p) + (gradient_adjoint(q) if on_gradient else q))).astype(np.float32)
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
