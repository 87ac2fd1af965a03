"""Numbers that lie in one piece in a file. They are read, never mapped into memory.

Where a mapped file is cut short, or its drive goes away, the system ends the process; a read that fails is an error.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.lazy import EAGER_BYTES, blockwise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def raw_array(path: Path, offset: int, shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
    """NumPy array up to 64 MiB, else a dask array of whole planes; C order, from byte ``offset`` of the file on.

    Raises
    ------
    ValueError
        When the file is shorter than that.
    """
    shape = tuple(int(n) for n in shape)
    n_bytes = math.prod(shape) * dtype.itemsize
    expected, found = offset + n_bytes, path.stat().st_size
    if found < expected:
        raise ValueError(f"{path.name} is incomplete: expected {expected} bytes, found {found}: copy it again")
    whole = tuple(slice(0, n) for n in shape)
    if n_bytes <= EAGER_BYTES:
        return _read(path, offset, shape, dtype, whole)
    read = partial(_read, path, offset, shape, dtype)
    return blockwise(read, shape, dtype, (*(1 for _ in shape[:-2]), *shape[-2:]), name=path.name)


def _read(
    path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], place: tuple[slice, ...]
) -> NDArray[Any]:
    """The rows from the first to the last that are asked for, and of these the columns."""
    first, last = place[0].start, place[0].stop
    row = math.prod(shape[1:])
    with path.open("rb") as file:
        file.seek(offset + first * row * dtype.itemsize)
        values = np.fromfile(file, dtype, (last - first) * row)
    if values.size < (last - first) * row:
        raise OSError(f"{path.name} is shorter than it was when it was opened")
    return values.reshape(last - first, *shape[1:])[(slice(None), *place[1:])]
