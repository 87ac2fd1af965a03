"""What the centre of mass says of the tilt axis: u_c(θ) = x_c cos θ + z_c sin θ, in every slice across the axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_invrecon.recon.tilt_images import taper

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.operators import Array


def least_motion(
    shifts: NDArray[np.float64], angles_deg: NDArray[np.float64], used: NDArray[np.bool_], constant: bool = False
) -> tuple[NDArray[np.float64], float]:
    """Among the alignments that differ by where the object is, the one that moves the images least, and the c removed.

    ``shifts`` (tilt, 2) are across and along the axis; c is 0 unless ``constant``.
    """
    theta = np.deg2rad(angles_deg)
    columns = np.stack([np.cos(theta), np.sin(theta)] + [np.ones_like(theta)] * constant, axis=1)
    free = np.linalg.lstsq(columns[used], shifts[used, 0], rcond=1e-6)[0]
    along = shifts[:, 1] - shifts[used, 1].mean()
    return np.stack([shifts[:, 0] - columns @ free, along], axis=1), float(free[2]) if constant else 0.0


def moments(images: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(tilt, v) twice: the mass of each slice, Σ_u I, and Σ_u u·I, u from the centre."""
    n_u = images.shape[1]
    u = np.arange(n_u) - (n_u - 1) / 2
    mass = images.sum(axis=1, dtype=np.float64)
    return mass, np.einsum("u,tuv->tv", u, images, dtype=np.float64, casting="unsafe", optimize=True)


def object_region(images: Array) -> NDArray[np.bool_]:
    """(u, v): where the mean of aligned images is above a share of its brightest part, and a few pixels around."""
    mean = ndimage.uniform_filter(images.mean(axis=0), 3)
    region: NDArray[np.bool_] = ndimage.binary_dilation(mean > _FAINT * np.percentile(mean, 99), iterations=_AROUND)
    return region


_FAINT, _AROUND = 0.05, 3


def put_along(rows: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(tilt, v) with each row moved along the axis; 0 comes in from outside."""
    pairs = zip(rows, shifts, strict=True)
    return np.stack([ndimage.shift(row, s, order=1, mode="constant", cval=0.0) for row, s in pairs])


def common_rows(n_v: int, shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(v,) weights: 1 for slices that every tilt shows when moved along the axis, tapered to 0 at their ends."""
    first, last = int(np.ceil(max(shifts.max(), 0))) + 1, n_v - int(np.ceil(max(-shifts.min(), 0))) - 1
    weights = np.zeros(n_v)
    if last - first < 8:
        first, last = 0, n_v
    weights[first:last] = taper(last - first + 2, 0.2)[1:-1]
    return weights


def edge_share(images: Array) -> float:
    """Mean intensity at the two edges across the axis over the brightest mean along the axis: is the object cut off?"""
    profile = images.mean(axis=(0, 2), dtype=np.float64)
    width = max(2, len(profile) // 32)
    edges = max(profile[:width].mean(), profile[-width:].mean())
    return float(edges / max(profile.max(), 1e-30))


def rotation_from_slices(
    mass: NDArray[np.float64], first: NDArray[np.float64], angles_deg: NDArray[np.float64], weights: NDArray[np.float64]
) -> float:
    """δψ (degree): slope along the axis of c(v) in u_c(θ, v) − ū_c(θ) = a(v) cos θ + b(v) sin θ + c(v).

    The mean over the slices takes the shift of each tilt out, so that no drift matters. 0 where fewer than 8 slices
    hold mass, or the tilt range is too small to tell c from a.
    """
    heavy = (mass.min(axis=0) > 0.1 * mass.mean(axis=0).max()) & (weights > 0.5)
    theta = np.deg2rad(angles_deg)
    if heavy.sum() < 8 or np.ptp(angles_deg) < 20:
        return 0.0
    weight = mass[:, heavy].mean(axis=0) * weights[heavy]
    centre = first[:, heavy] / mass[:, heavy]
    centre -= np.average(centre, axis=1, weights=weight)[:, None]
    basis = np.stack([np.cos(theta), np.sin(theta), np.ones_like(theta)], axis=1)
    c = np.linalg.lstsq(basis, centre, rcond=None)[0][2]
    v = np.flatnonzero(heavy) - (len(heavy) - 1) / 2
    v = v - np.average(v, weights=weight)
    return float(np.rad2deg(np.arctan(np.sum(weight * v * c) / np.sum(weight * v * v))))
