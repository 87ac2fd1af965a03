"""k(E), what the spectrometer and the specimen do to an energy: a zero-loss peak or a low-loss spectrum as a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.ndimage import uniform_filter1d

_FAR = 4  # full widths before the zero-loss peak: nothing is recorded there but background
_FEWEST = 8  # channels for a background
_ABOVE = 3.0  # times the sharpest rise elsewhere: noise has many of one size
_PLASMON = 1.5  # times the valley before it, and
_SEEN = 1e-4  # of the zero-loss peak: what counts as a rise


@dataclass(frozen=True)
class EnergyResponse:
    """A low-loss spectrum as a kernel.

    Attributes
    ----------
    kernel
        k, odd length, zero loss at the middle of its middle channel; its zero-loss peak has the area 1, so that
        deconvolution gives single scattering at the intensity of the zero-loss electrons.
    position
        Where the zero-loss peak was, in channels (a fraction, if it was).
    fwhm
        Full width at half maximum of the zero-loss peak, channels.
    background
        Subtracted from every channel, in the units of the low loss.
    background_from
        Where the background comes from, in words.
    zero_loss_end
        The channel behind the peak at which plural scattering begins; None if the kernel is a zero-loss peak alone.
    """

    kernel: NDArray[np.float64]
    position: float
    fwhm: float
    background: float
    background_from: str
    zero_loss_end: int | None

    @property
    def total(self) -> float:
        """Σk: all electrons over the zero-loss electrons, exp(t/λ) for a specimen of t/λ inelastic mean free paths."""
        return float(self.kernel.sum())

    def summary(self) -> dict[str, Any]:
        """JSON-plain, for a record."""
        return {
            "position_px": self.position,
            "fwhm_px": self.fwhm,
            "background": self.background,
            "background_from": self.background_from,
            "zero_loss_end_px": self.zero_loss_end,
            "total_over_zero_loss": self.total,
            "channels": len(self.kernel),
        }


def energy_response(low_loss: Any, n_channels: int, background: float | None = None) -> EnergyResponse:
    """The kernel of a zero-loss peak or low-loss spectrum for spectra of ``n_channels`` with the same dispersion.

    The highest channel is the zero-loss peak; its top is that of the parabola through the logarithm of the three
    highest, and is moved to the middle of a channel by interpolating the running integral (nothing is lost). The
    zero-loss area runs up to the valley before the first rise (the plasmon), or to the end where there is none. Losses
    of ``n_channels`` and more cannot act within the spectrum and are cut off.

    Parameters
    ----------
    low_loss
        (energy,), real and finite, energy ascending.
    n_channels
        Of the spectra.
    background
        To be subtracted from each channel. None: the median of the channels more than four full widths before the
        peak, or 0 where they are fewer than eight.

    Raises
    ------
    ValueError, TypeError
        Not one axis; values that are not finite; a peak at an end, or none that stands out of the noise.
    """
    k = np.asarray(low_loss)
    if k.dtype.kind not in "iuf":
        raise TypeError(
            f"the kernel holds values of type {k.dtype}: expected a real zero-loss peak or low-loss spectrum"
        )
    if k.ndim != 1:
        raise ValueError(
            f"the kernel has the shape {k.shape}: expected one spectrum (energy,); sum a spectrum image over its pixels"
        )
    if not np.isfinite(k).all():
        raise ValueError(
            f"the kernel holds {int((~np.isfinite(k)).sum())} NaN or infinite values: replace or crop them"
        )
    k = k.astype(np.float64)
    peak = int(np.argmax(k)) if k.size else 0
    if k.size < 3 or peak in (0, k.size - 1) or k[peak] <= 0:
        raise ValueError(
            f"the kernel's maximum is at channel {peak} of {k.size}: expected a zero-loss peak with channels on both "
            "sides; give a low-loss spectrum that shows the whole peak"
        )
    fwhm = _fwhm(k, peak)
    if not _stands_out(k, peak):
        raise ValueError(
            f"the kernel's highest channel, {peak} of {k.size}, is no higher above its surroundings than others are: "
            "expected a zero-loss peak, but this looks like noise; choose the low-loss spectrum, or sum more pixels"
        )
    if background is None:
        before = k[: max(0, peak - int(np.ceil(_FAR * fwhm)))]
        enough = before.size >= _FEWEST
        background = float(np.median(before)) if enough else 0.0
        source = (
            f"median of {before.size} channels before the peak" if enough else "too few channels before the peak: 0"
        )
    else:
        source = "given"
    k = k - background
    if k[peak] <= 0:
        raise ValueError(f"a background of {background:g} is above the zero-loss peak: give less")
    top = _top(k, peak)
    end = _valley(k, peak, fwhm)
    area = float(k[:end].sum())
    if not area > 0:
        raise ValueError(f"the zero-loss peak has the area {area:.4g} above the background {background:.4g}: give less")
    reach = min(max(peak, k.size - 1 - peak), n_channels - 1)
    return EnergyResponse(
        kernel=_centred(k, top, reach) / area,
        position=top,
        fwhm=fwhm,
        background=background,
        background_from=source,
        zero_loss_end=end,
    )


def _fwhm(k: NDArray[np.float64], peak: int) -> float:
    """Between the half-maximum crossings next to the peak, interpolated; to the end where there is none."""
    half = k[peak] / 2
    width = 0.0
    for side in (k[peak::-1], k[peak:]):
        below = np.flatnonzero(side < half)
        if below.size:
            i = int(below[0])
            width += i - 1 + (side[i - 1] - half) / (side[i - 1] - side[i])
        else:
            width += side.size - 1
    return float(width)


def _stands_out(k: NDArray[np.float64], peak: int) -> bool:
    """Whether the highest channel is a peak among what rises as sharply, one width against its neighbours' mean."""
    above = k - np.median(k)
    if not above[peak] > 0:
        return False
    width = max(1, round(_fwhm(above, peak)))
    box = uniform_filter1d(np.pad(above, width, mode="edge"), width, mode="nearest")
    rise = box[width:-width] - (box[: -2 * width] + box[2 * width :]) / 2
    elsewhere = np.concatenate([rise[: max(0, peak - 3 * width)], rise[peak + 3 * width + 1 :]])
    return not elsewhere.size or bool(rise[peak] > _ABOVE * np.abs(elsewhere).max())


