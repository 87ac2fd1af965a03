"""The note that every writer leaves in its file: what the format itself has no place for, so that all comes back.

JSON with the keys ``napari-invrecon`` (version of the note), ``name``, ``kind``, ``shape``, ``axes``, ``metadata``
(that of `Acquisition`), ``record``, the reconstruction's, and in an .mrc with NaN ``missing``, a mask. A file that
another program has changed since then keeps an old note; so the note's shape and steps must be those of the file.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, get_args

from napari_invrecon.io.acquisition import Acquisition, Axis, Kind
from napari_invrecon.io.arrange import real_numbers
from napari_invrecon.io.missing import with_missing
from napari_invrecon.io.origin import known
from napari_invrecon.io.units import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "napari-invrecon"
VERSION = 1

_SAME_STEP = 1e-4  # relative; formats keep six digits or more
_OF_THE_FILE = ("file_name", "format", "sha256", "sha256_first_64MiB")


def note(acquisition: Acquisition) -> dict[str, Any]:
    """What `restored` needs, JSON-plain."""
    return {
        KEY: VERSION,
        "name": acquisition.name,
        "kind": acquisition.kind,
        "shape": [int(n) for n in acquisition.data.shape],
        "axes": [asdict(axis) for axis in acquisition.axes],
        "metadata": acquisition.metadata,
        "record": acquisition.record,
    }


def note_text(acquisition: Acquisition, more: Mapping[str, str] | None = None) -> str:
    """The note, with more keys, as JSON, ASCII only, for formats that hold a text."""
    return json.dumps(note(acquisition) | dict(more or {}))


def found_note(text: str) -> dict[str, Any] | None:
    """The note in a text; None where the text is something else."""
    if not text.startswith(f'{{"{KEY}"'):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def restored(
    data: Any, noted: Mapping[str, Any] | None, shared: Mapping[str, Any], steps: Mapping[str, Axis] | None = None
) -> Acquisition | None:
    """The acquisition that was saved; None where there is no note, or where it is not of this array.

    Parameters
    ----------
    data
        As the file holds it, with or without axes of length 1.
    noted
        From `found_note` or `note`.
    shared
        `origin` of the file; that of the file which was reconstructed is kept under ``saved_from``.
    steps
        The file's own axes by name, where it has them: they must agree.
    """
    try:
        ((_, data),) = real_numbers(data, "")
        saved = _acquisition(data, noted or {})
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    for axis in saved.axes:
        own = (steps or {}).get(axis.name)
        if own is not None and own.unit == axis.unit and not math.isclose(own.scale, axis.scale, rel_tol=_SAME_STEP):
            return None
    before = {key: value for key, value in saved.metadata.items() if key in _OF_THE_FILE}
    before |= saved.metadata.get("saved_from", {})
    metadata = {key: value for key, value in saved.metadata.items() if key not in _OF_THE_FILE}
    return replace(saved, metadata=metadata | dict(shared) | known(saved_from=before or None))


def _acquisition(data: Any, noted: Mapping[str, Any]) -> Acquisition:
    shape = tuple(int(n) for n in noted["shape"])
    if [n for n in data.shape if n > 1] != [n for n in shape if n > 1]:
        raise ValueError("the note is of an array of another shape")
    axes = tuple(
        Axis(str(axis["name"]), str(axis["unit"]), float(axis["scale"]), float(axis["offset"]))
        for axis in noted["axes"]
    )
    metadata, record = noted["metadata"], noted["record"]
    usable = all(
        math.isfinite(axis.offset) and math.isfinite(axis.scale) and axis.scale and axis.unit in UNITS for axis in axes
    )
    plain = isinstance(metadata, dict) and (record is None or isinstance(record, dict))
    if not usable or not plain or noted["kind"] not in get_args(Kind):
        raise ValueError("the note is damaged")
    if noted["kind"] == "tilt series" and len([float(angle) for angle in metadata["angles_deg"]]) != shape[0]:
        raise ValueError("the note has not one angle for each image")
    data = data.reshape(shape)
    if "missing" in noted:
        data = with_missing(data, noted["missing"])
    return Acquisition(data, axes, str(noted["name"]), noted["kind"], metadata, record)
