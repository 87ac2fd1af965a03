"""The dock "Tomography" in a real window: what may happen while a volume is made."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt, QThreadPool
from tilt_window import PLACE_NM, PLUGIN, WAIT_MS, add, clean_series, open_dock, press, state

from napari_invrecon.plugin.widgets import tomography as dock_module
from napari_invrecon.recon.solvers import Iterate

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("no_error_is_left", "runs_end")]


@pytest.fixture(scope="module")
def clean():
    return clean_series()


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def held(hold):
    """At its first iteration each run shows a volume, as it does once in a second."""

    def with_a_volume(iterate, stack, *_):
        if iterate.step == 0:
            return None
        *_, height, width = stack.shape
        return Iterate(iterate.step, iterate.n_steps, np.ones((width, height, width), np.float32))

    return hold(dock_module, "tomography", with_a_volume)


def start(qtbot, dock, held):
    """Press Reconstruct and wait until it is in the middle."""
    qtbot.mouseClick(dock.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(held.shown) == 1, timeout=WAIT_MS)
    qtbot.waitUntil(dock.run_row.done_button.isEnabled)


def test_cancel_in_the_middle_changes_nothing_and_the_growing_volume_goes(qtbot, viewer, clean, held):
    add(viewer, clean)
    dock = open_dock(viewer)
    before = state(viewer)
    start(qtbot, dock, held)
    qtbot.waitUntil(lambda: dock.live.layer is not None, timeout=WAIT_MS)
    assert dock.live.layer.data is held.shown[0].x, "shown, not copied"
    assert dock.live.layer not in dock.image.choices
    assert not dock.align_button.isEnabled()
    assert "running" in dock.align_button.toolTip()
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        qtbot.mouseClick(dock.run_row.cancel_button, Qt.MouseButton.LeftButton)
    assert end.args == [None]
    assert state(viewer) == before
    assert dock.run_row.status_label.text() == "cancelled: nothing was changed"
    assert dock.run_button.isEnabled()
    assert dock.align_button.isEnabled()
    assert len(held.ended) == 1


def test_done_keeps_the_current_iterate(qtbot, viewer, clean, held):
    add(viewer, clean)
    dock = open_dock(viewer)
    start(qtbot, dock, held)
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        qtbot.mouseClick(dock.run_row.done_button, Qt.MouseButton.LeftButton)
    (kept,) = end.args
    assert kept is viewer.layers[-1]
    assert dock.live.layer is None
    assert len(viewer.layers) == 2
    assert kept.metadata["invrecon"]["n_iter"] < 5
    assert np.ptp(kept.data) > 0


def test_the_series_is_removed_in_the_middle(qtbot, viewer, clean, held):
    source = add(viewer, clean)
    dock = open_dock(viewer)
    start(qtbot, dock, held)
    viewer.layers.remove(source)
    assert "Open a tilt series first" not in dock.run_row.status_label.text()
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        held.opened.set()
    (volume,) = end.args
    assert list(viewer.layers) == [volume]
    assert volume.metadata["invrecon"]["sources"][0]["layer"] == "HAADF"
    np.testing.assert_allclose(volume.translate[1:], PLACE_NM)
    assert not dock.run_button.isEnabled(), "a volume is no tilt series"
    assert "Open a tilt series first" in dock.run_button.toolTip()


def test_what_is_said_of_an_alignment_and_of_angles_goes_with_its_series(qtbot, viewer, clean):
    source = add(viewer, clean)
    dock = open_dock(viewer)
    dock.alignment.settings.set_values({"method": "centre-of-mass"})
    aligned = press(qtbot, dock, dock.align_button)
    said = dock.alignment.status.text()
    assert said.startswith("Moved by up to")
    assert dock.alignment.plot.isVisibleTo(dock)
    dock.image.value = source
    assert dock.alignment.status.text() == ""
    assert not dock.alignment.plot.isVisibleTo(dock)
    dock.image.value = aligned
    assert dock.alignment.status.text() == said
    assert dock.alignment.plot.isVisibleTo(dock)
    viewer.layers.remove(aligned)
    assert dock.image.value is source
    assert dock.alignment.status.text() == ""
    assert dock.angles.label.isVisibleTo(dock)
    viewer.layers.clear()
    assert not dock.angles.label.isVisibleTo(dock), "there are no tilts whose angles these are"


def test_an_alignment_that_was_ended_by_done_says_so(qtbot, viewer, clean):
    add(viewer, clean)
    dock = open_dock(viewer)
    dock.alignment.settings.set_values({"n_iter": 1000, "tolerance_px": 1e-4})
    stages = []

    def finish(iterate):
        stages.append(iterate.stage)
        if len(stages) == 2:
            dock.run_row.done_button.click()

    dock.run_row.progressed.connect(finish)
    press(qtbot, dock, dock.align_button)
    assert "Ended by Done before all stages" in dock.alignment.status.text()


def test_the_growing_volume_can_be_switched_off_or_deleted(qtbot, viewer, clean, held):
    add(viewer, clean)
    dock = open_dock(viewer)
    start(qtbot, dock, held)
    qtbot.waitUntil(lambda: dock.live.layer is not None, timeout=WAIT_MS)
    viewer.layers.remove(dock.live.layer)
    assert not dock.live_box.isChecked()
    qtbot.wait(100)
    assert len(viewer.layers) == 1
    dock.live_box.setChecked(True)
    qtbot.waitUntil(lambda: dock.live.layer is not None, timeout=WAIT_MS)
    dock.live_box.setChecked(False)
    assert len(viewer.layers) == 1
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS):
        held.opened.set()
    assert [each.name for each in viewer.layers] == ["HAADF", "HAADF sirt"]


def test_the_dock_is_closed_in_the_middle(qtbot, viewer, clean, held):
    add(viewer, clean)
    docked, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Tomography")
    dock.settings.set_values({"algorithm": "sirt", "n_iter": 5})
    dock.axis.show_box.setChecked(True)
    start(qtbot, dock, held)
    docked.destroyOnClose()  # what its × does
    qtbot.waitUntil(lambda: len(held.ended) == 1, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1)
    viewer.dims.ndisplay = 3
    viewer.dims.ndisplay = 2
    again = open_dock(viewer)
    held.opened.set()
    assert press(qtbot, again, again.run_button) is viewer.layers[-1]


def test_the_viewer_is_closed_in_the_middle(qtbot, viewer, clean, held):
    add(viewer, clean)
    dock = open_dock(viewer)
    start(qtbot, dock, held)
    viewer.close()
    added = []
    viewer.layers.events.inserted.connect(added.append)
    qtbot.waitUntil(lambda: len(held.ended) == 1, timeout=WAIT_MS)
    assert QThreadPool.globalInstance().waitForDone(5000)
    qtbot.wait(100)
    assert added == []
