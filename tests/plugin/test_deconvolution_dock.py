"""The dock "Deconvolve" in a real window: files dropped, the button pressed, and whatever may happen meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import dask.array as da
import numpy as np
import pytest
from notifications import errors
from phantoms import image as draw
from phantoms import rmse
from qtpy.QtCore import QMimeData, QPointF, Qt, QThreadPool, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QMenu

from napari_invrecon.plugin import inputs as inputs_module
from napari_invrecon.plugin.widgets.deconvolution import DeconvolutionDock
from napari_invrecon.recon.psf import FWHM_PER_SIGMA
from napari_invrecon.recon.record import array_hash

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("no_error_is_left", "runs_end")]

PLUGIN = "napari-invrecon"
WAIT_MS = 120_000
CALIBRATED = {"scale": (0.5, 0.5), "units": ("nm", "nm"), "axis_labels": ("y", "x")}
RECORD_KEYS = {
    "schema", "method", "settings", "sources", "lam", "lam_rule", "curve", "data_scale", "detector", "boundary",
    "nonnegative", "noise_sigma", "residual_over_noise", "n_iter", "stopped", "residual", "objective", "blocks",
    "versions", "started", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def phantom():
    """(object, counts), 64 × 64, blurred by σ = 2 px."""
    return draw("particles", 2.0, 400, size=64, margin=20)


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


def open_dock(viewer, **settings):
    """The dock as the menu opens it; ``lam`` and the fields of its form."""
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    if "lam" in settings:
        dock.lam.value = settings.pop("lam")
    dock.settings.set_values(settings)
    return dock


def press_run(qtbot, dock):
    """Press Run, wait for the end; the new layer or None."""
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        qtbot.mouseClick(dock.run_button, Qt.MouseButton.LeftButton)
    return end.args[0]


def drop(viewer, path):
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    nothing_held = Qt.KeyboardModifier.NoModifier
    viewer.window._qt_viewer.dropEvent(
        QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, nothing_held)
    )


def state(viewer):
    """All that a run that changes nothing must leave as it is."""
    return [
        (each.name, id(each), array_hash(each.data), json.dumps(each.metadata, default=str), tuple(each.scale),
         tuple(each.translate), each.units, each.visible, tuple(each.contrast_limits), each.colormap.name)
        for each in viewer.layers
    ]  # fmt: skip


@pytest.fixture
def held(hold):
    return hold(inputs_module, "deconvolution")


def start(qtbot, held, *docks):
    """Press Run on each and wait until all are in the middle."""
    for dock in docks:
        qtbot.mouseClick(dock.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(held.shown) == len(docks), timeout=WAIT_MS)
    for dock in docks:
        qtbot.waitUntil(dock.run_row.done_button.isEnabled)


def wait_idle(qtbot, *docks):
    for dock in docks:
        qtbot.waitUntil(lambda dock=dock: not dock.run_row.running, timeout=WAIT_MS)


# ---------------------------------------------------------------------------------------------- real acquisitions


@pytest.mark.parametrize(
    ("file", "regulariser", "cropped"),
    [
        ("ser/16_STOimage_1.ser", "tikhonov", False),
        ("ser/16_STOimage.emi", "tv", True),
        ("dm/test_STEM_image.dm3", "tv", False),
        ("dm/test_STEM_image.dm3", "tikhonov", False),
    ],
)
def test_a_dropped_acquisition_is_deconvolved(qtbot, viewer, shared_data, file, regulariser, cropped):
    pytest.importorskip("rsciio")
    drop(viewer, shared_data / file)
    (source,) = viewer.layers
    if cropped:  # the centre, at its place
        first = [n // 2 - 128 for n in source.data.shape]
        source.data = np.asarray(source.data[tuple(slice(n, n + 256) for n in first)])
        source.translate = source.translate + source.scale * first
    source.colormap = "magma"
    dock = open_dock(viewer, regulariser=regulariser)
    assert dock.image.value is source
    dock.sigma.setValue(2.0)
    assert dock.lam.value is None, "λ is automatic"
    before = state(viewer)

    result = press_run(qtbot, dock)

    assert state(viewer)[:1] == before, "the source is untouched"
    assert list(viewer.layers) == [source, result]
    record = result.metadata["invrecon"]
    print(f"\n{file}: {json.dumps(record | {'curve': record['curve']['choices']}, ensure_ascii=False)}")  # noqa: T201
    assert result.name == f"{source.name} deconvolved λ={record['lam']:.3g}"
    np.testing.assert_array_equal(result.scale, source.scale)
    np.testing.assert_array_equal(result.translate, source.translate)
    assert result.units == source.units
    assert [f"{unit:~}" for unit in result.units] == ["nm", "nm"]
    assert result.axis_labels == source.axis_labels == ("y", "x")
    assert result.colormap.name == "magma"
    assert result.metadata["acquisition"] == source.metadata["acquisition"]
    assert viewer.layers.units is not None

    data, given = np.asarray(result.data), np.asarray(source.data, float)
    assert data.shape == given.shape
    assert data.dtype == np.float32
    assert np.isfinite(data).all()
    assert data.mean() == pytest.approx(given.mean(), rel=0.01), "the intensity is kept"
    low, high = result.contrast_limits
    assert data.min() <= low < high <= data.max()
    assert np.mean((data >= low) & (data <= high)) > 0.99
    # Blurred again, it is the image up to its noise.
    assert 0.5 < record["residual_over_noise"] < 1.5

    assert set(record) >= RECORD_KEYS
    assert record["method"] == "deconvolve"
    assert record["lam_rule"] == ("l-curve" if file.startswith("ser") else "balanced"), "noise in scan lines, and white"
    assert 1e-8 < record["lam"] < 1e3
    assert record["curve"]["choices"][record["lam_rule"]] == pytest.approx(record["lam"])
    assert record["settings"]["lam"] is None
    assert record["settings"]["regulariser"] == regulariser
    assert record["settings"]["pixel_size_nm"] == pytest.approx(source.scale[-1])
    image, psf = record["sources"]
    assert image["layer"] == source.name
    assert image["sha256"] == array_hash(source.data)
    assert (psf["role"], psf["model"], psf["sigma"], psf["unit"]) == ("psf", "gaussian", 2.0, "px")
    assert json.loads(json.dumps(record)) == record
    assert f"{record['lam']:.3g}" in dock.lam.automatic_box.text(), "the chosen λ is shown"


def test_the_defaults_and_the_psf_give_back_the_object(qtbot, viewer, phantom):
    truth, counts = phantom
    viewer.add_image(counts, **CALIBRATED)
    dock = open_dock(viewer)
    assert dock.sigma.value() == 1.0, "a narrow guess makes no detail of noise"
    dock.sigma.setValue(2.0)
    result = press_run(qtbot, dock)
    assert rmse(result.data, truth) < 0.8 * rmse(counts, truth)
    assert dock.run_row.status_label.text().startswith("done in")


def test_a_second_run_after_the_first_with_other_settings(qtbot, viewer, phantom):
    source = viewer.add_image(phantom[1], name="HAADF", **CALIBRATED)
    dock = open_dock(viewer, regulariser="tikhonov")
    first = press_run(qtbot, dock)
    before = state(viewer)
    assert dock.image.value is source, "the result does not take the source's place in the dock"
    dock.lam.value = 0.25
    dock.sigma.setValue(1.5)
    second = press_run(qtbot, dock)
    assert state(viewer)[:2] == before
    assert second.name == "HAADF deconvolved λ=0.25"
    record = second.metadata["invrecon"]
    assert (record["lam"], record["lam_rule"], record["settings"]["lam"]) == (0.25, "given", 0.25)
    assert record["sources"][1]["sigma"] == 1.5
    assert array_hash(first.data) != array_hash(second.data)

    dock.image.value = second  # a reconstruction of a reconstruction
    third = press_run(qtbot, dock)
    again = third.metadata["invrecon"]
    assert again["history"] == {again["sources"][0]["made_by"]: record}
    assert again["sources"][0]["made_by"] == again["sources"][0]["sha256"]


def test_equal_runs_give_equal_layers_with_names_of_their_own(qtbot, viewer, phantom):
    viewer.add_image(phantom[1], name="HAADF")
    dock = open_dock(viewer, regulariser="tikhonov", lam=0.01)
    first, second = press_run(qtbot, dock), press_run(qtbot, dock)
    assert [each.name for each in viewer.layers][1:] == ["HAADF deconvolved λ=0.01", "HAADF deconvolved λ=0.01 [1]"]
    np.testing.assert_array_equal(first.data, second.data)


# --------------------------------------------------------------------------------------------- stopped in the middle


def test_cancel_in_the_middle_changes_nothing(qtbot, viewer, phantom, held):
    viewer.add_image(phantom[1], name="HAADF", metadata={"mine": 1}, **CALIBRATED)
    dock = open_dock(viewer, lam=0.01)
    before = state(viewer)
    start(qtbot, held, dock)
    assert not dock.run_button.isEnabled()
    assert "running" in dock.run_button.toolTip()
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        qtbot.mouseClick(dock.run_row.cancel_button, Qt.MouseButton.LeftButton)
    assert end.args == [None]
    assert state(viewer) == before
    assert dock.run_row.status_label.text() == "cancelled: nothing was changed"
    assert dock.run_button.isEnabled()
    assert held.ended
    assert held.ended[0] != threading.get_ident(), "it was stopped in its own thread"

    held.opened.set()
    assert press_run(qtbot, dock) is viewer.layers[-1], "and it can be run again"
    assert len(viewer.layers) == 2


@pytest.mark.parametrize("regulariser", ["tv", "l1", "roughness"])
def test_cancel_at_any_moment_leaves_no_layer(qtbot, viewer, phantom, regulariser):
    viewer.add_image(phantom[1], name="HAADF", **CALIBRATED)
    lam = {"tv": None, "l1": 1e-3, "roughness": None}[regulariser]  # None: also while λ is chosen
    dock = open_dock(viewer, lam=lam, regulariser=regulariser, n_iter=2000, tolerance=1e-9)
    before = state(viewer)
    for wait_ms in np.random.default_rng(6).exponential(150, 6).astype(int).tolist():
        qtbot.mouseClick(dock.run_button, Qt.MouseButton.LeftButton)
        qtbot.wait(wait_ms)
        assert dock.run_row.running, "it would take far longer"
        with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
            qtbot.mouseClick(dock.run_row.cancel_button, Qt.MouseButton.LeftButton)
        assert end.args == [None]
        assert state(viewer) == before
        assert dock.run_button.isEnabled()


def test_the_preview_switched_off_at_any_moment_leaves_no_layer(qtbot, viewer, phantom):
    viewer.add_image(phantom[1], name="HAADF", **CALIBRATED)
    dock = open_dock(viewer, lam=1e-3, regulariser="tv", n_iter=2000, tolerance=1e-9)
    before = state(viewer)
    for wait_ms in np.random.default_rng(7).exponential(300, 8).astype(int).tolist():
        dock.preview_box.setChecked(True)
        qtbot.wait(wait_ms)
        dock.preview_box.setChecked(False)
        qtbot.waitUntil(lambda: not dock.preview.busy, timeout=WAIT_MS)
        assert state(viewer) == before


def test_done_keeps_the_current_iterate(qtbot, viewer, phantom, held):
    viewer.add_image(phantom[1], name="HAADF", **CALIBRATED)
    dock = open_dock(viewer, lam=0.01)
    dock.sigma.setValue(2.0)
    start(qtbot, held, dock)
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        qtbot.mouseClick(dock.run_row.done_button, Qt.MouseButton.LeftButton)
    kept = end.args[0]
    assert kept is viewer.layers[-1]
    assert kept.metadata["invrecon"]["n_iter"] == 1
    assert len(kept.metadata["invrecon"]["objective"]) == 1
    held.opened.set()
    whole = press_run(qtbot, dock)
    assert whole.metadata["invrecon"]["n_iter"] > 1
    assert np.isfinite(kept.data).all()
    assert rmse(kept.data, whole.data) < rmse(phantom[1], whole.data)


def test_the_source_is_removed_in_the_middle(qtbot, viewer, phantom, held):
    source = viewer.add_image(phantom[1], name="HAADF", translate=(3, 4), **CALIBRATED)
    data = array_hash(source.data)
    dock = open_dock(viewer, lam=0.01)
    start(qtbot, held, dock)
    viewer.layers.remove(source)
    del source
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        held.opened.set()
    assert list(viewer.layers) == end.args
    (result,) = viewer.layers
    assert result.name == "HAADF deconvolved λ=0.01"
    assert tuple(result.translate) == (3, 4)
    assert tuple(result.scale) == (0.5, 0.5)
    assert result.metadata["invrecon"]["sources"][0]["sha256"] == data
    assert dock.image.value is result, "what there is now is offered"
    assert dock.run_button.isEnabled()


def test_the_source_gets_other_data_and_another_name_in_the_middle(qtbot, viewer, phantom, held):
    source = viewer.add_image(phantom[1], name="HAADF", **CALIBRATED)
    data = array_hash(source.data)
    dock = open_dock(viewer, lam=0.01)
    start(qtbot, held, dock)
    source.data, source.name = np.zeros((8, 8)), "other"
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        held.opened.set()
    (result,) = end.args
    assert result.data.shape == (64, 64)
    assert result.name.startswith("HAADF deconvolved")
    assert result.metadata["invrecon"]["sources"][0]["sha256"] == data


def test_two_docks_run_at_once_on_one_layer(qtbot, viewer, phantom, held):
    viewer.add_image(phantom[1], name="HAADF", **CALIBRATED)
    one = open_dock(viewer, lam=0.01)
    other = DeconvolutionDock(viewer)
    viewer.window.add_dock_widget(other, name="Deconvolve, once more")
    other.lam.value = 0.5
    start(qtbot, held, one, other)
    with qtbot.waitSignals([one.finished, other.finished], timeout=WAIT_MS):
        held.opened.set()
    wait_idle(qtbot, one, other)
    assert {each.name for each in viewer.layers} == {
        f"HAADF{what}" for what in ("", " deconvolved λ=0.01", " deconvolved λ=0.5")
    }
    small, large = (viewer.layers[f"HAADF deconvolved λ={lam}"] for lam in ("0.01", "0.5"))
    assert np.abs(np.diff(small.data)).sum() > np.abs(np.diff(large.data)).sum(), "each has its own λ"
    assert small.metadata["invrecon"]["sources"] == large.metadata["invrecon"]["sources"]


def test_one_of_two_docks_is_cancelled_and_the_other_goes_on(qtbot, viewer, phantom, held):
    viewer.add_image(phantom[1], name="HAADF", **CALIBRATED)
    one, other = open_dock(viewer, lam=0.01), DeconvolutionDock(viewer)
    viewer.window.add_dock_widget(other, name="Deconvolve, once more")
    other.lam.value = 0.5
    start(qtbot, held, one, other)
    qtbot.mouseClick(one.run_row.cancel_button, Qt.MouseButton.LeftButton)
    wait_idle(qtbot, one)
    assert other.run_row.running
    held.opened.set()
    wait_idle(qtbot, other)
    assert [each.name for each in viewer.layers] == ["HAADF", "HAADF deconvolved λ=0.5"]


def test_the_viewer_is_closed_in_the_middle(qtbot, viewer, phantom, held):
    viewer.add_image(phantom[1], **CALIBRATED)
    dock = open_dock(viewer, lam=0.01)
    start(qtbot, held, dock)
    viewer.close()
    added = []
    viewer.layers.events.inserted.connect(added.append)
    qtbot.waitUntil(lambda: len(held.ended) == 1, timeout=WAIT_MS)
    assert QThreadPool.globalInstance().waitForDone(5000), "the thread ends"
    qtbot.wait(100)
    assert added == [], "nothing comes of it"


def test_the_dock_is_closed_in_the_middle(qtbot, viewer, phantom, held):
    viewer.add_image(phantom[1], **CALIBRATED)
    docked, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    dock.lam.value = 0.01
    start(qtbot, held, dock)
    docked.destroyOnClose()  # what its × does
    held.opened.set()
    qtbot.waitUntil(lambda: len(held.ended) == 1, timeout=WAIT_MS)
    assert QThreadPool.globalInstance().waitForDone(5000)
    qtbot.wait(100)
    viewer.add_image(np.eye(4), name="later")
    viewer.layers["later"].translate = (3, 3)
    viewer.reset_view()
    assert viewer.layers[-1].name == "later", "the viewer is as alive as before"
    again = open_dock(viewer, regulariser="tikhonov", lam=0.01)
    again.image.value = viewer.layers[0]
    assert press_run(qtbot, again) is viewer.layers[-1]


CLOSED_AND_COLLECTED = """
import gc, sys, threading, time
import napari, numpy as np
from qtpy.QtWidgets import QApplication
from napari_invrecon.plugin import inputs as inputs_module
from napari_invrecon.recon.solvers import Iterate

