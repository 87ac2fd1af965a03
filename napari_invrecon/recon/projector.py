"""H of a tilt series: parallel beams about one axis, with Joseph's weights and the exact transpose (numba).

The kernels' layout is volume (z, x, y) and sinogram (tilt, u, y), slices (y) innermost: a ray's weights are the same in
every slice, so each is computed once and applied to a SIMD row of slices.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.operators import Array, LinearOperator, fft_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class Geometry:
    """u = x·cos θ + z·sin θ + axis shift, all about the centres (n − 1)/2: where a point lands on the detector.

    Parameters
    ----------
    angles_deg
        θ of each tilt, (n_tilt,), degrees; any order, any steps.
    volume
        (nz, nx), pixels of one slice.
    detector
        n_u, detector pixels across the tilt axis.
    axis_shift_px
        Where the tilt axis lies on the detector, from its centre: one number, or one for each tilt, (n_tilt,).

    Raises
    ------
    ValueError
        No angles, angles or shifts that are not finite, counts that differ, or sizes below 1.
    """

    angles_deg: NDArray[np.float64]
    volume: tuple[int, int]
    detector: int
    axis_shift_px: NDArray[np.float64]

    def __post_init__(self) -> None:
        angles = np.array(self.angles_deg, np.float64)
        shifts = np.array(self.axis_shift_px, np.float64)
        if angles.ndim != 1 or angles.size == 0:
            raise ValueError(f"expected a list of tilt angles, one an image, not an array of shape {angles.shape}")
        if shifts.ndim > 1 or shifts.size not in (1, angles.size):
            raise ValueError(f"expected one axis shift, or one for each of the {angles.size} tilts, not {shifts.size}")
        if not (np.isfinite(angles).all() and np.isfinite(shifts).all()):
            raise ValueError("a tilt angle or an axis shift is not a finite number: leave that tilt out")
        if len(self.volume) != 2 or min(*self.volume, self.detector) < 1:
            raise ValueError(f"a slice of {self.volume} pixels on a detector of {self.detector}: expected at least one")
        object.__setattr__(self, "angles_deg", angles)
        object.__setattr__(self, "axis_shift_px", np.broadcast_to(shifts, angles.shape).copy())

    def subset(self, tilts: ArrayLike) -> Geometry:
        """The same with only these tilts: indices or a mask."""
        kept = np.asarray(tilts)
        return Geometry(self.angles_deg[kept], self.volume, self.detector, self.axis_shift_px[kept])

    @property
    def rays(self) -> NDArray[np.float64]:
        """(n_tilt, 4): cos θ, sin θ, m = max(|cos θ|, |sin θ|), and u of the volume's pixel (0, 0)."""
        theta = np.deg2rad(self.angles_deg)
        cos, sin = np.cos(theta), np.sin(theta)
        nz, nx = self.volume
        corner = (self.detector - 1) / 2 + self.axis_shift_px - cos * (nx - 1) / 2 - sin * (nz - 1) / 2
        return np.stack([cos, sin, np.maximum(np.abs(cos), np.abs(sin)), corner], axis=1)


def forward(geometry: Geometry, volume_zxy: Array, out: Array | None = None, *, threads: int = 1) -> Array:
    """(Hx)_tu = Σ_zx max(0, 1 − |u − u_t(x, z)|/m)/m · x_zx, m = max(|cos θ|, |sin θ|): line integrals in pixels.

    u_t(x, z) is where the pixel lands (see `Geometry`). These are Joseph's weights: linear interpolation between the
    two neighbours where the ray crosses a row (or a column, for |θ| > 45°), times its length there, 1/m.

    Parameters
    ----------
    geometry
        Tilts, slice and detector.
    volume_zxy
        (nz, nx, ny) float32, slices innermost.
    out
        Where to put the result, (n_tilt, n_u, ny) float32; a new array if None.
    threads
        How many threads share the work.

    Source: Joseph 1982, doi:10.1109/TMI.1982.4307572.
    """
    nz, nx = geometry.volume
    ny = volume_zxy.shape[-1]
    volume = _checked(volume_zxy, (nz, nx, ny), "volume (z, x, y)")
    shape = (len(geometry.angles_deg), geometry.detector, ny)
    out = np.empty(shape, np.float32) if out is None else _checked(out, shape, "sinogram (tilt, u, y)")
    rays = geometry.rays
    _share(lambda start, stop: _forward(volume, rays[start:stop], out[start:stop]), len(rays), threads)
    return out


def adjoint(geometry: Geometry, sinogram_tuy: Array, out: Array | None = None, *, threads: int = 1) -> Array:
    """(Hᵀy)_zx = Σ_tu max(0, 1 − |u − u_t(x, z)|/m)/m · y_tu: the transpose of `forward`, weight for weight.

    Parameters
    ----------
    geometry
        Tilts, slice and detector.
    sinogram_tuy
        (n_tilt, n_u, ny) float32, slices innermost.
    out
        Where to put the result, (nz, nx, ny) float32; a new array if None.
    threads
        How many threads share the work.
    """
    nz, nx = geometry.volume
    ny = sinogram_tuy.shape[-1]
    sinogram = _checked(sinogram_tuy, (len(geometry.angles_deg), geometry.detector, ny), "sinogram (tilt, u, y)")
    out = np.empty((nz, nx, ny), np.float32) if out is None else _checked(out, (nz, nx, ny), "volume (z, x, y)")
    rays = geometry.rays
    _share(lambda start, stop: _adjoint(sinogram, rays, out[start:stop], start), nz, threads)
    return out


