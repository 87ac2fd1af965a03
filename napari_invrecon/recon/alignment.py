"""Alignment of a tilt series: image i is rotated by the axis's angle and moved by (dy, dx)ᵢ onto a common tilt axis.

The images of a tilt series are projections of one object only after each has been put back to where the stage's drift
took it from, with the tilt axis along an array axis and through the centre.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.alignment_scene import AlignmentScene, levels, read_scene
from napari_invrecon.recon.projection_matching import Match, fitting, match_projections
from napari_invrecon.recon.record import Reconstruction, Stopwatch, describe_source, make_record
from napari_invrecon.recon.registration import chained_shifts, common_line_shifts, filled
from napari_invrecon.recon.settings import check, takes_settings
from napari_invrecon.recon.solvers import Iterate, Steps, finish
from napari_invrecon.recon.tilt_axis import (
    common_rows,
    edge_share,
    least_motion,
    moments,
    object_region,
    put_along,
    rotation_from_slices,
)
from napari_invrecon.recon.tilt_images import binned, moved, turned
from napari_invrecon.recon.tilt_series import describe_tilts
from napari_invrecon.recon.tilt_transforms import Alignment, apply_alignment

__all__ = [
    "ASKED",
    "AlignedSeries",
    "Alignment",
    "AlignmentSettings",
    "align",
    "aligned_series",
    "alignment",
    "apply_alignment",
]

# The last of an alignment's stages where it was asked to finish with what it had.
ASKED = "asked to finish"

Method = Literal["projection-matching", "centre-of-mass", "cross-correlation"]


@dataclass(frozen=True, kw_only=True)
class AlignmentSettings:
    """Every parameter of an alignment, written once."""

    method: Annotated[
        Method,
        {
            "label": "Method",
            "help": "How far to go. cross-correlation: neighbouring tilts. centre-of-mass: then the centre of mass "
            "across the axis and the common line along it. projection-matching: then each tilt against its "
            "reprojection; slowest and most exact.",
        },
    ] = "projection-matching"
    tilt_axis: Annotated[
        Literal["y", "x"],
        {"label": "Tilt axis", "help": "The array axis along which the tilt axis roughly lies."},
    ] = "y"
    axis_rotation_deg: Annotated[
        float | None,
        {
            "label": "Axis rotation",
            "unit": "°",
            "min": -45.0,
            "max": 45.0,
            "help": "Angle from the array axis to the tilt axis, positive from +x towards +y. Automatic: found.",
        },
    ] = None
    centre_axis: Annotated[
        bool,
        {
            "label": "Centre the axis",
            "advanced": True,
            "help": "Move the tilt axis to the centre of the images. Off: the images move as little as possible, and "
            "the axis's distance from the centre is a result.",
        },
    ] = True
    normalise: Annotated[
        bool,
        {
            "label": "Equal intensity",
            "advanced": True,
            "help": "Scale each tilt to the median brightness, for a beam current that drifts. Off where the sample's "
            "mass in the field of view changes with tilt.",
        },
    ] = False
    exclude_bad: Annotated[
        bool,
        {
            "label": "Exclude bad tilts",
            "advanced": True,
            "help": "Mark tilts that fit the others far worse than the rest as not used. Blank tilts are never used.",
        },
    ] = True
    background: Annotated[
        float | None,
        {
            "label": "Background",
            "advanced": True,
            "help": "The value of empty vacuum, subtracted while aligning. Automatic: the commonest dark value.",
        },
    ] = None
    n_iter: Annotated[
        int,
        {
            "label": "Rounds at most",
            "min": 1,
            "max": 1000,
            "advanced": True,
            "help": "Of projection matching, at each of its resolutions.",
        },
    ] = 20
    tolerance_px: Annotated[
        float,
        {
            "label": "Tolerance",
            "unit": "px",
            "min": 1e-4,
            "max": 10.0,
            "advanced": True,
            "help": "Projection matching stops when no tilt moves by more than this, or when the noise hides that.",
        },
    ] = 0.05

    def __post_init__(self) -> None:
        check(self)


@takes_settings(AlignmentSettings)
def align(stack: Any, angles_deg: Any, *, settings: AlignmentSettings) -> Alignment:
    """dᵢ and φ of p′ = R(−φ) p + dᵢ for every tilt i, from the images alone.

    Neighbouring tilts are correlated; then each tilt's centre of mass is put where x_c cos θ + z_c sin θ is, across the
    axis, and its intensity profile onto the common one along it; then the series is reconstructed and each tilt put
    where its projection is, again and again.

    Parameters
    ----------
    stack : array (tilt, y, x)
        NumPy or dask, any real dtype, not changed. NaN counts as vacuum.
    angles_deg : sequence of float
        One for each tilt, degrees, in any order.
    settings
        The fields of `AlignmentSettings` as keyword arguments.

    Returns
    -------
    Alignment
        Give it to `apply_alignment`, with the same stack or with maps of the same tilts.

    Raises
    ------
    ValueError, TypeError
        Fewer than three tilts with something in them, angles that do not fit, settings outside their range.

    Notes
    -----
    A shift a cos θ + b sin θ across the axis, or a constant one along it, only moves the object: of these, the images
    are moved as little as possible. u = x cos θ + z sin θ + axis shift; seen from the side of +y (tilt axis ∥ y), a
    positive angle moves what is at +z towards +u.

    References
    ----------
    Guckenberger, Ultramicroscopy 9 (1982) 167. Scott et al., Nature 483 (2012) 444, doi:10.1038/nature10934. Dengler,
    Ultramicroscopy 30 (1989) 337, doi:10.1016/0304-3991(89)90050-2.
    """
    return finish(alignment(stack, angles_deg, settings))


def alignment(stack: Any, angles_deg: Any, settings: AlignmentSettings) -> Steps[Alignment]:
    """`align` as a generator of `Iterate` with stages in words, for callers who show progress and may stop it.

    The iterates' ``x`` is the `Alignment` so far, or None while nothing is known.
    """
    yield Iterate(0, 1, stage="reading")
    scene = read_scene(stack, angles_deg, settings.tilt_axis, settings.background)
    last = ("cross-correlation", "centre-of-mass", "projection-matching").index(settings.method)
    rotation = 0.0 if settings.axis_rotation_deg is None else scene.sign * settings.axis_rotation_deg
    state = _State(np.zeros((len(scene.images), 2)), rotation, np.full(len(scene.images), np.nan))
    ratio = max(1, levels(scene)[0] // 2)
    rough = replace(scene, images=binned(scene.images, ratio), size=ratio * scene.size)
    for step in (_correlate, _centre, _centre_object)[: 2 * last + 1]:
        state, stopped = yield from step(rough, state, settings)
        if stopped:
            return _result(rough, _noted(rough, state, stage=ASKED), settings)
    state = replace(state, shifts=ratio * state.shifts)
    if settings.method == "projection-matching":
        state = yield from _match(scene, state, settings)
    return _result(scene, state, settings)


@dataclass(frozen=True)
class AlignedSeries(Reconstruction):
    """The images of a tilt series that are used, in their places: ``data`` float32 (…, tilt, y, x).

    Attributes
    ----------
    angles_deg : (tilt,)
        Theirs.
    found
        The alignment of all tilts, which ``record["alignment"]`` holds too.
    """

    angles_deg: NDArray[np.float64]
    found: Alignment


def aligned_series(
    stack: Any, found: Alignment, *, maps: bool = False, watch: Stopwatch | None = None
) -> AlignedSeries:
    """`apply_alignment` without the tilts that are left out, and with a record.

    Parameters
    ----------
    stack : array (tilt, y, x) or (channel, tilt, y, x)
        As for `apply_alignment`.
    found
        Of `align`, or read from a file.
    maps
        The stack is another signal of the same tilts, such as elemental maps: ``normalise=False``.
    watch
        Started when the shifts began to be looked for, if that is to count; else now.
    """
    watch = watch or Stopwatch()
    moved = apply_alignment(stack, found, normalise=not maps)
    data = moved if found.used.all() else moved[..., found.used, :, :]
    settings = AlignmentSettings(**(found.settings or {"tilt_axis": found.tilt_axis}))
    rounds = [stage["rounds"] for stage in found.stages if "rounds" in stage]
    if not found.stages:
        stopped = "the shifts were given"
    elif found.stages[-1]["stage"] == ASKED:
        stopped = ASKED
    elif rounds and rounds[-1] >= settings.n_iter:
        stopped = "all rounds done"
    else:
        stopped = "no tilt moves by more than the tolerance, or the noise hides it" if rounds else "all stages done"
    record = make_record(
        "align",
        settings,
        [describe_source("stack", stack), {"role": "angles", "angles_deg": found.angles_deg}],
        watch,
        data,
        lam=0.0,
        lam_rule="none",
        n_iter=sum(rounds),
        stopped=stopped,
        tilts=describe_tilts(found.angles_deg, found.used, found.tilt_axis),
        alignment=found.summary(),
        maps=maps,
    )
    return AlignedSeries(data, 0.0, record, found.angles_deg[found.used], found)


@dataclass(frozen=True)
class _State:
    """Shifts (tilt, 2) across and along the axis in binned pixels, ψ, and what has been done to get there.

    ``centred``: whether ψ is that of the slices' centres of mass.
    """

    shifts: NDArray[np.float64]
    rotation_deg: float
    residual: NDArray[np.float64]
    intensity: NDArray[np.float64] | None = None
    centred: bool = False
    stages: tuple[dict[str, Any], ...] = ()


_Step = Generator[Iterate, bool | None, tuple[_State, bool]]


def _correlate(scene: AlignmentScene, state: _State, settings: AlignmentSettings) -> _Step:
    """Neighbouring tilts put onto each other, the one nearest 0° staying; twice, so that no window cuts what moved."""
    order = [int(i) for i in np.argsort(scene.angles_deg, kind="stable") if scene.usable[i]]
    nearest = min(order, key=lambda i: abs(scene.angles_deg[i]))
    turn, shifts = turned(state.rotation_deg), state.shifts
    for count in range(2):
        stage = f"cross-correlation {count + 1} of 2"
        asked = yield Iterate(count, 2, _result(scene, state, settings), stage=stage)
        if asked:
            return state, True
        there = moved(scene.images, turn, shifts)
        found = chained_shifts(there, order)
        shifts = shifts + found - found[nearest]
        state = replace(state, shifts=shifts)
    return _noted(scene, state, stage="cross-correlation", order="by angle, outwards from the tilt nearest 0°"), False


def _centre(scene: AlignmentScene, state: _State, settings: AlignmentSettings) -> _Step:
    """The common line along the axis, the centre of mass across it, and ψ from the slices' centres of mass."""
    angles, used = scene.angles_deg, scene.usable
    nothing = np.zeros_like(state.shifts)
    share = edge_share(moved(scene.images, turned(state.rotation_deg), state.shifts)[used])
    inside = share < _INSIDE
    for count in range(_CENTRE_ROUNDS):
        stage = f"centre of mass {count + 1} of {_CENTRE_ROUNDS}"
        asked = yield Iterate(count, _CENTRE_ROUNDS, _result(scene, state, settings), stage=stage)
        if asked:
            return state, True
        mass, first = moments(moved(scene.images, turned(state.rotation_deg), nothing))
        shifts = state.shifts.copy()
        shifts[:, 1] = common_line_shifts(mass, used, shifts[:, 1])
        rows = common_rows(mass.shape[1], shifts[used, 1])
        mass, first = put_along(mass, shifts[:, 1]), put_along(first, shifts[:, 1])
        total = mass @ rows
        middle = np.median(total[used])  # 0 where nothing stands out of the background
        intensity = np.divide(total, middle, out=np.ones(len(total)), where=used & (middle > 0))
        rotation = state.rotation_deg
        if inside:
            shifts[:, 0] = -np.divide(first @ rows, total, out=np.zeros(len(total)), where=total > 0)
            if settings.axis_rotation_deg is None:
                rotation += rotation_from_slices(mass[used], first[used], angles[used], rows)
        shifts[~used] = np.nan
        shifts = filled(shifts) @ turned(rotation - state.rotation_deg).T
        state = replace(state, shifts=shifts, rotation_deg=rotation, intensity=intensity, centred=inside)
    return _noted(scene, state, stage="centre of mass and common line", edge_share=share, centre_of_mass=inside), False


