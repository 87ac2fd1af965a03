"""Joint directional total variation: TV_ξ(x) = Σ_pixels (Σ_i |∇x_i − ξ⟨ξ, ∇x_i⟩|²)^½ of elements i.

It leaves steps across the edges of a guide free, and a step that several elements share costs less than theirs apart.

Sources: Ehrhardt & Betcke 2016, doi:10.1137/15M1047325 (directional); Bresson & Chan 2008, doi:10.3934/ipi.2008.2.455
(of vectors).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from scipy.ndimage import gaussian_filter

from napari_invrecon.recon.noise import gaussian_sigma

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array

_EDGE = 3.0  # times the noise of that gradient: where ξ is half as long as it can be
_LONGEST = 0.98  # |ξ| at the steepest edge: below 1, so that TV_ξ bounds every step


def edge_field(guide: Array, smoothing_px: float = 1.0, sigma: float | None = None) -> Array:
    """ξ = 0.98 ∇G/√(|∇G|² + η²), (2, y, x), of a guide (y, x) smoothed to G, with η three times the noise of ∇G.

    ``sigma`` is the guide's noise, estimated if not given.

    A constant guide, or pixels of it that are NaN, have ξ = 0: there TV_ξ is the total variation.
    """
    known = np.isfinite(guide)
    if not known.any():
        return np.zeros((2, *guide.shape), np.float32)
    filled = np.where(known, guide, guide[known].mean())
    slope = gradient(gaussian_filter(filled, smoothing_px, mode="nearest").astype(np.float32))
    eta = _EDGE * (gaussian_sigma(filled) if sigma is None else sigma) / np.sqrt(8 * np.pi * smoothing_px**4)
    length = np.sqrt(np.square(slope).sum(0) + eta**2)
    slope *= np.where((length > 0) & known, _LONGEST / np.where(length > 0, length, 1), 0)
    return np.ascontiguousarray(slope, np.float32)


def gradient(x: Array) -> Array:
    """∇x (2, y, x) of an image: forward differences, 0 over the last row and column."""
    return np.asarray(np.stack([np.diff(x, axis=axis, append=np.take(x, [-1], axis)) for axis in range(2)]))


def gradient_adjoint(g: Array) -> Array:
    """The transpose of `gradient`: (2, y, x) → (y, x)."""
    x: Array = np.zeros_like(g[0])
    x[:-1] -= g[0, :-1]
    x[1:] += g[0, :-1]
    x[:, :-1] -= g[1, :, :-1]
    x[:, 1:] += g[1, :, :-1]
    return x


def guided_gradient(x: Array, xi: Array) -> Array:
    """∇x − ξ⟨ξ, ∇x⟩ of an image (y, x), (2, y, x)."""
    g = gradient(x)
    return np.asarray(g - xi * (xi * g).sum(0), x.dtype)


def guided_gradient_adjoint(g: Array, xi: Array) -> Array:
    """The transpose of `guided_gradient`: (2, y, x) → (y, x)."""
    return gradient_adjoint(np.asarray(g - xi * (xi * g).sum(0)))


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def guided_variation(x: Any, xi: Any, start: int, stop: int) -> float:
    """Rows start … stop of TV_ξ(x), x (element, y, x)."""
    total = 0.0
    n_row, n_column = x.shape[1:]
    for r in range(start, stop):
        below = min(r + 1, n_row - 1)
        for c in range(n_column):
            right, square = min(c + 1, n_column - 1), 0.0
            for i in range(x.shape[0]):
                gy, gx = x[i, below, c] - x[i, r, c], x[i, r, right] - x[i, r, c]
                along = xi[0, r, c] * gy + xi[1, r, c] * gx
                gy, gx = gy - along * xi[0, r, c], gx - along * xi[1, r, c]
                square += gy * gy + gx * gx
            total += np.sqrt(square)
    return total


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def dual_step(
    ahead: Any, xi: Any, dual: Any, projected: Any, sigma: Any, lam: Any, relaxation: Any, start: int, stop: int
) -> None:
    """Rows of p ← p + ρ(Π(p + σ(I − ξξᵀ)∇x̄) − p), Σ|Π_i|² ≤ λ² in each pixel, and of (I − ξξᵀ)p for the primal step."""
    n_element, n_row, n_column = ahead.shape
    there = np.empty((n_element, 2, n_column), np.float32)
    shrink = np.empty(n_column, np.float32)
    for r in range(start, stop):
        below = min(r + 1, n_row - 1)
        shrink[:] = 0
        for i in range(n_element):
            for c in range(n_column):
                right = min(c + 1, n_column - 1)
                here, xi_y, xi_x = ahead[i, r, c], xi[0, r, c], xi[1, r, c]
                gy, gx = ahead[i, below, c] - here, ahead[i, r, right] - here
                along = xi_y * gy + xi_x * gx
                ty = dual[i, 0, r, c] + sigma * (gy - along * xi_y)
                tx = dual[i, 1, r, c] + sigma * (gx - along * xi_x)
                there[i, 0, c], there[i, 1, c] = ty, tx
                shrink[c] += ty * ty + tx * tx
        for c in range(n_column):
            size = np.sqrt(shrink[c])
            shrink[c] = lam / size if size > lam else np.float32(1)
        for i in range(n_element):
            for c in range(n_column):
                xi_y, xi_x, py, px = xi[0, r, c], xi[1, r, c], dual[i, 0, r, c], dual[i, 1, r, c]
                py += relaxation * (there[i, 0, c] * shrink[c] - py)
                px += relaxation * (there[i, 1, c] * shrink[c] - px)
                dual[i, 0, r, c], dual[i, 1, r, c] = py, px
                along = xi_y * py + xi_x * px
                projected[i, 0, r, c], projected[i, 1, r, c] = py - along * xi_y, px - along * xi_x
