"""Where an acquisition comes from: the file's name, its fingerprint, its format; and JSON-plain metadata."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

HASHED_WHOLE_BYTES = 512 * 2**20
_HASHED_HEAD_BYTES = 64 * 2**20


def origin(path: Path, file_format: str) -> dict[str, Any]:
    """``file_name``, ``format``, and ``sha256``, or ``sha256_first_64MiB`` for files over 512 MiB; none of a folder."""
    if path.is_dir():
        return {"file_name": path.name, "format": file_format}
    whole = path.stat().st_size <= HASHED_WHOLE_BYTES
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256") if whole else hashlib.sha256(file.read(_HASHED_HEAD_BYTES))
    key = "sha256" if whole else "sha256_first_64MiB"
    return {"file_name": path.name, "format": file_format, key: digest.hexdigest()}


def known(**values: Any) -> dict[str, Any]:
    """Metadata without what is unknown: None, empty text, NaN and infinity go; NumPy scalars become plain ones."""
    plain = {key: _plain(value) for key, value in values.items()}
    return {key: value for key, value in plain.items() if value is not None and value != "" and value != []}


def positive(value: Any, factor: float = 1.0) -> float | None:
    """The number times ``factor``, or None where it is no positive finite number, as vendors write "unknown"."""
    number = finite(value, factor)
    return number if number is not None and number > 0 else None


def finite(value: Any, factor: float = 1.0) -> float | None:
    """The number times ``factor``, to 12 digits, or None where it is no finite number."""
    try:
        number = float(value) * factor
    except (TypeError, ValueError):
        return None
    return float(f"{number:.12g}") if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.strip("\0 \n\r\t")
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    return value
