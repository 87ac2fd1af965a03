"""An array into a file piece by piece: a lazy one never is in memory as a whole, and a full disk is an error.

The file is written, not mapped into memory: on a full disk the pages of a mapped file end the process.
"""

from __future__ import annotations

import itertools
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_SLAB_BYTES = 1 << 26


def write_pieces(file: IO[bytes], offset: int, data: Any, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Write a NumPy or dask array in C order from ``offset`` on; each piece is yielded when it is in the file."""
    for place in pieces(data):
        piece = np.ascontiguousarray(np.asarray(data[place]), dtype)
        # From this axis on the piece is as wide as the array, so that it lies in the file in runs.
        run = data.ndim
        while run > 0 and piece.shape[run - 1] == data.shape[run - 1]:
            run -= 1
        run = max(run - 1, 0)
        for index in np.ndindex(piece.shape[:run]):
            first = tuple(part.start + i for part, i in zip(place, index, strict=False))
            start = np.ravel_multi_index((*first, *(part.start for part in place[run:])), data.shape)
            file.seek(offset + int(start) * dtype.itemsize)
            file.write(piece[index].data if piece.ndim else piece.tobytes())
        yield piece


def pieces(data: Any) -> Iterator[tuple[slice, ...]]:
    """Where the chunks of a lazy array are; slabs of an array in memory."""
    row_bytes = data.dtype.itemsize * int(np.prod(data.shape[1:]))
    rows = max(1, _SLAB_BYTES // max(1, row_bytes))
    slabs = (rows,) * (data.shape[0] // rows) + ((data.shape[0] % rows,) if data.shape[0] % rows else ())
    chunks = getattr(data, "chunks", None) or (slabs, *((n,) for n in data.shape[1:]))
    along = [list(itertools.pairwise(itertools.accumulate((0, *axis)))) for axis in chunks]
    for ends in itertools.product(*along):
        yield tuple(slice(start, stop) for start, stop in ends)
