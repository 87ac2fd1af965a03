"""Fusion: x̂ = argmin_{x ≥ 0} Σ_i D(x_i, b_i) + ½‖(H − h₀ − Σ a_i x_i)/s_H‖² + λ Σ_i w_i TV_ξ(x_i).

Noisy elemental maps b_i (EELS, EDX) and one HAADF image H of the same field, which shows where the elements' edges are
and how much of them there is together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.record import Reconstruction
from napari_invrecon.recon.settings import check, takes_settings
from napari_invrecon.recon.solvers import Steps, finish

CouplingName = Literal["none", "edges", "intensity", "both", "power"]
NoiseName = Literal["poisson", "gaussian"]


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """Every parameter of a fusion, written once."""

    coupling: Annotated[
        CouplingName | None,
        {
            "label": "Coupling",
            "help": "What the HAADF image tells of the maps. none: nothing, each map is denoised by itself. edges: "
            "where edges may be. intensity: H ≈ h₀ + Σ a x. both: edges and intensity. power: H ≈ h₀ + A Σ a x^γ. "
            "Automatic: the one of the first four that predicts held-out counts best.",
        },
    ] = None
    lam: Annotated[
        float | None,
        {
            "label": "λ",
            "min": 0.0,
            "help": "Weight of the total variation, in units of each map's noise. Larger: smoother, and more biased. "
            "Automatic: the one that predicts held-out counts best.",
        },
    ] = None
    noise: Annotated[
        NoiseName | None,
        {
            "label": "Noise",
            "help": "poisson: the maps are counts. gaussian: they are fitted values. Automatic: counts if all are "
            "whole numbers from 0 up.",
        },
    ] = None
    elements: Annotated[
        str,
        {"label": "Elements", "help": "Names of the maps in their order, such as Ce, Co; empty: 1, 2, …"},
    ] = ""
    noise_sigma: Annotated[
        float | None,
        {
            "label": "Noise σ",
            "min": 1e-30,
            "advanced": True,
            "help": "Standard deviation of gaussian noise, in the maps' units; estimated from each map if not given.",
        },
    ] = None
    background: Annotated[
        float,
        {
            "label": "Background",
            "min": 0.0,
            "advanced": True,
            "help": "In every pixel of a map but not of the element, in the map's units: x + background is measured.",
        },
    ] = 0.0
    gamma: Annotated[
        float,
        {
            "label": "Z exponent γ",
            "min": 0.5,
            "max": 3.0,
            "advanced": True,
            "help": "Of the coupling power: the HAADF's signal goes as x^γ, about 1.7.",
        },
    ] = 1.7
    psf_sigma_px: Annotated[
        float,
        {
            "label": "PSF σ",
            "unit": "px",
            "min": 0.0,
            "max": 50.0,
            "advanced": True,
            "help": "Blur of the HAADF against the maps (A), a Gaussian, for the coupling power; 0: none.",
        },
    ] = 0.0
    register: Annotated[
        bool,
        {
            "label": "Align HAADF",
            "advanced": True,
            "help": "Estimate the shift between HAADF and maps, and apply it to the HAADF where it is over 0.3 px.",
        },
    ] = False
    nonnegative: Annotated[
        bool,
        {"label": "x ≥ 0", "advanced": True, "help": "The result may not be negative."},
    ] = True
    n_iter: Annotated[
        int,
        {"label": "Iterations at most", "min": 1, "max": 100000, "advanced": True, "help": "Of the solution."},
    ] = 200
    tolerance: Annotated[
        float,
        {
            "label": "Tolerance",
            "min": 0.0,
            "max": 0.1,
            "advanced": True,
            "help": "Iterations stop when ten of them change x by less, relatively.",
        },
    ] = 2e-3
    n_draws: Annotated[
        int,
        {
            "label": "Draws for the error",
            "min": 0,
            "max": 1000,
            "advanced": True,
            "help": "Data sets drawn from the result and solved again, for maps of the standard error; 0: none. Each "
            "takes as long as a solution; about 10 give the error within a quarter.",
        },
    ] = 0
    holdout_fraction: Annotated[
        float,
        {
            "label": "Held-out share",
            "min": 0.02,
            "max": 0.5,
            "advanced": True,
            "help": "Share of the counts that is kept to judge λ and coupling by.",
        },
    ] = 0.2
    seed: Annotated[
        int,
        {"label": "Seed", "min": 0, "max": 2**31 - 1, "advanced": True, "help": "Of held-out counts and of draws."},
    ] = 0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class FusionResult(Reconstruction):
    """A `Reconstruction` with what else a fusion tells.

    Attributes
    ----------
    standard_error
        (element, y, x), in the units of the maps; None without draws.
    haadf_residual
        (y, x): H − h₀ − Σ a_i x̂_i, in the HAADF's units, on the maps' grid.
    """

    standard_error: NDArray[np.float32] | None
    haadf_residual: NDArray[np.float32]


@takes_settings(FusionSettings)
def fuse(haadf: Any, maps: Any, reference: Any = None, *, settings: FusionSettings) -> FusionResult:
    """x̂ = argmin Σ D(x_i, b_i) + ½‖(H − h₀ − Σ a_i x_i)/s_H‖² + λ Σ w_i TV_ξ(x_i), λ and coupling from the data."""
    return finish(fusion(haadf, maps, settings, reference))


def fusion(haadf: Any, maps: Any, settings: FusionSettings, reference: Any = None) -> Steps[FusionResult]:
    """`fuse` as a generator of `Iterate`, for callers who show progress and may stop it."""
    raise NotImplementedError
    yield
