"""Objects and images of them by a forward model of their own: drawn and blurred on a grid twice as fine, in double
precision, in a field larger than the image, then binned and counted."""

import numpy as np
from scipy.ndimage import gaussian_filter

KINDS = ("particles", "slabs", "lattice", "ramps")


def draw(kind, x, y, rng):
    extent = x.max()
    if kind == "particles":
        field = np.full_like(x, 0.15)
        for _ in range(60):
            cx, cy, r, value = *rng.uniform(0, extent, 2), rng.uniform(4, 18), rng.uniform(0.3, 1)
            field[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = value
        return field
    if kind == "slabs":
        field = np.where((0.8 * x + 0.6 * y) % 90 < 40, 0.8, 0.3)
        field[(x - 0.2 * y) % 130 < 20] = 1
        return field
    if kind == "lattice":
        period, field = 14.0, np.full_like(x, 0.1)
        for shift, height in ((0, 0.9), (0.5, 0.5)):
            u, v = (x / period + shift) % 1 - 0.5, (y / period + shift) % 1 - 0.5
            field += height * np.exp(-(u * u + v * v) * period**2 / (2 * 1.8**2))
        return field
    return 0.3 + 0.3 * np.sin(x / 40) * np.cos(y / 55) + 0.3 * x / extent


def image(kind, sigma_px, counts, size=256, seed=0, margin=40):
    """(object, counts): what is there, in counts per pixel, and its blurred image with Poisson noise."""
    rng = np.random.default_rng(seed)
    width = size + 2 * margin
    y, x = (np.mgrid[: 2 * width, : 2 * width] + 0.5) / 2
    fine = draw(kind, x, y, rng) * counts
    inside = np.s_[margin:-margin, margin:-margin]

    def binned(field):
        return field.reshape(width, 2, width, 2).mean(axis=(1, 3))[inside]

    blurred = binned(gaussian_filter(fine, 2 * sigma_px, mode="nearest"))
    return binned(fine).astype(np.float32), rng.poisson(blurred).astype(np.float32)


def rmse(a, b):
    return float(np.sqrt(np.mean((np.asarray(a, np.float64) - b) ** 2)))
