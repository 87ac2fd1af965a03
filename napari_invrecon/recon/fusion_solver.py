"""argmin_{x ≥ 0} Σ_i D(P x_i, b_i) + ½ Σ (t − Σ_i s_i x_i)² + λ TV_ξ(x/unit), by a primal-dual method.

Where the maps have x's pixels, P = 1, the data term and the HAADF's have one proximal map together: the HAADF ties the
elements of a pixel by one number, the root of a monotone function, which Newton's steps find. So only the variation is
left to the dual. Maps on coarser pixels (P of `sampling`) have a dual variable of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from napari_invrecon.recon.guided_tv import dual_step, guided_variation
from napari_invrecon.recon.operators import Array, fft_workers, in_slabs
from napari_invrecon.recon.sampling import Sampling
from napari_invrecon.recon.solvers import Iterate, Steps

_STEP = 1.0  # τ for x in units of its noise, over the ratio of pixels; σ = 1/(8τ), half that with P
_RELAXATION = 1.8
_CHECK_EVERY = 10
_THREADED = 1 << 15  # pixels: below, handing rows out to threads costs more than it saves


@dataclass(frozen=True)
class FusionProblem:
    """What is solved for, all but λ.

    Attributes
    ----------
    data
        b (element, y, x); NaN where nothing is known.
    unit
        (element,): the typical noise of each map, 1/w_i. x/unit is what the solver's steps are for.
    counts
        D = Σ x + g − b log(x + g) for background g; else Σ (x + g − b)²/(2 unit²).
    background
        g (element,), the same in every pixel.
    nonnegative
        Whether x ≥ 0.
    guide
        ξ (2, y, x) of `guided_tv`; zeros for the total variation.
    slope, target
        s (element, y, x) and t (y, x) of the HAADF's term; zeros where it says nothing.
    sampling
        P, from the pixels of x, the guide, s and t to those of the data; None where they are the same.
    """

    data: Array
    unit: Array
    counts: bool
    background: Array
    nonnegative: bool
    guide: Array
    slope: Array
    target: Array
    sampling: Sampling | None = None


@dataclass(frozen=True)
class Solution:
    """x (element, y, x), what another solve may start from, and how it went."""

    x: Array
    dual: Array
    objective: tuple[float, ...]
    n_iter: int
    converged: bool


def threads_for(shape: tuple[int, ...]) -> int:
    """Threads for the rows of (element, y, x)."""
    return fft_workers() if shape[-1] * shape[-2] >= _THREADED else 1


def objective(problem: FusionProblem, x: Array, lam: float) -> float:
    """The value of the three terms at x; D for counts is taken from its least value, at x + g = b."""
    p, scaled = problem, x / problem.unit[:, None, None]
    seen = x if p.sampling is None else p.sampling(x)

    def fit(start: int, stop: int) -> float:
        return float(_data_value(seen, p.data, p.unit, p.counts, p.background, start, stop))

    def rest(start: int, stop: int) -> float:
        haadf = _haadf_value(x, p.slope, p.target, start, stop)
        return float(haadf + lam * guided_variation(scaled, p.guide, start, stop))

    return in_slabs(fit, seen.shape[1], threads_for(seen.shape)) + in_slabs(rest, x.shape[1], threads_for(x.shape))


def primal_dual(
    problem: FusionProblem, lam: float, start: Solution | Array, *, n_iter: int = 200, tolerance: float = 2e-3
) -> Steps[Solution]:
    """The minimiser, from ``start``; every tenth iterate is shown, and the best of those shown is the result.

    Sources: Chambolle & Pock 2011, doi:10.1007/s10851-010-0251-1; preconditioning by each map's noise: Pock & Chambolle
    2011, doi:10.1109/ICCV.2011.6126441; over-relaxation: Condat 2013, doi:10.1007/s10957-012-0245-9.
    """
    unit, sampling = problem.unit[:, None, None], problem.sampling
    x = start.x if isinstance(start, Solution) else start
    u = (x / unit).astype(np.float32)
    n_element, n_row, n_column = u.shape
    dual = np.zeros((n_element, 2, n_row, n_column), np.float32)
    if isinstance(start, Solution):
        dual += start.dual
    projected = dual - problem.guide * (problem.guide * dual).sum(1, keepdims=True)
    feasible, ahead, pull = u.copy(), u.copy(), np.zeros((n_row, n_column), np.float32)
    data = problem.data if sampling is None else np.full(u.shape, np.nan, np.float32)
    tau = np.float32(_STEP if sampling is None else _STEP / sampling.ratio)
    sigma = 1 / (8 * tau) if sampling is None else 1 / (16 * tau)
    push = None if sampling is None else _data_slope(problem, sampling(x))
    coupled, threads = bool(problem.slope.any()), threads_for(u.shape)

    def primal(first: int, last: int) -> float:
        _primal_step(
            u, feasible, ahead, projected, pull, data, problem.unit, problem.counts, problem.background,
            problem.nonnegative, coupled, problem.slope, problem.target, tau, np.float32(_RELAXATION), first, last,
        )  # fmt: skip
        return 0.0

    def vary(first: int, last: int) -> float:
        dual_step(ahead, problem.guide, dual, projected, sigma, np.float32(lam), np.float32(_RELAXATION), first, last)
        return 0.0

    best, history = x, [objective(problem, x, lam)]
    before, step, converged = u.copy(), 0, False
    while step < n_iter and not converged:
        for _ in range(min(_CHECK_EVERY, n_iter - step)):
            if sampling is None or push is None:
                in_slabs(primal, n_row, threads)
            else:  # the step is taken from u − τPᵀq in place of u
                pushed = tau * sampling.adjoint(push)
                u -= pushed
                in_slabs(primal, n_row, threads)
                ahead -= pushed
                u += np.float32(1 - _RELAXATION) * (pushed)
                _data_dual(push, sampling(ahead), problem, np.float32(sampling.ratio**2 / (2 * tau)))
            in_slabs(vary, n_row, threads)
            step += 1
        value = objective(problem, now := feasible * unit, lam)
        if value <= history[-1]:
            best = now
        history.append(min(value, history[-1]))
        change = float(np.linalg.norm((feasible - before).ravel()))
        converged = change <= tolerance * float(np.linalg.norm(feasible.ravel()))
        before[...] = feasible
        if (yield Iterate(step, n_iter, best, history[-1])):
            break
    return Solution(best, dual, tuple(history), step, converged)


def _data_slope(problem: FusionProblem, seen: Array) -> Array:
    """∂D/∂(P x/unit), which the dual variable of the data is at the minimiser; 0 where nothing is known."""
    unit = problem.unit[:, None, None]
    z = seen + problem.background[:, None, None]
    slope = unit * (1 - problem.data / np.maximum(z, 1e-3 * unit)) if problem.counts else (z - problem.data) / unit
    return np.asarray(np.nan_to_num(slope), np.float32)


def _data_dual(push: Array, ahead: Array, problem: FusionProblem, sigma: np.float32) -> None:
    """q ← q + ρ(prox of D* at q + σPx̄ − q), by Moreau's identity from the proximal map of D."""
    for q, p, b, unit, background in zip(push, ahead, problem.data, problem.unit, problem.background, strict=True):
        _dual_rows(q, p, b, unit, problem.counts, background, sigma, np.float32(_RELAXATION))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _dual_rows(q: Any, ahead: Any, b: Any, unit: Any, counts: bool, background: Any, sigma: Any, rho: Any) -> None:
    for r in range(q.shape[0]):
        for c in range(q.shape[1]):
            v = q[r, c] + sigma * ahead[r, c]
            z, _ = _data_prox(v / sigma * unit, b[r, c], unit, counts, background, False, 1 / sigma)
            q[r, c] += rho * (v - sigma * z / unit - q[r, c])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _data_prox(v: Any, b: Any, unit: Any, counts: bool, background: Any, nonnegative: bool, tau: Any) -> Any:
    """(argmin_z D(z, b) + (z − v)²/(2τ·unit²), its derivative by v), in data units; a NaN b weighs nothing."""
    if b != b:
        z, slope = v, np.float32(1)
    elif counts:
        step = tau * unit * unit
        c = v + background - step
        root = np.sqrt(c * c + 4 * step * b)
        z = np.float32(0.5) * (c + root) - background
        slope = np.float32(0.5) * (1 + c / root) if root > 0 else np.float32(0)
    else:
        slope = 1 / (1 + tau)
        z = slope * (v + tau * (b - background))
    if nonnegative and z < 0:
        return np.float32(0), np.float32(0)
    return z, slope


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _primal_step(
    u: Any, feasible: Any, ahead: Any, projected: Any, pull: Any, data: Any, unit: Any, counts: bool, background: Any,
    nonnegative: bool, coupled: bool, slope: Any, target: Any, tau: Any, relaxation: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Rows of x̃ = prox(x − τKᵀp), x̄ = 2x̃ − x and x ← x + ρ(x̃ − x)."""
    n_element, _, n_column = u.shape
    v, z = np.empty(n_element, np.float32), np.empty(n_element, np.float32)
    for r in range(start, stop):
        for c in range(n_column):
            for i in range(n_element):
                div = np.float32(0)  # −∇ᵀ of the projected dual; differences over the last row and column are 0
                if r < u.shape[1] - 1:
                    div += projected[i, 0, r, c]
                if r > 0:
                    div -= projected[i, 0, r - 1, c]
                if c < n_column - 1:
                    div += projected[i, 1, r, c]
                if c > 0:
                    div -= projected[i, 1, r, c - 1]
                v[i] = (u[i, r, c] + tau * div) * unit[i]
            q = pull[r, c]
            for _ in range(30 if coupled else 1):
                value, rise = q + target[r, c], np.float32(1)
                for i in range(n_element):
                    reach = tau * unit[i] * unit[i] * slope[i, r, c]
                    z[i], gain = _data_prox(
                        v[i] - reach * q, data[i, r, c], unit[i], counts, background[i], nonnegative, tau
                    )
                    value -= slope[i, r, c] * z[i]
                    rise += slope[i, r, c] * reach * gain
                if not coupled or abs(value) <= np.float32(1e-4) * (1 + abs(q)):
                    break
                q -= value / rise
            pull[r, c] = q
            for i in range(n_element):
                new = z[i] / unit[i]
                ahead[i, r, c] = 2 * new - u[i, r, c]
                u[i, r, c] += relaxation * (new - u[i, r, c])
                feasible[i, r, c] = new


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _data_value(x: Any, data: Any, unit: Any, counts: bool, background: Any, start: int, stop: int) -> float:
    """Rows of the data term."""
    total = 0.0
    for i in range(x.shape[0]):
        for r in range(start, stop):
            for c in range(x.shape[2]):
                b, z = np.float64(data[i, r, c]), np.float64(x[i, r, c] + background[i])
                if b != b:
                    continue
                if not counts:
                    total += 0.5 * ((z - b) / unit[i]) ** 2
                elif b > 0:
                    total += z - b - b * math.log(max(z, 1e-30) / b)
                else:
                    total += z
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _haadf_value(x: Any, slope: Any, target: Any, start: int, stop: int) -> float:
    """Rows of the HAADF's term."""
    total = 0.0
    for r in range(start, stop):
        for c in range(x.shape[2]):
            off = np.float64(target[r, c])
            for i in range(x.shape[0]):
                off -= slope[i, r, c] * x[i, r, c]
            total += 0.5 * off * off
    return total
