"""How alike the noise of neighbouring channels is, as behind a scintillator, whose light falls on several of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from napari_invrecon.recon.detector import FOURTH

if TYPE_CHECKING:
    from collections.abc import Sequence

Real = NDArray[np.float64]

_NEAR, _FAR = 8, 16  # channels: over which noise may be alike; up to which what else pixels differ by is told
_SURE = 5.0  # over √n: three standard deviations of a correlation told from n of these differences
_OUTLIER = 3.0  # times the median power: edges of the specimen


def correlation(blocks: Sequence[Real]) -> tuple[float, ...]:
    """ρ₁, ρ₂, … of noise one, two, … channels apart, as far as they are surely above 0, from blocks (channels, …).

    Noise is what fourth differences from pixel to pixel, along the longest axis, leave of a smooth specimen. What
    channels further apart than 8 still have in common is the specimen's, and is taken off. Fewer than five pixels tell
    nothing.
    """
    products, numbers = np.zeros(_FAR + 1), np.zeros(_FAR + 1)
    for block in blocks:
        noise = _differences(block)
        for lag in range(min(_FAR + 1, len(noise))):
            products[lag] += np.vdot(noise[lag:], noise[: len(noise) - lag])
            numbers[lag] += noise[lag:].size
    told = numbers > 0
    if not products[0] > 0:
        return ()
    shared = products / np.maximum(numbers, 1)
    beyond = told[_NEAR + 1 :]
    common = float(shared[_NEAR + 1 :][beyond].mean()) if beyond.any() else 0.0
    rho = np.where(told, (shared - common) / max(shared[0] - common, 1e-300), 0)[1 : _NEAR + 1]
    unsure = np.flatnonzero(rho <= _SURE / np.sqrt(numbers[0]))
    return tuple(map(float, rho[: unsure[0]] if unsure.size else rho))


def variance_share(weights: Real, rho: Sequence[float]) -> float:
    """Σ_kl w_k w_l ρ_|k−l| / Σ w²: the variance of a weighted sum of neighbouring channels over that without ρ."""
    w = np.asarray(weights, np.float64)
    shared = [r * np.vdot(w[lag:], w[:-lag]) for lag, r in enumerate(rho, 1) if lag < w.size]
    return float(1 + 2 * sum(shared) / np.vdot(w, w))


def _differences(block: Real) -> Real:
    """(channels, n), less those across the specimen's edges."""
    plane = block.shape[1:]
    axis = 1 + int(np.argmax(plane)) if plane else 0
    if not plane or block.shape[axis] < FOURTH.size:
        return np.zeros((0, 0))
    half = FOURTH.size // 2
    inner = [slice(None)] * block.ndim
    inner[axis] = slice(half, -half)
    noise = correlate1d(block, FOURTH, axis=axis)[tuple(inner)].reshape(len(block), -1)
    noise = noise[:, np.isfinite(noise).all(axis=0)]
    power = np.mean(noise**2, axis=0)
    return np.asarray(noise[:, power <= _OUTLIER * np.median(power)] if power.size else noise)
