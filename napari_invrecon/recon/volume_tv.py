"""Total variation of a volume (z, x, y): its proximal map by dual steps, fused in one pass over memory (numba).

Differences are forward; the last of each axis is zero (the field ends there). The dual p of ∇x has shape (3, z, x, y)
and is zero where no difference is. Kernels are serial and release the interpreter's lock; slabs of z go to threads. A
single slice is seen as (z, 1, x), so that the innermost loop stays long.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from napari_invrecon.recon.operators import Array, fft_workers

if TYPE_CHECKING:
    from collections.abc import Callable


def variation_dual(shape: tuple[int, ...]) -> Array:
    """p = 0, the dual of the gradient of a volume of this shape."""
    return np.zeros((3, *_inner(shape)), np.float32)


def dual_step(shape: tuple[int, ...]) -> float:
    """1/‖∇‖² at least: 1/4 for each axis with more than one voxel."""
    return 1 / (4 * max(sum(n > 1 for n in shape), 1))


def shrink(volume: Array, dual: Array, radius: float, nonnegative: bool, n_steps: int, threads: int) -> None:
    """p ← P(p + ∇u/‖∇‖²), u = [v − ∇ᵀp]₊, P onto |p| ≤ radius: steps to the prox of radius · TV at v, started at p.

    ``dual`` p changes in place, ``volume`` v does not; `advance` then gives u.

    Source: Beck & Teboulle 2009, doi:10.1109/TIP.2009.2028250, without momentum, whose part the warm start plays.
    """
    v, step = volume.reshape(dual.shape[1:]), np.float32(dual_step(volume.shape))

    def work(start: int, stop: int, ghosts: tuple[Array, ...]) -> None:
        _shrink_slab(v, dual, *ghosts, start, stop, np.float32(radius), step, nonnegative)

    for _ in range(n_steps):
        bounds = _bounds(len(v), threads)
        # A slab needs its neighbours' planes as they were: copies, since their owners will have changed them.
        ghosts = [
            (dual[0, max(start - 1, 0)].copy(), dual[:, min(stop, len(v) - 1)].copy())
            for start, stop in pairwise(bounds)
        ]
        _share(work, bounds, ghosts)


def advance(
    volume: Array, dual: Array, x: Array, momentum: float, nonnegative: bool, threads: int
) -> tuple[float, float]:
    """u = [v − ∇ᵀp]₊; then v ← u + m (u − x) and x ← u, in place. Returns ‖u − x‖² and ‖u‖²."""
    shape = dual.shape[1:]
    v, before = volume.reshape(shape), x.reshape(shape)

    def work(start: int, stop: int) -> tuple[float, float]:
        change, size = _advance_slab(v, dual, before, start, stop, np.float32(momentum), nonnegative)
        return float(change), float(size)

    sums = _share(work, _bounds(len(v), threads))
    return sum(each[0] for each in sums), sum(each[1] for each in sums)


def ascend(volume: Array, dual: Array, radius: float, step: float, threads: int) -> None:
    """p ← P(p + step · ∇v), P onto |p| ≤ radius, in place."""
    v = volume.reshape(dual.shape[1:])

    def work(start: int, stop: int) -> None:
        _ascend_slab(v, dual, start, stop, np.float32(radius), np.float32(step))

    _share(work, _bounds(len(v), threads))


def volume_variation(volume: Array, threads: int = 1) -> float:
    """TV(x) = Σ (Σ_d (∂_d x)²)^½ of a volume (z, x, y), isotropic.

    Source: Rudin, Osher & Fatemi 1992, doi:10.1016/0167-2789(92)90242-F.
    """
    v = volume.reshape(_inner(volume.shape))

    def work(start: int, stop: int) -> float:
        return float(_variation_slab(v, start, stop))

    return float(sum(_share(work, _bounds(len(v), threads))))


def _inner(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], 1, shape[1]) if shape[2] == 1 else shape


def _bounds(length: int, threads: int) -> list[int]:
    """Slabs' first planes, and the end."""
    bounds: list[int] = np.linspace(0, length, min(threads, length) + 1).astype(int).tolist()
    return bounds


def _share(work: Callable[..., Any], bounds: list[int], *extras: list[Any]) -> list[Any]:
    """``work(start, stop, …)`` for every slab, with one of each list of extras."""
    if len(bounds) == 2:
        return [work(bounds[0], bounds[1], *(each[0] for each in extras))]
    return list(_volume_pool().map(work, bounds[:-1], bounds[1:], *extras))


@lru_cache(maxsize=1)
def _volume_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(fft_workers(), thread_name_prefix="invrecon-volume")


