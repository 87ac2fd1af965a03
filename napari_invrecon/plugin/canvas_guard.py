"""Layers are removed in the OpenGL context that draws them.

napari 0.9.2 flushes its drawing commands when a layer is removed, in whatever context is current. After a paint event
that is the one with which Qt puts the window together. There some commands fail, and with them those that come later
are lost, for other layers too, without a word; and Mesa's software renderer (22.3) ends the process at one of the next
frames. Without this plugin:

    viewer.dims.ndisplay = 3
    viewer.add_image(volume), viewer.add_image(volume)   # drawn
    viewer.layers[0].gamma = 0.5
    viewer.layers.clear()
    viewer.add_image(volume)                             # drawn twice
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtOpenGLWidgets import QOpenGLWidget

if TYPE_CHECKING:
    from napari import Viewer
    from qtpy.QtWidgets import QWidget


class CanvasGuard(QObject):
    """Makes the canvas of a window current before one of its layers goes."""

    def __init__(self, viewer: Viewer, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        viewer.layers.events.removing.connect(self._take)

    def _take(self, _: object = None) -> None:
        for widget in self._window.findChildren(QOpenGLWidget):
            canvas = getattr(widget, "_vispy_canvas", None)  # None: it is closed
            if canvas is not None:
                canvas.set_current()


def guard(viewer: Viewer, window: QWidget) -> None:
    """Once for each window."""
    if window.findChild(CanvasGuard) is None:
        CanvasGuard(viewer, window)
