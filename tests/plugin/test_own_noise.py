"""Maps of the dock "Spectrum" bring their own counts, backgrounds and variances into a fusion."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from spectrum_window import add_spectra, counts
from tilt_window import PLUGIN, WAIT_MS, press

import napari_invrecon as ir
from napari_invrecon.plugin.repeat import repeat
from napari_invrecon.recon.element_window import ElementWindow

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("no_error_is_left", "runs_end")]

FAR = ElementWindow("O", "K", (532.0, 592.0), ((500.0, 525.0),), "power-law")  # much of its noise is the background's
BESIDE = ElementWindow("O", "K", (532.0, 562.0), ((470.0, 525.0), (570.0, 599.0)), "linear")


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer()
    y = counts()
    add_spectra(viewer, y)
    haadf = np.where(np.arange(16) < 8, 300.0, 200.0) + np.random.default_rng(0).normal(0, 3, (12, 16))
    viewer.add_image(haadf, name="HAADF", scale=(2.0, 2.0), translate=(10, 20), units=("nm", "nm"))
    return viewer


def mapped(viewer, qtbot, window):
    """The map of a window as a layer, and the dock that fuses it."""
    viewer.layers.selection.active = viewer.layers["EELS"]
    _, spectrum = viewer.window.add_plugin_dock_widget(PLUGIN, "Spectrum")
    spectrum.live_box.setChecked(False)
    spectrum.elements.add(window)
    layer = press(qtbot, spectrum, spectrum.run_button)
    qtbot.waitUntil(lambda: not spectrum.view.spectrum.busy, timeout=WAIT_MS)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    dock.lam.value = 1.0
    dock.settings.set_values({"coupling": "edges", "n_iter": 20})
    return layer, dock


@pytest.mark.parametrize(("window", "noise"), [(FAR, "gaussian"), (BESIDE, "poisson")])
def test_a_map_brings_its_own(viewer, qtbot, window, noise) -> None:
    layer, dock = mapped(viewer, qtbot, window)
    maps = ir.elemental_maps(viewer.layers["EELS"].data[:, 0], 400 + 0.5 * np.arange(400), [window])
    counted = noise == "poisson"
    assert ("counts over their own backgrounds" if counted else "their own σ² in each pixel") in dock.lies.text()
    press(qtbot, dock, dock.run_button)
    (fused,) = dock.fused.maps
    record = fused.metadata["invrecon"]
    assert record["noise"] == noise
    haadf = viewer.layers["HAADF"].data
    own = (maps.counts, None, maps.background, None) if counted else (maps.data, None, None, maps.variance)
    expected = ir.fuse(haadf, *own, lam=1.0, coupling="edges", n_iter=20, elements="O")
    np.testing.assert_array_equal(fused.data, expected.data[0])
    roles = {each["role"]: [one.get("quantity") for one in each["layers"]] for each in record["sources"][1:]}
    expected = {"maps": ["counts"], "backgrounds": ["background"]} if counted else {"maps": [None]}
    assert roles == expected | ({} if counted else {"variances": ["variance"]})
    told = ir.script(record, saved={each["sha256"]: "x.npy" for each in record["sources"][:1]} | known(layer))
    assert ("step_1.counts[0]" if counted else "step_1.variance[0]") in told
    notification_manager.records.clear()
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS):
        repeat(viewer, fused)
    np.testing.assert_array_equal(dock.fused.maps[0].data, fused.data)
    assert any("bit for bit" in each.message for each in notification_manager.records)


def known(layer):
    """A name for the spectrum image of a map."""
    return {layer.metadata["invrecon"]["sources"][0]["sha256"]: "si.npy"}


def test_what_the_user_sets_wins_and_a_changed_layer_is_a_layer(viewer, qtbot) -> None:
    layer, dock = mapped(viewer, qtbot, BESIDE)
    dock.settings.set_values({"noise": "gaussian"})
    assert "their own σ²" in dock.lies.text()
    dock.settings.set_values({"noise_sigma": 3.0})
    assert "own" not in dock.lies.text()
    dock.settings.set_values({"noise_sigma": None, "noise": None, "background": "2"})
    assert "own" not in dock.lies.text()
    dock.settings.set_values({"background": ""})
    assert "counts over their own" in dock.lies.text()
    del layer.metadata["variance"]
    dock.settings.set_values({"n_iter": 21})
    assert "own" not in dock.lies.text()
