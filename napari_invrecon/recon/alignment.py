"""Alignment of a tilt series: image i is rotated by the axis's angle and moved by (dy, dx)ᵢ onto a common tilt axis.

The images of a tilt series are projections of one object only after each has been put back to where the stage's drift
took it from, with the tilt axis along an array axis and through the centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.settings import check, takes_settings
from napari_invrecon.recon.solvers import Steps, finish

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array

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
            "help": "Mark tilts that are blank, or that fit the others far worse than the rest, as not used.",
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
        {"label": "Rounds at most", "min": 1, "max": 1000, "advanced": True, "help": "Of projection matching."},
    ] = 20
    tolerance_px: Annotated[
        float,
        {
            "label": "Tolerance",
            "unit": "px",
            "min": 1e-4,
            "max": 10.0,
            "advanced": True,
            "help": "Projection matching stops when no tilt moves by more than this.",
        },
    ] = 0.05

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Alignment:
    """p′ = R(−φ) p + d: where a point p of image i lies in the aligned image, both from the centre (n−1)/2, in pixels.

    Attributes
    ----------
    shifts_px : (tilt, 2)
        d as (dy, dx): what is at row r moves to row r + dy. Applied after the rotation.
    axis_rotation_deg
        φ, the angle from the array axis ``tilt_axis`` to the tilt axis, positive from +x towards +y (array axes).
    axis_shift_px
        Distance of the tilt axis from the centre of the aligned images, across it; give it to the reconstruction. 0
        where the axis was centred.
    intensity : (tilt,)
        Relative brightness by which aligned tilts are divided (about ``background``); ones if not asked for.
    used : (tilt,) bool
        False for bad tilts. They stay in the stack, so that angles and images keep their places; leave them out of a
        reconstruction with ``aligned[found.used], found.angles_deg[found.used]``.
    angles_deg : (tilt,)
        As given.
    tilt_axis
        "y" or "x".
    shape
        (y, x) of the images that were aligned, in which the pixels of ``shifts_px`` count.
    background
        The value of vacuum in them.
    residual : (tilt,)
        ‖image − reprojection‖ / ‖image‖, NaN where it was not computed.
    stages
        What was done, stage by stage, JSON-plain.
    """

    shifts_px: NDArray[np.float64]
    axis_rotation_deg: float
    axis_shift_px: float
    intensity: NDArray[np.float64]
    used: NDArray[np.bool_]
    angles_deg: NDArray[np.float64]
    tilt_axis: str
    shape: tuple[int, int]
    background: float
    residual: NDArray[np.float64]
    stages: tuple[dict[str, Any], ...] = ()

    def summary(self) -> dict[str, Any]:
        """JSON-plain, for the record and for a file; `from_summary` is its inverse."""
        raise NotImplementedError

    @classmethod
    def from_summary(cls, summary: dict[str, Any]) -> Alignment:
        """The alignment that a `summary` describes."""
        raise NotImplementedError

    def transforms(self) -> NDArray[np.float64]:
        """(tilt, 6): a11 a12 a21 a22 dx dy of each image, as in IMOD's .xf."""
        raise NotImplementedError


@takes_settings(AlignmentSettings)
def align(stack: Any, angles_deg: Any, *, settings: AlignmentSettings) -> Alignment:
    """Shifts of every tilt, and the tilt axis's rotation and place, from the images alone (tilt, y, x)."""
    return finish(alignment(stack, angles_deg, settings))


def alignment(stack: Any, angles_deg: Any, settings: AlignmentSettings) -> Steps[Alignment]:
    """`align` as a generator of `Iterate` with stages in words, for callers who show progress and may stop it.

    The iterates' ``x`` is the `Alignment` so far, or None.
    """
    raise NotImplementedError
    yield


def apply_alignment(stack: Any, found: Alignment, *, normalise: bool = True) -> Array:
    """Each image rotated and moved in one interpolation (cubic spline): (tilt, y, x) or (channel, tilt, y, x), float32.

    A stack of another pixel size (elemental maps of the same field of view) is moved by as much in its own pixels. A
    dask stack stays lazy. ``normalise=False`` leaves intensities alone (maps of another detector).
    """
    raise NotImplementedError
