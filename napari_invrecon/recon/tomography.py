"""Tomography: x̂ = argmin ‖Hx − y‖² + λR(x), x ≥ 0, for tilt series of images or of spectroscopic maps.

The physics is one projection a tilt: H integrates the object along the beam, at each angle of the stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from napari_invrecon.recon.lambda_choice import Rule
from napari_invrecon.recon.settings import check, takes_settings
from napari_invrecon.recon.solvers import Steps, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_invrecon.recon.lambda_choice import Curve, LambdaCurve
    from napari_invrecon.recon.operators import Array
    from napari_invrecon.recon.record import Reconstruction

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
        {"label": "x ≥ 0", "help": "Whether the result may not be negative: no density or count is. Not for fbp."},
    ] = True
    tilt_axis: Annotated[
        Literal["y", "x"],
        {"label": "Tilt axis", "help": "The image axis that the tilt axis is parallel to: y is vertical."},
    ] = "y"
    lam_rule: Annotated[
        Rule | None,
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
        float,
        {
            "label": "Background",
            "advanced": True,
            "help": "What the detector shows where there is no object; it is subtracted from the data, whose zero must "
            "mean that nothing is there.",
        },
    ] = 0.0
    estimate_background: Annotated[
        bool,
        {
            "label": "Estimate background",
            "advanced": True,
            "help": "Subtract the level of the empty parts of the images, estimated from the stack, in place of the "
            "background given.",
        },
    ] = False
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
        {
            "label": "Iterations at most",
            "min": 1,
            "max": 100000,
            "advanced": True,
            "help": "One iteration is one sweep over all tilts. Automatic: as many as the algorithm needs.",
        },
    ] = None
    tolerance: Annotated[
        float,
        {
            "label": "Tolerance",
            "min": 0.0,
            "max": 0.1,
            "advanced": True,
            "help": "Iterations stop when the relative change of x is below it.",
        },
    ] = 1e-3
    memory_gb: Annotated[
        float,
        {
            "label": "Working memory",
            "unit": "GB",
            "min": 0.1,
            "max": 4096.0,
            "advanced": True,
            "help": "Volumes that need more are solved in slabs; a result over a quarter of it goes to a file.",
        },
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


@takes_settings(TomographySettings)
def reconstruct_tilt_series(stack: Any, angles_deg: Any, *, settings: TomographySettings) -> Reconstruction:
    """x̂ = argmin ‖Hx − y‖² + λR(x), x ≥ 0, with λ chosen from the data where it is not given."""
    return finish(tomography(stack, angles_deg, settings))


def tomography(stack: Any, angles_deg: Any, settings: TomographySettings) -> Steps[Reconstruction]:
    """`reconstruct_tilt_series` as a generator of `Iterate`, for callers who show progress and may stop it.

    ``x`` is the volume so far, (z, y, x) in the units of the result, where it is new and there is one volume;
    ``residual`` is ‖Hx − y‖/(σ√N).
    """
    raise NotImplementedError


def prepare(stack: Any, angles_deg: Any, settings: TomographySettings) -> Scene:
    """Check what came and estimate scale, background and noise: what a preview keeps while only λ changes.

    It depends on the settings ``tilt_axis``, ``bin``, ``background``, ``estimate_background``, ``noise``,
    ``noise_sigma``, ``thickness_px`` and ``axis_shift_px``.
    """
    raise NotImplementedError


@dataclass(frozen=True)
class Scene:
    """A checked tilt series in scaled units and its geometry."""


def tilt_lambda_curve(scene: Scene, settings: TomographySettings, grid: Curve | None = None) -> Steps[LambdaCurve]:
    """Residual, R and the scores of the rules against λ, on the slices with the most contrast; in data units."""
    raise NotImplementedError


def reconstruct_slices(scene: Scene, settings: TomographySettings, lam: float, slices: Sequence[int]) -> Steps[Array]:
    """(z, slice, x) in the units of the result: neighbouring slices across the tilt axis, for a preview."""
    raise NotImplementedError


def choose_lambda(curve: LambdaCurve, settings: TomographySettings) -> tuple[float, str]:
    """(λ, the rule that chose it, or "given")."""
    raise NotImplementedError


def contrast_slices(scene: Scene, count: int = 1) -> list[int]:
    """Indices along the tilt axis of the neighbouring slices with the most contrast."""
    raise NotImplementedError


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a reconstruction, before it starts.

    ``peak_gb`` of everything at once, ``result_gb`` of the volume, which lies in a file where ``on_disk``;
    ``slab_slices`` slices with ``halo_slices`` on each side are solved at a time, in ``n_slabs`` slabs.
    """

    peak_gb: float
    result_gb: float
    on_disk: bool
    slab_slices: int
    halo_slices: int
    n_slabs: int


def estimate_memory(shape: Sequence[int], settings: TomographySettings) -> MemoryEstimate:
    """What `reconstruct_tilt_series` will need for a stack of this shape, at most about ``memory_gb``."""
    raise NotImplementedError
