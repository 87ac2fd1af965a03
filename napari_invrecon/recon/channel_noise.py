"""What noise the channels of a spectrum have: y = gain · Poisson(x) + offset + N(0, read_sigma²)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from napari_invrecon.recon.channel_correlation import variance_share
from napari_invrecon.recon.detector import FOURTH

if TYPE_CHECKING:
    from collections.abc import Sequence

Real = NDArray[np.float64]
Gain = Annotated[
    float | None,
    {
        "label": "Detector gain",
        "min": 1e-12,
        "advanced": True,
        "help": "Data units per count. Automatic: 1 for counts, else from the variance against the mean.",
    },
]
"""The setting of everything that works on the channels of spectra."""

_STRETCH = 32  # channels
_MEDIAN = 0.945  # of the variance that fourth differences over a stretch give, over its mean: χ² of 12
_BINS = 12
_COUNTS, _ESTIMATED = "the data are counts", "estimated from variance against mean"
_LEAST_SEEN = 0.02  # of the noise, by its channels' differences


@dataclass(frozen=True)
class ChannelNoise:
    """The variance of y is gain · (y − offset) + read_sigma²; ``source`` says how that was found.

    ``correlation``: ρ₁, ρ₂, … of the noise of channels one, two, … apart; none where they are independent.
    """

    gain: float
    offset: float
    read_sigma: float
    source: str
    correlation: tuple[float, ...] = ()

    @property
    def is_estimated(self) -> bool:
        """Whether gain and read noise come from the data's scatter."""
        return self.source == _ESTIMATED

    @property
    def of_sums(self) -> ChannelNoise:
        """What the noise of sums over many channels is that of: the same with (1 + 2Σρ) times the variance."""
        share = 1 + 2 * sum(self.correlation)
        return dataclasses.replace(
            self, gain=self.gain * share, read_sigma=self.read_sigma * float(np.sqrt(share)), correlation=()
        )

    def correlated(self, rho: tuple[float, ...]) -> ChannelNoise:
        """What differences of neighbouring channels told of noise that these share, set right."""
        seen = max(variance_share(FOURTH, rho), _LEAST_SEEN)
        return dataclasses.replace(
            self, gain=self.gain / seen, read_sigma=self.read_sigma / float(np.sqrt(seen)), correlation=rho
        )


def estimate_gain(rows: Real) -> tuple[float, str]:
    """(data units per count, how it was found) of rows (pixels, energy): variance over mean in short stretches.

    The variance is that of fourth differences, blind to smooth spectra; the median over stretches of 32 channels passes
    over edges. Whole numbers whose variance is 0.5 to 2 times their mean are counts.
    """
    return _gain(*_stretches(rows), whole=np.array_equal(rows, np.round(rows)))


def _gain(variance: Real, mean: Real, *, whole: bool) -> tuple[float, str]:
    some = (variance > 0) & (mean > 0)
    if not some.any():
        return 1.0, "no noise to tell: 1"
    gain = float(np.median(variance[some] / mean[some]))
    if whole and 0.5 < gain < 2:
        return 1.0, _COUNTS
    return gain, _ESTIMATED


def channel_noise(windows: Sequence[Real], offset: float) -> ChannelNoise:
    """Gain and read noise from variance = gain · (mean − offset) + read_sigma².

    The stretches of `estimate_gain` are put into bins by their mean, and a line with coefficients ≥ 0 goes through the
    bins' medians. Counts are recognised as there: gain 1, no read noise.

    Parameters
    ----------
    windows
        (pixels, energy) for each window of neighbouring channels; pixels with NaN are left out.
    offset
        Of the detector, in data units.
    """
    kept = [rows[np.isfinite(rows).all(axis=1)] - offset for rows in windows]
    values = np.concatenate([rows.ravel() for rows in kept])
    whole = np.array_equal(values, np.round(values))
    if whole and _sparse(values):
        return ChannelNoise(1.0, offset, 0.0, _COUNTS)
    pairs = [_stretches(rows) for rows in kept if rows.size and rows.shape[1] >= FOURTH.size]
    if not pairs:
        return ChannelNoise(1.0, offset, 0.0, "no values to tell the noise from: counts")
    variance, mean = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    gain, source = _gain(variance, mean, whole=whole)
    if source != _ESTIMATED:
        return ChannelNoise(gain, offset, 0.0, source)
    parts = np.array_split(np.argsort(mean), min(_BINS, max(1, mean.size // 8)))
    at = np.array([np.median(mean[part]) for part in parts])
    seen = np.array([np.median(variance[part]) for part in parts]) / _MEDIAN
    slope, floor = _line(at, seen)
    return ChannelNoise(slope, offset, float(np.sqrt(floor)), source)


def _sparse(values: Real) -> bool:
    """Whole numbers from 0 up, so few that most channels are empty, can only be counts."""
    return values.size > 0 and values.min() >= 0 and bool(np.mean(values == 0) > 0.5)


def _line(at: Real, seen: Real) -> tuple[float, float]:
    """(slope, value at 0) ≥ 0 of the variance against the mean, each bin weighted by its own relative error."""
    weight = 1 / np.maximum(seen, 1e-12 * max(float(seen.max()), 1e-300))
    design = np.stack([at * weight, weight], axis=1)
    (slope, floor), *_ = np.linalg.lstsq(design, seen * weight, rcond=None)
    if floor < 0 or not np.isfinite(floor):
        return max(float(np.sum(seen * weight * at * weight) / np.sum((at * weight) ** 2)), 0.0), 0.0
    if slope < 0:
        return 0.0, float(np.sum(seen * weight**2) / np.sum(weight**2))
    return float(slope), float(floor)


def _stretches(rows: Real) -> tuple[Real, Real]:
    """(variance, mean) over stretches of channels: (pixels, stretches)."""
    n = rows.shape[1]
    length = min(_STRETCH, n)
    noise = np.square(correlate1d(rows, FOURTH, axis=1, mode="reflect"))
    cut = n // length * length
    variance, mean = (a[:, :cut].reshape(len(rows), -1, length).mean(axis=2) for a in (noise, rows))
    return variance, mean
