"""Finite differences and the shrinkage of total variation, fused in one pass over memory (numba, slabs in threads).

Differences are forward and periodic. A kernel sees every field with three axes (a, b, c): an image (y, x) as (y, 1, x),
a line as (1, 1, x), a volume as it is; slabs are cut along a. Kernels are serial and release the interpreter's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from napari_invrecon.recon.operators import Array, Transform, gradient_power, in_slabs

if TYPE_CHECKING:
    from numpy.typing import NDArray


def gradient(x: Array) -> Array:
    """∇x: forward periodic differences, shape (d, …) for d axes."""
    return np.stack([np.roll(x, -1, axis) - x for axis in range(x.ndim)])


def gradient_adjoint(g: Array) -> Array:
    """∇ᵀg = Σ_d g_d(i − 1) − g_d(i)."""
    total: Array = sum((np.roll(g[axis], 1, axis) - g[axis] for axis in range(len(g))), np.zeros_like(g[0]))
    return total


def counted(shape: tuple[int, ...], ends: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which components of ∇x, shape (d, …), count in R: those between two pixels before ``ends`` on every axis.

    ``ends`` = (n + 1, …) counts all, also across the field's own end, where its last pixel meets its first.
    """
    masks = []
    for component in range(len(shape)):
        mask = np.ones(shape, bool)
        for axis, (n, end) in enumerate(zip(shape, ends, strict=True)):
            inside = np.arange(n) < (end - 1 if axis == component else end)
            mask &= inside.reshape([-1 if d == axis else 1 for d in range(len(shape))])
        masks.append(mask)
    return np.stack(masks)


GRADIENT = Transform(gradient, gradient_adjoint, gradient_power, counted)


def total_variation(x: Array, ends: tuple[int, ...] | None = None) -> float:
    """TV(x) = Σ (Σ_d (∂_d x)²)^½, isotropic, of the differences that are `counted`; all of them without ``ends``.

    Source: Rudin, Osher & Fatemi 1992, doi:10.1016/0167-2789(92)90242-F.
    """
    g = gradient(x) if ends is None else gradient(x) * counted(x.shape, ends)
    return float(np.sqrt(np.square(g).sum(axis=0)).sum(dtype=np.float64))


def shrink_gradient_step(
    x: Array,
    state: Array,
    pulled: Array,
    threshold: float,
    relaxation: float,
    ends: tuple[int, ...],
    threads: int,
) -> float:
    """One over-relaxed Douglas–Rachford step of the split g = ∇x with the prox of threshold · Σ|g|; returns TV(x).

    ``state`` t, shape (d, *x.shape), is updated in place: with u = t · min(1, threshold/|t|), t projected on the dual
    ball, t ← u + α∇x + (1 − α)(t − u), α the relaxation. Then ``pulled`` ← ∇ᵀ(t − 2u) with the new t and u. Where
    a difference does not count (see `counted`), u = 0.

    Sources: Goldstein & Osher 2009, doi:10.1137/080725891; Eckstein & Bertsekas 1992, doi:10.1007/BF01581204.
    """
    shape = {1: (1, 1, *x.shape), 2: (x.shape[0], 1, x.shape[-1]), 3: x.shape}[x.ndim]
    limits = {1: (2, 2, *ends), 2: (ends[0], 2, ends[-1]), 3: ends}[x.ndim]
    parts = [part.reshape(shape) for part in state]
    none = np.zeros((1, 1, 1), np.float32)
    ta, tb, tc = {1: (none, none, *parts), 2: (parts[0], none, parts[-1]), 3: tuple(parts)}[x.ndim]
    field, out = x.reshape(shape), pulled.reshape(shape)
    # A slab also needs the plane before its first one, as it was: copies, since its owner will have changed it.
    starts = np.linspace(0, shape[0], min(threads, shape[0]) + 1).astype(int).tolist()[:-1]
    ghosts = {start: [t[min(start - 1, len(t) - 1)].copy() for t in (ta, tb, tc)] for start in starts}

    def work(start: int, stop: int) -> float:
        value: float = _shrink_slab(
            field, ta, tb, tc, *ghosts[start], out, start, stop, np.float32(threshold), np.float32(relaxation), *limits,
            x.ndim,
        )  # fmt: skip
        return value

    return in_slabs(work, shape[0], threads)


