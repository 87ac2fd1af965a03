"""Datasets of an HDF5 file as arrays: small ones at once, large ones by blocks that open the file when needed."""

from __future__ import annotations

import os
import struct
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from napari_invrecon.io.declared import check_size
from napari_invrecon.io.lazy import EAGER_BYTES, blockwise

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAP = b"GCOL\1\0\0\0"
_LOOKED_AT_BYTES = EAGER_BYTES  # of a larger file, at either end: texts are written before the data or after them


def open_file(path: Path) -> Any:
    """The open file, for a ``with`` block.

    Raises
    ------
    ValueError
        When it is no HDF5 file, not all of one, or declares a dataset that is larger than anything stored in it.
    """
    try:
        if any(has_endless_heap(part) for part in _ends(path)):
            raise ValueError(f"{path.name} has a damaged heap of texts: copy it again")
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path.name} is not a whole HDF5 file ({error}): copy it again") from error
    try:
        largest_dataset(path, file)
    except BaseException:
        file.close()
        raise
    return file


def _ends(path: Path) -> Iterator[bytes]:
    """The beginning of a file, and what of its end is not in it."""
    with path.open("rb") as stored:
        yield stored.read(_LOOKED_AT_BYTES)
        rest = stored.seek(0, os.SEEK_END) - _LOOKED_AT_BYTES
        stored.seek(max(_LOOKED_AT_BYTES, rest))
        yield stored.read()


def has_endless_heap(content: bytes) -> bool:
    """Whether a global heap, which holds texts, has free space of length 0: HDF5 2.0 never gets past it.

    A heap is "GCOL", its version 1, three zeros and its size, then objects: index (2 bytes), references (2), zeros (4),
    size (8) and the bytes, filled up to 8; index 0 is the free space, whose size counts from its index.
    """
    at = content.find(_HEAP)
    while 0 <= at <= len(content) - 16:
        (size,) = struct.unpack_from("<Q", content, at + 8)
        place, end = at + 16, min(at + size, len(content))
        while place + 16 <= end:
            index, length = struct.unpack_from("<H6xQ", content, place)
            if index == length == 0:
                return True
            place += length if index == 0 else 16 + -(-length // 8) * 8
        at = content.find(_HEAP, at + 1)
    return False


def largest_dataset(path: Path, file: Any) -> int:
    """Bytes of the largest dataset when it is unpacked; each is looked at once, however the links go.

    Raises
    ------
    ValueError
        When one is larger than what is stored of it can be.
    """
    sizes = [0]

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape:
            check_size(path, name, item.nbytes, item.id.get_storage_size())
            sizes.append(item.nbytes)

    file.visititems(look)
    return max(sizes)


def array(path: Path, dataset: Any) -> Any:
    """NumPy array up to 64 MiB, else a dask array."""
    if dataset.nbytes <= EAGER_BYTES:
        return dataset[()]
    return blockwise(partial(_read, path, dataset.name), dataset.shape, dataset.dtype, dataset.chunks, name=path.name)


def _read(path: Path, name: str, place: tuple[slice, ...]) -> Any:
    with h5py.File(path, "r") as file:
        return file[name][place]


def text(dataset: Any) -> str:
    """A dataset or attribute that holds one text.

    Raises
    ------
    ValueError
        When it holds sequences: a text whose type has been damaged is one, and to read it can end the process.
    """
    if isinstance(dataset, h5py.Dataset) and isinstance(dataset.id.get_type(), h5py.h5t.TypeVlenID):
        raise ValueError(f"{Path(dataset.file.filename).name} has no text in {dataset.name}: copy it again")
    value = dataset[()] if isinstance(dataset, h5py.Dataset) else dataset
    while isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
