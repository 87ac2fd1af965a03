"""When napari first uses the package: its writers come first, and the docks are imported beside.

With numerics and plots they take a second or two to import. The window would stand still for as long when the first
one is opened, and most often a file is dropped before.
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

SLOW = (
    *(f"napari_invrecon.plugin.widgets.{dock}" for dock in ("deconvolution", "tomography", "fusion", "spectrum")),
    "dask.array",  # these the docks do without until something runs
    "zarr",
    "scipy.signal.windows",
)


def activate(context: PluginContext) -> None:
    """Called by napari, in the window's thread; the imports begin when the window has nothing else to do."""
    come_first(context)
    if QCoreApplication.instance() is not None:
        QTimer.singleShot(0, _start)


def _start() -> None:
    threading.Thread(target=_import, name="invrecon imports").start()


def _import() -> None:
    for name in SLOW:
        with suppress(ImportError):  # the dock that needs it will tell
            import_module(name)
