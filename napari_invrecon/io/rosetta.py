"""The formats that RosettaSciIO reads; it is the optional extra ``em``, imported when such a file is opened."""

from __future__ import annotations

import glob
import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.arrange import acquisitions
from napari_invrecon.io.declared import check_npy, check_zspy
from napari_invrecon.io.hdf5 import largest_dataset, open_file
from napari_invrecon.io.lazy import EAGER_BYTES
from napari_invrecon.io.origin import known, origin
from napari_invrecon.io.rosetta_apart import Signals, read_signals, signals
from napari_invrecon.io.rosetta_metadata import about
from napari_invrecon.io.saved import KEY, found_note, restored
from napari_invrecon.io.units import axis, canonical

if TYPE_CHECKING:
    from pathlib import Path

    from napari_invrecon.io.acquisition import Acquisition, Axis

# Extension → (module of RosettaSciIO, name of the format).
_READERS = {
    ".dm3": ("digitalmicrograph", "DigitalMicrograph"),
    ".dm4": ("digitalmicrograph", "DigitalMicrograph"),
    ".ser": ("tia", "TIA"),
    ".emi": ("tia", "TIA"),
    ".bcf": ("bruker", "Bruker"),
    ".hspy": ("hspy", "HyperSpy"),
    ".zspy": ("zspy", "HyperSpy"),
    ".prz": ("pantarhei", "Panta Rhei"),
    ".blo": ("blockfile", "NanoMegas"),
}
EXTENSIONS = tuple(_READERS)


class MissingReaderError(ImportError):
    """RosettaSciIO, or a package that it needs for a format, is not installed."""


def read(path: Path) -> list[Acquisition]:
    """Every signal of the file; files over 64 MiB lazily.

    Axes are told apart by their units, not by what the reader calls navigation: an EELS spectrum image comes as
    (energy, y, x) from one format and as (y, x, energy) from another.

    Raises
    ------
    MissingReaderError
        When the extra ``em`` is not installed.
    ValueError
        When the file is damaged, or holds no signal.
    """
    module, file_format = _READERS[path.suffix.lower()]
    try:
        found_signals, complaints = _signals(module, _header(path))
    except ImportError as error:
        raise MissingReaderError(
            f'{path.name} needs RosettaSciIO ({error}): run   pip install "napari-invrecon[em]"   and open it again'
        ) from error
    if path.suffix.lower() == ".ser":
        own = [s for s in found_signals if s["metadata"]["General"].get("original_filename") == path.name]
        found_signals = own or found_signals
    if not found_signals:
        remedy = f": its images are in {path.stem}_1.ser and so on, put them beside it" if module == "tia" else ""
        raise ValueError(f"{path.name} holds no signal{remedy}")
    shared = origin(path, file_format)
    found: list[Acquisition] = []
    for signal in found_signals:
        found += _acquisitions(signal, path, shared, complaints)
    return found


def _header(path: Path) -> Path:
    """TIA keeps the microscope's state of ``name_1.ser``, ``name_2.ser`` in ``name.emi``; any other file is whole."""
    emi = path.with_name(re.sub(r"_\d+$", "", path.stem) + ".emi")
    return emi if path.suffix.lower() == ".ser" and emi.is_file() else path


def _unpacked_bytes(path: Path) -> int:
    """About the size of the data in memory: of an .emi, that of the .ser files that it heads.

    Raises
    ------
    ValueError
        When the file declares more than it can hold.
    """
    suffix = path.suffix.lower()
    if suffix == ".hspy":
        with open_file(path) as file:
            return largest_dataset(path, file)
    if suffix == ".zspy" and path.is_file():
        check_zspy(path)
    if suffix == ".prz":
        with zipfile.ZipFile(path) as archive:
            check_npy(path, archive)
    if suffix != ".emi":
        return path.stat().st_size
    return sum(data.stat().st_size for data in path.parent.glob(f"{glob.escape(path.stem)}_*.ser"))


def _signals(module: str, path: Path) -> Signals:
    """What the reader makes of the file; eagerly also where it cannot be lazy, as with some archives."""
    if _unpacked_bytes(path) > EAGER_BYTES:
        try:
            return read_signals(module, path, lazy=True)
        except ValueError:
            pass
    return signals(module, path)


def _acquisitions(
    signal: dict[str, Any], path: Path, shared: dict[str, Any], complaints: list[str]
) -> list[Acquisition]:
    axes, notes = _axes(signal, shared["format"])
    metadata = shared | about(signal)
    metadata |= known(reader_warnings=complaints) | {"notes": notes}
    noted = found_note(str((signal.get("original_metadata") or {}).get(KEY, "")))
    data = signal["data"]
    if noted is not None and str(noted.get("kind")).startswith("spectrum"):
        data = np.moveaxis(data, -1, 0)  # HyperSpy's order is (y, x, energy)
    saved = restored(data, noted, shared, {each.name: each for each in axes})
    if saved is not None:
        return [saved]
    name = str(metadata.get("title") or path.stem)
    return acquisitions(signal["data"], axes, name=name, metadata=metadata, spectral=_spectral(signal["axes"]))


def _axes(signal: dict[str, Any], file_format: str) -> tuple[list[Axis], list[str]]:
    axes, notes = [], []
    for number, entry in enumerate(signal["axes"]):
        name = entry.get("name")
        name = name if isinstance(name, str) and name else f"axis {number}"
        if "axis" in entry and "scale" not in entry:
            notes.append(f"axis {name}: its steps are not uniform, so it is shown by number")
        unit, offset = entry.get("units"), entry.get("offset", 0.0)
        if file_format == "TIA":
            # RosettaSciIO turns TIA's steps into nm and 1/nm, and leaves the origins in m and 1/m.
            offset = offset * {"nm": 1e9, "1/nm": 1e-9}.get((canonical(unit) or ("",))[0], 1.0)
        calibrated, note = axis(name, unit, entry.get("scale"), offset)
        axes.append(calibrated)
        notes += [note] if note else []
    return axes, notes


def _spectral(axes: list[dict[str, Any]]) -> int | None:
    """The one signal axis of a spectrum, known by its name or by being the only one."""
    named = [i for i, entry in enumerate(axes) if "energy" in str(entry.get("name", "")).lower()]
    if named:
        return named[0]
    signal = [i for i, entry in enumerate(axes) if entry.get("navigate") is False]
    return signal[0] if len(signal) == 1 else None
