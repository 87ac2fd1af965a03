"""λ from the data: generalised cross-validation, the discrepancy principle and the L-curve, on one `LambdaCurve`.

For a quadratic regulariser, ‖Hx − y‖² + λ‖Lx‖², with H and L diagonal in Fourier space, everything that these rules
need is a sum over frequencies of functions of r = |H|²/|L|² and of |Y|². So the power |Y|² is gathered once in a
histogram over log r, and a curve of hundreds of λ costs milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from napari_invrecon.recon.operators import Array
from napari_invrecon.recon.record import significant

Curve = NDArray[np.float64]

DEFAULT_GRID: Curve = np.logspace(-8, 3, 200)
_BINS = 8192
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
        N ‖H x̂ − y‖² / (N − trace)²; its minimum is the generalised cross-validation choice.
    sigma
        The noise level that the discrepancy rule used, data units; None if unknown.
    gcv_lam, discrepancy, corner
        The λ that each rule chooses; None where the rule has no answer on this curve.
    curvature
        Of the L-curve in log–log, positive where it is convex like the letter's corner.
    """

    lam: Curve
    n_data: float
    residual_norm: Curve
    solution_norm: Curve
    gcv: Curve
    sigma: float | None
    gcv_lam: float | None
    discrepancy: float | None
    corner: float | None
    curvature: Curve

    def choice(self, rule: str) -> float | None:
        """The λ of one rule: "gcv", "discrepancy" or "l-curve"."""
        return {"gcv": self.gcv_lam, "discrepancy": self.discrepancy, "l-curve": self.corner}[rule]

    def summary(self) -> dict[str, Any]:
        """JSON-plain, for a record."""
        return {
            "lam": significant(self.lam),
            "residual_norm": significant(self.residual_norm),
            "solution_norm": significant(self.solution_norm),
            "gcv": significant(self.gcv),
            "sigma": self.sigma,
            "choices": {"gcv": self.gcv_lam, "discrepancy": self.discrepancy, "l-curve": self.corner},
        }


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
    twice = np.full(transform.shape[-1], 2.0, np.float32)  # a real transform stores one of each conjugate pair
    twice[0] = 1
    if shape[-1] % 2 == 0:
        twice[-1] = 1
    power = np.square(transform.real) + np.square(transform.imag)
    leading = power.ndim - len(shape)
    frames = int(np.prod(power.shape[:leading])) if leading else 1
    if leading:
        power = power.sum(axis=tuple(range(leading)))
    weight = np.broadcast_to(twice, power.shape)
    power = power * twice
    gain = np.square(otf.real) + np.square(otf.imag)

    share = inner / n  # of the field's pixels
    dead = gain <= _DEAD_GAIN * gain.max()
    free = (penalty <= 0) & ~dead
    used = ~(free | dead)
    log_ratio = np.log(gain[used]) - np.log(penalty[used])
    p, c = power[used].astype(np.float64), weight[used].astype(np.float64)
    if log_ratio.size > 4 * _BINS:
        low, high = float(log_ratio.min()), float(log_ratio.max())
        index = ((log_ratio - low) * ((_BINS - 1) / max(high - low, 1e-12))).astype(np.intp)
        count = np.bincount(index, c, _BINS)
        some = count > 0
        ratio = np.exp((np.bincount(index, c * log_ratio, _BINS)[some]) / count[some])
        p, c = np.bincount(index, p, _BINS)[some], count[some]
    else:
        ratio = np.exp(log_ratio.astype(np.float64))
    per_field = share * frames
    return Spectrum(
        ratio=ratio,
        power=p * (share / n),
        count=c * per_field,
        fitted=float(weight[free].sum()) * per_field,
        lost=float(weight[dead].sum()) * per_field,
        lost_power=float(power[dead].sum(dtype=np.float64)) * (share / n),
    )


def quadratic_curve(found: Spectrum, lam: Curve | None = None, sigma: float | None = None) -> LambdaCurve:
    """Residual and solution norms, GCV and the choices of the three rules, for ‖Hx − y‖² + λ‖Lx‖².

    residual² = Σ (λ/(r+λ))² |Y|², ‖Lx̂‖² = Σ r/(r+λ)² |Y|², N − trace = Σ λ/(r+λ).

    Sources: GCV: Golub, Heath, Wahba 1979, doi:10.1080/00401706.1979.10489751. Discrepancy: Morozov 1966. L-curve:
    Hansen 1992, doi:10.1137/1034115.
    """
    grid = DEFAULT_GRID if lam is None else np.sort(np.asarray(lam, np.float64))
    residual2, solution2, free = (np.array(each) for each in zip(*(_sums(found, v) for v in grid), strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        gcv = found.size * residual2 / free**2
    curvature = l_curve_curvature(grid, np.sqrt(residual2), np.sqrt(solution2))
    return LambdaCurve(
        lam=grid,
        n_data=found.size,
        residual_norm=np.sqrt(residual2),
        solution_norm=np.sqrt(solution2),
        gcv=gcv,
        sigma=sigma,
        gcv_lam=_gcv_minimum(found, grid, gcv),
        discrepancy=None if sigma is None else crossing(grid, residual2, found.size * sigma**2),
        corner=l_curve_corner(grid, curvature),
        curvature=curvature,
    )


def _sums(found: Spectrum, lam: float) -> tuple[float, float, float]:
    """(‖residual‖², ‖Lx̂‖², N − trace) at one λ."""
    damped = lam / (found.ratio + lam)
    residual2 = float(np.dot(np.square(damped), found.power)) + found.lost_power
    solution2 = float(np.dot(found.ratio / np.square(found.ratio + lam), found.power))
    return residual2, solution2, float(np.dot(damped, found.count)) + found.lost


def _gcv_minimum(found: Spectrum, grid: Curve, gcv: Curve) -> float | None:
    """The λ of least GCV: the best grid point, refined between its neighbours; None if the data hold no contrast."""
    if found.power.sum() <= 0 or not np.isfinite(gcv).any():
        return None
    best = int(np.nanargmin(gcv))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    if low == high:
        return float(grid[best])

    def score(log_lam: float) -> float:
        residual2, _, free = _sums(found, float(np.exp(log_lam)))
        return found.size * residual2 / free**2

    refined = minimize_scalar(score, bounds=(np.log(low), np.log(high)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(refined.x))


def crossing(grid: Curve, residual2: Curve, target: float) -> float | None:
    """The λ at which the squared residual rises through ``target`` (log–log interpolation); None if it never does."""
    if not residual2[0] < target < residual2[-1]:
        return None
    with np.errstate(divide="ignore"):
        rising = np.maximum.accumulate(np.log(np.maximum(residual2, np.finfo(float).tiny)))
    return float(np.exp(np.interp(np.log(target), rising, np.log(grid))))


def l_curve_curvature(grid: Curve, residual_norm: Curve, solution_norm: Curve) -> Curve:
    """Curvature of (log ‖residual‖, log ‖Lx̂‖) as a function of log λ, positive at an L's corner; NaN where undefined."""
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
