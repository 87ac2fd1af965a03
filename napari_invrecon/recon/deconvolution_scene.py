"""The data of a deconvolution, checked and scaled, and the problem that they pose."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon import blocks, lambda_choice
from napari_invrecon.recon.boundary import mirror
from napari_invrecon.recon.deblurring import Blur, fill_gaps
from napari_invrecon.recon.detector import looks_like_counts, poisson_gain_offset
from napari_invrecon.recon.noise import NoiseEstimate, estimate_noise, gaussian_sigma
from napari_invrecon.recon.operators import Array, forward_fft, transfer_function
from napari_invrecon.recon.probe import PointSpread
from napari_invrecon.recon.psf import check_psf
from napari_invrecon.recon.settings import check_real

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
    from napari_invrecon.recon.lambda_choice import Spectrum

_HEURISTIC_ITERATIONS = 5  # plug and play with a denoiser that is no prox gets worse as it goes on: measured
_LEAST_REGION = 25  # pixels
_BARE = 0.03  # of the scale: a result that varies less shows nothing
_DARK = 0.1  # of the scale: the median of an image whose ground is dark
_IGNORES_CONSTANTS = ("tikhonov", "tv", "wavelet", "denoiser")


class Limits(NamedTuple):
    """Least and greatest value."""

    low: float
    high: float

    @property
    def span(self) -> float:
        """What is between them."""
        return self.high - self.low


@dataclass(frozen=True)
class Spans:
    """Of a piece's result and of its data, scaled, and the frame that it is of."""

    frame: tuple[int, ...]
    result: Limits
    data: Limits


def only_the_mean_is_left(pieces: Sequence[Spans]) -> bool:
    """Whether no frame's result shows anything, although its data do; frames that are constant do not count."""
    left = [result.span for result, data in _frames(pieces) if data.span > _BARE]
    return bool(left) and max(left) < _BARE


def swing(pieces: Sequence[Spans]) -> float:
    """How far the result leaves the range of its data on both sides, over that range; of the frame where it is most.

    A blur averages: an object of columns has peaks far above its image, one of holes has pits far below it. Amplified
    noise has no preferred side. At λ from the data it stays below 1.5 for particles, slabs, lattices and ramps under
    1.5 to 5 px at up to 1000 counts, with every regulariser. (Of a lattice under 5 px at 10,000 counts it is 7, 2.3
    of which are the object's.)
    """
    return max(
        (
            min(data.low - result.low, result.high - data.high) / data.span
            for result, data in _frames(pieces)
            if data.span > _BARE
        ),
        default=0.0,
    )


def _frames(pieces: Sequence[Spans]) -> list[tuple[Limits, Limits]]:
    """The limits of the result and of the data, of each frame."""
    by_frame: dict[tuple[int, ...], list[Spans]] = {}
    for piece in pieces:
        by_frame.setdefault(piece.frame, []).append(piece)
    return [
        (_around(each.result for each in parts), _around(each.data for each in parts)) for parts in by_frame.values()
    ]


def _around(limits: Iterable[Limits]) -> Limits:
    low, high = zip(*limits, strict=True)
    return Limits(min(low), max(high))


