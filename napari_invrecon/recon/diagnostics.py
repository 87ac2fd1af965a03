"""What a tilt series can show and how well a volume explains it: wedge, elongation, resolution, residuals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

WEDGE, BETWEEN, SAMPLED = 0, 1, 2
"""Values of `fourier_coverage`."""
FITS_NOISE = 0.95
"""‖Hx̂ − y‖/(σ√N), over what is expected of a fit, below which it is called under-regularised."""
_TOO_SMOOTH = 1.05
_FAR_OFF = 2.0  # no λ that suits leaves so much
_SMALL_SHARE = 0.03  # of the data's range: such a misfit hardly shows in the volume
SIGMA_TOO_HIGH = (
    "less is left than noise, with the λ that the data choose: σ is estimated too high (as by sharp edges, fine "
    "structure, or noise that grows with the intensity), or the noise of neighbouring pixels is alike."
)
"""What to say of such a residual."""
OUT_OF_RANGE = "The result leaves the data's range"
"""How a remark on a result that looks like amplified noise begins."""
SPARSE_SAFE_RANGE_DEG = 75.0
"""At a tilt range of ± this or less, methods that exploit sparsity can distort shapes."""
SPARSE = {"tv": "TV", "tv-sart": "TV", "l1": "an l1 penalty"}
"""Methods that exploit sparsity."""
OUTLIER = 5.0
"""Robust deviations above the trend from which a tilt's residual is bad."""


@dataclass(frozen=True, eq=False)
class TiltDiagnostics:
    """What to know about a tilt series and its volume.

    Attributes
    ----------
    angles_deg
        (n_tilt,), as given.
    range_deg
        Least and greatest angle.
    step_deg
        Median step between neighbouring tilts; NaN for one tilt.
    largest_gap_deg
        The widest step inside the range; NaN for one tilt.
    missing_wedge_fraction
        The share of Fourier space beyond the range, 0 … 1 (see `missing_wedge_fraction`).
    elongation
        How much longer along the beam (z) a small object appears (see `elongation`); infinite for one tilt.
    crowther_px
        π·D/N, the resolution that the number of tilts allows for an object of diameter D, in pixels.
    residual_per_tilt
        Root mean square of Hx̂ − y in each tilt, (n_tilt,), units of the data; None if there is no volume yet.
    bad_tilts
        (n_tilt,), True where a residual stands out of the trend with the angle (see `outlying`).
    residual_over_noise
        ‖Hx̂ − y‖/(σ√N); None if the residual or σ is unknown.
    expected_over_noise
        What of it a fit leaves that takes up some of the noise, √(1 − d/N), d its degrees of freedom; 1 if unknown.
    misfit_share
        ‖Hx̂ − y‖/√N over the range of the data; None if either is unknown.
    verdict
        What that says about λ, in a sentence.
    warnings
        What a reader of the volume should know.
    """

    angles_deg: NDArray[np.float64]
    range_deg: tuple[float, float]
    step_deg: float
    largest_gap_deg: float
    missing_wedge_fraction: float
    elongation: float
    crowther_px: float
    residual_per_tilt: NDArray[np.float64] | None
    bad_tilts: NDArray[np.bool_]
    residual_over_noise: float | None
    expected_over_noise: float
    misfit_share: float | None
    verdict: str
    warnings: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """JSON-plain, for the record; what is unknown or infinite is None."""
        residuals = None if self.residual_per_tilt is None else [float(f"{r:.6g}") for r in self.residual_per_tilt]
        return {
            "n_tilts": len(self.angles_deg),
            "range_deg": list(self.range_deg),
            "step_deg": _finite(self.step_deg),
            "largest_gap_deg": _finite(self.largest_gap_deg),
            "missing_wedge_fraction": self.missing_wedge_fraction,
            "elongation": _finite(self.elongation),
            "crowther_px": self.crowther_px,
            "residual_per_tilt": residuals,
            "bad_tilts": np.flatnonzero(self.bad_tilts).tolist(),
            "residual_over_noise": self.residual_over_noise,
            "expected_over_noise": self.expected_over_noise,
            "misfit_share": self.misfit_share,
            "verdict": self.verdict,
            "warnings": list(self.warnings),
        }


