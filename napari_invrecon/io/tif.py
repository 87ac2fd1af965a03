"""TIFF: by blocks where its pixels lie in one piece, by pages where they do not and are many."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.acquisition import Acquisition, Axis
from napari_invrecon.io.arrange import acquisitions
from napari_invrecon.io.declared import check_size
from napari_invrecon.io.lazy import EAGER_BYTES, blockwise
from napari_invrecon.io.origin import origin
from napari_invrecon.io.raw import raw_array
from napari_invrecon.io.saved import found_note, restored
from napari_invrecon.io.tif_calibration import calibration
from napari_invrecon.io.units import axis

if TYPE_CHECKING:
    from pathlib import Path

EXTENSIONS = (".tif", ".tiff")

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def read(path: Path) -> list[Acquisition]:
    """Every series of the file, channels apart; colours become one "luminance".

    Raises
    ------
    ValueError
        When the file is no TIFF, is shorter than it says, or its compression is not known here.
    """
    import tifffile  # late: it takes longer than most files

    found: list[Acquisition] = []
    try:
        with tifffile.TiffFile(path) as tif:
            shared = origin(path, "TIFF")
            for number, series in enumerate(tif.series):
                name = path.stem if len(tif.series) == 1 else f"{path.stem} {series.name or number}"
                found += _series(path, tif, number, name, shared)
    except (tifffile.TiffFileError, OSError) as error:
        raise ValueError(f"{path.name} is not a whole TIFF file ({error}): copy or export it again") from error
    if not found:
        raise ValueError(f"{path.name} holds no image")
    return found


def _series(path: Path, tif: Any, number: int, name: str, shared: dict[str, Any]) -> list[Acquisition]:
    series, letters = tif.series[number], tif.series[number].axes
    calibrated = calibration(tif, number)
    metadata = shared | calibrated.metadata | {"format": f"TIFF ({calibrated.writer})", "notes": []}
    data = _data(path, tif.byteorder, series, number)
    if letters.endswith("S"):
        data, letters, name = _luminance(data), letters[:-1], f"{name} luminance"
    axes: dict[str, Axis] = {}
    for letter in letters:
        if letter in calibrated.axes and letter in "XYZ":
            unit, scale, offset = calibrated.axes[letter]
            axes[letter], note = axis(letter.lower(), unit, scale, offset)
            metadata["notes"] += [note] if note else []
        else:
            axes[letter] = Axis("frame" if letter not in "XYZ" else letter.lower())
    noted = found_note(calibrated.description)
    saved = restored(data, noted, shared | {"format": metadata["format"]}, {each.name: each for each in axes.values()})
    if saved is not None:
        return [saved]
    if "C" not in letters:
        return acquisitions(data, [axes[letter] for letter in letters], name=name, metadata=metadata)
    where, rest = letters.index("C"), [axes[letter] for letter in letters if letter != "C"]
    found: list[Acquisition] = []
    for channel in range(data.shape[where]):
        one = data[(slice(None),) * where + (channel,)]
        found += acquisitions(one, rest, name=f"{name} channel {channel}", metadata=metadata)
    return found


def _data(path: Path, byteorder: str, series: Any, number: int) -> Any:
    if series.dataoffset is not None:
        dtype = np.dtype(byteorder + series.dtype.char)
        return raw_array(path, series.dataoffset, series.shape, dtype)
    _check_segments(path, series)
    pages = math.prod(series.shape[:-2])
    if series.nbytes <= EAGER_BYTES or len(series.pages) != pages or series.ndim < 3:
        return series.asarray()
    page = tuple(series.shape[-2:])
    stack = blockwise(partial(_pages, path, number), (pages, *page), series.dtype, (1, *page), name=path.name)
    return stack.reshape(series.shape)


def _check_segments(path: Path, series: Any) -> None:
    """Every strip and tile must lie in the file, and not unpack to more than any compression packs."""
    size, stored = path.stat().st_size, 0
    for page in series.pages:
        for offset, n_bytes in zip(page.dataoffsets, page.databytecounts, strict=False) if page is not None else ():
            if offset + n_bytes > size:
                raise ValueError(
                    f"{path.name} is incomplete: expected {offset + n_bytes} bytes, found {size}: copy it again"
                )
            stored += n_bytes
    check_size(path, series.name or "its image", series.nbytes, stored)


def _pages(path: Path, number: int, place: tuple[slice, ...]) -> Any:
    import tifffile

    pages, rows, columns = place
    with tifffile.TiffFile(path) as tif:
        found = tif.series[number].pages
        return np.stack([found[i].asarray() for i in range(pages.start, pages.stop)])[:, rows, columns]


def _luminance(data: Any) -> Any:
    return data[..., :3].astype(np.float32) @ _LUMINANCE if data.shape[-1] >= 3 else data[..., 0]