def steps(*_):
    while True:
        yield Iterate(1, 2)
        time.sleep(0.002)

def events(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)

inputs_module.deconvolution = steps
viewer = napari.Viewer(show_welcome_screen=False)
viewer.add_image(np.eye(64))
docked, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
gc.collect()
gc.disable()
if sys.argv[1] == "running":
    dock.run_button.click()
    events(0.5)
    assert dock.run_row.running
docked.destroyOnClose()
del docked, dock
events(0.5)
elsewhere = threading.Thread(target=gc.collect)
elsewhere.start()
elsewhere.join()
events(0.5)
viewer.add_image(np.eye(8))
viewer.close()
print("the end")
"""


@pytest.mark.parametrize("what", ["idle", "running"])
def test_a_closed_dock_is_not_left_to_a_garbage_collection_in_another_thread(what):
    """napari's × takes the dock out of the window, and Qt's widgets die of being deleted in the thread of a run."""
    ended = subprocess.run(
        [sys.executable, "-c", CLOSED_AND_COLLECTED, what], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the end\n", "")


# --------------------------------------------------------------------------------------------------- kinds of layers


def test_a_spectrum_image_is_deconvolved_energy_by_energy(qtbot, viewer, phantom):
    counts = phantom[1]
    maps = np.stack([counts, counts[::-1], counts[:, ::-1]])[:, None]
    source = viewer.add_image(
        maps,
        name="EELS",
        scale=(2.0, 0.5, 0.5, 0.5),
        translate=(400.0, 0.0, 1.0, 2.0),
        units=("eV", "nm", "nm", "nm"),
        axis_labels=("energy", "z", "y", "x"),
    )
    dock = open_dock(viewer, regulariser="tikhonov", boundary="reflect")
    result = press_run(qtbot, dock)
    assert result.data.shape == (3, 1, 64, 64)
    np.testing.assert_array_equal(result.scale, source.scale)
    np.testing.assert_array_equal(result.translate, source.translate)
    assert result.units == source.units
    assert result.axis_labels == ("energy", "z", "y", "x")
    one = result.data[0, 0]
    np.testing.assert_allclose(result.data[1, 0], one[::-1], atol=2e-3 * np.ptp(one))
    np.testing.assert_allclose(result.data[2, 0], one[:, ::-1], atol=2e-3 * np.ptp(one))
    assert viewer.layers.units is not None


def test_without_a_pixel_size_in_nm_the_width_must_be_in_pixels(qtbot, viewer, phantom):
    dock = open_dock(viewer, regulariser="tikhonov")
    for name, placed in (
        ("anisotropic", {"scale": (0.2, 1.0), "units": ("nm", "nm")}),
        ("uncalibrated", {}),
        ("seconds", {"scale": (2.0, 2.0), "units": ("s", "s")}),
    ):
        viewer.layers.clear()
        source = viewer.add_image(phantom[1], name=name, **placed)
        for unit in ("σ (nm)", "FWHM (nm)"):
            dock.psf.unit.setCurrentText(unit)
            assert not dock.run_button.isEnabled()
            assert "no pixel size" in dock.run_button.toolTip()
            assert f"'{name}'" in dock.run_button.toolTip()
            assert "no pixel size" in dock.run_row.status_label.text(), "the reason is shown"
            qtbot.mouseClick(dock.run_button, Qt.MouseButton.LeftButton)
            assert not dock.run_row.running
        dock.psf.unit.setCurrentText("σ (px)")
        assert dock.run_button.isEnabled()
        assert dock.run_row.status_label.text() == ""
        result = press_run(qtbot, dock)
        np.testing.assert_array_equal(result.scale, source.scale)
        assert result.units == source.units
        assert result.metadata["invrecon"]["settings"]["pixel_size_nm"] is None


def test_a_width_in_nm_is_the_same_as_that_in_pixels(qtbot, viewer, phantom):
    viewer.add_image(phantom[1], name="HAADF", scale=(50, 50), units=("pm", "pm"))  # 0.05 nm
    dock = open_dock(viewer, regulariser="tikhonov", lam=0.01)
    found = []
    for unit, width in (("σ (px)", 2.0), ("σ (nm)", 0.1), ("FWHM (nm)", 0.1 * FWHM_PER_SIGMA)):
        dock.psf.unit.setCurrentText(unit)
        dock.sigma.setValue(width)
        assert dock.run_button.isEnabled()
        found.append(press_run(qtbot, dock))
    for each in found[1:]:
        np.testing.assert_allclose(each.data, found[0].data, rtol=0, atol=1e-4 * np.ptp(found[0].data))
        record = each.metadata["invrecon"]
        assert record["settings"]["pixel_size_nm"] == pytest.approx(0.05)
        assert record["sources"][1]["unit"] == "nm"
        assert record["sources"][1]["sigma"] == pytest.approx(0.1)


def test_integers_and_doubles(qtbot, viewer, phantom):
    dock = open_dock(viewer, regulariser="tikhonov")
    for dtype in (np.uint8, np.int16, np.uint16, ">i2", np.float64):
        source = viewer.add_image((phantom[1] / phantom[1].max() * 200).astype(dtype))
        dock.image.value = source
        before = source.data.copy()
        result = press_run(qtbot, dock)
        assert result.data.dtype == np.float32
        assert result.data.mean() == pytest.approx(before.mean(), rel=0.01)
        assert source.data.dtype == dtype
        np.testing.assert_array_equal(source.data, before)
        viewer.layers.clear()


def test_a_large_lazy_image_is_solved_in_blocks_with_progress(qtbot, viewer):
    # Working memory of 0.1 GB holds 1.25 million pixels of a closed form, halo included; this image has 4 million.
    truth = np.zeros((2048, 2048), np.float32)
    truth[::16, ::16] = 1000
    truth += np.random.default_rng(0).normal(100, 10, truth.shape).astype(np.float32)
    source = viewer.add_image(da.from_array(truth, chunks=(700, 900)), name="large", **CALIBRATED)
    dock = open_dock(viewer, regulariser="tikhonov", memory_gb=0.1, lam=0.1)
    dock.sigma.setValue(1.0)
    seen = []
    dock.run_row.progressed.connect(seen.append)
    result = press_run(qtbot, dock)
    blocks = result.metadata["invrecon"]["blocks"]
    assert blocks["count"] > 1
    told = [each for each in seen if each.stage.startswith("block ")]
    assert told[-1].stage == f"block {blocks['count']} of {blocks['count']}"
    assert (told[-1].step, told[-1].n_steps) == (blocks["count"], blocks["count"])
    assert len(told) > 1, "there is progress before the last block"
    assert isinstance(source.data, da.Array)
    assert result.data.shape == source.data.shape

    dock.settings.set_values({"memory_gb": 4.0})
    whole = press_run(qtbot, dock)
    assert whole.metadata["invrecon"]["blocks"]["count"] == 1
    assert np.abs(np.asarray(result.data) - whole.data).max() < 1e-3 * np.ptp(truth)


# ----------------------------------------------------------------------------------------------------------- errors


def fails(qtbot, viewer, dock):
    """Press Run; the message. The window lives, and there is no new layer."""
    before = [id(each) for each in viewer.layers]
    assert press_run(qtbot, dock) is None
    (message,) = errors()
    assert [id(each) for each in viewer.layers] == before
    assert dock.run_button.isEnabled(), "the next try is free"
    assert message.startswith("Deconvolve failed: ")
    assert "unexpected" not in message
    assert dock.run_row.status_label.text().startswith("failed: ")
    return message


def test_nan_and_a_closed_form(qtbot, viewer, phantom):
    holed = phantom[1].copy()
    holed[10:13, 20] = np.nan
    viewer.add_image(holed)
    dock = open_dock(viewer, regulariser="tikhonov")
    message = fails(qtbot, viewer, dock)
    assert "3 NaN or infinite values" in message
    assert "boundary='masked'" in message
    dock.settings.set_values({"boundary": "masked"})  # the remedy
    result = press_run(qtbot, dock)
    assert np.isfinite(result.data).all()


def test_a_psf_larger_than_the_image(qtbot, viewer, phantom):
    viewer.add_image(phantom[1])
    dock = open_dock(viewer, regulariser="tikhonov")
    dock.sigma.setValue(20.0)
    assert not dock.run_button.isEnabled()
    message = dock.run_row.status_label.text()
    assert "the PSF of (201, 201) px is larger than the image of (64, 64) px" in message
    assert "check its width" in message
    dock.preview_box.setChecked(True)
    assert dock.preview.layer is None
    dock.preview_box.setChecked(False)
    viewer.layers[0].scale, viewer.layers[0].units = (0.1, 0.1), ("nm", "nm")
    dock.psf.unit.setCurrentText("Lorentzian FWHM (nm)")  # too slow to compute for a window that must not freeze
    dock.sigma.setValue(0.5)
    assert "is larger than the image of (64, 64) px" in fails(qtbot, viewer, dock)
    dock.psf.unit.setCurrentText("σ (px)")
    dock.sigma.setValue(2.0)
    assert press_run(qtbot, dock) is not None


def test_nothing_finite(qtbot, viewer):
    layer = viewer.add_image(np.full((40, 40), np.nan), contrast_limits=(0, 1))
    dock = open_dock(viewer)
    assert "no finite value" in fails(qtbot, viewer, dock)
    layer.data = np.full((40, 40), np.inf)
    assert "no finite value" in fails(qtbot, viewer, dock)


def test_a_spectrum_without_an_image(qtbot, viewer):
    viewer.add_image(np.ones((50, 1, 1, 1)), contrast_limits=(0, 2))
    dock = open_dock(viewer)
    assert not dock.run_button.isEnabled()
    assert "larger than the image of (1, 1) px" in dock.run_row.status_label.text()


def test_a_file_that_cannot_be_read_any_more(qtbot, viewer, phantom):
    readable = [True]

    def read(block):
        if not readable[0]:
            raise OSError(5, "Input/output error")
        return block

    lazy = da.from_array(phantom[1], chunks=32).map_blocks(read, dtype=np.float32, meta=phantom[1][:0])
    viewer.add_image(lazy, contrast_limits=(0, 500))
    dock = open_dock(viewer, regulariser="tikhonov")
    readable[0] = False
    assert "Input/output error" in fails(qtbot, viewer, dock)


# ---------------------------------------------------------------------------------------------------- what is offered


def offered(dock):
    return [each.name for each in dock.image.choices]


def test_image_layers_are_offered_as_they_come_and_go(viewer, phantom):
    dock = open_dock(viewer)
    assert offered(dock) == []
    assert not dock.run_button.isEnabled()
    assert "Open an image first" in dock.run_button.toolTip()
    assert "Open an image first" in dock.run_row.status_label.text(), "the reason is shown"

    viewer.add_labels(np.eye(20, dtype=int))
    viewer.add_points(np.zeros((3, 2)))
    viewer.add_shapes()
    colours = viewer.add_image(np.zeros((20, 20, 3), np.uint8), rgb=True, name="colours")
    assert offered(dock) == []
    assert "'colours' is in colours: split it into its channels" in dock.run_button.toolTip()
    viewer.layers.remove(colours)
    viewer.layers.remove(viewer.add_image([np.zeros((40, 40)), np.zeros((20, 20))], multiscale=True, name="pyramid"))
    assert "Open an image first" in dock.run_button.toolTip()
    viewer.add_image([np.zeros((40, 40)), np.zeros((20, 20))], multiscale=True, name="pyramid")
    assert offered(dock) == []
    assert "viewer.add_image(viewer.layers['pyramid'].data[0])" in dock.run_button.toolTip()

    first = viewer.add_image(phantom[1], name="first")
    assert offered(dock) == ["first"]
    assert dock.image.value is first
    assert dock.run_button.isEnabled()
    assert dock.run_row.status_label.text() == ""

    second = viewer.add_image(phantom[1], name="second")
    assert offered(dock) == ["first", "second"]
    assert dock.image.value is first, "what was chosen stays chosen"
    dock.image.value = second
    viewer.layers.remove(first)
    assert offered(dock) == ["second"]
    assert dock.image.value is second
    viewer.layers.clear()
    assert offered(dock) == []
    assert not dock.run_button.isEnabled()


def test_the_dock_opens_with_the_selected_layer(viewer, phantom):
    viewer.add_image(phantom[1], name="first")
    second = viewer.add_image(phantom[1], name="second")
    viewer.add_image(phantom[1], name="third")
    viewer.layers.selection.active = second
    assert open_dock(viewer).image.value is second


def test_a_renamed_layer_is_offered_by_its_new_name(viewer, phantom):
    layer = viewer.add_image(phantom[1], name="before")
    dock = open_dock(viewer)
    layer.name = "after"
    assert dock.image.native.currentText() == "after"


def test_a_calibration_given_while_the_dock_is_open_counts(viewer, phantom):
    layer = viewer.add_image(phantom[1])
    dock = open_dock(viewer)
    dock.psf.unit.setCurrentText("σ (nm)")
    assert not dock.run_button.isEnabled()
    layer.units, layer.scale = ("nm", "nm"), (0.5, 0.5)
    assert dock.run_button.isEnabled()


def test_the_reason_for_a_failure_is_not_kept_for_the_next_layer(qtbot, viewer, phantom):
    viewer.add_image(np.full((40, 40), np.nan), contrast_limits=(0, 1), name="empty")
    dock = open_dock(viewer, regulariser="tikhonov")
    fails(qtbot, viewer, dock)
    viewer.layers.remove("empty")
    viewer.add_image(phantom[1])
    assert press_run(qtbot, dock) is not None
    assert dock.run_row.status_label.text().startswith("done in")


# ----------------------------------------------------------------------------------------------------------- menus


def actions(menu, path=()):
    """(path, QAction) of everything under a menu."""
    menu.aboutToShow.emit()
    for action in menu.actions():
        here = (*path, action.text().replace("&", ""))
        if isinstance(action.menu(), QMenu):
            yield from actions(action.menu(), here)
        else:
            yield here, action


@pytest.mark.parametrize("where", ["layers_menu", "plugins_menu"])
def test_the_menus_open_the_dock(qtbot, viewer, phantom, where):
    viewer.add_image(phantom[1], name="HAADF")
    found = [
        (path, action) for path, action in actions(getattr(viewer.window, where)) if path[-1].startswith("Deconvolve")
    ]
    ((path, action),) = found
    if where == "layers_menu":
        assert path[0] == "Filter"
    assert action.isEnabled()
    action.trigger()
    (dock,) = (each for each in viewer.window.dock_widgets.values() if isinstance(each, DeconvolutionDock))
    dock.settings.set_values({"regulariser": "tikhonov"})
    assert press_run(qtbot, dock) is viewer.layers[-1]


def test_a_deleted_layer_is_let_go(qtbot, viewer, phantom):
    import gc
    import weakref

    viewer.add_image(phantom[1], name="HAADF")
    dock = open_dock(viewer, regulariser="tikhonov", lam=0.01)
    result = weakref.ref(press_run(qtbot, dock))
    viewer.layers.remove(result())

    def gone():
        gc.collect()
        return result() is None

    qtbot.waitUntil(gone, timeout=10_000)
