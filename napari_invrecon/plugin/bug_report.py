"""What a developer needs to know of a failure, as one text to copy."""

from __future__ import annotations

import dataclasses
import json
import platform
from importlib.metadata import version
from typing import Any

import qtpy
from qtpy.QtWidgets import QApplication

from napari_invrecon.recon.record import versions

_ADDRESS = "https://github.com/napari-invrecon/napari-invrecon/issues"


def bug_report(message: str, traceback: str, settings: Any = None) -> str:
    """Message, versions, the settings of the run (a dataclass, or None) and the traceback. No data are in it."""
    found = {
        **versions(),
        "napari": version("napari"),
        f"Qt ({qtpy.API_NAME})": qtpy.QT_VERSION,
        "Python": platform.python_version(),
        "system": platform.platform(),
    }
    parts = [f"{message}\n\nReport it at {_ADDRESS}, with the data if they can be shared.", "Versions"]
    parts.append("\n".join(f"  {name} {value}" for name, value in found.items()))
    if settings is not None:
        shown = json.dumps(dataclasses.asdict(settings), default=str, ensure_ascii=False, indent=2)
        parts += [f"Settings ({type(settings).__name__})", shown]
    return "\n".join([*parts, "Traceback", traceback])


def copy_text(text: str) -> None:
    """Put a text on the clipboard."""
    QApplication.clipboard().setText(text)
