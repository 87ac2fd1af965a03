"""The background under a window from the counts beside it: b = N·Q, N the pixel's own, the shape Q perhaps shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from napari_invrecon.recon.channel_noise import ChannelNoise
from napari_invrecon.recon.power_law import PowerLaw, power_law

if TYPE_CHECKING:
    from napari_invrecon.recon.element_window import Channels, ElementWindow

Real = NDArray[np.float64]

_SIGNIFICANT = 3.0  # standard deviations of the background's counts below which they tell no shape
_TOLD = 0.9  # of the background's counts that must lie in pixels where they tell a shape


@dataclass(frozen=True)
class Shape:
    """Q, and what is uncertain about it: its variance, its bias, its covariance with the pixel's own N.

    ``exponent`` is r, NaN for other models; ``known`` where there was enough background to tell.
    """

    ratio: Real
    variance: Real
    bias: Real
    covariance: Real
    exponent: Real
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class PowerCarrier:
    """A·E^−r from N = Σ y and T = Σ y log E over the channels from ``start`` on."""

    law: PowerLaw
    start: int
    log_e: Real
    n_signal: int
    noise: ChannelNoise

    @property
    def n_below(self) -> int:
        return self.log_e.size

    def weights(self, n_channels: int) -> Real:
        """Those of N and T."""
        rows = np.zeros((2, n_channels))
        rows[:, self.start : self.start + self.n_below] = np.ones(self.n_below), self.log_e
        return rows

    def level(self, sums: Real) -> Real:
        """N."""
        n: Real = sums[1]
        return n

    def shape(self, sums: Real, n_pixels: Any) -> Shape:
        """Q by maximum likelihood from sums over ``n_pixels`` pixels."""
        law, gain, read = self.law, self.noise.gain, self.noise.read_sigma**2
        total, moment = sums[1], sums[2]
        enough = total > _SIGNIFICANT * np.sqrt(gain * np.maximum(total, 0) + self.n_below * n_pixels * read)
        safe = np.where(enough, total, 1.0)
        mean = np.where(enough, moment / safe, law.flat_mean)
        known = enough & (mean > law.means[0]) & (mean < law.means[1])
        r, log_ratio, slope, bend, width, skew = np.moveaxis(law.table(np.where(known, mean, law.flat_mean)), -1, 0)
        ratio = np.exp(log_ratio)
        first, second = ratio * slope, ratio * (slope**2 + bend)
        off = self.n_below * (law.flat_mean - mean)
        read_part = self.n_below * law.flat_variance + off**2 / self.n_below
        var_r = np.where(known, (gain * safe * width + read * n_pixels * read_part) / (safe * width) ** 2, 0.0)
        return Shape(
            ratio=ratio,
            variance=first**2 * var_r,
            bias=0.5 * (second - first * skew / width) * var_r,
            covariance=np.where(known, first * read * off / (safe * width), 0.0),
            exponent=np.where(known, r, np.nan),
            known=known,
        )

    def curve(self, sums: Real, _: Real, energies: Real) -> Real | None:
        """A·E^−r at some energies, from the sums of one spectrum; None if there is no r."""
        shape = self.shape(sums, 1)
        if not shape.known:
            return None
        r = float(shape.exponent)
        middle = float(self.log_e.mean())
        total = np.exp(-r * (self.log_e - middle)).sum()
        curve: Real = self.level(sums) * np.exp(-r * (np.log(energies) - middle)) / total
        return curve


@dataclass(frozen=True)
class LinearCarrier:
    """Σ w_j B_j from the counts B_j of one or two windows; of no window, nothing."""

    runs: tuple[tuple[int, int], ...]
    w: tuple[float, ...]
    n_signal: int
    noise: ChannelNoise

    @property
    def n_below(self) -> int:
        return sum(stop - start for start, stop in self.runs)

    def weights(self, n_channels: int) -> Real:
        """Those of the B_j."""
        rows = np.zeros((len(self.runs), n_channels))
        for row, (start, stop) in zip(rows, self.runs, strict=True):
            row[start:stop] = 1
        return rows

    def level(self, sums: Real) -> Real:
        """N = Σ B_j."""
        level: Real = sums[1:].sum(axis=0)
        return level

    def shape(self, sums: Real, n_pixels: Any) -> Shape:
        """Q = Σ w_j B_j / Σ B_j from sums over ``n_pixels`` pixels."""
        parts, total = sums[1:], self.level(sums)
        column = (-1, *(1,) * np.ndim(total))
        w = np.array(self.w).reshape(column)
        gain, read = self.noise.gain, self.noise.read_sigma**2
        read_part = read * np.array([float(stop - start) for start, stop in self.runs]).reshape(column)
        spread = np.sqrt(gain * np.maximum(total, 0) + self.n_below * n_pixels * read)
        known = total > (_SIGNIFICANT * spread if read else 0.0)
        safe = np.where(known, total, 1.0)
        ratio = np.where(known, (w * parts).sum(axis=0) / safe, self.n_signal / max(self.n_below, 1))
        off = w - ratio
        own = (off**2 * (gain * np.maximum(parts, 0) + read_part * n_pixels)).sum(axis=0)
        nothing = np.zeros_like(ratio)
        return Shape(
            ratio=ratio,
            variance=np.where(known, own / safe**2, 0.0),
            bias=nothing,
            covariance=np.where(known, (off * read_part).sum(axis=0) / safe, 0.0),
            exponent=nothing + np.nan,
            known=known,
        )

    def curve(self, sums: Real, energy_ev: Real, energies: Real) -> Real | None:
        """The line through the windows' means at some energies, from the sums of one spectrum."""
        at = [float(energy_ev[start:stop].mean()) for start, stop in self.runs]
        mean = sums[1:] / [stop - start for start, stop in self.runs]
        slope = (mean[-1] - mean[0]) / (at[-1] - at[0]) if len(at) == 2 else 0.0
        line: Real = mean[0] + slope * (energies - at[0])
        return line


