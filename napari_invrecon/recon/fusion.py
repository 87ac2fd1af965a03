"""Fusion: x̂ = argmin_{x ≥ 0} Σ_i D(x_i, b_i) + ½‖(H − h₀ − Σ a_i x_i)/s_H‖² + λ Σ_i w_i TV_ξ(x_i).

Noisy elemental maps b_i (EELS, EDX) and one HAADF image H of the same field, which shows where the elements' edges are
and how much of them there is together.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from napari_invrecon.recon.couplings import Calibration, calibrate
from napari_invrecon.recon.fusion_solver import FusionProblem, Solution, primal_dual
from napari_invrecon.recon.guided_tv import edge_field, guided_variation
from napari_invrecon.recon.lambda_choice import LambdaCurve, make_curve
from napari_invrecon.recon.noise import gaussian_sigma
from napari_invrecon.recon.operators import Array
from napari_invrecon.recon.power_coupling import gauss_newton, linearised
from napari_invrecon.recon.record import Reconstruction, Stopwatch, describe_source, make_record, significant
from napari_invrecon.recon.registration import chained_shifts
from napari_invrecon.recon.settings import check, takes_settings
from napari_invrecon.recon.solvers import Iterate, Steps, finish
from napari_invrecon.recon.thinning import excess_error, split

if TYPE_CHECKING:
    from collections.abc import Generator

CouplingName = Literal["none", "edges", "intensity", "both", "power"]
NoiseName = Literal["poisson", "gaussian"]

_AUTOMATIC: tuple[CouplingName, ...] = ("none", "edges", "intensity", "both")
_FIRST_LAMBDA, _LEAST_LAMBDA, _MOST_LAMBDA, _FACTOR = 2.0, 0.05, 16.0, 2.0
_CHOICE_ITERATIONS = 40
_CHOICE_PX = 192  # edge of the central piece on which λ and coupling are chosen
_LEAST_SHIFT_PX = 0.3
_ROUNDS = 3
_FLAT = 0.05  # of a map's noise: what may remain over a reference region
_SMOOTH_START_PX = 2.0


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """Every parameter of a fusion, written once."""

    coupling: Annotated[
        CouplingName | None,
        {
            "label": "Coupling",
            "help": "What the HAADF image tells of the maps. none: nothing, each map is denoised by itself. edges: "
            "where edges may be. intensity: H ≈ h₀ + Σ a x. both: edges and intensity. power: H ≈ h₀ + A Σ a x^γ. "
            "Automatic: the one of the first four that predicts held-out counts best.",
        },
    ] = None
    lam: Annotated[
        float | None,
        {
            "label": "λ",
            "min": 0.0,
            "help": "Weight of the total variation, in units of each map's noise. Larger: smoother, and more biased. "
            "Automatic: the one that predicts held-out counts best.",
        },
    ] = None
    noise: Annotated[
        NoiseName | None,
        {
            "label": "Noise",
            "help": "poisson: the maps are counts. gaussian: they are fitted values. Automatic: counts if all are "
            "whole numbers from 0 up.",
        },
    ] = None
    elements: Annotated[
        str,
        {"label": "Elements", "help": "Names of the maps in their order, such as Ce, Co; empty: 1, 2, …"},
    ] = ""
    noise_sigma: Annotated[
        float | None,
        {
            "label": "Noise σ",
            "min": 1e-30,
            "advanced": True,
            "help": "Standard deviation of gaussian noise, in the maps' units; estimated from each map if not given.",
        },
    ] = None
    background: Annotated[
        float,
        {
            "label": "Background",
            "min": 0.0,
            "advanced": True,
            "help": "In every pixel of a map but not of the element, in the map's units: x + background is measured.",
        },
    ] = 0.0
    gamma: Annotated[
        float,
        {
            "label": "Z exponent γ",
            "min": 0.5,
            "max": 3.0,
            "advanced": True,
            "help": "Of the coupling power: the HAADF's signal goes as x^γ, about 1.7.",
        },
    ] = 1.7
    psf_sigma_px: Annotated[
        float,
        {
            "label": "PSF σ",
            "unit": "px",
            "min": 0.0,
            "max": 50.0,
            "advanced": True,
            "help": "Blur of the HAADF against the maps (A), a Gaussian, for the coupling power; 0: none.",
        },
    ] = 0.0
    register: Annotated[
        bool,
        {
            "label": "Align HAADF",
            "advanced": True,
            "help": "Estimate the shift between HAADF and maps, and apply it to the HAADF where it is over 0.3 px.",
        },
    ] = False
    nonnegative: Annotated[
        bool,
        {"label": "x ≥ 0", "advanced": True, "help": "The result may not be negative."},
    ] = True
    n_iter: Annotated[
        int,
        {"label": "Iterations at most", "min": 1, "max": 100000, "advanced": True, "help": "Of the solution."},
    ] = 200
    tolerance: Annotated[
        float,
        {
            "label": "Tolerance",
            "min": 0.0,
            "max": 0.1,
            "advanced": True,
            "help": "Iterations stop when ten of them change x by less, relatively.",
        },
    ] = 2e-3
    n_draws: Annotated[
        int,
        {
            "label": "Draws for the error",
            "min": 0,
            "max": 1000,
            "advanced": True,
            "help": "Data sets drawn from the result and solved again, for maps of the standard error; 0: none. Each "
            "takes as long as a solution; about 10 give the error within a quarter.",
        },
    ] = 0
    holdout_fraction: Annotated[
        float,
        {
            "label": "Held-out share",
            "min": 0.02,
            "max": 0.5,
            "advanced": True,
            "help": "Share of the counts that is kept to judge λ and coupling by.",
        },
    ] = 0.2
    seed: Annotated[
        int,
        {"label": "Seed", "min": 0, "max": 2**31 - 1, "advanced": True, "help": "Of held-out counts and of draws."},
    ] = 0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class FusionResult(Reconstruction):
    """A `Reconstruction` with what else a fusion tells.

    Attributes
    ----------
    standard_error
        (element, y, x), in the units of the maps; None without draws.
    haadf_residual
        (y, x): H − h₀ − Σ a_i x̂_i, in the HAADF's units, on the maps' grid.
    """

    standard_error: NDArray[np.float32] | None
    haadf_residual: NDArray[np.float32]


@takes_settings(FusionSettings)
def fuse(haadf: Any, maps: Any, reference: Any = None, *, settings: FusionSettings) -> FusionResult:
    """x̂ = argmin Σ D(x_i, b_i) + ½‖(H − h₀ − Σ a_i x_i)/s_H‖² + λ Σ w_i TV_ξ(x_i), λ and coupling from the data.

    Parameters
    ----------
    haadf : array (y, x)
        H, on the maps' pixels or a whole number of times finer (then averaged); any real dtype, not changed.
    maps : array (element, y, x)
        b: counts, or fitted values; not changed. NaN, here or in the HAADF, counts as unknown.
    reference : array of bool (y, x), optional
        True over a region known to hold nothing (vacuum): λ is then at least such that the maps are flat there.
    settings
        The fields of `FusionSettings` as keyword arguments.

    Returns
    -------
    FusionResult
        ``data`` (element, y, x) float32 in the units of the maps, less the background; ``lam``; ``record``;
        ``standard_error``; ``haadf_residual``.

    Raises
    ------
    ValueError, TypeError
        Shapes that do not fit, counts that are none, settings outside their range; each says what was expected, what
        came, and the remedy.

    Notes
    -----
    D is Σ x + g − b log(x + g) for counts and Σ (x + g − b)²/2σ² for values; the weight w_i = 1/√(mean of b_i), or
    1/σ_i, makes λ independent of exposure and units. TV_ξ leaves steps across the HAADF's edges free. a_i ≥ 0 and h₀
    are fitted to the smoothed data, s_H² is the HAADF's noise and what that fit leaves. λ and the coupling are those
    whose solution from a part of the counts has the least squared error on the rest.

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
    return finish(fusion(haadf, maps, settings, reference))


