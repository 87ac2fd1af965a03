"""Datasets of an HDF5 file as arrays: small ones at once, large ones by blocks that open the file when needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np

from napari_invrecon.io.origin import EAGER_BYTES


@dataclass(frozen=True)
class _Dataset:
    """A dataset by name, so that a block can be read in any thread or process, and no file stays open."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> Any:
        with h5py.File(self.path, "r") as file:
            return file[self.name][key]


def open_file(path: Path) -> Any:
    """The open file, for a ``with`` block.

    Raises
    ------
    ValueError
        When it is no HDF5 file, or not all of one.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path.name} is not a whole HDF5 file ({error}): copy it again") from error


def array(path: Path, dataset: Any) -> Any:
    """NumPy array up to 64 MiB, else a dask array in the file's own chunks, made larger where they are tiny."""
    if dataset.nbytes <= EAGER_BYTES:
        return dataset[()]
    source = _Dataset(path, dataset.name, tuple(dataset.shape), dataset.dtype)
    chunks = da.core.normalize_chunks("auto", dataset.shape, EAGER_BYTES // 4, dataset.dtype, dataset.chunks)
    return da.from_array(
        source, chunks=chunks, name=False, asarray=False, meta=np.empty((0,) * source.ndim, source.dtype)
    )


def text(dataset: Any) -> str:
    """A dataset or attribute that holds one text."""
    value = dataset[()] if isinstance(dataset, h5py.Dataset) else dataset
    while isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
