"""When napari first uses the package: its writers come first, and what the docks compute with is imported beside.

The numerics and the plots take a second or two to import. A dock that is opened right after a file was dropped would
stand still for as long, and the window with it.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from qtpy.QtCore import QCoreApplication, QTimer

from napari_invrecon.plugin.writers import come_first

if TYPE_CHECKING:
    from npe2 import PluginContext

_SLOW = ("matplotlib.figure", "napari_invrecon.records.replay", "scipy.signal.windows")  # the second: every modality


def activate(context: PluginContext) -> None:
    """Called by napari, in the window's thread; the imports begin when the window has nothing else to do."""
    come_first(context)
    if QCoreApplication.instance() is not None:
        QTimer.singleShot(0, threading.Thread(target=_import, name="invrecon imports").start)


def _import() -> None:
    for name in _SLOW:
        with suppress(ImportError):  # the dock that needs it will tell
            import_module(name)
