"""R(x) = ‖Δ√x‖²: an intensity whose amplitude q = √x bends little, solved for q, so that x = q² is never negative.

Next to nothing may vary only slowly, and on a bright feature steeply: the belief of a dark ground with columns on it,
and of smooth shades. λ does not depend on the exposure, as counts and R both grow in proportion to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_invrecon.recon.operators import Array, forward_fft, gradient_power, inverse_fft
from napari_invrecon.recon.solvers import Iterate, Steps, Window, relative_change

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PAIRS = 8  # of steps and changes of the gradient that are remembered
_STIFF = 0.5  # least curvature of the data term, scaled data: only the speed depends on it
_LEAST = 1e-6  # of the scaled data: a prediction that is not zero
_DIM = 0.01  # of the mean: what the start is at least, as an amplitude of zero stays zero
_IN_A_ROW = 3  # small changes before it stops: one step may be short by accident


def roughness(x: Array, ends: tuple[int, ...] | None = None) -> float:
    """R(x) = ‖Δ√x‖², x ≥ 0, of the differences before ``ends``, see `bending`; of all, periodic, without them."""
    bent = bending(np.sqrt(np.maximum(x, 0)), ends or tuple(n + 1 for n in x.shape))
    return _dot(bent, bent)


def bending(q: Array, ends: tuple[int, ...]) -> Array:
    """−Δq = ∇ᵀ∇q, of the differences between neighbours before ``ends`` on every axis; 0 beyond. It is its own adjoint.

    ``ends`` = n + 1 on an axis counts all of it, also the last pixel's neighbour, the first.
    """
    bent = np.zeros_like(q)
    inside = tuple(slice(0, end) for end in ends)
    for axis, end in enumerate(ends):
        field, out = np.moveaxis(q[inside], axis, 0), np.moveaxis(bent[inside], axis, 0)
        step = field[1:] - field[:-1]
        out[:-1] -= step
        out[1:] += step
        if end > len(field):
            out[0] += field[0] - field[-1]
            out[-1] += field[-1] - field[0]
    return bent


def smooth_amplitude(
    data: Window, otf: NDArray[np.complex64], lam: float, start: Array, *, n_steps: int = 200, tolerance: float = 1e-3
) -> Steps[Array]:
    """argmin D(Hq²) + λ‖Δq‖², x = q², by a limited-memory quasi-Newton method.

    Parameters
    ----------
    data
        D, through the window of the field where data are; beyond it x is free.
    otf
        H on the ``rfftn`` grid of the field.
    lam
        λ.
    start
        The first x, shape of the field; not changed.
    n_steps, tolerance
        At most; stops when ‖x − x_before‖ / ‖x − mean x‖ in the window is below the tolerance three times in a row.

    Sources: Good & Gaskins 1971, doi:10.1093/biomet/58.2.255 (roughness of √x, first and second order); Liu & Nocedal
    1989, doi:10.1007/BF01589116.
    """
    shape, ndim = start.shape, start.ndim
    ends = data.ends(shape)
    # The unknown is p, q = S p: with S² = 1/(curvature of the objective) its curvature is about one everywhere.
    whiten = (
        1 / np.sqrt(_STIFF + 4 * np.square(np.abs(otf)) + np.float32(lam) * np.square(gradient_power(shape)))
    ).astype(np.float32)

    def amplitude(p: Array) -> Array:
        return inverse_fft(forward_fft(p, ndim) * whiten, shape)

    def objective(q: Array) -> tuple[float, float, Array]:
        """(D, λR, the gradient in p)."""
        blurred = np.maximum(inverse_fft(forward_fft(np.square(q), ndim) * otf, shape)[data.view], np.float32(_LEAST))
        slope = np.zeros(shape, np.float32)
        slope[data.view] = data.fidelity.gradient(blurred)
        pulled = inverse_fft(forward_fft(slope, ndim) * otf.conj(), shape)
        bent = bending(q, ends)
        total = forward_fft(2 * q * pulled + np.float32(2 * lam) * bending(bent, ends), ndim) * whiten
        return data.fidelity.value(blurred), lam * _dot(bent, bent), inverse_fft(total, shape)

    q = np.sqrt(np.maximum(start, np.float32(_DIM) * max(float(start[data.view].mean()), _LEAST))).astype(np.float32)
    misfit, rough, gradient = objective(q)
    pairs: list[tuple[Array, Array, float]] = []
    small = 0
    for step in range(1, n_steps + 1):
        direction = _towards(gradient, pairs)
        slope = _dot(direction, gradient)
        along = amplitude(direction)
        length = 1.0 if pairs else min(1.0, 0.1 * float(np.sqrt(_squares(q) / max(_squares(along), 1e-30))))
        for _ in range(20):
            tried = q + np.float32(length) * along
            new = objective(tried)
            if new[0] + new[1] <= misfit + rough + 1e-4 * length * slope:
                break
            length /= 2
        else:  # nowhere lower within rounding
            break
        moved, turned = np.float32(length) * direction, new[2] - gradient
        if (bend := _dot(moved, turned)) > 0:
            pairs = [*pairs[1 - _PAIRS :], (moved, turned, bend)]
        x, before = np.square(tried), np.square(q)
        change = relative_change(x, before, data.view)
        q, (misfit, rough, gradient) = tried, new
        small = small + 1 if change < tolerance else 0
        asked = yield Iterate(step, n_steps, x, misfit + rough, misfit)
        if asked or small == _IN_A_ROW:
            break
    result: Array = np.square(q)
    return result


def _towards(gradient: Array, pairs: list[tuple[Array, Array, float]]) -> Array:
    """−B⁻¹ gradient, B the Hessian that the pairs (step, change of gradient, their product) tell of."""
    direction = -gradient
    shares = []
    for moved, turned, bend in reversed(pairs):
        share = _dot(moved, direction) / bend
        direction = direction - np.float32(share) * turned
        shares.append(share)
    if pairs:
        _, turned, bend = pairs[-1]
        direction = direction * np.float32(bend / _dot(turned, turned))
    for (moved, turned, bend), share in zip(pairs, reversed(shares), strict=True):
        direction = direction + np.float32(share - _dot(turned, direction) / bend) * moved
    return direction


def _dot(a: Array, b: Array) -> float:
    return float(np.sum(a * b, dtype=np.float64))


def _squares(x: Array) -> float:
    return _dot(x, x)
