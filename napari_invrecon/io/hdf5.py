"""Datasets of an HDF5 file as arrays: small ones at once, large ones by blocks that open the file when needed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from napari_invrecon.io.declared import check_size
from napari_invrecon.io.lazy import EAGER_BYTES, blockwise

if TYPE_CHECKING:
    from pathlib import Path


def open_file(path: Path) -> Any:
    """The open file, for a ``with`` block.

    Raises
    ------
    ValueError
        When it is no HDF5 file, not all of one, or declares a dataset that is larger than anything stored in it.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path.name} is not a whole HDF5 file ({error}): copy it again") from error
    try:
        largest_dataset(path, file)
    except BaseException:
        file.close()
        raise
    return file


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
    """A dataset or attribute that holds one text."""
    value = dataset[()] if isinstance(dataset, h5py.Dataset) else dataset
    while isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
