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

_STEP = 0.05  # τ for x in units of its noise, over the ratio of pixels; σ = 1/(8τ), half that with P
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
        D = Σ x + g − b log(x + g) for background g; else Σ w (x + g − b)²/(2 unit²).
    background
        g (element, y, x), or (element, 1, 1) for the same in every pixel.
    nonnegative
        Whether x ≥ 0.
    guide
        ξ (2, y, x) of `guided_tv`; zeros for the total variation.
    slope, target
        s (element, y, x) and t (y, x) of the HAADF's term; zeros where it says nothing.
    precision
        w (element, y, x), or (element, 1, 1): unit² over the variance of a datum that is no count.
    follow, rise
        β (element, y, x) and ∇G (2, y, x) of `guided_tv`, x being in units of the noise; β of no element: plain.
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
    precision: Array
    follow: Array
    rise: Array
    sampling: Sampling | None = None

    @property
    def sigma(self) -> Array:
        """The standard deviation of values, (element, y, x) or (element, 1, 1)."""
        return np.asarray(self.unit[:, None, None] / np.sqrt(np.maximum(self.precision, 1e-12)), np.float32)


@dataclass(frozen=True)
class Solution:
    """x (element, y, x) of the least objective, what another solve may start from, and how it went.

    ``last`` is the iterate that belongs to ``dual``: with another's x, the method first goes astray.
    """

    x: Array
    dual: Array
    objective: tuple[float, ...]
    n_iter: int
    converged: bool
    last: Array


def uncoupled(shape: tuple[int, ...]) -> dict[str, Any]:
    """The fields of a `FusionProblem` for x (element, y, x) of which no HAADF tells anything."""
    n, ny, nx = shape
    return {
        "guide": np.zeros((2, ny, nx), np.float32),
        "slope": np.zeros((n, ny, nx), np.float32),
        "target": np.zeros((ny, nx), np.float32),
        "follow": np.zeros((0, 1, 1), np.float32),
        "rise": np.zeros((2, 1, 1), np.float32),
    }


def threads_for(shape: tuple[int, ...]) -> int:
    """Threads for the rows of (element, y, x)."""
    return fft_workers() if shape[-1] * shape[-2] >= _THREADED else 1


def objective(problem: FusionProblem, x: Array, lam: float) -> float:
    """The value of the three terms at x; D for counts is taken from its least value, at x + g = b."""
    p, scaled = problem, x / problem.unit[:, None, None]
    seen = x if p.sampling is None else p.sampling(x)
    data, weight = _known(p)

    def fit(start: int, stop: int) -> float:
        return float(_data_value(seen, data, p.unit, p.counts, p.background, weight, start, stop))

    def rest(start: int, stop: int) -> float:
        haadf = _haadf_value(x, p.slope, p.target, start, stop)
        return float(haadf + lam * guided_variation(scaled, p.guide, p.follow, p.rise, start, stop))

    return in_slabs(fit, seen.shape[1], threads_for(seen.shape)) + in_slabs(rest, x.shape[1], threads_for(x.shape))


def _known(problem: FusionProblem) -> tuple[Array, Array]:
    """(data, weights) without NaN: what is unknown weighs nothing."""
    known = np.isfinite(problem.data)
    if known.all():
        return problem.data, problem.precision
    return np.where(known, problem.data, 0).astype(np.float32), np.where(known, problem.precision, 0).astype(np.float32)


