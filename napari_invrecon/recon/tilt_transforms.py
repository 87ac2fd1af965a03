"""p′ = R(−φ) p + dᵢ: an alignment of a tilt series, and the images put where it says."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.tilt_images import in_view, moved, turned, vacuum_level

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array


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
        The value of vacuum in them; None if not known (from an .xf file), so that it is estimated when applied.
    residual : (tilt,)
        ‖image − reprojection‖ / ‖image‖, NaN where it was not computed.
    stages
        What was done, stage by stage, JSON-plain.
    settings
        The `AlignmentSettings`, JSON-plain.
    """

    shifts_px: NDArray[np.float64]
    axis_rotation_deg: float
    axis_shift_px: float
    intensity: NDArray[np.float64]
    used: NDArray[np.bool_]
    angles_deg: NDArray[np.float64]
    tilt_axis: str
    shape: tuple[int, int]
    background: float | None
    residual: NDArray[np.float64]
    stages: tuple[dict[str, Any], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def transforms(self) -> NDArray[np.float64]:
        """(tilt, 6): a11 a12 a21 a22 dx dy of x′ = a11 x + a12 y + dx, y′ = a21 x + a22 y + dy, as in IMOD's .xf."""
        cos, sin = math.cos(math.radians(self.axis_rotation_deg)), math.sin(math.radians(self.axis_rotation_deg))
        rows = np.empty((len(self.shifts_px), 6))
        rows[:] = [cos, sin, -sin, cos, 0, 0]
        rows[:, 4:] = self.shifts_px[:, ::-1]
        return rows

    def summary(self) -> dict[str, Any]:
        """JSON-plain, for a record and for a file; `from_summary` takes it back."""
        plain = asdict(self)
        plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in plain.items()}
        plain["residual"] = [value if math.isfinite(value) else None for value in plain["residual"]]
        return plain | {"shape": list(self.shape), "stages": list(self.stages)}

    @classmethod
    def from_summary(cls, summary: dict[str, Any]) -> Alignment:
        """The alignment that `summary` describes.

        Raises
        ------
        ValueError
            When an entry is missing, or the lists are not of one length.
        """
        try:
            found = cls(
                shifts_px=np.array(summary["shifts_px"], np.float64).reshape(-1, 2),
                axis_rotation_deg=float(summary["axis_rotation_deg"]),
                axis_shift_px=float(summary["axis_shift_px"]),
                intensity=np.array(summary["intensity"], np.float64),
                used=np.array(summary["used"], bool),
                angles_deg=np.array(summary["angles_deg"], np.float64),
                tilt_axis=str(summary["tilt_axis"]),
                shape=(int(summary["shape"][0]), int(summary["shape"][1])),
                background=None if summary["background"] is None else float(summary["background"]),
                residual=np.array(summary["residual"], np.float64),
                stages=tuple(summary.get("stages", ())),
                settings=dict(summary.get("settings", {})),
            )
        except KeyError as missing:
            raise ValueError(f"the alignment has no entry {missing}: save it again with write_alignment") from None
        counts = {len(found.shifts_px), *(len(a) for a in (found.intensity, found.used, found.angles_deg))}
        if len(counts) != 1:
            raise ValueError(f"the alignment's lists have {sorted(counts)} entries, expected one for each tilt")
        return found

    @classmethod
    def from_transforms(cls, rows: Any, angles_deg: Any, shape: tuple[int, int], tilt_axis: str = "y") -> Alignment:
        """The alignment that the lines of an .xf file and the angles of a .tlt file describe.

        Raises
        ------
        ValueError
            When the counts differ, or the lines are more than one rotation common to all tilts, and shifts.
        """
        rows, angles = np.array(rows, np.float64).reshape(-1, 6), np.array(angles_deg, np.float64)
        if len(rows) != len(angles):
            raise ValueError(f"{len(rows)} transforms, but {len(angles)} tilt angles: use the files of one series")
        rotation = math.degrees(math.atan2(rows[:, 1].mean(), rows[:, 0].mean()))
        ones, count = np.ones(len(rows)), len(rows)
        found = cls(
            shifts_px=rows[:, :3:-1],
            axis_rotation_deg=rotation,
            axis_shift_px=0.0,
            intensity=ones,
            used=ones.astype(bool),
            angles_deg=angles,
            tilt_axis=tilt_axis,
            shape=shape,
            background=None,
            residual=np.full(count, np.nan),
        )
        misfit = np.abs(found.transforms()[:, :4] - rows[:, :4]).max()
        if misfit > 2e-3:
            raise ValueError(
                f"the transforms differ by up to {misfit:.3g} from one rotation of {rotation:.2f}° for all tilts: "
                "magnification, stretch and single rotations are not taken over; export an alignment without them"
            )
        return found


