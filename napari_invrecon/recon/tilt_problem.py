"""‖Ax − y‖² of a tilt series: what a tilt solver is asked, and the operator A = BH/‖H‖ with which it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numba
import numpy as np

from napari_invrecon.recon.projector import Geometry, adjoint, forward

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array

Algorithm = Literal["fbp", "sirt", "sart", "tv-sart", "tv", "l1", "tikhonov"]
FilterName = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"]


@dataclass(frozen=True)
class TiltProblem:
    """min_x Σ w (Ax − y)² + λ R(x), x ≥ 0 on request, with A = BH/‖H‖; or the direct or row-action method named.

    H has Joseph's weights. B widens a ray to a detector pixel: a square voxel seen by a pixel of width 1 spreads with
    the variance (cos² θ + sin² θ + 1)/12, Joseph's weights with m²/6, m = max(|cos θ|, |sin θ|); B adds the difference,
    as a kernel [a, 1 − 2a, a] along u with a = (1 − m²)/12.

    Attributes
    ----------
    geometry
        Of H, see `projector.Geometry`.
    algorithm
        "fbp"; "sirt", "sart" (no R: stopped early); "tv-sart", "tv" (R = TV); "l1" (Σ|x|); "tikhonov" (‖∇x‖²).
    norm
        ‖H‖, `projector.projector_norm`.
    nonnegative
        Whether x ≥ 0 is required ("fbp": clipped at the end).
    n_iter
        Iterations at most; one applies H and Hᵀ once for each tilt.
    tolerance
        Stops when ‖x − x_before‖/‖x‖ is below it; 0: never.
    relaxation
        Of the steps of "sirt", "sart" and "tv-sart", in (0, 2). None: 1, and 0.5 of "sart".
    filter
        Of "fbp".
    noise_level
        σ of the data as they are handed to `tilt_solvers.solve`, for the residual over noise, and for stopping "sirt"
        and "sart" where ‖Ax − y‖ ≤ σ√N. None: unknown.
    """

    geometry: Geometry
    algorithm: Algorithm
    norm: float
    nonnegative: bool = True
    n_iter: int = 100
    tolerance: float = 1e-3
    relaxation: float | None = None
    filter: FilterName = "ramp"
    noise_level: float | None = None

    def predict(self, x: Array, threads: int, out: Array | None = None) -> Array:
        """Ax, (z, x, y) → (tilt, u, y)."""
        projected = forward(self.geometry, x, out, threads=threads)
        _widen(projected, self.geometry.rays, 1 / self.norm)
        return projected

    def back(self, sinogram: Array, threads: int, out: Array | None = None) -> Array:
        """Aᵀ applied to a sinogram, (tilt, u, y) → (z, x, y). The sinogram is used up: it comes back widened."""
        _widen(sinogram, self.geometry.rays, 1 / self.norm)
        return adjoint(self.geometry, sinogram, out, threads=threads)

    def misfit(self, difference: Array, weights: Array | None) -> float:
        """Σ w (Ax − y)²."""
        if weights is None:
            return squares(difference)
        return float(np.sum(weights * np.square(difference), dtype=np.float64))

    def left_over(
        self, x: Array, data: Array, weights: Array | None, threads: int, out: Array
    ) -> tuple[Array, float, float]:
        """(y − Ax, put into ``out``; its `misfit`; the same `over_noise`)."""
        difference = np.subtract(data, self.predict(x, threads, out), out=out)
        misfit = self.misfit(difference, weights)
        return difference, misfit, self.over_noise(misfit, weights, data.size)

    def over_noise(self, misfit: float, weights: Array | None, n_data: int) -> float:
        """(Σ w (Ax − y)² / Σ_{w>0} σ²)^½: 1 where the fit leaves just the noise; NaN where σ is unknown."""
        if not self.noise_level:
            return float("nan")
        if weights is not None:
            n_data = round(n_data * np.count_nonzero(weights) / weights.size)
        return float(np.sqrt(misfit / max(n_data, 1)) / self.noise_level)

    def why_last(self, step: int, change: float) -> str:
        """Why this iterate is the last; empty if it is not."""
        if change <= self.tolerance:
            return "settled"
        return "all iterations done" if step == self.n_iter else ""


def squares(x: Array) -> float:
    """Σ x², summed in double precision."""
    flat = x.reshape(len(x), -1)
    return float(sum(float(np.dot(row, row)) for row in flat))


def _widen(sinogram: Array, rays: Any, scale: float) -> None:
    """s ← scale · Bs in place; B is its own transpose."""
    side = (1 - np.square(rays[:, 2])) / 12
    _widen_rows(sinogram, (scale * side).astype(np.float32), (scale * (1 - 2 * side)).astype(np.float32))


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _widen_rows(sinogram: Any, side: Any, middle: Any) -> None:
    n_tilt, n_u, n_y = sinogram.shape
    before, here = np.empty(n_y, np.float32), np.empty(n_y, np.float32)
    for t in range(n_tilt):
        before[:] = 0
        for u in range(n_u):
            row = sinogram[t, u]
            here[:] = row
            for y in range(n_y):
                row[y] = middle[t] * here[y] + side[t] * before[y]
            if u + 1 < n_u:
                after = sinogram[t, u + 1]
                for y in range(n_y):
                    row[y] += side[t] * after[y]
            before, here = here, before
