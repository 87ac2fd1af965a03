"""h from the image of a point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift, label

from napari_invrecon.recon.psf import normalised, resample_psf


@dataclass(frozen=True, eq=False)
class MeasuredPSF:
    """A point-spread function taken from data, as `measured_psf` prepares it.

    Attributes
    ----------
    array
        The kernel on its own pixels: odd size, centred, float32, sum 1.
    pixel_size_nm
        Its pixels; None: those of the image that it is used on.
    record
        What was done to it, JSON-plain.
    """

    array: NDArray[np.float32]
    pixel_size_nm: float | None
    record: dict[str, Any]

    def kernel(self, pixel_size_nm: float | None, ndim: int) -> NDArray[np.float32]:
        """The kernel on pixels of this size (`resample_psf`)."""
        if self.array.ndim != ndim:
            raise ValueError(f"the measured PSF has {self.array.ndim} axes, expected {ndim}: measure one with {ndim}")
        if self.pixel_size_nm is None or self.pixel_size_nm == pixel_size_nm:
            return self.array
        return resample_psf(self.array, self.pixel_size_nm, pixel_size_nm)


def measured_psf(
    array: NDArray[Any],
    background: float | Literal["rim"] = "rim",
    *,
    pixel_size_nm: float | None = None,
    clip: bool = False,
) -> MeasuredPSF:
    """h = (array − background), its peak's centre of mass moved to the middle, sum 1.

    The centre of mass is that of the part of the brightest spot above half its maximum, so that noise and a second
    spot do not pull it. The rest of a pixel is shifted by Fourier interpolation, and the array cropped to the largest
    odd one around the centre.

    Parameters
    ----------
    array
        The image of a point (or the zero-loss peak), from a layer or a region of it.
    background
        To subtract, in the array's unit; "rim": the median of its outermost tenth.
    pixel_size_nm
        Of the array; None if it is the image's.
    clip
        Set values below the background to zero. This lifts the noise's mean above zero; leave it off unless the
        solver needs h ≥ 0.

    Returns
    -------
    MeasuredPSF
        Its record says which background was taken off, by how far the array was moved, which share cropping kept and
        which share is (or, if clipped, was) negative.

    Raises
    ------
    ValueError
        Values that are not finite, are all zero or do not sum to more than zero above the background; a spot so close
        to the edge that a tenth of it is cropped.
    """
    a = np.asarray(array, np.float64)
    if a.ndim == 0 or not a.size:
        raise ValueError(f"the PSF has the shape {a.shape}: expected the image of a point")
    if not np.isfinite(a).all():
        raise ValueError("the PSF holds NaN or infinite values: replace them, by the median of their neighbours say")
    if not a.any():
        raise ValueError("the PSF is zero everywhere: choose the layer or the region that shows the spot")
    level = float(np.median(a[_rim(a.shape)])) if background == "rim" else float(background)
    a = a - level
    total = float(a.sum())
    if not (total > 1e-12 * np.abs(a).sum() and a.max() > 0):
        raise ValueError(
            f"above the background of {level:.4g} the PSF sums to {total:.4g}, expected more than 0: give the "
            "background as a number, or choose a region with a bright spot and some empty space around it"
        )
    peak = np.unravel_index(int(a.argmax()), a.shape)
    half = [min(int(p), n - 1 - int(p)) for p, n in zip(peak, a.shape, strict=True)]
    cropped = a[tuple(np.s_[p - h : p + h + 1] for p, h in zip(peak, half, strict=True))]
    kept = float(cropped.sum()) / total
    if kept < 0.9:
        raise ValueError(
            f"the brightest spot is {min(half)} px from the edge, and centring it would cut off {1 - kept:.0%} of the "
            "intensity, more than 10 %: choose a region with the spot in its middle"
        )
    offset = np.zeros(a.ndim)
    centred = cropped
    for _ in range(20):
        step = _peak_centre(centred)
        offset += step
        centred = np.real(np.fft.ifftn(fourier_shift(np.fft.fftn(cropped), -offset)))
        if np.abs(step).max() < 1e-4:
            break
    negative = float(-centred[centred < 0].sum() / centred.sum())
    record = {
        "background": level,
        "background_from": "rim" if background == "rim" else "given",
        "centre_px": [float(p + o) for p, o in zip(peak, offset, strict=True)],
        "kept_share": kept,
        "negative_share": negative,
        "negative_values": "set to zero" if clip else "kept",
    }
    return MeasuredPSF(normalised(np.maximum(centred, 0) if clip else centred), pixel_size_nm, record)


def _rim(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The outermost tenth on every side, at least one pixel."""
    rim = np.ones(shape, dtype=bool)
    rim[tuple(np.s_[max(1, n // 10) : n - max(1, n // 10)] for n in shape)] = False
    return rim


def _peak_centre(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of mass of what of the brightest spot lies above half its maximum, relative to the middle."""
    above = np.maximum(a - a.max() / 2, 0)
    spots, _ = label(above > 0)
    above[spots != spots.flat[int(a.argmax())]] = 0
    grids = np.indices(a.shape).reshape(a.ndim, -1)
    return np.asarray(grids @ above.ravel() / above.sum() - (np.array(a.shape) - 1) / 2)
