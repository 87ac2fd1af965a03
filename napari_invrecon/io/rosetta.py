"""The formats that RosettaSciIO reads; it is the optional extra ``em``, imported when such a file is opened."""

from __future__ import annotations

import glob
import importlib
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.arrange import acquisitions
from napari_invrecon.io.lazy import EAGER_BYTES
from napari_invrecon.io.origin import known, origin
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
        reader = importlib.import_module(f"rsciio.{module}").file_reader
        signals, complaints = _signals(reader, _header(path))
    except ImportError as error:
        raise MissingReaderError(
            f'{path.name} needs RosettaSciIO ({error}): run   pip install "napari-invrecon[em]"   and open it again'
        ) from error
    if path.suffix.lower() == ".ser":
        own = [s for s in signals if s["metadata"]["General"].get("original_filename") == path.name]
        signals = own or signals
    if not signals:
        remedy = f": its images are in {path.stem}_1.ser and so on, put them beside it" if module == "tia" else ""
        raise ValueError(f"{path.name} holds no signal{remedy}")
    shared = origin(path, file_format)
    found: list[Acquisition] = []
    for signal in signals:
        found += _acquisitions(signal, path, shared, complaints)
    return found


def _header(path: Path) -> Path:
    """TIA keeps the microscope's state of ``name_1.ser``, ``name_2.ser`` in ``name.emi``; any other file is whole."""
    emi = path.with_name(re.sub(r"_\d+$", "", path.stem) + ".emi")
    return emi if path.suffix.lower() == ".ser" and emi.is_file() else path


def _bytes(path: Path) -> int:
    """Size of the data: of an .emi, that of the .ser files that it heads."""
    if path.suffix.lower() != ".emi":
        return path.stat().st_size
    return sum(data.stat().st_size for data in path.parent.glob(f"{glob.escape(path.stem)}_*.ser"))


def _signals(reader: Any, path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """What the reader returns, and what it warns of; eagerly also where it cannot be lazy, as with some archives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if _bytes(path) <= EAGER_BYTES:
                signals = reader(str(path), lazy=False)
            else:
                try:
                    signals = reader(str(path), lazy=True)
                except ValueError:
                    signals = reader(str(path), lazy=False)
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # a damaged file makes a parser fail in any way
            raise ValueError(
                f"{path.name} could not be read ({type(error).__name__}: {error}): it may be damaged, copy it again"
            ) from error
    complaints = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    return list(signals), complaints


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
