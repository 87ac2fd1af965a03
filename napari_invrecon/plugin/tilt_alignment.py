"""An alignment with its record: from the images, or from shifts that are known already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.io.alignment_files import read_alignment, read_xf, write_alignment, write_tlt, write_xf
from napari_invrecon.plugin.tilt_series import describe_angles
from napari_invrecon.recon.alignment import AlignedSeries, Alignment, AlignmentSettings, aligned_series, alignment
from napari_invrecon.recon.record import Stopwatch
from napari_invrecon.recon.solvers import Iterate, Steps

if TYPE_CHECKING:
    from pathlib import Path

    from napari_invrecon.plugin.tilt_series import TiltInput


@dataclass(frozen=True)
class Aligned:
    """An aligned series and what to look at.

    Attributes
    ----------
    series
        The images that are used, in their places, with the record.
    sinograms : (2, tilt, across)
        Of the row along the axis with the most contrast, before and after; tilts left out are blank after.
    """

    series: AlignedSeries
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
    return (yield from apply_steps(stack, found, maps=False, watch=watch))


def apply_steps(stack: Any, found: Alignment, *, maps: bool, watch: Stopwatch | None = None) -> Steps[Aligned]:
    """Move a stack by shifts that are known: of the series itself, or ``maps`` of another signal of the same tilts."""
    yield Iterate(0, 1, stage="moving the images")
    series = aligned_series(stack, found, maps=maps, watch=watch)
    return Aligned(series, _sinograms(stack, np.asarray(series.data), found))


def _sinograms(stack: Any, data: NDArray[np.float32], found: Alignment) -> NDArray[np.float32]:
    while data.ndim > 3:
        stack, data = stack[0], data[0]
    if found.tilt_axis == "x":
        data = data.swapaxes(-1, -2)
    middle = int(np.argmin(np.abs(found.angles_deg[found.used])))
    image = data[middle]
    row = int(np.argmax(np.where(np.isfinite(image), image, np.nanmedian(image)).std(axis=-1)))
    before = np.asarray(stack[..., row] if found.tilt_axis == "x" else stack[:, row], np.float32)
    after = np.full_like(before, np.nan)
    after[found.used] = data[:, row]
    return np.stack([before, after])
