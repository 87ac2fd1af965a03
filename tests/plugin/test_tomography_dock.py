"""The dock "Tomography" in a real window: a series dropped, aligned, reconstructed, and what may happen meanwhile."""

from __future__ import annotations

import json
import threading
import time

import mrcfile
import numpy as np
import pytest
from napari.utils.notifications import ErrorNotification, notification_manager
from qtpy.QtCore import QMimeData, QPointF, Qt, QThreadPool, QUrl
from qtpy.QtGui import QDropEvent
from scipy.ndimage import shift as moved
from superqt.utils import WorkerBase
from tilt_phantoms import line_integrals, particles, voxels

from napari_invrecon.plugin.widgets import tomography as dock_module
from napari_invrecon.recon.record import array_hash
from napari_invrecon.recon.solvers import Iterate

pytestmark = pytest.mark.gui

PLUGIN = "napari-invrecon"
WAIT_MS = 120_000
ANGLES = np.arange(-70.0, 71.0, 5.0)
SHAPE = (24, 40)  # y, x
PIXEL_NM = 1.5
DRIFT_PX = 2.0


@pytest.fixture(scope="module")
def clean():
    """Projections (tilt, y, x) with 1 % noise; the tilt axis ∥ y through the middle."""
    exact = line_integrals(particles(12, seed=3), ANGLES, *SHAPE)
    noise = np.random.default_rng(0).normal(0, 0.01 * exact.max(), exact.shape)
    return (exact + noise).astype(np.float32)


@pytest.fixture(scope="module")
def drifted(clean):
    """The same, each image moved by up to two pixels."""
    drift = np.random.default_rng(1).uniform(-DRIFT_PX, DRIFT_PX, (len(clean), 2))
    return np.stack([moved(image, d, order=3, mode="nearest") for image, d in zip(clean, drift, strict=True)])


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture(autouse=True)
def runs_end(qtbot):
    """No run is at work afterwards."""
    yield
    assert QThreadPool.globalInstance().waitForDone(5000), "a worker is still running"
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=5000)


@pytest.fixture(autouse=True)
def no_error_is_left():
    """Every error that napari shows is one that the test has asked for with `errors`."""
    notification_manager.records.clear()
    yield
    assert errors() == []


def errors():
    """The messages of the errors since the last call."""
    found = [each.message for each in notification_manager.records if isinstance(each, ErrorNotification)]
    notification_manager.records.clear()
    return found


def add(viewer, stack, *, angles=ANGLES, name="HAADF", **more):
    """A layer as the reader makes it."""
    acquisition = {
        "kind": "tilt series", "angles_deg": angles.tolist(), "angles_from": f"{name}.rawtlt",
        "axes": [{"name": "tilt", "unit": "degree", "scale": 5.0, "offset": -70.0},
                 *({"name": axis, "unit": "nm", "scale": PIXEL_NM, "offset": 0.0} for axis in "yx")],
    }  # fmt: skip
    return viewer.add_image(
        stack[:, None],
        name=name,
        scale=(5.0, PIXEL_NM, PIXEL_NM, PIXEL_NM),
        translate=(-70.0, 0.0, 6.0, 9.0),
        units=("degree", "nm", "nm", "nm"),
        axis_labels=("tilt", "z", "y", "x"),
        metadata={"acquisition": acquisition},
        **more,
    )


def open_dock(viewer, **settings):
    """The dock as the menu opens it, with a quick algorithm unless told; ``lam`` and the fields of its form."""
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Tomography")
    if "lam" in settings:
        dock.lam.value = settings.pop("lam")
    dock.settings.set_values({"algorithm": "sirt", "n_iter": 5} | settings)
    return dock


def press(qtbot, dock, button):
    """Press a button of the dock, wait for the end; the new layer or None."""
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    return end.args[0]


def drop(viewer, path):
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    nothing_held = Qt.KeyboardModifier.NoModifier
    viewer.window._qt_viewer.dropEvent(
        QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, nothing_held)
    )


def write(path, stack):
    """A series as a microscope leaves it: .mrc, angles in .rawtlt."""
    with mrcfile.new(path) as file:
        file.set_data(stack)
        file.voxel_size = 10 * PIXEL_NM
    path.with_suffix(".rawtlt").write_text("\n".join(f"{angle:.1f}" for angle in ANGLES))


def state(viewer):
    """All that a run that changes nothing must leave as it is."""
    return [
        (each.name, id(each), array_hash(each.data), json.dumps(each.metadata), tuple(each.scale),
         tuple(each.translate), each.units, each.visible, tuple(each.contrast_limits))
        for each in viewer.layers
    ]  # fmt: skip


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

    def hold(stack, angles_deg, settings):
        steps, answer = real(stack, angles_deg, settings), None
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


# ------------------------------------------------------------------------------------------------------ the whole job


