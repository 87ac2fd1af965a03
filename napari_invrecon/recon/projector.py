"""H of a tilt series: parallel beams about one axis, with Joseph's weights and the exact transpose (numba).

The kernels' layout is volume (z, x, y) and sinogram (tilt, u, y), slices (y) innermost: a ray's weights are the same in
every slice, so each is computed once and applied to a SIMD row of slices.

H and Hᵀ are one computation. Forward, a ray crosses 16 rows of the volume and takes from each the two pixels beside it;
backward, a pixel takes from each of 16 tilts the two rays beside it. So both first weigh 16 pairs of taps at once
(`_weigh`), then add up 16 pairs of SIMD rows in registers (`_gather`). The loops around keep what is read in the
processor's second cache: 16 rows and a tile of pixels along them, for all tilts.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.lanes import filled, floor, load, maximum, minimum, store
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
    n_floats = geometry.detector * len(rays)
    for y, width in _chunks(ny):
        sums = _aligned(n_floats * width)
        if len(rays) <= FEW_TILTS and y + width <= ny and min(nz, nx) > 1:
            source, pitch, pixel, origin = volume.reshape(-1), nx, ny, y
        else:
            source, pitch, pixel, origin = _packed(volume, y, width, threads), _pitch(nx), width, 0
        steps = (pitch * pixel, pixel)

        def project(
            start: int,
            stop: int,
            y: int = y,
            width: int = width,
            view: Any = (source, origin, steps),
            sums: Array = sums,
        ) -> None:
            _forward(*view, (nz, nx), rays, start, stop, sums, out, y, _LIKE[width])

        _share(project, len(rays), threads)
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
    for y, width in _chunks(ny):
        source = _packed(sinogram, y, width, threads)

        def project(start: int, stop: int, y: int = y, width: int = width, source: Any = source) -> None:
            _adjoint(source, _pitch(geometry.detector), geometry.detector, rays, start, stop, out, y, _LIKE[width])

        _share(project, nz, threads)
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
        return slices_innermost(forward(geometry, slices_innermost(x, n), threads=n), n)

    def back_project(y: Array) -> Array:
        return slices_innermost(adjoint(geometry, slices_innermost(y, n), threads=n), n)

    range_shape = (len(geometry.angles_deg), ny, geometry.detector)
    return LinearOperator((nz, ny, nx), range_shape, project, back_project)


def slices_innermost(x: NDArray[Any], threads: int = 1) -> Array:
    """(z, y, x) → (z, x, y), or (tilt, y, u) → (tilt, u, y), or back: a contiguous float32 copy."""
    whole = np.ascontiguousarray(x, np.float32)
    out = np.empty((whole.shape[0], whole.shape[2], whole.shape[1]), np.float32)
    _share(lambda start, stop: _swap_axes(whole, out, start, stop), len(whole), threads)
    return out


def _checked(x: Array, shape: tuple[int, ...], name: str) -> Array:
    if x.shape != shape or x.dtype != np.float32 or not x.flags.c_contiguous:
        raise ValueError(f"expected a contiguous float32 {name} of shape {shape}, not {x.dtype} {x.shape}")
    return x


def _chunks(ny: int) -> list[tuple[int, int]]:
    """(first slice, SIMD width) of the passes over ny slices; the last may be wider than what is left."""
    found, y = [], 0
    while y < ny:
        width = 32 if ny - y > 8 else 8 if ny - y > 1 else 1
        found.append((y, width))
        y += width
    return found


def _pitch(n: int) -> int:
    """Pixels from row to row of a packed array: an odd multiple of 16, so that the rows spread over the cache."""
    return (n + 15) // 32 * 32 + 16


def _packed(array: Array, y: int, width: int, threads: int) -> Array:
    """array[:, :, y : y + width] as rows of pixels of ``width`` slices, on cache lines; flat.

    Slices and pixels beyond the array are zero, so that each axis has at least two pixels.
    """
    n, rows = _pitch(array.shape[1]) * width, max(2, len(array))
    packed = _aligned(rows * n)
    packed[len(array) * n :] = 0
    _share(lambda start, stop: _pack(array, y, packed, start, stop, _LIKE[width]), len(array), threads)
    return packed


def _aligned(n: int) -> Array:
    """n floats that start on a cache line."""
    memory = np.empty(n + 16, np.float32)
    first = int(-memory.ctypes.data % 64) // 4
    return memory[first : first + n]


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


FEW_TILTS = 4
"""Up to so many tilts are projected from the volume in place: a copy in better order would take longer to make."""
_LIKE = {width: (np.float32(0),) * width for width in (1, 8, 32)}
_ROWS = (np.float32(0),) * 16
_BATCH = 16
_TILE = 128
_ZERO, _ONE = np.float32(0), np.float32(1)
_jit = numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
_inlined = numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy", forceinline=True)


@_jit
def _swap_axes(x: Any, out: Any, start: int, stop: int) -> None:
    """out[k, j, i] = x[k, i, j], in squares that the first cache holds: row by row, each write would miss it."""
    for k in range(start, stop):
        for i0 in range(0, x.shape[1], 16):
            for j0 in range(0, x.shape[2], 16):
                for j in range(j0, min(j0 + 16, x.shape[2])):
                    for i in range(i0, min(i0 + 16, x.shape[1])):
                        out[k, j, i] = x[k, i, j]


@_jit
def _pack(array: Any, y: int, packed: Any, start: int, stop: int, like: Any) -> None:
    n, ny = array.shape[1], array.shape[2]
    pitch, width = (n + 15) // 32 * 32 + 16, len(like)
    some = min(width, ny - y)
    flat = array.reshape(-1)
    for row in range(start, stop):
        for pixel in range(n):
            at = (row * pitch + pixel) * width
            if some == width:
                store(packed, at, load(flat, (row * n + pixel) * ny + y, like))
            else:
                for k in range(width):
                    packed[at + k] = array[row, pixel, y + k] if k < some else 0
        packed[(row * pitch + n) * width : (row + 1) * pitch * width] = 0


@_inlined
def _weigh(p: Any, m: Any, slope: Any, gain: Any, base: Any, last: Any, tap: Any, weights: Any, at: int) -> None:
    """gain · max(0, 1 − |tap − p − base| · slope) at the first tap beyond p + base − m and at the next one, 16 times.

    Both taps are kept within 0 … last + 1, where the formula gives no weight to those that are not beside p.
    """
    one, zero = filled(_ONE, _ROWS), filled(_ZERO, _ROWS)
    first = minimum(maximum(floor(p - m) + one, zero - base), last - base)
    near = (p - first) * slope
    far = near - slope
    store(weights, 2 * at, maximum(one - maximum(near, zero - near), zero) * gain)
    store(weights, 2 * at + 16, maximum(one - maximum(far, zero - far), zero) * gain)
    store(tap, at, first + base)


@_inlined
def _gather(source: Any, origin: int, row: int, step: int, n: int, tap: Any, weights: Any, at: int, like: Any) -> Any:
    """Σ_k near_k · source[k, tap_k] + far_k · source[k, tap_k + 1] over n ≤ 16 rows, as lanes.

    Offsets count floats: from row to row ``row``, from tap to tap ``step``. Rows go in pairs, for four sums that need
    not wait for each other.
    """
    a = filled(_ZERO, like)
    b, c, d = a, a, a
    here = origin
    for k in range(0, n, 2):
        i, w = np.uintp(at + k), np.uintp(2 * at + k)
        p = here + np.int64(tap[i]) * step
        here += row if k + 1 < n else 0
        q = here + np.int64(tap[i + np.uintp(1)]) * step
        here += row
        a = a + filled(weights[w], like) * load(source, p, like)
        b = b + filled(weights[w + np.uintp(16)], like) * load(source, p + step, like)
        c = c + filled(weights[w + np.uintp(1)], like) * load(source, q, like)
        d = d + filled(weights[w + np.uintp(17)], like) * load(source, q + step, like)
    return (a + b) + (c + d)


@_jit
def _forward(
    source: Any,
    origin: int,
    steps: Any,
    shape: Any,
    rays: Any,
    start: int,
    stop: int,
    sums: Any,
    out: Any,
    y: int,
    like: Any,
) -> None:
    """Tilts start … stop of the slices y …; source[origin + z · steps[0] + x · steps[1]] holds pixel (z, x).

    They are summed up in ``sums``, (tilt, u, width) on cache lines, flat.
    """
    n_u, width = out.shape[1], len(like)
    sums[start * n_u * width : stop * n_u * width] = 0
    scratch = (
        np.empty(_BATCH * 16, np.int32),
        np.empty(_BATCH * 32, np.float32),
        np.arange(16).astype(np.float32),
        np.empty(16, np.float32),
    )
    for steep in range(2):  # first the tilts whose rays go from row to row, then those that go from column to column
        n_rows, n_taps = shape[steep], max(2, shape[1 - steep])
        row_step, tap_step = steps[steep], steps[1 - steep]
        tiles = max(1, n_taps // _TILE)
        for row in range(0, n_rows, 16):
            here, n = origin + row * row_step, min(16, n_rows - row)
            for tile in range(tiles):
                # The rays that cross the rows' middle within this tile, or beyond the volume's ends.
                left = tile * n_taps / tiles if tile > 0 else -16.0
                right = (tile + 1) * n_taps / tiles if tile < tiles - 1 else n_taps + 16.0
                for t in range(start, stop):
                    cos, sin, m, corner = rays[t]
                    if (abs(cos) < abs(sin)) == (steep == 1):
                        along, across = (sin, cos) if steep == 1 else (cos, sin)
                        ray = (along, across, m, corner + row * across)
                        target = sums[t * n_u * width : (t + 1) * n_u * width]
                        _cross_rows(
                            source, here, row_step, tap_step, n, n_taps, left, right, ray, target, scratch, like
                        )
    some = min(width, out.shape[2] - y)
    for t in range(start, stop):
        for u in range(n_u):
            at = (t * n_u + u) * width
            for k in range(some):
                out[t, u, y + k] = sums[at + k]


@_jit
def _cross_rows(
    source: Any,
    origin: int,
    row_step: int,
    tap_step: int,
    n: int,
    n_taps: int,
    left: float,
    right: float,
    ray: Any,
    target: Any,
    scratch: Any,
    like: Any,
) -> None:
    """Add to ``target``, (u, width) flat, what the rays of one tilt collect in n ≤ 16 rows, the first at ``origin``."""
    along, across, m, corner = ray
    tap, weights, numbers, gains = scratch
    width, inverse = len(like), 1 / along
    middle = corner + (n - 1) / 2 * across
    a, b = middle + left * along, middle + right * along
    first, last = max(0, int(np.ceil(min(a, b)))), min(len(target) // width, int(np.ceil(max(a, b))))
    for k in range(16):
        gains[k] = 1 / m if k < n else 0
    one, gain, end = filled(_ONE, _ROWS), load(gains, 0, _ROWS), filled(np.float32(n_taps - 2), _ROWS)
    ramp = filled(np.float32(-across * inverse), _ROWS) * load(numbers, 0, _ROWS)
    for batch in range(first, last, _BATCH):
        stop = min(batch + _BATCH, last)
        for u in range(batch, stop):
            position = (u - corner) * inverse
            base = np.floor(position)
            p = ramp + filled(np.float32(position - base), _ROWS)
            _weigh(p, one, one, gain, filled(np.float32(base), _ROWS), end, tap, weights, 16 * (u - batch))
        for u in range(batch, stop):
            at = u * width
            lanes = _gather(source, origin, row_step, tap_step, n, tap, weights, 16 * (u - batch), like)
            store(target, at, load(target, at, like) + lanes)


@_jit
def _adjoint(source: Any, pitch: int, n_u: int, rays: Any, start: int, stop: int, out: Any, y: int, like: Any) -> None:
    """Rows start … stop (z) of the slices y …, from a packed sinogram."""
    n_tilt, nx, ny, width = len(rays), out.shape[1], out.shape[2], len(like)
    some = min(width, ny - y)
    tile = np.empty(16 * _TILE * width, np.float32)
    for z in range(start, stop, 16):
        z_end = min(z + 16, stop)
        for x in range(0, nx, _TILE):
            x_end = min(x + _TILE, nx)
            tile[:] = 0
            for t in range(0, n_tilt, 16):
                _collect_tilts(source, pitch, n_u, rays[t : t + 16], t, (z, z_end), (x, x_end), tile, like)
            for i in range(z, z_end):
                for j in range(x, x_end):
                    at = ((i - z) * _TILE + j - x) * width
                    for k in range(some):
                        out[i, j, y + k] = tile[at + k]


@_jit
def _collect_tilts(
    source: Any, pitch: int, n_u: int, rays: Any, t: int, zs: Any, xs: Any, tile: Any, like: Any
) -> None:
    """Add what the pixels zs × xs take from up to 16 tilts, from number t on, to ``tile``."""
    n, width = len(rays), len(like)
    tap, weights = np.empty(_BATCH * 16, np.int32), np.empty(_BATCH * 32, np.float32)
    # p, base, cos θ, m, 1/m and the gain, 1/m where there is a tilt; harmless numbers where there is none.
    table = np.zeros((6, 16), np.float32)
    table[3:5] = 1
    for k in range(n):
        table[2, k], table[3, k] = rays[k, 0], rays[k, 2]
        table[4, k] = table[5, k] = 1 / rays[k, 2]
    numbers = table.reshape(-1)
    cos, m, slope = load(numbers, 32, _ROWS), load(numbers, 48, _ROWS), load(numbers, 64, _ROWS)
    gain, end = load(numbers, 80, _ROWS), filled(np.float32(max(2, n_u) - 2), _ROWS)
    for z in range(zs[0], zs[1]):
        for batch in range(xs[0], xs[1], _BATCH):
            for k in range(n):
                # A pixel far beyond the detector stays beyond it.
                position = min(max(rays[k, 3] + z * rays[k, 1] + batch * rays[k, 0], -64.0), n_u + 64.0)
                base = np.floor(position)
                table[0, k], table[1, k] = position - base, base
            p, base_u = load(numbers, 0, _ROWS), load(numbers, 16, _ROWS)
            stop = min(batch + _BATCH, xs[1])
            for x in range(batch, stop):
                moved = p + filled(np.float32(x - batch), _ROWS) * cos
                _weigh(moved, m, slope, gain, base_u, end, tap, weights, 16 * (x - batch))
            for x in range(batch, stop):
                lanes = _gather(
                    source, t * pitch * width, pitch * width, width, n, tap, weights, 16 * (x - batch), like
                )
                at = ((z - zs[0]) * _TILE + x - xs[0]) * width
                store(tile, at, load(tile, at, like) + lanes)
