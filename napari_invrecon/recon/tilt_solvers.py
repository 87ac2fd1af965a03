"""argmin for tilt series: one name, `solve`, over the direct, the row-action and the convergent methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from napari_invrecon.recon.fbp import fbp
from napari_invrecon.recon.tilt_problem import Algorithm, TiltProblem
from napari_invrecon.recon.tilt_proximal import accelerated
from napari_invrecon.recon.tilt_rows import sart, sirt
from napari_invrecon.recon.tilt_variation import tv, tv_sart

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array
    from napari_invrecon.recon.solvers import Steps

__all__ = ["TiltProblem", "solve"]


def solve(
    problem: TiltProblem,
    data: Array,
    lam: float,
    weights: Array | None = None,
    *,
    start: Array | None = None,
    threads: int = 1,
) -> Steps[Array]:
    """min_x Σ w (Ax − y)² + λ R(x), x ≥ 0, A = H/‖H‖, by the algorithm that the problem names.

    Parameters
    ----------
    problem
        The geometry, the algorithm and when to stop.
    data
        y divided by its scale, (tilt, u, y), C-contiguous float32; not changed.
    lam
        λ ≥ 0. "fbp", "sirt" and "sart" have none and ignore it.
    weights
        w ≥ 0, broadcastable to the data: one a tilt as (tilt, 1, 1), or one a datum. None: 1. A tilt of weight 0 is
        left out.
    start
        The first x, (z, x, y); None: zero. Not changed.
    threads
        For the kernels of a step.

    Yields
    ------
    Iterate
        ``x`` in scaled units, (z, x, y); it is the solver's own array, overwritten by the next step: copy what is to be
        kept. ``objective`` is Σ w (Ax − y)² + λR and ``residual`` is ‖Ax − y‖/(σ√N); those of "sirt" and "sart" are of
        the x before the step, at no cost. ``stage`` is empty, but with the last iterate says why it is the last.

    Returns
    -------
    ndarray
        x, (z, x, y), scaled: times s/‖H‖ it is in the units of the data a pixel of path, s the scale of the data.
    """
    nz, nx = problem.geometry.volume
    shape = (nz, nx, data.shape[2])
    if weights is not None:
        weights = np.ascontiguousarray(weights, np.float32)
    x = np.zeros(shape, np.float32) if start is None else np.array(start, np.float32, order="C")
    if x.shape != shape:
        raise ValueError(f"expected a start of shape {shape} (z, x, y), got {x.shape}: crop or rebin it to the volume")
    match problem.algorithm:
        case "fbp":
            return (yield from fbp(problem, data, weights, threads))
        case "sirt":
            return (yield from sirt(problem, data, weights, x, threads))
        case "sart":
            return (yield from sart(problem, data, weights, x, threads))
        case "tv-sart":
            return (yield from tv_sart(problem, data, lam, weights, x, threads))[0]
        case "tv":
            return (yield from tv(problem, data, lam, weights, x, threads))
        case "l1" | "tikhonov":
            return (yield from accelerated(problem, data, lam, weights, x, threads))
        case _:
            raise ValueError(
                f"unknown algorithm {problem.algorithm!r}: expected one of {', '.join(get_args(Algorithm))}"
            )
