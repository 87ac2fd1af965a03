"""The section "Energy deconvolution" of the dock "Spectrum" in a real window."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from notifications import errors

import napari_invrecon as ir
from napari_invrecon.plugin.repeat import repeat

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("runs_end")]

WAIT_MS = 60_000
CHANNELS = np.arange(200)
KEYS = {"units": ("eV", "nm", "nm", "nm"), "axis_labels": ("energy", "z", "y", "x")}


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def dock(viewer):
    """Two narrow lines, blurred by a zero-loss peak of σ = 4 channels, and that peak, each a layer of its own."""
    zero_loss = 1e5 * np.exp(-0.5 * ((CHANNELS - 60) / 4) ** 2)
    lines = sum(np.exp(-0.5 * ((CHANNELS - at) / 4.5) ** 2) for at in (90, 104)) * 400 + 50
    rng = np.random.default_rng(0)
    y = rng.poisson(np.broadcast_to(lines[:, None, None, None], (200, 1, 4, 5))).astype(np.float32)
    viewer.add_image(y, name="edge", scale=(0.5, 2, 2, 2), translate=(300, 0, 0, 0), **KEYS)
    viewer.add_image(
        rng.poisson(zero_loss).astype(np.float32).reshape(200, 1, 1, 1),
        name="zero loss",
        scale=(0.5, 2, 2, 2),
        translate=(-30, 0, 0, 0),
        **KEYS,
    )
    viewer.layers.selection.active = viewer.layers["edge"]
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Spectrum")
    return dock


def run(qtbot, section):
    with qtbot.waitSignal(section.finished, timeout=WAIT_MS) as ended:
        section.run_row.run_button.click()
    return ended.args[0]


def test_a_fourier_ratio_sharpens_and_is_replayed(dock, viewer, qtbot) -> None:
    section = dock.energy
    assert section.kernel.currentText() == "zero loss"
    section.settings.set_values({"lam_rule": "discrepancy"})
    result = run(qtbot, section)
    source, kernel = viewer.layers["edge"], viewer.layers["zero loss"].data.sum(axis=(1, 2, 3), dtype=float)
    assert result.data.shape == source.data.shape
    np.testing.assert_allclose(result.scale, source.scale)
    spectrum = result.data.mean(axis=(1, 2, 3))
    assert spectrum[97] < 0.6 * source.data.mean(axis=(1, 2, 3))[97]  # the valley between the lines
    record = result.metadata["invrecon"]
    assert [each["layer"] for each in record["sources"]] == ["edge", "zero loss"]
    np.testing.assert_array_equal(ir.replay(record, [source.data[:, 0], kernel]).data, result.data[:, 0])
    assert section.lam.value is None
    # The result is a spectrum image again: it is offered, and can be mapped.
    assert result in dock.image.choices


def test_richardson_lucy_has_no_lambda_and_is_cancelled(dock, viewer, qtbot) -> None:
    section = dock.energy
    section.section.expand()
    section.settings.set_values({"method": "richardson-lucy", "n_iter": 100000, "tolerance": 0.0, "gain": 1e-6})
    assert section.lam.isHidden()
    section.run_row.run_button.click()
    qtbot.waitUntil(lambda: section.run_row.done_button.isEnabled(), timeout=WAIT_MS)
    section.run_row.cancel_button.click()
    qtbot.waitUntil(lambda: not section.run_row.running, timeout=WAIT_MS)
    assert len(viewer.layers) == 2
    section.settings.set_values({"n_iter": 3})
    result = run(qtbot, section)
    assert result.metadata["invrecon"]["n_iter"] == 3
    assert result.data.min() >= 0


def test_a_layer_is_repeated_from_its_record(dock, viewer, qtbot) -> None:
    section = dock.energy
    section.settings.set_values({"lam_rule": "balanced", "regulariser": "l2"})
    first = run(qtbot, section)
    section.settings.set_values({"method": "richardson-lucy", "n_iter": 2})
    second = run(qtbot, section)
    section.settings.set_values({"method": "fourier-ratio", "lam_rule": "gcv", "regulariser": "tikhonov"})
    for before in (first, second):
        dock.image.value = viewer.layers["zero loss"]
        notification_manager.records.clear()
        with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as ended:
            repeat(viewer, before)
        again = ended.args[0]
        np.testing.assert_array_equal(again.data, before.data)
        assert again is not before
        assert any("bit for bit" in each.message for each in notification_manager.records)
    viewer.layers["zero loss"].name = "renamed"
    repeat(viewer, first)
    qtbot.waitUntil(lambda: bool(told := errors()) and "'zero loss' is no longer in the viewer" in told[-1])


def test_a_run_that_was_ended_by_done_is_repeated(dock, viewer, qtbot) -> None:
    section = dock.energy
    section.settings.set_values({"method": "richardson-lucy", "n_iter": 100000, "tolerance": 0.0, "gain": 1e-6})
    section.run_row.progressed.connect(lambda state: state.step > 2 and section.run_row.done_button.click())
    first = run(qtbot, section)
    assert first.metadata["invrecon"]["stopped"] == "asked to finish"
    section.run_row.progressed.disconnect()
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as ended:
        repeat(viewer, first)
    np.testing.assert_array_equal(ended.args[0].data, first.data)


def test_what_cannot_work_says_why(dock, viewer, qtbot) -> None:
    section = dock.energy
    viewer.layers["zero loss"].scale = (0.25, 2, 2, 2)
    section.offer()
    assert "choose a low-loss spectrum of the same dispersion" in section.run_row.run_button.toolTip()
    viewer.layers.remove("zero loss")
    assert "Open a zero-loss or low-loss spectrum first" in section.run_row.run_button.toolTip()
    dock.axis_section.kind_chosen.emit("edx")
    assert "X-ray spectra have no zero-loss peak" in section.run_row.run_button.toolTip()
    qtbot.waitUntil(lambda: not dock.view.spectrum.busy, timeout=WAIT_MS)