def diagnose(
    angles_deg: ArrayLike,
    *,
    diameter_px: float,
    algorithm: str | None = None,
    residual_per_tilt: ArrayLike | None = None,
    noise_sigma: float | None = None,
    data_range: float | None = None,
    expected: float = 1.0,
    lam_from_data: bool = False,
) -> TiltDiagnostics:
    """The diagnostics of a tilt series and, given its residuals, of a volume.

    Parameters
    ----------
    angles_deg
        (n_tilt,), degrees, in the order of the residuals.
    diameter_px
        D, the object's extent across the tilt axis; the volume's thickness if nothing better is known.
    algorithm
        The name of the method that made the volume.
    residual_per_tilt
        Root mean square of Hx̂ − y in each tilt (see `tilt_residuals`).
    noise_sigma
        σ of the noise in the units of the residuals.
    data_range
        How far the data reach above the background, in the same units.
    expected
        See ``expected_over_noise``.
    lam_from_data
        Whether λ was chosen by a rule, so that it is not to be put in doubt.

    Raises
    ------
    ValueError
        No angles, or not as many residuals as angles.
    """
    angles = np.array(angles_deg, np.float64)
    if angles.ndim != 1 or angles.size == 0:
        raise ValueError(f"expected a list of tilt angles, not an array of shape {angles.shape}")
    residuals = None if residual_per_tilt is None else np.array(residual_per_tilt, np.float64)
    if residuals is not None and residuals.shape != angles.shape:
        raise ValueError(f"expected a residual for each of the {angles.size} tilts, not {residuals.shape}")
    steps = np.diff(np.unique(angles))
    misfit = None if residuals is None else float(np.sqrt(np.mean(residuals**2)))
    ratio = misfit / noise_sigma if misfit is not None and noise_sigma else None
    share = misfit / data_range if misfit is not None and data_range else None
    bad = np.zeros(angles.size, bool) if residuals is None else outlying(angles, residuals)
    return TiltDiagnostics(
        angles_deg=angles,
        range_deg=(float(angles.min()), float(angles.max())),
        step_deg=float(np.median(steps)) if steps.size else math.nan,
        largest_gap_deg=float(steps.max()) if steps.size else math.nan,
        missing_wedge_fraction=missing_wedge_fraction(angles),
        elongation=elongation(half_range_deg(angles)),
        crowther_px=math.pi * diameter_px / np.unique(angles).size,
        residual_per_tilt=residuals,
        bad_tilts=bad,
        residual_over_noise=ratio,
        expected_over_noise=expected,
        misfit_share=share,
        verdict=verdict(ratio, algorithm, expected=expected, share=share, lam_from_data=lam_from_data),
        warnings=_warnings(angles, steps, bad, algorithm),
    )


def tilt_residuals(predicted: NDArray[Any], measured: NDArray[Any]) -> NDArray[np.float64]:
    """√mean (Hx̂ − y)² of each tilt, (n_tilt,): predicted and measured are (tilt, …) of one shape, in any order."""
    return np.array(
        [
            np.sqrt(np.mean(np.square(p - m, dtype=np.float64), dtype=np.float64))
            for p, m in zip(predicted, measured, strict=True)
        ]
    )


def half_range_deg(angles_deg: ArrayLike) -> float:
    """α: half the angle that the tilts span, at most 90°; for a symmetric series its greatest tilt."""
    angles = np.asarray(angles_deg, np.float64)
    steps = np.diff(np.unique(angles))
    span = float(angles.max() - angles.min())
    # A projection and its mirror image at 180° are one: a span within a step of 180° leaves no wedge.
    full = steps.size > 0 and span + 1.001 * float(np.median(steps)) >= 180
    return 90.0 if full else span / 2


def missing_wedge_fraction(angles_deg: ArrayLike) -> float:
    """1 − α/90°: the share of the (kz, kx) plane that no tilt within ±α reaches."""
    return 1 - half_range_deg(angles_deg) / 90


def elongation(half_range_deg: float) -> float:
    """e_yz = √((α + sin α cos α)/(α − sin α cos α)), α half the tilt range: the stretch of a small object along z.

    A property of the missing wedge alone, for weighted back-projection; a regulariser that fits can undo part of it.

    Source: Radermacher 1988, doi:10.1002/jemt.1060090405.
    """
    a = math.radians(half_range_deg)
    if a == 0:
        return math.inf
    return math.sqrt((a + math.sin(a) * math.cos(a)) / (a - math.sin(a) * math.cos(a)))


def fourier_coverage(angles_deg: ArrayLike, n: int = 129) -> NDArray[np.uint8]:
    """Which of the (kz, kx) plane the tilts reach, (n, n): `SAMPLED`, `BETWEEN` two tilts, or in the missing `WEDGE`.

    Both axes run from −½ to ½ cycles per pixel; the central slice of tilt θ is the line along (kx, kz) = (cos θ, sin θ)
    (the projection–slice theorem), drawn one of the picture's pixels wide.
    """
    angles = np.asarray(angles_deg, np.float64)
    kz, kx = np.meshgrid(np.linspace(-0.5, 0.5, n), np.linspace(-0.5, 0.5, n), indexing="ij")
    middle = (angles.min() + angles.max()) / 2
    from_middle = (np.rad2deg(np.arctan2(kz, kx)) - middle + 90) % 180 - 90
    picture = np.where(abs(from_middle) <= half_range_deg(angles), BETWEEN, WEDGE).astype(np.uint8)
    for theta in np.deg2rad(angles):
        picture[abs(kz * np.cos(theta) - kx * np.sin(theta)) <= 0.5 / (n - 1)] = SAMPLED
    return picture


