"""SIRT and SART: steps weighted by the sums of the rows and the columns of A, for least squares stopped early."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_invrecon.recon.projector import adjoint, forward
from napari_invrecon.recon.solvers import Iterate, Steps
from napari_invrecon.recon.tilt_problem import squares

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array
    from napari_invrecon.recon.tilt_problem import TiltProblem


def sirt(problem: TiltProblem, data: Array, weights: Array | None, x: Array, threads: int) -> Steps[Array]:
    """x ← [x + β C Aᵀ W R (y − Ax)]₊, R and C the inverse sums of the rows of A and of the columns of WA.

    It minimises ‖y − Ax‖² weighted by WR; stopped before the noise is fitted it is a regularisation of its own.

    Source: Gilbert 1972, doi:10.1016/0022-5193(72)90180-4; van der Sluis & van der Vorst 1990.
    """
    rows, columns = inverse_sums(problem, weights, data.shape, threads)
    if weights is not None:
        rows = rows * weights
    columns *= np.float32(problem.relaxation * problem.norm)  # the step is taken with H, whose x is x/‖H‖
    predicted, update = np.empty_like(data), np.empty_like(x)
    reason = ""
    for step in range(1, problem.n_iter + 1):
        difference = np.subtract(data, problem.predict(x, threads, predicted), out=predicted)
        misfit = squares(difference) if weights is None else float(np.sum(weights * np.square(difference), dtype=float))
        residual = problem.over_noise(misfit, weights, data.size)
        if residual <= 1:
            reason = "fits to the noise"
            yield Iterate(step - 1, problem.n_iter, x, misfit, residual, reason)
            break
        difference *= rows
        adjoint(problem.geometry, difference, update, threads=threads)
        update *= columns
        size = squares(update)
        x += update
        if problem.nonnegative:
            np.maximum(x, 0, out=x)
        if math.sqrt(size) <= problem.tolerance * math.sqrt(squares(x)):
            reason = "settled"
        elif step == problem.n_iter:
            reason = "all iterations done"
        if (yield Iterate(step, problem.n_iter, x, misfit, residual, reason)) or reason:
            break
    return x


def inverse_sums(
    problem: TiltProblem, weights: Array | None, shape: tuple[int, ...], threads: int
) -> tuple[Array, Array]:
    """1/(H 1), (tilt, u, 1), and 1/(Hᵀ w), (z, x, 1) or (z, x, y): the inverse sums of H's rows and columns.

    A ray with less than a pixel of path counts as one pixel long; a voxel that no ray sees gets 0.
    """
    rows = forward(problem.geometry, np.ones((*problem.geometry.volume, 1), np.float32), threads=threads)
    depth = 1 if weights is None else weights.shape[-1]
    seen = np.ones((*shape[:2], depth), np.float32)
    if weights is not None:
        seen *= weights
    columns = adjoint(problem.geometry, seen, threads=threads)
    inverse = np.divide(1, columns, out=np.zeros_like(columns), where=columns > 0)
    return 1 / np.maximum(rows, 1), inverse
