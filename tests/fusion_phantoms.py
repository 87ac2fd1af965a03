"""Specimens of three elements: maps in counts and a HAADF image, drawn finer than the pixels, each with its own blur.

The projected densities are drawn on sub-pixels and over more than the field of view. Maps and HAADF see them through
different probes, so that no linear model of one by the other is exact; and no estimate starts from what made them.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

KINDS = ("core-shell", "domains", "lattice")
HAADF_COUNTS = 1000  # at the brightest pixel
WEIGHTS = (0.6, 0.8, 1.0)  # of the elements in the HAADF's intensity
MARGIN = 8  # px beyond the field of view on each side
MAPS_PSF_PX, HAADF_PSF_PX = 0.7, 0.5


def chord(y, x, cy, cx, radius):
    """Length of a beam along z through a sphere."""
    return 2 * np.sqrt(np.maximum(radius**2 - (y - cy) ** 2 - (x - cx) ** 2, 0))


def densities(kind, shape, seed=0, fine=2):
    """Projected densities (3, y, x) on pixels ``fine`` times smaller, MARGIN px larger on each side."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    y, x = np.meshgrid(*((np.arange(fine * (n + 2 * MARGIN)) + 0.5) / fine - MARGIN for n in shape), indexing="ij")
    size = min(ny, nx)
    if kind == "core-shell":  # projections of solid spheres in vacuum: one element all through, and two phases
        core = shell = whole = 0.0
        for middle in np.arange(0.5, max(shape) / size):
            along, across = size * (middle + rng.uniform(-0.03, 0.03)), size * rng.uniform(0.48, 0.52)
            cy, cx = (along, across) if ny > nx else (across, along)
            radius = rng.uniform(0.44, 0.47) * size
            inner, outer = chord(y, x, cy, cx, rng.uniform(0.65, 0.75) * radius), chord(y, x, cy, cx, radius)
            core, shell, whole = core + inner, shell + outer - inner, whole + outer
        return np.stack([whole, shell, core])
    if kind == "domains":  # grains of a wedge, each with its own composition
        count = round(16 * max(shape) / size)
        seeds = rng.uniform(-0.05, 1.05, (count, 2)) * shape
        nearest = np.zeros(y.shape, int)
        closest = np.full(y.shape, np.inf)
        for number, (sy, sx) in enumerate(seeds):
            distance = (y - sy) ** 2 + (x - sx) ** 2
            nearest[distance < closest], closest = number, np.minimum(distance, closest)
        share = rng.uniform(0.55, 1, (3, count))
        return (0.75 + 0.25 * x / nx) * share[:, nearest]
    period, width = 12.7, 2.2  # px: atomic columns, the composition of one sort stepping half-way

    def columns(shift_y, shift_x):
        u, v = (y / period + shift_y) % 1 - 0.5, (x / period + shift_x) % 1 - 0.5
        return np.exp(-(u**2 + v**2) * period**2 / (2 * width**2))

    step = 1 / (1 + np.exp(-(x - rng.uniform(0.4, 0.6) * nx) / 3))
    return np.stack(
        [columns(0, 0) + 0.06, columns(0.5, 0.5) * (1 - 0.7 * step) + 0.03, columns(0.5, 0.5) * (0.3 + 0.7 * step)]
    )


def pixels(fields, fine, sigma_px, shift=(0.0, 0.0)):
    """The field of view of (…, y, x), seen through a probe and averaged over pixels; ``shift`` moves what is seen."""
    blurred = np.stack([gaussian_filter(field, fine * sigma_px, mode="nearest") for field in fields])
    from_y, from_x = (round(fine * (MARGIN - s)) for s in shift)
    ny, nx = (n // fine - 2 * MARGIN for n in fields.shape[1:])
    cut = blurred[:, from_y : from_y + fine * ny, from_x : from_x + fine * nx]
    return cut.reshape(-1, ny, fine, nx, fine).mean((2, 4))


def specimen(
    kind, counts=10, shape=(256, 256), law="linear", background=0.0, seed=0, shift=(0.0, 0.0), weights=WEIGHTS,
    saturation=0.0, finer=1,
):  # fmt: skip
    """(true maps, maps in counts, HAADF in counts).

    ``law`` of the HAADF: linear in the densities, or power, in their 1.7th power. ``counts`` at the brightest pixel of
    each map. ``saturation``: signal S becomes (1 − exp(−saturation·S))/saturation, S at most 1. ``finer``: pixels of
    the HAADF for one of the maps, on each axis; 1000 counts at the brightest pixel of the maps' size.
    """
    rng = np.random.default_rng(seed + 1000)
    fine = max(2, finer)
    drawn = densities(kind, shape, seed, fine)
    truth = pixels(drawn, fine, MAPS_PSF_PX)
    peak = truth.max((1, 2), keepdims=True)
    truth *= counts / peak
    signal = np.tensordot(weights, (drawn / peak) ** (1.0 if law == "linear" else 1.7), 1)
    signal /= signal.max()
    if saturation:
        signal = -np.expm1(-saturation * signal) / saturation
    seen = pixels(signal[None], fine, HAADF_PSF_PX, shift) if finer == 1 else _finer(signal, fine, shift)
    haadf = rng.poisson(HAADF_COUNTS / finer**2 * (0.05 + 0.95 * seen.squeeze() / seen.max()))
    return truth, rng.poisson(truth + background), haadf


def _finer(signal, fine, shift):
    blurred = gaussian_filter(signal, fine * HAADF_PSF_PX, mode="nearest")
    from_y, from_x = (round(fine * (MARGIN - s)) for s in shift)
    return blurred[
        from_y : from_y + blurred.shape[0] - 2 * fine * MARGIN, from_x : from_x + blurred.shape[1] - 2 * fine * MARGIN
    ]


def psnr(estimate, truth):
    """Mean over the elements, after an affine fit of the estimate to the truth, in dB of the truth's range."""
    found = []
    for x, t in zip(estimate, truth, strict=True):
        basis = np.stack([np.ravel(x), np.ones(x.size)], axis=1).astype(float)
        fit = basis @ np.linalg.lstsq(basis, t.ravel(), rcond=None)[0]
        found.append(10 * np.log10(np.ptp(t) ** 2 / np.mean((fit - t.ravel()) ** 2)))
    return float(np.mean(found))


def rmse(estimate, truth):
    """Root of the mean square over all pixels and elements, in the maps' units."""
    return float(np.sqrt(np.mean((np.asarray(estimate, float) - truth) ** 2)))
