"""OME-Zarr (NGFF 0.4, in Zarr's format 2, which the most programs read): axes, units, scale and translation; a note.

The folder holds one image, ``0``, without smaller copies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.atomic import whole
from napari_invrecon.io.lazy import BLOCK_BYTES
from napari_invrecon.io.saved import KEY, note

if TYPE_CHECKING:
    from pathlib import Path

    from napari_invrecon.io.acquisition import Acquisition, Axis

VERSION = "0.4"

# NGFF's types of axes, of which all but these three may be named freely, and the units' names in UDUNITS-2.
_TYPES = {"x": "space", "y": "space", "z": "space", "channel": "channel", "energy": "energy", "tilt": "angle"}
_UNITS = {"nm": "nanometer", "eV": "electronvolt", "degree": "degree", "s": "second", "1/nm": "nanometer^-1"}


def write_zarr(path: Path, acquisition: Acquisition) -> None:
    """Write any acquisition, its values as they are; the chunks of a lazy one go through memory one after the other.

    Every chunk is stored, also where it is zero, so that one which is missing later can be told. The folder takes its
    name when it is whole.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    import dask.array as da  # late: both take longer than most files
    import zarr

    data = acquisition.data
    chunks = _chunks(data)
    with whole(path, data.nbytes) as part:
        group = zarr.open_group(part, mode="w", zarr_format=2)
        group.attrs.update({"multiscales": [_multiscale(acquisition)], KEY: note(acquisition)})
        stored = group.create_array(
            "0",
            shape=data.shape,
            dtype=np.dtype(data.dtype),
            chunks=chunks,
            chunk_key_encoding={"name": "v2", "separator": "/"},
            config={"write_empty_chunks": True},
        )
        # One after the other: threads would go on writing after one of them has failed.
        da.store(da.asarray(data).rechunk(chunks), stored, lock=False, scheduler="synchronous")


def _chunks(data: Any) -> tuple[int, ...]:
    """The chunks of a lazy array where they are all alike, else blocks of about 16 MiB."""
    given = getattr(data, "chunks", None)
    if given and all(len(set(axis[:-1])) <= 1 and axis[-1] <= axis[0] for axis in given):
        return tuple(int(axis[0]) for axis in given)
    import dask.array as da

    blocks = da.core.normalize_chunks("auto", tuple(data.shape), BLOCK_BYTES, np.dtype(data.dtype))
    return tuple(int(axis[0]) for axis in blocks)


def _multiscale(acquisition: Acquisition) -> dict[str, Any]:
    axes = acquisition.axes
    transformations = [
        {"type": "scale", "scale": [axis.scale for axis in axes]},
        {"type": "translation", "translation": [axis.offset for axis in axes]},
    ]
    return {
        "version": VERSION,
        "name": acquisition.name,
        "axes": [_axis(axis) for axis in axes],
        "datasets": [{"path": "0", "coordinateTransformations": transformations}],
    }


def _axis(axis: Axis) -> dict[str, str]:
    described = {"name": axis.name, "type": _TYPES.get(axis.name, axis.name)}
    return described | ({"unit": _UNITS[axis.unit]} if axis.unit in _UNITS else {})