def _centre_object(scene: AlignmentScene, state: _State, settings: AlignmentSettings) -> _Step:
    """The centres of mass again, of the part of the images that the object takes: the noise beside it has no lever."""
    if not state.centred:
        return state, False
    angles, used = scene.angles_deg, scene.usable
    for count in range(_CENTRE_ROUNDS):
        stage = f"centre of mass of the object {count + 1} of {_CENTRE_ROUNDS}"
        asked = yield Iterate(count, _CENTRE_ROUNDS, _result(scene, state, settings), stage=stage)
        if asked:
            return state, True
        there = moved(scene.images, turned(state.rotation_deg), state.shifts)
        mass, first = moments(there * object_region(there[used]))
        rows = common_rows(mass.shape[1], state.shifts[used, 1])
        total = mass @ rows
        shifts = state.shifts.copy()
        shifts[:, 0] -= np.divide(first @ rows, total, out=np.zeros(len(total)), where=total > 0)
        turn = 0.0
        if settings.axis_rotation_deg is None:
            turn = rotation_from_slices(mass[used], first[used], angles[used], rows)
        state = replace(state, shifts=shifts @ turned(turn).T, rotation_deg=state.rotation_deg + turn)
    return _noted(scene, state, stage="centre of mass of the object"), False


_CENTRE_ROUNDS = 3
_INSIDE = 0.25  # edge_share from which the object is taken to be cut off, so that its centre of mass says nothing