def outlying(angles_deg: NDArray[Any], residuals: NDArray[Any]) -> NDArray[np.bool_]:
    """Which residuals lie above their trend with the angle by more than their spread explains, (n_tilt,).

    Residuals change slowly with the angle, as the object's projected thickness does: the trend is a parabola in their
    logarithm (their median for fewer than eight tilts), fitted by least absolute deviations, which bad tilts hardly
    pull. Bad is what exceeds it by `OUTLIER` robust deviations (1.4826 · the median absolute one), and by 10 %.
    """
    log = np.log(np.maximum(residuals, np.finfo(np.float64).tiny))
    centred = (angles_deg - np.mean(angles_deg)) / max(float(np.ptp(angles_deg)), 1e-9)
    terms = np.vander(centred, 3 if len(log) >= 8 else 1)
    excess = log - np.median(log)
    for _ in range(30):
        weights = 1 / np.sqrt(np.maximum(abs(excess), 1e-6))
        excess = log - terms @ np.linalg.lstsq(terms * weights[:, None], log * weights, rcond=None)[0]
    spread = 1.4826 * float(np.median(abs(excess)))
    bad: NDArray[np.bool_] = excess > max(OUTLIER * spread, math.log(1.1))
    return bad


def verdict(
    residual_over_noise: float | None,
    algorithm: str | None = None,
    *,
    expected: float = 1.0,
    share: float | None = None,
    lam_from_data: bool = False,
) -> str:
    """What ‖Hx̂ − y‖/(σ√N) says of a volume, in a sentence or two; None: that it is unknown.

    Judged by what such a fit is ``expected`` to leave. ``lam_from_data`` is not put in doubt: then it is σ, or what no
    volume explains, as misalignment, a drifting intensity, contrast that is not linear in the thickness and what lies
    outside the volume, which leave more than noise whatever λ is. ``share``: of the data's range.
    """
    if residual_over_noise is None:
        return "residual/noise unknown: type the noise σ under Advanced."
    start = f"residual/noise {residual_over_noise:.3g}"
    if expected < FITS_NOISE:
        start += f", {expected:.3g} expected of such a fit"
    knob, smoother, sharper = "regularised", "a larger λ", "a smaller λ"
    if algorithm in ("sirt", "sart"):
        knob, smoother, sharper = "iterated", "fewer iterations", "more iterations"
    if algorithm == "fbp":
        knob, smoother, sharper = "filtered", "a smoother filter", "a sharper filter"
    if residual_over_noise < FITS_NOISE * expected:
        if lam_from_data:
            return f"{start}: {SIGMA_TOO_HIGH}"
        return f"{start}: some of the noise is fitted; {smoother} would be smoother."
    if residual_over_noise <= _TOO_SMOOTH * max(expected, 1.0):
        return f"{start}: well {knob}, fits to the noise."
    if share is not None:
        start += f", {100 * share:.2g} % of the data's range"
    if residual_over_noise > _FAR_OFF and (share is None or share > _SMALL_SHARE):
        return f"{start}: the tilts do not agree to within the noise: alignment, background or σ is off."
    if lam_from_data or residual_over_noise > _FAR_OFF:
        return (
            f"{start}: a little more is left than noise, which no λ mends. Usual causes: brightness that drifts from "
            "tilt to tilt, contrast that is not linear in the thickness, alignment, what lies outside the volume."
        )
    return f"{start}: more is missed than noise: {sharper} would fit it, if alignment and σ are right."


def _warnings(
    angles: NDArray[Any], steps: NDArray[Any], bad: NDArray[np.bool_], algorithm: str | None
) -> tuple[str, ...]:
    found = []
    if algorithm in SPARSE and half_range_deg(angles) <= SPARSE_SAFE_RANGE_DEG:
        found.append(
            f"tilts from {angles.min():g}° to {angles.max():g}°: at ±75° or less {SPARSE[algorithm]} can distort "
            "shapes along the beam (arXiv:1904.02614). Check edges there against SIRT."
        )
    if steps.size and steps.max() > 2.5 * np.median(steps):
        at = np.unique(angles)[int(np.argmax(steps))]
        found.append(f"a gap of {steps.max():.3g}° after {at:.4g}°, where the median step is {np.median(steps):.3g}°.")
    if bad.any():
        named = ", ".join(f"{i} ({angles[i]:.4g}°)" for i in np.flatnonzero(bad))
        found.append(f"these tilts fit worse than the others: {named}. Look at them, align them or leave them out.")
    return tuple(found)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