def primal_dual(
    problem: FusionProblem, lam: float, start: Solution | Array, *, n_iter: int = 200, tolerance: float = 2e-3
) -> Steps[Solution]:
    """The minimiser, from ``start``; every tenth iterate is shown, and the best of those shown is the result.

    Sources: Chambolle & Pock 2011, doi:10.1007/s10851-010-0251-1; preconditioning by each map's noise: Pock & Chambolle
    2011, doi:10.1109/ICCV.2011.6126441; over-relaxation: Condat 2013, doi:10.1007/s10957-012-0245-9.
    """
    unit, sampling = problem.unit[:, None, None], problem.sampling
    x, first = (start.x, start.last) if isinstance(start, Solution) else (start, start)
    u = (first / unit).astype(np.float32)
    n_element, n_row, n_column = u.shape
    dual = np.zeros((n_element, 2, n_row, n_column), np.float32)
    if isinstance(start, Solution):
        dual += start.dual
    projected = dual - problem.guide * (problem.guide * dual).sum(1, keepdims=True)
    feasible, ahead, pull = u.copy(), u.copy(), np.zeros((n_row, n_column), np.float32)
    data, weight = _known(problem)
    if sampling is None:
        own, trust = data, weight
    else:  # the data have a dual variable of their own
        own, trust = np.zeros(u.shape, np.float32), np.zeros((n_element, 1, 1), np.float32)
    tau = np.float32(_STEP if sampling is None else _STEP / sampling.ratio)
    sigma = 1 / (8 * tau) if sampling is None else 1 / (16 * tau)
    push = None if sampling is None else _data_slope(problem, sampling(x))
    background = problem.background if sampling is None else np.zeros((n_element, 1, 1), np.float32)
    coupled, threads = bool(problem.slope.any()), threads_for(u.shape)

    def primal(first: int, last: int) -> float:
        _primal_step(
            u, feasible, ahead, projected, pull, own, problem.unit, problem.counts, background, trust,
            problem.nonnegative, coupled, problem.slope, problem.target, tau, np.float32(_RELAXATION), first, last,
        )  # fmt: skip
        return 0.0

    def vary(first: int, last: int) -> float:
        dual_step(
            ahead, problem.guide, problem.follow, problem.rise, dual, projected, np.float32(sigma), np.float32(lam),
            np.float32(_RELAXATION), first, last,
        )  # fmt: skip
        return 0.0

    best, now, history = x, first, [objective(problem, x, lam)]
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
                _data_dual(
                    push, sampling(ahead), data, problem.unit, problem.counts, problem.background, weight,
                    np.float32(sampling.ratio**2 / (2 * tau)), np.float32(_RELAXATION),
                )  # fmt: skip
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
    return Solution(best, dual, tuple(history), step, converged, now)


def _data_slope(problem: FusionProblem, seen: Array) -> Array:
    """∂D/∂(P x/unit), which the dual variable of the data is at the minimiser; 0 where nothing is known."""
    unit, z = problem.unit[:, None, None], seen + problem.background
    if problem.counts:
        slope = unit * (1 - problem.data / np.maximum(z, 1e-3 * unit))
    else:
        slope = problem.precision * (z - problem.data) / unit
    return np.asarray(np.nan_to_num(slope), np.float32)


# Loops are over rows of floats, of one type throughout, so that they become SIMD instructions.
_ZERO, _HALF, _ONE, _FOUR = np.float32(0), np.float32(0.5), np.float32(1), np.float32(4)
_NEAR, _TINY = np.float32(1e-4), np.float32(1e-30)
_jit = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)


@_jit
def _row(maps: Any, i: Any, r: Any, out: Any) -> None:
    """out = row r of map i; of maps (element, 1, 1), the number of that element."""
    if maps.shape[2] < len(out):
        number = maps[i, 0, 0]
        for c in range(len(out)):
            out[c] = number
    else:
        row = maps[i, r]
        for c in range(len(out)):
            out[c] = row[c]


@_jit
def _data_prox(
    v: Any, b: Any, step: Any, counts: bool, g: Any, weight: Any, nonnegative: bool, z: Any, rise: Any
) -> None:
    """Rows of z = argmin w D(z, b) + (z − v)²/(2·step) and of dz/dv, in data units."""
    n_column = len(v)
    if counts:
        for c in range(n_column):
            rise[c] = v[c] + g[c] - step * weight[c]
        for c in range(n_column):
            z[c] = np.sqrt(rise[c] * rise[c] + _FOUR * step * weight[c] * b[c])
        for c in range(n_column):
            middle, root = rise[c], z[c]
            z[c] = _HALF * (middle + root) - g[c]
            rise[c] = _HALF + _HALF * middle / max(root, _TINY)
    else:
        for c in range(n_column):
            rise[c] = _ONE / (_ONE + step * weight[c])
        for c in range(n_column):
            z[c] = b[c] - g[c] + rise[c] * (v[c] - b[c] + g[c])
    if nonnegative:
        for c in range(n_column):
            rise[c] = rise[c] if z[c] > _ZERO else _ZERO
        for c in range(n_column):
            z[c] = max(z[c], _ZERO)


@_jit
def _data_dual(
    push: Any, ahead: Any, data: Any, unit: Any, counts: bool, background: Any, precision: Any, sigma: Any, rho: Any
) -> None:
    """q ← q + ρ(prox of D* at q + σPx̄ − q), by Moreau's identity from the proximal map of D."""
    n_element, n_row, n_column = data.shape
    v, z, rise = np.empty(n_column, np.float32), np.empty(n_column, np.float32), np.empty(n_column, np.float32)
    g, w = np.empty(n_column, np.float32), np.empty(n_column, np.float32)
    for i in range(n_element):
        size = unit[i]
        step = size * size / sigma
        for r in range(n_row):
            q, there = push[i, r], ahead[i, r]
            _row(background, i, r, g)
            _row(precision, i, r, w)
            if not counts:
                for c in range(n_column):
                    w[c] /= size * size
            for c in range(n_column):
                v[c] = (q[c] / sigma + there[c]) * size
            _data_prox(v, data[i, r], step, counts, g, w, False, z, rise)
            for c in range(n_column):
                q[c] += rho * (sigma / size * (v[c] - z[c]) - q[c])


