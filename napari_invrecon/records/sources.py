"""A record's sources, from the files that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io import read
from napari_invrecon.recon.record import array_hash

if TYPE_CHECKING:
    from collections.abc import Sequence


def open_source(
    path: str | Path,
    *,
    signal: str | None = None,
    shape: Sequence[int] | None = None,
    sha256: str | None = None,
    start: tuple[int, int] = (0, 0),
) -> Any:
    """The array of a source.

    Parameters
    ----------
    path
        An acquisition file, or .npy.
    signal
        Its name, where the file holds several.
    shape
        As it was used: axes of length 1 are put in or taken out.
    sha256
        Of the array in this shape; not checked if not given.
    start
        The first row and column that were used; as many as ``shape`` says.

    Raises
    ------
    ValueError, OSError
        The file is not there or cannot be read, or holds no such array; the message says what it holds.
    """
    path = Path(path)
    if path.suffix == ".npy":
        found = [(path.stem, np.load(path, allow_pickle=False))]
    else:
        found = [(each.name, each.data) for each in read(path)]
    named = [array for name, array in found if signal in (None, name)]
    if not named:
        raise ValueError(f"{path.name} holds {', '.join(repr(name) for name, _ in found)}, but no signal {signal!r}")
    cut = [array if shape is None else _cut(array, start, shape) for array in named]
    fitting = [array for array in cut if shape is None or _bare(array.shape) == _bare(shape)]
    if not fitting:
        shapes = " and ".join(str(tuple(array.shape)) for array in named)
        raise ValueError(f"{path.name} holds an array {shapes}: expected {tuple(shape or ())}; give the original file")
    arrays = [array if shape is None else array.reshape(tuple(shape)) for array in fitting]
    if sha256 is None:
        return arrays[0]
    for array in arrays:
        if array_hash(array) == sha256:
            return array
    raise ValueError(f"{path.name} does not hold the data that were used (other hash): give the original file")


def matches(array: Any, sha256: str) -> bool:
    """Whether an array has this hash; says so on the standard output."""
    same = array_hash(array) == sha256
    differs = "NOT the recorded one; other versions or machines may round differently"
    print(f"SHA-256 {array_hash(array)}: {'the same array, bit for bit' if same else differs}")  # noqa: T201
    return same


def _cut(array: Any, start: tuple[int, int], shape: Sequence[int]) -> Any:
    """The rows and columns that were used of an image or a stack."""
    if array.ndim < 2 or array.ndim != len(shape):
        return array
    (y, x), (ny, nx) = start, shape[-2:]
    return array[..., y : y + ny, x : x + nx]


def _bare(shape: Sequence[int]) -> list[int]:
    return [n for n in shape if n > 1]
