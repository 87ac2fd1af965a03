"""Alignments of tilt series as files: JSON with everything, and IMOD's transforms (.xf) and angles (.tlt).

IMOD's line of an image is ``a11 a12 a21 a22 dx dy``: x′ = a11 x + a12 y + dx, y′ = a21 x + a22 y + dy, in pixels from
the image's centre, y counted from the file's first row. A file takes its name when it is whole.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.origin import finite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

_KIND = "napari-invrecon alignment"


def write_alignment(path: Path, summary: dict[str, Any]) -> None:
    """Write an alignment's JSON-plain summary, whole or not at all.

    Raises
    ------
    ValueError
        When it holds a number that JSON has not (NaN, infinity).
    """
    try:
        text = json.dumps({"kind": _KIND, **summary}, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path.name}: the alignment holds NaN or infinity, which a file cannot") from error
    _replace(path, text + "\n")


def read_alignment(path: Path) -> dict[str, Any]:
    """The summary that `write_alignment` wrote.

    Raises
    ------
    ValueError
        When the file holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON ({error}): choose a file that was saved as an alignment") from error
    if not isinstance(found, dict) or found.pop("kind", None) != _KIND:
        raise ValueError(f"{path.name} holds no alignment: choose a file that was saved as one")
    return found


def write_xf(path: Path, transforms: ArrayLike) -> None:
    """Write (tilt, 6) rows a11 a12 a21 a22 dx dy as IMOD's .xf, whole or not at all.

    Raises
    ------
    ValueError
        When there are not six finite numbers for each image.
    """
    rows = np.asarray(transforms, np.float64)
    if rows.ndim != 2 or rows.shape[1] != 6 or not np.isfinite(rows).all():
        raise ValueError(f"{path.name}: expected six finite numbers for each image, got an array of shape {rows.shape}")
    _replace(path, "".join("{:12.7f}{:12.7f}{:12.7f}{:12.7f}{:12.3f}{:12.3f}\n".format(*row) for row in rows))


def read_xf(path: Path) -> NDArray[np.float64]:
    """(tilt, 6) from IMOD's .xf.

    Raises
    ------
    ValueError
        When a line is not six numbers; it is named.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.split()
        values = [value for value in map(finite, words) if value is not None]
        if len(words) not in (0, 6) or len(values) != len(words):
            raise ValueError(
                f"{path.name}, line {number}: expected a11 a12 a21 a22 dx dy, found {line.strip()!r}: choose an .xf "
                "file as IMOD writes it"
            )
        rows += [values] if words else []
    if not rows:
        raise ValueError(f"{path.name} is empty: expected a line a11 a12 a21 a22 dx dy for each image")
    return np.array(rows, np.float64)


def write_tlt(path: Path, angles_deg: Sequence[float] | NDArray[np.float64]) -> None:
    """Write one angle in degree a line, IMOD's .tlt, whole or not at all; `sidecars.read_sidecar` reads it."""
    _replace(path, "".join(f"{angle:.4f}\n" for angle in angles_deg))


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