@_jit
def _primal_step(
    u: Any, feasible: Any, ahead: Any, projected: Any, pull: Any, data: Any, unit: Any, counts: bool, background: Any,
    precision: Any, nonnegative: bool, coupled: bool, slope: Any, target: Any, tau: Any, relaxation: Any, start: int,
    stop: int,
) -> None:  # fmt: skip
    """Rows of x̃ = prox(x − τKᵀp), x̄ = 2x̃ − x and x ← x + ρ(x̃ − x)."""
    n_element, n_row, n_column = u.shape
    shape = (n_element, n_column)
    v, z = np.empty(shape, np.float32), np.empty(shape, np.float32)
    g, w = np.empty(shape, np.float32), np.empty(shape, np.float32)
    div, value, steep = np.empty(n_column, np.float32), np.empty(n_column, np.float32), np.empty(n_column, np.float32)
    moved, rise = np.empty(n_column, np.float32), np.empty(n_column, np.float32)
    for r in range(start, stop):
        for i in range(n_element):
            _row(background, i, r, g[i])
            _row(precision, i, r, w[i])
            size, weight = unit[i], w[i]
            if not counts:
                per_square = _ONE / (size * size)
                for c in range(n_column):
                    weight[c] *= per_square
            up, down = projected[i, 0, r], projected[i, 0, max(r - 1, 0)]
            keep, drop = _ONE if r < n_row - 1 else _ZERO, _ONE if r > 0 else _ZERO
            for c in range(n_column):  # −∇ᵀ of the projected dual; differences over the last row and column are 0
                div[c] = keep * up[c] - drop * down[c]
            along, to, by = projected[i, 1, r], v[i], u[i, r]
            for c in range(n_column - 1):
                div[c] += along[c]
            for c in range(n_column - 1):
                div[c + 1] -= along[c]
            for c in range(n_column):
                to[c] = (by[c] + tau * div[c]) * size
        q, wanted = pull[r], target[r]
        for _ in range(30 if coupled else 1):
            if coupled:
                for c in range(n_column):
                    value[c] = q[c] + wanted[c]
                for c in range(n_column):
                    steep[c] = _ONE
            for i in range(n_element):
                step = tau * unit[i] * unit[i]
                to, there = v[i], z[i]
                if not coupled:
                    _data_prox(to, data[i, r], step, counts, g[i], w[i], nonnegative, there, rise)
                    continue
                s = slope[i, r]
                for c in range(n_column):
                    moved[c] = to[c] - step * s[c] * q[c]
                _data_prox(moved, data[i, r], step, counts, g[i], w[i], nonnegative, there, rise)
                for c in range(n_column):
                    value[c] -= s[c] * there[c]
                    steep[c] += step * s[c] * s[c] * rise[c]
            if not coupled:
                break
            far = 0
            for c in range(n_column):
                far += 1 if abs(value[c]) > _NEAR * (_ONE + abs(q[c])) else 0
            if far == 0:
                break
            for c in range(n_column):
                q[c] -= value[c] / steep[c]
        for i in range(n_element):
            there, to, by, on, per_unit = z[i], feasible[i, r], u[i, r], ahead[i, r], _ONE / unit[i]
            for c in range(n_column):
                to[c] = there[c] * per_unit
            for c in range(n_column):
                on[c] = to[c] + to[c] - by[c]
            for c in range(n_column):
                by[c] += relaxation * (to[c] - by[c])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _data_value(
    x: Any, data: Any, unit: Any, counts: bool, background: Any, precision: Any, start: int, stop: int
) -> float:
    """Rows of the data term."""
    total, n_column = 0.0, x.shape[2]
    g, w = np.empty(n_column, np.float32), np.empty(n_column, np.float32)
    for i in range(x.shape[0]):
        for r in range(start, stop):
            _row(background, i, r, g)
            _row(precision, i, r, w)
            for c in range(n_column):
                b, z = np.float64(data[i, r, c]), np.float64(x[i, r, c] + g[c])
                if not counts:
                    total += 0.5 * w[c] * ((z - b) / unit[i]) ** 2
                elif b > 0:
                    total += w[c] * (z - b - b * math.log(max(z, 1e-30) / b))
                else:
                    total += w[c] * z
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
