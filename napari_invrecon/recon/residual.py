"""(h ⋆ x̂ + b − y)/σ: what a deconvolution leaves unexplained, in units of the noise, and what that says about λ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.recon.boundary import mirror
from napari_invrecon.recon.deblurring import Blur, BoundaryName, predict
from napari_invrecon.recon.diagnostics import FITS_NOISE, OUT_OF_RANGE, SIGMA_TOO_HIGH
from napari_invrecon.recon.probe import PointSpread
from napari_invrecon.recon.solvers import Iterate, Steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.operators import Array

_TOO_SMOOTH = 1.08


def verdict(residual_over_noise: float | None, expected: float = 1.0, *, lam_from_data: bool = False) -> str:
    """What ‖Hx̂ − y‖/(σ√N) says, in a sentence; None or NaN: that it is unknown.

    ``lam_from_data``: λ was chosen by a rule; where less is left than noise, σ is in doubt then, and not λ.

    A fit with d degrees of freedom takes up some of the noise: ``expected`` is √(1 − d/N), see `left_by_a_fit`. White
    noise alone moves it by 1/√(2N), far less than 5 %; but σ is often an estimate, and up to 10 % too small on small
    images of sharp edges: slabs of 128² under 1.5 px were at 1.02 to 1.06 with the λ of least error. So 0.95 to 1.08 of
    what is expected counts as right.
    """
    if residual_over_noise is None or np.isnan(residual_over_noise):
        return "residual/noise unknown: type the noise σ under Advanced."
    start = f"residual/noise {residual_over_noise:.3g}: "
    if expected < FITS_NOISE:
        start = f"residual/noise {residual_over_noise:.3g}, {expected:.3g} expected of such a fit: "
    if residual_over_noise < FITS_NOISE * expected:
        if lam_from_data:
            return start + SIGMA_TOO_HIGH
        return start + "under-regularised, some of the noise is fitted. A larger λ is smoother."
    if residual_over_noise > _TOO_SMOOTH * max(expected, 1.0):
        return start + "over-regularised, or the PSF or σ is off: more is missed than noise. Try a smaller λ."
    return start + "well regularised, fits to the noise."


def left_by_a_fit(record: dict[str, Any]) -> float:
    """√(1 − d/N) of the λ in use, from the curve's GCV = N r/(N − d)²; 1 where the curve does not tell."""
    curve = record.get("curve") or {}
    if len(curve.get("lam", ())) < 2 or "gcv" not in curve or record["lam"] <= 0:
        return 1.0
    lam = record["lam"]
    at = np.log(lam), np.log(curve["lam"])
    gcv = np.interp(*at, curve["gcv"])
    if not gcv > 0:  # a constant image: nothing is left
        return 1.0
    free = np.sqrt(curve["n_data"] / gcv) * np.interp(*at, curve["residual_norm"])
    return float(np.sqrt(np.clip(free / curve["n_data"], 0.0, 1.0)))


def _least_tried(record: dict[str, Any]) -> bool:
    """Whether the rule ended at the lower end of the λ that were tried."""
    tried = (record.get("curve") or {}).get("lam", ())
    at_end = "at the end of the grid" in record["lam_rule"] and len(tried) > 1
    return bool(at_end and record["lam"] ** 2 < tried[0] * tried[-1])


def judge(record: dict[str, Any]) -> str:
    """The `verdict` on a deconvolution, and a line each for what limits it: noise, iterations, the wrong regulariser.

    Where noise runs in lines, σ is that of its white part. What is left over then exceeds it although λ is right, and
    to follow it to a smaller λ is to fit the lines.
    """
    ratio, noise = record["residual_over_noise"], record.get("noise_is", "white")
    if _least_tried(record):
        said = [
            "λ is the least that was tried: to the rule hardly anything here is noise. If there is noise, that of "
            "neighbouring pixels is alike, as in a resampled or smoothed image: the result is not to be trusted. Take "
            "the image as it was recorded, or set λ by hand."
        ]
    elif any(each.startswith(OUT_OF_RANGE) for each in record.get("remarks", [])):
        said = ["The residual is no proof here."]
    elif noise == "white" or ratio is None:
        said = [verdict(ratio, left_by_a_fit(record), lam_from_data=record["lam_rule"] != "given")]
        if record["lam_rule"].startswith("reference") and ratio is not None and ratio > _TOO_SMOOTH:
            said.append("λ makes the flat region flat: draw it where there is nothing, not even the blur of an edge.")
    elif record["lam_rule"].startswith("l-curve"):  # also that of a frozen denoiser
        said = [f"residual/noise {ratio:.3g}: λ is the L-curve's corner, as σ holds only the white part of the noise."]
    else:
        said = [
            f"residual/noise {ratio:.3g} says nothing here: σ holds only the white part of the noise. The rule "
            "l-curve does not need σ."
        ]
    said.append(f"Noise: {noise}.")
    said += record.get("remarks", [])
    if record.get("heuristic"):
        said.append("Heuristic: this denoiser minimises no objective; features can be invented.")
    return "\n".join(said)


def residual_steps(
    image: Any, x: Any, psf: PointSpread | NDArray[Any], record: dict[str, Any]
) -> Steps[NDArray[np.float32]]:
    """(h ⋆ x̂ + b − y)/σ, in the image's shape, as a generator of `Iterate`.

    Parameters
    ----------
    image
        y, (…, y, x).
    x
        x̂, the result, in the image's units and shape.
    psf
        The model or the array with which it was made.
    record
        The result's. Its ``noise_sigma`` is σ; for counts the variance is gain · (h ⋆ x̂ + b), of at least one count.

    Raises
    ------
    ValueError
        The noise level is unknown, or the result was converted to a Z-equivalent.

    Notes
    -----
    Beyond the image x̂ is taken as mirrored (or periodic, where it was solved so): where the solution was free there,
    the residual within a PSF's radius of the edge is only approximate.
    """
    settings, sigma = record["settings"], record["noise_sigma"]
    counts = settings["noise"] == "poisson"
    if sigma is None and not counts:
        raise ValueError("the residual has no scale, as the noise level is unknown: type the noise σ, and run again")
    if settings["z_exponent"] is not None:
        raise ValueError("the result is a Z-equivalent, whose blur is not the image: run without the Z exponent")
    if isinstance(psf, PointSpread):
        kernel = psf.kernel(settings["pixel_size_nm"], min(2, image.ndim))
    else:
        kernel = np.asarray(psf, np.float32)
    if settings["normalise_psf"]:
        kernel = (kernel / kernel.sum(dtype=np.float64)).astype(np.float32)
    boundary: BoundaryName = "periodic" if record["boundary"] == "periodic" else "reflect"
    blur = Blur(kernel=kernel, regulariser="l2", boundary=boundary)
    offset, gain, background = record["detector"]["offset"], record["detector"]["gain"], settings["background"]
    leading = tuple(image.shape[: image.ndim - kernel.ndim])
    out = np.empty(image.shape, np.float32)
    frames = list(np.ndindex(*leading))
    for count, where in enumerate(frames):
        yield Iterate(count, len(frames), stage=f"residual of frame {count + 1} of {len(frames)}")
        y: Array = np.asarray(image[where]).astype(np.float32) - np.float32(offset)
        blurred = predict(blur, mirror(np.asarray(x[where], np.float32), blur.frame(y.shape)), y.shape)
        expected = blurred + np.float32(background)
        spread = np.sqrt(gain * np.maximum(expected, gain)) if counts else sigma
        out[where] = (expected - y) / spread
    return out
