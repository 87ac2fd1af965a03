"""SIRT and SART: least squares by steps weighted with the sums of A's rows, stopped before the noise is fitted."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from napari_invrecon.recon.solvers import Iterate, Steps
from napari_invrecon.recon.tilt_problem import squares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.operators import Array
    from napari_invrecon.recon.tilt_problem import TiltProblem

FITS = "fits to the noise"


def sirt(problem: TiltProblem, data: Array, weights: Array | None, x: Array, threads: int) -> Steps[Array]:
    """x ← [x + β C Aᵀ W R (y − Ax)]₊, R and C the inverse sums of the rows of A and of the columns of WA.

    Source: Gilbert 1972, doi:10.1016/0022-5193(72)90180-4; convergence: Gregor & Benson 2008,
    doi:10.1109/TMI.2008.923696.
    """
    rows, columns = _inverse_sums(problem, weights, data.shape, threads)
    if weights is not None:
        rows = rows * weights
    columns *= np.float32(problem.relaxation)
    predicted, update = np.empty_like(data), np.empty_like(x)
    for step in range(1, problem.n_iter + 1):
        difference = np.subtract(data, problem.predict(x, threads, predicted), out=predicted)
        misfit = problem.misfit(difference, weights)
        residual = problem.over_noise(misfit, weights, data.size)
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
    inverse = np.divide(1, columns, out=np.zeros_like(columns), where=columns > 1e-6 * columns.max())
    return 1 / np.maximum(rows, np.float32(1 / problem.norm)), inverse


def sart(problem: TiltProblem, data: Array, weights: Array | None, x: Array, threads: int) -> Steps[Array]:
    """x ← [x + β A_tᵀ W R (y − A_t x)]₊ for one tilt t after another, R = 1/(A_t A_tᵀ 1); one iteration is all tilts.

    The columns of one tilt sum to one but for the discretisation, which R takes in. Consecutive tilts are far apart.

    Source: Andersen & Kak 1984, doi:10.1016/0161-7346(84)90008-7.
    """
    rays = problem.relaxation / np.maximum(ray_powers(problem), np.float32(1 / problem.norm**2))
    steps = rays if weights is None else rays * (weights / weights.max())
    predicted, before = np.empty_like(data), np.empty_like(x)
    for step in range(1, problem.n_iter + 1):
        difference = np.subtract(data, problem.predict(x, threads, predicted), out=predicted)
        misfit = problem.misfit(difference, weights)
        residual = problem.over_noise(misfit, weights, data.size)
        if residual <= 1:
            yield Iterate(step - 1, problem.n_iter, x, misfit, residual, FITS)
            break
        before[:] = x
        sweep(problem, data, steps, x, threads, problem.nonnegative)
        before -= x
        reason = problem.why_last(step, math.sqrt(squares(before) / max(squares(x), 1e-30)))
        if (yield Iterate(step, problem.n_iter, x, misfit, residual, reason)) or reason:
            break
    return x


def sweep(problem: TiltProblem, data: Array, steps: Array, x: Array, threads: int, nonnegative: bool) -> None:
    """x ← x + A_tᵀ s_t (y_t − A_t x) for one tilt t after another, in place; x ≥ 0 after each on request.

    ``steps`` s broadcasts to the data. Slices are independent: threads take a few at a time, so that those stay in the
    processor's cache through all tilts.
    """
    order = far_apart(len(data))
    tilts = [replace(problem, geometry=problem.geometry.subset([t])) for t in order]
    n_y = x.shape[2]
    width = max(1, min(n_y, _CACHED_VOXELS // (x.shape[0] * x.shape[1])))
    width = max(1, width - width % 8) if width >= 8 else width

    def work(first: int) -> None:
        part = slice(first, min(first + width, n_y))
        slices = np.ascontiguousarray(x[:, :, part])
        update = np.empty_like(slices)
        row = np.empty((1, data.shape[1], slices.shape[2]), np.float32)
        for t, tilt in zip(order, tilts, strict=True):
            tilt.predict(slices, 1, row)
            np.subtract(data[t : t + 1, :, part], row, out=row)
            row *= steps[t : t + 1, :, part] if steps.shape[2] > 1 else steps[t : t + 1]
            tilt.back(row, 1, update)
            slices += update
            if nonnegative:
                np.maximum(slices, 0, out=slices)
        x[:, :, part] = slices

    if threads == 1 or width >= n_y:
        for first in range(0, n_y, width):
            work(first)
    else:
        list(_sweep_pool(threads).map(work, range(0, n_y, width)))


_CACHED_VOXELS = 1 << 20  # 4 MiB of voxels at work in one thread


@lru_cache(maxsize=4)
def _sweep_pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="invrecon-sweep")


def far_apart(n: int) -> NDArray[np.int64]:
    """0 … n − 1 in an order whose neighbours are far apart: multiples of n/φ, φ the golden ratio.

    Source: Köhler 2004, doi:10.1109/NSSMIC.2004.1466745.
    """
    fractions = np.arange(n) * (math.sqrt(5) - 1) / 2 % 1
    return np.argsort(np.argsort(fractions, kind="stable"))


def ray_powers(problem: TiltProblem) -> Array:
    """A_t A_tᵀ 1 for each tilt, (tilt, u, 1): their maximum over u bounds ‖A_t‖², since A has no negative weight."""
    powers = np.empty((len(problem.geometry.angles_deg), problem.geometry.detector, 1), np.float32)
    for t in range(len(powers)):
        tilt = replace(problem, geometry=problem.geometry.subset([t]))
        tilt.predict(tilt.back(np.ones((1, *powers.shape[1:]), np.float32), 1), 1, powers[t : t + 1])
    return powers
