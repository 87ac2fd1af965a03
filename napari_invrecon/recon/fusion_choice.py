"""λ, the coupling and the smoothing of edges from the data: what predicts the held-out share of them best."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.fusion_scale import rescaled
from napari_invrecon.recon.fusion_scene import EDGE_PX, Scene
from napari_invrecon.recon.fusion_settings import CouplingName
from napari_invrecon.recon.guided_tv import guided_variation
from napari_invrecon.recon.lambda_choice import LambdaCurve, make_curve
from napari_invrecon.recon.solvers import Iterate, finish
from napari_invrecon.recon.thinning import excess_errors, split

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_invrecon.recon.fusion_settings import FusionSettings
    from napari_invrecon.recon.fusion_solver import Solution
    from napari_invrecon.recon.operators import Array

_AUTOMATIC: tuple[CouplingName, ...] = ("none", "edges", "intensity", "both")
MOST_LAMBDA = 64.0
_FIRST_LAMBDA, _LEAST_LAMBDA, _FACTOR = 2.0, 0.03, 2.0
_ITERATIONS = 30
_FLAT = 0.05  # of a map's noise: what may remain over a reference region
_LEAST_SHARE = 1 / 16  # of the counts, with which the gain is looked for


@dataclass(frozen=True)
class Candidate:
    """One coupling, for edges from the HAADF smoothed by ``edge_px``, and how well it predicts for each λ.

    ``errors`` (y, x) are those at the λ of least error, in sum over the elements.
    """

    coupling: CouplingName
    edge_px: float
    curve: LambdaCurve
    errors: NDArray[np.float64]

    @property
    def score(self) -> float:
        """The least error over λ."""
        return float(np.nanmin(self.curve.holdout))

    @property
    def lam(self) -> float:
        """The λ of least error; the curve's only one where one was asked for."""
        found = self.curve.choices["holdout"]
        return float(self.curve.lam[int(np.nanargmin(self.curve.holdout))]) if found is None else found


@dataclass(frozen=True)
class Choice:
    """What is solved, everything that was tried, and the dose that the HAADF saves (`_dose_factor`)."""

    coupling: CouplingName
    lam: float
    edge_px: float
    candidates: tuple[Candidate, ...] = ()
    gain: float | None = None

    @property
    def best(self) -> dict[str, Candidate]:
        """The best candidate of each coupling."""
        found: dict[str, Candidate] = {}
        for each in sorted(self.candidates, key=lambda c: c.score):
            found.setdefault(each.coupling, each)
        return found


def choose(
    scene: Scene, settings: FusionSettings, vacuum: NDArray[np.bool_] | None
) -> Generator[Iterate, bool | None, Choice]:
    """The coupling and the λ with the least error on held-out data; with a reference region a λ at which it is flat.

    "none" is preferred where it is `level` with the best: an HAADF that tells nothing is better left out. Couplings are
    not preferred to each other, as each of them relies on the HAADF. Asked to finish, it is the best so far.
    """
    if settings.lam is not None and settings.coupling is not None:
        return Choice(settings.coupling, settings.lam, settings.edge_px or EDGE_PX[0])
    held_out = settings.holdout_fraction
    rng = np.random.default_rng(settings.seed)
    piece = scene.part(scene.centre)
    thinned, rest = _thinned(piece, held_out, rng)
    inside = None if vacuum is None or not vacuum[scene.centre].any() else vacuum[scene.centre]
    names = _automatic(scene) if settings.coupling is None else tuple(dict.fromkeys(("none", settings.coupling)))
    tried: list[Candidate] = []
    edge_px, lam, asked = settings.edge_px, _FIRST_LAMBDA, False
    for name in names:
        guided = name in ("edges", "both", "power")
        for width in EDGE_PX if guided and edge_px is None else (edge_px or EDGE_PX[0],):
            with_edges = dataclasses.replace(thinned, edge_px=width)
            curve, errors, asked = yield from _curve(piece, with_edges, rest, name, settings, inside, lam)
            tried.append(Candidate(name, width, curve, errors))
            lam = tried[-1].lam
            if asked:
                break
        if asked:
            break
        if guided and edge_px is None:
            edge_px = min((each for each in tried if each.coupling == name), key=lambda c: c.score).edge_px
    choice = Choice("none", 0.0, EDGE_PX[0], tuple(tried))
    wanted = choice.best if settings.coupling is None else {settings.coupling: choice.best.get(settings.coupling)}
    used = least = min((each for each in wanted.values() if each is not None), key=lambda c: c.score, default=tried[-1])
    if settings.coupling is None and level(choice.best["none"].errors, least.errors):
        used = choice.best["none"]
    coupling = settings.coupling or used.coupling
    lam = used.lam if settings.lam is None else settings.lam
    flat = used.curve.choices["reference"]
    if settings.lam is None and vacuum is not None and flat is not None:
        lam = max(lam, flat)
    gain = None
    if not asked and settings.lam is None:
        best = dataclasses.replace(thinned, edge_px=used.edge_px)
        gain = _dose_factor(piece, best, rest, used, choice.best["none"].score, settings, rng)
    return Choice(coupling, lam, used.edge_px, tuple(tried), gain)


def level(simpler: NDArray[np.float64], least: NDArray[np.float64]) -> bool:
    """Whether errors (y, x) are on average larger by no more than a standard error, told pixel by pixel.

    Source: Breiman, Friedman, Olshen & Stone, Classification and Regression Trees, 1984, sec. 3.4.3.
    """
    more = simpler - least
    return bool(more.mean() <= more.std() / np.sqrt(more.size))


