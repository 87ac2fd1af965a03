"""A run that needs more memory than is free does not start, and is offered in blocks. The free memory is made up."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from fusion_window import add_haadf, add_maps, scene
from fusion_window import open_dock as open_fusion
from napari.utils.notifications import notification_manager
from phantoms import image
from spectrum_window import add_spectra, counts, low_loss
from tilt_window import add, clean_series, press

from napari_invrecon.plugin import memory
from napari_invrecon.recon import energy, fusion, spectra
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


def test_estimates_of_spectra_and_fusions_grow_up_to_the_working_memory():
    settings = energy.EnergySettings(memory_gb=2.0)
    assert energy.estimate_memory((1000, 20, 20), settings) == pytest.approx(0.036 + 0.0016)
    assert energy.estimate_memory((1000, 2000, 2000), settings) == 2.0
    maps = [spectra.estimate_memory((1000, 512, 512), n) for n in (1, 2, 9)]
    assert maps[2] - maps[1] == pytest.approx(7 * (maps[1] - maps[0]))
    small, tall, fine = (
        fusion.estimate_memory(haadf, (3, 512, 512), fusion.FusionSettings(memory_gb=2.0, grid=grid))
        for haadf, grid in (((512, 512), "maps"), ((2048, 2048), "maps"), ((2048, 2048), "haadf"))
    )
    assert small < tall < fine
    blocks = [fusion.estimate_memory((n, n), (6, n, n), fusion.FusionSettings(memory_gb=2.0)) for n in (4096, 8192)]
    assert blocks[1] - 1 == pytest.approx(4 * (blocks[0] - 1)), "1 GB at work, the rest data and results"


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


def test_without_blocks_there_is_no_button(monkeypatch):
    monkeypatch.setattr(memory, "free_gb", lambda: 2.0)
    assert memory.has_room("Task", 3.0).startswith("not started: Task needs about 3 GB")
    told = notification_manager.records.pop()
    assert not told.actions
    assert told.message.endswith("or do less at a time")


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


def offered(dock, monkeypatch, button, label):
    """What the only notification's button does, pressed with too little free memory."""
    monkeypatch.setattr(memory, "free_gb", lambda: 1e-5)
    ended = []
    dock.finished.connect(ended.append)
    button.click()
    dock.finished.disconnect(ended.append)
    monkeypatch.undo()
    assert ended == [None]
    told = notification_manager.records.pop()
    assert f"{label} needs about" in told.message
    return [press for _, press in told.actions]


@pytest.mark.gui
def test_fuse_offers_blocks(make_napari_viewer, qtbot, monkeypatch):
    viewer = make_napari_viewer()
    haadf, maps = scene()
    add_haadf(viewer, haadf)
    add_maps(viewer, maps)
    dock = open_fusion(viewer)
    (run_within,) = offered(dock, monkeypatch, dock.run_button, "Fuse")
    with qtbot.waitSignal(dock.finished, timeout=60_000) as end:
        run_within(None)
    assert end.args[0].metadata["invrecon"]["settings"]["memory_gb"] == 0.1


@pytest.mark.gui
def test_spectra_offer_blocks_and_maps_say_what_helps(make_napari_viewer, qtbot, monkeypatch):
    viewer = make_napari_viewer()
    add_spectra(viewer, counts())
    add_spectra(viewer, low_loss(), name="low loss", start_ev=-10.0)
    viewer.layers.selection.active = viewer.layers["EELS"]
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Spectrum")
    dock.elements.add_element("O")
    dock.live_box.setChecked(False)
    assert offered(dock, monkeypatch, dock.run_button, "Elemental maps") == []
    assert press(qtbot, dock, dock.run_button).name == "O K"
    (run_within,) = offered(dock, monkeypatch, dock.energy.run_row.run_button, "Energy deconvolution")
    with qtbot.waitSignal(dock.finished, timeout=60_000) as end:
        run_within(None)
    assert end.args[0].metadata["invrecon"]["settings"]["memory_gb"] == 0.1
