"""λ of a tilt series: one solution after another for a falling λ, on a few slices, and what the data say to each."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from napari_invrecon.recon.lambda_choice import Curve, LambdaCurve, crossing, make_curve
from napari_invrecon.recon.solvers import Iterate, Steps
from napari_invrecon.recon.tilt_solvers import TiltProblem, solve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_invrecon.recon.operators import Array

LARGEST = {"tv": 0.1, "tv-sart": 0.1, "l1": 0.3, "tikhonov": 1.0}  # far above any good λ of scaled data
_MOST = 16  # halvings
_FIRST_SWEEPS = 60  # for the largest λ
_MORE_SWEEPS = 20  # from one λ to the next, with a step that does not undo what is there
_MORE_RELAXATION = 0.4  # of the first
_PAST = 2  # solutions after the best score
_HELD_OUT = 0.1
_PROBE_STEP = 0.3  # of the noise


def halvings(algorithm: str) -> Curve:
    """The lecture's practice: a λ that is too large, and its halves."""
    return LARGEST[algorithm] * 0.5 ** np.arange(_MOST, dtype=np.float64)


def tilt_curve(
    problem: TiltProblem,
    data: Array,
    weights: Array | None,
    rules: Iterable[str],
    *,
    grid: Curve | None = None,
    seed: int = 0,
    threads: int = 1,
    sigma_known: bool = True,
) -> Steps[LambdaCurve]:
    """‖Ax̂ − y‖, R(x̂) and the scores of the rules against λ, each solution starting from that of the λ before.

    Parameters
    ----------
    problem, data, weights
        Scaled, as for `solve`.
    rules
        Those whose answer is wanted. "holdout" alone solves without a tenth of the tilts, and the norms of its curve
        run over the others; all but "l-curve" need a second solution at each λ, of perturbed data.
    grid
        The weights, all of them; None: halved until each rule has its answer.
    seed
        Of the tilts that are hidden (one of each ten neighbours) and of the perturbation.
    threads
        For the kernels.
    sigma_known
        Whether the problem's noise level is given. If it is only estimated from the data, "discrepancy" takes
        σ̂² = ‖Ax̂ − y‖²/(N − d) of the solution that GCV chooses, as Wahba 1990, doi:10.1137/1.9781611970128, for it
        needs σ to 1 %, and the edges of an object make estimates some 5 % too large.

    ``send(True)`` ends the choice with the λ that are there when the current one is done.

    Notes
    -----
    The degrees of freedom d by a finite difference along one random ±1 vector: Ramani, Blu & Unser 2008,
    doi:10.1109/TIP.2008.2001404. "discrepancy" is where the residual meets what is to be expected of the best fit,
    ‖Ax̂ − y‖² = σ²(N − 2d + 3t/2): noise leaves σ²(N − 2d + t), t = ‖∂Ax̂/∂y‖², and σ²t is the variance of Ax̂. At the
    best resolution h the squared bias is half of that for an object with one derivative (bias² ∝ h², variance ∝ 1/h).
    With Nσ² alone (Morozov 1966) it oversmooths, by as much as d is of N.
    """
    problem = _sooner(problem)
    rng = np.random.default_rng(seed)
    shown, hidden = _held_out(problem, data, weights, rng)
    sigma = problem.noise_level
    w = np.ones((), np.float32) if weights is None else weights
    wants_freedom = bool({"gcv", "sure", "balanced", "discrepancy"} & set(rules))
    wants_holdout = "holdout" in rules
    wants_plain = wants_freedom or not wants_holdout
    n = float(np.count_nonzero(np.broadcast_to(w if wants_plain else shown, data.shape)))
    probe = _probe(data, sigma, rng)

    plain = nudged = held = None
    rows: list[tuple[float, ...]] = []
    lams = halvings(problem.algorithm) if grid is None else np.sort(grid)[::-1]
    # The first solution ever compiles its kernels for half a minute or more.
    begun = f"choosing λ (1 of at most {len(lams)}); the first run compiles its kernels"
    last = bool((yield Iterate(0, len(lams), stage=begun)))
    for count, lam in enumerate(lams, start=1):
        stage = f"choosing λ ({count} of at most {len(lams)})"
        if count == 2 and grid is None:
            problem = _continued(problem)
        freedom = variance = missed = float("nan")
        if wants_holdout:
            held, asked = yield from _solved(problem, data, shown, float(lam), held, stage, count, len(lams), threads)
            last |= asked
            missed = _missed(problem, data, weights, held, hidden, threads)
        if wants_plain:
            plain, asked = yield from _solved(
                problem, data, weights, float(lam), plain, stage, count, len(lams), threads
            )
            last |= asked
        found, seen = (held, shown) if plain is None else (plain, w)
        assert found is not None
        predicted = problem.predict(found, threads)
        residual2 = float(np.sum(seen * np.square(predicted - data), dtype=np.float64))
        if wants_freedom:
            nudged, asked = yield from _solved(
                problem,
                data + probe,
                weights,
                float(lam),
                plain if nudged is None else nudged,
                stage,
                count,
                len(lams),
                threads,
            )
            last |= asked
            answer = problem.predict(nudged, threads) - predicted
            freedom, variance = _freedom(probe, answer, w), _variance(probe, answer, w)
        rows.append((float(lam), residual2, _penalty(problem.algorithm, found), freedom, variance, missed))
        if last or (grid is None and _settled(rows, n, sigma, rules)):
            break
    columns = (np.array(column)[::-1] for column in zip(*rows, strict=True))
    lam_, residual, penalty, freedoms, variances, misses = columns
    curve = make_curve(lam_, n, residual, penalty, freedoms, sigma, misses)
    if not wants_freedom:
        return curve
    at = int(np.argmin(curve.gcv))
    sigma2 = sigma**2 if sigma is not None and sigma_known else residual[at] / (n - freedoms[at])
    # t ≤ d, as eigenvalues are at most 1; solutions for a large λ differ by more, because they have not settled.
    per_datum = residual / np.maximum(n - 2 * freedoms + 1.5 * np.minimum(variances, freedoms), 1.0)
    choices = curve.choices | {"discrepancy": crossing(lam_, per_datum, float(sigma2))}
    return dataclasses.replace(curve, choices=choices)


