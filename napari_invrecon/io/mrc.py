"""MRC and its relatives (.mrc .rec .st .ali .map .mrcs), by blocks; intensities are untouched."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import mrcfile
import numpy as np
from mrcfile.dtypes import get_ext_header_dtype

from napari_invrecon.io.acquisition import Acquisition, Axis
from napari_invrecon.io.arrange import acquisitions
from napari_invrecon.io.mrc_extended import extended_metadata
from napari_invrecon.io.origin import known, origin
from napari_invrecon.io.raw import raw_array
from napari_invrecon.io.saved import found_note, restored
from napari_invrecon.io.units import axis

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EXTENSIONS = (".mrc", ".rec", ".st", ".ali", ".map", ".mrcs")

_HEADER_BYTES = 1024
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}
_IMOD_STAMP = 1146047817


def read(path: Path) -> list[Acquisition]:
    """One acquisition: a tilt series where the header has tilt angles, a volume where it says so, an image, or frames.

    Å become nm; the pixel size of an FEI extended header is preferred to the main header's.

    Raises
    ------
    ValueError
        When the file is no MRC file, is shorter than its header says, or has a mode without a NumPy type.
    """
    header, extended, raw = _headers(path)
    dtype = _dtype(path, header)
    shape = (int(header.nz), int(header.ny), int(header.nx))
    data = raw_array(path, _HEADER_BYTES + int(header.nsymbt), shape, dtype)

    n_images = shape[0]
    shared = origin(path, "MRC")
    metadata = shared | extended_metadata(header, extended, n_images)
    labels = [text for text in (bytes(label).decode("latin-1").strip() for label in header.label) if text]
    metadata |= known(labels=labels)
    pixel_nm = metadata.pop("pixel_nm", None)
    notes = metadata.setdefault("notes", [])

    order = _axis_order(header)
    data = data.transpose(order)
    cell = [_voxel_angstrom(header, letter) for letter in "zyx"]
    axes = []
    for name, angstrom in zip("zyx", cell, strict=True):
        size, unit = (pixel_nm, "nm") if pixel_nm and name in "yx" else (angstrom, "A")
        calibrated, note = axis(name, unit if size else None, size)
        axes.append(calibrated)
        notes += [note] if note else []
    saved = restored(data, found_note(raw[_note_start(header, n_images) :].decode("latin-1")), shared, _by_name(axes))
    if saved is not None:
        return [saved]
    if "angles_deg" in metadata:
        axes[0] = Axis("tilt", "degree")
    elif not _is_volume(path, header):
        axes[0] = Axis("frame")
    return acquisitions(data, axes, name=path.stem, metadata=metadata)


def _headers(path: Path) -> tuple[Any, Any, bytes]:
    """(main header, extended header as records or bytes, its bytes), of any byte order."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    lengths = [int(np.frombuffer(head[92:96], order + "i4")[0]) for order in "<>"] if len(head) == _HEADER_BYTES else []
    if not any(0 <= length <= path.stat().st_size - _HEADER_BYTES for length in lengths):
        raise ValueError(
            f"{path.name} is not an MRC file, or not a whole one: its headers are longer than the file: copy it again"
        )
    try:
        with warnings.catch_warnings():
            # Old files have no map stamp; what matters of them is checked here, against the length of the file.
            warnings.simplefilter("ignore", RuntimeWarning)
            with mrcfile.open(path, permissive=True, header_only=True) as mrc:
                header, extended = mrc.header, mrc.extended_header
                raw = extended.tobytes() if extended is not None else b""
                if header is not None and header.exttyp.item() in (b"FEI1", b"FEI2"):
                    extended = mrc.indexed_extended_header
    except (ValueError, OSError) as error:
        raise ValueError(f"{path.name} is not an MRC file: {error}") from error
    if header is None or min(header.nx, header.ny, header.nz) < 1:
        raise ValueError(f"{path.name} is not an MRC file: its header has no image size")
    return header, extended, raw


def _note_start(header: Any, n_images: int) -> int:
    """Where in the extended header a note would begin: behind FEI's records, where there are any."""
    return n_images * get_ext_header_dtype(b"FEI1").itemsize if header.exttyp.item() == b"FEI1" else 0


def _by_name(axes: Sequence[Axis]) -> dict[str, Axis]:
    return {each.name: each for each in axes}


def _dtype(path: Path, header: Any) -> np.dtype[Any]:
    mode = int(header.mode)
    if mode not in _DTYPES:
        raise ValueError(
            f"{path.name} has MRC mode {mode}, expected one of {sorted(_DTYPES)}: convert it to mode 1 or 2"
        )
    native = header.mode.dtype.isnative
    code = _DTYPES[mode]
    stamp, flags = np.frombuffer(bytes(header.extra2)[40:48], np.dtype("u4").newbyteorder("=" if native else "S"))
    if mode == 0 and stamp == _IMOD_STAMP and not flags & 1:
        code = "u1"
    return np.dtype(code).newbyteorder("=" if native else "S")


def _voxel_angstrom(header: Any, letter: str) -> float | None:
    """Cell length over number of intervals, to float32's 7 digits; None where the header has the 0 of "unknown"."""
    intervals, length = int(header[f"m{letter}"]), float(header.cella[letter])
    return float(f"{length / intervals:.7g}") if intervals > 0 and length != 0 else None


def _axis_order(header: Any) -> tuple[int, int, int]:
    """Which array axis is z, y and x: maps may be stored in another order than (section, row, column) = (z, y, x)."""
    stored = [int(header.maps), int(header.mapr), int(header.mapc)]
    if sorted(stored) != [1, 2, 3]:
        return (0, 1, 2)
    return (stored.index(3), stored.index(2), stored.index(1))


def _is_volume(path: Path, header: Any) -> bool:
    extension = path.suffix.lower()
    if int(header.nz) == 1 or _voxel_angstrom(header, "z") is None or extension in (".mrcs", ".st", ".ali"):
        return False
    return extension in (".rec", ".map") or int(header.ispg) >= 1
