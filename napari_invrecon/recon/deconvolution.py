"""Deconvolution: x̂ = argmin D(h ⋆ x, y) + λR(x), for images, and for stacks of them frame by frame.

The physics is one convolution: the probe or the transfer function h of the microscope blurs the object x.
"""

from __future__ import annotations

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_invrecon.recon import blocks, lambda_choice
from napari_invrecon.recon.boundary import mirror
from napari_invrecon.recon.deblurring import (
    Blur,
    BoundaryName,
    DenoiserName,
    NoiseName,
    RegulariserName,
    count_iterations,
    deblur,
    fill_gaps,
    fit,
    halo,
    make_prior,
    with_iterations,
)
from napari_invrecon.recon.detector import looks_like_counts, poisson_gain_offset
from napari_invrecon.recon.lambda_choice import Fit, LambdaCurve, Rule, Spectrum
from napari_invrecon.recon.noise import NoiseEstimate, estimate_noise, gaussian_sigma
from napari_invrecon.recon.operators import Array, fft_workers, forward_fft, transfer_function
from napari_invrecon.recon.probe import PointSpread, describe_psf
from napari_invrecon.recon.psf import check_psf
from napari_invrecon.recon.record import Reconstruction, Stopwatch, describe_source, make_record
from napari_invrecon.recon.settings import check, check_real, takes_settings
from napari_invrecon.recon.solvers import Iterate, Steps, finish

if TYPE_CHECKING:
    from collections.abc import Generator

_CLOSED_FORM_BYTES = 40  # per pixel: measured peak, input and result included
_ITERATIVE_BYTES = {  # likewise
    "l2": 150, "tikhonov": 100, "tv": 80, "l1": 80, "wavelet": 200, "roughness": 190, "denoiser": 340
}  # fmt: skip
_SOLVED_GRID = {"roughness": np.logspace(-3, 4, 15)}  # where it is not that of lambda_choice
_HEURISTIC_ITERATIONS = 5  # plug and play with a denoiser that is no prox gets worse as it goes on: measured
_LEAST_REGION = 25  # pixels
_FAR = 3.0  # times the scale: how far from zero the data lie if they have a black level
_DARK = 0.1  # of the scale: the median of an image whose ground is dark
_FLAT = {"l2": 0.015, "tikhonov": 0.015}  # of the scale: what remains of noise in a flat region at the best λ, and
_FLAT_ELSE = 0.002  # of regularisers that make it really flat; measured, docs/choose-lambda.md
_IGNORES_CONSTANTS = ("tikhonov", "tv", "wavelet", "denoiser")
_AT_MOST = "the most iterations allowed"
_CROP = {1: 1 << 14, 2: 256, 3: 48}  # edge of the piece on which λ is chosen, by the number of axes


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
    n_iter: Annotated[
        int,
        {"label": "Iterations at most", "min": 1, "max": 100000, "advanced": True, "help": "Of an iterative solution."},
    ] = 500
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
            "help": "Images that need more are solved in blocks; a result over a quarter of it goes to a file.",
        },
    ] = 4.0
    seed: Annotated[
        int,
        {"label": "Seed", "min": 0, "max": 2**31 - 1, "advanced": True, "help": "Of the random probe in the λ rules."},
    ] = 0

    def __post_init__(self) -> None:
        check(self)


