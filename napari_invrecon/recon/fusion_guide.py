"""What the HAADF tells of the maps besides their amount: where they may step, and how they rise with it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_invrecon.recon.fusion_solver import FusionProblem, primal_dual, uncoupled
from napari_invrecon.recon.guided_tv import edge_field, gradient
from napari_invrecon.recon.solvers import finish

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.operators import Array

_LAMBDA, _ITERATIONS = 1.5, 60  # of the HAADF's total variation, in units of its noise
_LEAST_NOISE = 1e-4  # of the HAADF's range: less is none
_SMOOTHING_PX = 1.0  # of the HAADF that maps are taken to rise with
_WINDOW_PX = 2.0  # σ of the window in which β is one number
_AT_LEAST = 3.0  # times its noise: what the HAADF is taken to be above h₀


def denoised(haadf: Array, noise: float) -> Array:
    """The HAADF less its white noise, by total variation; filled in where it is NaN."""
    known = np.isfinite(haadf)
    if not known.any():
        return np.zeros_like(haadf)
    start = np.where(known, haadf, haadf[known].mean())[None].astype(np.float32)
    sigma = max(noise, _LEAST_NOISE * float(np.ptp(start)))
    if sigma == 0:
        return np.asarray(start[0])
    one = np.ones((1, 1, 1), np.float32)
    unit = np.array([sigma], np.float32)
    problem = FusionProblem(haadf[None], unit, False, 0 * one, False, precision=one, **uncoupled(start.shape))
    return np.asarray(finish(primal_dual(problem, _LAMBDA, start, n_iter=_ITERATIONS)).x[0], np.float32)


def with_edges(problem: FusionProblem, haadf: Array, edge_px: float, noise: float) -> FusionProblem:
    """The problem in which steps across the HAADF's edges are cheap."""
    return dataclasses.replace(problem, guide=edge_field(haadf, edge_px, noise))


def following(
    problem: FusionProblem, x: Array, clean: Array, offset: float, noise: float, ratio: float = 1.0
) -> FusionProblem:
    """The problem in which maps may rise with the HAADF as x does, β∇G being free.

    G is the HAADF without noise. β is the slope of x against G in a window around each pixel, and where G hardly varies
    in it that of proportionality, x/(G − h₀): a wedge, in which all elements become thicker, costs nothing.
    ``ratio``: pixels on the edge of one of the maps.

    Source: the window's slope is that of the guided filter, He, Sun & Tang 2013, doi:10.1109/TPAMI.2012.213.
    """
    window = _WINDOW_PX * ratio

    def mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(image, (0,) * (image.ndim - 2) + (window, window), mode="nearest"))

    G = gaussian_filter(clean.astype(np.float64), _SMOOTHING_PX * ratio, mode="nearest")
    about = G - G.mean()  # so that squares lose no digits
    scatter = (noise / 5) ** 2 + 1e-12 * float(np.mean(about**2)) + 1e-60
    middle = mean(about)
    spread = np.maximum(mean(about**2) - middle**2, 0)
    above = mean(np.maximum(G - offset, _AT_LEAST * np.sqrt(scatter)))
    beta = np.empty(x.shape, np.float32)
    for number, (each, unit) in enumerate(zip(x, problem.unit, strict=True)):
        here = mean(each.astype(np.float64))
        slope = mean(each * about) - here * middle + scatter * here / above
        beta[number] = slope / (spread + scatter) / unit
    rise = np.ascontiguousarray(gradient(G.astype(np.float32)))
    return dataclasses.replace(problem, follow=beta, rise=rise)
