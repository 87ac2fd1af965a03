"""D: how far H x is from the data y, as a value, a gradient and a proximal map in the space of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from napari_invrecon.recon.operators import Array, in_slabs


@dataclass(frozen=True)
class Fidelity:
    """A convex function D(v) of v = H x.

    Attributes
    ----------
    value, gradient
        D(v) and its derivative.
    prox
        (v, step) → argmin_u step · D(u) + ½‖u − v‖².
    fused
        (v, state, view, step, relaxation, threads) → D(v[view]): one over-relaxed step t ← t + α (v − prox t) of the
        alternating direction method, with the state t in place, and then v ← 2 prox t − t. Beyond the view nothing is
        measured, there prox t is t.
    """

    value: Callable[[Array], float]
    gradient: Callable[[Array], Array]
    prox: Callable[[Array, float], Array]
    fused: Callable[[Array, Array, tuple[slice, ...], float, float, int], float]


def least_squares(y: Array, weights: Array | None = None) -> Fidelity:
    """D(v) = Σ w (v − y)²: Gaussian noise; w = 1 without ``weights``, 0 where a pixel is to be ignored."""
    w = np.float32(1) if weights is None else weights.astype(np.float32)

    def value(v: Array) -> float:
        return float(np.sum(w * np.square(v - y), dtype=np.float64))

    def prox(v: Array, step: float) -> Array:
        fitted: Array = (v + np.float32(2 * step) * w * y) / (1 + np.float32(2 * step) * w)
        return fitted

    def fused(v: Array, state: Array, view: tuple[slice, ...], step: float, relaxation: float, threads: int) -> float:
        return _in_rows(_fit_rows, v, state, view, (y, w), (np.float32(2 * step), np.float32(relaxation)), threads)

    return Fidelity(value, lambda v: 2 * w * (v - y), prox, fused)


def poisson(y: Array, background: float | Array = 0.0, weights: Array | None = None) -> Fidelity:
    """D(v) = 2 Σ w [(v + b) − y log(v + b)], twice the negative log-likelihood of counts y with mean v + b.

    The factor 2 gives it the curvature of the least squares of counts of variance one, so that λ keeps its size. The
    value counts from its minimum (it is the deviance). v + b < 0 has the value infinity; data below zero, as an offset
    or read noise can leave, count as zero.

    Source: Cash 1979, doi:10.1086/156922.
    """
    w = np.float32(1) if weights is None else weights.astype(np.float32)
    b = np.asarray(background, np.float32)

    def value(v: Array) -> float:
        mean = (v + b).astype(np.float64)
        if np.any((mean < 0) & (w > 0)) or np.any((mean == 0) & (y > 0) & (w > 0)):
            return float("inf")
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(y > 0, y * np.log(y / mean), 0.0)
        return float(2 * np.sum(np.where(w > 0, w * (mean - y + logs), 0.0)))

    def gradient(v: Array) -> Array:
        slope: Array = 2 * w * (1 - y / np.maximum(v + b, np.float32(1e-6)))
        return slope

    def prox(v: Array, step: float) -> Array:
        t = np.float32(2 * step) * w
        shifted = v + b - t
        root = np.sqrt(np.square(shifted) + 4 * t * np.maximum(y, 0))
        # Two forms of the positive root, each where it does not cancel.
        small = 2 * t * np.maximum(y, 0) / np.maximum(root - shifted, 1e-30)
        mean = np.where(shifted >= 0, 0.5 * (shifted + root), small)
        fitted: Array = np.where(w > 0, mean - b, v).astype(np.float32)
        return fitted

    def fused(v: Array, state: Array, view: tuple[slice, ...], step: float, relaxation: float, threads: int) -> float:
        numbers = (np.float32(2 * step), np.float32(relaxation))
        return _in_rows(_count_rows, v, state, view, (y, w, b), numbers, threads)

    return Fidelity(value, gradient, prox, fused)


def _in_rows(
    kernel: Callable[..., float],
    v: Array,
    state: Array,
    view: tuple[slice, ...],
    arrays: tuple[Any, ...],
    numbers: tuple[np.float32, ...],
    threads: int,
) -> float:
    """A kernel over all rows of the field, which it sees with three axes; what is one number is so for a whole row."""
    more = (1,) * (3 - v.ndim)
    seen = more + tuple(part.stop - part.start for part in view)
    corner = (0,) * (3 - v.ndim) + tuple(part.start for part in view)
    field, copy = v.reshape(more + v.shape), state.reshape(more + v.shape)
    given = [
        np.ascontiguousarray(each, np.float32).reshape(seen)
        if np.ndim(each)
        else np.full((1, 1, seen[-1]), each, np.float32)
        for each in arrays
    ]
    n_rows = field.shape[0] * field.shape[1]
    return in_slabs(
        lambda start, stop: kernel(field, copy, *given, *seen, *corner, *numbers, start, stop), n_rows, threads
    )


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _relax(v: Any, t: Any, alpha: Any) -> None:
    """Where nothing is measured."""
    for c in range(v.size):
        t[c] += alpha * (v[c] - t[c])
        v[c] = t[c]


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _fit(v: Any, t: Any, y: Any, w: Any, step: Any, alpha: Any) -> float:
    total = np.float32(0)
    for c in range(v.size):
        share = step * w[c] / (np.float32(1) + step * w[c])
        misfit = v[c] - y[c]
        total += w[c] * misfit * misfit
        t[c] += alpha * (v[c] - t[c] - share * (y[c] - t[c]))
        v[c] = t[c] + np.float32(2) * share * (y[c] - t[c])
    return float(total)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _fit_rows(
    v: Any, t: Any, y: Any, w: Any, na: int, nb: int, nc: int, a0: int, b0: int, c0: int, step: Any, alpha: Any,
    start: int, stop: int,
) -> float:  # fmt: skip
    total, end = 0.0, c0 + nc
    for row in range(start, stop):
        i, j = row // v.shape[1], row % v.shape[1]
        a, b = i - a0, j - b0
        if 0 <= a < na and 0 <= b < nb:
            _relax(v[i, j, :c0], t[i, j, :c0], alpha)
            _relax(v[i, j, end:], t[i, j, end:], alpha)
            weight = w[a % len(w), b % w.shape[1]]
            total += _fit(v[i, j, c0:end], t[i, j, c0:end], y[a, b], weight, step, alpha)
        else:
            _relax(v[i, j], t[i, j], alpha)
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _expected(t: Any, y: Any, b: Any, step: Any) -> Any:
    """The prox of counts: the positive root of two forms, each where it does not cancel."""
    if step == 0:
        return t
    shifted, counts = t + b - step, np.float32(4) * step * max(y, np.float32(0))
    root = np.sqrt(shifted * shifted + counts)
    if shifted >= 0:
        return np.float32(0.5) * (shifted + root) - b
    return np.float32(0.5) * counts / (root - shifted) - b


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _count_rows(
    v: Any, t: Any, y: Any, w: Any, background: Any, na: int, nb: int, nc: int, a0: int, b0: int, c0: int, step: Any,
    alpha: Any, start: int, stop: int,
) -> float:  # fmt: skip
    total, end = 0.0, c0 + nc
    for row in range(start, stop):
        i, j = row // v.shape[1], row % v.shape[1]
        a, b = i - a0, j - b0
        if not (0 <= a < na and 0 <= b < nb):
            _relax(v[i, j], t[i, j], alpha)
            continue
        _relax(v[i, j, :c0], t[i, j, :c0], alpha)
        _relax(v[i, j, end:], t[i, j, end:], alpha)
        weight, base = w[a % len(w), b % w.shape[1]], background[a % len(background), b % background.shape[1]]
        for c in range(nc):
            here, old, count = v[i, j, c0 + c], t[i, j, c0 + c], y[a, b, c]
            if weight[c] > 0:
                mean = here + base[c]
                if mean < 0 or (mean == 0 and count > 0):
                    total = np.inf
                else:
                    logs = count * np.log(count / mean) if count > 0 else np.float32(0)
                    total += 2 * weight[c] * (mean - count + logs)
            new = old + alpha * (here - _expected(old, count, base[c], step * weight[c]))
            t[i, j, c0 + c] = new
            v[i, j, c0 + c] = 2 * _expected(new, count, base[c], step * weight[c]) - new
    return total
