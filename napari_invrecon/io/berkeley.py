"""Berkeley EMD: groups with ``emd_group_type``, each with ``data`` and one ``dimN`` of coordinates an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from napari_invrecon.io import hdf5
from napari_invrecon.io.acquisition import Acquisition, Axis
from napari_invrecon.io.arrange import acquisitions as arranged
from napari_invrecon.io.elements import element_and_line
from napari_invrecon.io.origin import known, origin, positive
from napari_invrecon.io.units import axis

if TYPE_CHECKING:
    from pathlib import Path

_MICROSCOPE = {
    "high tension": ("voltage_kv", 1e-3),
    "voltage": ("voltage_kv", 1e-3),
    "dwell time": ("dwell_time_us", 1e6),
    "convergence angle": ("convergence_mrad", 1e3),
    "camera length": ("camera_length_mm", 1e3),
    "magnification": ("magnification", 1.0),
}


def is_berkeley(file: Any) -> bool:
    """Whether the file has a group of data, or says that it is of this kind."""
    return bool(_groups(file))


def acquisitions(path: Path, file: Any) -> list[Acquisition]:
    """One signal a data group; a group named like "Ce M45" is an elemental map."""
    shared = origin(path, "EMD (Berkeley)") | _microscope(file)
    found: list[Acquisition] = []
    for group in _groups(file):
        name = group.name.rsplit("/", 1)[-1]
        axes, notes = _axes(group)
        metadata = shared | {"notes": notes} | (element_and_line(name) if group["data"].ndim == 2 else {})
        found += arranged(hdf5.array(path, group["data"]), axes, name=name, metadata=metadata)
    return found


def _groups(file: Any) -> list[Any]:
    groups: list[Any] = []

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and "emd_group_type" in item.attrs:
            data = item.get("data")
            if isinstance(data, h5py.Dataset) and data.ndim and data.dtype.kind in "biufcV":
                groups.append(item)

    file.visititems(visit)
    return groups


def _axes(group: Any) -> tuple[list[Axis], list[str]]:
    """Version 0.2 counts its ``dim`` from 1, version 1 from 0; coordinates may be the first two only."""
    axes, notes = [], []
    first = 0 if "dim0" in group else 1
    for i in range(group["data"].ndim):
        dimension = group.get(f"dim{i + first}")
        if not isinstance(dimension, h5py.Dataset) or dimension.size == 0:
            axes.append(Axis(f"axis {i}"))
            continue
        unit, name = (hdf5.text(dimension.attrs.get(key, "")) for key in ("units", "name"))
        values = np.atleast_1d(dimension[()])
        if values.dtype.kind not in "iuf" or values.size < 2:
            axes.append(Axis(name or f"axis {i}"))
            continue
        # The ends, rather than two neighbours, so that float32 coordinates keep their digits.
        step = float(f"{(float(values[-1]) - float(values[0])) / (values.size - 1):.7g}")
        calibrated, note = axis(name or f"axis {i}", unit, step, values[0])
        axes.append(calibrated)
        notes += [note] if note else []
    return axes, notes


def _microscope(file: Any) -> dict[str, Any]:
    attributes = dict(file["microscope"].attrs) if isinstance(file.get("microscope"), h5py.Group) else {}
    found = {}
    for name, (key, factor) in _MICROSCOPE.items():
        value = attributes.get(name)
        if isinstance(value, (int, float, np.number)):
            found[key] = positive(value, factor)
    return known(**found)
