"""The section "PCA denoising" of the dock "Spectrum" in a real window."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from spectrum_window import add_spectra, counts
from tilt_window import press

import napari_invrecon as ir
from napari_invrecon.plugin.repeat import repeat
from napari_invrecon.plugin.widgets import components_section

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("no_error_is_left", "runs_end")]

WAIT_MS = 60_000


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer()
    add_spectra(viewer, counts())
    return viewer


def open_dock(viewer):
    return viewer.window.add_plugin_dock_widget("napari-invrecon", "Spectrum")[1]


def settle(qtbot, dock):
    qtbot.waitUntil(lambda: not (dock.live.busy or dock.view.spectrum.busy), timeout=WAIT_MS)


def test_denoised_spectra_are_a_layer_whose_maps_say_so_and_it_is_repeated(viewer, qtbot) -> None:
    pytest.importorskip("sklearn")
    dock = open_dock(viewer)
    denoised = press(qtbot, dock, dock.components.run_row.run_button)
    expected = ir.denoise_spectra(counts())
    assert denoised.name == "EELS PCA 2"
    np.testing.assert_array_equal(denoised.data[:, 0], expected.data)
    np.testing.assert_allclose(denoised.scale, viewer.layers["EELS"].scale)
    dock.image.value = denoised
    dock.elements.add_element("O")
    settle(qtbot, dock)
    assert "denoised spectra: σ does not hold" in dock.status.text()
    mapped = press(qtbot, dock, dock.run_button)
    record = mapped.metadata["invrecon"]
    assert [each["method"] for each in record["history"].values()] == ["denoise_spectra"]
    assert "was denoised by keeping 2 principal components" in ir.methods_paragraph(record)
    dock.components.settings.set_values({"n_components": 5})
    notification_manager.records.clear()
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as ended:
        repeat(viewer, denoised)
    np.testing.assert_array_equal(ended.args[0].data, denoised.data)
    assert any("bit for bit" in each.message for each in notification_manager.records)
    settle(qtbot, dock)


def test_without_scikit_learn_the_button_says_what_to_install(viewer, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(components_section, "find_spec", lambda _: None)
    dock = open_dock(viewer)
    button = dock.components.run_row.run_button
    assert not button.isEnabled()
    assert "pip install 'napari-invrecon[pca]'" in button.toolTip()
    settle(qtbot, dock)