@takes_settings(DeconvolutionSettings)
def deconvolve(
    image: Any, psf: Any, weights: Any = None, reference: Any = None, *, settings: DeconvolutionSettings
) -> Reconstruction:
    """x̂ = argmin D(h ⋆ x, y) + λR(x), with λ chosen from the data where it is not given.

    Parameters
    ----------
    image : array (…, y, x)
        y: NumPy or dask, any real dtype, not changed. The point-spread function's axes are the last ones; leading
        axes (frames, energies) are deconvolved one by one with one λ. NaN counts as masked where the solution is
        iterative.
    psf : array or point-spread model
        h: as many axes as are to be deconvolved, any size up to the image's, its centre at index n // 2; or a model
        such as `GaussianPSF`.
    weights : array, optional
        1 for pixels that count, 0 for those that do not (dead, saturated, out of view), or anything between; the shape
        of the image or of its last axes.
    reference : array of bool, optional
        True over a region in which the object is known to be flat (vacuum, a bare support), for ``lam_rule``
        "reference"; the shape of the image's last axes.
    settings
        The fields of `DeconvolutionSettings` as keyword arguments.

    Returns
    -------
    Reconstruction
        ``data`` float32 in the image's units and shape; ``lam``; ``record``.

    Raises
    ------
    ValueError, TypeError
        Shapes that do not fit, values that are not finite or not real, settings outside their range; each says what
        was expected, what came, and the remedy.

    Notes
    -----
    D is ‖h ⋆ x − y‖² or, for counts, twice the Poisson negative log-likelihood. With R = ‖x‖² ("l2") or ‖∇x‖²
    ("tikhonov") and gaussian noise the minimiser is X̂ = H̄ Y / (|H|² + λ|L|²) in Fourier space; otherwise it is found
    by the alternating direction method of multipliers, with the roughness by a quasi-Newton method for √x.

    References
    ----------
    Tikhonov & Arsenin, Solutions of Ill-Posed Problems, 1977. Rudin, Osher & Fatemi, Physica D 60 (1992) 259,
    doi:10.1016/0167-2789(92)90242-F. Almeida & Figueiredo, IEEE Trans. Image Process. 22 (2013) 3074,
    doi:10.1109/TIP.2013.2258354.

    Examples
    --------
    >>> import numpy as np, napari_invrecon as ir
    >>> image = np.random.default_rng(0).poisson(50, (64, 64))
    >>> ir.deconvolve(image, ir.gaussian_psf(1.5)).data.shape
    (64, 64)
    """
    return finish(deconvolution(image, psf, weights, settings, reference))


def deconvolution(
    image: Any, psf: Any, weights: Any, settings: DeconvolutionSettings, reference: Any = None
) -> Steps[Reconstruction]:
    """`deconvolve` as a generator of `Iterate`, for callers who show progress and may stop it.

    The iterates' ``x`` is in the image's units, cropped to it, where one piece is solved; ``residual`` is
    ‖Hx − y‖/(σ√N).
    """
    watch = Stopwatch()
    yield Iterate(0, 1, stage="reading")
    scene = prepare(image, psf, weights, settings, reference)
    kernel, ndim = scene.blur.kernel, scene.blur.kernel.ndim
    curve, lam, rule = None, settings.lam, "given"
    if lam is None:
        curve = yield from _curve(scene, settings)
        lam, rule = choose_lambda(curve, scene, settings)

    last = tuple(image.shape[-ndim:])
    reach = halo(scene.blur, lam, last)
    edge = _block_edge(scene, last, reach, settings)
    pieces = blocks.cut(image.shape, ndim, edge, reach)
    if curve is None and len(pieces) == 1 and not scene.closed_form:
        curve = lambda_choice.unknown_curve(lam, float(np.prod(image.shape)), scene.sigma)
    elif curve is None:
        curve = yield from _curve(scene, settings)
    blur = scene.blur
    if len(pieces) > 1 and not scene.closed_form:
        y, w = _crop(scene)
        blur = with_iterations(blur, count_iterations(blur, y, w, lam))
    in_memory = edge is None or 4 * int(np.prod(image.shape)) <= settings.memory_gb * 0.25e9
    out = blocks.allocate(tuple(image.shape), in_memory, edge or 1024)

    history: list[Iterate] = []
    masked: list[int] = []  # pixels without a weight, of each piece
    asked = False
    if len(pieces) == 1:
        y, w = scene.read(pieces[0].read)
        steps = deblur(blur, y, lam, w, missing=pieces[0].missing, threads=fft_workers())
        masked.append(0 if w is None else int(np.count_nonzero(w == 0)))
        n_data = float(y.size if w is None else w.sum(dtype=np.float64))
        x, asked = yield from _shown(steps, scene, curve, lam, pieces[0], n_data, history)
        out[pieces[0].core] = scene.restore(x, y.shape, pieces[0])
    else:

        def solve(block: blocks.Block) -> Array:
            y, w = scene.read(block.read)
            masked.append(0 if w is None else int(np.count_nonzero(w[block.inside[-ndim:]] == 0)))
            x = finish(deblur(blur, y, lam, w, missing=block.missing))
            return scene.restore(x, y.shape, block)

        width = fft_workers()
        residual = curve.residual_over_noise(lam)
        with ThreadPoolExecutor(width, thread_name_prefix="invrecon") as pool:
            for done in blocks.solve_blocks(pieces, solve, out, pool, width):
                yield Iterate(done, len(pieces), residual=residual, stage=f"block {done} of {len(pieces)}")

    sources = [describe_source("image", image), describe_psf(psf) | {"role": "psf", "kernel_shape": list(kernel.shape)}]
    if weights is not None:
        sources.append(describe_source("weights", np.asarray(weights)))
    if reference is not None:
        sources.append(describe_source("reference", np.asarray(reference)))
    stopped = _why_stopped(scene, blur, history, len(pieces), asked)
    record = make_record(
        "deconvolve",
        settings,
        sources,
        watch,
        lam=lam,
        lam_rule=rule,
        curve=curve.summary(),
        data_scale=scene.scale,
        result_is="an intensity" if scene.z_exponent is None else f"Z-equivalent: {scene.z_exponent:g}-th root",
        masked=sum(masked),
        detector={"gain": scene.gain, "offset": scene.offset, "source": scene.detector},
        boundary=blur.boundary,
        nonnegative=blur.nonnegative,
        noise_sigma=curve.sigma,
        noise_is=_noise_remark(scene.noise),
        residual_over_noise=_finite(history[-1].residual if history else curve.residual_over_noise(lam)),
        n_iter=history[-1].step if history else 1 if scene.closed_form else blur.n_iter,
        stopped=stopped,
        remarks=_remarks(scene, stopped, settings),
        heuristic=_is_heuristic(settings),
        residual=[_finite(float(f"{i.residual:.6g}")) for i in history],
        objective=[_finite(float(f"{i.objective:.8g}")) for i in history],
        blocks={"count": len(pieces), "edge_px": edge, "halo_px": list(reach)},
    )
    return Reconstruction(blocks.as_result(out), lam, record)


