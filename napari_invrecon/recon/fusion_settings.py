"""What may be set in a fusion, and numbers that are written for each element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from napari_invrecon.recon.settings import ITERATIONS, TOLERANCE, WORKING_MEMORY, check

if TYPE_CHECKING:
    from numpy.typing import NDArray

CouplingName = Literal["none", "edges", "intensity", "both", "power"]
NoiseName = Literal["poisson", "gaussian"]
GridName = Literal["maps", "haadf"]
CalibrationName = Literal["data", "Z"]


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """Every parameter of a fusion, written once."""

    coupling: Annotated[
        CouplingName | None,
        {
            "label": "Coupling",
            "help": "What the HAADF image tells of the maps. none: nothing, each map is denoised by itself. edges: "
            "where edges may be. intensity: H ≈ h₀ + Σ a x. both: edges and intensity. power: H ≈ h₀ + A Σ a x^γ. "
            "Automatic: the one that predicts held-out counts best; power is tried where it fits the HAADF better.",
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
        str,
        {
            "label": "Background",
            "advanced": True,
            "help": "In every pixel of a map but not of the element, in the map's units: s x + background is measured. "
            "One number, or one for each element: 3, 2 or Ce=3, Co=2.",
        },
    ] = ""
    sensitivity: Annotated[
        str,
        {
            "label": "Sensitivity s",
            "advanced": True,
            "help": "Counts that one unit of an element gives; the result is in these units. One number, or one for "
            "each element; empty: 1, so the result is in counts.",
        },
    ] = ""
    k_factors: Annotated[
        str,
        {
            "label": "k-factors",
            "advanced": True,
            "help": "Atomic fractions are k x / Σ k x. One number for each element: Ce=1.4, Co=1; empty: no fractions.",
        },
    ] = ""
    grid: Annotated[
        GridName,
        {
            "label": "Pixels of the result",
            "advanced": True,
            "help": "maps: those of the maps, over which a finer HAADF is averaged. haadf: the HAADF's, of which the "
            "maps see averages.",
        },
    ] = "maps"
    maps_psf_px: Annotated[
        float,
        {
            "label": "Blur of the maps",
            "unit": "px of the maps",
            "min": 0.0,
            "max": 50.0,
            "advanced": True,
            "help": "σ of how much blurrier the maps are than the HAADF (delocalisation). On the maps' pixels the "
            "HAADF is blurred by it; on the HAADF's the result is sharper than the maps by it.",
        },
    ] = 0.0
    calibration: Annotated[
        CalibrationName,
        {
            "label": "a of H = h₀ + Σ a x",
            "advanced": True,
            "help": "data: fitted, one for each element. Z: in the ratios of Z^γ, with γ as below, by the elements' "
            "symbols; only their scale is fitted.",
        },
    ] = "data"
    edge_px: Annotated[
        float | None,
        {
            "label": "Smoothing of edges",
            "unit": "px",
            "min": 0.3,
            "max": 20.0,
            "advanced": True,
            "help": "σ by which the HAADF is smoothed before its edges are taken. Automatic: 1 or 2, whichever "
            "predicts held-out counts better.",
        },
    ] = None
    gamma: Annotated[
        float,
        {
            "label": "Z exponent γ",
            "min": 0.5,
            "max": 3.0,
            "advanced": True,
            "help": "The HAADF's signal goes as x^γ in the coupling power, and as Z^γ in a by Z; about 1.7.",
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
    n_iter: Annotated[int, ITERATIONS, {"help": "Of the solution."}] = 200
    tolerance: Annotated[
        float, TOLERANCE, {"help": "Iterations stop when ten of them change x by less, relatively."}
    ] = 2e-3
    memory_gb: Annotated[float, WORKING_MEMORY, {"help": "Maps that need more are solved in blocks."}] = 4.0
    n_draws: Annotated[
        int,
        {
            "label": "Draws for the error",
            "min": 0,
            "max": 1000,
            "advanced": True,
            "help": "Data sets drawn from the result and solved again, for maps of the expected error, from noise and "
            "from bias; 0: none. Each takes as long as two solutions; about 10 give the error within a quarter.",
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


def for_each(what: str, text: str, elements: tuple[str, ...], default: float) -> NDArray[np.float64]:
    """The numbers of "3", "3, 2" or "Ce=3, Co=2", (element,), in the elements' order; ``default`` where none is given.

    Raises
    ------
    ValueError
        A name that is no element, another number of values than of elements, or no number above or equal to 0.
    """
    entries = [entry.strip() for entry in str(text).split(",") if entry.strip()]
    values = np.full(len(elements), default)
    named = [entry for entry in entries if "=" in entry]
    if named and len(named) < len(entries):
        raise ValueError(f"{what} {text!r}: name every element, as in {elements[0]}=1, or none")
    if entries and not named and len(entries) not in (1, len(elements)):
        raise ValueError(f"{what} {text!r}: {len(entries)} numbers for {len(elements)} elements; give one, or one each")
    for place, entry in enumerate(entries):
        name, _, number = entry.rpartition("=")
        if named and name.strip() not in elements:
            raise ValueError(f"{what} {text!r}: no element is named {name.strip()!r}, only {', '.join(elements)}")
        try:
            value = float(number)
        except ValueError:
            value = np.nan
        if not 0 <= value < np.inf:
            raise ValueError(f"{what} {text!r}: expected numbers from 0 up, such as 3 or {elements[0]}=3")
        if named:
            values[elements.index(name.strip())] = value
        elif len(entries) == 1:
            values[:] = value
        else:
            values[place] = value
    return values