@dataclass(frozen=True)
class Scene:
    """The data in scaled units, (y − offset − level)/scale, and the problem that they pose.

    Attributes
    ----------
    image, weights
        As given; the weights broadcast to the image's shape, or None.
    reference
        Where a frame is known to be flat, or None.
    tiles
        Pieces that stand for the image; NaN where it is not to be looked at.
    blur
        The problem.
    scale, offset, gain
        Data units; the gain is that of a count.
    median
        Of the data, in their units.
    detector
        Where gain and offset come from.
    sigma
        Root of the mean noise variance, data units; None if unknown.
    noise
        What the image itself tells of its noise.
    z_exponent
        γ of a Z-equivalent result, or None.
    """

    image: Any
    weights: NDArray[Any] | None
    reference: NDArray[np.bool_] | None
    tiles: list[NDArray[Any]]
    blur: Blur
    scale: float
    offset: float
    median: float
    gain: float
    detector: str
    sigma: float | None
    noise: NoiseEstimate
    z_exponent: float | None

    @property
    def closed_form(self) -> bool:
        return self.blur.has_closed_form(self.weights is not None)

    @property
    def level(self) -> float:
        """The median where the result only moves with it, and it would cost precision; else 0. Data units."""
        return self.median if _moves_with_the_data(self.blur) else 0.0

    @property
    def dark_ground(self) -> bool:
        """Whether most of the image is about zero."""
        return abs(self.median) < _DARK * self.scale

    def scaled(self, raw: NDArray[Any]) -> Array:
        """Data of one frame in scaled units."""
        frame = raw.reshape(raw.shape[-self.blur.kernel.ndim :])
        y = np.empty(frame.shape, np.float32)
        np.subtract(frame, self.offset + self.level, out=y, dtype=np.float64, casting="same_kind")
        y /= np.float32(self.scale)
        return y

    def read(self, where: tuple[slice, ...]) -> tuple[Array, Array | None]:
        """Scaled data of one frame, and their weights where some are not 1."""
        y = self.scaled(np.asarray(self.image[where]))
        weights = None if self.weights is None else self.weights[where].reshape(y.shape).astype(np.float32)
        finite = np.isfinite(y)
        if finite.all():
            return y, weights
        if self.closed_form:
            raise _impassable(y)
        return y, (finite if weights is None else weights * finite).astype(np.float32)

    def restore(self, x: Array, shape: tuple[int, ...], block: blocks.Block) -> Array:
        """A solved field as data: its core, in the image's units."""
        frame = self.blur.frame(shape, block.missing)
        core = frame.crop(x)[block.inside[-x.ndim :]] * np.float32(self.scale)
        if self.level:
            core += np.float32(self.level / self.blur.kernel.sum(dtype=np.float64))
        if self.z_exponent is not None:
            core = np.sign(core) * np.abs(core) ** np.float32(1 / self.z_exponent)
        return core.reshape(tuple(s.stop - s.start for s in block.core))

    def spans(self, x: Array, y: Array, block: blocks.Block) -> Spans:
        """Of a solved field and its data, on the piece's core."""
        inside = block.inside[-x.ndim :]
        core, seen = self.blur.frame(y.shape, block.missing).crop(x)[inside], y[inside]
        frame = tuple(part.start for part in block.core[: -x.ndim])
        known = seen[np.isfinite(seen)]
        limits = known.min(initial=np.inf), known.max(initial=-np.inf)
        return Spans(frame, Limits(float(core.min()), float(core.max())), Limits(float(limits[0]), float(limits[1])))

    def spectrum(self) -> Spectrum:
        """|Y|² of the tiles, scaled, for a quadratic regulariser."""
        found: Spectrum | None = None
        assert self.blur.power is not None
        for tile in self.tiles:
            y = self.scaled(tile)
            if not np.isfinite(y).all():
                raise _impassable(y)
            frame = self.blur.frame(y.shape)
            part = lambda_choice.spectrum(
                forward_fft(mirror(y, frame), y.ndim),
                transfer_function(self.blur.kernel, frame.shape),
                self.blur.power(frame.shape),
                frame.shape,
                y.size,
            )
            found = part if found is None else found + part
        assert found is not None
        return found


def prepare(image: Any, psf: Any, weights: Any, settings: DeconvolutionSettings, reference: Any = None) -> Scene:
    """Check what came, and estimate scale, detector and noise from pieces that stand for the image."""
    if np.ma.isMaskedArray(image):
        image, weights = image.data, _without_masked(image, weights)
    kernel = _kernel(psf, settings, image)
    _check_image(image)
    check_psf(kernel, tuple(image.shape)) if settings.normalise_psf else check_psf(np.abs(kernel), tuple(image.shape))
    _refuse_contradictions(settings, reference)
    checked = None if weights is None else _weights(weights, image, kernel.ndim)
    region = None if reference is None else _reference(reference, image, kernel.ndim)
    tiles = _tiles(image, checked, kernel.ndim)
    gain, offset, detector = _detector(tiles, settings)
    noise = _noise(tiles, checked, kernel)
    sigma = settings.noise_sigma
    if sigma is None:
        sigma = noise.sigma or None
    values = _values(tiles)
    scale, median = data_scale(values), float(np.median(values))
    blur = _blur(kernel, settings, scale, weighted=weights is not None, dark=abs(median) < _DARK * scale)
    scene = Scene(
        image=image,
        weights=checked,
        reference=region,
        tiles=tiles,
        blur=blur,
        scale=scale,
        offset=offset,
        median=median,
        gain=gain,
        detector=detector,
        sigma=sigma,
        noise=noise,
        z_exponent=settings.z_exponent,
    )
    if settings.lam == 0 and not scene.closed_form:
        raise ValueError(
            "lam=0 is for a closed form (l2 or tikhonov, gaussian noise, no mask, without x ≥ 0): give a small λ, such "
            "as 1e-6"
        )
    return _guided(scene) if settings.regulariser == "denoiser" else scene