_TINY = np.float32(1e-30)
_ZERO, _ONE = np.float32(0), np.float32(1)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _primal_plane(v: Any, before: Any, pz: Any, px: Any, py: Any, first: bool, nonnegative: bool, out: Any) -> None:
    """out = [v − ∇ᵀp]₊ on one plane; ``before`` is p_z of the plane before, if there is one."""
    nx, ny = v.shape
    for i in range(nx):
        target, source, zc, xc, yc = out[i], v[i], pz[i], px[i], py[i]
        for k in range(ny):
            target[k] = source[k] + zc[k] + xc[k] + yc[k]
        if not first:
            zb = before[i]
            for k in range(ny):
                target[k] -= zb[k]
        if i > 0:
            xb = px[i - 1]
            for k in range(ny):
                target[k] -= xb[k]
        for k in range(ny - 1):
            target[k + 1] -= yc[k]
        if nonnegative:
            for k in range(ny):
                target[k] = max(target[k], _ZERO)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _dual_plane(u: Any, following: Any, pz: Any, px: Any, py: Any, radius: Any, step: Any) -> None:
    """p ← P(p + step ∇u) on one plane; ``following`` is u's next plane, or u itself after the last."""
    nx, ny = u.shape
    for i in range(nx):
        here, there, under = u[i], following[i], u[min(i + 1, nx - 1)]
        zc, xc, yc = pz[i], px[i], py[i]
        for k in range(ny - 1):
            a = zc[k] + step * (there[k] - here[k])
            b = xc[k] + step * (under[k] - here[k])
            c = yc[k] + step * (here[k + 1] - here[k])
            scale = min(_ONE, radius / max(np.sqrt(a * a + b * b + c * c), _TINY))
            zc[k], xc[k], yc[k] = a * scale, b * scale, c * scale
        a = zc[ny - 1] + step * (there[ny - 1] - here[ny - 1])
        b = xc[ny - 1] + step * (under[ny - 1] - here[ny - 1])
        scale = min(_ONE, radius / max(np.sqrt(a * a + b * b), _TINY))
        zc[ny - 1], xc[ny - 1] = a * scale, b * scale


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _shrink_slab(
    v: Any, p: Any, ghost_z: Any, ghosts: Any, start: int, stop: int, radius: Any, step: Any, nonnegative: bool
) -> None:
    nz, nx, ny = v.shape
    here, following = np.empty((nx, ny), np.float32), np.empty((nx, ny), np.float32)
    _primal_plane(v[start], ghost_z, p[0, start], p[1, start], p[2, start], start == 0, nonnegative, here)
    for z in range(start, stop):
        if z + 1 < stop:
            _primal_plane(v[z + 1], p[0, z], p[0, z + 1], p[1, z + 1], p[2, z + 1], False, nonnegative, following)
        elif z + 1 < nz:
            _primal_plane(v[z + 1], p[0, z], ghosts[0], ghosts[1], ghosts[2], False, nonnegative, following)
        else:
            following[:] = here
        _dual_plane(here, following, p[0, z], p[1, z], p[2, z], radius, step)
        here, following = following, here


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _advance_slab(v: Any, p: Any, x: Any, start: int, stop: int, momentum: Any, nonnegative: bool) -> Any:
    nx, ny = v.shape[1:]
    u = np.empty((nx, ny), np.float32)
    change, size = 0.0, 0.0
    for z in range(start, stop):
        _primal_plane(v[z], p[0, max(z - 1, 0)], p[0, z], p[1, z], p[2, z], z == 0, nonnegative, u)
        for i in range(nx):
            row_change: Any = _ZERO
            row_size: Any = _ZERO
            new, before, ahead = u[i], x[z, i], v[z, i]
            for k in range(ny):
                moved = new[k] - before[k]
                row_change += moved * moved
                row_size += new[k] * new[k]
                ahead[k] = new[k] + momentum * moved
                before[k] = new[k]
            change += row_change
            size += row_size
    return change, size


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _ascend_slab(v: Any, p: Any, start: int, stop: int, radius: Any, step: Any) -> None:
    last = len(v) - 1
    for z in range(start, stop):
        _dual_plane(v[z], v[min(z + 1, last)], p[0, z], p[1, z], p[2, z], radius, step)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _variation_slab(v: Any, start: int, stop: int) -> float:
    nz, nx, ny = v.shape
    total = 0.0
    for z in range(start, stop):
        for i in range(nx):
            here, there, under = v[z, i], v[min(z + 1, nz - 1), i], v[z, min(i + 1, nx - 1)]
            row: Any = _ZERO
            for k in range(ny - 1):
                a, b, c = there[k] - here[k], under[k] - here[k], here[k + 1] - here[k]
                row += np.sqrt(a * a + b * b + c * c)
            a, b = there[ny - 1] - here[ny - 1], under[ny - 1] - here[ny - 1]
            total += row + np.sqrt(a * a + b * b)
    return total
