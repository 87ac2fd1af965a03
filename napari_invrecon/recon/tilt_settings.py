"""Every parameter of a tomographic reconstruction, with its label, unit, range and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_invrecon.recon.settings import ITERATIONS, TOLERANCE, WORKING_MEMORY, check

RuleName = Literal["holdout", "discrepancy", "gcv", "sure", "balanced", "l-curve"]
AlgorithmName = Literal["tv-sart", "tv", "tikhonov", "l1", "sirt", "sart", "fbp"]


@dataclass(frozen=True, kw_only=True)
class TomographySettings:
    """Every parameter of a tomographic reconstruction, written once."""

    algorithm: Annotated[
        AlgorithmName,
        {
            "label": "Algorithm",
            "help": "tv-sart: sweeps over the tilts, each followed by a step that lowers Σ|∇x|; flat regions, sharp "
            "edges. tv: the exact minimiser of ‖Hx − y‖² + λΣ|∇x|. tikhonov: smooth objects, λ‖∇x‖². l1: few bright "
            "voxels, λΣ|x|. sirt, sart: iterations without λ, stopped at the noise. fbp: filtered back-projection.",
        },
    ] = "tv-sart"
    lam: Annotated[
        float | None,
        {
            "label": "λ",
            "min": 0.0,
            "help": "Weight of the regulariser in ‖Hx − y‖² + λR(x). Larger: smoother and less noisy, and more biased.",
        },
    ] = None
    nonnegative: Annotated[
        bool,
        {"label": "x ≥ 0", "help": "Whether the result may not be negative: no density and no count is."},
    ] = True
    tilt_axis: Annotated[
        Literal["y", "x"],
        {"label": "Tilt axis", "help": "The image axis that the tilt axis is parallel to: y is vertical."},
    ] = "y"
    lam_rule: Annotated[
        RuleName | None,
        {
            "label": "Rule for λ",
            "advanced": True,
            "help": "How an automatic λ is chosen, on the slices with the most contrast. holdout: predicts tilts that "
            "were left out. discrepancy: λ is halved until the residual meets the noise. gcv, sure: least estimated "
            "error of Hx. balanced: between gcv and discrepancy. l-curve: its corner. Automatic: holdout.",
        },
    ] = None
    noise: Annotated[
        Literal["gaussian", "poisson"],
        {
            "label": "Noise",
            "advanced": True,
            "help": "gaussian: every datum equally sure. poisson: counts; each is weighted by the inverse of its "
            "variance, which is its own mean.",
        },
    ] = "gaussian"
    noise_sigma: Annotated[
        float | None,
        {
            "label": "Noise σ",
            "min": 0.0,
            "advanced": True,
            "help": "Standard deviation of the noise in the data's units; estimated from the stack if not given.",
        },
    ] = None
    background: Annotated[
        float | None,
        {
            "label": "Background",
            "advanced": True,
            "help": "What the detector shows where there is no object; it is subtracted from the data, whose zero must "
            "mean that nothing is there. Automatic: the level of the empty parts where the data go below zero, which "
            "no projection does, else 0; a larger one is only suggested.",
        },
    ] = None
    axis_shift_px: Annotated[
        float,
        {
            "label": "Axis shift",
            "unit": "px",
            "min": -4096.0,
            "max": 4096.0,
            "advanced": True,
            "help": "How far the tilt axis lies beyond the middle of the images, towards larger x (y for an axis "
            "along x), in pixels of the stack as given.",
        },
    ] = 0.0
    thickness_px: Annotated[
        int | None,
        {
            "label": "Thickness",
            "unit": "px",
            "min": 1,
            "max": 16384,
            "advanced": True,
            "help": "Voxels along the beam (z), of the size of the binned pixels. Automatic: as many as the images are "
            "wide across the tilt axis.",
        },
    ] = None
    first_slice: Annotated[
        int,
        {
            "label": "First slice",
            "unit": "px",
            "min": 0,
            "max": 65535,
            "advanced": True,
            "help": "Where along the tilt axis the part to be reconstructed begins, in pixels of the stack as given. "
            "Slices do not need each other; across the axis nothing can be left out, as rays pass through all of it.",
        },
    ] = 0
    n_slices: Annotated[
        int | None,
        {
            "label": "Slices",
            "unit": "px",
            "min": 1,
            "max": 65536,
            "advanced": True,
            "help": "How many pixels of the stack along the tilt axis are reconstructed. Automatic: all to its end.",
        },
    ] = None
    bin: Annotated[
        int,
        {
            "label": "Binning",
            "min": 1,
            "max": 64,
            "advanced": True,
            "help": "Pixels along each side that are averaged into one before anything else.",
        },
    ] = 1
    filter: Annotated[
        Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"],
        {"label": "Filter", "advanced": True, "help": "Of fbp; from sharpest and noisiest to smoothest."},
    ] = "ramp"
    relaxation: Annotated[
        float | None,
        {
            "label": "Relaxation",
            "min": 0.01,
            "max": 2.0,
            "advanced": True,
            "help": "Share of each correction that is applied (sirt, sart, tv-sart). Smaller: slower, and less noisy.",
        },
    ] = None
    n_iter: Annotated[
        int | None,
        ITERATIONS,
        {"help": "One iteration is one sweep over all tilts. Automatic: as many as the algorithm needs."},
    ] = None
    tolerance: Annotated[float, TOLERANCE, {"help": "Iterations stop when the relative change of x is below it."}] = (
        1e-3
    )
    memory_gb: Annotated[
        float,
        WORKING_MEMORY,
        {"help": "Volumes that need more are solved in slabs; a result over a quarter of it goes to a file."},
    ] = 4.0
    cluster: Annotated[
        str | None,
        {
            "label": "Cluster",
            "advanced": True,
            "help": "Address of a dask scheduler, such as tcp://host:8786, whose workers solve the slabs. Automatic: "
            "this computer.",
        },
    ] = None
    seed: Annotated[
        int,
        {
            "label": "Seed",
            "min": 0,
            "max": 2**31 - 1,
            "advanced": True,
            "help": "Of the tilts that are left out, and of the random probe, in the λ rules.",
        },
    ] = 0

    def __post_init__(self) -> None:
        check(self)


WITHOUT_LAMBDA = ("fbp", "sirt", "sart")
