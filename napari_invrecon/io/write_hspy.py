"""HyperSpy's HDF5 (.hspy), through RosettaSciIO, the optional extra ``em``; spectra along HyperSpy's signal axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.atomic import whole
from napari_invrecon.io.rosetta import MissingReaderError
from napari_invrecon.io.saved import KEY, note_text

if TYPE_CHECKING:
    from pathlib import Path

    from napari_invrecon.io.acquisition import Acquisition

_SPECTRAL = ("spectrum", "spectrum image")


def write_hspy(path: Path, acquisition: Acquisition) -> None:
    """Write any acquisition, its values as they are; a lazy one goes through memory chunk by chunk.

    HyperSpy keeps the axes that are navigated before those of the signal: a spectrum image is stored as (y, x, energy),
    a series of images as (tilt, y, x). The file takes its name when it is whole.

    Raises
    ------
    MissingReaderError
        When the extra ``em`` is not installed.
    OSError
        When it cannot be written.
    """
    try:
        from rsciio.hspy import file_writer
    except ImportError as error:
        raise MissingReaderError(
            f'{path.name} needs RosettaSciIO ({error}): run   pip install "napari-invrecon[em]"   and save again'
        ) from error
    signal = _signal(acquisition)
    with whole(path, acquisition.data.nbytes) as part:
        file_writer(str(part), signal, compression=None, show_progressbar=False)


def _signal(acquisition: Acquisition) -> dict[str, Any]:
    """The dictionary that RosettaSciIO's writers take."""
    data, axes = acquisition.data, list(acquisition.axes)
    spectral = acquisition.kind in _SPECTRAL
    if spectral:
        data, axes = np.moveaxis(data, 0, -1), [*axes[1:], axes[0]]
    signal_axes = 1 if spectral else 2
    described = [
        {
            "_type": "UniformDataAxis",
            "name": axis.name,
            "units": "" if axis.unit == "pixel" else axis.unit,
            "scale": axis.scale,
            "offset": axis.offset,
            "size": int(n),
            "index_in_array": i,
            "navigate": i < len(axes) - signal_axes,
            "is_binned": False,
        }
        for i, (axis, n) in enumerate(zip(axes, data.shape, strict=True))
    ]
    lazy = not isinstance(data, np.ndarray)
    return {
        "data": data,
        "axes": described,
        "metadata": {"General": {"title": acquisition.name}, "Signal": {"signal_type": ""}},
        "original_metadata": {KEY: note_text(acquisition)},
        "attributes": {"_lazy": lazy, "ragged": False},
        "package_info": {"package": "napari-invrecon", "package_version": ""},
        "learning_results": {},
        "models": {},
        "tmp_parameters": {},
    }
