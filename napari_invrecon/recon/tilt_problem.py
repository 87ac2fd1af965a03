"""‖Ax − y‖² of a tilt series: what a tilt solver is asked, and the operator A = H/‖H‖ with the sums its steps need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_invrecon.recon.operators import Array
from napari_invrecon.recon.projector import Geometry, adjoint, forward

Algorithm = Literal["fbp", "sirt", "sart", "tv-sart", "tv", "l1", "tikhonov"]
FilterName = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"]


@dataclass(frozen=True)
class TiltProblem:
    """min_x Σ w (Ax − y)² + λ R(x), x ≥ 0 on request, with A = H/‖H‖; or the direct or row-action method named.

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
        Of the steps of "sirt", "sart" and "tv-sart", in (0, 2).
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
    relaxation: float = 1.0
    filter: FilterName = "ramp"
    noise_level: float | None = None

    def predict(self, x: Array, threads: int, out: Array | None = None) -> Array:
        """Ax, (z, x, y) → (tilt, u, y)."""
        projected = forward(self.geometry, x, out, threads=threads)
        projected *= np.float32(1 / self.norm)
        return projected

    def back(self, sinogram: Array, threads: int, out: Array | None = None) -> Array:
        """Aᵀ applied to a sinogram, (tilt, u, y) → (z, x, y)."""
        volume = adjoint(self.geometry, sinogram, out, threads=threads)
        volume *= np.float32(1 / self.norm)
        return volume

    def over_noise(self, misfit: float, weights: Array | None, n_data: int) -> float:
        """(Σ w (Ax − y)² / Σ_{w>0} σ²)^½: 1 where the fit leaves just the noise; NaN where σ is unknown."""
        if not self.noise_level:
            return float("nan")
        if weights is not None:
            n_data = round(n_data * np.count_nonzero(weights) / weights.size)
        return float(np.sqrt(misfit / max(n_data, 1)) / self.noise_level)


def squares(x: Array) -> float:
    """Σ x², summed in double precision."""
    return float(np.sum(np.square(x), dtype=np.float64))


def relative_change(new: Array, before: Array) -> float:
    """‖new − before‖ / ‖new‖."""
    return float(np.sqrt(squares(new - before) / max(squares(new), 1e-30)))
