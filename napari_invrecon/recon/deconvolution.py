"""Deconvolution: x̂ = argmin ‖h ⋆ x − y‖² + λR(x), for images, and for stacks of them frame by frame.

The physics is one convolution: the probe or the transfer function h of the microscope blurs the object x.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon import blocks, lambda_choice, noise
from napari_invrecon.recon.boundary import Frame, mirror, mirror_frame, periodic_frame
from napari_invrecon.recon.lambda_choice import LambdaCurve, Spectrum
from napari_invrecon.recon.operators import (
    Array,
    fft_workers,
    forward_fft,
    gradient_power,
    transfer_function,
)
from napari_invrecon.recon.probe import PointSpread, describe_psf
from napari_invrecon.recon.record import Reconstruction, Stopwatch, describe_source, make_record
from napari_invrecon.recon.settings import check, takes_settings
from napari_invrecon.recon.solvers import Iterate, Steps, finish, spectral

Regulariser = Literal["l2", "tikhonov"]
Boundary = Literal["reflect", "periodic"]
Rule = Literal["gcv", "discrepancy", "l-curve"]

_BYTES_PER_PIXEL = 40  # measured peak of the closed form, input and result included
_SEAM = 3e-4  # of the data's range: how far a block may be from the whole


@dataclass(frozen=True, kw_only=True)
class DeconvolutionSettings:
    """Every parameter of a deconvolution, written once."""

    regulariser: Annotated[
        Regulariser,
        {
            "label": "Regulariser",
            "help": "What is believed of the object. tikhonov: ‖∇x‖², it varies slowly. l2: ‖x‖², its values are small.",
        },
    ] = "tikhonov"
    lam: Annotated[
        float | None,
        {
            "label": "λ",
            "min": 0.0,
            "help": "Weight of the regulariser in ‖Hx − y‖² + λR(x). Larger is smoother and less noisy, and more biased.",
        },
    ] = None
    lam_rule: Annotated[
        Rule,
        {
            "label": "Rule for λ",
            "advanced": True,
            "help": "How an automatic λ is chosen. gcv: least generalised cross-validation score. discrepancy: the "
            "residual meets the noise level. l-curve: corner of ‖Hx − y‖ against ‖Lx‖.",
        },
    ] = "gcv"
    boundary: Annotated[
        Boundary,
        {
            "label": "Boundary",
            "advanced": True,
            "help": "What lies beyond the edge. reflect: the image mirrored. periodic: the opposite edge.",
        },
    ] = "reflect"
    noise_sigma: Annotated[
        float | None,
        {
            "label": "Noise σ",
            "min": 0.0,
            "advanced": True,
            "help": "Standard deviation of the noise in the data's units; estimated from the image if not given.",
        },
    ] = None
    normalise_psf: Annotated[
        bool,
        {
            "label": "PSF sums to 1",
            "advanced": True,
            "help": "Divide the point-spread function by its sum, so that the result keeps the intensity of the image.",
        },
    ] = True
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

    def __post_init__(self) -> None:
        check(self)


@takes_settings(DeconvolutionSettings)
def deconvolve(image: Any, psf: Any, *, settings: DeconvolutionSettings) -> Reconstruction:
    """x̂ = argmin ‖h ⋆ x − y‖² + λR(x), with λ chosen from the data where it is not given.

    Parameters
    ----------
    image : array (…, y, x)
        y: NumPy or dask, any real dtype, not changed. The point-spread function's axes are the last ones; leading
        axes (frames, energies) are deconvolved one by one with one λ.
    psf : array or point-spread model
        h: as many axes as are to be deconvolved, any size up to the image's, its centre at index n // 2; or a model
        such as `GaussianPSF`.
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
    With R = ‖x‖² ("l2") or ‖∇x‖² ("tikhonov") the minimiser is X̂ = H̄ Y / (|H|² + λ|L|²) in Fourier space.

    References
    ----------
    Tikhonov & Arsenin, Solutions of Ill-Posed Problems, 1977. Golub, Heath & Wahba, Technometrics 21 (1979) 215,
    doi:10.1080/00401706.1979.10489751.

    Examples
    --------
    >>> import numpy as np, napari_invrecon as ir
    >>> image = np.random.default_rng(0).poisson(50, (64, 64))
    >>> ir.deconvolve(image, ir.gaussian_psf(1.5)).data.shape
    (64, 64)
    """
    return finish(deconvolution(image, psf, settings))


def deconvolution(image: Any, psf: Any, settings: DeconvolutionSettings) -> Steps[Reconstruction]:
    """`deconvolve` as a generator of `Iterate`, for callers who show progress and may stop it."""
    watch = Stopwatch()
    kernel = _kernel(psf, settings, image)
    _check_image(image, kernel)
    ndim = kernel.ndim
    yield Iterate(0, 1, stage="choosing λ")

    tiles = blocks.sample(image, ndim)
    _check_finite(tiles)
    scale = data_scale(tiles)
    curve = _curve(tiles, kernel, settings)
    lam, rule = _choose(curve, settings)

    last = tuple(image.shape[-ndim:])
    reach = (0,) * ndim if settings.boundary == "periodic" else halo(kernel, settings.regulariser, lam, last)
    edge = _block_edge(image, last, reach, settings)
    pieces = blocks.cut(image.shape, ndim, edge, reach)
    out = blocks.allocate(
        tuple(image.shape), in_memory=4 * int(np.prod(image.shape)) <= settings.memory_gb * 0.25e9 or edge is None,
        edge=edge or 1024,
    )
    yield Iterate(0, len(pieces), stage="solving")

    def solve(read: NDArray[Any], block: blocks.Block) -> Array:
        _check_finite([read])
        frame = _frame(read.shape[-ndim:], settings.boundary, block.missing)
        x = _closed_form(read.astype(np.float32), kernel, settings.regulariser, lam, frame)
        return x[block.inside]

    # A single block is transformed by all cores; of many, each core takes its own.
    width = 1 if len(pieces) == 1 else fft_workers()
    with ThreadPoolExecutor(width, thread_name_prefix="invrecon") as pool:
        for done in blocks.solve_blocks(image, pieces, solve, out, pool, width):
            residual = _relative_residual(curve, lam)
            yield Iterate(done, len(pieces), residual=residual, stage=f"block {done} of {len(pieces)}")

    sources = [describe_source("image", image), describe_psf(psf) | {"role": "psf", "kernel_shape": list(kernel.shape)}]
    record = make_record(
        "deconvolve",
        settings,
        sources,
        watch,
        lam=lam,
        lam_rule=rule,
        curve=curve.summary(),
        data_scale=scale,
        noise_sigma=curve.sigma,
        residual_over_noise=_relative_residual(curve, lam),
        n_iter=1,
        stopped="closed form",
        seed=None,
        blocks={"count": len(pieces), "edge_px": edge, "halo_px": list(reach)},
    )
    return Reconstruction(blocks.as_result(out), lam, record)


def lambda_curve(
    image: Any,
    psf: Any,
    *,
    regulariser: Regulariser = "tikhonov",
    lam: Any = None,
    boundary: Boundary = "reflect",
    normalise_psf: bool = True,
    noise_sigma: float | None = None,
    pixel_size_nm: float | None = None,
) -> LambdaCurve:
    """Residual norm, solution norm and GCV score against λ, with the λ that each rule chooses.

    Parameters
    ----------
    image, psf, regulariser, boundary, normalise_psf, noise_sigma, pixel_size_nm
        As for `deconvolve`.
    lam : array, optional
        The weights to show; 200 from 1e-8 to 1e3 if not given.

    Returns
    -------
    LambdaCurve
    """
    settings = DeconvolutionSettings(
        regulariser=regulariser, boundary=boundary, normalise_psf=normalise_psf, noise_sigma=noise_sigma,
        pixel_size_nm=pixel_size_nm,
    )
    kernel = _kernel(psf, settings, image)
    _check_image(image, kernel)
    tiles = blocks.sample(image, kernel.ndim)
    _check_finite(tiles)
    return _curve(tiles, kernel, settings, None if lam is None else np.asarray(lam, np.float64))


def data_scale(tiles: list[NDArray[Any]]) -> float:
    """s: the range of the data between the 0.1 and 99.9 percentiles (all of it where that is zero); 1 if constant.

    λ is a weight for data divided by s, so that it means the same at another exposure time.
    """
    values = np.concatenate([tile.ravel()[:: max(1, tile.size >> 18)] for tile in tiles]).astype(np.float64)
    low, high = np.percentile(values, [0.1, 99.9])
    if high <= low:
        low, high = values.min(), values.max()
    return float(high - low) if high > low else 1.0


def halo(kernel: Array, regulariser: Regulariser, lam: float, shape: tuple[int, ...]) -> tuple[int, ...]:
    """How far an unknown neighbourhood reaches into the solution, in pixels.

    The closed form is itself a convolution, with g = F⁻¹[H̄ / (|H|² + λ|L|²)]. What lies beyond radius r acts through
    the tail of g: a straight edge there changes a pixel by at most max_{r' ≥ r} |Σ_{p_d > r'} g(p)| of its height, and
    uncorrelated texture by (Σ_{|p| > r} g²)^½ of its contrast. r is the smallest radius for which both are 3e-4.
    """
    ndim = kernel.ndim
    size = int(2 ** np.ceil(np.log2(max(64, 4 * max(kernel.shape)))))
    while True:
        grid = (size,) * ndim
        impulse = np.zeros(grid)
        impulse[(0,) * ndim] = 1
        otf = transfer_function(kernel, grid, np.complex128)  # single precision would hide the tail in rounding
        response = spectral(impulse, otf, _penalty(regulariser, grid), lam)
        reach = _reach(response)
        if reach < size // 4 or size >= 2 * max(shape) or size**ndim >= 1 << 24:
            return tuple(min(reach, n) for n in shape)
        size *= 2


def _reach(response: NDArray[np.float64]) -> int:
    """The radius beyond which a periodic impulse response, centred at the origin, is negligible (see `halo`)."""
    size, axes = response.shape[0], range(response.ndim)
    distance = np.minimum(np.arange(size), size - np.arange(size))
    radius = np.zeros(response.shape, np.intp)
    tail = np.zeros(size // 2 + 1)
    for axis in axes:
        along = [-1 if d == axis else 1 for d in axes]
        np.maximum(radius, distance.reshape(along), out=radius)
        profile = response.sum(axis=tuple(d for d in axes if d != axis))
        for side in (profile[1 : size // 2 + 1], profile[:0:-1][: size // 2]):
            beyond = np.abs(np.cumsum(side[::-1])[::-1])  # beyond[r]: what lies farther than r
            tail[:-1] = np.maximum(tail[:-1], np.maximum.accumulate(beyond[::-1])[::-1])
    power = np.bincount(radius.ravel(), np.square(response).ravel(), size // 2 + 1)
    texture = np.sqrt(np.append(np.cumsum(power[::-1])[::-1][1:], 0.0))
    return int(np.argmax(np.maximum(tail, texture) <= _SEAM))


def _kernel(psf: Any, settings: DeconvolutionSettings, image: Any) -> Array:
    """The point-spread function as a float32 array that sums to 1 (unless told not to)."""
    if isinstance(psf, PointSpread):
        kernel = psf.kernel(settings.pixel_size_nm, min(2, image.ndim))
    else:
        kernel = np.asarray(psf)
    if kernel.ndim == 0 or kernel.size == 0 or np.iscomplexobj(kernel) or kernel.dtype == object:
        raise TypeError(
            f"the PSF is an array of shape {kernel.shape} and type {kernel.dtype}: expected a real array with one to "
            "three axes, such as gaussian_psf(2.0)"
        )
    kernel = kernel.astype(np.float32)
    if not np.isfinite(kernel).all():
        raise ValueError("the PSF holds NaN or infinite values: measure it again, or replace them by zero")
    if settings.normalise_psf:
        total = float(kernel.sum(dtype=np.float64))
        if not total > 0:
            raise ValueError(
                f"the PSF sums to {total:g}: expected a positive sum; subtract its background, or pass "
                "normalise_psf=False to use it as it is"
            )
        kernel = (kernel / np.float32(total)).astype(np.float32)
    return kernel


def _check_image(image: Any, kernel: Array) -> None:
    if not hasattr(image, "shape") or not hasattr(image, "dtype"):
        raise TypeError(f"the image is a {type(image).__name__}: expected an array (…, y, x)")
    kind = np.dtype(image.dtype).kind
    if kind not in "iuf":
        remedy = "take its magnitude or its phase" if kind == "c" else "convert it to numbers"
        raise TypeError(f"the image holds values of type {image.dtype}: expected real numbers; {remedy} first")
    if image.ndim < kernel.ndim:
        raise ValueError(f"the PSF has {kernel.ndim} axes and the image {image.ndim}: expected at least as many")
    last = tuple(image.shape[-kernel.ndim :])
    if 0 in image.shape:
        raise ValueError(f"the image is empty: its shape is {tuple(image.shape)}")
    if any(p > n for p, n in zip(kernel.shape, last, strict=True)):
        raise ValueError(
            f"the PSF of {kernel.shape} pixels is larger than the image of {last}: crop the PSF, use a narrower one, "
            "or deconvolve a larger field"
        )


def _check_finite(tiles: list[NDArray[Any]]) -> None:
    for tile in tiles:
        if tile.dtype.kind == "f" and not np.isfinite(tile).all():
            bad = int(tile.size - np.isfinite(tile).sum())
            raise ValueError(
                f"the image holds {bad} NaN or infinite values: replace them, by the median of their neighbours say"
            )


def _penalty(regulariser: Regulariser, shape: tuple[int, ...]) -> Array:
    """|L|² of a quadratic regulariser on the ``rfftn`` grid."""
    if regulariser == "tikhonov":
        return gradient_power(shape)
    return np.ones((*shape[:-1], shape[-1] // 2 + 1), np.float32)


def _frame(shape: tuple[int, ...], boundary: Boundary, margins: tuple[tuple[int, int], ...]) -> Frame:
    return periodic_frame(shape) if boundary == "periodic" else mirror_frame(shape, margins)


def _closed_form(y: Array, kernel: Array, regulariser: Regulariser, lam: float, frame: Frame) -> Array:
    otf = transfer_function(kernel, frame.shape)
    return frame.crop(spectral(mirror(y, frame), otf, _penalty(regulariser, frame.shape), lam))


def _curve(
    tiles: list[NDArray[Any]], kernel: Array, settings: DeconvolutionSettings, grid: lambda_choice.Curve | None = None
) -> LambdaCurve:
    """The λ curve of the image that the tiles stand for."""
    sigma = settings.noise_sigma
    if sigma is None:
        sigma = float(np.median([noise.gaussian_sigma(tile) for tile in tiles])) or None
    found: Spectrum | None = None
    for tile in tiles:
        frame = _frame(tile.shape, settings.boundary, tuple((2 * p, 2 * p) for p in kernel.shape))
        part = lambda_choice.spectrum(
            forward_fft(mirror(tile.astype(np.float32), frame), kernel.ndim),
            transfer_function(kernel, frame.shape),
            _penalty(settings.regulariser, frame.shape),
            frame.shape,
            tile.size,
        )
        found = part if found is None else found + part
    assert found is not None
    return lambda_choice.quadratic_curve(found, grid, sigma)


def _choose(curve: LambdaCurve, settings: DeconvolutionSettings) -> tuple[float, str]:
    """λ and how it was chosen."""
    if settings.lam is not None:
        return settings.lam, "given"
    chosen = curve.choice(settings.lam_rule)
    if chosen is not None:
        return chosen, settings.lam_rule
    if settings.lam_rule != "gcv":
        raise ValueError(
            f"the rule {settings.lam_rule!r} finds no λ on this image ({_why_none(curve, settings.lam_rule)}): use "
            "lam_rule='gcv', or give lam"
        )
    return float(curve.lam[-1]), "the image is constant: any λ gives it back"


def _why_none(curve: LambdaCurve, rule: str) -> str:
    if rule == "l-curve":
        return "the L-curve has no corner"
    if curve.sigma is None:
        return "the noise level is unknown"
    return f"no residual on the curve meets the noise level {curve.sigma:.3g}"


def _relative_residual(curve: LambdaCurve, lam: float) -> float:
    """‖Hx̂ − y‖ / (σ √N) at λ, NaN if σ is unknown; ``residual_norm`` is over the N pixels of the curve's tiles."""
    if curve.sigma is None or lam <= 0:
        return float("nan")
    at = np.interp(np.log(lam), np.log(curve.lam), curve.residual_norm)
    return float(at / (curve.sigma * np.sqrt(curve.n_data)))


def _block_edge(image: Any, last: tuple[int, ...], reach: tuple[int, ...], settings: DeconvolutionSettings) -> int | None:
    """The edge of the blocks that keep the work within memory; None: a frame at once."""
    budget = settings.memory_gb * 0.5e9
    if _BYTES_PER_PIXEL * np.prod([n + 2 * r for n, r in zip(last, reach, strict=True)]) <= budget:
        return None
    if settings.boundary == "periodic":
        raise ValueError(
            f"a periodic image of {last} pixels cannot be cut into blocks and needs more than memory_gb="
            f"{settings.memory_gb:g}: use boundary='reflect', or allow more memory"
        )
    per_worker = budget / _BYTES_PER_PIXEL / fft_workers()
    edge = int(per_worker ** (1 / len(last))) - 2 * max(reach)
    if edge < 2 * max(reach):
        raise ValueError(
            f"blocks with a halo of {max(reach)} px need more than memory_gb={settings.memory_gb:g}: allow more memory, "
            "or use a larger λ, which has a shorter reach"
        )
    return edge
