"""Projection matching: reconstruct, project again, put each tilt where its projection is; and again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_invrecon.recon.operators import fft_workers
from napari_invrecon.recon.projector import Geometry, adjoint, forward
from napari_invrecon.recon.registration import fit_to
from napari_invrecon.recon.solvers import Iterate
from napari_invrecon.recon.tilt_axis import least_motion
from napari_invrecon.recon.tilt_images import in_view, moved, turned

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_invrecon.recon.operators import Array


@dataclass(frozen=True)
class Match:
    """Where projection matching stands: ``shifts`` (tilt, 2) in pixels across and along, ψ, the residual of each tilt.

    ``step_px`` is the farthest that a tilt moved in the last round.
    """

    shifts: NDArray[np.float64]
    rotation_deg: float
    residual: NDArray[np.float64]
    step_px: float
    n_rounds: int


def match_projections(
    images: Array,
    angles_deg: NDArray[np.float64],
    start: Match,
    used: NDArray[np.bool_],
    *,
    fixed_rotation: bool,
    n_rounds: int,
    tolerance_px: float,
) -> Generator[Iterate, bool | None, Match]:
    """argmin over x ≥ 0, d and ψ of Σ_i ‖moved(y_i; ψ, d_i) − P_i x‖², in turns.

    The volume goes on from round to round, so that what it has not yet fitted cannot pull at the tilts for long. ψ is
    where the tilts, fitted to the projections, no longer turn on average: a root, found by secants, because a wrong ψ
    is mostly taken up by the volume (a twentieth of it shows).

    Source: Dengler 1989, doi:10.1016/0304-3991(89)90050-2; accelerated iterations: Beck & Teboulle 2009,
    doi:10.1137/080716542.
    """
    _, n_u, n_v = images.shape
    geometry = Geometry(angles_deg, (n_u, n_u), n_u, np.zeros(len(angles_deg)))
    volume: Array = np.zeros((n_u, n_u, n_v), np.float32)
    found, seen = start, None
    for count in range(1, n_rounds + 1):
        turn = turned(found.rotation_deg)
        there, view = moved(images, turn, found.shifts), in_view(images.shape, turn, found.shifts)
        view *= used[:, None, None]
        volume = yield from _refined(volume, geometry, there, view, found, count, n_rounds)
        projections = forward(geometry, volume, threads=fft_workers())
        fit = fit_to(there, projections, in_view(images.shape, turn, found.shifts) * _well_seen(view, used))
        shifts, _ = least_motion(found.shifts - fit.shifts, angles_deg, used)
        step = float(np.abs(shifts - least_motion(found.shifts, angles_deg, used)[0])[used].max())
        rotation = found.rotation_deg
        if not fixed_rotation and count >= _SETTLED and count % 2 == 0:
            rotation = _secant(found.rotation_deg, fit.rotation_deg, seen)
            seen = (found.rotation_deg, fit.rotation_deg)
        turning = abs(rotation - found.rotation_deg)
        found = Match(shifts, rotation, fit.residual, step, count)
        asked = yield Iterate(count, n_rounds, found, stage=f"projection matching {count} of at most {n_rounds}")
        if asked or (step < tolerance_px and turning < _TURN_TOLERANCE_DEG and (fixed_rotation or seen is not None)):
            break
    return found


_SETTLED = 2  # rounds before ψ is touched: by then the shifts are right to a fraction of a pixel
_RESPONSE = 0.1  # turn seen for a turn made, before two rounds have told
_TURN_TOLERANCE_DEG = 0.02
_VOLUME_STEPS = 15


def _refined(
    volume: Array, geometry: Geometry, data: Array, weights: Array, found: Match, count: int, n_rounds: int
) -> Generator[Iterate, bool | None, Array]:
    """A few accelerated steps x + C Hᵀ R (y − Hx), x ≥ 0, R and C one over the sums of H's rows and columns."""
    threads = fft_workers()
    n_z, n_x, _ = volume.shape
    lengths = forward(geometry, np.ones((n_z, n_x, 1), np.float32))
    rows = np.where(lengths > 0.1, weights / np.maximum(lengths, 0.1), 0).astype(np.float32)
    sums = adjoint(geometry, weights, threads=threads)
    floor = np.float32(1e-3) * sums.max()
    columns = np.where(sums > floor, 1 / np.maximum(sums, max(floor, 1e-30)), 0).astype(np.float32)
    x, ahead, t = volume, volume, 1.0
    for _ in range(_VOLUME_STEPS):
        misfit = data - forward(geometry, ahead, threads=threads)
        misfit *= rows
        change = adjoint(geometry, misfit, threads=threads)
        change *= columns
        change += ahead
        new = np.maximum(change, 0, out=change)
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead = new + np.float32((t - 1) / t_next) * (new - x)
        x, t = new, t_next
        yield Iterate(count - 1, n_rounds, found, stage=f"projection matching {count} of at most {n_rounds}")
    return x


def _well_seen(view: Array, used: NDArray[np.bool_]) -> Array:
    """1 where at least 70 % of the tilts have a pixel and all around it: elsewhere the volume is half known."""
    share = view.sum(axis=0) / max(int(used.sum()), 1)
    seen: Array = (ndimage.minimum_filter(share, 3) > 0.7).astype(np.float32)
    return seen


def _secant(rotation: float, seen: float, before: tuple[float, float] | None) -> float:
    """ψ of the next rounds, from the turn seen at this ψ and at the one before."""
    response = _RESPONSE
    if before is not None and abs(rotation - before[0]) > 1e-3:
        response = min(max((seen - before[1]) / (rotation - before[0]), 0.02), 1.0)
    return rotation - float(np.clip(seen / response, -2.0, 2.0))
