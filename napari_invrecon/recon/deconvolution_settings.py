"""What a deconvolution may be told: every parameter with its label, unit, range, help and default, written once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from napari_invrecon.recon.deblurring import BoundaryName, DenoiserName, NoiseName, RegulariserName
from napari_invrecon.recon.lambda_choice import Rule
from napari_invrecon.recon.settings import ITERATIONS, TOLERANCE, WORKING_MEMORY, check


@dataclass(frozen=True, kw_only=True)
class DeconvolutionSettings:
    """Every parameter of a deconvolution, written once."""

    regulariser: Annotated[
        RegulariserName,
        {
            "label": "Regulariser",
            "help": "What is believed of the object. tv: Σ|∇x|, flat regions with sharp edges. tikhonov: ‖∇x‖², it "
            "varies slowly; fastest. roughness: ‖Δ√x‖², slowly where dark, faster where bright: columns on a dark "
            "ground, and shades. l2: ‖x‖², its values are small. l1: Σ|x|, points on nothing. wavelet: Σ|Wx|, "
            "smooth but for few edges, lines and points. denoiser: what looks alike is alike (non-local means), for "
            "lattices and repeated features.",
        },
    ] = "tv"
    denoiser: Annotated[
        DenoiserName,
        {
            "label": "Denoiser",
            "advanced": True,
            "help": "Of the regulariser denoiser. frozen: non-local means with fixed weights, converges. heuristic: "
            "scikit-image's non-local means or wavelet shrinkage, made anew at each of 5 iterations at most; no "
            "objective is known, look at the residual.",
        },
    ] = "frozen"
    lam: Annotated[
        float | None,
        {
            "label": "λ",
            "min": 0.0,
            "help": "Weight of the regulariser in D(Hx, y) + λR(x). Larger: smoother and less noisy, and more biased.",
        },
    ] = None
    noise: Annotated[
        NoiseName,
        {
            "label": "Noise",
            "help": "gaussian: ‖Hx − y‖², every pixel equally sure. poisson: counts, Σ Hx − y log Hx, and x ≥ 0.",
        },
    ] = "gaussian"
    lam_rule: Annotated[
        Rule | None,
        {
            "label": "Rule for λ",
            "advanced": True,
            "help": "How an automatic λ is chosen. balanced: between gcv and discrepancy. sure: least estimated error "
            "of Hx. gcv: the same without a noise level. discrepancy: the residual meets the noise. l-curve: its "
            "corner. holdout: predicts pixels that were left out. reference: a region known to be flat "
            "(vacuum) comes out flat. Automatic: reference where there is a region, else balanced.",
        },
    ] = None
    boundary: Annotated[
        BoundaryName | None,
        {
            "label": "Boundary",
            "advanced": True,
            "help": "What lies beyond the edge. masked: anything, x is free there. reflect: the image mirrored. "
            "periodic: the opposite edge. Automatic: reflect for a closed form, else masked.",
        },
    ] = None
    nonnegative: Annotated[
        bool | None,
        {
            "label": "x ≥ 0",
            "advanced": True,
            "help": "Whether the result may not be negative. Automatic: yes for counts (poisson), for the roughness, "
            "and for l1 where the ground is dark; else no.",
        },
    ] = None
    noise_sigma: Annotated[
        float | None,
        {
            "label": "Noise σ",
            "min": 0.0,
            "advanced": True,
            "help": "Standard deviation of gaussian noise in the data's units; estimated from the image if not given.",
        },
    ] = None
    gain: Annotated[
        float | None,
        {
            "label": "Detector gain",
            "min": 1e-12,
            "advanced": True,
            "help": "Data units per count (poisson noise). Automatic: 1 for counts, else from variance against mean.",
        },
    ] = None
    offset: Annotated[
        float | None,
        {
            "label": "Detector offset",
            "advanced": True,
            "help": "The datum of zero counts, for poisson noise; it is subtracted. Automatic: as for the gain.",
        },
    ] = None
    background: Annotated[
        float,
        {
            "label": "Background",
            "min": 0.0,
            "advanced": True,
            "help": "Counted, but not from the object (poisson noise): Hx + background is compared with the data, in "
            "their units above the offset.",
        },
    ] = 0.0
    normalise_psf: Annotated[
        bool,
        {
            "label": "PSF sums to 1",
            "advanced": True,
            "help": "Divide the point-spread function by its sum, so that the result keeps the intensity of the image.",
        },
    ] = True
    z_exponent: Annotated[
        float | None,
        {
            "label": "Z exponent γ",
            "min": 1.0,
            "max": 2.0,
            "advanced": True,
            "help": "Give the γ-th root of the result, a Z-equivalent of an HAADF image, whose intensity goes as Z^γ "
            "(about 1.7). Automatic: no, the result is an intensity.",
        },
    ] = None
    pixel_size_nm: Annotated[
        float | None,
        {
            "label": "Pixel size",
            "unit": "nm",
            "min": 1e-6,
            "advanced": True,
            "help": "Needed where the point-spread function is given in nm; a layer's own calibration fills it in.",
        },
    ] = None
    n_iter: Annotated[int, ITERATIONS, {"help": "Of an iterative solution."}] = 500
    tolerance: Annotated[float, TOLERANCE, {"help": "Iterations stop when the relative change of x is below it."}] = (
        1e-3
    )
    memory_gb: Annotated[
        float,
        WORKING_MEMORY,
        {"help": "Images that need more are solved in blocks; a result over a quarter of it goes to a file."},
    ] = 4.0
    seed: Annotated[
        int,
        {"label": "Seed", "min": 0, "max": 2**31 - 1, "advanced": True, "help": "Of the random probe in the λ rules."},
    ] = 0

    def __post_init__(self) -> None:
        check(self)

    @property
    def heuristic(self) -> bool:
        """Whether the denoiser is no prox, so that nothing is known of what is minimised."""
        return self.regulariser == "denoiser" and self.denoiser != "frozen"
