"""Objects and tilt series of them by forward models of their own, never by the package's projector.

Ellipsoids have line integrals in closed form; the Shepp–Logan slice is projected by ASTRA's strip integrals (for
benchmarks, where astra-toolbox is installed). Volumes are (z, y, x), stacks
(tilt, y, u); u = x·cos θ + z·sin θ + shift.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation
from skimage.data import shepp_logan_phantom
from skimage.transform import resize


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """``density`` wherever |Rᵀ(p − centre)/semi_axes| < 1, p = (x, y, z) in units of half the detector's width."""

    density: float
    centre: np.ndarray
    semi_axes: np.ndarray
    rotation: np.ndarray

    @property
    def form(self):
        """A of (p − centre)ᵀA(p − centre) < 1."""
        return self.rotation @ np.diag(self.semi_axes**-2.0) @ self.rotation.T

    @property
    def reach(self):
        """Half the edges of the box around it, along x, y and z."""
        return np.sqrt(np.diag(np.linalg.inv(self.form)))


def ball(density, centre, radius):
    return Ellipsoid(density, np.asarray(centre, float), np.full(3, float(radius)), np.eye(3))


def particles(n=25, seed=0):
    """A support (density 0.3) with a pore and ``n`` turned particles (0.5 to 1) on and in it; maximum ≈ 1.3."""
    rng = np.random.default_rng(seed)
    support = Ellipsoid(0.3, np.zeros(3), np.array([0.62, 0.75, 0.5]), Rotation.from_euler("y", 20, True).as_matrix())
    found = [support, ball(-0.3, [0.2, 0.1, -0.15], 0.16)]
    while len(found) < n + 2:
        centre = rng.uniform(-0.8, 0.8, 3)
        axes = rng.uniform(0.04, 0.13, 3)
        apart = all(np.linalg.norm(centre - e.centre) > axes.max() + e.semi_axes.max() for e in found[1:])
        if np.hypot(centre[0], centre[2]) + axes.max() < 0.9 and apart:
            found.append(Ellipsoid(rng.uniform(0.5, 1), centre, axes, Rotation.random(random_state=rng).as_matrix()))
    return found


def line_integrals(ellipsoids, angles_deg, ny, nu, axis_shift_px=0.0, rays=3):
    """(tilt, ny, nu) in density × pixels, float64: each pixel the mean of ``rays``² rays spread over it."""
    angles = np.asarray(angles_deg, float)
    shifts = np.broadcast_to(np.asarray(axis_shift_px, float), angles.shape)
    offsets = (np.arange(rays) + 0.5) / rays - 0.5
    u_px = (np.arange(nu)[:, None] - (nu - 1) / 2 + offsets).ravel()
    y = (np.arange(ny)[:, None] - (ny - 1) / 2 + offsets).ravel() * 2 / nu
    total = np.zeros((len(angles), ny, nu))
    for t, theta in enumerate(np.deg2rad(angles)):
        u = (u_px - shifts[t]) * 2 / nu
        along, beam = np.array([np.cos(theta), 0, np.sin(theta)]), np.array([-np.sin(theta), 0, np.cos(theta)])
        fine = np.zeros((y.size, u.size))
        for e in ellipsoids:
            A = e.form
            width = np.sqrt(along @ np.linalg.inv(A) @ along)
            near_y, near_u = abs(y - e.centre[1]) < e.reach[1], abs(u - along @ e.centre) < width
            p = y[near_y, None, None] * np.array([0, 1, 0]) + u[near_u, None] * along - e.centre
            a, b, c = beam @ A @ beam, p @ A @ beam, np.sum(p @ A * p, -1) - 1
            fine[np.ix_(near_y, near_u)] += e.density * 2 * np.sqrt(np.maximum(b * b - a * c, 0)) / a
        total[t] = fine.reshape(ny, rays, nu, rays).mean(axis=(1, 3)) * nu / 2
    return total


def voxels(ellipsoids, shape, fineness=3):
    """(z, y, x) float32, each voxel the mean of ``fineness``³ points; the unit of length is half of nx."""
    nz, ny, nx = shape
    volume = np.zeros(shape, np.float32)
    offsets = (np.arange(fineness) + 0.5) / fineness - 0.5
    for e in ellipsoids:
        boxes, axes = [], []
        for n, centre, reach in zip((nx, ny, nz), e.centre, e.reach, strict=True):
            middle = (n - 1) / 2 + centre * nx / 2
            begin = min(n, max(0, int(np.floor(middle - reach * nx / 2))))
            box = slice(begin, max(begin, min(n, int(np.ceil(middle + reach * nx / 2)) + 1)))
            boxes.append(box)
            points = (np.arange(box.start, box.stop)[:, None] - (n - 1) / 2 + offsets).ravel() * 2 / nx
            axes.append(points - centre)
        for z in range(boxes[2].start, boxes[2].stop):
            first = (z - boxes[2].start) * fineness
            p = np.stack(np.meshgrid(axes[2][first : first + fineness], axes[1], axes[0], indexing="ij")[::-1], -1)
            inside = np.square(p @ e.rotation / e.semi_axes).sum(-1) < 1
            ny_box, nx_box = len(axes[1]) // fineness, len(axes[0]) // fineness
            share = inside.reshape(fineness, ny_box, fineness, nx_box, fineness).mean(axis=(0, 2, 4))
            volume[z, boxes[1], boxes[0]] += np.float32(e.density) * share.astype(np.float32)
    return volume


def shepp_logan(size=256):
    """(z, x) float32, from 0 to 1."""
    return resize(shepp_logan_phantom(), (size, size), anti_aliasing=True).astype(np.float32)


def strip_sinogram(slice_zx, angles_deg, detector=None):
    """(tilt, u) float32 by ASTRA's CPU strip projector: the area that a detector pixel’s strip shares with a pixel."""
    import astra

    nz, nx = slice_zx.shape
    volume = astra.create_vol_geom(nz, nx)
    # ASTRA's second axis points up, against z; so its angles turn the other way.
    beams = astra.create_proj_geom("parallel", 1.0, detector or nx, -np.deg2rad(angles_deg))
    projector = astra.create_projector("strip", beams, volume)
    number, sinogram = astra.create_sino(np.ascontiguousarray(slice_zx, np.float32), projector)
    astra.data2d.delete(number)
    astra.projector.delete(projector)
    return sinogram


def with_gaussian_noise(sinogram, fraction, seed=0):
    """(noisy float32, σ), with σ = ``fraction`` of the maximum."""
    sigma = fraction * float(np.max(sinogram))
    noise = np.random.default_rng(seed).standard_normal(np.shape(sinogram))
    return (sinogram + sigma * noise).astype(np.float32), sigma


def with_poisson_noise(sinogram, counts, seed=0):
    """Counts, float32, with ``counts`` expected in the brightest pixel."""
    expected = np.maximum(sinogram, 0) * (counts / float(np.max(sinogram)))
    return np.random.default_rng(seed).poisson(expected).astype(np.float32)