def fusion(haadf: Any, maps: Any, settings: FusionSettings, reference: Any = None) -> Steps[FusionResult]:
    """`fuse` as a generator of `Iterate`, for callers who show progress and may stop it.

    The iterates' ``x`` is in the units of the maps.
    """
    watch = Stopwatch()
    yield Iterate(0, 1, stage="reading")
    scene = prepare(haadf, maps, settings)
    vacuum = _check_reference(reference, scene)
    curves, gain = yield from _candidates(scene, settings, vacuum)
    coupling, lam = _choose(curves, settings, vacuum is not None)
    solution = yield from _shown(_solve(scene, coupling, lam, None, settings.n_iter, settings.tolerance), "fusing")
    x = solution.x
    error = yield from _standard_error(scene, coupling, lam, solution, settings)
    used = scene.power if coupling == "power" else scene.linear
    sources = [describe_source("haadf", np.asarray(haadf)), describe_source("maps", np.asarray(maps))]
    if reference is not None:
        sources.append(describe_source("reference", np.asarray(reference)))
    names = scene.elements
    flags = [f"the HAADF cannot see {name}" for name, seen in zip(names, used.seen, strict=True) if not seen]
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
        curve=curves[coupling].summary() if coupling in curves else None,
        candidates={
            name: {"lam": significant(curve.lam), "score": significant(curve.holdout)} for name, curve in curves.items()
        },
        noise=scene.noise,
        elements=list(names),
        calibration={
            "offset": used.offset,
            "slopes": significant(used.slopes),
            "errors": significant(used.errors),
            "haadf_noise": used.noise,
            "misfit": used.misfit,
        },
        shift_px=list(scene.shift_px),
        haadf_binning=scene.binning,
        gain=gain if coupling != "none" else 1.0,
        flags=flags,
        n_iter=solution.n_iter,
        stopped="converged"
        if solution.converged
        else "iterations"
        if solution.n_iter >= settings.n_iter
        else "asked to finish",
        objective=significant(np.array(solution.objective), 8),
    )
    return FusionResult(x, lam, record, error, used.residual(scene.haadf, x))


