"""An alignment with its record: from the images, or from shifts that are known already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.io.alignment_files import read_alignment, read_xf, write_alignment, write_tlt, write_xf
from napari_invrecon.plugin.tilt_series import describe_angles
from napari_invrecon.recon.alignment import Alignment, AlignmentSettings, alignment, apply_alignment
from napari_invrecon.recon.record import Stopwatch, describe_source, make_record
from napari_invrecon.recon.solvers import Iterate, Steps

if TYPE_CHECKING:
    from pathlib import Path

    from napari_invrecon.plugin.tilt_series import TiltInput


@dataclass(frozen=True)
class Aligned:
    """The images that are used, in their places.

    Attributes
    ----------
    data : (tilt, y, x) or (channel, tilt, y, x)
        Aligned, float32, without the tilts that are left out.
    angles_deg : (tilt,)
        Theirs.
    found
        The alignment of all tilts.
    record
        JSON-plain; ``record["alignment"]`` is `Alignment.summary`.
    sinograms : (2, tilt, across)
        Of the row along the axis with the most contrast, before and after; tilts left out are blank after.
    """

    data: Any
    angles_deg: NDArray[np.float64]
    found: Alignment
    record: dict[str, Any]
    sinograms: NDArray[np.float32]


def save_alignment(path: Path, found: Alignment) -> None:
    """Write all of an alignment as .json, or its transforms as IMOD's .xf with the angles beside them as .tlt."""
    if path.suffix.lower() == ".xf":
        write_xf(path, found.transforms())
        write_tlt(path.with_suffix(".tlt"), found.angles_deg)
    else:
        write_alignment(path, found.summary())


def load_alignment(path: Path, given: TiltInput) -> Alignment:
    """The alignment in a .json or .xf, for a series.

    Raises
    ------
    ValueError, OSError
        When the file holds no alignment, or one of other tilts.
    """
    if path.suffix.lower() == ".xf":
        return Alignment.from_transforms(read_xf(path), given.angles_deg, given.stack.shape[-2:], given.axis)
    found = Alignment.from_summary(read_alignment(path))
    if found.angles_deg.shape != given.angles_deg.shape or not np.allclose(found.angles_deg, given.angles_deg):
        raise ValueError(
            f"{path.name} aligns {describe_angles(found.angles_deg)}, but '{given.layer.name}' has "
            f"{describe_angles(given.angles_deg)}: choose the alignment of this series"
        )
    return found


def align_steps(stack: Any, angles_deg: NDArray[np.float64], settings: AlignmentSettings) -> Steps[Aligned]:
    """Align a stack (tilt, y, x)."""
    watch = Stopwatch()
    found = yield from alignment(stack, angles_deg, settings)
    return (yield from _apply(stack, found, settings, watch, maps=False))


def apply_steps(stack: Any, found: Alignment, *, maps: bool) -> Steps[Aligned]:
    """Move a stack by shifts that are known: of the series itself, or ``maps`` of another signal of the same tilts."""
    settings = AlignmentSettings(tilt_axis="x" if found.tilt_axis == "x" else "y")
    return (yield from _apply(stack, found, settings, Stopwatch(), maps=maps))


def _apply(
    stack: Any, found: Alignment, settings: AlignmentSettings, watch: Stopwatch, *, maps: bool
) -> Steps[Aligned]:
    yield Iterate(0, 1, stage="moving the images")
    moved = np.asarray(apply_alignment(stack, found, normalise=not maps))
    sinograms = _sinograms(stack, moved, found)
    data = moved if found.used.all() else moved[..., found.used, :, :]
    record = make_record("alignment", settings, [describe_source("stack", stack)], watch, alignment=found.summary())
    return Aligned(data, found.angles_deg[found.used], found, record, sinograms)


def _sinograms(stack: Any, moved: NDArray[np.float32], found: Alignment) -> NDArray[np.float32]:
    while moved.ndim > 3:
        stack, moved = stack[0], moved[0]
    if found.tilt_axis == "x":
        moved = moved.swapaxes(-1, -2)
    middle = int(np.argmin(np.abs(found.angles_deg)))
    row = int(np.argmax(moved[middle].std(axis=-1)))
    before = np.asarray(stack[..., row] if found.tilt_axis == "x" else stack[:, row], np.float32)
    after = moved[:, row].copy()
    after[~found.used] = np.nan
    return np.stack([before, after])
