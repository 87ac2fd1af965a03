"""λ from the data: GCV, SURE, the discrepancy principle, the L-curve and held-out data, on one `LambdaCurve`.

For a quadratic regulariser, ‖Hx − y‖² + λ‖Lx‖², with H and L diagonal in Fourier space, everything that these rules
need is a sum over frequencies of functions of r = |H|²/|L|² and of |Y|². So the power |Y|² is gathered once in a
histogram over log r, and a curve of hundreds of λ costs milliseconds (`quadratic_curve`). For any other, the problem is
solved for one λ after another, each from the solution before, on a piece that stands for the image (`solved_curve`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numba
import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.operators import Array, fft_workers, in_slabs
from napari_invrecon.recon.record import significant
from napari_invrecon.recon.solvers import Iterate, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Curve = NDArray[np.float64]
Rule = Literal["balanced", "sure", "gcv", "discrepancy", "l-curve", "holdout", "reference"]

DEFAULT_GRID: Curve = np.logspace(-8, 3, 200)
SOLVED_GRID: Curve = np.logspace(-5, 0, 16)
_SHIFT = 16  # bits of a float that do not matter for the bin it falls in
_DISCREPANCY = (2.0, 4.0)  # times the GCV choice: 2 % of error in an estimated σ can move it by a factor of ten
_AS_FLAT = 1.1  # times the least spread in the reference region also counts as flat
_DEAD_GAIN = 1e-13  # |H|² below this is single-precision rounding of the transfer function, not transfer


@dataclass(frozen=True)
class LambdaCurve:
    """What the data say about λ.

    Attributes
    ----------
    lam
        The weights, ascending, in the units of the scaled data.
    n_data
        N, how many data the norms run over.
    residual_norm
        ‖H x̂(λ) − y‖, data units.
    solution_norm
        ‖L x̂(λ)‖ (R(x̂) for regularisers that are not quadratic), data units.
    gcv
        N ‖H x̂ − y‖² / (N − d)², d the degrees of freedom of the fit; its minimum is the generalised cross-validation
        choice.
    sure
        ‖H x̂ − y‖² − Nσ² + 2σ²d, Stein's unbiased estimate of the error ‖H x̂ − H x‖²; NaN where σ is unknown.
    holdout
        Mean squared error of the data that were left out; NaN where none were.
    reference
        Standard deviation of x̂ over the reference region, where the object is known to be flat, relative to the data's
        scale s; NaN without one.
    sigma
        The noise level that the rules used, data units; None if unknown.
    choices
        The λ that each rule chooses; None where the rule has no answer on this curve.
    curvature
        Of the L-curve in log–log, positive where it is convex like the letter's corner.
    """

    lam: Curve
    n_data: float
    residual_norm: Curve
    solution_norm: Curve
    gcv: Curve
    sure: Curve
    holdout: Curve
    reference: Curve
    sigma: float | None
    choices: dict[Rule, float | None]
    curvature: Curve

    @property
    def corner(self) -> float | None:
        """The λ at the L-curve's corner, None if it has none."""
        return self.choices["l-curve"]

    @property
    def discrepancy(self) -> float | None:
        """The λ whose residual meets the noise level (Morozov), None if none does."""
        return self.choices["discrepancy"]

    def residual_over_noise(self, lam: float) -> float:
        """‖H x̂ − y‖ / (σ √N) at λ: 1 fits to the noise, less fits the noise itself. NaN off the curve or without σ."""
        if self.sigma is None or lam <= 0:
            return float("nan")
        norm = np.interp(np.log(lam), np.log(self.lam), self.residual_norm, np.nan, np.nan)
        return float(norm / (self.sigma * np.sqrt(self.n_data)))

    def summary(self) -> dict[str, Any]:
        """JSON-plain, for a record; scores that are unknown throughout are left out."""
        scores = {
            name: significant(values)
            for name in ("lam", "residual_norm", "solution_norm", "gcv", "sure", "holdout", "reference")
            if np.isfinite(values := getattr(self, name)).any()
        }
        return {**scores, "n_data": self.n_data, "sigma": self.sigma, "choices": dict(self.choices)}