def _match(
    scene: AlignmentScene, state: _State, settings: AlignmentSettings
) -> Generator[Iterate, bool | None, _State]:
    """Projection matching, shifts on images of about 64 pixels, then on finer ones; ψ where no centre of mass told it.

    A volume takes up a wrong ψ but for about a twentieth, and gives back its own errors twentyfold: the centres of
    mass, which need no volume, are nearer the truth.
    """
    images = scene.images
    if settings.normalise and state.intensity is not None:
        images = (images / state.intensity[:, None, None]).astype(np.float32)
    sizes = levels(scene)
    match, stopped = Match(state.shifts / sizes[0], state.rotation_deg, state.residual), False
    for level, size in enumerate(sizes):
        if level:
            match = match.finer(sizes[level - 1] // size)
        steps = match_projections(
            binned(images, size),
            scene.angles_deg,
            match,
            scene.usable,
            exclude_bad=settings.exclude_bad,
            fixed_rotation=level > 0 or state.centred or settings.axis_rotation_deg is not None,
            n_volume_steps=_FINER_VOLUME_STEPS if level else _VOLUME_STEPS,
            n_rounds=settings.n_iter,
            tolerance_px=settings.tolerance_px / (size * scene.size),
        )
        asked: bool | None = None
        try:
            while True:
                now = steps.send(asked)
                state = _matched(state, now.x, size)
                asked = yield replace(now, x=_result(scene, state, settings))
                stopped |= bool(asked)
        except StopIteration as end:
            match = end.value
        step = match.step_px * size * scene.size
        facts = {"bin": size * scene.size, "rounds": match.n_rounds, "last_step_px": round(step, 4)}
        state = _noted(scene, _matched(state, match, size), stage="projection matching", **facts)
        if stopped:
            return _noted(scene, state, stage=ASKED)
    return state


_VOLUME_STEPS = 30  # of a round: with fewer, what the volume has not yet fitted turns ψ by tenths of a degree
_FINER_VOLUME_STEPS = 10  # where the volume starts from the coarser one


def _matched(state: _State, match: Match, size: int) -> _State:
    return replace(state, shifts=match.shifts * size, rotation_deg=match.rotation_deg, residual=match.residual)


def _noted(scene: AlignmentScene, state: _State, **facts: Any) -> _State:
    """The state with what a stage found in its record."""
    rotation = round(scene.sign * state.rotation_deg, 4)
    return replace(state, stages=(*state.stages, facts | {"axis_rotation_deg": rotation}))


def _result(scene: AlignmentScene, state: _State, settings: AlignmentSettings) -> Alignment:
    """The state in the pixels and axes of the given stack, moved least."""
    used = fitting(state.residual, scene.usable) if settings.exclude_bad else scene.usable.copy()
    turn = turned(state.rotation_deg)
    shifts = state.shifts * scene.size - turn @ scene.offset_px
    shifts, constant = least_motion(shifts, scene.angles_deg, used, constant=not settings.centre_axis)
    intensity = state.intensity if settings.normalise and state.intensity is not None else np.ones(len(used))
    return Alignment(
        shifts_px=shifts[:, ::-1].copy() if settings.tilt_axis == "y" else shifts,
        axis_rotation_deg=scene.sign * state.rotation_deg,
        axis_shift_px=-constant,
        intensity=intensity,
        used=used,
        angles_deg=scene.angles_deg,
        tilt_axis=settings.tilt_axis,
        shape=scene.shape,
        background=scene.background,
        residual=state.residual,
        stages=state.stages,
        settings=asdict(settings),
    )