def _refuse_contradictions(settings: DeconvolutionSettings, reference: Any) -> None:
    if settings.noise_sigma == 0:
        raise ValueError("noise_sigma=0: expected a noise above 0; leave it out to have it estimated from the image")
    if settings.background and settings.noise == "gaussian":
        raise ValueError(
            f"background={settings.background:g} is counted background, of poisson noise: use noise='poisson', or "
            "subtract it from the image"
        )
    if reference is None and settings.lam_rule == "reference":
        raise ValueError(
            "lam_rule='reference' needs a region where the object is known to be flat: give reference, True there, or "
            "use another rule"
        )
    if settings.regulariser == "roughness" and settings.nonnegative is False:
        raise ValueError(
            "the roughness is one of √x, which is never negative: leave nonnegative out, or use 'tikhonov'"
        )


def _blur(kernel: Array, settings: DeconvolutionSettings, scale: float, *, weighted: bool, dark: bool) -> Blur:
    """The problem, with what the settings leave open decided: boundary and x ≥ 0; ``dark``: most of the image is."""
    closed = settings.regulariser in ("l2", "tikhonov") and settings.noise == "gaussian" and not settings.nonnegative
    boundary = settings.boundary or ("reflect" if closed and not weighted else "masked")
    nonnegative = settings.nonnegative
    if nonnegative is None:
        points = settings.regulariser == "l1" and dark
        nonnegative = points or settings.noise == "poisson" or settings.regulariser == "roughness"
    return Blur(
        kernel=kernel,
        regulariser=settings.regulariser,
        boundary=boundary,
        noise=settings.noise,
        nonnegative=nonnegative,
        background=settings.background / scale,
        denoiser=settings.denoiser,
        n_iter=min(settings.n_iter, _HEURISTIC_ITERATIONS) if settings.heuristic else settings.n_iter,
        tolerance=settings.tolerance,
    )


def _guided(scene: Scene) -> Scene:
    """With the Tikhonov λ and the noise from which a denoiser is made."""
    smooth = dataclasses.replace(
        scene.blur, regulariser="tikhonov", boundary="reflect", noise="gaussian", nonnegative=False
    )
    filled = [fill_gaps(tile, np.isfinite(tile)) for tile in scene.tiles if np.isfinite(tile).any()]
    spectrum = dataclasses.replace(scene, blur=smooth, tiles=filled).spectrum()
    known = None if scene.sigma is None else scene.sigma / scene.scale
    guide = lambda_choice.quadratic_curve(spectrum, None, known).choices["gcv"] or 1.0
    blur = dataclasses.replace(scene.blur, guide_lam=guide, sigma=max(known or 0.0, 1e-6))
    return dataclasses.replace(scene, blur=blur)


def _tiles(image: Any, weights: NDArray[Any] | None, ndim: int) -> list[NDArray[Any]]:
    """Pieces that stand for the image, NaN where it does not count."""
    tiles = blocks.sample(image, ndim)
    if weights is not None:
        shown = blocks.sample(weights, ndim)
        tiles = [np.where(w > 0, tile, np.float32(np.nan)) for tile, w in zip(tiles, shown, strict=True)]
    if not any(np.isfinite(tile).any() for tile in tiles):
        raise ValueError("the image holds no finite value: open another layer")
    return tiles


def _noise(tiles: list[NDArray[Any]], weights: NDArray[Any] | None, kernel: Array) -> NoiseEstimate:
    """Of a datum of weight 1; one of weight w has 1/w times its variance."""
    y = _without_inf(np.stack(tiles))
    found = estimate_noise(y, spatial_ndim=kernel.ndim, psf=kernel)
    if weights is None:
        return found
    alike = np.sqrt(np.stack(blocks.sample(weights, kernel.ndim))) * (y - np.nanmedian(y))
    return dataclasses.replace(found, sigma=gaussian_sigma(alike, spatial_ndim=kernel.ndim, psf=kernel))


def _impassable(y: Array) -> ValueError:
    return ValueError(
        f"the image holds {int((~np.isfinite(y)).sum())} NaN or infinite values, which the closed form cannot pass "
        "over: replace them, or use boundary='masked'"
    )


def data_scale(values: NDArray[np.float64]) -> float:
    """s: the range of the data between the 0.1 and 99.9 percentiles (all of it where that is zero); 1 if constant.

    λ is a weight for data divided by s, so that it means the same at another exposure time.
    """
    low, high = np.percentile(values, [0.1, 99.9])
    if high <= low:
        low, high = values.min(), values.max()
    return float(high - low) if high > low else 1.0


