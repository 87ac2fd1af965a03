"""The power law A·E^−r by maximum likelihood, for millions of pixels at once.

Of Poisson counts y_k at energies E_k with the mean A·E_k^−r, N = Σ y_k and T = Σ y_k log E_k are all that the
likelihood depends on: A E^−r = N p_r(E), and r solves m(r) = T/N, m being the mean of log E under p_r. Both m and what
is carried on under the edge, N·Q(r), are functions of one number, so they are tabulated once for a pair of windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline

Real = NDArray[np.float64]

_R = np.linspace(-20.0, 30.0, 1025)  # exponents, far beyond any that a spectrum has


@dataclass(frozen=True)
class PowerLaw:
    """A background window and the window into which it is extrapolated.

    Attributes
    ----------
    table
        Of the mean of log E under p_r, as measured by T/N: r; log Q, Q = Σ_signal E^−r / Σ_background E^−r; its first
        and second derivative in θ = −r; variance and third cumulant of log E under p_r. (…) to (…, 6).
    means
        Between which the table reaches.
    n, flat_mean, flat_variance
        Number of channels of the background window, and mean and variance of log E over them, each counting alike.
    """

    table: CubicHermiteSpline
    means: tuple[float, float]
    n: int
    flat_mean: float
    flat_variance: float


def power_law(log_background: Real, log_signal: Real) -> PowerLaw:
    """From log E of the channels of either window."""
    total, mean, variance, skew, kurtosis = _cumulants(log_background.tobytes())
    its_total, its_mean, its_variance, its_skew, _ = _cumulants(log_signal.tobytes())
    values = np.stack([_R, its_total - total, its_mean - mean, its_variance - variance, variance, skew], axis=1)
    by_theta = np.stack(
        [-np.ones_like(_R), its_mean - mean, its_variance - variance, its_skew - skew, skew, kurtosis], axis=1
    )
    by_mean = by_theta / variance[:, None]
    return PowerLaw(
        table=CubicHermiteSpline(mean[::-1], values[::-1], by_mean[::-1]),
        means=(float(mean[-1]), float(mean[0])),
        n=log_background.size,
        flat_mean=float(log_background.mean()),
        flat_variance=float(log_background.var()),
    )


@lru_cache(maxsize=16)  # of a window that is dragged, the curve on the plot and the map ask for the same ones
def _cumulants(channels: bytes) -> tuple[Real, Real, Real, Real, Real]:
    """log Σ E^−r and the first four cumulants of log E under E^−r, at every r of the table; ``channels`` are log E."""
    log_e = np.frombuffer(channels, np.float64)
    centre = log_e.mean()
    t = log_e - centre
    power = -np.outer(_R, t)
    most = power.max(axis=1)
    weight = np.exp(power - most[:, None])
    total = weight.sum(axis=1)
    mean, *moments = ((weight @ t**k) / total for k in (1, 2, 3, 4))
    second, third, fourth = moments
    variance = second - mean**2
    skew = third - 3 * mean * second + 2 * mean**3
    kurtosis = fourth - 4 * mean * third - 3 * second**2 + 12 * mean**2 * second - 6 * mean**4
    return np.log(total) + most - _R * centre, mean + centre, variance, skew, kurtosis
