"""ℓ1 and Tikhonov: ‖Ax − y‖² + λR(x) by accelerated proximal gradient steps, in the slices-innermost layout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_invrecon.recon.solvers import Iterate, Steps
from napari_invrecon.recon.tilt_problem import squares

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array
    from napari_invrecon.recon.tilt_problem import TiltProblem


def accelerated(
    problem: TiltProblem, data: Array, lam: float, weights: Array | None, x: Array, threads: int
) -> Steps[Array]:
    """min_x Σ w (Ax − y)² + λR(x), x ≥ 0 on request; R = Σ|x| ("l1") or ‖∇x‖² ("tikhonov").

    x ← prox at x̄ − Aᵀw(Ax̄ − y)/L with momentum in x̄, which restarts when it turns uphill. ‖∇x‖² belongs to the
    smooth part: L = max w + λ‖∇‖².

    Source: Beck & Teboulle 2009, doi:10.1137/080716542; restart: O'Donoghue & Candès 2015,
    doi:10.1007/s10208-013-9150-3.
    """
    smooth = problem.algorithm == "tikhonov"
    curvature = (1.0 if weights is None else float(weights.max())) + (4 * x.ndim * lam if smooth else 0)
    shrinkage = np.float32(0 if smooth else lam / (2 * curvature))
    ahead, slope, before, t = x.copy(), np.empty_like(x), np.empty_like(x), 1.0
    projected, of_x = problem.predict(x, threads), np.empty_like(data)
    of_x[:] = projected
    of_ahead = projected.copy()
    for step in range(1, problem.n_iter + 1):
        of_ahead -= data
        if weights is not None:
            of_ahead *= weights
        problem.back(of_ahead, threads, slope)
        if smooth:
            slope += np.float32(lam) * _curving(ahead)
        slope *= np.float32(-1 / curvature)
        slope += ahead
        if problem.nonnegative:
            slope -= shrinkage
            np.maximum(slope, 0, out=slope)
        else:
            slope -= np.clip(slope, -shrinkage, shrinkage)
        before[:], x[:] = x, slope
        slope -= before
        moved = squares(slope)
        if float(np.vdot(ahead - x, slope)) > 0:
            t = 1.0
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        momentum = np.float32((t - 1) / t_next)
        t = t_next
        np.multiply(slope, momentum, out=ahead)
        ahead += x
        problem.predict(x, threads, projected)
        np.subtract(projected, of_x, out=of_ahead)
        of_ahead *= momentum
        of_ahead += projected
        of_x[:] = projected
        projected -= data
        misfit = problem.misfit(projected, weights)
        penalty = float(np.vdot(x, _curving(x))) if smooth else float(np.sum(np.abs(x), dtype=np.float64))
        residual = problem.over_noise(misfit, weights, data.size)
        reason = problem.why_last(step, math.sqrt(moved / max(squares(x), 1e-30)))
        if (yield Iterate(step, problem.n_iter, x, misfit + lam * penalty, residual, reason)) or reason:
            break
    return x


def _curving(x: Array) -> Array:
    """∇ᵀ∇x, of forward differences that are zero at the end of each axis."""
    total = np.zeros_like(x)
    for axis in range(x.ndim):
        difference = np.diff(x, axis=axis)
        first = tuple(slice(None, -1) if d == axis else slice(None) for d in range(x.ndim))
        last = tuple(slice(1, None) if d == axis else slice(None) for d in range(x.ndim))
        total[first] -= difference
        total[last] += difference
    return total