def make_curve(
    lam: Curve,
    n_data: float,
    residual2: Curve,
    solution: Curve,
    freedom: Curve,
    sigma: float | None,
    holdout: Curve | None = None,
    reference: Curve | None = None,
    flat: float = 0.0,
) -> LambdaCurve:
    """All scores and choices from the residual², the solution norm and the degrees of freedom at each λ.

    "balanced" is the geometric mean of the GCV and the discrepancy choices, the second held between two and four
    times the first, and twice where it is unknown. GCV aims at H x̂, and for a blur leaves x̂ itself a little noisy; the
    discrepancy takes no account of the fit's degrees of freedom, so it smooths a little too much. "reference" is the
    smallest λ, from the GCV choice up, at which x̂ spreads by ``flat`` at most over a region known to be flat (one
    without a count holds no noise, and is flat at any λ). See docs/choose-lambda.md for what was measured.

    Sources: GCV: Golub, Heath, Wahba 1979, doi:10.1080/00401706.1979.10489751. SURE: Stein 1981,
    doi:10.1214/aos/1176345632. Discrepancy: Morozov 1966. L-curve: Hansen 1992, doi:10.1137/1034115.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        gcv = n_data * residual2 / (n_data - freedom) ** 2
    sure = np.full(len(lam), np.nan)
    held = sure if holdout is None else holdout
    spread = np.full(len(lam), np.nan) if reference is None else reference
    if sigma is not None:
        sure = residual2 - n_data * sigma**2 + 2 * sigma**2 * freedom
    curvature = l_curve_curvature(lam, np.sqrt(residual2), solution)
    choices: dict[Rule, float | None] = {
        "balanced": None,
        "sure": _parabola_minimum(lam, sure),
        "gcv": _parabola_minimum(lam, gcv),
        "discrepancy": None if sigma is None else crossing(lam, residual2, n_data * sigma**2),
        "l-curve": l_curve_corner(lam, curvature),
        "holdout": _parabola_minimum(lam, held),
        "reference": None,
    }
    low, high = choices["gcv"], choices["discrepancy"]
    at_least = _least_flat(lam, spread, flat)
    if at_least is not None:
        choices["reference"] = max(at_least, low or 0.0)
    if low is not None:
        choices["balanced"] = float(low * np.sqrt(np.clip((high or low) / low, *_DISCREPANCY)))
    return LambdaCurve(lam, n_data, np.sqrt(residual2), solution, gcv, sure, held, spread, sigma, choices, curvature)


def unknown_curve(lam: float, n_data: float, sigma: float | None) -> LambdaCurve:
    """The curve of one λ for which nothing was solved: every score unknown."""
    grid = np.array([lam])
    unknown = np.full(1, np.nan)
    return make_curve(grid, n_data, unknown, unknown, unknown, sigma)


@dataclass(frozen=True)
class Spectrum:
    """|Y|² gathered over r = |H|²/|L|².

    ``ratio`` r of each bin, ``power`` Σ|Y|² and ``count`` number of frequencies in it, such that Σ power = ‖y‖² and
    Σ count = N; ``fitted`` counts the frequencies with L = 0, H ≠ 0 (the mean), which every λ fits exactly, ``lost``
    and ``lost_power`` those with H = 0, which no λ fits.
    """

    ratio: Curve
    power: Curve
    count: Curve
    fitted: float
    lost: float
    lost_power: float

    @property
    def size(self) -> float:
        """N, the number of data."""
        return float(self.count.sum() + self.fitted + self.lost)

    def __add__(self, other: Spectrum) -> Spectrum:
        """The spectrum of two fields of view together (same PSF and regulariser)."""
        return Spectrum(
            np.concatenate([self.ratio, other.ratio]),
            np.concatenate([self.power, other.power]),
            np.concatenate([self.count, other.count]),
            self.fitted + other.fitted,
            self.lost + other.lost,
            self.lost_power + other.lost_power,
        )


def spectrum(
    transform: NDArray[np.complex64], otf: NDArray[np.complex64], penalty: Array, shape: tuple[int, ...], inner: int
) -> Spectrum:
    """Gather |Y|² over r = |H|²/|L|².

    Parameters
    ----------
    transform
        ``rfftn`` of the framed data, shape (…, *rfft grid); leading axes are summed.
    otf, penalty
        H, and |L|² on the same grid.
    shape
        Of the framed field in real space.
    inner
        How many of the field's pixels are data; sums are scaled so that they are those of the data alone.
    """
    n = int(np.prod(shape))
    m = transform.shape[-1]
    frames = transform.reshape(-1, *otf.shape).shape[0]
    gathered = (transform.reshape(frames, -1, m), otf.reshape(-1, m), penalty.reshape(-1, m))
    parts = np.ascontiguousarray(otf).view(otf.real.dtype)
    most = float(max(parts.max(), -parts.min())) ** 2  # of |H|², which at its peak is real; less than half too little
    dead = np.float32(_DEAD_GAIN * most)
    steepest, least = float(penalty.max()), float(np.min(penalty, where=penalty > 0, initial=np.inf))
    first, last = (int(np.float32(r).view(np.int32) >> _SHIFT) for r in (0.5 * dead / steepest, 2 * most / least))
    even = shape[-1] % 2 == 0  # a real transform stores one of each conjugate pair, but for the first and the last
    n_rows = gathered[1].shape[0]
    sums = np.zeros((max(1, n_rows * m >> 18), last - first + 3, 3))  # for each slab: no two threads add to the same

    def work(start: int, stop: int) -> float:
        limits = np.linspace(0, n_rows, len(sums) + 1).astype(int)
        for slab in range(start, stop):
            _gather(*gathered, dead, first, even, int(limits[slab]), int(limits[slab + 1]), sums[slab])
        return 0.0

    in_slabs(work, len(sums), fft_workers())
    count, ratios, power = sums.sum(axis=0).T
    some = count > 0
    some[-2:] = False
    share = inner / n  # of the field's pixels
    return Spectrum(
        ratio=ratios[some] / count[some],
        power=power[some] * (share / n),
        count=count[some] * share * frames,
        fitted=float(count[-2]) * share * frames,
        lost=float(count[-1]) * share * frames,
        lost_power=float(power[-1]) * (share / n),
    )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _gather(
    transform: Any, otf: Any, penalty: Any, dead: Any, first: Any, even: bool, start: int, stop: int, sums: Any
) -> None:  # fmt: skip
    """Rows of the spectrum into (count, Σ r, power) of each bin; the last two bins are the fitted and the lost.

    A bin is what the leading bits of a float have in common: 128 to an octave.
    """
    m, bins = otf.shape[1], sums.shape[0] - 2
    ratios, powers = np.empty(m, np.float32), np.empty(m, np.float32)
    bits = ratios.view(np.int32)
    for row in range(start, stop):
        for c in range(m):
            h, weight = otf[row, c], penalty[row, c]
            gain = h.real * h.real + h.imag * h.imag
            ratios[c] = np.float32(-1) if gain <= dead else gain / weight  # the lost; infinite: the fitted
            y = transform[0, row, c]
            powers[c] = y.real * y.real + y.imag * y.imag
        for frame in range(1, len(transform)):
            for c in range(m):
                y = transform[frame, row, c]
                powers[c] += y.real * y.real + y.imag * y.imag
        for c in range(m):
            twice = 1.0 if c == 0 or (even and c == m - 1) else 2.0
            ratio, index = ratios[c], min(max((bits[c] >> _SHIFT) - first, 0), bins - 1)
            if ratio < 0:
                ratio, index = np.float32(0), bins + 1
            elif ratio == np.inf:
                ratio, index = np.float32(0), bins
            sums[index, 0] += twice
            sums[index, 1] += twice * ratio
            sums[index, 2] += twice * powers[c]


def quadratic_curve(
    found: Spectrum,
    lam: Curve | None = None,
    sigma: float | None = None,
    reference: Curve | None = None,
    flat: float = 0.0,
) -> LambdaCurve:
    """The curve of ‖Hx − y‖² + λ‖Lx‖², exact, from the data's spectrum; ``reference`` and ``flat`` as in `make_curve`.

    residual² = Σ (λ/(r+λ))² |Y|², ‖Lx̂‖² = Σ r/(r+λ)² |Y|², N − d = Σ λ/(r+λ).
    """
    grid = DEFAULT_GRID if lam is None else np.sort(np.asarray(lam, np.float64))
    residual2, solution2, free = (np.array(each) for each in zip(*(_sums(found, v) for v in grid), strict=True))

    if found.power.sum() <= 0:  # a constant image: every λ gives it back, no rule has a preference
        residual2 = np.full(len(grid), np.nan)
    return make_curve(grid, found.size, residual2, np.sqrt(solution2), found.size - free, sigma, None, reference, flat)


@dataclass(frozen=True)
class Fit:
    """One solution of a problem that is to be solved for many λ.

    ``state`` is what the next solve starts from, ``predicted`` H x̂, ``penalty`` R(x̂), ``reference`` the standard
    deviation of x̂ over the reference region, NaN without one.
    """

    state: Any
    predicted: Array
    penalty: float
    reference: float = float("nan")


def solved_curve(
    fit: Callable[[Array, Array, float, Any], Steps[Fit]],
    y: Array,
    spread: Array | float,
    weights: Array,
    *,
    grid: Curve = SOLVED_GRID,
    complete: bool = False,
    hold_out: bool = False,
    flat: float = 0.0,
    seed: int = 0,
) -> Steps[LambdaCurve]:
    """The curve of any regulariser: solve from the largest λ down, each from the last, until the rules are settled.

    Parameters
    ----------
    fit
        (y, weights, λ, state or None) → `Fit`, by steps. Asked to finish, this λ is the last.
    y, spread, weights
        Data, the standard deviation of their noise (σ, or one for each datum), and their weights in the fit, 0 for
        those that do not count.
    grid, complete
        The λ to solve for; all of them, or until every rule has its answer.
    hold_out
        Solve also with a tenth of the data hidden, and predict them.
    flat
        The spread over a reference region that passes for flat.
    seed
        Of the probe vector for the degrees of freedom d = Σ ∂(Hx̂)_i/∂y_i, and of what is held out.

    Notes
    -----
    d by a finite difference along one random ±1 vector: Ramani, Blu & Unser 2008, doi:10.1109/TIP.2008.2001404.
    """
    rng = np.random.default_rng(seed)
    probe = rng.choice(np.array([-1, 1], np.float32), y.shape)
    step = np.float32(_PROBE_STEP) * np.asarray(spread, np.float32)
    hidden = (rng.random(y.shape) < _HELD_OUT) & (weights > 0)
    kept = np.where(hidden, 0, weights).astype(np.float32)
    counted = weights > 0
    n = float(counted.sum())
    variance = np.square(np.broadcast_to(spread, y.shape)[counted], dtype=np.float64)
    scale = float(np.sqrt(np.average(variance, weights=weights[counted])))
    whiten = scale / np.broadcast_to(np.asarray(spread, np.float64), y.shape)[counted]

    plain = nudged = held = None
    rows: list[tuple[float, ...]] = []
    for count, lam in enumerate(np.sort(grid)[::-1], start=1):
        shown = Iterate(count - 1, len(grid), stage=f"choosing λ ({count} of at most {len(grid)})")
        plain, asked = yield from _told(fit(y, weights, float(lam), plain.state if plain else None), shown, False)
        freedom = float("nan")
        if len(grid) > 1:  # of a single λ only the residual is wanted
            start = nudged.state if nudged else plain.state
            nudged, asked = yield from _told(fit(y + step * probe, weights, float(lam), start), shown, asked)
            moved = (nudged.predicted - plain.predicted).astype(np.float64)
            freedom = float(np.sum((probe / step * moved)[counted]))
        residual2 = float(np.sum(np.square((plain.predicted - y)[counted] * whiten)))
        missed = float("nan")
        if hold_out:
            start = held.state if held else plain.state
            held, asked = yield from _told(fit(y, kept, float(lam), start), shown, asked)
            errors = np.square((held.predicted - y)[hidden], dtype=np.float64)
            missed = float(np.average(errors, weights=weights[hidden]))
        rows.append((float(lam), residual2, plain.penalty, freedom, missed, plain.reference))
        if asked or (not complete and _settled(rows, n, scale)):
            break
    lams, residual, penalty, freedoms, misses, spreads = (np.array(column)[::-1] for column in zip(*rows, strict=True))
    return make_curve(lams, n, residual, penalty, freedoms, scale, misses, spreads, flat)


def _told(steps: Steps[Fit], shown: Iterate, asked: bool) -> Generator[Iterate, bool | None, tuple[Fit, bool]]:
    """A solution, and whether it was asked to finish, as the caller may at every step."""
    answer: bool | None = None
    while True:
        try:
            steps.send(answer)
        except StopIteration as end:
            return end.value, asked
        asked = bool(asked or (yield shown))
        answer = asked


_PROBE_STEP = 0.3  # of the noise: small against it, large against the solver's tolerance
_HELD_OUT = 0.1
_PAST_MINIMUM = 3
_GIVE_UP = 6  # λ past the minimum of GCV, a factor of 100: what still falls there does not know the noise


def rescaled(curve: LambdaCurve, scale: float) -> LambdaCurve:
    """A curve of scaled data in the units of the data themselves; λ stays what it is."""
    return dataclasses.replace(
        curve,
        residual_norm=curve.residual_norm * scale,
        solution_norm=curve.solution_norm * scale,
        gcv=curve.gcv * scale**2,
        sure=curve.sure * scale**2,
        holdout=curve.holdout * scale**2,
        sigma=None if curve.sigma is None else curve.sigma * scale,
    )


def _settled(rows: list[tuple[float, ...]], n: float, sigma: float) -> bool:
    """Whether the residual has fallen below the noise and every score has risen a few times since its minimum.

    Or the GCV score alone, for long: with a σ that is too small, or noise that is not white, others never rise, and
    the smallest λ take the most iterations.
    """
    if len(rows) < _PAST_MINIMUM + 3:
        return False
    _, residual2, _, freedom, missed, spread = (np.array(column) for column in zip(*rows, strict=True))
    gcv = residual2 / (n - freedom) ** 2
    scores = {"sure": residual2 + 2 * sigma**2 * freedom, "gcv": gcv, "holdout": missed, "reference": spread}
    past = {name: len(rows) - 1 - int(np.nanargmin(s)) for name, s in scores.items() if np.isfinite(s).any()}
    turned = min(past.values(), default=_PAST_MINIMUM) >= _PAST_MINIMUM
    return (turned and residual2[-1] < n * sigma**2) or past.get("gcv", 0) >= _GIVE_UP


def _least_flat(grid: Curve, spread: Curve, flat: float) -> float | None:
    """The smallest λ from which on, up to that of least spread, the reference region stays flat; None if unknown.

    Flat is what spreads by ``flat`` at most, or by 1.1 times the least there is where that is more. The least spread
    itself is no choice: regularisers flatten a flat region best long after the object is lost.
    """
    if not np.isfinite(spread).any():
        return None
    best = int(np.nanargmin(spread))
    limit = max(flat, _AS_FLAT * float(spread[best]))
    rough = np.flatnonzero(~(spread[:best] <= limit))
    if not rough.size:
        return float(grid[0])
    last = int(rough[-1])  # the next is flat: between them the spread crosses the limit
    t = np.log(spread[last] / limit) / np.log(spread[last] / spread[last + 1]) if spread[last + 1] > 0 else 1.0
    return float(grid[last] * (grid[last + 1] / grid[last]) ** t)


def _parabola_minimum(grid: Curve, score: Curve) -> float | None:
    """Where the parabola through the best point and its neighbours, in log λ, is least; None for an unknown score."""
    if not np.isfinite(score).any():
        return None
    best = int(np.nanargmin(score))
    if best in (0, len(grid) - 1):
        return float(grid[best])
    (t0, t1, t2), (s0, s1, s2) = np.log(grid[best - 1 : best + 2]), score[best - 1 : best + 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        bend = (s2 - s1) / (t2 - t1) - (s1 - s0) / (t1 - t0)
        t = t1 - 0.5 * ((s2 - s1) * (t1 - t0) / (t2 - t1) + (s1 - s0) * (t2 - t1) / (t1 - t0)) / bend
    return float(np.exp(np.clip(t, t0, t2))) if np.isfinite(t) and bend > 0 else float(grid[best])


def _sums(found: Spectrum, lam: float) -> tuple[float, float, float]:
    """(‖residual‖², ‖Lx̂‖², N − trace) at one λ."""
    damped = lam / (found.ratio + lam)
    residual2 = float(np.dot(np.square(damped), found.power)) + found.lost_power
    solution2 = float(np.dot(found.ratio / np.square(found.ratio + lam), found.power))
    return residual2, solution2, float(np.dot(damped, found.count)) + found.lost


def crossing(grid: Curve, residual2: Curve, target: float) -> float | None:
    """The λ at which the squared residual rises through ``target`` (log–log interpolation); None if it never does."""
    if not residual2[0] < target < residual2[-1]:  # also where they are unknown
        return None
    with np.errstate(divide="ignore"):
        rising = np.maximum.accumulate(np.log(np.maximum(residual2, np.finfo(float).tiny)))
    return float(np.exp(np.interp(np.log(target), rising, np.log(grid))))


def l_curve_curvature(grid: Curve, residual_norm: Curve, solution_norm: Curve) -> Curve:
    """Curvature of (log ‖residual‖, log ‖Lx̂‖) over log λ, positive at an L's corner; NaN where undefined."""
    if len(grid) < 5:
        return np.full(len(grid), np.nan)
    t = np.log(grid)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho, eta = np.log(residual_norm), np.log(solution_norm)
        d_rho, d_eta = np.gradient(rho, t), np.gradient(eta, t)
        dd_rho, dd_eta = np.gradient(d_rho, t), np.gradient(d_eta, t)
        curvature: Curve = (d_rho * dd_eta - dd_rho * d_eta) / (d_rho**2 + d_eta**2) ** 1.5
    return curvature


def l_curve_corner(grid: Curve, curvature: Curve, least: float = 0.5) -> float | None:
    """The λ of largest curvature, or None where the curve has no corner.

    A corner is a maximum inside the grid, more sharply bent than ``least`` (radius of two e-folds): flat curves have
    none, and their largest curvature is an accident of noise or of the grid's end.
    """
    inside = curvature[2:-2]
    if inside.size == 0 or not np.isfinite(inside).any():
        return None
    best = int(np.nanargmax(inside))
    at_end = best in (0, inside.size - 1)
    return None if at_end or inside[best] < least else float(grid[best + 2])