@dataclass(frozen=True)
class Scene:
    """The data as the solver takes them, and how the HAADF depends on the maps."""

    haadf: Array
    problem: FusionProblem  # with no coupling
    noise: NoiseName
    linear: Calibration
    power: Calibration
    edges: Array
    elements: tuple[str, ...]
    shift_px: tuple[float, float]
    binning: int

    def coupled(self, coupling: CouplingName) -> FusionProblem:
        """The problem with the guide and the HAADF's term of a coupling; "power" has its own at each step."""
        problem = self.problem
        if coupling in ("edges", "both"):
            problem = dataclasses.replace(problem, guide=self.edges)
        if coupling in ("intensity", "both"):
            problem = linearised(problem, self.linear, self.haadf, np.zeros_like(problem.data))
        return problem

    def start(self) -> Array:
        """The maps, smoothed, positive."""
        b = self.problem.data
        known = np.isfinite(b)
        sigma = (0, _SMOOTH_START_PX, _SMOOTH_START_PX)
        mass = gaussian_filter(known.astype(np.float32), sigma)
        x = gaussian_filter(np.where(known, b, 0), sigma) / np.maximum(mass, 1e-3) - self.problem.background
        return np.asarray(np.maximum(x, 1e-3 * self.problem.unit[:, None, None]), np.float32)

    def part(self, cut: tuple[slice, ...]) -> Scene:
        """A rectangle of it."""
        within = (slice(None), *cut)
        p = self.problem
        problem = dataclasses.replace(
            p,
            data=np.ascontiguousarray(p.data[within]),
            guide=np.ascontiguousarray(p.guide[within]),
            slope=np.ascontiguousarray(p.slope[within]),
            target=np.ascontiguousarray(p.target[cut]),
        )
        edges = np.ascontiguousarray(self.edges[within])
        return dataclasses.replace(self, haadf=np.ascontiguousarray(self.haadf[cut]), problem=problem, edges=edges)


