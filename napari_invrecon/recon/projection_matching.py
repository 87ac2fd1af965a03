"""Projection matching: reconstruct, project again, put each tilt where its projection is; and again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_invrecon.recon.operators import Array, fft_workers
from napari_invrecon.recon.projector import Geometry, adjoint, forward
from napari_invrecon.recon.registration import fit_to
from napari_invrecon.recon.solvers import Iterate
from napari_invrecon.recon.tilt_axis import least_motion
from napari_invrecon.recon.tilt_images import in_view, moved, turned

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


@dataclass(frozen=True)
class Match:
    """Where projection matching stands: ``shifts`` (tilt, 2) in pixels across and along, ψ, the residual of each tilt.

    ``step_px`` is the farthest that a tilt moved in the last round, ``volume`` (z, u, v) what it was matched with.
    """

    shifts: NDArray[np.float64]
    rotation_deg: float
    residual: NDArray[np.float64]
    step_px: float = math.inf
    n_rounds: int = 0
    volume: Array | None = None

    def finer(self, ratio: int) -> Match:
        """The same in pixels ``ratio`` times as fine."""
        volume = self.volume
        if volume is not None:
            for axis in range(3):
                volume = np.repeat(volume, ratio, axis)
            volume = volume / np.float32(ratio)
        return Match(self.shifts * ratio, self.rotation_deg, self.residual, volume=volume)


def match_projections(
    images: Array,
    angles_deg: NDArray[np.float64],
    start: Match,
    usable: NDArray[np.bool_],
    *,
    exclude_bad: bool,
    fixed_rotation: bool,
    n_volume_steps: int,
    n_rounds: int,
    tolerance_px: float,
) -> Generator[Iterate, bool | None, Match]:
    """argmin over x ≥ 0, d and ψ of Σ_i ‖moved(y_i; ψ, d_i) − P_i x‖², in turns.

    Tilts that fit far worse than the rest take no part in the volume while they do; those that are not usable never.
    The volume goes on from round to round, so that what it has not yet fitted cannot pull at the tilts for long. ψ is
    where the tilts, fitted to the projections, no longer turn on average: a root, found by secants every third round,
    because a wrong ψ is taken up by the volume but for about a twentieth, and that only after some rounds.

    Source: Dengler 1989, doi:10.1016/0304-3991(89)90050-2; accelerated iterations: Beck & Teboulle 2009,
    doi:10.1137/080716542.
    """
    _, n_u, n_v = images.shape
    geometry = Geometry(angles_deg, (n_u, n_u), n_u, np.zeros(len(angles_deg)))
    volume: Array = np.zeros((n_u, n_u, n_v), np.float32) if start.volume is None else start.volume
    found, seen = start, None
    steps: list[float] = []
    for count in range(1, n_rounds + 1):
        used = fitting(found.residual, usable) if exclude_bad else usable
        turn = turned(found.rotation_deg)
        there, view = moved(images, turn, found.shifts), in_view(images.shape, turn, found.shifts)
        view *= used[:, None, None]
        stage = f"projection matching {count} of at most {n_rounds}"
        for refined in _refined(volume, geometry, there, view, n_volume_steps):
            volume = refined
            yield Iterate(count - 1, n_rounds, found, stage=stage)
        projections = forward(geometry, volume, threads=fft_workers())
        fit = fit_to(there, projections, in_view(images.shape, turn, found.shifts) * _well_seen(view, used))
        shifts, _ = least_motion(found.shifts - fit.shifts, angles_deg, used)
        step = float(np.abs(shifts - least_motion(found.shifts, angles_deg, used)[0])[used].max())
        rotation = found.rotation_deg
        if not fixed_rotation and count % _SETTLING == 0:
            rotation = _secant(found.rotation_deg, fit.rotation_deg, seen)
            seen = (found.rotation_deg, fit.rotation_deg)
        turning = abs(rotation - found.rotation_deg)
        found = Match(shifts, rotation, fit.residual, step, count, volume)
        asked = yield Iterate(count, n_rounds, found, stage=stage)
        turned_out = fixed_rotation or (count % _SETTLING == 0 and turning < _TURN_TOLERANCE_DEG)
        stalled = count > _SETTLING and step > _STALLED * steps[-2]
        steps.append(step)
        if asked or (turned_out and (step < tolerance_px or stalled)):
            break
    return found


_SETTLING = 3  # rounds until shifts and volume have followed a change of ψ
_RESPONSE = 0.05  # turn seen for a turn made, until two values of ψ have told it; on phantoms at ±70° 0.045
_TURN_TOLERANCE_DEG = 0.05
_STALLED = 0.9  # of the step two rounds before: only the noise still moves the tilts, and more rounds would feed on it


def fitting(residual: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(tilt,): which of the usable tilts have no residual far above that of the others."""
    known = usable & np.isfinite(residual)
    if known.sum() < 5:
        return usable.copy()
    middle = np.median(residual[known])
    spread = 1.4826 * np.median(np.abs(residual[known] - middle))
    limit = max(middle + _OUTLIER * spread, min(3 * middle, (1 + middle) / 2))
    good: NDArray[np.bool_] = usable & ~(known & (residual > limit))
    return good


_OUTLIER = 6.0  # robust standard deviations


def _refined(volume: Array, geometry: Geometry, data: Array, weights: Array, n_steps: int) -> Iterator[Array]:
    """A few accelerated steps x + C Hᵀ R (y − Hx), x ≥ 0, R and C one over the sums of H's rows and columns."""
    threads = fft_workers()
    n_z, n_x, _ = volume.shape
    lengths = forward(geometry, np.ones((n_z, n_x, 1), np.float32))
    rows = np.where(lengths > 0.1, weights / np.maximum(lengths, 0.1), 0).astype(np.float32)
    sums = adjoint(geometry, weights, threads=threads)
    floor = np.float32(1e-3) * sums.max()
    columns = np.where(sums > floor, 1 / np.maximum(sums, max(floor, 1e-30)), 0).astype(np.float32)
    x, ahead, t = volume, volume, 1.0
    for _ in range(n_steps):
        misfit = data - forward(geometry, ahead, threads=threads)
        misfit *= rows
        change = adjoint(geometry, misfit, threads=threads)
        change *= columns
        change += ahead
        new = np.maximum(change, 0, out=change)
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead = new + np.float32((t - 1) / t_next) * (new - x)
        x, t = new, t_next
        yield x


def _well_seen(view: Array, used: NDArray[np.bool_]) -> Array:
    """1 where at least 70 % of the tilts have a pixel and all around it: elsewhere the volume is half known."""
    share = view.sum(axis=0) / max(int(used.sum()), 1)
    seen: Array = (ndimage.minimum_filter(share, 3) > 0.7).astype(np.float32)
    return seen


def _secant(rotation: float, seen: float, before: tuple[float, float] | None) -> float:
    """ψ of the next rounds, from the turn seen at this ψ and at the one before."""
    response = _RESPONSE
    if before is not None and abs(rotation - before[0]) > 1e-3:
        response = min(max((seen - before[1]) / (rotation - before[0]), 0.03), 0.3)
    return rotation - float(np.clip(seen / response, -1.0, 1.0))
