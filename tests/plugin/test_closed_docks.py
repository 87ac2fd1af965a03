"""What napari's × does to a dock: it is deleted, hears nothing any more, and the next one is a new one."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from fusion_window import add_haadf, add_maps, scene
from tilt_window import PLUGIN, add, clean_series

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("no_error_is_left", "runs_end")]

DOCKS = ("Deconvolve", "Tomography", "Fuse", "Spectrum", "About this reconstruction")


@pytest.fixture
def viewer(make_napari_viewer):
    """What every dock can work on."""
    viewer = make_napari_viewer(strict_qt=True)
    haadf, counts = scene()
    add_haadf(viewer, haadf)
    add_maps(viewer, counts)
    return viewer


@pytest.mark.parametrize("title", DOCKS)
def test_it_is_deleted(viewer, qtbot, title):
    docked, dock = viewer.window.add_plugin_dock_widget(PLUGIN, title)
    kept, gone = weakref.ref(dock), []
    dock.destroyed.connect(lambda: gone.append(title))
    docked.destroyOnClose()  # what its × does
    qtbot.waitUntil(lambda: gone == [title], timeout=5000)
    # pytest-qt fails the test if any of these reaches what is left of it
    source = viewer.layers[0]
    source.scale = source.translate = (2.0, 2.0)
    source.data = source.data + 1
    source.visible = False
    viewer.layers.selection.active = viewer.layers[1]
    viewer.layers.move(0, 2)
    viewer.layers.remove(source)
    add(viewer, clean_series())
    viewer.dims.set_point(0, 10)
    viewer.dims.ndisplay = 3
    viewer.theme = "light"
    viewer.scene.camera.center = (1, 2, 3)
    again = viewer.window.add_plugin_dock_widget(PLUGIN, title)[1]
    assert again is not dock
    again.objectName()  # Qt's half is there
    del docked, dock
    gc.collect()
    assert kept() is None, "nothing keeps Python's half"


def test_one_that_was_only_hidden_or_floats_stays(viewer, qtbot):
    docked, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    docked.hide()
    docked.show()
    docked.setFloating(True)
    docked.setFloating(False)
    qtbot.wait(50)
    assert viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")[1] is dock
    viewer.add_image(np.eye(4), name="later")
    assert "later" in [layer.name for layer in dock.image.choices]