_TINY = np.float32(1e-30)
_ONE = np.float32(1)
_TWO = np.float32(2)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _shrink_line(start: int, stop: int, wc: Any, row: Any, tc: Any, qc: Any, threshold: Any, alpha: Any) -> float:
    """Pixels start … stop of a line; wc is 1 where its differences count, else 0."""
    length = np.float32(0)
    for k in range(start, stop):
        c = np.uintp(k)  # a sign would cost a check for each access, and with it the SIMD loop
        gc, vc = row[c], tc[0, c]
        f = wc * min(_ONE, threshold / max(abs(vc), _TINY))
        vc = (f + (_ONE - alpha) * (_ONE - f)) * vc + alpha * gc
        tc[0, c] = vc
        qc[0, c] = (_ONE - _TWO * wc * min(_ONE, threshold / max(abs(vc), _TINY))) * vc
        length += wc * abs(gc)
    return float(length)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _shrink_image_row(
    start: int,
    stop: int,
    wa: Any,
    wc: Any,
    here: Any,
    there: Any,
    row: Any,
    ta: Any,
    tc: Any,
    qa: Any,
    qc: Any,
    threshold: Any,
    alpha: Any,
) -> float:
    """Pixels start … stop of an image's row; wa, wc are 1 where differences to the next row, pixel count, else 0."""
    length = np.float32(0)
    for k in range(start, stop):
        c = np.uintp(k)
        ga, gc = there[0, c] - here[0, c], row[c]
        va, vc = ta[0, c], tc[0, c]
        f = min(_ONE, threshold / max(np.sqrt(wa * va * va + wc * vc * vc), _TINY))
        fa, fc = wa * f, wc * f
        va = (fa + (_ONE - alpha) * (_ONE - fa)) * va + alpha * ga
        vc = (fc + (_ONE - alpha) * (_ONE - fc)) * vc + alpha * gc
        f = _TWO * min(_ONE, threshold / max(np.sqrt(wa * va * va + wc * vc * vc), _TINY))
        ta[0, c], tc[0, c] = va, vc
        qa[0, c], qc[0, c] = (_ONE - wa * f) * va, (_ONE - wc * f) * vc
        length += np.sqrt(wa * ga * ga + wc * gc * gc)
    return float(length)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _shrink_volume_row(
    start: int,
    stop: int,
    signed_b: int,
    signed_under: int,
    wa: Any,
    wb: Any,
    wc: Any,
    x: Any,
    following: Any,
    row: Any,
    ta: Any,
    tb: Any,
    tc: Any,
    qa: Any,
    qb: Any,
    qc: Any,
    threshold: Any,
    alpha: Any,
) -> float:
    """As `_shrink_image_row`, for row b of a volume's plane, with three differences."""
    b, under = np.uintp(signed_b), np.uintp(signed_under)
    length = np.float32(0)
    for k in range(start, stop):
        c = np.uintp(k)
        ga, gb, gc = following[b, c] - x[b, c], x[under, c] - x[b, c], row[c]
        va, vb, vc = ta[b, c], tb[b, c], tc[b, c]
        f = min(_ONE, threshold / max(np.sqrt(wa * va * va + wb * vb * vb + wc * vc * vc), _TINY))
        fa, fb, fc = wa * f, wb * f, wc * f
        va = (fa + (_ONE - alpha) * (_ONE - fa)) * va + alpha * ga
        vb = (fb + (_ONE - alpha) * (_ONE - fb)) * vb + alpha * gb
        vc = (fc + (_ONE - alpha) * (_ONE - fc)) * vc + alpha * gc
        f = _TWO * min(_ONE, threshold / max(np.sqrt(wa * va * va + wb * vb * vb + wc * vc * vc), _TINY))
        ta[b, c], tb[b, c], tc[b, c] = va, vb, vc
        qa[b, c], qb[b, c], qc[b, c] = (_ONE - wa * f) * va, (_ONE - wb * f) * vb, (_ONE - wc * f) * vc
        length += np.sqrt(wa * ga * ga + wb * gb * gb + wc * gc * gc)
    return float(length)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _shrink_plane(
    x: Any,
    following: Any,
    ta: Any,
    tb: Any,
    tc: Any,
    qa: Any,
    qb: Any,
    qc: Any,
    row: Any,
    threshold: Any,
    alpha: Any,
    a: int,
    end_a: int,
    end_b: int,
    end_c: int,
    ndim: int,
) -> float:
    """Update t on plane a and give q = t − 2u there; returns the plane's TV."""
    nb, nc = x.shape
    zero = np.float32(0)
    total = 0.0
    for b in range(nb):
        under = b + 1 if b + 1 < nb else 0
        for c in range(nc - 1):
            row[c] = x[b, c + 1] - x[b, c]
        row[nc - 1] = x[b, 0] - x[b, nc - 1]
        inside = a < end_a and b < end_b
        wa = _ONE if inside and a < end_a - 1 else zero
        wb = _ONE if inside and b < end_b - 1 else zero
        wc = _ONE if inside else zero
        first, second = min(nc, end_c - 1), min(nc, end_c)
        for run in range(3):  # all differences count; all but the one along c; none
            start, stop = (0, first) if run == 0 else (first, second) if run == 1 else (second, nc)
            if run == 1:
                wc = zero
            elif run == 2:
                wa, wb = zero, zero
            if ndim == 1:
                total += _shrink_line(start, stop, wc, row, tc, qc, threshold, alpha)
            elif ndim == 2:
                total += _shrink_image_row(start, stop, wa, wc, x, following, row, ta, tc, qa, qc, threshold, alpha)
            else:
                total += _shrink_volume_row(
                    start, stop, b, under, wa, wb, wc, x, following, row, ta, tb, tc, qa, qb, qc, threshold, alpha
                )
    return total


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _shrink_slab(
    x: Any,
    ta: Any,
    tb: Any,
    tc: Any,
    ghost_a: Any,
    ghost_b: Any,
    ghost_c: Any,
    out: Any,
    start: int,
    stop: int,
    threshold: Any,
    alpha: Any,
    end_a: int,
    end_b: int,
    end_c: int,
    ndim: int,
) -> float:
    na, nb, nc = x.shape
    none = np.zeros((1, 1), np.float32)
    qa, qa_before = np.zeros((nb, nc), np.float32), np.zeros((nb, nc), np.float32)
    qb, qc = np.zeros((nb, nc), np.float32), np.zeros((nb, nc), np.float32)
    row = np.empty(nc, np.float32)
    if ndim > 1:
        before = start - 1 if start > 0 else na - 1
        _shrink_plane(
            x[before],
            x[start],
            ghost_a,
            ghost_b,
            ghost_c,
            qa_before,
            qb,
            qc,
            row,
            threshold,
            alpha,
            before,
            end_a,
            end_b,
            end_c,
            ndim,
        )
    total = 0.0
    for a in range(start, stop):
        total += _shrink_plane(
            x[a],
            x[(a + 1) % na],
            ta[a] if ndim > 1 else none,
            tb[a] if ndim > 2 else none,
            tc[a],
            qa,
            qb,
            qc,
            row,
            threshold,
            alpha,
            a,
            end_a,
            end_b,
            end_c,
            ndim,
        )
        for b in range(nb):
            target = out[a, b]
            if ndim > 1:
                for c in range(nc):
                    target[c] = qa_before[b, c] - qa[b, c] - qc[b, c]
            else:
                for c in range(nc):
                    target[c] = -qc[b, c]
            target[0] += qc[b, nc - 1]
            for c in range(1, nc):
                target[c] += qc[b, c - 1]
            if ndim > 2:
                above = qb[b - 1]
                for c in range(nc):
                    target[c] += above[c] - qb[b, c]
        qa, qa_before = qa_before, qa
    return total
