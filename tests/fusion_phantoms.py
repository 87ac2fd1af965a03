"""Specimens of two or three elements with their maps in counts and their HAADF image, drawn twice as fine."""

import numpy as np
from scipy.ndimage import gaussian_filter

KINDS = ("core-shell", "domains", "lattice")
HAADF_COUNTS = 1000  # at the brightest pixel
WEIGHTS = (0.6, 0.8, 1.0)  # of the elements in the HAADF's intensity


def thickness_in_sphere(y, x, cy, cx, radius):
    """Length of the chord of a beam along z through a sphere."""
    return 2 * np.sqrt(np.maximum(radius**2 - (y - cy) ** 2 - (x - cx) ** 2, 0))


def densities(kind, shape, seed=0):
    """Projected densities (3, y, x), each at most 1: what an ideal detector would see."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    y, x = (np.mgrid[: 2 * ny, : 2 * nx] + 0.5) / 2
    size = min(ny, nx)
    if kind == "core-shell":
        core = shell = 0.0
        for _ in range(5):
            cy, cx, radius = rng.uniform(0.2, 0.8) * ny, rng.uniform(0.2, 0.8) * nx, rng.uniform(0.1, 0.22) * size
            inner = thickness_in_sphere(y, x, cy, cx, rng.uniform(0.55, 0.75) * radius)
            core, shell = core + inner, shell + thickness_in_sphere(y, x, cy, cx, radius) - inner
        support = 0.15 * size * np.where(x > 0.08 * nx, 1.0, 0.0)
        fields = [support, shell, core]
    elif kind == "domains":
        seeds = rng.uniform(0, 1, (12, 2)) * shape
        nearest = np.argmin([(y - sy) ** 2 + (x - sx) ** 2 for sy, sx in seeds], axis=0)
        share = rng.dirichlet((1, 1, 1), 12).T
        ramp = 0.5 + 0.5 * x / nx
        fields = [ramp * part[nearest] for part in share]
    else:
        period = 16.0

        def columns(shift_y, shift_x):
            u, v = (y / period + shift_y) % 1 - 0.5, (x / period + shift_x) % 1 - 0.5
            return np.exp(-(u**2 + v**2) * period**2 / (2 * 2.2**2))

        step = 1 / (1 + np.exp(-(x - 0.5 * nx) / 3))
        fields = [columns(0, 0) + 0.05, columns(0.5, 0.5) * (1 - 0.8 * step), columns(0.5, 0.5) * (0.2 + 0.8 * step)]
    blurred = [gaussian_filter(field, 1.4, mode="nearest") for field in fields]
    return np.stack([f.reshape(ny, 2, nx, 2).mean((1, 3)) / f.max() for f in blurred])


def specimen(kind, counts=10, shape=(256, 256), law="linear", background=0.0, seed=0, shift=(0, 0)):
    """(true maps, maps in counts, HAADF in counts); ``law`` linear in the densities, or power: of their 1.7th power."""
    rng = np.random.default_rng(seed + 100)
    truth = densities(kind, shape, seed) * counts
    share = np.tensordot(WEIGHTS, (truth / counts) ** (1.0 if law == "linear" else 1.7), 1)
    share = np.roll(share, shift, (0, 1))
    haadf = rng.poisson(HAADF_COUNTS * (0.05 + 0.95 * share / share.max()))
    return truth, rng.poisson(truth + background), haadf


def psnr(estimate, truth):
    """Mean over the elements, after an affine fit of the estimate to the truth, in dB of the truth's range."""
    found = []
    for x, t in zip(estimate, truth, strict=True):
        basis = np.stack([np.ravel(x), np.ones(x.size)], axis=1).astype(float)
        fit = basis @ np.linalg.lstsq(basis, t.ravel(), rcond=None)[0]
        found.append(10 * np.log10(np.ptp(t) ** 2 / np.mean((fit - t.ravel()) ** 2)))
    return float(np.mean(found))