def test_a_dropped_series_is_aligned_and_reconstructed(qtbot, viewer, drifted, tmp_path):
    write(tmp_path / "HAADF.mrc", drifted)
    drop(viewer, tmp_path / "HAADF.mrc")
    (source,) = viewer.layers
    dock = open_dock(viewer, n_iter=20)
    assert dock.image.value is source
    assert dock.angles.label.text() == "29 angles, −70…70°, from HAADF.rawtlt"
    before = state(viewer)

    aligned = press(qtbot, dock, dock.align_button)
    assert state(viewer)[:1] == before, "the source is untouched"
    assert aligned.name == "HAADF aligned"
    assert aligned.data.shape == source.data.shape
    assert (tuple(aligned.scale), tuple(aligned.translate)) == (tuple(source.scale), tuple(source.translate))
    assert aligned.units == source.units
    assert aligned.metadata["acquisition"]["angles_deg"] == ANGLES.tolist()
    found = aligned.metadata["invrecon"]
    assert found["method"] == "alignment"
    assert np.shape(found["alignment"]["shifts_px"]) == (len(ANGLES), 2)
    assert found["sources"][0] == {**found["sources"][0], "layer": "HAADF", "sha256": array_hash(drifted)}
    assert json.loads(json.dumps(found)) == found
    assert dock.image.value is aligned, "the next step is done with it"
    assert dock.alignment.plot.isVisibleTo(dock)
    assert dock.alignment.plot.sinograms.shape == (2, len(ANGLES), SHAPE[1])
    assert "Moved by up to" in dock.alignment.status.text()

    volume = press(qtbot, dock, dock.run_button)
    assert list(viewer.layers) == [source, aligned, volume]
    assert volume.data.shape == (SHAPE[1], *SHAPE)
    assert volume.axis_labels == ("z", "y", "x")
    np.testing.assert_allclose(volume.scale, PIXEL_NM, rtol=1e-6)
    np.testing.assert_allclose(volume.translate, [-PIXEL_NM * (SHAPE[1] - 1) / 2, 0, 0], atol=1e-4)
    assert [f"{unit:~}" for unit in volume.units] == ["nm", "nm", "nm"]
    assert viewer.layers.units is not None
    low, high = volume.contrast_limits
    assert volume.data.min() <= low < high <= volume.data.max()
    record = volume.metadata["invrecon"]
    assert record["method"] == "reconstruct_tilt_series"
    assert record["sources"][0]["layer"] == "HAADF aligned"
    assert record["sources"][0]["sha256"] == array_hash(np.asarray(aligned.data)[:, 0])
    assert record["sources"][0]["record"]["method"] == "alignment"
    assert record["sources"][1]["angles_deg"] == ANGLES.tolist()
    assert record["settings"]["algorithm"] == "sirt"
    assert json.loads(json.dumps(record)) == record
    truth = voxels(particles(12, seed=3), volume.data.shape)
    centred = np.corrcoef(np.sum(volume.data, axis=(0, 2)), np.sum(truth, axis=(0, 2)))[0, 1]
    assert centred > 0.95, "the object, as far as its shifts along the axis are known"
    assert dock.run_row.status_label.text().startswith("done in")


def test_the_step_align_can_be_skipped_and_the_object_comes_out(qtbot, viewer, clean):
    add(viewer, clean)
    dock = open_dock(viewer, n_iter=30)
    volume = press(qtbot, dock, dock.run_button)
    truth = voxels(particles(12, seed=3), volume.data.shape)
    assert np.corrcoef(volume.data.ravel(), truth.ravel())[0, 1] > 0.9, "z not mirrored, x not mirrored"
    np.testing.assert_allclose(volume.translate, [-PIXEL_NM * (SHAPE[1] - 1) / 2, 6.0, 9.0])


@pytest.mark.parametrize("axis", ["y", "x"])
def test_maps_are_reconstructed_channel_by_channel_about_either_axis(qtbot, viewer, clean, axis):
    maps = np.stack([clean, 2 * clean])
    if axis == "x":
        maps = maps.swapaxes(-1, -2)
    viewer.add_image(maps, name="EDX")
    dock = open_dock(viewer)
    dock.angles.start.setValue(ANGLES[0])
    dock.angles.step.setValue(5.0)
    dock.axis.value = axis
    assert not dock.align_button.isEnabled()
    assert "align the image series of the same tilts" in dock.align_button.toolTip()
    volume = press(qtbot, dock, dock.run_button)
    y, x = (24, 40) if axis == "y" else (40, 24)
    assert volume.data.shape == (2, 40, y, x)
    assert volume.axis_labels == ("channel", "z", "y", "x")
    np.testing.assert_allclose(volume.data[1], 2 * volume.data[0], rtol=2e-3, atol=1e-3 * volume.data.max())
    assert viewer.dims.ndisplay == 2, "four dimensions are not rendered by themselves"


def test_the_shifts_are_saved_loaded_and_applied_to_maps(qtbot, viewer, drifted, tmp_path):
    source, maps = add(viewer, drifted), add(viewer, 3 * drifted, name="Co map")
    dock = open_dock(viewer)
    dock.image.value = source
    assert not dock.alignment.save_button.isEnabled()
    assert "not aligned here" in dock.alignment.save_button.toolTip()
    dock.alignment.settings.set_values({"method": "centre-of-mass"})
    aligned = press(qtbot, dock, dock.align_button)
    for name in ("shifts.json", "shifts.xf"):
        dock.alignment.save(tmp_path / name)
        dock.image.value = source
        with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
            dock.alignment.load(tmp_path / name)
        (loaded,) = end.args
        inside = np.s_[:, :, 6:-6, 6:-6]  # beyond the field of view an .xf does not say what vacuum is
        scatter = np.abs(loaded.data[inside] - aligned.data[inside]).max()
        assert scatter < 0.01 * aligned.data.max(), name
        assert dock.image.value is loaded
    dock.alignment.other.value = maps
    moved_maps = press(qtbot, dock, dock.alignment.apply_button)
    assert moved_maps.name == "Co map aligned"
    assert dock.image.value is loaded, "the shifts can be applied to another one"
    inside = np.s_[:, :, 6:-6, 6:-6]
    np.testing.assert_allclose(moved_maps.data[inside], 3 * loaded.data[inside], atol=0.02 * moved_maps.data.max())
    (tmp_path / "none.json").write_text("{}")
    dock.alignment.load(tmp_path / "none.json")
    (message,) = errors()
    assert "none.json holds no alignment" in message


# --------------------------------------------------------------------------------------------- stopped in the middle


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
    np.testing.assert_allclose(volume.translate[1:], [6.0, 9.0])
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