def _moves_with_the_data(blur: Blur) -> bool:
    """Whether y + c has the solution x̂ + c/Σh."""
    total = abs(float(blur.kernel.sum(dtype=np.float64)))
    free = blur.regulariser in _IGNORES_CONSTANTS and blur.noise == "gaussian" and not blur.nonnegative
    return free and total > 1e-3 * float(np.abs(blur.kernel).sum(dtype=np.float64))


def _values(tiles: list[NDArray[Any]]) -> NDArray[np.float64]:
    """Up to some 2¹⁸ finite values of each tile."""
    values = np.concatenate([tile.ravel()[:: max(1, tile.size >> 18)] for tile in tiles]).astype(np.float64)
    return values[np.isfinite(values)]


def _kernel(psf: Any, settings: DeconvolutionSettings, image: Any) -> Array:
    """The point-spread function as a float32 array that sums to 1 (unless told not to)."""
    if isinstance(psf, PointSpread):
        kernel = psf.kernel(settings.pixel_size_nm, min(2, getattr(image, "ndim", 2)))
    else:
        kernel = np.asarray(psf)
    if kernel.ndim == 0 or kernel.ndim > 3 or kernel.size == 0 or kernel.dtype.kind not in "iuf":
        raise TypeError(
            f"the PSF is an array of shape {kernel.shape} and type {kernel.dtype}: expected a real array with one to "
            "three axes, such as gaussian_psf(2.0)"
        )
    kernel = kernel.astype(np.float32)
    total = float(kernel.sum(dtype=np.float64))
    if settings.normalise_psf and total > 0:
        kernel = (kernel / np.float32(total)).astype(np.float32)
    return kernel


def _check_image(image: Any) -> None:
    check_real(image, "image", "(…, y, x)")
    if image.ndim == 0 or 0 in image.shape:
        raise ValueError(f"the image is empty: its shape is {tuple(image.shape)}, expected (…, y, x)")


def _weights(weights: Any, image: Any, ndim: int) -> NDArray[Any]:
    w = np.asarray(weights)
    if tuple(w.shape) not in (tuple(image.shape), tuple(image.shape[-ndim:])):
        raise ValueError(
            f"the weights have the shape {w.shape}: expected that of the image, {tuple(image.shape)}, or of its last "
            f"{ndim} axes"
        )
    if w.dtype.kind not in "biuf" or not np.isfinite(w).all() or w.min() < 0 or not w.any():
        raise ValueError("the weights must be finite, not negative and not all zero: 1 counts a pixel, 0 ignores it")
    return np.broadcast_to(w, image.shape)


def _reference(reference: Any, image: Any, ndim: int) -> NDArray[np.bool_]:
    region = np.asarray(reference)
    if region.dtype.kind != "b" or region.shape != tuple(image.shape[-ndim:]):
        raise ValueError(
            f"the reference region has the shape {region.shape} and type {region.dtype}: expected bool of the shape "
            f"{tuple(image.shape[-ndim:])}, True where the object is known to be flat"
        )
    if np.count_nonzero(region) < _LEAST_REGION:
        raise ValueError(
            f"the reference region has {np.count_nonzero(region)} pixels: expected at least {_LEAST_REGION}, to tell "
            "noise from flatness; draw it larger"
        )
    return region


def _without_masked(image: Any, weights: Any) -> Any:
    """The weights, 0 where a masked array is masked."""
    seen = ~np.ma.getmaskarray(image)
    if seen.all():
        return weights
    return seen if weights is None else np.where(seen, weights, 0)


def _without_inf(tile: NDArray[Any]) -> NDArray[Any]:
    return np.where(np.isinf(tile), np.nan, tile) if tile.dtype.kind == "f" and np.isinf(tile).any() else tile


def _detector(tiles: list[NDArray[Any]], settings: DeconvolutionSettings) -> tuple[float, float, str]:
    """(gain, offset, where they come from); (1, 0) where noise is gaussian and they mean nothing."""
    if settings.noise == "gaussian":
        return 1.0, 0.0, "not used"
    if settings.gain is not None and settings.offset is not None:
        return settings.gain, settings.offset, "given"
    if not any(np.nan_to_num(tile).any() for tile in tiles):
        return settings.gain or 1.0, settings.offset or 0.0, "the image is zero"
    if all(looks_like_counts(tile) for tile in tiles):
        return settings.gain or 1.0, settings.offset or 0.0, "the data are counts"
    found = poisson_gain_offset(np.stack(tiles), offset=settings.offset)
    gain = found.gain if settings.gain is None else settings.gain
    return gain, found.offset, "estimated from variance against mean"
