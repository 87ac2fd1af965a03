"""Fusion: x̂ = argmin_{x ≥ 0} Σ_i D(P x_i, b_i) + ½‖(H − h₀ − Σ a_i x_i)/s_H‖² + λ TV_ξ(w x).

Noisy elemental maps b_i (EELS, EDX) and one HAADF image H of the same field, which shows where the elements' edges are
and how much of them there is together.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.blocks import cut
from napari_invrecon.recon.couplings import SEEN
from napari_invrecon.recon.fusion_choice import MOST_LAMBDA, Candidate, Choice, choose
from napari_invrecon.recon.fusion_error import bootstrap
from napari_invrecon.recon.fusion_scale import rescaled, scales
from napari_invrecon.recon.fusion_scene import Scene, prepare
from napari_invrecon.recon.fusion_settings import FusionSettings, for_each
from napari_invrecon.recon.fusion_solver import Solution
from napari_invrecon.recon.record import Reconstruction, Stopwatch, describe_source, make_record, significant
from napari_invrecon.recon.settings import takes_settings
from napari_invrecon.recon.solvers import Iterate, Steps, finish

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_invrecon.recon.fusion_settings import CouplingName
    from napari_invrecon.recon.operators import Array

__all__ = ["FusionResult", "FusionSettings", "fuse", "fusion"]

_HALO_PX = 48
_VISIBLE = 0.5  # of the HAADF's range: an element that may have as much somewhere may be seen
_SATURATED = -0.1  # of proportionality: below it the HAADF is said to saturate
_BYTES, _BYTES_HAADF = 65, 75  # of working memory, for each pixel of each map and for each pixel
_BYTES_HELD, _BYTES_HELD_HAADF = 20, 25  # the same of what is there all the time: data, copies, results
_BYTES_DRAWN = 55  # for each pixel of each map, while data are drawn from the result
_SHARE_OF_MEMORY = 0.5e9  # bytes for the solver of one GB allowed: the maps themselves and the result need theirs


@dataclass(frozen=True)
class FusionResult(Reconstruction):
    """A `Reconstruction` with what else a fusion tells.

    Attributes
    ----------
    standard_error
        (element, y, x), in the units of the maps: how far results of other data of the same specimen would scatter;
        None without draws.
    expected_error
        The same with the bias, √(standard_error² + bias²): how far the result is from the truth, typically.
    haadf_residual
        (y, x): H − h₀ − Σ a_i x̂_i, in the HAADF's units, on the result's pixels.
    composition
        (element, y, x): atomic fractions k_i x̂_i / Σ k_i x̂_i, NaN where nothing is; None without k-factors.
    """

    standard_error: NDArray[np.float32] | None
    expected_error: NDArray[np.float32] | None
    haadf_residual: NDArray[np.float32]
    composition: NDArray[np.float32] | None = None


@takes_settings(FusionSettings)
def fuse(
    haadf: Any, maps: Any, reference: Any = None, backgrounds: Any = None, variances: Any = None, *,
    settings: FusionSettings,
) -> FusionResult:  # fmt: skip
    """x̂ = argmin Σ D(x_i, b_i) + ½‖(H − h₀ − Σ a_i x_i)/s_H‖² + λ TV_ξ(w x), λ and coupling from the data.

    Parameters
    ----------
    haadf : array (y, x)
        H, on the maps' pixels or finer ones of the same field of view; any real dtype, not changed.
    maps : array (element, y, x)
        b: counts, or fitted values; not changed. NaN, here or in the HAADF, counts as unknown.
    reference : array of bool (y, x), optional
        True over a region known to hold nothing (vacuum): λ is then at least such that the maps are flat there.
    backgrounds : array (element, y, x), optional
        g, in the maps' units, where it differs from pixel to pixel: ``ElementalMaps.background`` for maps that are its
        ``counts``, if that background is itself certain against them. The mean about each datum is used.
    variances : array (element, y, x), optional
        Of maps that are values, where it differs from pixel to pixel: ``ElementalMaps.variance`` for its ``data``. Not
        a datum's own but the mean about it is used, because the former goes with the datum's noise.
    settings
        The fields of `FusionSettings` as keyword arguments.

    Returns
    -------
    FusionResult
        ``data`` (element, y, x) float32 in the units of the maps, less the background and over the sensitivity, on
        the pixels of the maps or (``grid="haadf"``) of the HAADF; ``lam``; ``record``; ``standard_error``,
        ``expected_error``; ``haadf_residual``; ``composition``.

    Raises
    ------
    ValueError, TypeError
        Shapes that do not fit, counts that are none, settings outside their range; each says what was expected, what
        came, and the remedy.

    Notes
    -----
    D is Σ x + g − b log(x + g) for counts and Σ (x + g − b)²/2σ² for values; the weight w_i = 1/√(mean of b_i), or
    1/σ_i, makes λ independent of exposure and units. TV_ξ is joint over the elements, makes steps across the HAADF's
    edges cheap, and lets maps rise as they do with the HAADF around each pixel. a_i ≥ 0 and h₀ are fitted to maps
    denoised in this way, s_H² is the HAADF's noise and what that fit leaves; H is less its noise. At the end each map
    is brought to the total of its data, as far as that is certain: exactly, for counts without a background. λ and the
    coupling are those whose solution from a part of the counts has the least squared error on the rest. λ is per pixel
    of the maps: on the HAADF's pixels the weight is λ over their ratio.

    ``record["gain"]`` is 1/q for the share q of the maps' counts from which the fusion predicts the held-out counts as
    well as the maps by themselves do from all of them.

    References
    ----------
    Schwartz et al. 2022, doi:10.1038/s41524-021-00692-5 (fusion with a power law). Ehrhardt & Betcke 2016,
    doi:10.1137/15M1047325 (directional total variation). Neufeld et al. 2024, J. Mach. Learn. Res. 25 (57) (thinning).

    Examples
    --------
    >>> import numpy as np, napari_invrecon as ir
    >>> maps = np.random.default_rng(0).poisson(5, (2, 48, 48))
    >>> ir.fuse(maps.sum(0), maps, lam=1.0, coupling="edges").data.shape
    (2, 48, 48)
    """
    return finish(fusion(haadf, maps, settings, reference, backgrounds, variances))


def fusion(
    haadf: Any, maps: Any, settings: FusionSettings, reference: Any = None, backgrounds: Any = None,
    variances: Any = None,
) -> Steps[FusionResult]:  # fmt: skip
    """`fuse` as a generator of `Iterate`, for callers who show progress and may stop it.

    The iterates' ``x`` is in counts, or the values' units; None while λ is chosen, and of a field in blocks.
    """
    watch = Stopwatch()
    yield Iterate(0, 1, stage="reading")
    given = prepare(haadf, maps, settings, backgrounds, variances)
    scene = given.scene
    vacuum = _check_reference(reference, scene)
    choice = yield from choose(scene, settings, vacuum)
    coupling, lam = choice.coupling, choice.lam
    scene = dataclasses.replace(scene, edge_px=choice.edge_px)
    start: Solution | None = None
    if settings.grid == "haadf" and given.sampling is not None:
        coarse = yield from _shown(_solved(scene, coupling, lam, settings.n_iter, settings, None), "fusing")
        spread = given.sampling.spread
        dual = spread(coarse.dual) / given.sampling.ratio
        start = dataclasses.replace(coarse, x=spread(coarse.x), last=spread(coarse.last), dual=dual)
        scene = dataclasses.replace(given, scene=scene).on_haadf()
    edge = _edge(scene, settings)
    solution = yield from _shown(_solved(scene, coupling, lam, settings.n_iter, settings, edge, start), "fusing")
    scale = scales(scene.problem, solution.x)
    solution = rescaled(scene.problem, solution)
    again = solution if edge is None else None

    def solved_again(drawn: Scene) -> Array:
        steps = _solved(drawn, coupling, lam, settings.n_iter, settings, edge, again)
        return rescaled(drawn.problem, finish(steps)).x

    error = yield from bootstrap(scene, solution.x, solved_again, settings.n_draws, settings.seed)
    used = scene.power if coupling == "power" else scene.linear
    residual = used.residual(scene.haadf, solution.x)
    per_unit = given.sensitivity[:, None, None].astype(np.float32)
    x = solution.x if (per_unit == 1).all() else solution.x / per_unit
    sources = [describe_source("haadf", np.asarray(haadf)), describe_source("maps", np.asarray(maps))]
    more = {"reference": reference, "backgrounds": backgrounds, "variances": variances}
    sources += [describe_source(role, np.asarray(array)) for role, array in more.items() if array is not None]
    record = make_record(
        "fuse",
        settings,
        sources,
        watch,
        x,
        lam=lam,
        lam_rule="given" if settings.lam is not None else "holdout",
        data_scale=significant(scene.problem.unit),
        coupling=coupling,
        edge_px=choice.edge_px,
        curve=choice.best[coupling].curve.summary() if coupling in choice.best else None,
        candidates={name: _tried(each) for name, each in choice.best.items()},
        tried=[{"coupling": each.coupling, **_tried(each)} for each in choice.candidates],
        noise=scene.noise,
        elements=list(scene.elements),
        calibration={
            "offset": used.offset,
            "slopes": significant(used.slopes),
            "errors": significant(used.errors),
            "haadf_noise": used.noise,
            "misfit": used.misfit,
            "bend": used.bend,
        },
        scale=significant(scale),
        shift_px=list(given.shift_px),
        haadf_binning=1.0 if given.sampling is None else given.sampling.ratio,
        blocks=None if edge is None else {"edge_px": edge, "halo_px": _HALO_PX},
        gain=choice.gain,
        flags=_flags(scene, choice, solution.x),
        n_iter=solution.n_iter,
        stopped=_stopped(solution, settings),
        objective=significant(np.array(solution.objective), 8),
    )
    scatter, expected = (None, None) if error is None else (error.scatter / per_unit, error.expected / per_unit)
    return FusionResult(x, lam, record, scatter, expected, residual, _composition(x, scene.elements, settings))


def _tried(candidate: Candidate) -> dict[str, Any]:
    curve = candidate.curve
    return {"lam": significant(curve.lam), "score": significant(curve.holdout), "edge_px": candidate.edge_px}


def _stopped(solution: Solution, settings: FusionSettings) -> str:
    if solution.converged:
        return "converged"
    return "iterations" if solution.n_iter >= settings.n_iter else "asked to finish"


def _flags(scene: Scene, choice: Choice, x: Array) -> list[str]:
    """What a reader of the result should know."""
    used = scene.power if choice.coupling == "power" else scene.linear
    most = np.maximum(x, 0).max((1, 2)).astype(float) ** used.gamma
    at_most = (used.slopes + SEEN * used.errors) * most  # of the HAADF's signal is each element's, where it has most
    unclear = (at_most > _VISIBLE * float(np.ptp(scene.clean))) | (used.bend < _SATURATED)
    flags = [
        f"whether the HAADF sees {name} cannot be told" if doubtful else f"the HAADF cannot see {name}"
        for name, seen, told, doubtful in zip(scene.elements, used.seen, used.told, unclear, strict=True)
        if told and not seen
    ]
    mixed = [name for name, told in zip(scene.elements, used.told, strict=True) if not told]
    if mixed:
        flags.append(
            f"the amounts of {', '.join(mixed)} depend on each other (as fractions that sum to 1 do): the HAADF tells "
            "their weighted sum, and not which of them it sees"
        )
    if scene.linear.bend < _SATURATED:
        flags.append(
            f"the HAADF saturates: where there is most, it is {-scene.linear.bend:.0%} below proportional, of which "
            "the couplings intensity and both know nothing; edges is not troubled by it"
        )
    if choice.coupling in ("intensity", "both", "power") and used.misfit > used.noise:
        flags.append(f"the HAADF is {used.misfit / used.noise:.2g} times its noise away from h₀ + Σ a x")
    best = choice.best.get(choice.coupling)
    least = next(iter(choice.best), choice.coupling)
    if best is not None and choice.coupling == "none" != least:
        flags.append(f"{least} is ahead of none by less than a standard error: the HAADF is not used")
    if best is not None and len(best.curve.lam) > 1 and choice.lam >= 0.99 * MOST_LAMBDA:
        flags.append("λ is the largest that is tried")
    return flags


def _composition(x: Array, elements: tuple[str, ...], settings: FusionSettings) -> Array | None:
    """k_i x_i / Σ k_i x_i; NaN where the sum is 0."""
    if not settings.k_factors.strip():
        return None
    k = for_each("k_factors", settings.k_factors, elements, 1.0)
    weighted = np.maximum(x, 0) * k[:, None, None].astype(np.float32)
    total = weighted.sum(0)
    return np.asarray(np.where(total > 0, weighted / np.where(total > 0, total, 1), np.nan), np.float32)


def _check_reference(reference: Any, scene: Scene) -> NDArray[np.bool_] | None:
    if reference is None:
        return None
    region = np.asarray(reference)
    if region.dtype != bool or region.shape != scene.haadf.shape or not region.any():
        raise ValueError(
            f"reference: expected an array of bool of the maps' shape {scene.haadf.shape}, True somewhere, but it is "
            f"{region.dtype} of {region.shape}"
        )
    return region


def estimate_memory(haadf_shape: Sequence[int], maps_shape: Sequence[int], settings: FusionSettings) -> float:
    """Peak memory in GB of `fuse` on a HAADF (y, x) and maps (element, y, x) of these shapes, before it starts."""
    n, pixels, fine = maps_shape[0], float(np.prod(maps_shape[1:])), float(np.prod(haadf_shape))
    solved = fine if settings.grid == "haadf" else pixels
    work = min(1e-9 * (_BYTES * n + _BYTES_HAADF) * solved, 0.5 * settings.memory_gb)
    held = _BYTES_HELD + (_BYTES_DRAWN if settings.n_draws else 0)
    return work + 1e-9 * (held * n * max(pixels, solved) + _BYTES_HELD_HAADF * fine)


def _edge(scene: Scene, settings: FusionSettings) -> int | None:
    """The edge of the blocks that keep the work within memory; None: all at once."""
    n, ny, nx = scene.problem.slope.shape
    per_pixel = _BYTES * n + _BYTES_HAADF
    if per_pixel * ny * nx <= settings.memory_gb * _SHARE_OF_MEMORY:
        return None
    if scene.problem.sampling is not None:
        raise ValueError(
            f"{n} maps on {ny} × {nx} pixels of the HAADF need more than memory_gb={settings.memory_gb:g}, and only "
            "grid='maps' is solved in blocks: allow more memory, bin the HAADF, or use grid='maps'"
        )
    edge = int(np.sqrt(settings.memory_gb * _SHARE_OF_MEMORY / per_pixel)) - 2 * _HALO_PX
    if edge < _HALO_PX:
        raise ValueError(
            f"blocks of {n} maps with a halo of {_HALO_PX} px need more than memory_gb={settings.memory_gb:g}: allow "
            "more, or fuse fewer elements at a time"
        )
    return edge


def _solved(
    scene: Scene, coupling: CouplingName, lam: float, n_iter: int, settings: FusionSettings, edge: int | None,
    start: Solution | None = None,
) -> Steps[Solution]:  # fmt: skip
    """The solution of the whole field, at once or in blocks of ``edge`` px with a halo.

    Asked to finish, blocks that are still to come get as many iterations as the one that was at work.
    """
    if edge is None:
        return (yield from scene.solve(coupling, lam, start, n_iter, settings.tolerance))
    shape = scene.problem.data.shape
    out = np.empty(shape, np.float32)
    pieces = cut(shape[1:], 2, edge, (_HALO_PX, _HALO_PX))
    most, reached, converged = n_iter, 0, True
    for number, piece in enumerate(pieces):
        steps = scene.part(piece.read).solve(coupling, lam, None, most, settings.tolerance)
        solution, asked = yield from _of_block(steps, number, len(pieces))
        out[(slice(None), *piece.core)] = solution.x[(slice(None), *piece.inside)]
        reached, converged = max(reached, solution.n_iter), converged and solution.converged
        if asked:
            most = max(solution.n_iter, 1)
    return Solution(out, np.zeros(0, np.float32), (), reached, converged, out)


def _of_block(
    steps: Steps[Solution], number: int, count: int
) -> Generator[Iterate, bool | None, tuple[Solution, bool]]:
    """One block's iterations, without its picture; and whether it was asked to finish."""
    answer: bool | None = None
    asked = False
    while True:
        try:
            shown = steps.send(answer)
        except StopIteration as end:
            return end.value, asked
        done = number * shown.n_steps + shown.step
        answer = yield Iterate(done, count * shown.n_steps, stage=f"block {number + 1} of {count}")
        asked = asked or bool(answer)


def _shown(steps: Steps[Solution], stage: str) -> Steps[Solution]:
    """The same, with words for each step that has none."""
    answer: bool | None = None
    while True:
        try:
            shown = steps.send(answer)
        except StopIteration as end:
            result: Solution = end.value
            return result
        answer = yield dataclasses.replace(shown, stage=shown.stage or stage)
