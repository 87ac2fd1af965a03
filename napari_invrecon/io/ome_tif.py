"""A result as an OME-TIFF, with its pixel sizes, which Fiji, HyperSpy, napari and this package read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_invrecon.io.acquisition import Axis


def write_ome_tif(path: Path, data: Any, axes: Sequence[Axis]) -> None:
    """Write an image (y, x) or a volume (z, y, x), of any numeric dtype, as it is.

    Pixel sizes and the position of pixel 0 are stored in nm where the axis has them.

    Raises
    ------
    ValueError
        When the axes are not (y, x) or (z, y, x), or one has a unit other than nm and pixel.
    """
    names = tuple(axis.name for axis in axes)
    if names not in (("y", "x"), ("z", "y", "x")):
        raise ValueError(f"{path.name}: expected axes (y, x) or (z, y, x), got {names}: save one image at a time")
    foreign = [axis for axis in axes if axis.unit not in ("nm", "pixel")]
    if foreign:
        raise ValueError(f"{path.name}: axis '{foreign[0].name}' is in {foreign[0].unit}; convert it to nm")
    calibrated = {axis.name.upper(): axis for axis in axes if axis.unit == "nm"}
    metadata: dict[str, Any] = {"axes": "".join(names).upper()}
    for letter, axis in calibrated.items():
        metadata |= {f"PhysicalSize{letter}": axis.scale, f"PhysicalSize{letter}Unit": "nm"}
    planes = data.shape[0] if data.ndim == 3 else 1
    positions = {
        letter: [axis.offset + (axis.scale * z if letter == "Z" else 0.0) for z in range(planes)]
        for letter, axis in calibrated.items()
    }
    metadata["Plane"] = {f"Position{letter}": values for letter, values in positions.items()} | {
        f"Position{letter}Unit": ["nm"] * planes for letter in positions
    }
    tifffile.imwrite(path, np.asarray(data), ome=True, photometric="minisblack", metadata=metadata)
