"""A tilt series as it comes, checked, and read slab by slab as the solvers take it: scaled, in their axis order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from napari_invrecon.recon.detector import looks_like_counts
from napari_invrecon.recon.noise import gaussian_sigma
from napari_invrecon.recon.settings import check_real
from napari_invrecon.recon.tilt_images import each_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_invrecon.recon.operators import Array

_SAMPLED = 1 << 21  # data that percentiles are taken of
_NOISE_TILTS = 8
_NOISE_SLICES = 16
_NOISE_EDGE = 512
_FAINTEST = 0.1  # of the mean variance: emptier data are not trusted more, misalignment is no shot noise
_SUGGESTED_FROM = 0.01  # of the range of the data


@dataclass(frozen=True)
class TiltSeries:
    """A tilt series in scaled units, (y − background)/scale, with the tilt axis along the last axis.

    Attributes
    ----------
    stack
        (channel, tilt, y, x) as given; one channel where there was no such axis.
    has_channels
        Whether there was.
    angles_deg
        Of the tilts in use.
    used
        Which tilts those are: one without any contrast holds no image.
    tilt_axis, bin
        As in the settings.
    width, n_slices
        Pixels after binning across and along the tilt axis.
    axis_shift_px
        Of the tilt axis from the middle, in binned pixels.
    background, suggested_background
        Data units: what is subtracted, and the level of the darkest parts.
    lowest
        The smallest datum, as given.
    scale
        s of each channel, data units.
    sigma
        Root of the noise variance of each channel, data units; 0 where none is found.
    gain
        Variance of a binned datum over its mean above the background (poisson noise), else None.
    clearest
        The channel with the most signal over noise.
    n_missing
        Data that are not finite; their weight is 0.
    """

    stack: Any
    has_channels: bool
    angles_deg: NDArray[np.float64]
    used: NDArray[np.bool_]
    tilt_axis: Literal["y", "x"]
    bin: int
    width: int
    n_slices: int
    axis_shift_px: float
    background: float
    suggested_background: float
    lowest: float
    scale: tuple[float, ...]
    sigma: tuple[float, ...]
    gain: float | None
    clearest: int
    n_missing: int

    @property
    def n_channels(self) -> int:
        return int(self.stack.shape[0])

    def noise_level(self, channel: int) -> float | None:
        """σ of scaled data of weight 1, None if unknown."""
        return self.sigma[channel] / self.scale[channel] or None

    def read(self, channel: int, slices: slice) -> tuple[Array, Array | None]:
        """Scaled data (tilt, u, slice), and their weights where some are not 1."""
        y = self._raw(channel, slices, self.used)
        y -= self.background
        y /= self.scale[channel]
        data = np.ascontiguousarray(y, np.float32)
        finite = np.isfinite(data)
        weights = None if finite.all() else finite.astype(np.float32)
        data[~finite] = 0
        if self.gain is not None:
            shot = self._shot_weights(data, channel)
            weights = shot if weights is None else weights * shot
        return data, weights

    def restore(self, x: Array, channel: int, norm: float) -> Array:
        """A solved (z, x, y) as (z, y, x) of the stack, in data units a voxel: x · s/‖H‖."""
        volume: Array = x if self.tilt_axis == "x" else np.swapaxes(x, 1, 2)
        scaled: Array = np.multiply(volume, np.float32(self.scale[channel] / norm), order="C")
        return scaled

    def solved(self, volume: Array, channel: int, norm: float) -> Array:
        """The inverse of `restore`."""
        x: Array = volume if self.tilt_axis == "x" else np.swapaxes(volume, 1, 2)
        scaled: Array = np.multiply(x, np.float32(norm / self.scale[channel]), order="C")
        return scaled

    def contrast(self) -> NDArray[np.float64]:
        """Of each slice: the standard deviation of its data across the axis, over a few tilts."""
        tilts = np.flatnonzero(self.used)
        tilts = tilts[np.unique(np.linspace(0, len(tilts) - 1, _NOISE_TILTS).astype(int))]
        spread = np.zeros(self.n_slices)
        for tilt in tilts:
            image = self._raw(self.clearest, slice(0, self.n_slices), slice(tilt, tilt + 1))[0]
            known = np.isfinite(image)
            mean = np.sum(image, axis=0, dtype=np.float64, where=known) / np.maximum(known.sum(axis=0), 1)
            squares = np.sum(np.square(image - mean, where=known, out=np.zeros(image.shape)), axis=0)
            spread += np.sqrt(squares / len(image))
        return spread

    def _shot_weights(self, data: Array, channel: int) -> Array:
        """σ²/variance, at most 1: that of an empty datum."""
        assert self.gain is not None
        smooth = gaussian_filter1d(gaussian_filter1d(data, 1.5, axis=1), 1.5, axis=2)
        variance = smooth * (self.gain / self.scale[channel])
        least = (self.sigma[channel] / self.scale[channel]) ** 2
        weights: Array = (least / np.maximum(variance, least)).astype(np.float32)
        return weights

    def _raw(self, channel: int, slices: slice, tilts: Any) -> NDArray[Any]:
        """Binned data (tilt, u, slice), in double precision where single cannot hold them."""
        b, n_u = self.bin, self.width
        across = self.stack.shape[3 if self.tilt_axis == "y" else 2]
        start = (across - n_u * b) // 2
        u, along = slice(start, start + n_u * b), slice(slices.start * b, slices.stop * b)
        first, then = (tilts, slice(None)) if isinstance(tilts, slice) else (slice(None), tilts)  # read no others
        if self.tilt_axis == "y":
            raw = np.swapaxes(np.asarray(self.stack[channel, first, along, u])[then], 1, 2)
        else:
            raw = np.asarray(self.stack[channel, first, u, along])[then]
        small = raw.dtype.itemsize <= 2 or raw.dtype == np.float32
        y: NDArray[Any] = raw.astype(np.float32 if small else np.float64)
        if b == 1:
            return y
        n = y.shape[2] // b
        binned: NDArray[Any] = np.mean(y.reshape(len(y), n_u, b, n, b), axis=(2, 4), dtype=y.dtype)
        return binned


def read_tilt_series(
    stack: Any,
    angles_deg: Any,
    *,
    tilt_axis: Literal["y", "x"] = "y",
    bin: int = 1,
    axis_shift_px: float = 0.0,
    background: float | None = None,
    noise: Literal["gaussian", "poisson"] = "gaussian",
    noise_sigma: float | None = None,
) -> TiltSeries:
    """Check a tilt series and measure its scale, background and noise.

    The scale s is the 99.9 percentile of y − background of the channel with the clearest signal; those of other
    channels are in proportion to their noise, so that one λ suits all.

    Parameters
    ----------
    stack : array (tilt, y, x) or (channel, tilt, y, x)
        NumPy or dask, any real dtype; not changed.
    angles_deg : array (tilt,)
        Repeated angles are as good as any.
    background
        None: the level of the darkest parts where that is below zero by more than noise, as no projection is; else
        0.
    tilt_axis, bin, axis_shift_px, noise, noise_sigma
        As in the settings of a reconstruction.

    Raises
    ------
    ValueError, TypeError
        Each says what was expected, what came, and the remedy.
    """
    wrapped, angles = check_tilts(stack, angles_deg)
    n_y, n_x = wrapped.shape[2:]
    along, across = (n_y, n_x) if tilt_axis == "y" else (n_x, n_y)
    if bin > min(along, across):
        raise ValueError(f"bin={bin} for images of {n_y} × {n_x} pixels: give a smaller one")
    width = across // bin
    left_over = (across - width * bin) / 2
    shift = (axis_shift_px + left_over - int(left_over)) / bin

    survey = _Survey.of(wrapped)
    used = survey.has_image
    if np.unique(angles[used]).size < 2:
        blank = f" ({int((~used).sum())} of {len(used)} tilts hold no image)" if not used.all() else ""
        raise ValueError(
            f"the tilts in use have {np.unique(angles[used]).size} different angles{blank}: expected at least two; a "
            "volume cannot be told from one view"
        )
    darkest = survey.darkest()
    series = TiltSeries(
        stack=wrapped,
        has_channels=stack.ndim == 4,
        angles_deg=angles[used],
        used=used,
        tilt_axis=tilt_axis,
        bin=bin,
        width=width,
        n_slices=along // bin,
        axis_shift_px=shift,
        background=float(background or 0),
        suggested_background=darkest,
        lowest=survey.lowest,
        scale=(1.0,) * len(wrapped),
        sigma=(0.0,) * len(wrapped),
        gain=None,
        clearest=0,
        n_missing=survey.n_missing,
    )
    if background is None and _has_offset(series, survey):
        series = replace(series, background=darkest)
    return _measured(series, survey, noise, noise_sigma)


def _has_offset(series: TiltSeries, survey: _Survey) -> bool:
    """Whether the darkest parts lie below zero by more than noise explains."""
    below, low, high = -survey.darkest(), *np.percentile(np.concatenate(survey.samples), [0.1, 99.9])
    if below <= _SUGGESTED_FROM * (high - low):
        return False
    return bool(below > 3 * max(_noise(series, c) for c in range(series.n_channels)))


def describe_tilts(angles_deg: NDArray[np.float64], used: NDArray[np.bool_], axis: str) -> dict[str, Any]:
    """``record["tilts"]``: what was used of a series, its range and step, and the axis; JSON-plain."""
    angles = np.sort(angles_deg[used])
    return {
        "count": len(angles),
        "range_deg": [float(angles[0]), float(angles[-1])],
        "step_deg": float(np.median(np.diff(angles))) if len(angles) > 1 else None,
        "axis": axis,
        "used": np.flatnonzero(used).tolist(),
        "excluded": np.flatnonzero(~used).tolist(),
    }


def suggestion(series: TiltSeries, given: bool) -> str:
    """What to tell of a background that was found, or that seems to be left in the data; empty if there is none."""
    if series.background and not given:
        return (
            f"the data go to {series.lowest:g}: {series.background:.6g}, the level of their darkest parts, is "
            "subtracted; give a background, also 0, if that is wrong"
        )
    left = series.suggested_background - series.background
    if abs(left) <= max(_SUGGESTED_FROM * max(series.scale), *series.sigma):
        return ""
    return (
        f"the data go to {series.lowest:g}, and their darkest parts are at {series.suggested_background:.6g}: if "
        f"nothing is there, background={series.suggested_background:.6g} is suggested (now {series.background:g})"
    )


@dataclass(frozen=True)
class _Survey:
    """One look at every image: which hold anything, and a sample of the data of each channel."""

    has_image: NDArray[np.bool_]
    lowest: float
    n_missing: int
    samples: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(cls, stack: Any) -> _Survey:
        n_channels, n_tilts, n_y, n_x = stack.shape
        step = max(1, int(np.sqrt(n_tilts * n_y * n_x / _SAMPLED)))
        low, high = np.full((2, n_channels, n_tilts), np.nan)
        missing = 0
        samples: list[list[NDArray[np.float64]]] = [[] for _ in range(n_channels)]
        for channel in range(n_channels):
            for tilt, image in enumerate(each_image(stack[channel])):
                finite = image if image.dtype.kind in "iu" else image[np.isfinite(image)]
                missing += image.size - finite.size
                if finite.size:
                    low[channel, tilt], high[channel, tilt] = finite.min(), finite.max()
                if high[channel, tilt] > low[channel, tilt]:
                    samples[channel].append(image[::step, ::step].ravel().astype(np.float64))
        if np.isnan(low).all():
            raise ValueError("the stack holds no finite value: open another layer")
        joined = [np.concatenate([np.empty(0), *each]) for each in samples]
        return cls(
            has_image=(high > low).any(axis=0),
            lowest=float(np.nanmin(low)),
            n_missing=missing,
            samples=tuple(each[np.isfinite(each)] for each in joined),
        )

    def darkest(self) -> float:
        """The median of what lies in the lowest tenth of the range of the data."""
        values = np.concatenate(self.samples)
        low, high = np.percentile(values, [0.1, 99.9])
        return float(np.median(values[(values >= low) & (values <= low + 0.1 * (high - low))]))


def check_tilts(stack: Any, angles_deg: Any) -> tuple[Any, NDArray[np.float64]]:
    """(the stack as (channel, tilt, y, x), its angles); nothing of it is read. Errors as of `read_tilt_series`."""
    wrapped = _check_stack(stack)
    return wrapped, _check_angles(angles_deg, wrapped.shape[1])


def _check_stack(stack: Any) -> Any:
    check_real(stack, "stack", "(tilt, y, x)")
    if stack.ndim not in (3, 4) or 0 in stack.shape:
        remedy = "; a sinogram becomes one with stack[:, None, :]" if stack.ndim == 2 else ""
        raise ValueError(
            f"the stack has the shape {tuple(stack.shape)}: expected (tilt, y, x) or (channel, tilt, y, x){remedy}"
        )
    return stack if stack.ndim == 4 else stack[None]


def _check_angles(angles_deg: Any, n_tilts: int) -> NDArray[np.float64]:
    if angles_deg is None:
        raise ValueError("the stack has no tilt angles: open its .rawtlt or .mdoc, or give one angle for each tilt")
    angles = np.asarray(angles_deg)
    if angles.dtype.kind not in "iuf" or angles.ndim != 1:
        raise ValueError(
            f"the tilt angles have the shape {angles.shape} and type {angles.dtype}: expected (tilt,) in degrees"
        )
    if len(angles) != n_tilts:
        raise ValueError(f"{len(angles)} tilt angles for {n_tilts} tilts: give one for each, in the order of the stack")
    if not np.isfinite(angles).all() or np.abs(angles).max() > 360:
        raise ValueError(
            f"the tilt angles hold {angles[~(np.abs(angles) <= 360)][0]}: expected degrees from -360 to 360"
        )
    return angles.astype(np.float64)


def _measured(
    series: TiltSeries, survey: _Survey, noise: Literal["gaussian", "poisson"], noise_sigma: float | None
) -> TiltSeries:
    """The series with its scale and its noise."""
    tops = [np.percentile(each, 99.9) - series.background if each.size else 0.0 for each in survey.samples]
    if max(tops) <= 0:
        raise ValueError(
            f"the data are not above the background of {series.background:g} (they go from {series.lowest:g} to "
            f"{max(tops) + series.background:g}): background={series.suggested_background:.6g} would suit"
        )
    best = int(np.argmax(tops))
    if noise == "poisson":
        levels = [float(np.mean(each)) - series.background if each.size else 0.0 for each in survey.samples]
        gain = _gain(series, best, levels[best])
        series = replace(series, gain=gain)
        sigma = tuple(float(np.sqrt(_FAINTEST * gain * max(level, gain))) for level in levels)
    elif noise_sigma is not None:
        sigma = (noise_sigma / series.bin,) * series.n_channels
    else:
        sigma = tuple(_noise(series, c) for c in range(series.n_channels))
    if all(sigma):
        best = int(np.argmax(np.array(tops) / np.array(sigma)))
        scale = tuple(float(tops[best] * v / sigma[best]) for v in sigma)
    else:
        scale = tuple(float(v) if v > 0 else float(max(tops)) for v in tops)
    return replace(series, scale=scale, sigma=sigma, clearest=best)


def _images(series: TiltSeries, channel: int) -> Iterator[NDArray[Any]]:
    """The middle of a few tilts, (u, slice), data units."""
    tilts = np.flatnonzero(series.used)
    middle = slice(
        max(0, (series.n_slices - _NOISE_EDGE) // 2), min(series.n_slices, (series.n_slices + _NOISE_EDGE) // 2)
    )
    for tilt in tilts[np.unique(np.linspace(0, len(tilts) - 1, _NOISE_TILTS).astype(int))]:
        yield series._raw(channel, middle, slice(tilt, tilt + 1))[0][:_NOISE_EDGE]


def _noise(series: TiltSeries, channel: int) -> float:
    """Root of the mean noise variance: the lower of what images and sinograms show, since structure only adds to it."""
    slices = np.unique(np.linspace(0, series.n_slices - 1, _NOISE_SLICES).astype(int))
    sinograms = np.stack([series._raw(channel, slice(i, i + 1), series.used)[:, :, 0] for i in slices])
    views = [sinograms]
    if series.n_slices >= _NOISE_SLICES:
        views.append(np.stack(list(_images(series, channel))))
    return min(gaussian_sigma(np.where(np.isfinite(view), view, np.nan), spatial_ndim=2) for view in views)


def _gain(series: TiltSeries, channel: int, level: float) -> float:
    """The variance of a binned datum over its mean: that of counts, else of the noise that is found."""
    tilts = np.flatnonzero(series.used)
    some = tilts[:: max(1, len(tilts) // _NOISE_TILTS)]
    if all(looks_like_counts(np.asarray(series.stack[channel, t]) - series.background) for t in some):
        return 1 / series.bin**2
    sigma = _noise(series, channel)
    if level <= 0 or sigma == 0:
        raise ValueError(
            f"the data, on average {level + series.background:.6g} over a background of {series.background:g} with "
            f"noise of {sigma:.3g}, are no counts: give another background, or noise='gaussian'"
        )
    return float(sigma**2 / level)
