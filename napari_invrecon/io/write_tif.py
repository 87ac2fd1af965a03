"""OME-TIFF, with pixel sizes, which Fiji, HyperSpy and napari read; what OME has no place for as a note."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.atomic import whole
from napari_invrecon.io.pieces import write_pieces
from napari_invrecon.io.saved import note_text

if TYPE_CHECKING:
    from pathlib import Path

    from napari_invrecon.io.acquisition import Acquisition, Axis

# OME counts tilts and frames as times, and energies and elements as channels.
_LETTERS = {"x": "X", "y": "Y", "z": "Z", "tilt": "T", "frame": "T", "energy": "C", "channel": "C"}
_OME_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")


def write_tif(path: Path, acquisition: Acquisition) -> None:
    """Write any acquisition, its values as they are; a lazy one goes through memory chunk by chunk.

    Pixel sizes and the position of pixel 0 stand in OME's own elements where they are in nm; everything, the record
    too, in the image's description (`saved`). The file takes its name when it is whole.

    Raises
    ------
    ValueError
        When OME-TIFF has not the type of the numbers, or not the axes.
    OSError
        When it cannot be written.
    """
    import tifffile  # late: it takes longer than most files

    data, axes = acquisition.data, acquisition.axes
    if data.dtype.name not in _OME_TYPES:
        raise ValueError(f"{path.name}: OME-TIFF has no {data.dtype}: convert the layer's data, or save it as .zarr")
    shape, letters = tuple(data.shape), _letters(path, axes)
    if data.ndim == 1:
        shape, letters = (*shape, 1, 1), [*letters, "Y", "X"]
    metadata = {"axes": "".join(letters), "Name": acquisition.name, "Description": note_text(acquisition)}
    metadata |= _calibration(axes, letters, shape)
    with whole(path, data.nbytes) as part:
        offset, _ = tifffile.imwrite(
            part,
            shape=shape,
            dtype=data.dtype,
            ome=True,
            photometric="minisblack",
            metadata=metadata,
            returnoffset=True,
        )
        with part.open("rb+") as file:
            for _ in write_pieces(file, offset, data, np.dtype(data.dtype).newbyteorder("=")):
                pass


def _letters(path: Path, axes: tuple[Axis, ...]) -> list[str]:
    letters = [_LETTERS.get(axis.name, "") for axis in axes]
    if "" in letters or len(set(letters)) < len(letters) or (len(axes) > 1 and letters[-2:] != ["Y", "X"]):
        names = ", ".join(axis.name for axis in axes)
        raise ValueError(f"{path.name}: OME-TIFF has no place for the axes ({names}): save the layer as .zarr")
    return letters


def _calibration(axes: tuple[Axis, ...], letters: list[str], shape: tuple[int, ...]) -> dict[str, Any]:
    """OME's sizes of a pixel, and where the first of each plane lies."""
    calibrated = {letter: axis for letter, axis in zip(letters, axes, strict=False) if axis.unit == "nm"}
    if not calibrated:
        return {}
    metadata: dict[str, Any] = {}
    for letter, axis in calibrated.items():
        metadata |= {f"PhysicalSize{letter}": axis.scale, f"PhysicalSize{letter}Unit": "nm"}
    planes = int(np.prod(shape[:-2]))
    index = np.indices(shape[:-2]).reshape(len(shape) - 2, planes) if planes > 1 else np.zeros((1, planes), int)
    plane: dict[str, Any] = {}
    for letter, axis in calibrated.items():
        steps = axis.scale * index[letters.index(letter)] if letter == "Z" else np.zeros(planes)
        plane[f"Position{letter}"] = [float(axis.offset + step) for step in steps]
        plane[f"Position{letter}Unit"] = ["nm"] * planes
    return metadata | {"Plane": plane}
