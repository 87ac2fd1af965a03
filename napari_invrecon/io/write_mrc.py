"""A volume as an MRC file, float32, with its voxel size, which every tomography program reads."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import mrcfile
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LABELS = 10
_LABEL_BYTES = 80
_SLAB_BYTES = 1 << 28


def write_mrc(path: Path, volume: Any, voxel_nm: float | None = None, labels: Sequence[str] = ()) -> None:
    """Write (z, y, x) as MRC mode 2; a lazy volume goes through memory chunk by chunk.

    The file takes its name when it is whole: one of that name is replaced then, and stays where writing fails.

    Parameters
    ----------
    path
        Of the file.
    volume
        NumPy or dask array, real.
    voxel_nm
        Edge of a voxel, None if unknown.
    labels
        At most ten lines of text, of which 80 ASCII characters are kept.

    Raises
    ------
    ValueError
        When the array has not three axes, or is complex.
    """
    if volume.ndim != 3 or np.dtype(volume.dtype).kind not in "iufb":
        raise ValueError(
            f"{path.name}: expected a real volume (z, y, x), got {volume.dtype} of shape {tuple(volume.shape)}: save "
            "one volume at a time"
        )
    part = path.with_name(f".{path.name}.part")
    try:
        with mrcfile.new_mmap(part, tuple(volume.shape), mrc_mode=2, overwrite=True) as mrc:
            _fill(mrc, volume)
            mrc.set_volume()
            mrc.voxel_size = 10 * (voxel_nm or 0.0)
            for label in labels[:_LABELS]:
                mrc.add_label(label.encode("ascii", "replace").decode()[:_LABEL_BYTES])
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _fill(mrc: Any, volume: Any) -> None:
    """Copy the data and note their least, greatest and mean value and their spread."""
    low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
    for where in _pieces(volume):
        piece = np.asarray(volume[where], np.float32)
        mrc.data[where] = piece
        low, high = min(low, float(piece.min())), max(high, float(piece.max()))
        total += float(piece.sum(dtype=np.float64))
        squares += float(np.sum(np.square(piece, dtype=np.float64)))
    mean = total / volume.size
    mrc.header.dmin, mrc.header.dmax, mrc.header.dmean = low, high, mean
    mrc.header.rms = math.sqrt(max(squares / volume.size - mean**2, 0.0))


def _pieces(volume: Any) -> Iterator[tuple[slice, ...]]:
    """Where the chunks of a lazy array are; planes of an array in memory."""
    rows = max(1, _SLAB_BYTES // max(1, 4 * int(np.prod(volume.shape[1:]))))
    chunks = getattr(volume, "chunks", None) or ((rows,) * (volume.shape[0] // rows) + (volume.shape[0] % rows,),)
    along = [list(itertools.accumulate((0, *axis))) for axis in chunks]
    along += [[0, n] for n in volume.shape[len(along) :]]
    for starts in itertools.product(*(itertools.pairwise(axis) for axis in along)):
        if all(stop > start for start, stop in starts):
            yield tuple(slice(start, stop) for start, stop in starts)
