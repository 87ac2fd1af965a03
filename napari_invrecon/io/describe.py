"""What a file holds, as text: one line a signal, then what is known of the microscope."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from napari_invrecon.io.formats import read

if TYPE_CHECKING:
    from napari_invrecon.io.acquisition import Acquisition, Axis

_LABELS = {
    "voltage_kv": ("", " kV"),
    "dwell_time_us": ("dwell ", " µs"),
    "dose_e_per_nm2": ("dose ", " e/nm²"),
    "convergence_mrad": ("convergence ", " mrad"),
    "camera_length_mm": ("camera length ", " mm"),
    "magnification": ("magnification ", ""),
    "stage_tilt_deg": ("stage tilt ", "°"),
    "frames_averaged": ("mean of ", " frames"),
    "angles_from": ("angles from ", ""),
}


def describe(path: str | PathLike[str]) -> str:
    """A table of the file's signals: name, kind, shape and type, axes with steps and units, microscope.

    Raises what `read` raises.
    """
    lines = [Path(fspath(path)).name]
    for acquisition in read(path):
        size = " × ".join(str(n) for n in acquisition.data.shape)
        axes = " · ".join(_axis(axis, n) for axis, n in zip(acquisition.axes, acquisition.data.shape, strict=True))
        lines.append(f"  {acquisition.name}  [{acquisition.kind}]  {size} {acquisition.data.dtype}  {axes}")
        if known := _known(acquisition):
            lines.append(f"      {known}")
        lines += [f"      {note}" for note in acquisition.metadata.get("notes", [])]
    return "\n".join(lines)


def _axis(axis: Axis, n: int) -> str:
    if axis.unit == "pixel":
        return f"{axis.name} uncalibrated" if axis.name != "frame" else "frame"
    if axis.name in ("tilt", "energy"):
        unit = "°" if axis.unit == "degree" else f" {axis.unit}"
        return f"{axis.name} {axis.offset:.6g}…{axis.offset + (n - 1) * axis.scale:.6g}{unit} step {axis.scale:.6g}"
    return f"{axis.name} {axis.scale:.6g} {axis.unit}"


def _known(acquisition: Acquisition) -> str:
    parts = []
    for key, (before, after) in _LABELS.items():
        value = acquisition.metadata.get(key)
        if value is not None:
            parts.append(f"{before}{value if isinstance(value, str) else format(value, '.6g')}{after}")
    return ", ".join(parts)
