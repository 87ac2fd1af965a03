"""A shift-invariant tight wavelet frame of linear splines, its ℓ1 norm, and the shrinkage of it, fused (numba).

Along an axis an image is split by three filters on the pixels (i − s, i, i + s), s = 2ʲ at level j, periodic:
(1, 2, 1)/4, (−1, 0, 1)·√2/4 and (−1, 2, −1)/4. Their squared responses cos⁴ + 2 cos² sin² + sin⁴ add up to 1, so with
all axes split and the low band split again at each level WᵀW = I, for any size. Nothing is decimated: the bands have
the size of the image, none depends on where an object lies, and no blocks appear. ``details`` are all bands but the
last low one: 3^d − 1 a level for d axes.

Kernels see every field with three axes (a, b, c): an image as (1, y, x), a line as (1, 1, x). They are serial over rows
(a, b) and release the interpreter's lock; rows are shared out to threads.

Source: Ron & Shen 1997, doi:10.1006/jfan.1996.3079; Cai, Osher & Shen 2009, doi:10.1137/090753504.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from napari_invrecon.recon.operators import Array, Transform, in_slabs
from napari_invrecon.recon.regularisers import Regulariser

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FILTERS = np.array(
    [[0.25, 0.5, 0.25], [-np.sqrt(2) / 4, 0, np.sqrt(2) / 4], [-0.25, 0.5, -0.25]], np.float32
)  # fmt: skip
_REVERSED = np.ascontiguousarray(_FILTERS[:, ::-1])
_NO_FILTER = np.array([[0, 1, 0]], np.float32)


def wavelet_l1(levels: int = 2) -> Regulariser:
    """R(x) = Σ_j 2^(−jd/2) Σ |(W_j x)_i|: the object is smooth but for few edges, lines and points.

    W_j gives the 3^d − 1 details of level j at pixel i together, |·| is their Euclidean length (as in isotropic total
    variation, no direction is preferred), and the weights are those that make R the mean over all shifts of the norm of
    a decimated transform. The low band is not penalised. For one to three axes, any size.

    Source: Daubechies et al. 2004, doi:10.1002/cpa.20042.
    """
    if levels < 1:
        raise ValueError(f"{levels} wavelet levels: expected at least 1, such as 2")

    def value(x: Array) -> float:
        return float(sum(w * length.sum(dtype=np.float64) for w, length in _lengths(details(x, levels), levels)))

    def prox(v: Array, step: float) -> Array:
        shrunk = np.empty_like(v)
        parts = zip(_lengths(v, levels), _by_level(v, levels), _by_level(shrunk, levels), strict=True)
        for (weight, length), part, out in parts:
            keep = 1 - np.minimum(1, np.float32(step * weight) / np.maximum(length, np.float32(1e-30)))
            np.multiply(part, keep, out=out)
        return shrunk

    return Regulariser(frame(levels), value, prox, degree=1, fused=shrink_details_step)


def frame(levels: int) -> Transform:
    """W without the low band, as K of a regulariser."""

    def mask(shape: tuple[int, ...], ends: tuple[int, ...]) -> NDArray[np.bool_]:
        return np.concatenate([np.stack([counted(shape, ends, j)] * (3 ** len(shape) - 1)) for j in range(levels)])

    return Transform(
        lambda x: details(x, levels),
        lambda q: details_adjoint(q, levels),
        lambda shape: details_power(shape, levels),
        mask,
    )


def details(x: Array, levels: int) -> Array:
    """W x without the low band, shape (levels · (3^d − 1), *x.shape)."""
    low, bands = x, []
    for level in range(levels):
        parts = [low]
        for axis in range(x.ndim):
            parts = [band for part in parts for band in _split(part, axis, 2**level)]
        low = parts[0]
        bands += parts[1:]
    return np.stack(bands)


def details_adjoint(q: Array, levels: int, low: Array | None = None) -> Array:
    """Wᵀq; with the ``low_band`` of an image beside its details it gives the image back."""
    total = np.zeros(q.shape[1:], q.dtype) if low is None else low
    for level, bands in reversed(list(enumerate(_by_level(q, levels)))):
        parts = [total, *bands]
        for axis in reversed(range(total.ndim)):
            parts = [_merge(parts[i : i + 3], axis, 2**level) for i in range(0, len(parts), 3)]
        total = parts[0]
    return total


def low_band(x: Array, levels: int) -> Array:
    """What the details leave out: x smoothed to the coarsest level."""
    for level, axis in itertools.product(range(levels), range(x.ndim)):
        x = _split(x, axis, 2**level)[0]
    return x


def details_power(shape: tuple[int, ...], levels: int) -> Array:
    """The details' |W|² on the ``rfftn`` grid: 1 − Π_j Π_d cos⁴(2ʲ π k_d / n_d)."""
    low = np.ones((*shape[:-1], shape[-1] // 2 + 1))
    for axis, n in enumerate(shape):
        k = np.arange(low.shape[axis])
        response = np.prod([np.cos(2**level * np.pi * k / n) ** 4 for level in range(levels)], axis=0)
        low *= response.reshape([-1 if d == axis else 1 for d in range(len(shape))])
    return (1 - low).astype(np.float32)


def counted(shape: tuple[int, ...], ends: tuple[int, ...], level: int) -> NDArray[np.bool_]:
    """The pixels whose details of a level look only at pixels before ``ends``; (n + 1, …) counts all."""
    mask = np.ones(shape, bool)
    for axis, range_ in enumerate(_ranges(shape, ends, level)):
        inside = np.zeros(shape[axis], bool)
        inside[slice(*range_)] = True
        mask &= inside.reshape([-1 if d == axis else 1 for d in range(len(shape))])
    return mask


def shrink_details_step(
    x: Array, state: Array, pulled: Array, threshold: float, relaxation: float, ends: tuple[int, ...], threads: int
) -> float:
    """One over-relaxed Douglas–Rachford step of the split d = Wx with the prox of threshold · R; returns R(x).

    ``state`` t, shape of ``details``, is updated in place: with u = t · min(1, threshold · weight/|t|), t projected on
    the dual ball, t ← u + αWx + (1 − α)(t − u), α the relaxation. Then ``pulled`` ← Wᵀ(t − 2u) with the new t and u.
    Where a detail does not count (see `counted`), u = 0.

    Source: Eckstein & Bertsekas 1992, doi:10.1007/BF01581204.
    """
    ndim, levels = x.ndim, len(state) // (3**x.ndim - 1)
    field: tuple[int, ...] = (1,) * (3 - ndim) + x.shape
    over_a, over_b = (_FILTERS if axis >= 3 - ndim else _NO_FILTER for axis in range(2))
    n_rows, total = field[0] * field[1], 0.0
    low, folded = x.reshape(field), []
    for level, part in enumerate(_by_level(state, levels)):
        following = np.empty(field, np.float32)
        fold = np.empty((len(over_a) * len(over_b), *field), np.float32)
        weight = _weight(level, x.shape)
        limits = [(0, 1)] * (3 - ndim) + _ranges(x.shape, ends, level)
        total += weight * in_slabs(
            functools.partial(
                _shrink_rows, low, 2**level, over_a, over_b, part.reshape(-1, *field), np.float32(threshold * weight),
                np.float32(relaxation), *limits, following, fold,
            ),
            n_rows, threads,
        )  # fmt: skip
        folded.append(fold)
        low = following
    out: Array | None = None
    for level, fold in reversed(list(enumerate(folded))):
        if out is not None:
            in_slabs(functools.partial(_add_smoothed, out, 2**level, fold[0]), n_rows, threads)
        out = np.empty(field, np.float32) if level else pulled.reshape(field)
        in_slabs(functools.partial(_unfold_rows, fold, 2**level, over_a, over_b, out), n_rows, threads)
    return total


def _split(x: Array, axis: int, s: int) -> list[Array]:
    """The three bands of one axis."""
    before, after = np.roll(x, s, axis), np.roll(x, -s, axis)
    return [f[0] * before + f[1] * x + f[2] * after for f in _FILTERS]


def _merge(bands: list[Array], axis: int, s: int) -> Array:
    """The adjoint of `_split`."""
    total: Array = sum(
        (
            f[0] * np.roll(band, -s, axis) + f[1] * band + f[2] * np.roll(band, s, axis)
            for f, band in zip(_FILTERS, bands, strict=True)
        ),
        np.zeros_like(bands[0]),
    )
    return total


def _by_level(q: Array, levels: int) -> Array:
    """Details as (level, band, …), the same memory."""
    return q.reshape(levels, -1, *q.shape[1:])


def _lengths(q: Array, levels: int) -> list[tuple[float, Array]]:
    """The weight of each level, and the length of its details at every pixel."""
    return [
        (_weight(j, q.shape[1:]), np.sqrt(np.square(part).sum(axis=0))) for j, part in enumerate(_by_level(q, levels))
    ]


def _weight(level: int, shape: tuple[int, ...]) -> float:
    """2^(−jd/2), d the axes with more than one pixel: an image one pixel wide is a line."""
    return float(2 ** (-level * sum(n > 1 for n in shape) / 2))


def _ranges(shape: tuple[int, ...], ends: tuple[int, ...], level: int) -> list[tuple[int, int]]:
    """First and end of the pixels that are `counted`, for each axis."""
    reach = 2 ** (level + 1) - 1
    return [(0, n) if end > n else (min(reach, n), max(end - reach, 0)) for n, end in zip(shape, ends, strict=True)]


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _add_three(total: Any, f: Any, before: Any, here: Any, after: Any) -> None:
    for c in range(total.size):
        total[c] += f[0] * before[c] + f[1] * here[c] + f[2] * after[c]


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _add_filtered(total: Any, f: Any, x: Any, s: int) -> None:
    """total[c] += f₀ x[c − s] + f₁ x[c] + f₂ x[c + s], periodic; in arrays that start at 0, which numba vectorises."""
    n = x.size
    edge = min(s, n)
    for c in range(edge):
        total[c] += f[0] * x[(c - s) % n] + f[1] * x[c] + f[2] * x[(c + s) % n]
    for c in range(max(edge, n - s), n):
        total[c] += f[0] * x[(c - s) % n] + f[1] * x[c] + f[2] * x[(c + s) % n]
    if n > 2 * s:
        _add_three(total[s : n - s], f, x[: n - 2 * s], x[s : n - s], x[2 * s :])


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _add_scaled(total: Any, factor: Any, x: Any) -> None:
    for c in range(total.size):
        total[c] += factor * x[c]


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _add_squares(total: Any, x: Any) -> None:
    for c in range(total.size):
        total[c] += x[c] * x[c]


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _relax(t: Any, keep: Any, alpha: Any, d: Any) -> None:
    for c in range(t.size):
        t[c] = keep[c] * t[c] + alpha * d[c]


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _reflect(q: Any, factor: Any, t: Any) -> None:
    for c in range(q.size):
        q[c] = factor[c] * t[c]


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _shrink_rows(
    x: Any,
    s: int,
    over_a: Any,
    over_b: Any,
    t: Any,
    threshold: Any,
    alpha: Any,
    range_a: Any,
    range_b: Any,
    range_c: Any,
    low: Any,
    folded: Any,
    start: int,
    stop: int,
) -> float:
    """Split rows of x into ``low`` and details, update t, and fold the reflected t along c: ``folded[m]`` for each
    pair m of filters along a and b. Returns Σ |d| over the details that count."""
    na, nb, nc = x.shape
    n_pairs = len(over_a) * len(over_b)
    n_bands = 3 * n_pairs
    row, q, squares, factor = np.empty((4, nc), np.float32)
    limit = np.zeros(nc, np.float32)
    limit[range_c[0] : range_c[1]] = threshold
    d = np.empty((n_bands, nc), np.float32)
    tiny, one, two = np.float32(1e-30), np.float32(1), np.float32(2)
    total = 0.0
    for index in range(start, stop):
        a, b = index // nb, index % nb
        counts = range_a[0] <= a < range_a[1] and range_b[0] <= b < range_b[1]
        strength = one if counts else np.float32(0)
        d[:] = 0
        for m in range(n_pairs):
            fa, fb = over_a[m // len(over_b)], over_b[m % len(over_b)]
            row[:] = 0
            for i in range(3):
                for j in range(3):
                    if fa[i] * fb[j] != 0:
                        _add_scaled(row, fa[i] * fb[j], x[(a + (i - 1) * s) % na, (b + (j - 1) * s) % nb])
            for k in range(3):
                _add_filtered(d[3 * m + k], _FILTERS[k], row, s)
        low[a, b] = d[0]
        squares[:] = 0
        for k in range(1, n_bands):
            _add_squares(squares, t[k - 1, a, b])
        for c in range(nc):
            f = min(one, strength * limit[c] / max(np.sqrt(squares[c]), tiny))
            factor[c] = f + (one - alpha) * (one - f)
        squares[:] = 0
        for k in range(1, n_bands):
            _add_squares(squares, d[k])
        if counts:
            length = 0.0
            for c in range(range_c[0], range_c[1]):
                length += np.sqrt(squares[c])
            total += length
        squares[:] = 0
        for k in range(1, n_bands):
            _relax(t[k - 1, a, b], factor, alpha, d[k])
            _add_squares(squares, t[k - 1, a, b])
        for c in range(nc):
            factor[c] = one - two * min(one, strength * limit[c] / max(np.sqrt(squares[c]), tiny))
        for m in range(n_pairs):
            fold = folded[m, a, b]
            fold[:] = 0
            for k in range(3):
                if m + k > 0:
                    _reflect(q, factor, t[3 * m + k - 1, a, b])
                    _add_filtered(fold, _REVERSED[k], q, s)
    return total


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _add_smoothed(low: Any, s: int, folded: Any, start: int, stop: int) -> float:
    """What comes from the coarser levels enters as the low band."""
    nb = low.shape[1]
    for index in range(start, stop):
        _add_filtered(folded[index // nb, index % nb], _FILTERS[0], low[index // nb, index % nb], s)
    return 0.0


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _unfold_rows(folded: Any, s: int, over_a: Any, over_b: Any, out: Any, start: int, stop: int) -> float:
    """The adjoint of the filters along a and b."""
    na, nb, _ = out.shape
    for index in range(start, stop):
        a, b = index // nb, index % nb
        row = out[a, b]
        row[:] = 0
        for m in range(len(folded)):
            fa, fb = over_a[m // len(over_b)], over_b[m % len(over_b)]
            for i in range(3):
                for j in range(3):
                    if fa[i] * fb[j] != 0:
                        _add_scaled(row, fa[i] * fb[j], folded[m, (a - (i - 1) * s) % na, (b - (j - 1) * s) % nb])
    return 0.0
