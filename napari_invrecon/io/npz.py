"""NumPy archives: each array is an image, a map, or a stack, under its name in the archive; nothing is unpickled."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np

from napari_invrecon.io.acquisition import Acquisition, Axis
from napari_invrecon.io.arrange import acquisitions
from napari_invrecon.io.declared import check_npy
from napari_invrecon.io.elements import element_and_line
from napari_invrecon.io.origin import origin

if TYPE_CHECKING:
    from pathlib import Path

EXTENSIONS = (".npz",)


def read(path: Path) -> list[Acquisition]:
    """Arrays of one dimension or more; a plane named after an element is its map.

    Raises
    ------
    ValueError
        When the file is no archive of arrays, or holds Python objects, which could run anything when unpickled.
    """
    found: list[Acquisition] = []
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            check_npy(path, archive.zip)
            shared = origin(path, "NumPy")
            for name in archive.files:
                data = archive[name]
                if data.ndim == 0:
                    continue
                axes = [Axis(f"axis {i}") for i in range(data.ndim)]
                metadata = shared | {"notes": []} | (element_and_line(name) if data.ndim == 2 else {})
                found += acquisitions(data, axes, name=name, metadata=metadata)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{path.name} is not a whole .npz archive ({error}): copy it again") from error
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ValueError(f"{path.name} holds Python objects, which are never unpickled: save plain arrays") from error
    if not found:
        raise ValueError(f"{path.name} holds no array")
    return found
