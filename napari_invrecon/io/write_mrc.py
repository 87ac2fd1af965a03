"""MRC, float32, which every tomography program reads: voxel size, tilt angles, labels; what else there is as a note.

Tilt angles are in FEI's extended header (FEI1), one record an image. The note (`saved`) follows them there, or is alone
in an extended header of type MRCO, whose counts of numbers for each section are 0: other programs skip it. Missing data
hold the nearest datum of their image, which a label says, and their mask is in the note (`missing`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE, get_ext_header_dtype

from napari_invrecon.io.atomic import whole
from napari_invrecon.io.missing import filled, mask_text, missing_mask, share_missing
from napari_invrecon.io.pieces import write_pieces
from napari_invrecon.io.saved import note_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_invrecon.io.acquisition import Acquisition

_MODE, _DTYPE = 2, np.dtype("<f4")
_LABELS = 10
_LABEL_BYTES = 80
# FEI's mask of the fields that are filled in: HT, dose, alpha tilt, pixel sizes.
_FEI_HT, _FEI_ALPHA, _FEI_PIXEL = 1 << 5, 1 << 7, (1 << 14) | (1 << 15)


def write_mrc(path: Path, acquisition: Acquisition, labels: Sequence[str] = ()) -> None:
    """Write an image, a stack or a volume as MRC mode 2; a lazy one goes through memory chunk by chunk.

    The file takes its name when it is whole: one of that name is replaced then, and stays where writing fails.

    Parameters
    ----------
    path
        Of the file.
    acquisition
        Real, of two or three axes.
    labels
        At most ten lines of text, of which 80 ASCII characters are kept; by default what the record says.

    Raises
    ------
    ValueError
        When the array has not two or three axes, or is complex.
    OSError
        When it cannot be written.
    """
    data = acquisition.data
    if data.ndim not in (2, 3) or np.dtype(data.dtype).kind not in "iufb":
        raise ValueError(
            f"{path.name}: expected a real image or volume (z, y, x), got {data.dtype} of shape {tuple(data.shape)}: "
            "save one volume at a time, or as .zarr or .hspy"
        )
    mask = missing_mask(data)
    labels = list(labels or _labels(acquisition))[:_LABELS]
    if mask is not None:
        data = filled(data)
        share = share_missing(mask, data.shape)
        labels[_LABELS - 1 :] = []
        labels.append(f"{100 * share:.2g} % of the data are missing: the nearest datum is in their place")
    extended, exttyp = _extended_header(acquisition, {} if mask is None else {"missing": mask_text(mask)})
    header = _header(acquisition, labels)
    header["nsymbt"], header["exttyp"] = len(extended), exttyp
    seen = _Statistics()
    with whole(path, 4 * data.size) as part, part.open("wb") as file:
        file.write(header.tobytes() + extended)
        for piece in write_pieces(file, file.tell(), data, _DTYPE):
            seen.add(piece)
        header["dmin"], header["dmax"], header["dmean"], header["rms"] = seen.result()
        file.seek(0)
        file.write(header.tobytes())


def _header(acquisition: Acquisition, labels: Sequence[str]) -> Any:
    """The main header of MRC2014, little endian; a length of 0 means that it is not known."""
    shape = (1,) * (3 - acquisition.data.ndim) + tuple(acquisition.data.shape)
    header = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    header["mode"], header["map"], header["machst"], header["nversion"] = _MODE, b"MAP ", (0x44, 0x44, 0, 0), 20141
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["ispg"] = 1 if acquisition.kind == "volume" else 0
    header["cellb"]["alpha"] = header["cellb"]["beta"] = header["cellb"]["gamma"] = 90
    sides = {axis.name: 10 * axis.scale if axis.unit == "nm" else 0.0 for axis in acquisition.axes}
    # A stack is counted in z in pixels, as its images are squares of the same side.
    stack_step = sides["x"] if acquisition.kind != "volume" else 0.0
    for letter, n in zip("zyx", shape, strict=True):
        header[f"n{letter}"] = header[f"m{letter}"] = n
        header["cella"][letter] = n * sides.get(letter, stack_step)
    header["nlabl"] = len(labels)
    for i, label in enumerate(labels):
        header["label"][i] = label.encode("ascii", "replace")[:_LABEL_BYTES]
    return header


def _labels(acquisition: Acquisition) -> list[str]:
    record = acquisition.record
    if record is None:
        return [str(label) for label in acquisition.metadata.get("labels", [])] or ["napari-invrecon"]
    words, settings, lam = ["napari-invrecon", record.get("method")], record.get("settings", {}), record.get("lam")
    words += [settings.get("algorithm") or settings.get("regulariser")]
    words += [f"lambda {lam:.4g}"] if isinstance(lam, float) else []
    return [" ".join(str(word) for word in words if word)]


def _extended_header(acquisition: Acquisition, more: Mapping[str, str]) -> tuple[bytes, bytes]:
    """(bytes, type): tilt angles as FEI writes them, then the note with more in it, padded to whole words."""
    text = note_text(acquisition, more).encode("ascii")
    text += b" " * (-len(text) % 16)
    angles = acquisition.metadata.get("angles_deg")
    if acquisition.kind != "tilt series" or angles is None:
        return text, b"MRCO"
    records = np.zeros(len(angles), get_ext_header_dtype(b"FEI1", "<"))
    records["Metadata size"] = records.dtype.itemsize
    records["Alpha tilt"] = angles
    mask = _FEI_ALPHA
    voltage = acquisition.metadata.get("voltage_kv")
    if voltage:
        records["HT"], mask = 1e3 * voltage, mask | _FEI_HT
    y, x = acquisition.axes[-2:]
    if y.unit == x.unit == "nm":
        records["Pixel size X"], records["Pixel size Y"], mask = 1e-9 * x.scale, 1e-9 * y.scale, mask | _FEI_PIXEL
    records["Bitmask 1"] = mask
    return records.tobytes() + text, b"FEI1"


class _Statistics:
    """Least, greatest and mean value and spread of the finite values of pieces."""

    def __init__(self) -> None:
        self._n, self._low, self._high, self._total, self._squares = 0, math.inf, -math.inf, 0.0, 0.0

    def add(self, piece: NDArray[Any]) -> None:
        finite = piece[np.isfinite(piece)]
        if finite.size:
            self._n += finite.size
            self._low, self._high = min(self._low, float(finite.min())), max(self._high, float(finite.max()))
            self._total += float(finite.sum(dtype=np.float64))
            self._squares += float(np.sum(np.square(finite, dtype=np.float64)))

    def result(self) -> tuple[float, float, float, float]:
        """(dmin, dmax, dmean, rms)."""
        if self._n == 0:
            return (0.0, 0.0, 0.0, 0.0)
        mean = self._total / self._n
        return (self._low, self._high, mean, math.sqrt(max(self._squares / self._n - mean**2, 0.0)))