def lambda_curve(
    image: Any,
    psf: Any,
    weights: Any = None,
    reference: Any = None,
    *,
    regulariser: RegulariserName = "tikhonov",
    lam: Any = None,
    **settings: Any,
) -> LambdaCurve:
    """Residual norm, solution norm and scores against λ, with the λ that each rule chooses.

    Parameters
    ----------
    image, psf, weights, reference
        As for `deconvolve`.
    regulariser : str
        As for `deconvolve`; quadratic by default, whose curve takes milliseconds.
    lam : array, optional
        The weights to show, above 0. If not given, 200 from 1e-8 to 1e3 for a closed form, else 16 from 1 to 1e-5
        (15 from 1e4 to 1e-3 for the roughness), from the largest down until every rule has its answer.
    **settings
        Other fields of `DeconvolutionSettings`.

    Returns
    -------
    LambdaCurve
        In the units of the data.
    """
    chosen = DeconvolutionSettings(regulariser=regulariser, **settings)
    grid = None if lam is None else np.atleast_1d(np.asarray(lam, np.float64))
    if grid is not None and not (grid.ndim == 1 and grid.size and np.isfinite(grid).all() and (grid > 0).all()):
        raise ValueError(f"lam={lam!r}: expected a list of weights above 0, such as np.logspace(-4, 0, 9)")
    return finish(curve_steps(image, psf, weights, chosen, grid, reference))


