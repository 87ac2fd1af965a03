"""How far fused maps may be from the truth: E(x̂ − x)² = scatter² + bias², by drawing data and fusing them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_invrecon.recon.operators import Array
from napari_invrecon.recon.solvers import Iterate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_invrecon.recon.fusion_scene import Scene

_WINDOW_PX = 3.0  # σ of the window over which the square of the bias is averaged: that of a pixel is mostly noise


@dataclass(frozen=True)
class FusionError:
    """Of each pixel of each map (element, y, x): its standard deviation, and its root mean square deviation."""

    scatter: Array
    expected: Array


def bootstrap(
    scene: Scene, x: Array, solve: Callable[[Scene], Array], n_draws: int, seed: int
) -> Generator[Iterate, bool | None, FusionError | None]:
    """What x* does about x, for data drawn from the fused maps x, calibrated and solved again; None below two draws.

    Bias is b₁ = mean(x* − x), which is smaller than that of x because what was smoothed away is not there to be
    smoothed again. So data are drawn from each x* as well, b₂ = mean(x** − x*), and the bias is taken as b₁ + b₁ − b₂.
    Of its square what the scatter of so many draws adds is subtracted. λ and the coupling stay as they are.

    Sources: Efron & Tibshirani, An Introduction to the Bootstrap, 1993; iterated: Hall & Martin 1988,
    doi:10.1093/biomet/75.4.661.
    """
    rng = np.random.default_rng([seed, 1])
    sums = [np.zeros(x.shape, np.float32) for _ in range(4)]
    drawn = 0
    for drawn in range(1, n_draws + 1):
        once = scene.drawn(x, rng)
        first = solve(once)
        second = solve(once.drawn(first, rng))
        deviation = first - x
        biased = 2 * deviation - (second - first)
        for total, each in zip(sums, (deviation, deviation**2, biased, biased**2), strict=True):
            total += each
        if (yield Iterate(drawn, n_draws, x, stage=f"draw {drawn} of {n_draws}")):
            break
    if drawn < 2:
        return None
    scatter2 = _variance(sums[0], sums[1], drawn)
    square = (sums[2] / drawn) ** 2 - _variance(sums[2], sums[3], drawn) / drawn
    bias2 = np.maximum(gaussian_filter(square, (0, _WINDOW_PX, _WINDOW_PX)), 0)
    return FusionError(np.sqrt(scatter2), np.sqrt(scatter2 + bias2))


def _variance(total: Array, square: Array, n: int) -> Array:
    return np.asarray(np.maximum(square - total**2 / n, 0) / (n - 1), np.float32)
