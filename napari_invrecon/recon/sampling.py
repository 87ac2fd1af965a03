"""P, from a fine grid to the pixels of a coarse one over the same field: blur, then the mean over each pixel's area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array

_REACH = 4.0  # standard deviations of the blur


@dataclass(frozen=True, eq=False)
class Sampling:
    """(P x)_{…, i, j} = Σ rows_{i, k} columns_{j, l} x_{…, k, l}, each row of either summing to 1.

    Pixels of the coarse grid need not be whole numbers of fine ones: those that two share are shared out by area.
    """

    rows: Any
    columns: Any

    @classmethod
    def between(cls, fine: tuple[int, ...], coarse: tuple[int, ...], sigma_px: float = 0.0) -> Sampling:
        """From (Y, X) to (y, x), y ≤ Y and x ≤ X; ``sigma_px`` of a Gaussian, in coarse pixels."""
        return cls(*(_along(n_fine, n, sigma_px) for n_fine, n in zip(fine, coarse, strict=True)))

    @property
    def fine(self) -> tuple[int, int]:
        """(Y, X)."""
        return self.rows.shape[1], self.columns.shape[1]

    @property
    def coarse(self) -> tuple[int, int]:
        """(y, x)."""
        return self.rows.shape[0], self.columns.shape[0]

    @property
    def ratio(self) -> float:
        """Fine pixels on the edge of a coarse one, the geometric mean of both axes."""
        return float(np.sqrt(np.prod(self.fine) / np.prod(self.coarse)))

    def __call__(self, x: Array) -> Array:
        """P x: (…, Y, X) → (…, y, x)."""
        return _applied(self.rows, self.columns, x)

    def adjoint(self, y: Array) -> Array:
        """Pᵀ y: (…, y, x) → (…, Y, X)."""
        return _applied(self.rows.T, self.columns.T, y)

    def spread(self, y: Array) -> Array:
        """A smooth fine image of the coarse ones' means: (…, y, x) → (…, Y, X)."""
        mean = self.adjoint(y) / np.maximum(self.adjoint(np.ones(self.coarse, np.float32)), 1e-12)
        width = (0,) * (y.ndim - 2) + (self.ratio / 2,) * 2
        return np.asarray(gaussian_filter(mean, width, mode="nearest"))


def _along(n_fine: int, n: int, sigma_px: float) -> Any:
    edges = np.linspace(0, n_fine, n + 1)
    fine = np.arange(n_fine)
    entries = []
    for i in range(n):
        first, last = int(edges[i]), min(n_fine, int(np.ceil(edges[i + 1] - 1e-9)))
        share = np.minimum(fine[first:last] + 1, edges[i + 1]) - np.maximum(fine[first:last], edges[i])
        entries.append((np.full(last - first, i), fine[first:last], share * n / n_fine))
    row, column, weight = (np.concatenate(each) for each in zip(*entries, strict=True))
    means = csr_array((weight, (row, column)), shape=(n, n_fine))
    if sigma_px > 0:
        sigma = sigma_px * n_fine / n
        reach = np.arange(-int(np.ceil(_REACH * sigma)), int(np.ceil(_REACH * sigma)) + 1)
        target = np.clip(fine[:, None] + reach, 0, n_fine - 1)  # what lies beyond the field is as at its edge
        kernel = np.exp(-0.5 * (reach / sigma) ** 2)
        weight = np.broadcast_to(kernel / kernel.sum(), target.shape)
        row = np.broadcast_to(fine[:, None], target.shape)
        means = means @ csr_array((weight.ravel(), (row.ravel(), target.ravel())), shape=(n_fine, n_fine))
    return csr_array(means, dtype=np.float32)


def _applied(rows: Any, columns: Any, x: Array) -> Array:
    leading = x.shape[:-2]
    across = (columns @ x.reshape(-1, x.shape[-1]).T).T.reshape(-1, x.shape[-2], columns.shape[0])
    return np.stack([rows @ each for each in across]).astype(np.float32).reshape(*leading, rows.shape[0], -1)