def _top(k: NDArray[np.float64], peak: int) -> float:
    """The parabola's top through the logarithms of the highest channel and its neighbours (exact for a Gaussian)."""
    around = k[peak - 1 : peak + 2]
    low, mid, high = np.log(around) if (around > 0).all() else around
    bend = low - 2 * mid + high
    return peak + float(np.clip((low - high) / (2 * bend), -0.5, 0.5)) if bend < 0 else float(peak)


def _valley(k: NDArray[np.float64], peak: int, fwhm: float) -> int | None:
    """The lowest channel between the zero-loss peak and the first rise behind it; None if nothing rises."""
    width = max(1, round(fwhm))
    smooth = np.convolve(k, np.ones(width) / width, "same")
    start = peak + max(1, int(np.ceil(fwhm)))
    behind = smooth[start : k.size - width // 2]  # the last ones average over missing channels
    if not behind.size:
        return None
    lowest = np.minimum.accumulate(behind)
    rises = np.flatnonzero(behind > np.maximum(_PLASMON * lowest, lowest + _SEEN * k[peak]))
    return start + int(np.argmin(behind[: rises[0]])) if rises.size else None


def _centred(k: NDArray[np.float64], top: float, reach: int) -> NDArray[np.float64]:
    """k on 2·reach + 1 channels with ``top`` at the middle of the middle one."""
    edges = np.arange(k.size + 1) - 0.5
    wanted = np.clip(top + np.arange(-reach - 0.5, reach + 1), edges[0], edges[-1])
    integral = np.insert(np.cumsum(k), 0, 0.0)
    moved: NDArray[np.float64] = np.diff(CubicSpline(edges, integral)(wanted))
    if moved.min() < min(k.min(), 0.0) - 1e-3 * k.max():  # a peak as narrow as a channel: splines would ring
        moved = np.diff(PchipInterpolator(edges, integral)(wanted))
    return moved
