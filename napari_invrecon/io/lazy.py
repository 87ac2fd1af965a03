"""Arrays that stay in their file until a block of them is asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

# What is at most this large is read at once; anything larger stays in its file.
EAGER_BYTES = 64 * 2**20

_MOST_BLOCKS = 1_000_000

# About the size of a block.
BLOCK_BYTES = 16 * 2**20


def blockwise(
    read: Callable[[tuple[slice, ...]], NDArray[Any]],
    shape: Sequence[int],
    dtype: np.dtype[Any],
    stored: Sequence[int] | None = None,
    *,
    name: str,
) -> Any:
    """A dask array of blocks of about 16 MiB, each got by ``read`` from its place, as slices from start to stop.

    ``read`` opens its file by itself, so that no file stays open and a block can be read in another process.

    Parameters
    ----------
    read
        Called in any thread.
    shape, dtype
        Of the whole array.
    stored
        Shape of the pieces in the file; a block is made of whole ones where they are smaller.
    name
        Of the file, for the error where a block cannot be had: an `OSError`, which leaves the array as it was, so that
        it can be asked for again.

    Raises
    ------
    ValueError
        When the array has more than a million blocks, or pieces along an axis.
    """
    import dask.array as da  # late: it takes longer than most files

    most = [
        math.prod(shape) * dtype.itemsize / BLOCK_BYTES,
        *(n / m for n, m in zip(shape, stored or (), strict=False)),
    ]
    if max(most) > _MOST_BLOCKS:
        raise ValueError(f"{name} declares an array of {' × '.join(map(str, shape))}: it is damaged, copy it again")
    chunks = da.core.normalize_chunks("auto", tuple(shape), BLOCK_BYTES, dtype, stored and tuple(stored))
    return da.map_blocks(_block, read, name, chunks=chunks, dtype=dtype, meta=np.empty((0,) * len(shape), dtype))


def _block(read: Callable[[tuple[slice, ...]], NDArray[Any]], file_name: str, block_info: Any = None) -> NDArray[Any]:
    try:
        return read(tuple(slice(start, stop) for start, stop in block_info[None]["array-location"]))
    except MemoryError:
        raise
    except Exception as error:  # each library fails in its own way where a drive is gone
        raise OSError(
            f"{file_name}: a part of it cannot be read any more ({error}): connect its drive again, or open it anew"
        ) from error
