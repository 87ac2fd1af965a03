"""SIRT and SART: least squares by steps weighted with the sums of A's rows, stopped before the noise is fitted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_invrecon.recon.solvers import Iterate, Steps
from napari_invrecon.recon.tilt_problem import squares
from napari_invrecon.recon.tilt_sweep import sweep

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array
    from napari_invrecon.recon.tilt_problem import TiltProblem

FITS = "fits to the noise"
_SHARE = 0.5  # β of SART: of twelve phantoms, the noise is reached in all, with less error than at 1 where it is large


def sirt(problem: TiltProblem, data: Array, weights: Array | None, x: Array, threads: int) -> Steps[Array]:
    """x ← [x + β C Aᵀ W R (y − Ax)]₊, R and C the inverse sums of the rows of A and of the columns of WA.

    Source: Gilbert 1972, doi:10.1016/0022-5193(72)90180-4; convergence: Gregor & Benson 2008,
    doi:10.1109/TMI.2008.923696.
    """
    rows, columns = _inverse_sums(problem, weights, data.shape, threads)
    if weights is not None:
        rows = rows * weights
    columns *= np.float32(1 if problem.relaxation is None else problem.relaxation)
    predicted, update = np.empty_like(data), np.empty_like(x)
    for step in range(1, problem.n_iter + 1):
        difference, misfit, residual = problem.left_over(x, data, weights, threads, predicted)
        if residual <= 1:
            yield Iterate(step - 1, problem.n_iter, x, misfit, residual, FITS)
            break
        difference *= rows
        problem.back(difference, threads, update)
        update *= columns
        moved = squares(update)
        x += update
        if problem.nonnegative:
            np.maximum(x, 0, out=x)
        reason = problem.why_last(step, math.sqrt(moved / max(squares(x), 1e-30)))
        if (yield Iterate(step, problem.n_iter, x, misfit, residual, reason)) or reason:
            break
    return x


def _inverse_sums(
    problem: TiltProblem, weights: Array | None, shape: tuple[int, ...], threads: int
) -> tuple[Array, Array]:
    """1/(A 1), (tilt, u, 1), and 1/(Aᵀ w), (z, x, 1) or (z, x, y).

    A ray with less than a pixel of path counts as one pixel long; a voxel that no ray sees gets 0.
    """
    rows = problem.predict(np.ones((*problem.geometry.volume, 1), np.float32), threads)
    seen = np.ones((*shape[:2], 1 if weights is None else weights.shape[-1]), np.float32)
    if weights is not None:
        seen *= weights
    columns = problem.back(seen, threads)
    inverse: Array = np.divide(1, columns, out=np.zeros_like(columns), where=columns > 1e-6 * columns.max())
    rows = np.maximum(rows, np.float32(1 / problem.norm))
    return np.reciprocal(rows), inverse


def sart(problem: TiltProblem, data: Array, weights: Array | None, x: Array, threads: int) -> Steps[Array]:
    """x ← [x + β A_tᵀ W R (y − A_t x)]₊ for one tilt t after another, R = 1/(A_t A_tᵀ 1); one iteration is all tilts.

    The columns of one tilt sum to one but for the discretisation, which R takes in. Consecutive tilts are far apart.

    Source: Andersen & Kak 1984, doi:10.1016/0161-7346(84)90008-7.
    """
    rays = np.reciprocal(np.maximum(ray_powers(problem), np.float32(1 / problem.norm**2)))
    rays *= np.float32(_SHARE if problem.relaxation is None else problem.relaxation)
    steps = rays if weights is None else rays * (weights / weights.max())
    predicted, before = np.empty_like(data), np.empty_like(x)
    for step in range(1, problem.n_iter + 1):
        _, misfit, residual = problem.left_over(x, data, weights, threads, predicted)
        if residual <= 1:
            yield Iterate(step - 1, problem.n_iter, x, misfit, residual, FITS)
            break
        before[:] = x
        sweep(problem, data, steps, x, problem.nonnegative, threads)
        before -= x
        reason = problem.why_last(step, math.sqrt(squares(before) / max(squares(x), 1e-30)))
        if (yield Iterate(step, problem.n_iter, x, misfit, residual, reason)) or reason:
            break
    return x


def ray_powers(problem: TiltProblem) -> Array:
    """A_t A_tᵀ 1 for each tilt, (tilt, u, 1): their maximum over u bounds ‖A_t‖², since A has no negative weight."""
    powers = np.empty((len(problem.geometry.angles_deg), problem.geometry.detector, 1), np.float32)
    for t in range(len(powers)):
        tilt = replace(problem, geometry=problem.geometry.subset([t]))
        tilt.predict(tilt.back(np.ones((1, *powers.shape[1:]), np.float32), 1), 1, powers[t : t + 1])
    return powers
