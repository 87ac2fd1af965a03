"""While a layer is being removed, the context in which napari draws is the current one."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtGui import QOpenGLContext
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from tilt_window import PLUGIN

pytestmark = pytest.mark.gui


def test_a_layer_goes_in_the_context_that_draws_it(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    window = viewer.window._qt_window
    viewer.add_image(np.zeros((8, 8)))
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    qtbot.waitUntil(dock.isVisible)
    (canvas,) = window.findChildren(QOpenGLWidget)
    qtbot.waitUntil(lambda: canvas.context() is not None)
    seen = []
    viewer.layers.events.removed.connect(lambda: seen.append(QOpenGLContext.currentContext()))
    canvas.doneCurrent()
    assert QOpenGLContext.currentContext() is None
    viewer.layers.clear()
    assert seen == [canvas.context()]