def left_by_a_fit(
    problem: TiltProblem,
    data: Array,
    weights: Array | None,
    lam: float,
    start: Array,
    *,
    seed: int = 0,
    threads: int = 1,
) -> Steps[float]:
    """√(1 − d/N): the residual over the noise that a solution leaves which follows the noise by d degrees of freedom.

    Parameters
    ----------
    problem, data, weights, lam
        As for `solve`, with R.
    start
        The solution. It is carried on as far as that of the perturbed data, so that they differ by the noise alone.
    seed
        Of the perturbation, see `tilt_curve`.
    threads
        For the kernels.
    """
    problem = _continued(_sooner(problem))
    probe = _probe(data, problem.noise_level, np.random.default_rng(seed))
    predicted = []
    for count, y in enumerate((data, data + probe), start=1):
        stage = "how much of the noise the volume takes up"
        x, _ = yield from _solved(problem, y, weights, lam, start, stage, count, 2, threads)
        predicted.append(problem.predict(x, threads))
    w = np.ones(data.shape, np.float32) if weights is None else np.broadcast_to(weights, data.shape)
    share = _freedom(probe, predicted[1] - predicted[0], w) / max(int(np.count_nonzero(w)), 1)
    return float(np.sqrt(np.clip(1 - share, 0, 1)))


def _sooner(problem: TiltProblem) -> TiltProblem:
    """The same minimiser, where a faster algorithm comes near enough."""
    if problem.algorithm != "tv":
        return problem
    return dataclasses.replace(problem, algorithm="tv-sart", n_iter=min(problem.n_iter, _FIRST_SWEEPS))


def _continued(problem: TiltProblem) -> TiltProblem:
    """The problem from a start that is near the solution."""
    if problem.algorithm != "tv-sart":
        return problem
    relaxation = _MORE_RELAXATION * (problem.relaxation or 1.0)
    return dataclasses.replace(problem, n_iter=min(problem.n_iter, _MORE_SWEEPS), relaxation=relaxation)


def _probe(data: Array, sigma: float | None, rng: np.random.Generator) -> Array:
    """A perturbation of the data, ± one step at random."""
    step = np.float32(_PROBE_STEP * (sigma or 0.01 * float(np.std(data))))
    return step * rng.choice(np.array([-1, 1], np.float32), data.shape).astype(np.float32)