def prepare(haadf: Any, maps: Any, settings: FusionSettings) -> Scene:
    """Check the arrays, bring the HAADF onto the maps' pixels, and calibrate it on them."""
    b, h = _real("maps", maps), _real("HAADF", haadf)
    if b.ndim != 3 or 0 in b.shape:
        raise ValueError(f"the maps have the shape {b.shape}: expected (element, y, x); stack them along a first axis")
    if h.ndim != 2:
        raise ValueError(f"the HAADF has the shape {h.shape}: expected (y, x); pick one image")
    h, binning = _binned(h, b.shape[1:])
    names = tuple(name.strip() for name in settings.elements.split(",")) if settings.elements.strip() else ()
    if names and len(names) != len(b):
        raise ValueError(f"{len(names)} elements are named but there are {len(b)} maps: name each once, by commas")
    known = np.isfinite(b)
    whole = bool(np.all(b[known] >= 0) and np.all(b[known] == np.round(b[known])))
    noise: NoiseName = settings.noise or ("poisson" if whole else "gaussian")
    if noise == "poisson" and not whole:
        raise ValueError("the maps are no counts (whole numbers from 0 up): use noise='gaussian' for fitted values")
    level = [float(each[ok].mean()) if ok.any() else 0.0 for each, ok in zip(b, known, strict=True)]
    if noise == "poisson":
        unit = np.sqrt(level)
    elif settings.noise_sigma is not None:
        unit = np.full(len(b), settings.noise_sigma)
    else:
        unit = np.array([gaussian_sigma(each) for each in b])
    size = float(np.max(unit, initial=0)) or 1.0
    unit = np.where(unit > 0, unit, size).astype(np.float32)
    _, ny, nx = b.shape
    problem = FusionProblem(
        b, unit, noise == "poisson", settings.background, settings.nonnegative,
        np.zeros((2, ny, nx), np.float32), np.zeros_like(b), np.zeros((ny, nx), np.float32),
    )  # fmt: skip
    above = b - np.float32(settings.background)
    found = calibrate(h, above, unit.astype(np.float64))
    moved = (0.0, 0.0)
    if settings.register:
        h, moved = _registered(h, above, unit.astype(np.float64))
        found = calibrate(h, above, unit.astype(np.float64))
    power = calibrate(h, above, unit.astype(np.float64), gamma=settings.gamma, psf_sigma_px=settings.psf_sigma_px)
    elements = names or tuple(str(i) for i in range(1, len(b) + 1))
    return Scene(h, problem, noise, found, power, edge_field(h), elements, moved, binning)


def _real(name: str, array: Any) -> Array:
    values = np.asarray(array)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"the {name}: expected real numbers, but the array's dtype is {values.dtype}")
    if np.isinf(values).any():
        raise ValueError(f"the {name}: infinite values; replace them by NaN to leave them out")
    return np.array(values, np.float32, order="C")


def _binned(haadf: Array, shape: tuple[int, ...]) -> tuple[Array, int]:
    """The HAADF averaged over the pixels of the maps, and how many times finer it was."""
    times = haadf.shape[0] // shape[0]
    if times < 1 or haadf.shape != (shape[0] * times, shape[1] * times):
        raise ValueError(
            f"the HAADF has the shape {haadf.shape} and the maps (…, {shape[0]}, {shape[1]}): expected the same pixels "
            "or a whole number of times as many on both axes; crop or resample the HAADF to the maps' field of view"
        )
    if times == 1:
        return haadf, 1
    blocks = haadf.reshape(shape[0], times, shape[1], times)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64), np.float32), times


def _registered(haadf: Array, above: Array, unit: NDArray[np.float64]) -> tuple[Array, tuple[float, float]]:
    """The HAADF moved onto the maps, and by how much (dy, dx); unmoved where that is less than 0.3 px.

    What the maps let expect of it is calibrated anew each time that it has moved.
    """
    filled = np.where(np.isfinite(haadf), haadf, np.nanmean(haadf))
    there, moved = filled, np.zeros(2)
    for _ in range(_ROUNDS):
        expected = np.tensordot(calibrate(there, above, unit).slopes, np.nan_to_num(above), 1)
        pair = np.stack([expected - expected.mean(), there - there.mean()]).astype(np.float32)
        moved = moved + chained_shifts(pair, [0, 1])[1]
        there = np.asarray(shift(filled, moved, order=3, mode="nearest"), np.float32)
    if np.hypot(*moved) < _LEAST_SHIFT_PX:
        return haadf, (0.0, 0.0)
    unknown = shift((~np.isfinite(haadf)).astype(np.float32), moved, order=1, mode="nearest") > 0.01
    there[unknown] = np.nan
    return there, (float(moved[0]), float(moved[1]))


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