def curve_steps(
    image: Any,
    psf: Any,
    weights: Any,
    settings: DeconvolutionSettings,
    grid: lambda_choice.Curve | None = None,
    reference: Any = None,
) -> Steps[LambdaCurve]:
    """`lambda_curve` as a generator of `Iterate`."""
    return (yield from _curve(prepare(image, psf, weights, settings, reference), settings, grid))


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
    level
        The data's median, data units, where the result only moves with it; else 0. Left in, it would cost precision.
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
    level: float
    gain: float
    detector: str
    sigma: float | None
    noise: NoiseEstimate
    z_exponent: float | None

    @property
    def closed_form(self) -> bool:
        return self.blur.has_closed_form(self.weights is not None)

    def scaled(self, raw: NDArray[Any]) -> Array:
        """Data of one frame in scaled units."""
        frame = raw.reshape(raw.shape[-self.blur.kernel.ndim :]).astype(np.float64)
        return ((frame - (self.offset + self.level)) / self.scale).astype(np.float32)

    def read(self, where: tuple[slice, ...]) -> tuple[Array, Array | None]:
        """Scaled data of one frame, and their weights where some are not 1."""
        y = self.scaled(np.asarray(self.image[where]))
        weights = None if self.weights is None else self.weights[where].reshape(y.shape).astype(np.float32)
        finite = np.isfinite(y)
        if finite.all():
            return y, weights
        if self.closed_form:
            raise ValueError(
                f"the image holds {int((~finite).sum())} NaN or infinite values, which the closed form cannot pass "
                "over: replace them, or use boundary='masked'"
            )
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


def prepare(image: Any, psf: Any, weights: Any, settings: DeconvolutionSettings, reference: Any = None) -> Scene:
    """Check what came, and estimate scale, detector and noise from pieces that stand for the image."""
    if np.ma.isMaskedArray(image):
        image, weights = image.data, _without_masked(image, weights)
    kernel = _kernel(psf, settings, image)
    _check_image(image)
    check_psf(kernel, tuple(image.shape)) if settings.normalise_psf else check_psf(np.abs(kernel), tuple(image.shape))
    closed = settings.regulariser in ("l2", "tikhonov") and settings.noise == "gaussian" and not settings.nonnegative
    boundary = settings.boundary or ("reflect" if closed and weights is None else "masked")
    if settings.noise_sigma == 0:
        raise ValueError("noise_sigma=0: expected a noise above 0; leave it out to have it estimated from the image")
    if settings.background and settings.noise == "gaussian":
        raise ValueError(
            f"background={settings.background:g} is counted background, of poisson noise: use noise='poisson', or "
            "subtract it from the image"
        )
    checked = None if weights is None else _weights(weights, image, kernel.ndim)
    tiles = blocks.sample(image, kernel.ndim)
    if checked is not None:
        shown = blocks.sample(checked, kernel.ndim)
        tiles = [np.where(w > 0, tile, np.float32(np.nan)) for tile, w in zip(tiles, shown, strict=True)]
    if not any(np.isfinite(tile).any() for tile in tiles):
        raise ValueError("the image holds no finite value: open another layer")
    region = None if reference is None else _reference(reference, image, kernel.ndim)
    if region is None and settings.lam_rule == "reference":
        raise ValueError(
            "lam_rule='reference' needs a region where the object is known to be flat: give reference, True there, or "
            "use another rule"
        )
    gain, offset, detector = _detector(tiles, settings)
    noise = estimate_noise(_without_inf(np.stack(tiles)), spatial_ndim=kernel.ndim, psf=kernel)
    sigma = settings.noise_sigma
    if sigma is None:
        sigma = noise.sigma or None
    scale = data_scale(tiles)
    nonnegative = settings.nonnegative
    if settings.regulariser == "roughness" and nonnegative is False:
        raise ValueError(
            "the roughness is one of √x, which is never negative: leave nonnegative out, or use 'tikhonov'"
        )
    if nonnegative is None:
        points = settings.regulariser == "l1" and _has_dark_ground(tiles, scale)
        nonnegative = points or settings.noise == "poisson" or settings.regulariser == "roughness"
    blur = Blur(
        kernel=kernel,
        regulariser=settings.regulariser,
        boundary=boundary,
        noise=settings.noise,
        nonnegative=nonnegative,
        background=settings.background / scale,
        denoiser=settings.denoiser,
        n_iter=min(settings.n_iter, _HEURISTIC_ITERATIONS) if _is_heuristic(settings) else settings.n_iter,
        tolerance=settings.tolerance,
    )
    level = _level(tiles) if _moves_with_the_data(blur) else 0.0
    scene = Scene(
        image, checked, region, tiles, blur, scale, offset, level, gain, detector, sigma, noise, settings.z_exponent
    )
    if settings.lam == 0 and not scene.closed_form:
        raise ValueError(
            "lam=0 is for a closed form (l2 or tikhonov, gaussian noise, no mask, without x ≥ 0): give a small λ, such "
            "as 1e-6"
        )
    if settings.regulariser != "denoiser":
        return scene
    smooth = dataclasses.replace(blur, regulariser="tikhonov", boundary="reflect", noise="gaussian", nonnegative=False)
    known = None if sigma is None else sigma / scale
    curve = lambda_choice.quadratic_curve(_spectrum(dataclasses.replace(scene, blur=smooth)), None, known)
    guided = dataclasses.replace(
        blur, guide_lam=curve.choices["gcv"] or 1.0, sigma=max(sigma or 0.0, 1e-6 * scale) / scale
    )
    return dataclasses.replace(scene, blur=guided)


