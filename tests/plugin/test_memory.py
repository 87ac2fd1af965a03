"""A run that needs more memory than is free does not start, and is offered in blocks. The free memory is made up."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from phantoms import image
from tilt_window import add, clean_series

from napari_invrecon.plugin import memory
from napari_invrecon.recon.deconvolution import estimate_memory
from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings


def test_the_estimate_grows_with_the_image_up_to_the_working_memory():
    settings = DeconvolutionSettings(regulariser="tv", memory_gb=2.0)
    assert estimate_memory((1000, 1000), settings) == pytest.approx(0.08)
    assert estimate_memory((10_000, 10_000), settings) == 2.0
    assert estimate_memory((7, 1000, 1000), settings) == pytest.approx(0.08 + 0.028), "frames one by one, all kept"
    assert estimate_memory((1000, 1000, 1000), settings) == pytest.approx(0.08), "the result is a file"
    quick = DeconvolutionSettings(regulariser="tikhonov", memory_gb=2.0)
    assert estimate_memory((1000, 1000), quick) < estimate_memory((1000, 1000), settings)
    slow = DeconvolutionSettings(regulariser="tikhonov", boundary="masked")
    assert estimate_memory((1000, 1000), slow) > estimate_memory((1000, 1000), settings)


def test_the_button_does_not_keep_the_dock(monkeypatch):
    class Dock:
        used = None

        def run_within(self, memory_gb):
            Dock.used = memory_gb

    monkeypatch.setattr(memory, "free_gb", lambda: 2.0)
    dock = Dock()
    assert memory.has_room("Task", 1.9, dock.run_within) == ""
    why = memory.has_room("Task", 3.0, dock.run_within)
    assert why == "not started: Task needs about 3 GB of memory, and 2 GB are free"
    told = notification_manager.records.pop()
    ((label, press),) = told.actions
    assert label == "Run within 1.2 GB"
    press(None)
    assert Dock.used == 1.2
    Dock.used = None
    del dock
    press(None)
    assert Dock.used is None


@pytest.mark.gui
def test_deconvolve_offers_blocks(make_napari_viewer, qtbot, monkeypatch):
    viewer = make_napari_viewer()
    counts = image("particles", 1.5, 200, size=64)[1]
    large = viewer.add_image(da.zeros((20_000, 20_000), dtype=np.uint16, chunks=1000), name="large")
    small = viewer.add_image(counts, name="small")
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    dock.settings.set_values({"regulariser": "tikhonov"})
    dock.image.value = large
    monkeypatch.setattr(memory, "free_gb", lambda: 2.5)
    ended = []
    dock.finished.connect(ended.append)
    dock.run_button.click()
    assert ended == [None]
    assert not dock.run_row.running
    assert "needs about 4 GB" in dock.run_row.status_label.text()
    ((_, press),) = notification_manager.records.pop().actions
    dock.image.value = small
    with qtbot.waitSignal(dock.finished, timeout=60_000) as end:
        press(None)
    assert end.args[0].metadata["invrecon"]["settings"]["memory_gb"] == 1.5
    assert dock.settings.values()["memory_gb"] == 1.5


@pytest.mark.gui
def test_tomography_offers_slabs_and_says_when_there_is_no_way(make_napari_viewer, qtbot, monkeypatch):
    viewer = make_napari_viewer()
    add(viewer, clean_series())
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Tomography")
    dock.settings.set_values({"algorithm": "fbp"})
    monkeypatch.setattr(memory, "free_gb", lambda: 0.3)
    dock.run_button.click()
    assert "Tomography needs about" in dock.run_row.status_label.text()
    ((_, press),) = notification_manager.records.pop().actions
    monkeypatch.undo()
    with qtbot.waitSignal(dock.finished, timeout=120_000) as end:
        press(None)
    assert end.args[0] is viewer.layers[-1]
    viewer.dims.ndisplay = 2
    layer = viewer.add_image(
        da.zeros((61, 1, 40, 2000), dtype=np.uint16),
        metadata={"acquisition": {"kind": "tilt series", "angles_deg": list(range(61))}},
    )
    dock.image.value = layer
    assert "allow more, bin the stack" in dock.memory.text(), "no exception in the middle of the window"
