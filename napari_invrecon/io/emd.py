"""EMD, a name for two HDF5 formats: Velox's (Thermo Fisher) and Berkeley's (openNCEM, py4DSTEM, Prismatic)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_invrecon.io import berkeley, velox
from napari_invrecon.io.hdf5 import open_file

if TYPE_CHECKING:
    from pathlib import Path

    from napari_invrecon.io.acquisition import Acquisition

EXTENSIONS = (".emd", ".h5", ".hdf5")


def read(path: Path) -> list[Acquisition]:
    """Every signal of either kind of EMD file.

    Raises
    ------
    ValueError
        When the file is not a whole HDF5 file, is of neither kind, or holds no signal.
    """
    with open_file(path) as file:
        if velox.is_velox(file):
            found = velox.acquisitions(path, file)
        elif berkeley.is_berkeley(file):
            found = berkeley.acquisitions(path, file)
        else:
            raise ValueError(
                f"{path.name} is HDF5, but neither Velox's nor Berkeley's EMD: expected a group 'Data' with 'Version', "
                "or groups with the attribute 'emd_group_type'; export it from its program as one of these, or as .mrc"
            )
    if not found:
        raise ValueError(f"{path.name} holds no image, map or spectrum image")
    return found


def is_emd(path: Path) -> bool:
    """Whether an HDF5 file is of one of the two kinds; False for a file that is not HDF5."""
    try:
        with open_file(path) as file:
            return velox.is_velox(file) or berkeley.is_berkeley(file)
    except ValueError:
        return False
