"""λ of a deconvolution: the curve of its image, or of the piece that stands for it, and the rule that reads it."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_invrecon.recon import blocks, lambda_choice
from napari_invrecon.recon.deblurring import deblur, fill_gaps, fit, make_prior
from napari_invrecon.recon.noise import gaussian_sigma
from napari_invrecon.recon.solvers import Iterate, Steps, finish

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.deblurring import Blur
    from napari_invrecon.recon.deconvolution_scene import Scene
    from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
    from napari_invrecon.recon.lambda_choice import Curve, Fit, LambdaCurve, Rule
    from napari_invrecon.recon.operators import Array

_SOLVED_GRID = {"roughness": np.logspace(-3, 4, 15)}  # where it is not that of lambda_choice
_FLAT = {"l2": 0.015, "tikhonov": 0.015}  # of the scale: what remains of noise in a flat region at the best λ, and
_FLAT_ELSE = 0.002  # of regularisers that make it really flat; measured, docs/choose-lambda.md
_WIDE = 64  # px: the edge of a PSF from which on its far tail is left out of the choice of λ
_TAIL = 0.05  # of the intensity; measured, docs/choose-lambda.md
_CROP = {1: 1 << 14, 2: 256, 3: 48}  # edge of the piece on which λ is chosen, by the number of axes


def lambda_steps(scene: Scene, settings: DeconvolutionSettings, grid: Curve | None = None) -> Steps[LambdaCurve]:
    """The λ curve of the image, in its units."""
    flat = _FLAT.get(scene.blur.regulariser, _FLAT_ELSE)
    if scene.closed_form and settings.lam_rule != "holdout":
        yield Iterate(0, 1, stage="choosing λ")
        if grid is None:  # with a given λ, so that its residual is exact
            grid = np.union1d(lambda_choice.DEFAULT_GRID, [settings.lam] if settings.lam else [])
        grid = np.sort(grid)
        spread = None if scene.reference is None else _closed_form_spread(scene, grid)
        sigma = None if scene.sigma is None else scene.sigma / scene.scale
        found = lambda_choice.quadratic_curve(scene.spectrum(), grid, sigma, spread, flat)
        return lambda_choice.rescaled(found, scene.scale)
    if settings.lam is not None and grid is None:
        grid = np.array([settings.lam])  # only its residual is wanted
    scene, region = dataclasses.replace(scene, blur=_with_core(scene.blur)), None
    if scene.reference is None:
        y, weights = busiest_piece(scene)
    else:
        y, weights, region = _piece_with_reference(scene)
    counted = np.ones_like(y) if weights is None else weights
    noise = _spread(scene, y, counted, settings)
    blur = dataclasses.replace(scene.blur, denoiser="frozen")  # a heuristic one takes λ from it, see choose_lambda
    prior = make_prior(blur, fill_gaps(y, counted))

    def solved(y: Array, weights: Array, lam: float, state: Any) -> Steps[Fit]:
        found = yield from fit(blur, prior, y, weights, lam, state)
        if region is None:
            return found
        return dataclasses.replace(found, reference=_std(blur.frame(y.shape).crop(found.state)[region]))

    found = yield from lambda_choice.solved_curve(
        solved,
        y,
        noise,
        counted,
        grid=_SOLVED_GRID.get(blur.regulariser, lambda_choice.SOLVED_GRID) if grid is None else grid,
        complete=grid is not None,
        hold_out=settings.lam_rule == "holdout",
        flat=flat,
        seed=settings.seed,
    )
    return lambda_choice.rescaled(found, scene.scale)


def default_rule(scene: Scene, curve: LambdaCurve) -> Rule:
    """The rule for λ where none is named: see docs/choose-lambda.md for what was measured.

    Where noise runs in lines, rules that take it for white fit the lines; the L-curve's corner does not.
    """
    if scene.reference is not None:
        return "reference"
    unknown = not np.isfinite(curve.residual_norm).any()
    return "balanced" if scene.noise.white or unknown else "l-curve"


def choose_lambda(curve: LambdaCurve, scene: Scene, settings: DeconvolutionSettings) -> tuple[float, str]:
    """λ and how it was chosen."""
    rule = settings.lam_rule or default_rule(scene, curve)
    chosen = curve.choices[rule]
    if chosen is not None:
        decided = curve.choices["gcv"] if rule == "balanced" else chosen
        at_end = ", at the end of the grid" if decided in (curve.lam[0], curve.lam[-1]) else ""
        return chosen, rule + (", of the frozen denoiser" if settings.heuristic else "") + at_end
    if settings.lam_rule is None and rule != "l-curve":
        return float(curve.lam[-1]), "the image is constant: any λ gives it back"
    taken = "" if settings.lam_rule else ", taken as the noise is not white,"
    raise ValueError(
        f"the rule {rule!r}{taken} finds no λ on this image ({_why_none(curve, rule)}): give λ (lam), choose another "
        "rule for it (lam_rule), or a narrower PSF if this one is a guess"
    )


def _why_none(curve: LambdaCurve, rule: Rule) -> str:
    if rule == "l-curve":
        return "the L-curve has no corner"
    if curve.sigma is None:
        return "the noise level is unknown"
    if rule == "discrepancy":
        return f"no residual on the curve meets the noise level {curve.sigma:.3g}"
    return "the image is constant"


def _with_core(blur: Blur) -> Blur:
    """The problem without the far tail of a wide PSF: a piece that held it would take minutes for the same λ."""
    kernel = blur.kernel
    if max(kernel.shape) <= _WIDE:
        return blur
    offsets = np.ogrid[tuple(slice(-(n // 2), n - n // 2) for n in kernel.shape)]
    away = np.max(np.broadcast_arrays(*(np.abs(offset) for offset in offsets)), axis=0)
    inside = np.cumsum(np.bincount(away.ravel(), np.abs(kernel).ravel()))
    reach = int(np.searchsorted(inside, (1 - _TAIL) * inside[-1]))
    core = kernel[tuple(slice(max(n // 2 - reach, 0), n // 2 + reach + 1) for n in kernel.shape)]
    return dataclasses.replace(blur, kernel=core * (kernel.sum() / core.sum()))


def busiest_piece(scene: Scene) -> tuple[Array, Array | None]:
    """The piece of the tiles with the most contrast, scaled: λ is chosen, and iterations are counted, on it."""
    ndim = scene.blur.kernel.ndim
    edge = max(_CROP[ndim], 4 * max(scene.blur.kernel.shape))
    best: tuple[float, int, tuple[slice, ...]] | None = None
    for number, tile in enumerate(scene.tiles):
        shape = tile.shape[-ndim:]
        for block in blocks.cut(shape, ndim, edge, (0,) * ndim):
            contrast = _contrast(tile.reshape(shape)[block.core])
            if best is None or contrast > best[0]:
                best = (contrast, number, block.core)
    assert best is not None
    tile, weights = scene.tiles[best[1]], None
    if scene.weights is not None:
        weights = blocks.sample(scene.weights, ndim)[best[1]].reshape(tile.shape[-ndim:])
    piece = dataclasses.replace(scene, image=tile.reshape(tile.shape[-ndim:]), weights=weights)
    y, w = piece.read(best[2])
    return y, w


def _piece_with_reference(scene: Scene) -> tuple[Array, Array | None, NDArray[np.bool_]]:
    """A piece of the middle frame, scaled, and the reference region on it.

    Of the pieces that hold half as much of the region as any does, the one of most contrast: what leaks into the
    region shows that λ is too large, its noise that λ is too small.
    """
    assert scene.reference is not None
    ndim = scene.blur.kernel.ndim
    frame = tuple(slice(n // 2, n // 2 + 1) for n in scene.image.shape[:-ndim])
    last = tuple(scene.image.shape[-ndim:])
    edge = max(_CROP[ndim], 4 * max(scene.blur.kernel.shape))
    starts = [np.unique(np.append(np.arange(0, max(n - edge, 0), edge // 4), max(n - edge, 0))).tolist() for n in last]
    pieces = [tuple(slice(s, s + edge) for s in corner) for corner in itertools.product(*starts)]
    held = [int(np.count_nonzero(scene.reference[piece])) for piece in pieces]
    enough = [piece for piece, n in zip(pieces, held, strict=True) if 2 * n >= max(held)]
    best = max(enough, key=lambda piece: _contrast(np.asarray(scene.image[frame + piece])))
    y, weights = scene.read(frame + best)
    return y, weights, scene.reference[best]


def _closed_form_spread(scene: Scene, grid: Curve) -> Curve:
    """Standard deviation of x̂ over the reference region, scaled, solved for every eighth λ and interpolated."""
    y, _, region = _piece_with_reference(scene)
    frame = scene.blur.frame(y.shape)
    some = np.unique(np.append(np.arange(0, len(grid), 8), len(grid) - 1))
    spread = [_std(frame.crop(finish(deblur(scene.blur, y, float(lam))))[region]) for lam in grid[some]]
    known = np.maximum(spread, np.finfo(np.float32).tiny)
    filled: Curve = np.exp(np.interp(np.log(grid), np.log(grid[some]), np.log(known)))
    return filled


def _contrast(piece: NDArray[Any]) -> float:
    """Standard deviation of the finite values; −1 where there are none."""
    known = piece[np.isfinite(piece)]
    return float(known.std(dtype=np.float64)) if known.size else -1.0


def _std(x: Array) -> float:
    return float(np.std(x, dtype=np.float64))


def _spread(scene: Scene, y: Array, weights: Array, settings: DeconvolutionSettings) -> Array:
    """The standard deviation of each scaled datum: σ, or that of its counts, from a smoothed image; over √weight."""
    fewer = 1 / np.sqrt(np.where(weights > 0, weights, 1))
    if scene.blur.noise == "gaussian":
        if settings.noise_sigma is None:  # of this piece: shot noise is larger where there is more contrast
            seen = np.where(weights > 0, (y - np.median(y[weights > 0])) / fewer, np.nan)
            sigma = gaussian_sigma(seen, spatial_ndim=y.ndim, psf=scene.blur.kernel)
        else:
            sigma = settings.noise_sigma / scene.scale
        return (max(sigma, 1e-6) * fewer).astype(np.float32)
    mean = gaussian_filter(np.where(weights > 0, y, 0), 2.0) / np.maximum(gaussian_filter(weights, 2.0), 1e-3)
    count = np.float32(scene.gain / scene.scale)  # one count, scaled
    spread: Array = (np.sqrt(count * np.maximum(mean, count)) * fewer).astype(np.float32)
    return spread