def _automatic(scene: Scene) -> tuple[CouplingName, ...]:
    """The couplings to be tried; "power" where the HAADF is nearer to powers of the maps than to the maps."""
    return (*_AUTOMATIC, "power") if scene.power.misfit < scene.linear.misfit else _AUTOMATIC


def _thinned(scene: Scene, held_out: float, rng: np.random.Generator) -> tuple[Scene, Array]:
    """The scene with a share of the data, the HAADF's dependence scaled with it; and the rest of the data."""
    part, rest = split(scene.problem, held_out, rng)
    linear, power = scene.scaled(1 - held_out)
    return dataclasses.replace(scene, problem=part, linear=linear, power=power), rest


def _dose_factor(
    piece: Scene, thinned: Scene, rest: Array, used: Candidate, alone: float, settings: FusionSettings,
    rng: np.random.Generator,
) -> float:  # fmt: skip
    """1/q, for the share q of the counts from which the fusion predicts as well as the maps by themselves from all.

    All are judged by the same held-out counts, whose noise so drops out of the comparison. Between halvings of the dose
    the error is interpolated as a power of it; at least 1, and at most 16, below which nothing is tried.
    """
    before, score, share = used.score, used.score, 1.0
    weaker = thinned
    while score <= alone and share > _LEAST_SHARE:
        before = score
        weaker, _ = _thinned(weaker, 0.5, rng)
        share /= 2
        solution = finish(weaker.solve(used.coupling, used.lam, None, _ITERATIONS, settings.tolerance))
        x = rescaled(weaker.problem, solution).x
        whole = np.float32((1 - settings.holdout_fraction) * share)
        score = float(np.nanmean(excess_errors(piece.problem, x / whole, rest, settings.holdout_fraction)))
    if share == 1.0:
        return 1.0
    if score <= alone:
        return 1 / share
    return float(2 ** ((alone - before) / (score - before)) / (2 * share))


def _curve(
    piece: Scene, thinned: Scene, rest: Array, coupling: CouplingName, settings: FusionSettings,
    vacuum: NDArray[np.bool_] | None, first: float,
) -> Generator[Iterate, bool | None, tuple[LambdaCurve, NDArray[np.float64], bool]]:  # fmt: skip
    """Solutions from a part of the data, from a first λ down while the rest is predicted better, then up.

    Where the least lies between three, the λ of the parabola through them is solved as well.
    """
    tried = _Trial(piece, thinned, rest, coupling, settings, vacuum)
    lam = first if settings.lam is None else settings.lam
    start: Solution | None = None
    solution = start
    factor, asked = 1 / _FACTOR, False
    while not asked:
        solution = tried.at(lam, solution)
        start = start or solution
        asked = bool((yield Iterate(len(tried.rows), len(tried.rows) + 1, stage=f"choosing λ for coupling {coupling}")))
        if settings.lam is not None:
            break
        if len(tried.rows) > 1 and tried.rows[-1][3] > tried.rows[-2][3]:
            if len(tried.rows) > 2:
                break
            factor, solution, tried.rows = _FACTOR, start, tried.rows[::-1]  # the least lies above the first λ
        lam = tried.rows[-1][0] * factor
        if not _LEAST_LAMBDA <= lam <= MOST_LAMBDA:
            break
    curve = tried.curve()
    between = curve.choices["holdout"]
    if between is not None and not asked and len(tried.rows) > 2 and settings.lam is None:
        tried.at(between, solution)
        asked = bool((yield Iterate(len(tried.rows), len(tried.rows), stage=f"choosing λ for coupling {coupling}")))
        curve = tried.curve()
    return curve, tried.errors, asked


class _Trial:
    """What was solved for one coupling: λ, residual², penalty, error, spread over the reference region."""

    def __init__(
        self, piece: Scene, thinned: Scene, rest: Array, coupling: CouplingName, settings: FusionSettings,
        vacuum: NDArray[np.bool_] | None,
    ) -> None:  # fmt: skip
        self.piece, self.thinned, self.rest, self.coupling = piece, thinned, rest, coupling
        self.settings, self.vacuum = settings, vacuum
        self.problem = thinned.coupled(coupling)
        self.rows: list[tuple[float, ...]] = []
        self.errors = np.zeros(0)

    def at(self, lam: float, start: Solution | None) -> Solution:
        """Solve and judge one λ."""
        part = self.problem
        solution = finish(
            self.thinned.solve(self.coupling, lam, start, _ITERATIONS, self.settings.tolerance, self.problem)
        )
        rescaled_x = rescaled(part, solution).x
        held_out, unit = self.settings.holdout_fraction, part.unit[:, None, None]
        scaled = rescaled_x / unit
        residual = ((rescaled_x + part.background - part.data) / unit).astype(np.float64)
        spread = np.nan if self.vacuum is None else float(np.max(scaled[:, self.vacuum].std(axis=1)))
        errors = excess_errors(self.piece.problem, rescaled_x / np.float32(1 - held_out), self.rest, held_out)
        error = float(np.nanmean(errors))
        if not self.rows or error < min(row[3] for row in self.rows):
            self.errors = np.nansum(errors, axis=0)
        penalty = float(guided_variation(scaled, part.guide, part.follow, part.rise, 0, scaled.shape[1]))
        self.rows.append((lam, float(np.nansum(residual**2)), penalty, error, spread))
        return solution

    def curve(self) -> LambdaCurve:
        """The scores over λ."""
        lams, residual2, penalties, errors, spreads = (
            np.array(column) for column in zip(*sorted(self.rows), strict=True)
        )
        unknown: NDArray[Any] = np.full(len(lams), np.nan)
        n_data = float(np.isfinite(self.problem.data).sum())
        return make_curve(lams, n_data, residual2, penalties, unknown, None, errors, spreads, _FLAT)
