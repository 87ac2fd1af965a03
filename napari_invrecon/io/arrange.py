"""One signal of a file, as its reader found it, to acquisitions: real numbers, axes in the package's order."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.acquisition import Acquisition, Axis, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LUMINANCE = {"R": 0.2126, "G": 0.7152, "B": 0.0722}


def acquisitions(
    data: Any,
    axes: Sequence[Axis],
    *,
    name: str,
    metadata: dict[str, Any],
    spectral: int | None = None,
) -> list[Acquisition]:
    """What the axes mean, from their units; two acquisitions for complex numbers, else one.

    Energy (eV) comes first, whatever the file's order: (energy, y, x). A degree axis before (y, x) makes a tilt series,
    a length a volume, 1/nm in y and x a diffraction pattern, an element in ``metadata`` a map; any other leading axes
    are frames, several of them run together with their sizes in ``metadata["frames_shape"]``.

    Parameters
    ----------
    data
        NumPy or dask array.
    axes
        One for each array axis.
    name, metadata
        Of the signal; ``metadata`` is copied.
    spectral
        The array axis that a spectrum runs along, where the file says so but gives it no unit.

    Raises
    ------
    ValueError
        For arrays of Python objects, texts or dates, for empty arrays, and for spectra on more than two axes.
    """
    if math.prod(data.shape) == 0:
        raise ValueError(f"'{name}' is empty: its shape is {data.shape}")
    return [
        _arranged(values, list(axes), name + suffix, dict(metadata), spectral)
        for suffix, values in real_numbers(data, name)
    ]


def real_numbers(data: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(suffix of the name, array) of a native real dtype; nothing but a missing representation is converted."""
    fields = data.dtype.names
    if fields and set(_LUMINANCE) <= set(fields):
        yield " luminance", sum(weight * data[channel].astype(np.float32) for channel, weight in _LUMINANCE.items())
        return
    if fields and len(fields) == 2 and all("real" in f.lower() or "imag" in f.lower() for f in fields):
        data = data[fields[0]] + 1j * data[fields[1]]
    kind, itemsize = data.dtype.kind, data.dtype.itemsize
    if kind == "c":
        yield " amplitude", abs(data)
        yield " phase", np.angle(data)
    elif kind == "b":
        yield "", data.astype(np.uint8)
    elif kind == "f" and itemsize not in (4, 8):
        yield "", data.astype(np.float32 if itemsize == 2 else np.float64)
    elif kind in "iuf":
        yield "", data if data.dtype.isnative else data.astype(data.dtype.newbyteorder("="))
    else:
        raise ValueError(f"'{name}' holds values of type {data.dtype}, expected numbers: export it as plain numbers")


def _arranged(data: Any, axes: list[Axis], name: str, metadata: dict[str, Any], spectral: int | None) -> Acquisition:
    energy = next((i for i, axis in enumerate(axes) if axis.unit == "eV"), spectral)
    if len(axes) == 1 and axes[0].unit in ("nm", "1/nm"):
        data, axes, energy = data[None], [axes[0], axes[0]], None  # a line profile
    elif len(axes) == 1:
        energy = 0
    if energy is not None:
        return _spectral(data, axes, name, metadata, energy)
    while len(axes) > 2 and data.shape[0] == 1:
        data, axes = data[0], axes[1:]
    if len(axes) > 3:
        metadata["frames_shape"] = [int(n) for n in data.shape[:-2]]
        data, axes = data.reshape((-1, *data.shape[-2:])), [Axis("frame"), *axes[-2:]]
    y, x = (replace(axis, name=letter) for axis, letter in zip(axes[-2:], "yx", strict=True))
    if len(axes) == 2:
        return Acquisition(data, (y, x), name, _plane_kind(y, x, metadata), metadata)
    lead = axes[0]
    if lead.unit == "degree":
        angles = metadata.setdefault("angles_deg", [lead.offset + lead.scale * i for i in range(data.shape[0])])
        metadata.pop("stage_tilt_deg", None)
        return Acquisition(data, (tilt_axis(angles), y, x), name, "tilt series", metadata)
    if lead.unit == y.unit == x.unit == "nm":
        return Acquisition(data, (replace(lead, name="z"), y, x), name, "volume", metadata)
    return Acquisition(data, (replace(lead, name="frame"), y, x), name, "stack", metadata)


def _plane_kind(y: Axis, x: Axis, metadata: dict[str, Any]) -> Kind:
    if "1/nm" in (y.unit, x.unit):
        return "diffraction"
    return "map" if "element" in metadata else "image"


def _spectral(data: Any, axes: list[Axis], name: str, metadata: dict[str, Any], energy: int) -> Acquisition:
    e = replace(axes[energy], name="energy")
    rest = [axis for i, axis in enumerate(axes) if i != energy]
    data = np.moveaxis(data, energy, 0)
    while len(rest) > 2 and data.shape[1] == 1:
        data, rest = data[:, 0], rest[1:]
    if len(rest) > 2:
        sizes = " × ".join(map(str, data.shape[1:]))
        raise ValueError(f"'{name}' has a spectrum at each of {sizes} places: expected one or two axes beside energy")
    if not rest:
        return Acquisition(data, (e,), name, "spectrum", metadata)
    if len(rest) == 1:
        data, rest = data[:, None, :], [rest[0], rest[0]]
    y, x = (replace(axis, name=letter) for axis, letter in zip(rest, "yx", strict=True))
    if isinstance(data, np.ndarray):
        data = np.ascontiguousarray(data)
    return Acquisition(data, (e, y, x), name, "spectrum image", metadata)


def tilt_axis(angles_deg: Sequence[float]) -> Axis:
    """The tilt axis of a series: its mean step and first angle; the angles themselves stay in the metadata.

    Of a series whose angles go back and forth, as a dose-symmetric one does, it spans their range from the lowest.
    """
    steps = [after - before for before, after in itertools.pairwise(angles_deg)]
    one_way = all(step > 0 for step in steps) or all(step < 0 for step in steps)
    first, last = (angles_deg[0], angles_deg[-1]) if one_way else (min(angles_deg), max(angles_deg))
    return Axis("tilt", "degree", float(f"{(last - first) / max(len(steps), 1):.9g}"), float(first))