def _is_heuristic(settings: DeconvolutionSettings) -> bool:
    return settings.regulariser == "denoiser" and settings.denoiser != "frozen"


def data_scale(tiles: list[NDArray[Any]]) -> float:
    """s: the range of the data between the 0.1 and 99.9 percentiles (all of it where that is zero); 1 if constant.

    λ is a weight for data divided by s, so that it means the same at another exposure time.
    """
    values = _values(tiles)
    low, high = np.percentile(values, [0.1, 99.9])
    if high <= low:
        low, high = values.min(), values.max()
    return float(high - low) if high > low else 1.0


def _moves_with_the_data(blur: Blur) -> bool:
    """Whether y + c has the solution x̂ + c/Σh."""
    total = abs(float(blur.kernel.sum(dtype=np.float64)))
    free = blur.regulariser in _IGNORES_CONSTANTS and blur.noise == "gaussian" and not blur.nonnegative
    return free and total > 1e-3 * float(np.abs(blur.kernel).sum(dtype=np.float64))


def _level(tiles: list[NDArray[Any]]) -> float:
    """The median."""
    return float(np.median(_values(tiles)))


def _has_dark_ground(tiles: list[NDArray[Any]], scale: float) -> bool:
    """Whether most of the image is about zero, so that there are points on nothing."""
    return abs(_level(tiles)) < _DARK * scale


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


def _crop(scene: Scene) -> tuple[Array, Array | None]:
    """The piece of the tiles with the most contrast, scaled: λ is chosen, and iterations are counted, on it."""
    ndim = scene.blur.kernel.ndim
    edge = max(_CROP[ndim], 4 * max(scene.blur.kernel.shape))
    best: tuple[float, int, tuple[slice, ...]] | None = None
    for number, tile in enumerate(scene.tiles):
        shape = tile.shape[-ndim:]
        for block in blocks.cut(shape, ndim, edge, (0,) * ndim):
            contrast = float(np.nanstd(_without_inf(tile.reshape(shape)[block.core]).astype(np.float64)))
            if best is None or contrast > best[0]:
                best = (contrast, number, block.core)
    assert best is not None
    tile = scene.tiles[best[1]]
    piece = dataclasses.replace(scene, image=tile.reshape(tile.shape[-ndim:]), weights=None)
    y, w = piece.read(best[2])
    return y, w


def _crop_with_reference(scene: Scene) -> tuple[Array, Array | None, NDArray[np.bool_]]:
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
    best = max(enough, key=lambda piece: float(np.nanstd(_without_inf(np.asarray(scene.image[frame + piece])))))
    y, weights = scene.read(frame + best)
    return y, weights, scene.reference[best]


def _curve(
    scene: Scene, settings: DeconvolutionSettings, grid: lambda_choice.Curve | None = None
) -> Steps[LambdaCurve]:
    """The λ curve of the image, in its units."""
    flat = _FLAT.get(scene.blur.regulariser, _FLAT_ELSE)
    if scene.closed_form and settings.lam_rule != "holdout":
        yield Iterate(0, 1, stage="choosing λ")
        if grid is None:  # with a given λ, so that its residual is exact
            grid = np.union1d(lambda_choice.DEFAULT_GRID, [settings.lam] if settings.lam else [])
        grid = np.sort(grid)
        spread = None if scene.reference is None else _closed_form_spread(scene, grid)
        sigma = None if scene.sigma is None else scene.sigma / scene.scale
        found = lambda_choice.quadratic_curve(_spectrum(scene), grid, sigma, spread, flat)
        return lambda_choice.rescaled(found, scene.scale)
    if settings.lam is not None and grid is None:
        grid = np.array([settings.lam])  # only its residual is wanted
    region = None
    if scene.reference is None:
        y, weights = _crop(scene)
    else:
        y, weights, region = _crop_with_reference(scene)
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


