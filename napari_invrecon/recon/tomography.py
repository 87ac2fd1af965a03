"""Tomography: x̂ = argmin ‖Hx − y‖² + λR(x), x ≥ 0, for tilt series of images or of spectroscopic maps.

The physics is one projection a tilt: H integrates the object along the beam, at each angle of the stage.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_invrecon.recon import blocks, slabs
from napari_invrecon.recon.diagnostics import diagnose
from napari_invrecon.recon.lambda_choice import rescaled
from napari_invrecon.recon.operators import fft_workers
from napari_invrecon.recon.projector import Geometry, projector_norm
from napari_invrecon.recon.read_once import read_once
from napari_invrecon.recon.record import Reconstruction, Stopwatch, describe_source, make_record
from napari_invrecon.recon.settings import takes_settings
from napari_invrecon.recon.solvers import Iterate, Steps, finish
from napari_invrecon.recon.tilt_lambda import left_by_a_fit, tilt_curve
from napari_invrecon.recon.tilt_series import TiltSeries, check_tilts, describe_tilts, read_tilt_series, suggestion
from napari_invrecon.recon.tilt_settings import WITHOUT_LAMBDA, TomographySettings
from napari_invrecon.recon.tilt_solvers import TiltProblem, solve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_invrecon.recon.lambda_choice import Curve, LambdaCurve
    from napari_invrecon.recon.operators import Array
    from napari_invrecon.recon.slabs import MemoryEstimate
    from napari_invrecon.recon.tilt_settings import RuleName

T = TypeVar("T")

_DEFAULT_RULE: RuleName = "holdout"
_FALLBACKS: tuple[RuleName, ...] = ("holdout", "gcv", "discrepancy")
_N_ITER = {"fbp": 1, "sirt": 200, "sart": 50, "tv-sart": 60, "tv": 300, "l1": 300, "tikhonov": 200}
_CENTRAL_VOXELS = 1 << 21
_CENTRAL_SLICES = (2, 8)
_PLANES = 16  # of a stored volume in one chunk: it is hashed, and looked at, plane by plane along z
_RESTARTED = ("l1", "tikhonov")  # when their momentum restarts depends on the slab: they are to converge in each
_SHOW_SECONDS = 0.5
_ASKED = "asked to finish"
_LIKELY_LAMBDA = 5e-3  # of scaled data with a few per cent of noise, for an estimate before λ is chosen


@takes_settings(TomographySettings)
def reconstruct_tilt_series(stack: Any, angles_deg: Any, *, settings: TomographySettings) -> Reconstruction:
    """x̂ = argmin ‖Hx − y‖² + λR(x), x ≥ 0, with λ chosen from the data where it is not given.

    Parameters
    ----------
    stack : array (tilt, y, x) or (channel, tilt, y, x)
        y: NumPy or dask, any real dtype, not changed; aligned. Data that are not finite are passed over, and so are
        tilts without any contrast. A lazy stack is read once, a large one into the scratch folder; crop it by slicing.
    angles_deg : array (tilt,)
        Degrees, in any order. A point (x, z) lands on u = x·cos θ + z·sin θ + axis shift, all from the centres.
    settings
        The fields of `TomographySettings` as keyword arguments.

    Returns
    -------
    Reconstruction
        ``data`` float32 (z, y, x) or (channel, z, y, x), in the stack's units a voxel of path, lazy where it is larger
        than memory; ``lam``, 0 for algorithms that have none; ``record``.

    Raises
    ------
    ValueError, TypeError
        Shapes and angles that do not fit, values that are not real, settings outside their range; each says what was
        expected, what came, and the remedy.

    Notes
    -----
    The data are divided by a scale s and H by its norm, so that λ means the same at another exposure time and number
    of tilts: x = x_scaled · s/‖H‖.

    Examples
    --------
    >>> import numpy as np, napari_invrecon as ir
    >>> angles = np.linspace(-60, 60, 13)
    >>> stack = np.ones((13, 4, 32)) + np.random.default_rng(0).normal(0, 0.02, (13, 4, 32))
    >>> ir.reconstruct_tilt_series(stack, angles, algorithm="sirt", n_iter=5).data.shape
    (32, 4, 32)
    """
    return finish(tomography(stack, angles_deg, settings))


@dataclass(frozen=True, eq=False)
class Scene:
    """A checked tilt series, its geometry and ‖H‖; ``stack`` is what was given, read."""

    stack: Any
    series: TiltSeries
    geometry: Geometry
    norm: float

    def problem(self, settings: TomographySettings, channel: int) -> TiltProblem:
        """What is solved for one channel."""
        relaxation = {} if settings.relaxation is None else {"relaxation": settings.relaxation}
        return TiltProblem(
            self.geometry,
            settings.algorithm,
            self.norm,
            nonnegative=settings.nonnegative,
            n_iter=settings.n_iter or _N_ITER[settings.algorithm],
            tolerance=settings.tolerance,
            filter=settings.filter,
            noise_level=self.series.noise_level(channel),
            **relaxation,
        )


def prepare(stack: Any, angles_deg: Any, settings: TomographySettings) -> Steps[Scene]:
    """Check what came, read it, and estimate scale, background and noise: what a preview keeps while only λ changes.

    It depends on the settings ``tilt_axis``, ``first_slice``, ``n_slices``, ``bin``, ``background``, ``noise``,
    ``noise_sigma``, ``thickness_px`` and ``axis_shift_px``.
    """
    yield Iterate(0, 1, stage="reading the stack")
    check_tilts(stack, angles_deg)
    part = chosen_slices(stack.shape, settings)
    stack = yield from read_once(stack, settings.tilt_axis, settings.memory_gb)
    series = read_tilt_series(
        stack[(..., part, slice(None)) if settings.tilt_axis == "y" else (..., part)],
        angles_deg,
        tilt_axis=settings.tilt_axis,
        bin=settings.bin,
        axis_shift_px=settings.axis_shift_px,
        background=settings.background,
        noise=settings.noise,
        noise_sigma=settings.noise_sigma,
    )
    geometry = Geometry(
        series.angles_deg,
        (settings.thickness_px or series.width, series.width),
        series.width,
        np.full(len(series.angles_deg), series.axis_shift_px),
    )
    return Scene(stack, series, geometry, projector_norm(geometry))


def tomography(
    stack: Any, angles_deg: Any, settings: TomographySettings, iterations: dict[str, Any] | None = None
) -> Steps[Reconstruction]:
    """`reconstruct_tilt_series` as a generator of `Iterate`, for callers who show progress and may stop it.

    ``x`` is the volume so far, (z, y, x) in the units of the result, where it is new and there is one volume;
    ``residual`` is ‖Hx − y‖/(σ√N).

    Asked to finish while λ is chosen, it takes the best λ so far, and while it counts iterations, that many for every
    slab; the volume is then solved in full. Later, the slabs at work stop, and those that are left get one iteration.
    ``iterations``, of the record of a run that was asked, makes the same volume again.
    """
    watch = Stopwatch()
    scene = yield from prepare(stack, angles_deg, settings)
    series = scene.series
    if advice := suggestion(series, settings.background is not None):
        yield Iterate(0, 1, stage=advice)
    lam, rule, curve, asked = 0.0, "none", None, False
    if settings.lam is not None and settings.algorithm not in WITHOUT_LAMBDA:
        lam, rule = float(settings.lam), "given"
    elif settings.algorithm not in WITHOUT_LAMBDA:
        curve, asked = yield from _heard(tilt_lambda_curve(scene, settings))
        lam, rule = choose_lambda(curve, settings)
        rule += ", ended early" if asked else ""

    with slabs.workers(settings.cluster) as (pool, n_workers):
        plan = _plan(scene, settings, lam, n_workers)
        yield Iterate(0, 1, stage=f"up to {plan.peak_gb:.2g} GB of memory, {_slabs_in_words(plan)}")
        out = _allocate(scene, plan)
        history: list[Iterate] = []
        if plan.n_slabs == 1 and n_workers is None:
            solving = _solve_whole(scene, settings, lam, out, history)
        else:
            solving = _solve_slabs(scene, settings, lam, out, plan, pool, n_workers, iterations)
        n_iter, fits, stopped = yield from (_undisturbed(solving) if asked else solving)

    expected = 1.0
    if settings.algorithm not in WITHOUT_LAMBDA and not stopped.startswith(_ASKED):
        expected = yield from _left_by_a_fit(scene, settings, lam, out)
    misfit, n_data = (np.sum(each, axis=0) for each in zip(*((f.misfit, f.n_data) for f in fits), strict=True))
    unit = series.scale[series.clearest]
    found = diagnose(
        series.angles_deg,
        diameter_px=series.width,
        algorithm=settings.algorithm,
        residual_per_tilt=np.sqrt(misfit / np.maximum(n_data, 1)) * unit,
        noise_sigma=series.sigma[series.clearest] or None,
        data_range=unit,
        expected=expected,
        lam_from_data=curve is not None,
    )
    data = blocks.as_result(out)
    record = make_record(
        "reconstruct_tilt_series",
        settings,
        [describe_source("stack", scene.stack), {"role": "angles", "angles_deg": np.asarray(angles_deg, np.float64)}],
        watch,
        data,
        lam=lam,
        lam_rule=rule,
        curve=None if curve is None else curve.summary(),
        data_scale=list(series.scale) if series.has_channels else series.scale[0],
        projector_norm=scene.norm,
        tilts=describe_tilts(np.asarray(angles_deg, np.float64), series.used, series.tilt_axis)
        | {"axis_shift_px": series.axis_shift_px},
        background={
            "subtracted": series.background,
            "source": "given" if settings.background is not None else "automatic",
            "lowest": series.lowest,
            "darkest": series.suggested_background,
            "advice": advice,
        },
        noise={"sigma": [v or None for v in series.sigma], "gain": series.gain, "missing_data": series.n_missing},
        residual_over_noise=found.residual_over_noise,
        diagnostics=found.summary(),
        n_iter=max(f.n_iter for f in fits),
        iterations={"each": n_iter, "done": [f.n_iter for f in fits]},
        stopped=stopped,
        residual=[_finite(float(f"{i.residual:.6g}")) for i in history],
        objective=[_finite(float(f"{i.objective:.8g}")) for i in history],
        memory=dataclasses.asdict(plan),
    )
    return Reconstruction(data, lam, record)


def tilt_lambda_curve(scene: Scene, settings: TomographySettings, grid: Curve | None = None) -> Steps[LambdaCurve]:
    """Residual, R and the scores of the rules against λ, on the slices with the most contrast; in data units."""
    channel, rule = scene.series.clearest, settings.lam_rule or _DEFAULT_RULE
    data, weights = scene.series.read(channel, _central(scene))
    problem = scene.problem(settings, channel)
    how: dict[str, Any] = {
        "grid": grid,
        "seed": settings.seed,
        "threads": fft_workers(),
        "sigma_known": settings.noise_sigma is not None or settings.noise == "poisson",
    }
    found = yield from tilt_curve(problem, data, weights, [rule], **how)
    if found.choices[rule] is None and rule not in ("holdout", "l-curve"):
        found = yield from tilt_curve(problem, data, weights, [rule, "holdout"], **how)
    return rescaled(found, scene.series.scale[channel])


def choose_lambda(curve: LambdaCurve, settings: TomographySettings) -> tuple[float, str]:
    """(λ, the rule that chose it, or "given")."""
    if settings.lam is not None:
        return float(settings.lam), "given"
    rule = settings.lam_rule or _DEFAULT_RULE
    for each in (rule, *_FALLBACKS):
        lam = curve.choices[each]
        if lam is not None:
            return lam, each if each == rule else f"{each} ({rule} has no answer)"
    return float(curve.lam[len(curve.lam) // 2]), "none has an answer: the middle of the curve"


def reconstruct_slices(
    scene: Scene, settings: TomographySettings, lam: float, slices: Sequence[int], channel: int | None = None
) -> Steps[Array]:
    """(z, slice, x) in the units of the result: neighbouring slices across the tilt axis, for a preview.

    With the tilt axis along x the slices are those of x, and the result is (z, y, slice). ``channel`` None: the one
    with the clearest signal.
    """
    channel = scene.series.clearest if channel is None else channel
    data, weights = scene.series.read(channel, slice(min(slices), max(slices) + 1))
    steps = solve(scene.problem(settings, channel), data, lam, weights, threads=fft_workers())
    x, _ = yield from _shown(steps, scene, channel, [])
    return scene.series.restore(x, channel, scene.norm)


def contrast_slices(scene: Scene, count: int = 1) -> list[int]:
    """Indices along the tilt axis of the neighbouring slices with the most contrast."""
    first = _central(scene, count)
    return list(range(first.start, first.stop))


def chosen_slices(shape: Sequence[int], settings: TomographySettings) -> slice:
    """Which pixels along the tilt axis are reconstructed of a stack of this shape; their number is a whole of bins.

    Raises
    ------
    ValueError
        When there are none.
    """
    n, first = shape[-2 if settings.tilt_axis == "y" else -1], settings.first_slice
    if first >= n:
        raise ValueError(f"first_slice={first}, but there are {n} along the tilt axis: give one from 0 to {n - 1}")
    return slice(first, n if settings.n_slices is None else min(n, first + settings.n_slices))


def estimate_memory(shape: Sequence[int], settings: TomographySettings, dtype: Any = np.float32) -> MemoryEstimate:
    """What `reconstruct_tilt_series` will need for a stack of this shape, at most about ``memory_gb``.

    A stack of floating-point numbers may hold NaN, as an aligned one does, and is counted with the weights of that.
    """
    n_channels, n_tilts = shape[0] if len(shape) == 4 else 1, shape[-3]
    across, part = shape[-1 if settings.tilt_axis == "y" else -2], chosen_slices(shape, settings)
    width = max(1, across // settings.bin)
    return slabs.estimate(
        settings.algorithm,
        slabs.halo(settings.algorithm, settings.lam or _LIKELY_LAMBDA),
        (settings.thickness_px or width) * width,
        n_tilts * width,
        max(1, (part.stop - part.start) // settings.bin),
        n_channels,
        settings.memory_gb,
        weighted=settings.noise == "poisson" or np.dtype(dtype).kind == "f",
    )


def _plan(scene: Scene, settings: TomographySettings, lam: float, n_workers: int | None) -> MemoryEstimate:
    series = scene.series
    n_data = len(series.angles_deg) * series.width
    voxels = int(np.prod(scene.geometry.volume))
    return slabs.estimate(
        settings.algorithm,
        slabs.halo(settings.algorithm, lam),
        voxels,
        n_data,
        series.n_slices,
        series.n_channels,
        settings.memory_gb,
        n_workers,
        weighted=series.gain is not None or series.n_missing > 0,
    )


def _slabs_in_words(plan: MemoryEstimate) -> str:
    if plan.n_slabs == 1:
        return "the whole at once"
    return f"{plan.n_slabs} slabs of {plan.slab_slices} slices, {plan.n_workers} at a time"


def _allocate(scene: Scene, plan: MemoryEstimate) -> Any:
    """The result, zero: (channel, z, y, x) without the channels where there were none."""
    series = scene.series
    nz, nu = scene.geometry.volume
    along_last = series.tilt_axis == "x"
    shape = (nz, nu, series.n_slices) if along_last else (nz, series.n_slices, nu)
    slab, planes = plan.slab_slices, min(nz, _PLANES)
    chunks = (planes, nu, slab) if along_last else (planes, slab, nu)
    leading = (series.n_channels,) if series.has_channels else ()
    out = blocks.allocate((*leading, *shape), not plan.on_disk, (*(1 for _ in leading), *chunks))
    if not plan.on_disk:
        out[...] = 0
    return out


def _place(scene: Scene, channel: int, along: slice) -> tuple[Any, ...]:
    """Where a slab goes in the result."""
    leading = (channel,) if scene.series.has_channels else ()
    rest = (slice(None), slice(None), along) if scene.series.tilt_axis == "x" else (slice(None), along, slice(None))
    return (*leading, *rest)


def _central(scene: Scene, count: int | None = None) -> slice:
    """The neighbouring slices with the most contrast; as many as λ is chosen on, if not told."""
    series = scene.series
    if count is None:
        few, many = _CENTRAL_SLICES
        count = min(max(few, _CENTRAL_VOXELS // int(np.prod(scene.geometry.volume))), many)
    count = min(count, series.n_slices)
    spread = series.contrast()
    total = np.convolve(spread, np.ones(count), "valid")
    start = int(np.argmax(total))
    return slice(start, start + count)


def _left_by_a_fit(scene: Scene, settings: TomographySettings, lam: float, out: Any) -> Steps[float]:
    """The residual over the noise to be expected of the volume, as its central slices tell; 1 where σ is unknown."""
    series = scene.series
    channel, along = series.clearest, _central(scene)
    if series.noise_level(channel) is None:
        return 1.0
    data, weights = series.read(channel, along)
    x = series.solved(np.asarray(out[_place(scene, channel, along)]), channel, scene.norm)
    problem = scene.problem(settings, channel)
    return (yield from left_by_a_fit(problem, data, weights, lam, x, seed=settings.seed, threads=fft_workers()))


_Solving = Steps[tuple[int, list[slabs.Slab], str]]  # iterations each slab was to have, the slabs without x, why ended


def _solve_whole(
    scene: Scene,
    settings: TomographySettings,
    lam: float,
    out: Any,
    history: list[Iterate],
) -> _Solving:
    """The whole volume at once, shown as it grows."""
    every = slice(0, scene.series.n_slices)
    data, weights = scene.series.read(0, every)
    problem = scene.problem(settings, 0)
    threads = fft_workers()
    steps = solve(problem, data, lam, weights, threads=threads)
    x, stopped = yield from _shown(steps, scene, 0, history)
    n_iter = history[-1].step if history else 1
    found = slabs.measured(slabs.Job(problem, data, weights, lam, every, threads), x, n_iter)
    out[_place(scene, 0, every)] = scene.series.restore(x, 0, scene.norm)
    return problem.n_iter, [_without_volume(found)], stopped


def _shown(steps: Steps[Array], scene: Scene, channel: int, history: list[Iterate]) -> Steps[tuple[Array, str]]:
    """(the solution, why it stopped); the volume so far is shown now and then."""
    answer, stopped, shown_at = None, "", time.perf_counter()
    while True:
        try:
            raw = steps.send(answer)
        except StopIteration as end:
            return end.value, stopped or _ASKED
        x = None
        if time.perf_counter() - shown_at > _SHOW_SECONDS:
            x = scene.series.restore(raw.x, channel, scene.norm)
            shown_at = time.perf_counter()
        stopped = raw.stage or stopped
        history.append(dataclasses.replace(raw, x=None))
        answer = yield dataclasses.replace(raw, x=x)


def _heard(steps: Steps[T]) -> Steps[tuple[T, bool]]:
    """(what the steps return, whether they were asked to finish)."""
    asked = False
    while True:
        try:
            state = steps.send(asked or None)
        except StopIteration as end:
            return end.value, asked
        asked = bool((yield state)) or asked


def _undisturbed(steps: Steps[T]) -> Steps[T]:
    """The steps to their end: whoever asked has had his answer, and goes on asking."""
    while True:
        try:
            state = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        yield state


def _count_iterations(scene: Scene, settings: TomographySettings, lam: float) -> Steps[int]:
    """How many iterations the central slices need, for every slab the same, so that they meet without a seam."""
    channel = scene.series.clearest
    problem = scene.problem(settings, channel)
    if settings.algorithm in _RESTARTED:
        problem = dataclasses.replace(problem, tolerance=0.1 * problem.tolerance)
    data, weights = scene.series.read(channel, _central(scene))
    n_iter = 1
    for state in solve(problem, data, lam, weights, threads=fft_workers()):
        n_iter = max(n_iter, state.step)
        if (yield Iterate(state.step, state.n_steps, residual=state.residual, stage="counting iterations")):
            break
    return n_iter


def _solve_slabs(
    scene: Scene,
    settings: TomographySettings,
    lam: float,
    out: Any,
    plan: MemoryEstimate,
    pool: Any,
    n_workers: int | None,
    iterations: dict[str, Any] | None,
) -> _Solving:
    """Slab by slab, each with as many iterations as the central slices need."""
    series = scene.series
    if iterations:
        n_iter, counted = iterations["each"], True
    else:
        n_iter, counted = yield from _heard(_count_iterations(scene, settings, lam))
    pieces = blocks.cut((series.n_channels, series.n_slices), 1, plan.slab_slices, (plan.halo_slices,))
    if iterations and len(iterations["done"]) != len(pieces):
        raise ValueError(
            f"the recorded run had {len(iterations['done'])} slabs and was ended in one of them; here there are "
            f"{len(pieces)}: allow as many threads and as much memory as then, or run it to its end"
        )
    last_of = dict(zip(map(id, pieces), iterations["done"], strict=True)) if iterations else {}
    threads = 1 if n_workers else max(1, fft_workers() // plan.n_workers)

    def make(block: blocks.Block, hurry: bool) -> slabs.Job:
        channel, read = block.core[0].start, block.read[1]
        y, w = series.read(channel, read)
        problem = dataclasses.replace(scene.problem(settings, channel), n_iter=n_iter, tolerance=0.0, noise_level=None)
        last = 1 if hurry else last_of.get(id(block))
        return slabs.Job(problem, y, w, lam, block.inside[1], threads, last)

    fits: dict[int, slabs.Slab] = {}
    most, asked = n_iter * len(pieces), None
    running = slabs.solve_slabs(pieces, make, pool, plan.n_workers, local=n_workers is None)
    try:
        while True:
            at_work, block, slab = running.send(asked)
            shown = None
            if block is not None and slab is not None:
                channel = block.core[0].start
                out[_place(scene, channel, block.core[1])] = series.restore(slab.x, channel, scene.norm)
                fits[id(block)] = _without_volume(slab)
                shown = out if isinstance(out, np.ndarray) and not series.has_channels else None
            stage = f"slab {len(fits)} of {len(pieces)}"
            answer = yield Iterate(min(most, n_iter * len(fits) + at_work), most, shown, stage=stage)
            asked = bool(answer) and not counted
    except StopIteration:
        pass
    finally:
        running.close()
    found = [fits[id(block)] for block in pieces]
    short = sum(f.n_iter < n_iter for f in found)
    if short:
        return n_iter, found, f"{_ASKED}: {short} of {len(found)} slabs have fewer than {n_iter} iterations"
    if counted:
        return n_iter, found, f"{_ASKED}: {n_iter} iterations in every slab"
    tolerance = settings.tolerance * (0.1 if settings.algorithm in _RESTARTED else 1)
    return n_iter, found, f"as many iterations as the central slices need to the tolerance of {tolerance:g}"


def _without_volume(slab: slabs.Slab) -> slabs.Slab:
    """What was measured of a slab; a view of no size would keep all of its voxels in memory."""
    return dataclasses.replace(slab, x=np.empty((0, 0, 0), np.float32))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
