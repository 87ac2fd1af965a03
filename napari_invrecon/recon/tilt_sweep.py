"""One sweep of a row-action method: tilt after tilt, some slices at a time, which stay in the processor's cache."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from napari_invrecon.recon.lanes import filled, load, store
from napari_invrecon.recon.operators import fft_workers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.operators import Array
    from napari_invrecon.recon.tilt_problem import TiltProblem


def sweep(problem: TiltProblem, data: Array, steps: Array, x: Array, nonnegative: bool, threads: int) -> None:
    """x ← x + A_tᵀ s_t (y_t − A_t x) for one tilt t after another, in place; x ≥ 0 after each on request.

    ``steps`` s broadcasts to the data. Consecutive tilts are far apart. Source: Andersen & Kak 1984,
    doi:10.1016/0161-7346(84)90008-7.
    """
    n_y = x.shape[2]
    like = _LIKE[1 if n_y == 1 else 16]
    width = len(like)
    s, order, rays = np.broadcast_to(steps, data.shape), far_apart(len(data)), problem.geometry.rays

    def work(first: int) -> None:
        part = slice(first, min(first + width, n_y))
        slices = np.zeros((*x.shape[:2], width), np.float32)
        slices[:, :, : part.stop - first] = x[:, :, part]
        row = np.zeros(((data.shape[1] + 2) * width,), np.float32)
        _sweep_slices(
            slices.reshape(-1),
            slices.shape[:2],
            data[:, :, part],
            s[:, :, part],
            order,
            rays,
            np.float32(1 / problem.norm),
            row,
            np.zeros_like(row),
            nonnegative,
            like,
        )
        x[:, :, part] = slices[:, :, : part.stop - first]

    if threads == 1 or n_y <= width:
        for first in range(0, n_y, width):
            work(first)
    else:
        list(_sweep_pool(threads).map(work, range(0, n_y, width)))


@lru_cache(maxsize=4)
def _sweep_pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(threads, fft_workers()), thread_name_prefix="invrecon-sweep")


def far_apart(n: int) -> NDArray[np.int64]:
    """0 … n − 1 in an order whose neighbours are far apart: multiples of n/φ, φ the golden ratio.

    Source: Köhler 2004, doi:10.1109/NSSMIC.2004.1466745.
    """
    fractions = np.arange(n) * (math.sqrt(5) - 1) / 2 % 1
    return np.argsort(np.argsort(fractions, kind="stable"))


_LIKE = {width: (np.float32(0),) * width for width in (1, 16)}
_ZERO, _ONE = np.float32(0), np.float32(1)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _sweep_slices(
    volume: Any,
    shape: Any,
    data: Any,
    steps: Any,
    order: Any,
    rays: Any,
    scale: Any,
    row: Any,
    wide: Any,
    nonnegative: bool,
    like: Any,
) -> None:
    """``row`` and ``wide`` hold one tilt, with a pixel of zeros before the first and after the last."""
    for t in order:
        side = np.float32((1 - rays[t, 2] ** 2) / 12)
        _project(volume, shape, rays[t], row, like)
        _widen(row, side, scale, wide, like)
        n_u, n_y, width = data.shape[1], data.shape[2], len(like)
        for u in range(n_u):
            for k in range(n_y):
                at = (u + 1) * width + k
                row[at] = steps[t, u, k] * (data[t, u, k] - wide[at])
        _widen(row, side, scale, wide, like)
        _spread(volume, shape, rays[t], wide, nonnegative, like)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _widen(row: Any, side: Any, scale: Any, wide: Any, like: Any) -> None:
    width = len(like)
    middle, beside = filled(np.float32(scale * (_ONE - side - side)), like), filled(np.float32(scale * side), like)
    for at in range(width, len(row) - width, width):
        neighbours = load(row, at - width, like) + load(row, at + width, like)
        store(wide, at, middle * load(row, at, like) + beside * neighbours)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _project(volume: Any, shape: Any, ray: Any, row: Any, like: Any) -> None:
    """Joseph's line integrals of one tilt, see `projector.forward`."""
    cos, sin, m, corner = ray[0], ray[1], ray[2], ray[3]
    steep = abs(cos) < abs(sin)
    along, across = (sin, cos) if steep else (cos, sin)
    n_rows, n_taps = (shape[1], shape[0]) if steep else (shape[0], shape[1])
    width = len(like)
    row_step, tap_step = (width, shape[1] * width) if steep else (shape[1] * width, width)
    gain = np.float32(1 / m)
    for u in range(len(row) // width - 2):
        position, slope = (u - corner) / along, -across / along
        start, stop = _inside(position, slope, n_rows, n_taps)
        near, far = filled(_ZERO, like), filled(_ZERO, like)
        near_too, far_too = near, far
        for k in range(start, stop - 1, 2):
            p, q = position + k * slope, position + (k + 1) * slope
            first, second = np.int64(p), np.int64(q)
            a, b = np.float32(p - first), np.float32(q - second)
            at, then = k * row_step + first * tap_step, (k + 1) * row_step + second * tap_step
            near = near + filled(_ONE - a, like) * load(volume, at, like)
            far = far + filled(a, like) * load(volume, at + tap_step, like)
            near_too = near_too + filled(_ONE - b, like) * load(volume, then, like)
            far_too = far_too + filled(b, like) * load(volume, then + tap_step, like)
        total = (near + far) + (near_too + far_too)
        for run in range(2):  # the rows left over, and those where one of the two taps lies beyond the volume
            for k in range(0 if run == 0 else stop - (stop - start) % 2, start if run == 0 else n_rows):
                p = position + k * slope
                first = np.int64(math.floor(p))
                if first < -1 or first >= n_taps:
                    continue
                a, at = np.float32(p - first), k * row_step + first * tap_step
                if first >= 0:
                    total = total + filled(_ONE - a, like) * load(volume, at, like)
                if first + 1 < n_taps:
                    total = total + filled(a, like) * load(volume, at + tap_step, like)
        store(row, (u + 1) * width, total * filled(gain, like))


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _inside(position: float, slope: float, n_rows: int, n_taps: int) -> Any:
    """Rows start … stop, in which 0 ≤ position + k · slope < n_taps − 1 surely holds: both taps are there."""
    low, high = 1e-6, n_taps - 1 - 1e-6
    if abs(slope) < 1e-12:
        return (0, n_rows) if low <= position <= high else (0, 0)
    ends = (low - position) / slope, (high - position) / slope
    start = min(max(math.ceil(min(ends)), 0), n_rows)
    stop = min(max(math.floor(max(ends)) + 1, start), n_rows)
    return np.int64(start), np.int64(stop)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _spread(volume: Any, shape: Any, ray: Any, row: Any, nonnegative: bool, like: Any) -> None:
    """volume += the transpose of `_project` of a row; then volume ≥ 0 on request."""
    cos, sin, m, corner = ray[0], ray[1], ray[2], ray[3]
    width = len(like)
    n_u = len(row) // width - 2
    gain = 1 / m
    for z in range(shape[0]):
        for x in range(shape[1]):
            p = corner + z * sin + x * cos
            at = (z * shape[1] + x) * width
            pixel = load(volume, at, like)
            if p > -1 and p < n_u:
                first = math.floor(p)
                near = max(1 - (p - first) * gain, 0.0) * gain
                far = max(1 - (first + 1 - p) * gain, 0.0) * gain
                source = (first + 1) * width
                pixel = pixel + filled(np.float32(near), like) * load(row, source, like)
                pixel = pixel + filled(np.float32(far), like) * load(row, source + width, like)
            store(volume, at, pixel)
    if nonnegative:
        for i in range(len(volume)):
            volume[i] = max(volume[i], _ZERO)
