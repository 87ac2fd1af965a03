"""One sweep of a row-action method: tilt after tilt, some slices at a time, which stay in the processor's cache."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from napari_invrecon.recon.lanes import filled, load, maximum, store
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
    like = _LIKE[1 if n_y == 1 else 16 if n_y <= 16 else 32]
    width = len(like)
    s, order, rays = np.broadcast_to(steps, data.shape), far_apart(len(data)), problem.geometry.rays

    def work(first: int) -> None:
        part = slice(first, min(first + width, n_y))
        slices = np.zeros((*x.shape[:2], width), np.float32)
        slices[:, :, : part.stop - first] = x[:, :, part]
        row = np.zeros(((data.shape[1] + 2 * _MARGIN) * width,), np.float32)
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


_LIKE = {width: (np.float32(0),) * width for width in (1, 16, 32)}
_MARGIN = 2
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
    """``row`` and ``wide`` hold one tilt, with two pixels of zeros before the first and after the last.

    One pass over the volume adds what a tilt corrects and projects the result for the tilt that follows.
    """
    n_u, n_y, width = data.shape[1], data.shape[2], len(like)
    _pass(volume, shape, rays[order[0]], wide, rays[order[0]], row, False, like)
    for i in range(len(order)):
        t = order[i]
        side = np.float32((1 - rays[t, 2] ** 2) / 12)
        row[: _MARGIN * width] = _ZERO
        row[len(row) - _MARGIN * width :] = _ZERO
        _widen(row, side, scale, wide, like)
        row[:] = _ZERO
        for u in range(n_u):
            for k in range(n_y):
                at = (u + _MARGIN) * width + k
                row[at] = steps[t, u, k] * (data[t, u, k] - wide[at])
        _widen(row, side, scale, wide, like)
        row[:] = _ZERO
        _pass(volume, shape, rays[t], wide, rays[order[min(i + 1, len(order) - 1)]], row, nonnegative, like)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _widen(row: Any, side: Any, scale: Any, wide: Any, like: Any) -> None:
    width = len(like)
    middle, beside = filled(np.float32(scale * (_ONE - side - side)), like), filled(np.float32(scale * side), like)
    for at in range(_MARGIN * width, len(row) - _MARGIN * width, width):
        neighbours = load(row, at - width, like) + load(row, at + width, like)
        store(wide, at, middle * load(row, at, like) + beside * neighbours)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _pass(volume: Any, shape: Any, ray: Any, wide: Any, ray_next: Any, row: Any, nonnegative: bool, like: Any) -> None:
    """volume += H_tᵀ wide; volume ≥ 0 on request; row += H_next volume, with the weights of `projector.forward`."""
    width = len(like)
    last = len(row) // width - 2
    zero = filled(_ZERO, like)
    for z in range(shape[0]):
        for x in range(shape[1]):
            at = (z * shape[1] + x) * width
            tap, near, far = _taps(ray, z, x, last)
            tap *= width
            pixel = load(volume, at, like) + filled(near, like) * load(wide, tap, like)
            pixel = pixel + filled(far, like) * load(wide, tap + width, like)
            if nonnegative:
                pixel = maximum(pixel, zero)
            store(volume, at, pixel)
            tap, near, far = _taps(ray_next, z, x, last)
            tap *= width
            store(row, tap, load(row, tap, like) + filled(near, like) * pixel)
            store(row, tap + width, load(row, tap + width, like) + filled(far, like) * pixel)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy", forceinline=True)
def _taps(ray: Any, z: int, x: int, last: int) -> Any:
    """The detector pixel before the one where a voxel lands, with the margin, and the weights of it and the next.

    Beyond the detector, a pixel of the margin.
    """
    gain = np.float32(1 / ray[2])
    p = min(max(ray[3] + z * ray[1] + x * ray[0] + _MARGIN, 0.0), float(last))
    tap = np.int64(p)
    a = np.float32(p - tap)
    near, far = max(_ONE - a * gain, _ZERO) * gain, max(_ONE - (_ONE - a) * gain, _ZERO) * gain
    return tap, near, far