def projector_norm(geometry: Geometry) -> float:
    """‖H‖ = √ρ(HᵀH), by power iteration on one slice, to 1e-4 or better.

    H has no negative weight, so neither has its first singular vector (Perron & Frobenius): a slice of ones is a start
    that always overlaps with it, and the result is the same in every run.
    """
    x = np.ones((*geometry.volume, 1), np.float32)
    norm = 0.0
    for _ in range(100):
        x /= np.float32(np.linalg.norm(x.astype(np.float64)))
        x = adjoint(geometry, forward(geometry, x))
        before, norm = norm, float(np.sqrt(np.linalg.norm(x.astype(np.float64))))
        if norm == 0 or abs(norm - before) < 1e-6 * norm:
            break
    return norm


def parallel_beam(
    angles_deg: ArrayLike,
    volume_shape: tuple[int, int, int],
    axis_shift_px: ArrayLike = 0.0,
    *,
    detector_width: int | None = None,
    threads: int | None = None,
) -> LinearOperator:
    """y = Hx for a tilt series: (z, y, x) → (tilt, y, u), line integrals in pixels; tilt axis ∥ y.

    Parameters
    ----------
    angles_deg
        θ of each tilt, degrees.
    volume_shape
        (nz, ny, nx).
    axis_shift_px
        Where the tilt axis lies on the detector, from its centre; one number, or one for each tilt.
    detector_width
        n_u; nx if None.
    threads
        All cores that the process may use if None.
    """
    nz, ny, nx = volume_shape
    geometry = Geometry(
        np.asarray(angles_deg, np.float64),
        (nz, nx),
        nx if detector_width is None else detector_width,
        np.asarray(axis_shift_px, np.float64),
    )
    n = fft_workers() if threads is None else threads

    def project(x: Array) -> Array:
        return np.ascontiguousarray(forward(geometry, slices_innermost(x), threads=n).swapaxes(1, 2))

    def back_project(y: Array) -> Array:
        return np.ascontiguousarray(adjoint(geometry, slices_innermost(y), threads=n).swapaxes(1, 2))

    range_shape = (len(geometry.angles_deg), ny, geometry.detector)
    return LinearOperator((nz, ny, nx), range_shape, project, back_project)


def slices_innermost(x: Array) -> Array:
    """(z, y, x) → (z, x, y), or (tilt, y, u) → (tilt, u, y), or back: a contiguous float32 copy."""
    return np.ascontiguousarray(np.swapaxes(x, 1, 2), np.float32)


def _checked(x: Array, shape: tuple[int, ...], name: str) -> Array:
    if x.shape != shape or x.dtype != np.float32 or not x.flags.c_contiguous:
        raise ValueError(f"expected a contiguous float32 {name} of shape {shape}, not {x.dtype} {x.shape}")
    return x


def _share(work: Callable[[int, int], Any], length: int, threads: int) -> None:
    """``work(start, stop)`` over 0 … length in as many runs as threads."""
    if threads == 1 or length == 1:
        work(0, length)
        return
    bounds = np.linspace(0, length, min(threads, length) + 1).astype(int).tolist()
    list(_projector_pool().map(work, bounds[:-1], bounds[1:]))


@lru_cache(maxsize=1)
def _projector_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(fft_workers(), thread_name_prefix="invrecon-projector")


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _forward(volume: Any, rays: Any, out: Any) -> None:
    nz, nx, ny = volume.shape
    for t in range(out.shape[0]):
        cos, sin, m, corner = rays[t]
        flat = abs(cos) >= abs(sin)
        along, across = (cos, sin) if flat else (sin, cos)
        n_rows, n_taps = (nz, nx) if flat else (nx, nz)
        for u in range(out.shape[1]):
            ray = out[t, u]
            ray[:] = 0
            for row in range(n_rows):
                position = (u - corner - row * across) / along
                first = int(np.floor(position))
                for tap in range(max(first, 0), min(first + 2, n_taps)):
                    weight = np.float32((1 - abs(position - tap)) / m)
                    pixel = volume[row, tap] if flat else volume[tap, row]
                    for y in range(ny):
                        ray[y] += weight * pixel[y]


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _adjoint(sinogram: Any, rays: Any, out: Any, z_start: int) -> None:
    n_tilt, n_u, ny = sinogram.shape
    for z in range(out.shape[0]):
        for x in range(out.shape[1]):
            pixel = out[z, x]
            pixel[:] = 0
            for t in range(n_tilt):
                cos, sin, m, corner = rays[t]
                position = corner + x * cos + (z + z_start) * sin
                for u in range(max(int(np.ceil(position - m)), 0), min(int(np.floor(position + m)), n_u - 1) + 1):
                    weight = np.float32((1 - abs(u - position) / m) / m)
                    ray = sinogram[t, u]
                    for y in range(ny):
                        pixel[y] += weight * ray[y]