def _solve(
    scene: Scene, coupling: CouplingName, lam: float, start: Solution | None, n_iter: int, tolerance: float,
    problem: FusionProblem | None = None,
) -> Steps[Solution]:  # fmt: skip
    """The solution for one coupling and λ; ``problem`` stands in for the scene's own."""
    first = start or scene.start()
    if coupling == "power":
        return gauss_newton(
            problem or scene.problem, scene.power, scene.haadf, lam, first, n_iter=n_iter, tolerance=tolerance
        )
    return primal_dual(problem or scene.coupled(coupling), lam, first, n_iter=n_iter, tolerance=tolerance)


def _shown(steps: Steps[Solution], stage: str) -> Steps[Solution]:
    """The same, with words for each step."""
    answer: bool | None = None
    while True:
        try:
            shown = steps.send(answer)
        except StopIteration as end:
            result: Solution = end.value
            return result
        answer = yield dataclasses.replace(shown, stage=stage)


def _thinned(scene: Scene, held_out: float, rng: np.random.Generator) -> tuple[Scene, Array]:
    """The scene with a share of the data, the HAADF's dependence scaled with it; and the rest of the data."""
    share = 1 - held_out
    part, rest = split(scene.problem, held_out, rng)
    linear = dataclasses.replace(scene.linear, slopes=scene.linear.slopes / share)
    power = dataclasses.replace(scene.power, slopes=scene.power.slopes / share**scene.power.gamma)
    return dataclasses.replace(scene, problem=part, linear=linear, power=power), rest