Carrier = PowerCarrier | LinearCarrier


def carrier(window: ElementWindow, place: Channels, energy_ev: Real, noise: ChannelNoise) -> Carrier:
    """What carries the background of a window under its signal."""
    n_signal = place.signal[1] - place.signal[0]
    if window.model == "power-law":
        below, above = (np.log(energy_ev[slice(*each)]) for each in (place.background[0], place.signal))
        return PowerCarrier(power_law(below, above), place.background[0][0], below, n_signal, noise)
    share = [1.0] * len(place.background)
    if len(share) == 2:
        low, high, at = (float(energy_ev[slice(*each)].mean()) for each in (*place.background, place.signal))
        along = (at - low) / (high - low)
        share = [1 - along, along]
    w = tuple(n_signal * each / (stop - start) for each, (start, stop) in zip(share, place.background, strict=True))
    return LinearCarrier(place.background, w, n_signal, noise)


def under(each: Carrier, sums: Real, shape: Shape, n_pixels: Any = 1) -> tuple[Real, Real]:
    """(b, the variance of S − b) of sums over ``n_pixels`` pixels."""
    gain, read = each.noise.gain, each.noise.read_sigma**2 * n_pixels
    level = each.level(sums)
    background = level * (shape.ratio - shape.bias)
    variance = shape.ratio**2 * (gain * np.maximum(level, 0) + each.n_below * read)
    variance += level**2 * shape.variance + 2 * shape.ratio * level * shape.covariance * n_pixels
    return background, variance + gain * np.maximum(sums[0], 0) + each.n_signal * read


def shared_shape(each: Carrier, sums: Real, pooled: Shape, share_px: int | None) -> tuple[int, Shape]:
    """(pixels across, 0 for all; Q of each pixel from as many around it).

    None: the least width at which the shape's variance is, in sum, no more than that of the counts, and at which most
    of the background lies in pixels that know their shape. ``pooled`` is that of the whole image, and of pixels that
    do not.
    """
    level = each.level(sums)
    finite = np.isfinite(level)
    widths = [share_px] if share_px is not None else _widths(level.shape)
    for width in widths:
        shape = _around(each, sums, finite, pooled, width)
        if share_px is not None or width == 0:
            break
        seen = np.maximum(np.where(finite, level, 0), 0)
        added = np.sum(seen**2 * shape.variance)
        _, variance = under(each, sums, shape)
        told = seen[shape.known].sum() >= _TOLD * seen.sum()
        if told and added <= 0.5 * np.nansum(variance):
            break
    return width, shape


def _widths(plane: tuple[int, ...]) -> list[int]:
    """1, 3, 5, 9, 17, … while narrower than the image; then all of it."""
    most = max(plane, default=1)
    return [1, *(w for w in (2**k + 1 for k in range(1, 13)) if w < most), 0] if most > 1 else [0]


def _around(each: Carrier, sums: Real, finite: NDArray[np.bool_], pooled: Shape, width: int) -> Shape:
    """The shape from sums over ``width`` pixels across; 0: over all."""
    if width == 0:
        return Shape(*(np.broadcast_to(value, finite.shape) for value in vars(pooled).values()))
    around, n_pixels = np.where(finite, sums, 0.0), finite.astype(np.float64)
    if width > 1:
        size = (width,) * finite.ndim
        boxes = [uniform_filter(row, size, mode="constant") * width**finite.ndim for row in (*around, n_pixels)]
        around, n_pixels = np.stack(boxes[:-1]), boxes[-1]
    local = each.shape(around, n_pixels)
    filled = {
        name: np.where(local.known, own, getattr(pooled, name)) for name, own in vars(local).items() if name != "known"
    }
    return Shape(**filled, known=local.known)
