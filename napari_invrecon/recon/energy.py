"""Deconvolution of EELS spectra along the energy: y(E) = ∫ k(E′) x(E − E′) dE′, solved for x pixel by pixel.

k is a zero-loss peak (then x is sharper in energy), or a low-loss spectrum (then x is single scattering, too).
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import uniform_filter1d

from napari_invrecon.recon import blocks, lambda_choice
from napari_invrecon.recon.channel_noise import estimate_gain
from napari_invrecon.recon.fidelities import poisson
from napari_invrecon.recon.noise import gaussian_sigma
from napari_invrecon.recon.operators import (
    Array,
    fft_workers,
    forward_fft,
    gradient_power,
    inverse_fft,
    transfer_function,
)
from napari_invrecon.recon.record import Reconstruction, Stopwatch, describe_source, make_record
from napari_invrecon.recon.settings import ITERATIONS, TOLERANCE, WORKING_MEMORY, check, takes_settings
from napari_invrecon.recon.solvers import Iterate, Steps, finish, spectral
from napari_invrecon.recon.zero_loss import EnergyResponse, energy_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_invrecon.recon.lambda_choice import LambdaCurve

Real = NDArray[np.float64]
MethodName = Literal["fourier-ratio", "richardson-lucy"]
EnergyRegulariserName = Literal["tikhonov", "l2"]
EnergyRule = Literal["gcv", "balanced", "sure", "discrepancy", "l-curve"]

_BYTES = 90  # per datum at work: double precision on a field of two to three windows, and its transform
_SAMPLE = 1 << 20  # data, of pixels on a regular grid, from which λ, noise and the iterations are estimated
_END = 64  # the ends of the window are lines through this fraction of it
_SEEN = 1e-6  # of the kernel: energies beyond the window that contribute less are left as they are


@dataclass(frozen=True, kw_only=True)
class EnergySettings:
    """Every parameter of a deconvolution along the energy, written once."""

    method: Annotated[
        MethodName,
        {
            "label": "Method",
            "help": "fourier-ratio: divides transforms, weighted by λ; exact scale, may dip below zero. "
            "richardson-lucy: most likely spectrum of Poisson counts, never negative, stopped at the noise.",
        },
    ] = "fourier-ratio"
    lam: Annotated[
        float | None,
        {
            "label": "λ",
            "min": 0.0,
            "help": "Weight of the regulariser in ‖k ⋆ x − y‖² + λR(x) (fourier-ratio). Larger: smoother, less noisy, "
            "and less sharp.",
        },
    ] = None
    regulariser: Annotated[
        EnergyRegulariserName,
        {
            "label": "Regulariser",
            "advanced": True,
            "help": "tikhonov: ‖dx/dE‖², the spectrum varies slowly. l2: ‖x‖², the Wiener filter of white signals.",
        },
    ] = "tikhonov"
    lam_rule: Annotated[
        EnergyRule,
        {
            "label": "Rule for λ",
            "advanced": True,
            "help": "How an automatic λ is chosen: gcv without a noise level, discrepancy from it, balanced between "
            "these two, sure by the least estimated error, l-curve by its corner.",
        },
    ] = "gcv"
    noise_sigma: Annotated[
        float | None,
        {
            "label": "Noise σ",
            "min": 0.0,
            "advanced": True,
            "help": "Root mean square of the noise in the data's units (fourier-ratio); estimated if not given.",
        },
    ] = None
    gain: Annotated[
        float | None,
        {
            "label": "Detector gain",
            "min": 1e-12,
            "advanced": True,
            "help": "Data units per count (richardson-lucy). Automatic: 1 for counts, else from variance against mean.",
        },
    ] = None
    kernel_background: Annotated[
        float | None,
        {
            "label": "Background of the kernel",
            "advanced": True,
            "help": "Subtracted from each channel of the zero-loss or low-loss spectrum, in its units. Automatic: the "
            "median of the channels well before the zero-loss peak.",
        },
    ] = None
    n_iter: Annotated[int, ITERATIONS, {"help": "Of richardson-lucy."}] = 200
    tolerance: Annotated[
        float,
        TOLERANCE,
        {"help": "Iterations stop when the relative change of x is below it, or the residual meets the noise."},
    ] = 1e-4
    memory_gb: Annotated[
        float,
        WORKING_MEMORY,
        {
            "help": "Spectrum images that need more are solved in blocks of pixels; a result over a quarter of it goes "
            "to a file.",
        },
    ] = 4.0

    def __post_init__(self) -> None:
        check(self)


@takes_settings(EnergySettings)
def deconvolve_energy(spectrum: Any, kernel: Any, *, settings: EnergySettings) -> Reconstruction:
    """x̂ = argmin ‖k ⋆ x − y‖² + λR(x) along the energy (fourier-ratio), or of the Poisson likelihood, x ≥ 0.

    Parameters
    ----------
    spectrum : array (energy, …)
        y: a spectrum (energy,) or a spectrum image (energy, y, x); NumPy or dask, real and finite, not changed.
    kernel : array (energy,)
        A zero-loss peak or a low-loss spectrum with the same energy per channel. Its zero-loss peak is found and
        centred to a fraction of a channel, its background subtracted, its zero-loss area made 1 (`energy_response`);
        the record says how.
    settings
        The fields of `EnergySettings` as keyword arguments.

    Returns
    -------
    Reconstruction
        ``data`` float32 in the spectrum's units and shape: with a low-loss kernel, single scattering at the intensity
        of the zero-loss electrons. ``lam``, 0 for richardson-lucy, which has none. ``record``.

    Raises
    ------
    ValueError, TypeError
        Shapes that do not fit, values that are not finite or not real, no zero-loss peak inside the kernel, negative
        counts for richardson-lucy, settings outside their range.

    Notes
    -----
    fourier-ratio is X̂ = K̄ Y / (|K|² + λ|L|²). A line through the ends of the window is taken off and solved exactly;
    what is left is zero at both ends and is continued as an odd function, so that value and slope stay continuous and
    no end rings. λ is one for all pixels, and does not depend on the data's units.

    GCV takes the noise for white and the kernel for right: where the spectrum has structure finer than the kernel can
    leave, or a detector has smeared its noise, λ comes out too small (a hundred times below the L-curve's corner, which
    the record's curve shows). Take a narrower kernel, ``lam_rule="l-curve"``, or a λ of your own.

    richardson-lucy iterates x ← x · Kᵀ(y / Kx) / Kᵀ1 on a field larger than the window, on which what lies beyond is
    free. It stops when Σ(y − Kx)²/(gain · Kx) over all pixels falls to the number of data.

    References
    ----------
    Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, ch. 4. Richardson 1972,
    doi:10.1364/JOSA.62.000055; Lucy 1974, doi:10.1086/111605; for EELS: Gloter et al. 2003,
    doi:10.1016/S0304-3991(03)00103-7.
    """
    return finish(energy_deconvolution(spectrum, kernel, settings))


def energy_deconvolution(spectrum: Any, kernel: Any, settings: EnergySettings) -> Steps[Reconstruction]:
    """`deconvolve_energy` as a generator of `Iterate`, for callers who show progress and may stop it.

    The iterates' ``x`` is in the spectrum's units and shape where all pixels are solved at once; ``residual`` is
    relative to the noise.
    """
    watch = Stopwatch()
    yield Iterate(0, 1, stage="reading")
    _check(spectrum, settings)
    shape = tuple(spectrum.shape)
    response = energy_response(kernel, shape[0], settings.kernel_background)
    image = spectrum if spectrum.ndim > 1 else spectrum[:, None]
    sample = _sample(image)
    pieces = _pieces(image.shape, settings.memory_gb)
    out = blocks.allocate(tuple(image.shape), 4 * int(np.prod(shape)) <= settings.memory_gb * 0.25e9, 1024)
    if settings.method == "fourier-ratio":
        yield Iterate(0, 1, stage="choosing λ")
        facts = yield from _fourier_ratio(image, shape, response, sample, pieces, out, settings)
    else:
        facts = yield from _richardson_lucy(image, shape, response, sample, pieces, out, settings)
    data = blocks.as_result(out)
    data = data if spectrum.ndim > 1 else data[:, 0]
    record = make_record(
        "deconvolve_energy",
        settings,
        [describe_source("spectrum", spectrum), describe_source("kernel", np.asarray(kernel))],
        watch,
        data,
        response=response.summary(),
        blocks={"count": len(pieces)},
        **facts,
    )
    return Reconstruction(data, facts["lam"], record)


def estimate_memory(shape: Sequence[int], settings: EnergySettings) -> float:
    """Peak memory in GB of `deconvolve_energy` on spectra of this shape, its result included, before it starts."""
    n = float(np.prod(shape))
    return blocks.peak_gb(1e-9 * _BYTES * n, 4e-9 * n, settings.memory_gb)


def energy_curve(spectrum: Any, kernel: Any, settings: EnergySettings) -> Steps[LambdaCurve]:
    """The λ curve of a Fourier ratio, without the solution."""
    yield Iterate(0, 1, stage="λ curve")
    _check(spectrum, settings)
    image = spectrum if spectrum.ndim > 1 else spectrum[:, None]
    response = energy_response(kernel, image.shape[0], settings.kernel_background)
    return _curve(_sample(image), *_filters(response, image.shape[0], settings), settings)


def _sample(image: Any) -> Real:
    """Pixels on a regular grid as rows, about `_SAMPLE` data."""
    stride = int(np.ceil((np.prod(image.shape) / _SAMPLE) ** (1 / (image.ndim - 1))))
    return _rows(image[(slice(None), *(slice(None, None, stride) for _ in image.shape[1:]))])


def _check(spectrum: Any, settings: EnergySettings) -> None:
    if not hasattr(spectrum, "shape") or not hasattr(spectrum, "dtype"):
        raise TypeError(f"the spectrum is a {type(spectrum).__name__}: expected an array (energy,) or (energy, y, x)")
    if np.dtype(spectrum.dtype).kind not in "iuf":
        raise TypeError(f"the spectrum holds values of type {spectrum.dtype}: expected real numbers")
    if spectrum.ndim == 0 or 0 in spectrum.shape or spectrum.shape[0] < 4:
        raise ValueError(
            f"the spectrum has the shape {tuple(spectrum.shape)}: expected (energy,) or (energy, y, x) with at least "
            "four channels; the energy is the first axis"
        )
    if settings.method == "richardson-lucy" and settings.lam is not None:
        raise ValueError(
            f"lam={settings.lam:g}: richardson-lucy has no λ, its iterations stop at the noise; leave lam out, or use "
            "method='fourier-ratio'"
        )


def _rows(piece: Any) -> Real:
    """(energy, …) as (pixels, energy) in double precision; refuses what is not finite."""
    rows = np.asarray(piece).reshape(piece.shape[0], -1).T.astype(np.float64)
    if not np.isfinite(rows).all():
        raise ValueError(
            f"the spectrum holds {int((~np.isfinite(rows)).sum())} NaN or infinite values, which would spread over "
            "their whole pixel: replace them, or crop the energy range"
        )
    return np.ascontiguousarray(rows)


def _pixels(rows: Real, shape: tuple[int, ...]) -> Array:
    """(pixels, energy) as (energy, …)."""
    return rows.T.astype(np.float32).reshape(rows.shape[1], *shape)


def _pieces(shape: tuple[int, ...], memory_gb: float) -> list[blocks.Block]:
    """All energies of as many pixels as memory allows."""
    most = memory_gb * 0.5e9 / _BYTES / shape[0]
    axes = len(shape) - 1
    edge = None if np.prod(shape[1:]) <= most else max(1, int((most / fft_workers()) ** (1 / axes)))
    flat = blocks.cut(shape[1:], axes, edge, (0,) * axes)
    every = slice(0, shape[0])
    return [blocks.Block((every, *each.core), (every, *each.read), ((0, 0), *each.missing)) for each in flat]


def _in_blocks(image: Any, pieces: list[blocks.Block], solve: Any, out: Any, residual: float) -> Steps[None]:
    """Solve rows of every block, several blocks at a time."""

    def one(block: blocks.Block) -> Array:
        piece = image[block.read]
        return _pixels(solve(_rows(piece)), tuple(piece.shape[1:]))

    width = fft_workers()
    with ThreadPoolExecutor(width, thread_name_prefix="invrecon") as pool:
        for done in blocks.solve_blocks(pieces, one, out, pool, width):
            yield Iterate(done, len(pieces), residual=residual, stage=f"block {done} of {len(pieces)}")


# Fourier ratio.


def _fourier_ratio(
    image: Any,
    shape: tuple[int, ...],
    response: EnergyResponse,
    sample: Real,
    pieces: list[blocks.Block],
    out: Any,
    settings: EnergySettings,
) -> Steps[dict[str, Any]]:
    otf, penalty = _filters(response, image.shape[0], settings)
    curve = _curve(sample, otf, penalty, settings)
    lam, rule = _choose(curve, settings)
    residual = curve.residual_over_noise(lam)

    def solve(rows: Real) -> Real:
        return fourier_ratio(rows, response.kernel, otf, penalty, lam)

    if len(pieces) == 1:
        out[...] = _pixels(solve(_rows(image)), tuple(image.shape[1:]))
        yield Iterate(1, 1, out.reshape(shape), residual=residual)
    else:
        yield from _in_blocks(image, pieces, solve, out, residual)
    return {
        "lam": lam,
        "lam_rule": rule,
        "curve": curve.summary(),
        "noise_sigma": curve.sigma,
        "residual_over_noise": _finite(residual),
        "n_iter": 1,
        "stopped": "closed form",
    }


def _filters(response: EnergyResponse, n: int, settings: EnergySettings) -> tuple[NDArray[Any], Array]:
    """(transform of the kernel, |L|²) on a field of two windows."""
    otf = transfer_function(response.kernel, (2 * n,), np.complex128)
    return otf, gradient_power((2 * n,)) if settings.regulariser == "tikhonov" else np.ones(n + 1, np.float32)


def _curve(sample: Real, otf: NDArray[Any], penalty: Array, settings: EnergySettings) -> LambdaCurve:
    n = sample.shape[1]
    sigma = settings.noise_sigma
    if sigma is None:
        sigma = gaussian_sigma(sample, spatial_ndim=1) or None
    found = lambda_choice.spectrum(forward_fft(_odd(sample)[0], 1), otf, penalty, (2 * n,), n)
    return lambda_choice.quadratic_curve(found, None, sigma)


def fourier_ratio(rows: Real, kernel: Real, otf: NDArray[Any], penalty: Array, lam: float) -> Real:
    """argmin ‖k ⋆ x − y‖² + λ‖Lx‖² for rows (pixels, energy); transforms are those of two windows' length.

    A line a + bt has the exact solution α + βt with β = b/Σk, α = (a + β Σ j k_j)/Σk.
    """
    rest, start, slope = _odd(rows)
    lag = np.arange(kernel.size) - kernel.size // 2
    total, moment = float(kernel.sum()), float(np.dot(lag, kernel))
    if total <= 0:
        raise ValueError(f"the kernel sums to {total:.4g} of its zero-loss area: give less kernel_background")
    n = rows.shape[1]
    x: Real = np.asarray(spectral(rest, otf, penalty, lam), np.float64)[:, :n]
    line = slope / total
    x += (start + line * moment) / total + line * np.arange(n)
    return x


def _odd(rows: Any) -> tuple[Any, Any, Any]:
    """(y − (a + bt), continued as an odd function to twice the length; a; b), with a line through the window's ends."""
    n = rows.shape[1]
    width = min(n, max(4, n // _END))
    t = np.arange(width) - (width - 1) / 2
    fit = 1 / width + np.outer([-(width / 2), width / 2], t) / np.dot(t, t)  # a line's values at its two outer edges
    first, last = rows[:, :width] @ fit[0], rows[:, n - width :] @ fit[1]
    slope = ((last - first) / n)[:, None]
    start = first[:, None] + 0.5 * slope
    rest = rows - (start + slope * np.arange(n))
    return np.concatenate([rest, -rest[:, ::-1]], axis=1), start, slope


def _choose(curve: LambdaCurve, settings: EnergySettings) -> tuple[float, str]:
    if settings.lam is not None:
        return settings.lam, "given"
    chosen = curve.choices[settings.lam_rule]
    if chosen is not None:
        return chosen, settings.lam_rule
    if not np.isfinite(curve.gcv).any():
        return float(curve.lam[-1]), "the spectrum is a straight line: any λ gives it back"
    raise ValueError(
        f"the rule {settings.lam_rule!r} finds no λ on this spectrum (no corner, or no residual that meets the noise "
        f"level {curve.sigma}): choose another rule for λ (lam_rule), or give λ (lam)"
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# Richardson–Lucy.


def _richardson_lucy(
    image: Any,
    shape: tuple[int, ...],
    response: EnergyResponse,
    sample: Real,
    pieces: list[blocks.Block],
    out: Any,
    settings: EnergySettings,
) -> Steps[dict[str, Any]]:
    kernel = np.maximum(response.kernel, 0)
    gain, source = (settings.gain, "given") if settings.gain is not None else estimate_gain(sample)
    history: list[Iterate] = []
    whole = len(pieces) == 1
    rows = _rows(image) if whole else sample
    steps = richardson_lucy(rows, kernel, gain, settings.n_iter, settings.tolerance)
    answer: bool | None = None
    asked = False
    x: Real
    while True:
        try:
            raw = steps.send(answer)
        except StopIteration as end:
            x = end.value
            break
        history.append(dataclasses.replace(raw, x=None))
        if whole:
            raw = dataclasses.replace(raw, x=_pixels(raw.x, shape[1:]))
        else:
            raw = dataclasses.replace(raw, x=None, stage="counting the iterations on a sample of the pixels")
        answer = yield raw
        asked = asked or bool(answer)
    count = history[-1].step
    residual = history[-1].residual
    if whole:
        out[...] = _pixels(x, tuple(image.shape[1:]))
    else:
        yield from _in_blocks(
            image,
            pieces,
            lambda rows: finish(richardson_lucy(rows, kernel, gain, count, None)),
            out,
            residual,
        )
    return {
        "lam": 0.0,
        "lam_rule": "none: the iterations regularise",
        "detector": {"gain": gain, "source": source},
        "kernel_negative_share": float(-np.minimum(response.kernel, 0).sum() / kernel.sum()),
        "residual_over_noise": _finite(residual),
        "n_iter": count,
        "stopped": "asked to finish"
        if asked
        else "the residual meets the noise"
        if residual <= 1
        else "the most iterations allowed"
        if count == settings.n_iter
        else f"relative change below {settings.tolerance:g}",
        "residual": [float(f"{i.residual:.6g}") for i in history],
        "objective": [float(f"{i.objective:.8g}") for i in history],
    }


def richardson_lucy(rows: Real, kernel: Real, gain: float, n_iter: int, tolerance: float | None) -> Steps[Real]:
    """x ← x · Kᵀ(y / Kx) / Kᵀ1 for rows (pixels, energy) ≥ 0, from a smooth one; x is free beyond the window.

    ``objective`` is the Poisson deviance in counts; ``residual`` √(mean (y − Kx)²/(gain · Kx)), at which the iterations
    stop when it reaches 1. With ``tolerance=None`` exactly ``n_iter`` are done.
    """
    if rows.min() < 0:
        raise ValueError(
            f"the spectrum goes down to {rows.min():.4g}: richardson-lucy takes counts, from 0 up; add back the "
            "background that was subtracted, or use method='fourier-ratio'"
        )
    n, m = rows.shape[1], kernel.size // 2
    used = np.flatnonzero(kernel > 0)
    before, after = max(0, int(used[-1]) - m), max(0, m - int(used[0]))  # what later and earlier energies bring in
    size = int(fft.next_fast_len(n + before + after, real=True))
    padded = np.zeros(size)
    padded[np.arange(used[0], used[-1] + 1) - m] = kernel[used[0] : used[-1] + 1]
    otf = forward_fft(padded, 1)
    view = slice(before, before + n)

    def spread(seen: Real) -> Real:
        field = np.zeros((len(seen), size))
        field[:, view] = seen
        back: Real = inverse_fft(forward_fft(field, 1) * otf.conj(), (size,))
        return back

    reached = spread(np.ones((1, n)))
    free = reached > _SEEN * kernel.sum()
    share = np.where(free, 1 / np.where(free, reached, 1), 0)
    tiny = max(float(rows.max()), 1.0) * 1e-12
    x = _smooth_start(rows, before, size - n - before, tiny) / kernel.sum()
    deviance = poisson(_counts(rows, gain))

    def predicted(x: Real) -> Real:
        blurred: Real = np.maximum(inverse_fft(forward_fft(x, 1) * otf, (size,))[:, view], tiny)
        return blurred

    mean = predicted(x)
    for step in range(1, n_iter + 1):
        new = np.where(free, np.maximum(x * spread(rows / mean) * share, 0), x)
        change = float(np.linalg.norm((new - x)[:, view])) / max(float(np.linalg.norm(new[:, view])), tiny)
        x = new
        mean = predicted(x)
        residual = float(np.sqrt(np.mean(np.square(rows - mean) / (gain * mean))))
        asked = yield Iterate(step, n_iter, x[:, view], deviance.value(_counts(mean, gain)), residual)
        if tolerance is not None and (asked or residual <= 1 or change < tolerance):
            break
    solution: Real = x[:, view]
    return solution


def _smooth_start(rows: Real, before: int, after: int, tiny: float) -> Real:
    """The smoothed spectrum, its logarithm continued as an odd function: a falling background rises beyond the window.

    The iterations hardly move what lies there, so it has to start about right; it stays within ten times the range.
    """
    smooth = uniform_filter1d(rows, max(4, rows.shape[1] // _END), axis=1, mode="nearest")
    level = np.log(np.maximum(smooth, np.maximum(1e-2 * rows.mean(axis=1, keepdims=True), tiny)))
    wide = np.pad(level, ((0, 0), (before, after)), mode="symmetric", reflect_type="odd")
    margin = np.log(10)
    start: Real = np.exp(np.clip(wide, level.min(1, keepdims=True) - margin, level.max(1, keepdims=True) + margin))
    return start


def _counts(rows: Real, gain: float) -> Any:
    """Data units as counts, in double precision where the fidelity would do with single."""
    return rows / gain
