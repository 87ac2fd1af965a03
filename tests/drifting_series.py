"""Tilt series whose drift and tilt axis are known: line integrals in closed form on a turned and moved detector."""

import numpy as np
from tilt_phantoms import Ellipsoid


def needle(seed=0):
    """A needle along the axis, cut off at one end of the field, with turned particles in it; densities 0.2 to 1."""
    rng = np.random.default_rng(seed)
    found = [Ellipsoid(0.3, np.array([0.04, -0.6, 0.06]), np.array([0.3, 1.2, 0.25]), np.eye(3))]
    for _ in range(14):
        centre = rng.uniform(-1, 1, 3) * [0.15, 0.45, 0.12]
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        found.append(Ellipsoid(rng.uniform(0.2, 1), centre, rng.uniform(0.04, 0.12, 3), turn))
    return found


def drifting_series(ellipsoids, angles_deg, size, shifts_px, axis_rotation_deg=0.0, noise=0.0, seed=0, rays=2):
    """(tilt, y, x) float32, tilt axis ∥ y but for the rotation: p′ = R(−φ)p + d is where p is, were it aligned.

    ``shifts_px`` d are (dy, dx); ``noise`` is σ over the maximum.
    """
    offsets = (np.arange(rays) + 0.5) / rays - 0.5
    fine = (np.arange(size)[:, None] - (size - 1) / 2 + offsets).ravel()
    phi = np.deg2rad(axis_rotation_deg)
    images = np.empty((len(angles_deg), size, size))
    for i, theta in enumerate(np.deg2rad(angles_deg)):
        y, x = np.meshgrid(fine, fine, indexing="ij")
        u = np.cos(phi) * x + np.sin(phi) * y + shifts_px[i][1]
        v = -np.sin(phi) * x + np.cos(phi) * y + shifts_px[i][0]
        beam = np.array([-np.sin(theta), 0, np.cos(theta)])
        image = np.zeros_like(u)
        for e in ellipsoids:
            p = np.stack([u * np.cos(theta), v, u * np.sin(theta)], -1) * 2 / size - e.centre
            a, b, c = beam @ e.form @ beam, p @ e.form @ beam, np.sum(p @ e.form * p, -1) - 1
            image += e.density * np.sqrt(np.maximum(b * b - a * c, 0)) / a
        images[i] = image.reshape(size, rays, size, rays).mean(axis=(1, 3)) * size
    images += noise * images.max() * np.random.default_rng(seed).standard_normal(images.shape)
    return images.astype(np.float32)


def drift(n_tilts, largest_px, seed):
    """(tilt, 2), uniform in ±``largest_px``."""
    return np.random.default_rng(seed).uniform(-largest_px, largest_px, (n_tilts, 2))


def shift_errors(found_px, true_px, angles_deg, tilt_axis="y"):
    """(tilt, 2) errors along and across the axis, without what no image can tell.

    That is where the object is: a constant along the axis, a cos θ + b sin θ across it.
    """
    error = np.asarray(found_px) - true_px
    along, across = (error[:, 0], error[:, 1]) if tilt_axis == "y" else (error[:, 1], error[:, 0])
    theta = np.deg2rad(angles_deg)
    columns = np.stack([np.cos(theta), np.sin(theta)], axis=1)
    across = across - columns @ np.linalg.lstsq(columns, across, rcond=None)[0]
    return np.stack([along - along.mean(), across], axis=1)


def rms(values):
    return np.sqrt(np.mean(np.square(values), axis=0))
