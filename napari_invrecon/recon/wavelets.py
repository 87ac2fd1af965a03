"""A shift-invariant tight wavelet frame of linear splines, its ℓ1 norm, and the shrinkage of it, fused (numba).

Along an axis an image is split by three filters on the pixels (i − s, i, i + s), s = 2ʲ at level j, periodic:
(1, 2, 1)/4, (−1, 0, 1)·√2/4 and (−1, 2, −1)/4. Their squared responses cos⁴ + 2 cos² sin² + sin⁴ add up to 1, so with
all axes split and the low band split again at each level WᵀW = I, for any size. Nothing is decimated: the bands have
the size of the image, none depends on where an object lies, and no blocks appear. ``details`` are all bands but the last
low one: 3^d − 1 a level for d axes.

Kernels see every field with three axes (a, b, c): an image as (1, y, x), a line as (1, 1, x). They are serial over rows
(a, b) and release the interpreter's lock; rows are shared out to threads.

Source: Ron & Shen 1997, doi:10.1006/jfan.1996.3079; Cai, Osher & Shen 2009, doi:10.1137/090753504.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba
import numpy as np

from napari_invrecon.recon.operators import Array, fft_workers
from napari_invrecon.recon.regularisers import Regulariser

_FILTERS = np.array(
    [[0.25, 0.5, 0.25], [-np.sqrt(2) / 4, 0, np.sqrt(2) / 4], [-0.25, 0.5, -0.25]], np.float32
)  # fmt: skip
_NO_FILTER = np.array([[0, 1, 0]], np.float32)
_PROX_STEPS, _PROX_PRECISION = 200, 1e-5


def wavelet_l1(levels: int = 2) -> Regulariser:
    """R(x) = Σ_j 2^(−jd/2) Σ |(W_j x)_i|: the object is smooth but for few edges, lines and points.

    W_j gives the 3^d − 1 details of level j at pixel i together, |·| is their Euclidean length (as in isotropic total
    variation, no direction is preferred), and the weights are those that make R the mean over all shifts of the norm of
    a decimated transform. The low band is not penalised. For one to three axes, any size.

    The prox of an image is found by an accelerated projected gradient method on its dual, u = v − Wᵀp, |p| ≤ step · weight.

    Source of the dual: Beck & Teboulle 2009, doi:10.1109/TIP.2009.2028250.
    """
    if levels < 1:
        raise ValueError(f"{levels} wavelet levels: expected at least 1, such as 2")

    def value(x: Array) -> float:
        return float(sum(w * length.sum(dtype=np.float64) for w, length in _lengths(details(x, levels), levels)))

    def prox(v: Array, step: float) -> Array:
        p = ahead = np.zeros((levels * (3**v.ndim - 1), *v.shape), np.float32)
        u, t = v, 1.0
        for _ in range(_PROX_STEPS):
            new = ahead + details(v - details_adjoint(ahead, levels), levels)
            for (weight, length), part in zip(_lengths(new, levels), _by_level(new, levels), strict=True):
                part *= np.minimum(1, np.float32(step * weight) / np.maximum(length, np.float32(1e-30)))
            if np.vdot(ahead - new, new - p) > 0:
                t = 1.0
            t_next = (1 + np.sqrt(1 + 4 * t * t)) / 2
            p, ahead, t = new, new + np.float32((t - 1) / t_next) * (new - p), t_next
            before, u = u, v - details_adjoint(p, levels)
            if np.linalg.norm(u - before) <= _PROX_PRECISION * np.linalg.norm(u):
                break
        return u

    return Regulariser("x", value, prox)


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


def details_adjoint(q: Array, levels: int) -> Array:
    """Wᵀq with a low band of zero; with ``low_band`` instead it gives x back from its details."""
    return _merge_levels(q, np.zeros(q.shape[1:], q.dtype), levels)


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