def _closed_form_spread(scene: Scene, grid: lambda_choice.Curve) -> lambda_choice.Curve:
    """Standard deviation of x̂ over the reference region, scaled, solved for every eighth λ and interpolated."""
    y, _, region = _crop_with_reference(scene)
    frame = scene.blur.frame(y.shape)
    some = np.unique(np.append(np.arange(0, len(grid), 8), len(grid) - 1))
    spread = [_std(frame.crop(finish(deblur(scene.blur, y, float(lam))))[region]) for lam in grid[some]]
    known = np.maximum(spread, np.finfo(np.float32).tiny)
    filled: lambda_choice.Curve = np.exp(np.interp(np.log(grid), np.log(grid[some]), np.log(known)))
    return filled


def _std(x: Array) -> float:
    return float(np.std(x, dtype=np.float64))


def _spread(scene: Scene, y: Array, weights: Array, settings: DeconvolutionSettings) -> Array:
    """The standard deviation of each scaled datum: σ, or that of its counts, from a smoothed image."""
    if scene.blur.noise == "gaussian":
        if settings.noise_sigma is None:  # of this piece: shot noise is larger where there is more contrast
            sigma = gaussian_sigma(np.where(weights > 0, y, np.nan), spatial_ndim=y.ndim, psf=scene.blur.kernel)
        else:
            sigma = settings.noise_sigma / scene.scale
        return np.full(y.shape, max(sigma, 1e-6), np.float32)
    mean = gaussian_filter(np.where(weights > 0, y, 0), 2.0) / np.maximum(gaussian_filter(weights, 2.0), 1e-3)
    count = np.float32(scene.gain / scene.scale)  # one count, scaled
    spread: Array = np.sqrt(count * np.maximum(mean, count)).astype(np.float32)
    return spread


def _spectrum(scene: Scene) -> Spectrum:
    """|Y|² of the tiles, scaled."""
    found: Spectrum | None = None
    blur = scene.blur
    assert blur.power is not None
    for tile in scene.tiles:
        y = scene.scaled(tile)
        if scene.blur.regulariser == "denoiser":
            y = fill_gaps(y, np.isfinite(y).astype(np.float32))
        if not np.isfinite(y).all():
            raise ValueError(
                f"the image holds {int((~np.isfinite(y)).sum())} NaN or infinite values, which the closed form cannot "
                "pass over: replace them, or use boundary='masked'"
            )
        frame = blur.frame(y.shape)
        part = lambda_choice.spectrum(
            forward_fft(mirror(y, frame), y.ndim),
            transfer_function(blur.kernel, frame.shape),
            blur.power(frame.shape),
            frame.shape,
            y.size,
        )
        found = part if found is None else found + part
    assert found is not None
    return found


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
        return chosen, rule + (", of the frozen denoiser" if _is_heuristic(settings) else "") + at_end
    if settings.lam_rule is None and rule != "l-curve":
        return float(curve.lam[-1]), "the image is constant: any λ gives it back"
    raise ValueError(
        f"the rule {rule!r} finds no λ on this image ({_why_none(curve, rule)}): use another lam_rule, or give lam"
    )


def _noise_remark(noise: NoiseEstimate) -> str:
    if noise.white:
        return "white"
    return (
        f"not white: {noise.lines:.2g} times the power runs in lines along an axis, such as scan lines that jump; "
        "balanced, sure, gcv, discrepancy and holdout choose λ too small"
    )


def _why_none(curve: LambdaCurve, rule: Rule) -> str:
    if rule == "l-curve":
        return "the L-curve has no corner"
    if curve.sigma is None:
        return "the noise level is unknown"
    if rule == "discrepancy":
        return f"no residual on the curve meets the noise level {curve.sigma:.3g}"
    return "the image is constant"