_TOUCHED = 0.01  # share of an unknown pixel in an interpolated one


def apply_alignment(stack: Any, found: Alignment, *, normalise: bool = True) -> Any:
    """aligned(R(−φ) p + dᵢ) = stackᵢ(p): every image rotated and moved, in one cubic-spline interpolation.

    Parameters
    ----------
    stack : array (tilt, y, x) or (channel, tilt, y, x)
        The stack that was aligned, or others of the same tilts and the same field of view, in any pixel size: they are
        moved by as much of the field. NumPy or dask, not changed.
    found
        Of `align`, or read from a file.
    normalise
        False for another signal of the same tilts (elemental maps): ``found``'s background and relative intensities are
        not the maps'.

    Returns
    -------
    array of the shape of ``stack``, float32
        NaN, which a reconstruction passes over, where the field of view ended and where the images themselves are not
        finite: nothing was measured there, and vacuum would be taken for data. A dask stack stays lazy, one tilt at a
        time. All tilts are there, the bad ones too, so that the angles keep their places.

    Raises
    ------
    ValueError
        When the stack has not as many tilts as the alignment.
    """
    if stack.ndim not in (3, 4) or stack.shape[-3] != len(found.shifts_px):
        raise ValueError(
            f"expected (tilt, y, x) or (channel, tilt, y, x) with the alignment's {len(found.shifts_px)} tilts, got "
            f"{tuple(stack.shape)}: apply it to the series that was aligned, or to maps of the same tilts"
        )
    scale = np.array(stack.shape[-2:]) / np.array(found.shape)
    turn = scale[:, None] * turned(found.axis_rotation_deg) / scale
    shifts = found.shifts_px * scale
    vacuum = found.background if normalise else 0.0
    if vacuum is None:
        vacuum = vacuum_level(np.asarray(stack[..., i, :, :]) for i in range(0, len(shifts), max(1, len(shifts) // 8)))
    intensity = found.intensity if normalise else np.ones(len(shifts))

    def put(images: NDArray[Any], tilts: slice) -> Array:
        above = np.asarray(images, np.float32) - np.float32(vacuum)
        unknown = ~np.isfinite(above)
        above[unknown] = 0
        above /= intensity[tilts, None, None].astype(np.float32)
        there = moved(above, turn, shifts[tilts]) + np.float32(vacuum)
        there[in_view(above.shape, turn, shifts[tilts], margin=0) == 0] = np.nan
        if unknown.any():
            there[np.abs(moved(unknown.astype(np.float32), turn, shifts[tilts])) > _TOUCHED] = np.nan
        return there

    def put_block(block: NDArray[Any], block_info: Any = None) -> NDArray[Any]:
        start, stop = block_info[0]["array-location"][-3]
        return np.stack([put(part, slice(start, stop)) for part in block.reshape(-1, *block.shape[-3:])]).reshape(
            block.shape
        )

    import dask.array as da  # late: it takes longer than a dock

    if isinstance(stack, da.Array):
        whole = stack.rechunk({stack.ndim - 2: -1, stack.ndim - 1: -1, stack.ndim - 3: 1})
        return whole.map_blocks(put_block, dtype=np.float32, meta=np.empty((0,) * stack.ndim, np.float32))
    channels = np.asarray(stack).reshape(-1, *stack.shape[-3:])
    return np.stack([put(channel, slice(None)) for channel in channels]).reshape(stack.shape)
