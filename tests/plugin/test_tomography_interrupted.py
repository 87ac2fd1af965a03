"""The dock "Tomography" in a real window: what may happen while a volume is made."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from napari.utils.notifications import ErrorNotification, notification_manager
from qtpy.QtCore import Qt, QThreadPool
from superqt.utils import WorkerBase
from tilt_window import PLACE_NM, PLUGIN, WAIT_MS, add, clean_series, open_dock, press, state

from napari_invrecon.plugin.widgets import tomography as dock_module
from napari_invrecon.recon.solvers import Iterate

pytestmark = pytest.mark.gui


@pytest.fixture(scope="module")
def clean():
    return clean_series()


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture(autouse=True)
def runs_end(qtbot):
    """No run is at work afterwards, and no error was shown."""
    notification_manager.records.clear()
    yield
    assert QThreadPool.globalInstance().waitForDone(5000), "a worker is still running"
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=5000)
    assert [each.message for each in notification_manager.records if isinstance(each, ErrorNotification)] == []


@pytest.fixture
def held(monkeypatch):
    """Reconstructions stay at their first iterate with a volume until they are told to go on, finish or stop."""

    class Held:
        opened = threading.Event()
        waiting = 0
        ended = 0
        volume = None

    control = Held()
    control.opened = threading.Event()
    real = dock_module.tomography

    def hold(stack, *asked):
        steps, answer = real(stack, *asked), None
        try:
            while True:
                try:
                    iterate = steps.send(answer)
                except StopIteration as end:
                    return end.value
                if iterate.step > 0 and not control.opened.is_set() and not answer:
                    width = stack.shape[-1]
                    control.volume = np.ones((width, stack.shape[-2], width), np.float32)
                    control.waiting += 1
                    while not answer and not control.opened.is_set():
                        time.sleep(0.002)
                        answer = yield Iterate(iterate.step, iterate.n_steps, control.volume)
                else:
                    answer = yield iterate
        finally:
            steps.close()
            control.ended += 1

    monkeypatch.setattr(dock_module, "tomography", hold)
    yield control
    control.opened.set()


def start(qtbot, dock, held):
    """Press Reconstruct and wait until it is in the middle."""
    qtbot.mouseClick(dock.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: held.waiting == 1, timeout=WAIT_MS)
    qtbot.waitUntil(dock.run_row.done_button.isEnabled)


def test_cancel_in_the_middle_changes_nothing_and_the_growing_volume_goes(qtbot, viewer, clean, held):
    add(viewer, clean)
    dock = open_dock(viewer)
    before = state(viewer)
    start(qtbot, dock, held)
    qtbot.waitUntil(lambda: dock.live.layer is not None)
    assert dock.live.layer.data is held.volume, "shown, not copied"
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
    assert held.ended == 1


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


def test_the_growing_volume_can_be_switched_off_or_deleted(qtbot, viewer, clean, held):
    add(viewer, clean)
    dock = open_dock(viewer)
    start(qtbot, dock, held)
    qtbot.waitUntil(lambda: dock.live.layer is not None)
    viewer.layers.remove(dock.live.layer)
    assert not dock.live_box.isChecked()
    qtbot.wait(100)
    assert len(viewer.layers) == 1
    dock.live_box.setChecked(True)
    qtbot.waitUntil(lambda: dock.live.layer is not None)
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
    qtbot.waitUntil(lambda: held.ended == 1, timeout=WAIT_MS)
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
    qtbot.waitUntil(lambda: held.ended == 1, timeout=WAIT_MS)
    assert QThreadPool.globalInstance().waitForDone(5000)
    qtbot.wait(100)
    assert added == []
