"""D: how far H x is from the data y, as a value, a gradient and a proximal map in the space of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from napari_invrecon.recon.operators import Array


@dataclass(frozen=True)
class Fidelity:
    """A convex function D(v) of v = H x.

    ``value(v)``; ``gradient(v)``; ``prox(v, step)`` = argmin_u step · D(u) + ½‖u − v‖².
    """

    value: Callable[[Array], float]
    gradient: Callable[[Array], Array]
    prox: Callable[[Array, float], Array]


def least_squares(y: Array, weights: Array | None = None) -> Fidelity:
    """D(v) = Σ w (v − y)²: Gaussian noise; w = 1 without ``weights``, 0 where a pixel is to be ignored."""
    w = np.ones_like(y) if weights is None else weights.astype(np.float32)

    def value(v: Array) -> float:
        return float(np.sum(w * np.square(v - y), dtype=np.float64))

    def prox(v: Array, step: float) -> Array:
        fitted: Array = (v + np.float32(2 * step) * w * y) / (1 + np.float32(2 * step) * w)
        return fitted

    return Fidelity(value, lambda v: 2 * w * (v - y), prox)


def poisson(y: Array, background: float | Array = 0.0, weights: Array | None = None) -> Fidelity:
    """D(v) = 2 Σ w [(v + b) − y log(v + b)], twice the negative log-likelihood of counts y with mean v + b.

    The factor 2 gives it the curvature of the least squares of counts of variance one, so that λ keeps its size. The
    value counts from its minimum (it is the deviance). v + b < 0 has the value infinity; data below zero, as an offset
    or read noise can leave, count as zero.

    Source: Cash 1979, doi:10.1086/156922.
    """
    w = np.ones_like(y) if weights is None else weights.astype(np.float32)
    b = np.asarray(background, np.float32)

    def value(v: Array) -> float:
        mean = (v + b).astype(np.float64)
        if np.any((mean < 0) & (w > 0)) or np.any((mean == 0) & (y > 0) & (w > 0)):
            return float("inf")
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(y > 0, y * np.log(y / mean), 0.0)
        return float(2 * np.sum(np.where(w > 0, w * (mean - y + logs), 0.0)))

    def gradient(v: Array) -> Array:
        slope: Array = 2 * w * (1 - y / np.maximum(v + b, np.float32(1e-6)))
        return slope

    def prox(v: Array, step: float) -> Array:
        t = np.float32(2 * step) * w
        shifted = v + b - t
        root = np.sqrt(np.square(shifted) + 4 * t * np.maximum(y, 0))
        # Two forms of the positive root, each where it does not cancel.
        small = 2 * t * np.maximum(y, 0) / np.maximum(root - shifted, 1e-30)
        mean = np.where(shifted >= 0, 0.5 * (shifted + root), small)
        fitted: Array = np.where(w > 0, mean - b, v).astype(np.float32)
        return fitted

    return Fidelity(value, gradient, prox)
