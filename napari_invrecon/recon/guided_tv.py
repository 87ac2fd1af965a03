"""Joint directional total variation: TV_ξ(x) = Σ_pixels (Σ_i |(1 − ξξᵀ)(∇x_i − β_i∇G)|²)^½ of elements i.

Steps across the edges of a guide cost a fifth, and those that go with G as β says nothing; a step that several elements
share costs less than theirs apart. β may be of no element: then it is 0.

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
_LONGEST = 0.9  # |ξ| at the steepest edge: a step across it costs a fifth; with more, its pixels keep their noise


def edge_field(guide: Array, smoothing_px: float = 1.0, sigma: float | None = None) -> Array:
    """ξ = 0.9 ∇G/√(|∇G|² + η²), (2, y, x), of a guide (y, x) smoothed to G, with η three times the noise of ∇G.

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


_ZERO, _ONE, _TINY = np.float32(0), np.float32(1), np.float32(1e-30)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _steps(x: Any, i: Any, r: Any, xi: Any, follow: Any, rise: Any, gy: Any, gx: Any, along: Any) -> None:
    """Row r of ∇x_i − β_i∇G in (gy, gx), and of its part along ξ, ⟨ξ, ·⟩."""
    n_row, n_column = x.shape[1:]
    here, under = x[i, r], x[i, min(r + 1, n_row - 1)]
    for c in range(n_column):
        gy[c] = under[c] - here[c]
    for c in range(n_column - 1):
        gx[c] = here[c + 1] - here[c]
    gx[n_column - 1] = _ZERO
    if len(follow) > 0:
        beta, up, across = follow[i, r], rise[0, r], rise[1, r]
        for c in range(n_column):
            gy[c] -= beta[c] * up[c]
        for c in range(n_column):
            gx[c] -= beta[c] * across[c]
    xi_y, xi_x = xi[0, r], xi[1, r]
    for c in range(n_column):
        along[c] = gy[c] * xi_y[c] + gx[c] * xi_x[c]


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def guided_variation(x: Any, xi: Any, follow: Any, rise: Any, start: int, stop: int) -> float:
    """Rows start … stop of TV_ξ(x), x (element, y, x)."""
    n_column, total = x.shape[2], 0.0
    gy, gx = np.empty(n_column, x.dtype), np.empty(n_column, x.dtype)
    along, square = np.empty(n_column, x.dtype), np.empty(n_column, x.dtype)
    for r in range(start, stop):
        for c in range(n_column):
            square[c] = _ZERO
        xi_y, xi_x = xi[0, r], xi[1, r]
        for i in range(x.shape[0]):
            _steps(x, i, r, xi, follow, rise, gy, gx, along)
            for c in range(n_column):
                ty, tx = gy[c] - along[c] * xi_y[c], gx[c] - along[c] * xi_x[c]
                square[c] += ty * ty + tx * tx
        for c in range(n_column):
            total += np.sqrt(square[c])
    return total


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def dual_step(
    ahead: Any, xi: Any, follow: Any, rise: Any, dual: Any, projected: Any, sigma: Any, lam: Any, relaxation: Any,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Rows of p ← p + ρ(Π(p + σ(I − ξξᵀ)(∇x̄ − β∇G)) − p), Σ|Π_i|² ≤ λ² in each pixel, and of (I − ξξᵀ)p."""
    n_element, _, n_column = ahead.shape
    there_y, there_x = np.empty((n_element, n_column), np.float32), np.empty((n_element, n_column), np.float32)
    gy, gx = np.empty(n_column, np.float32), np.empty(n_column, np.float32)
    along, shrink = np.empty(n_column, np.float32), np.empty(n_column, np.float32)
    for r in range(start, stop):
        xi_y, xi_x = xi[0, r], xi[1, r]
        for c in range(n_column):
            shrink[c] = _ZERO
        for i in range(n_element):
            _steps(ahead, i, r, xi, follow, rise, gy, gx, along)
            py, px, ty, tx = dual[i, 0, r], dual[i, 1, r], there_y[i], there_x[i]
            for c in range(n_column):
                ty[c] = py[c] + sigma * (gy[c] - along[c] * xi_y[c])
            for c in range(n_column):
                tx[c] = px[c] + sigma * (gx[c] - along[c] * xi_x[c])
            for c in range(n_column):
                shrink[c] += ty[c] * ty[c] + tx[c] * tx[c]
        for c in range(n_column):
            shrink[c] = min(_ONE, lam / max(np.sqrt(shrink[c]), _TINY))
        for i in range(n_element):
            py, px, ty, tx = dual[i, 0, r], dual[i, 1, r], there_y[i], there_x[i]
            for c in range(n_column):
                py[c] += relaxation * (ty[c] * shrink[c] - py[c])
            for c in range(n_column):
                px[c] += relaxation * (tx[c] * shrink[c] - px[c])
            for c in range(n_column):
                along[c] = py[c] * xi_y[c] + px[c] * xi_x[c]
            out_y, out_x = projected[i, 0, r], projected[i, 1, r]
            for c in range(n_column):
                out_y[c] = py[c] - along[c] * xi_y[c]
            for c in range(n_column):
                out_x[c] = px[c] - along[c] * xi_x[c]
