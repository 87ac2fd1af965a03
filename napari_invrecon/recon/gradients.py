"""Finite differences and the shrinkage of total variation, fused in one pass over memory (numba, slabs in threads).

Differences are forward and periodic. A kernel sees every field with three axes (a, b, c): an image (y, x) as (y, 1, x),
a line as (1, 1, x), a volume as it is; slabs are cut along a. Kernels are serial and release the interpreter's lock.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.operators import Array, fft_workers


def gradient(x: Array) -> Array:
    """∇x: forward periodic differences, shape (d, …) for d axes."""
    return np.stack([np.roll(x, -1, axis) - x for axis in range(x.ndim)])


def gradient_adjoint(g: Array) -> Array:
    """∇ᵀg = Σ_d g_d(i − 1) − g_d(i)."""
    total: Array = sum((np.roll(g[axis], 1, axis) - g[axis] for axis in range(len(g))), np.zeros_like(g[0]))
    return total


def total_variation(x: Array) -> float:
    """TV(x) = Σ (Σ_d (∂_d x)²)^½, isotropic. Source: Rudin, Osher & Fatemi 1992, doi:10.1016/0167-2789(92)90242-F."""
    return float(np.sqrt(np.square(gradient(x)).sum(axis=0)).sum(dtype=np.float64))


def shrink_gradient_step(
    x: Array, state: Array, pulled: Array, threshold: float, relaxation: float, threads: int
) -> float:
    """One over-relaxed Douglas–Rachford step of the split g = ∇x with the prox of threshold · Σ|g|; returns TV(x).

    ``state`` t, shape (d, *x.shape), is updated in place: with u = t · min(1, threshold/|t|), the projection of t on the
    dual ball, t ← u + α∇x + (1 − α)(t − u), α the relaxation. Then ``pulled`` ← ∇ᵀ(t − 2u) with the new t and u.

    Sources: Goldstein & Osher 2009, doi:10.1137/080725891; Eckstein & Bertsekas 1992, doi:10.1007/BF01581204.
    """
    shape = {1: (1, 1, *x.shape), 2: (x.shape[0], 1, x.shape[-1]), 3: x.shape}[x.ndim]
    parts = [part.reshape(shape) for part in state]
    none = np.zeros((1, 1, 1), np.float32)
    ta, tb, tc = {1: (none, none, *parts), 2: (parts[0], none, parts[-1]), 3: tuple(parts)}[x.ndim]
    field, out = x.reshape(shape), pulled.reshape(shape)
    limits = np.linspace(0, shape[0], min(threads, shape[0]) + 1).astype(int).tolist()
    # A slab also needs the plane before its first one, as it was: copies, since its owner will have changed it.
    before = [start - 1 for start in limits[:-1]]
    ghosts = [tuple(t[a].copy() if t.shape[0] > 1 or t.size > 1 else none[0] for t in (ta, tb, tc)) for a in before]
    jobs = [
        (field, ta, tb, tc, *ghost, out, start, stop, np.float32(threshold), np.float32(relaxation))
        for ghost, start, stop in zip(ghosts, limits[:-1], limits[1:], strict=True)
    ]
    if len(jobs) == 1:
        return float(_shrink_slab(*jobs[0]))
    return float(sum(_slab_pool().map(lambda job: _shrink_slab(*job), jobs)))


@lru_cache(maxsize=1)
def _slab_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(fft_workers(), thread_name_prefix="invrecon-slab")


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _shrink_plane(
    x: Any, following: Any, ta: Any, tb: Any, tc: Any, qa: Any, qb: Any, qc: Any, row: Any, threshold: Any, alpha: Any,
    has_a: bool, has_b: bool,
) -> float:
    """Update t on one plane (b, c) in place and give q = t − 2u there; returns the plane's TV."""
    nb, nc = x.shape
    total = 0.0
    for b in range(nb):
        here, there = x[b], following[b]
        under = x[b + 1] if b + 1 < nb else x[0]
        for c in range(nc - 1):
            row[c] = here[c + 1] - here[c]
        row[nc - 1] = here[0] - here[nc - 1]
        length = np.float32(0)
        if has_a and not has_b:  # images
            for c in range(nc):
                ga, gc = there[c] - here[c], row[c]
                va, vc = ta[b, c], tc[b, c]
                norm = np.sqrt(va * va + vc * vc)
                f = min(np.float32(1), threshold / max(norm, np.float32(1e-30)))
                keep = f + (np.float32(1) - alpha) * (np.float32(1) - f)
                va, vc = keep * va + alpha * ga, keep * vc + alpha * gc
                norm = np.sqrt(va * va + vc * vc)
                f = np.float32(1) - np.float32(2) * min(np.float32(1), threshold / max(norm, np.float32(1e-30)))
                ta[b, c], tc[b, c] = va, vc
                qa[b, c], qc[b, c] = f * va, f * vc
                length += np.sqrt(ga * ga + gc * gc)
        elif has_b:  # volumes
            for c in range(nc):
                ga, gb, gc = there[c] - here[c], under[c] - here[c], row[c]
                va, vb, vc = ta[b, c], tb[b, c], tc[b, c]
                norm = np.sqrt(va * va + vb * vb + vc * vc)
                f = min(np.float32(1), threshold / max(norm, np.float32(1e-30)))
                keep = f + (np.float32(1) - alpha) * (np.float32(1) - f)
                va, vb, vc = keep * va + alpha * ga, keep * vb + alpha * gb, keep * vc + alpha * gc
                norm = np.sqrt(va * va + vb * vb + vc * vc)
                f = np.float32(1) - np.float32(2) * min(np.float32(1), threshold / max(norm, np.float32(1e-30)))
                ta[b, c], tb[b, c], tc[b, c] = va, vb, vc
                qa[b, c], qb[b, c], qc[b, c] = f * va, f * vb, f * vc
                length += np.sqrt(ga * ga + gb * gb + gc * gc)
        else:  # lines
            for c in range(nc):
                gc, vc = row[c], tc[b, c]
                f = min(np.float32(1), threshold / max(abs(vc), np.float32(1e-30)))
                keep = f + (np.float32(1) - alpha) * (np.float32(1) - f)
                vc = keep * vc + alpha * gc
                f = np.float32(1) - np.float32(2) * min(np.float32(1), threshold / max(abs(vc), np.float32(1e-30)))
                tc[b, c] = vc
                qc[b, c] = f * vc
                length += abs(gc)
        total += length
    return total


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _shrink_slab(
    x: Any, ta: Any, tb: Any, tc: Any, ghost_a: Any, ghost_b: Any, ghost_c: Any, out: Any, start: int, stop: int,
    threshold: Any, alpha: Any,
) -> float:
    na, nb, nc = x.shape
    has_a, has_b = ta.size > 1, tb.size > 1
    none = np.zeros((1, 1), np.float32)
    qa, qa_before = np.zeros((nb, nc), np.float32), np.zeros((nb, nc), np.float32)
    qb, qc = np.zeros((nb, nc), np.float32), np.zeros((nb, nc), np.float32)
    row = np.empty(nc, np.float32)
    if has_a:
        _shrink_plane(
            x[start - 1], x[start], ghost_a, ghost_b, ghost_c, qa_before, qb, qc, row, threshold, alpha, has_a, has_b
        )
    total = 0.0
    for a in range(start, stop):
        total += _shrink_plane(
            x[a], x[(a + 1) % na], ta[a] if has_a else none, tb[a] if has_b else none, tc[a], qa, qb, qc, row,
            threshold, alpha, has_a, has_b,
        )
        for b in range(nb):
            target = out[a, b]
            if has_a:
                for c in range(nc):
                    target[c] = qa_before[b, c] - qa[b, c] - qc[b, c]
            else:
                for c in range(nc):
                    target[c] = -qc[b, c]
            target[0] += qc[b, nc - 1]
            for c in range(1, nc):
                target[c] += qc[b, c - 1]
            if has_b:
                above = qb[b - 1]
                for c in range(nc):
                    target[c] += above[c] - qb[b, c]
        qa, qa_before = qa_before, qa
    return total