def _shown(
    steps: Steps[Array],
    scene: Scene,
    curve: LambdaCurve,
    lam: float,
    block: blocks.Block,
    n_data: float,
    history: list[Iterate],
) -> Generator[Iterate, bool | None, tuple[Array, bool]]:
    """The solver's iterates as the user knows them: x cropped and in data units, the residual over the noise.

    Returns the solution, and whether it was asked for before it had converged.
    """
    shape = tuple(s.stop - s.start for s in block.read[-scene.blur.kernel.ndim :])
    answer: bool | None = None
    while True:
        try:
            raw = steps.send(answer)
        except StopIteration as end:
            return end.value, bool(answer)
        residual = curve.residual_over_noise(lam)  # of a closed form, which has no iterations
        if np.isfinite(raw.residual):
            counts = scene.blur.noise == "poisson"
            level = scene.gain / scene.scale if counts else ((scene.sigma or np.nan) / scene.scale) ** 2
            residual = float(np.sqrt(max(raw.residual, 0.0) / (n_data * level)))
        shown = dataclasses.replace(raw, x=scene.restore(raw.x, shape, block), residual=residual)
        if raw.n_steps > 1:
            history.append(dataclasses.replace(shown, x=None))
        answer = yield shown


def _why_stopped(scene: Scene, blur: Blur, history: list[Iterate], n_blocks: int, asked: bool) -> str:
    if scene.closed_form:
        return "closed form"
    if n_blocks > 1:
        return f"as many iterations as a piece needs to the tolerance of {scene.blur.tolerance:g}, for all blocks alike"
    if asked:
        return "asked to finish"
    if history and history[-1].step < blur.n_iter:
        return f"relative change below {blur.tolerance:g}"
    return _AT_MOST


def _remarks(scene: Scene, stopped: str, settings: DeconvolutionSettings) -> list[str]:
    """What to beware of, in sentences."""
    found = []
    if stopped == _AT_MOST and not _is_heuristic(settings):
        found.append(
            f"Not converged: after n_iter={settings.n_iter} iterations x still changed by more than the tolerance of "
            f"{settings.tolerance:g} in each."
        )
    if settings.regulariser == "l1" and not _has_dark_ground(scene.tiles, scene.scale):
        found.append("l1 takes the object for points on nothing, but the ground is not dark: expect spikes; try tv.")
    if settings.regulariser in ("l2", "roughness") and abs(_level(scene.tiles) - scene.offset) > _FAR * scene.scale:
        found.append(
            f"{settings.regulariser} depends on what zero is, and these data lie far from it: subtract their black "
            "level, or use tikhonov or tv."
        )
    return found


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _block_edge(
    scene: Scene, last: tuple[int, ...], reach: tuple[int, ...], settings: DeconvolutionSettings
) -> int | None:
    """The edge of the blocks that keep the work within memory; None: a frame at once."""
    per_pixel = _CLOSED_FORM_BYTES if scene.closed_form else _ITERATIVE_BYTES[scene.blur.regulariser]
    budget = settings.memory_gb * 0.5e9
    if per_pixel * np.prod([n + 2 * r for n, r in zip(last, reach, strict=True)]) <= budget:
        return None
    if scene.blur.regulariser == "roughness":  # what meets at the field's ends is felt inside: 5e-3, whatever the halo
        raise ValueError(
            f"the roughness is not solved in blocks, and {last} pixels at once need more than memory_gb="
            f"{settings.memory_gb:g}: allow more memory, or use another regulariser"
        )
    if scene.blur.boundary == "periodic":
        raise ValueError(
            f"a periodic image of {last} pixels cannot be cut into blocks and needs more than memory_gb="
            f"{settings.memory_gb:g}: use another boundary, or allow more memory"
        )
    edge = int((budget / per_pixel / fft_workers()) ** (1 / len(last))) - 2 * max(reach)
    if edge < 2 * max(reach):
        raise ValueError(
            f"blocks with a halo of {max(reach)} px need more than memory_gb={settings.memory_gb:g}: allow more, "
            "or use a larger λ, which has a shorter reach"
        )
    return edge