def _candidates(
    scene: Scene, settings: FusionSettings, vacuum: NDArray[np.bool_] | None
) -> Generator[Iterate, bool | None, tuple[dict[CouplingName, LambdaCurve], float | None]]:
    """The curve of each coupling that is not excluded, and the equivalent dose factor of the best against "none"."""
    if settings.lam is not None and settings.coupling is not None:
        return {}, None
    held_out = settings.holdout_fraction
    rng = np.random.default_rng(settings.seed)
    cut = tuple(slice((n - m) // 2, (n - m) // 2 + m) for n in scene.haadf.shape for m in [min(n, _CHOICE_PX)])
    piece = scene.part(cut)
    thinned, rest = _thinned(piece, held_out, rng)
    inside = None if vacuum is None or not vacuum[cut].any() else vacuum[cut]
    names = _AUTOMATIC if settings.coupling is None else tuple(dict.fromkeys(("none", settings.coupling)))
    curves: dict[CouplingName, LambdaCurve] = {}
    for name in names:
        curves[name], asked = yield from _curve(piece, thinned, rest, name, settings, inside)
        if asked:
            return curves, None
    if len(curves) == 1 or settings.lam is not None:
        return curves, None
    lam, losses = _best(curves["none"]), [float(np.nanmin(curves["none"].holdout))]
    for left in (0.5, 0.25):
        weaker, _ = _thinned(thinned, 1 - left, rng)
        x = finish(_solve(weaker, "none", lam, None, _CHOICE_ITERATIONS, settings.tolerance)).x
        losses.append(excess_error(piece.problem, x / np.float32((1 - held_out) * left), rest, held_out))
    return curves, _dose_factor(losses, min(float(np.nanmin(curve.holdout)) for curve in curves.values()))


def _dose_factor(losses: list[float], best: float) -> float | None:
    """How many times the dose a denoiser of single maps needs to predict as well as the best; None if out of reach.

    ``losses`` are its scores at the dose, half and a quarter of it. They fall as C dose^−p + what is common to all that
    are judged by the same held-out counts, so only differences count.
    """
    first, second = losses[1] - losses[0], losses[2] - losses[1]
    if not 0 < first < second:
        return None
    power = np.log2(second / first)
    left = 1 - (losses[0] - best) * (2**power - 1) / first
    return float(left ** (-1 / power)) if left > 0 else None


def _curve(
    piece: Scene, thinned: Scene, rest: Array, coupling: CouplingName, settings: FusionSettings,
    vacuum: NDArray[np.bool_] | None,
) -> Generator[Iterate, bool | None, tuple[LambdaCurve, bool]]:  # fmt: skip
    """Solutions from a part of the data, from λ = 2 down while the rest is predicted better, then up."""
    held_out = settings.holdout_fraction
    share = np.float32(1 - held_out)
    rows: list[tuple[float, ...]] = []
    solution: Solution | None = None
    asked = False
    problem = None if coupling == "power" else thinned.coupled(coupling)
    part = problem or thinned.problem
    unit = part.unit[:, None, None]
    lam = _FIRST_LAMBDA if settings.lam is None else settings.lam
    first, factor = solution, 1 / _FACTOR
    while not asked:
        solution = finish(_solve(thinned, coupling, lam, solution, _CHOICE_ITERATIONS, settings.tolerance, problem))
        scaled = solution.x / unit
        residual = ((solution.x + part.background - part.data) / unit).astype(np.float64)
        spread = np.nan if vacuum is None else float(np.max(scaled[:, vacuum].std(axis=1)))
        error = excess_error(piece.problem, solution.x / share, rest, held_out)
        penalty = float(guided_variation(scaled, part.guide, 0, scaled.shape[1]))
        rows.append((lam, float(np.nansum(residual**2)), penalty, error, spread))
        first = first or solution
        shown = Iterate(len(rows), len(rows) + 1, stage=f"choosing λ for coupling {coupling}")
        asked = bool((yield shown))
        if settings.lam is not None:
            break
        if len(rows) > 1 and error > rows[-2][3]:
            if len(rows) > 2:
                break
            factor, solution, rows = _FACTOR, first, rows[::-1]  # the least lies above the first λ
        lam = rows[-1][0] * factor
        if not _LEAST_LAMBDA <= lam <= _MOST_LAMBDA:
            break
    lams, residual2, penalties, errors, spreads = (np.array(column) for column in zip(*sorted(rows), strict=True))
    unknown = np.full(len(lams), np.nan)
    n_data = float(np.isfinite(part.data).sum())
    return make_curve(lams, n_data, residual2, penalties, unknown, None, errors, spreads, _FLAT), asked


def _best(curve: LambdaCurve) -> float:
    found = curve.choices["holdout"]
    return float(curve.lam[0]) if found is None else found


def _choose(
    curves: dict[CouplingName, LambdaCurve], settings: FusionSettings, has_reference: bool
) -> tuple[CouplingName, float]:
    """The coupling that predicts best, and its λ; with a reference region at least such that it is flat."""
    if settings.coupling is not None:
        coupling = settings.coupling
    else:
        coupling = min(curves, key=lambda name: float(np.nanmin(curves[name].holdout, initial=np.inf)))
    if settings.lam is not None:
        return coupling, settings.lam
    if coupling not in curves:  # asked to finish before its turn
        return coupling, _best(next(iter(curves.values())))
    lam = _best(curves[coupling])
    flat = curves[coupling].choices["reference"]
    return coupling, max(lam, flat) if has_reference and flat is not None else lam


def _standard_error(
    scene: Scene, coupling: CouplingName, lam: float, solution: Solution, settings: FusionSettings
) -> Generator[Iterate, bool | None, Array | None]:
    """The standard deviation of solutions from data drawn from the result (parametric bootstrap); None without draws.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    rng = np.random.default_rng([settings.seed, 1])
    total, square = (np.zeros(solution.x.shape) for _ in range(2))
    p, drawn = scene.problem, 0
    for drawn in range(1, settings.n_draws + 1):
        expected = np.maximum(solution.x + p.background, 0) if p.counts else solution.x + p.background
        noise = rng.standard_normal(p.data.shape) * p.unit[:, None, None]
        b = rng.poisson(expected) if p.counts else expected + noise
        data = np.where(np.isfinite(p.data), b, np.nan).astype(np.float32)
        haadf = (scene.haadf + scene.linear.noise * rng.standard_normal(scene.haadf.shape)).astype(np.float32)
        again = dataclasses.replace(scene, haadf=haadf, problem=dataclasses.replace(p, data=data))
        x = finish(_solve(again, coupling, lam, solution, settings.n_iter, settings.tolerance)).x.astype(np.float64)
        total += x
        square += x**2
        shown = Iterate(drawn, settings.n_draws, solution.x, stage=f"draw {drawn} of {settings.n_draws}")
        if (yield shown):
            break
    if drawn < 2:
        return None
    variance = (square - total**2 / drawn) / (drawn - 1)
    return np.asarray(np.sqrt(np.maximum(variance, 0)), np.float32)
