"""Whether spectra are of electrons or of X-rays."""

from __future__ import annotations

import re
from typing import Any, Literal

_XRAY = re.compile(r"ED[SX]|x-?ray|SuperX|UltraX|XFlash", re.IGNORECASE)
_ELECTRON = re.compile(r"EELS|energy.loss|Zebra|GIF|Enfin|Quefina", re.IGNORECASE)
_HARD_EV = 4000.0  # beyond it, an axis of unknown origin is one of X-rays


def spectrum_kind(name: str, metadata: dict[str, Any], end_ev: float) -> Literal["eels", "edx"]:
    """From the signal's name, its detector and title, else from the last energy of the axis."""
    for text in (name, str(metadata.get("detector", "")), str(metadata.get("title", ""))):
        if _ELECTRON.search(text):
            return "eels"
        if _XRAY.search(text):
            return "edx"
    return "edx" if end_ev > _HARD_EV else "eels"