def _freedom(probe: Array, answer: Array, weights: Array) -> float:
    """d = trace of ∂(Ax̂)/∂y over the data of weight > 0, from what the perturbation makes of the prediction."""
    return float(np.sum((weights > 0) * probe * answer, dtype=np.float64)) / float(probe.flat[0]) ** 2


def _variance(probe: Array, answer: Array, weights: Array) -> float:
    """t = the sum of squares of ∂(Ax̂)/∂y, the same way: σ²t is the noise in the prediction."""
    return float(np.sum((weights > 0) * np.square(answer), dtype=np.float64)) / float(probe.flat[0]) ** 2


def _held_out(
    problem: TiltProblem, data: Array, weights: Array | None, rng: np.random.Generator
) -> tuple[Array, NDArray[np.intp]]:
    """(weights with some tilts hidden, which those are): one of each ten neighbours, never the outermost."""
    order = np.argsort(problem.geometry.angles_deg, kind="stable")[1:-1]
    groups = np.array_split(order, max(1, round(_HELD_OUT * len(problem.geometry.angles_deg))))
    hidden = np.array([rng.choice(group) for group in groups if len(group)], np.intp)
    shown = np.ones((len(data), 1, 1), np.float32)
    shown[hidden] = 0
    return shown if weights is None else np.ascontiguousarray(shown * weights), hidden


def _missed(
    problem: TiltProblem, data: Array, weights: Array | None, x: Array, hidden: NDArray[np.intp], threads: int
) -> float:
    """Mean squared error of the hidden tilts as predicted."""
    if not len(hidden):
        return float("nan")
    part = dataclasses.replace(problem, geometry=problem.geometry.subset(hidden))
    squared = np.square(part.predict(x, threads) - data[hidden])
    if weights is None:
        return float(np.mean(squared, dtype=np.float64))
    w = np.broadcast_to(weights, data.shape)[hidden]
    return float(np.sum(w * squared, dtype=np.float64) / max(np.sum(w, dtype=np.float64), 1e-30))


def _solved(
    problem: TiltProblem,
    data: Array,
    weights: Array | None,
    lam: float,
    start: Array | None,
    stage: str,
    count: int,
    most: int,
    threads: int,
) -> Steps[tuple[Array, bool]]:
    """(the solution for one λ, whether it was asked to be the last); a yield at each iteration, to be cancelled at."""
    steps, asked = solve(problem, data, lam, weights, start=start, threads=threads), False
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, asked
        asked |= bool((yield Iterate(count, most, stage=stage)))


def _penalty(algorithm: str, x: Array) -> float:
    """R(x̂), or ‖Lx̂‖ where R is its square."""
    if algorithm == "l1":
        return float(np.sum(np.abs(x), dtype=np.float64))
    squared = np.zeros_like(x)
    for axis in range(x.ndim):
        inner = tuple(slice(None, -1) if a == axis else slice(None) for a in range(x.ndim))
        squared[inner] += np.square(np.diff(x, axis=axis))
    if algorithm == "tikhonov":
        return float(np.sqrt(np.sum(squared, dtype=np.float64)))
    return float(np.sum(np.sqrt(squared), dtype=np.float64))


def _settled(rows: list[tuple[float, ...]], n: float, sigma: float | None, rules: Iterable[str]) -> bool:
    """Whether every rule that is asked for has its answer."""
    _, residual2, _, freedom, _, missed = (np.array(column) for column in zip(*rows, strict=True))
    scores = []
    if "holdout" in rules:
        scores.append(missed)
    if {"gcv", "balanced", "discrepancy"} & set(rules):
        scores.append(residual2 / np.maximum(n - freedom, 1.0) ** 2)
    if "sure" in rules and sigma is not None:
        scores.append(residual2 + 2 * sigma**2 * freedom)
    if "l-curve" in rules:
        return len(rows) == _MOST
    if "balanced" in rules and sigma is not None and residual2[-1] >= n * sigma**2:
        return False
    return len(rows) > _PAST and all(len(rows) - 1 - int(np.argmin(score)) >= _PAST for score in scores)
