"""What a file says that it holds, against what it has room for: before a library believes it and takes the memory."""

from __future__ import annotations

import json
import math
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.lazy import EAGER_BYTES

if TYPE_CHECKING:
    from pathlib import Path

# No acquisition is packed tighter than this; deflate, the most usual, reaches 1032 for zeros.
_MOST_PACKED = 10_000


def check_size(path: Path, what: str, n_bytes: int, stored_bytes: int) -> None:
    """Refuse an array that would be larger than what its bytes in the file can unpack to.

    Raises
    ------
    ValueError
        When it is over 64 MiB, and over ten thousand times its bytes.
    """
    if n_bytes > max(EAGER_BYTES, _MOST_PACKED * stored_bytes):
        raise ValueError(
            f"{path.name} declares {n_bytes / 2**30:.3g} GiB for '{what}', but holds {stored_bytes} bytes of it: "
            "the file is damaged, copy it again"
        )


def check_npy(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse a .npz or .prz archive whose arrays are longer or shorter than their headers say.

    Raises
    ------
    ValueError
        When one is; or a `zipfile` error.
    """
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            continue
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            if dtype.hasobject:
                continue  # the library that reads it refuses it, with its own words
            n_bytes, stored = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        if n_bytes != stored:
            raise ValueError(
                f"{path.name} declares {n_bytes} bytes for '{member.filename}', but holds {stored}: copy it again"
            )
        check_size(path, member.filename, n_bytes, member.compress_size)


def check_zspy(path: Path) -> None:
    """Refuse a zipped Zarr archive whose arrays are too large, or come as pickles, which could run anything.

    Raises
    ------
    ValueError
        When there is one; or a `zipfile` error.
    """
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member.compress_size for member in archive.infolist()}
        for name in members:
            if name.rpartition("/")[2] in (".zarray", "zarr.json"):
                described = json.loads(archive.read(name))
                folder = name.rpartition("/")[0]
                stored = sum(size for each, size in members.items() if each.startswith(f"{folder}/") and each != name)
                check_zarray(path, folder, described, stored)


def check_zarray(path: Path, what: str, described: dict[str, Any], stored_bytes: int) -> None:
    """Refuse one array of a Zarr store, of which ``described`` is the metadata in format 2 or 3.

    Raises
    ------
    ValueError
        When it or one of its chunks is too large, or it comes as a pickle.
    """
    if "pickle" in json.dumps(described, default=str):
        raise ValueError(f"{path.name} holds Python objects, which are never unpickled: save plain arrays")
    grid = (described.get("chunk_grid") or {}).get("configuration", {})
    for shape in (described.get("shape", ()), described.get("chunks") or grid.get("chunk_shape") or ()):
        check_size(path, what, math.prod(int(n) for n in shape), stored_bytes)
