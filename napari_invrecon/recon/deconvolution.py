"""Deconvolution: x̂ = argmin D(h ⋆ x, y) + λR(x), for images, and for stacks of them frame by frame.

The physics is one convolution: the probe or the transfer function h of the microscope blurs the object x.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.recon import blocks, lambda_choice
from napari_invrecon.recon.deblurring import (
    RegulariserName,
    count_data,
    count_iterations,
    deblur,
    halo,
    with_iterations,
)
from napari_invrecon.recon.deconvolution_lambda import busiest_piece, choose_lambda, lambda_steps
from napari_invrecon.recon.deconvolution_scene import Scene, Spans, only_the_mean_is_left, prepare, swing
from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
from napari_invrecon.recon.diagnostics import OUT_OF_RANGE
from napari_invrecon.recon.operators import Array, fft_workers
from napari_invrecon.recon.probe import describe_psf
from napari_invrecon.recon.record import Reconstruction, Stopwatch, describe_source, make_record
from napari_invrecon.recon.settings import takes_settings
from napari_invrecon.recon.solvers import Iterate, Steps, finish

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_invrecon.recon.deblurring import Blur
    from napari_invrecon.recon.lambda_choice import Curve, LambdaCurve
    from napari_invrecon.recon.noise import NoiseEstimate

_CLOSED_FORM_BYTES = 40  # per pixel: measured peak, input and result included
_ITERATIVE_BYTES = {  # likewise
    "l2": 150, "tikhonov": 100, "tv": 80, "l1": 80, "wavelet": 200, "roughness": 190, "denoiser": 340
}  # fmt: skip
_FAR = 3.0  # times the scale: how far from zero the data lie if they have a black level
_MOST_SWING = 3.0  # of a result that is not noise: see `swing`
_AT_MOST = "the most iterations allowed"


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
        1 for pixels that count, 0 for those that do not (dead, saturated, out of view); w between for those with 1/w
        times the noise variance, D = Σ w(h ⋆ x − y)². The shape of the image or of its last axes.
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
        curve = yield from lambda_steps(scene, settings)
        lam, rule = choose_lambda(curve, scene, settings)

    last = tuple(image.shape[-ndim:])
    reach = halo(scene.blur, lam, last)
    edge = _block_edge(scene, last, reach, settings)
    pieces = blocks.cut(image.shape, ndim, edge, reach)
    if curve is None and len(pieces) == 1 and not scene.closed_form:
        curve = lambda_choice.unknown_curve(lam, float(np.prod(image.shape)), scene.sigma)
    elif curve is None:
        curve = yield from lambda_steps(scene, settings)
    blur = scene.blur
    if len(pieces) > 1 and not scene.closed_form:
        y, w = busiest_piece(scene)
        blur = with_iterations(blur, count_iterations(blur, y, w, lam))
    in_memory = edge is None or 4 * int(np.prod(image.shape)) <= settings.memory_gb * 0.25e9
    out = blocks.allocate(tuple(image.shape), in_memory, edge or 1024)

    history: list[Iterate] = []
    masked: list[int] = []  # pixels without a weight, of each piece
    empty: list[blocks.Block] = []  # pieces without any other
    spans: list[Spans] = []
    asked = False
    if len(pieces) == 1:
        y, w = scene.read(pieces[0].read)
        steps = deblur(blur, y, lam, w, missing=pieces[0].missing, threads=fft_workers())
        masked.append(0 if w is None else int(np.count_nonzero(w == 0)))
        n_data = count_data(blur, y, w, pieces[0].missing)
        x, asked = yield from _shown(steps, scene, curve, lam, pieces[0], n_data, history)
        out[pieces[0].core] = scene.restore(x, y.shape, pieces[0])
        spans.append(scene.spans(x, y, pieces[0]))
    else:

        def solve(block: blocks.Block) -> Array:
            y, w = scene.read(block.read)
            masked.append(0 if w is None else int(np.count_nonzero(w[block.inside[-ndim:]] == 0)))
            if w is not None and not w.any():
                empty.append(block)
                return np.full([part.stop - part.start for part in block.core], np.nan, np.float32)
            x = finish(deblur(blur, y, lam, w, missing=block.missing))
            spans.append(scene.spans(x, y, block))
            return scene.restore(x, y.shape, block)

        width = fft_workers()
        residual = curve.residual_over_noise(lam)
        with ThreadPoolExecutor(width, thread_name_prefix="invrecon") as pool:
            for done in blocks.solve_blocks(pieces, solve, out, pool, width):
                yield Iterate(done, len(pieces), residual=residual, stage=f"block {done} of {len(pieces)}")

    out = blocks.as_result(out)
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
        out,
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
        remarks=_remarks(scene, stopped, settings, spans, len(empty)),
        heuristic=settings.heuristic,
        residual=[_finite(float(f"{i.residual:.6g}")) for i in history],
        objective=[_finite(float(f"{i.objective:.8g}")) for i in history],
        blocks={"count": len(pieces), "edge_px": edge, "halo_px": list(reach)},
    )
    return Reconstruction(out, lam, record)


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
        (15 from 1e4 to 1e-3 for the roughness), from the largest down until every rule has its answer, or
        GCV has had its own for six λ.
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
    grid: Curve | None = None,
    reference: Any = None,
) -> Steps[LambdaCurve]:
    """`lambda_curve` as a generator of `Iterate`."""
    return (yield from lambda_steps(prepare(image, psf, weights, settings, reference), settings, grid))


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


def _remarks(
    scene: Scene, stopped: str, settings: DeconvolutionSettings, spans: Sequence[Spans], n_empty: int
) -> list[str]:
    """What to beware of, in sentences."""
    found = []
    if n_empty:
        found.append(f"{n_empty} frames or blocks hold no pixel that counts: nothing is known of them, they are NaN.")
    if only_the_mean_is_left(spans):
        found.append(
            "Nothing but the mean is left: with this λ the image tells this regulariser no more. Try a smaller λ, or "
            "another regulariser, such as l2 for a faint lattice."
        )
    if (swung := swing(spans)) > _MOST_SWING:
        found.append(
            f"{OUT_OF_RANGE} by {swung:.2g} times that range on both sides: amplified noise, if the object has no such "
            "contrast. Then the PSF is wider than the image is blurred (text burned into it is not blurred at all), or "
            "the noise of neighbouring pixels is alike, as in a resampled or smoothed image: crop the text, take a "
            "narrower PSF, the image as it was recorded, or a larger λ."
        )
    if stopped == _AT_MOST and not settings.heuristic:
        found.append(
            f"Not converged: after n_iter={settings.n_iter} iterations x still changed by more than the tolerance of "
            f"{settings.tolerance:g} in each."
        )
    if settings.regulariser == "l1" and not scene.dark_ground:
        found.append("l1 takes the object for points on nothing, but the ground is not dark: expect spikes; try tv.")
    if settings.regulariser in ("l2", "roughness") and abs(scene.median - scene.offset) > _FAR * scene.scale:
        found.append(
            f"{settings.regulariser} depends on what zero is, and these data lie far from it: subtract their black "
            "level, or use tikhonov or tv."
        )
    return found


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _noise_remark(noise: NoiseEstimate) -> str:
    if noise.white:
        return "white"
    return (
        f"not white: {noise.lines:.2g} times the power runs in lines along an axis, such as scan lines that jump; "
        "balanced, sure, gcv, discrepancy and holdout choose λ too small"
    )


def estimate_memory(shape: Sequence[int], settings: DeconvolutionSettings, ndim: int = 2) -> float:
    """Peak memory in GB of `deconvolve` on an image of this shape, its data and result included, before it starts.

    Frames that need more than half of ``memory_gb`` are cut into blocks, and a result over a quarter of it is a file.
    """
    closed = settings.regulariser in ("l2", "tikhonov") and settings.noise == "gaussian" and not settings.nonnegative
    closed = closed and settings.boundary != "masked"
    per_pixel = _CLOSED_FORM_BYTES if closed else _ITERATIVE_BYTES[settings.regulariser]
    frame = 1e-9 * per_pixel * float(np.prod(shape[-ndim:]))
    result = 4e-9 * float(np.prod(shape[:-ndim])) * float(np.prod(shape[-ndim:])) if len(shape) > ndim else 0.0
    return blocks.peak_gb(frame, result, settings.memory_gb)


def _block_edge(
    scene: Scene, last: tuple[int, ...], reach: tuple[int, ...], settings: DeconvolutionSettings
) -> int | None:
    """The edge of the blocks that keep the work within memory; None: a frame at once."""
    per_pixel = _CLOSED_FORM_BYTES if scene.closed_form else _ITERATIVE_BYTES[scene.blur.regulariser]
    budget = settings.memory_gb * 0.5e9
    if per_pixel * np.prod([n + 2 * r for n, r in zip(last, reach, strict=True)]) <= budget:
        return None
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
