"""The λ curve, the preview and the verdict of the dock "Deconvolve", in a real window."""

from __future__ import annotations

import itertools
import threading

import dask.array as da
import numpy as np
import pytest
from matplotlib.backend_bases import MouseButton, MouseEvent
from napari.utils.notifications import notification_manager
from notifications import errors
from phantoms import image
from qtpy.QtCore import QPoint, QPointF, QRect, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

import napari_invrecon as ir
from napari_invrecon.plugin import preview as preview_module
from napari_invrecon.plugin.plots import labels, scores, theme_colours
from napari_invrecon.plugin.samples import lecture_deblurring_1d
from napari_invrecon.recon.probe import AiryPSF, LorentzianPSF, StemProbe

pytestmark = pytest.mark.gui

SIGMA = 1.5


@pytest.fixture(scope="module")
def counts():
    return image("particles", SIGMA, 200, size=96)[1]


@pytest.fixture(scope="module")
def curve(counts):
    return ir.lambda_curve(counts, ir.gaussian_psf(SIGMA), regulariser="tikhonov").summary()


@pytest.fixture
def viewer(make_napari_viewer, counts):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(counts, name="image", scale=(0.5, 0.5), translate=(3, 4), units=("nm", "nm"))
    return viewer


@pytest.fixture
def dock(viewer, qtbot):
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    dock.sigma.setValue(SIGMA)
    dock.settings.set_values({"regulariser": "tikhonov"})
    yield dock
    dock.preview_box.setChecked(False)
    qtbot.waitUntil(
        lambda: not (dock.preview.busy or dock.lambda_panel.running or dock.run_row.running or dock.compare.running)
    )


def run(dock, qtbot):
    with qtbot.waitSignal(dock.finished, timeout=60_000) as got:
        dock.run_button.click()
    (layer,) = got.args
    return layer


def settle(dock, qtbot):
    qtbot.waitUntil(lambda: not dock.preview.busy, timeout=30_000)


def click(plot, axes, x, y):
    """A press of the mouse at data coordinates."""
    plot.draw()
    at = axes.transData.transform((x, y))
    plot.callbacks.process("button_press_event", MouseEvent("button_press_event", plot, *at, MouseButton.LEFT))


def test_the_scores_are_those_of_the_rules(curve):
    found = scores(curve)
    assert set(found) == {"GCV", "SURE", "residual/noise"}
    lam = np.array(curve["lam"])
    step = np.log(lam[1] / lam[0])
    for name, rule in (("GCV", "gcv"), ("SURE", "sure")):
        assert found[name].min() == 1
        assert abs(np.log(lam[found[name].argmin()] / curve["choices"][rule])) < step
    at = np.interp(np.log(curve["choices"]["discrepancy"]), np.log(lam), found["residual/noise"])
    assert at == pytest.approx(1, abs=0.01)


def test_rules_that_nearly_agree_share_a_label():
    found = labels({"lam": [1e-8, 1e3], "choices": {"gcv": 0.1, "balanced": 0.12, "sure": 1e-4, "l-curve": None}})
    assert found == [(1e-4, "sure"), (0.1, "gcv, balanced")]


def test_the_panel_shows_the_curve_of_the_run_and_marks_its_lam(dock, qtbot):
    layer = run(dock, qtbot)
    plot = dock.lambda_panel.plot
    assert not plot.isHidden()
    assert plot._curve == layer.metadata["invrecon"]["curve"]
    assert plot._lam == layer.metadata["invrecon"]["lam"]


def test_a_click_sets_lam_and_unticks_automatic(dock, qtbot, curve):
    dock.lambda_panel.show_curve(curve)
    dock.lambda_panel.section.expand()
    plot = dock.lambda_panel.plot
    qtbot.waitUntil(lambda: plot.isVisible() and plot.width() > 150)
    assert dock.lam.value is None
    plot.draw()
    click(plot, plot._l_curve, curve["residual_norm"][120], curve["solution_norm"][120])
    assert dock.lam.value == pytest.approx(curve["lam"][120], rel=0.3)
    click(plot, plot._scores, 0.01, sum(plot._scores.get_ylim()) / 2)
    assert dock.lam.value == pytest.approx(0.01, rel=0.02)
    assert plot._lam == dock.lam.value


def test_the_button_computes_the_curve_without_a_run(dock, viewer, qtbot, curve):
    dock.lambda_panel.button.click()
    assert dock.lambda_panel.button.text() == "Stop"
    qtbot.waitUntil(lambda: not dock.lambda_panel.running, timeout=30_000)
    assert dock.lambda_panel.plot._curve["choices"] == pytest.approx(curve["choices"])
    assert dock.lambda_panel.button.text() == "Compute the curve"
    assert len(viewer.layers) == 1


def test_only_rules_that_were_asked_are_said_to_have_no_answer(dock, curve):
    choices = dict.fromkeys(curve["choices"])
    dock.lambda_panel.show_curve({**curve, "choices": choices})
    assert dock.lambda_panel.status.text() == "No answer from: balanced, sure, gcv, discrepancy, l-curve."
    held_out = {key: values for key, values in curve.items() if key not in ("gcv", "sure")}
    held_out |= {"holdout": curve["residual_norm"], "choices": choices | {"holdout": 0.01, "l-curve": 0.02}}
    dock.lambda_panel.show_curve(held_out)
    assert dock.lambda_panel.status.text() == "Click on a point to set λ."


def test_a_score_that_lies_above_the_plot_says_so(dock, curve):
    plot = dock.lambda_panel.plot
    dock.lambda_panel.show_curve({**curve, "sigma": curve["sigma"] / 20})
    plot.draw()
    names = [text.get_text() for text in plot._scores.get_legend().get_texts()]
    least = min(curve["residual_norm"]) / (curve["sigma"] / 20 * np.sqrt(curve["n_data"]))
    assert least > plot._scores.get_ylim()[1]
    assert f"residual/noise ≥ {least:.2g}, above" in names
    assert "GCV" in names


def test_a_curve_of_one_lam_leaves_the_last_one(dock, curve):
    dock.lambda_panel.show_curve(curve)
    dock.lambda_panel.show_curve({**curve, "lam": [1.0], "residual_norm": [1.0], "solution_norm": [1.0]})
    assert dock.lambda_panel.plot._curve == curve


def test_the_plot_follows_the_theme(dock, viewer, curve):
    dock.lambda_panel.show_curve(curve)
    for name in ("light", "dark"):
        viewer.theme = name
        colours = theme_colours(name)
        plot = dock.lambda_panel.plot
        assert plot._colours == colours
        plot.draw()
        r, g, b, _ = plot.figure.get_facecolor()
        assert "#" + "".join(f"{round(255 * v):02x}" for v in (r, g, b)) == colours.background.lower()


def test_labels_and_numbers_leave_the_plots_their_room(dock):
    line, kernel = (layer[0] for layer in (lecture_deblurring_1d()[i] for i in (2, 1)))
    at_the_right = ir.lambda_curve(line, kernel, regulariser="l2", boundary="periodic", normalise_psf=False).summary()
    dock.lambda_panel.show_curve(at_the_right)
    plot = dock.lambda_panel.plot
    plot.resize(280, plot.height())
    plot.draw()
    for axes in (plot._l_curve, plot._scores):
        assert axes.get_window_extent().width > 0.75 * plot.figure.bbox.width
        for axis, low, high in ((axes.xaxis, "x0", "x1"), (axes.yaxis, "y0", "y1")):
            boxes = [each.get_window_extent() for each in axis.get_ticklabels() if each.get_text()]
            boxes.sort(key=lambda box, low=low: getattr(box, low))
            gaps = [getattr(b, low) - getattr(a, high) for a, b in itertools.pairwise(boxes)]
            assert min(gaps, default=1) > 0
    for text in plot._l_curve.texts:
        assert plot.figure.bbox.x0 <= text.get_window_extent().x0
        assert text.get_window_extent().x1 <= plot.figure.bbox.x1


def contrast(label):
    """Between the lightest and the darkest pixel of a label as it is seen, of 255."""
    window = label.window()
    QApplication.processEvents()
    picture = window.grab(QRect(label.mapTo(window, QPoint(0, 0)), label.size())).toImage()
    seen = [
        picture.pixelColor(x, y).lightness() for y in range(0, picture.height(), 2) for x in range(picture.width() // 2)
    ]
    return max(seen) - min(seen)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_dock_fits_in_320_pixels_and_is_scrolled_up_and_down_only(dock, viewer, curve, qtbot, theme):
    viewer.theme = theme
    dock.lambda_panel.show_curve(curve)
    dock.lambda_panel.section.expand()
    run(dock, qtbot)  # brings the verdict and its buttons
    QApplication.processEvents()
    assert dock.minimumSizeHint().width() <= 320
    assert dock.minimumSizeHint().height() < 400
    assert dock.run_button.isVisible()
    for label in (dock.compare.label, dock.run_row.status_label):
        assert label.text()
        assert contrast(label) > 100, label.text()


def test_the_wheel_changes_no_value_in_passing(dock):
    combo = dock.settings.row("regulariser")
    before = combo.currentText()
    wheel = QWheelEvent(
        QPointF(5, 5), QPointF(5, 5), QPointF(0, 0).toPoint(), QPointF(0, -120).toPoint(),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(combo, wheel)
    assert combo.currentText() == before


def test_the_preview_is_the_run_on_the_whole_of_a_small_image(dock, viewer, qtbot):
    layer = run(dock, qtbot)
    before = [each.data.copy() for each in viewer.layers]
    selected = set(viewer.layers.selection)
    dock.preview_box.setChecked(True)
    settle(dock, qtbot)
    preview = viewer.layers["preview"]
    assert dock.lam.value is None
    assert np.abs(preview.data - layer.data).max() < 1e-3 * np.ptp(layer.data)
    np.testing.assert_allclose(preview.translate, layer.translate)
    assert set(viewer.layers.selection) == selected
    assert preview not in dock.image.choices
    for each, data in zip(viewer.layers, before, strict=False):
        np.testing.assert_array_equal(each.data, data)


def test_the_preview_follows_lam_in_place_and_goes_with_its_tick(dock, viewer, qtbot):
    dock.lam.value = 1e-3
    dock.preview_box.setChecked(True)
    settle(dock, qtbot)
    preview, first = dock.preview.layer, dock.preview.layer.data
    dock.lam.value = 10.0
    settle(dock, qtbot)
    assert dock.preview.layer is preview
    assert preview.data.std() < first.std()
    dock.preview_box.setChecked(False)
    assert [layer.name for layer in viewer.layers] == ["image"]


def test_a_preview_that_shows_nothing_says_so(dock, qtbot):
    dock.lam.value = 1e6
    dock.preview_box.setChecked(True)
    settle(dock, qtbot)
    assert dock.preview_box.text() == "Preview: nothing but the mean is left"
    dock.lam.value = 1e-2
    settle(dock, qtbot)
    assert dock.preview_box.text() == "Preview"


def test_a_preview_without_a_lambda_says_why_below_its_box_and_is_no_error(dock, viewer, qtbot):
    dock.preview_box.setChecked(True)
    settle(dock, qtbot)
    assert "automatic: " in dock.lam.automatic_box.text()
    jumps = np.random.default_rng(1).normal(0, 15, (192, 1))
    viewer.add_image(image("lattice", 2, 200, size=192)[1] + jumps, name="jumps")
    dock.image.value = viewer.layers["jumps"]
    dock.sigma.setValue(2)
    settle(dock, qtbot)
    assert "no corner" in dock.preview_status.text()
    assert dock.preview_status.isVisibleTo(dock)
    assert not dock.preview.layer.visible, "what is left is of another image"
    assert dock.lam.automatic_box.text() == "automatic", "and so is the λ"
    assert not errors(), "nobody pressed a button"
    dock.lam.value = 0.01
    settle(dock, qtbot)
    assert not dock.preview_status.isVisibleTo(dock)
    assert dock.preview.layer.visible


def test_a_preview_that_breaks_is_an_error(dock, qtbot, monkeypatch):
    def broken(*_):
        raise RuntimeError("lost")

    monkeypatch.setattr(preview_module, "prepare", broken)
    dock.preview_box.setChecked(True)
    settle(dock, qtbot)
    (told,) = errors()
    assert "lost" in told
    assert "lost" in dock.preview_status.text()


def test_an_iterative_preview_is_shown_before_it_has_converged(dock, qtbot, monkeypatch):
    monkeypatch.setattr(preview_module, "_PATIENCE_S", 0.0)
    looks = []
    dock.preview.looked.connect(lambda looked: looks.append((looked.lam, looked.final, dock.preview_box.text())))
    dock.settings.set_values({"regulariser": "tv", "tolerance": 1e-6, "n_iter": 2000})
    dock.lam.value = 1e-4
    dock.preview_box.setChecked(True)
    qtbot.waitUntil(lambda: len(looks) > 1, timeout=30_000)
    assert not any(final for _, final, _ in looks)
    dock.lam.value = 1e-1
    looks.clear()
    settle(dock, qtbot)
    assert {lam for lam, *_ in looks} == {1e-1}, "nothing of the λ before"
    assert [final for _, final, _ in looks] == [False] * (len(looks) - 1) + [True]
    assert dock.preview_box.text() == "Preview"


def test_deleting_the_preview_switches_it_off(dock, viewer, qtbot):
    dock.lam.value = 1e-3
    dock.preview_box.setChecked(True)
    settle(dock, qtbot)
    viewer.layers.remove(dock.preview.layer)
    assert not dock.preview_box.isChecked()
    dock.lam.value = 1e-2
    assert not dock.preview.busy
    dock.preview_box.setChecked(True)
    settle(dock, qtbot)
    assert "preview" in viewer.layers


def test_the_preview_shows_the_middle_of_the_view_in_its_place(viewer, dock, qtbot):
    wide = viewer.add_image(
        image("slabs", SIGMA, 200, size=640)[1][None], name="wide", scale=(1, 0.5, 0.5), translate=(0, 3, 4)
    )
    dock.image.value = wide
    dock.settings.set_values({"regulariser": "tv"})
    dock.lam.value = 0.01
    viewer.scene.camera.center = (0, 3 + 0.5 * 600, 4 + 0.5 * 256)
    dock.preview_box.setChecked(True)
    settle(dock, qtbot)
    preview = dock.preview.layer
    assert preview.data.shape == (1, 512, 512)
    start = np.round(wide.world_to_data(preview.data_to_world((0, 0, 0)))).astype(int)
    assert start[1] == 128
    whole = ir.deconvolve(wide.data, ir.gaussian_psf(SIGMA), regulariser="tv", lam=0.01).data
    part = whole[0, start[1] : start[1] + 512, start[2] : start[2] + 512]
    inner = np.s_[24:-24, 24:-24]
    assert np.abs(preview.data[0][inner] - part[inner]).max() < 0.02 * np.ptp(part)


def test_closing_the_window_in_the_middle_of_a_preview_is_harmless(make_napari_viewer, counts, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(np.tile(counts, (5, 5)))
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    dock.preview_box.setChecked(True)
    dock.lambda_panel.button.click()
    qtbot.wait(300)
    viewer.close()


def test_the_residual_is_a_layer_of_its_own_in_units_of_the_noise(dock, viewer, qtbot):
    layer = run(dock, qtbot)
    record = layer.metadata["invrecon"]
    assert dock.compare.isVisible()
    assert dock.compare.label.text().startswith(f"residual/noise {record['residual_over_noise']:.3g}")
    dock.compare.buttons["Residual"].click()
    qtbot.waitUntil(lambda: not dock.compare.running, timeout=30_000)
    residual = viewer.layers["image residual/σ"]
    assert np.sqrt(np.mean(np.square(residual.data))) == pytest.approx(record["residual_over_noise"], rel=0.05)
    np.testing.assert_allclose(residual.translate, layer.translate)
    viewer.layers.remove(layer)
    assert not dock.compare.isVisible()


def test_a_probe_from_microscope_parameters_filled_in_from_the_file(viewer, dock):
    probe = viewer.add_image(
        np.zeros((64, 64)),
        name="calibrated",
        units=("nm", "nm"),
        metadata={"acquisition": {"voltage_kv": 80, "convergence_mrad": 25}},
    )
    dock.image.value = probe
    dock.psf.unit.setCurrentText("STEM probe")
    dock.psf.optics["defocus_nm"].setValue(5)
    assert dock.psf.value == StemProbe(80, 25, defocus_nm=5)
    assert not dock.psf.width.isVisible()
    assert dock.minimumSizeHint().width() <= 320
    dock.psf.unit.setCurrentText("Airy disc")
    assert dock.psf.value == AiryPSF(80, 25)
    assert not dock.psf.optics["c3_mm"].isVisible()
    dock.psf.unit.setCurrentText("Lorentzian FWHM (nm)")
    assert dock.psf.value == LorentzianPSF(SIGMA, "nm")


def test_a_point_in_a_layer_is_a_psf(viewer, dock, qtbot):
    expected = run(dock, qtbot)
    point = viewer.add_image(ir.gaussian_psf(SIGMA), name="point", scale=(0.5, 0.5), units=("nm", "nm"))
    empty = viewer.add_image(np.zeros((9, 9)), name="empty", scale=(0.5, 0.5), units=("nm", "nm"))
    dock.image.value = viewer.layers["image"]
    dock.psf.unit.setCurrentText("measured: layer")
    dock.psf.layer.setCurrentText("point")
    dock.lam.value = expected.metadata["invrecon"]["lam"]
    layer = run(dock, qtbot)
    assert layer.metadata["invrecon"]["sources"][1]["model"] == "measured"
    assert np.abs(layer.data - expected.data).max() < 0.02 * np.ptp(expected.data)
    dock.psf.layer.setCurrentText("empty")
    notification_manager.records.clear()
    assert run(dock, qtbot) is None
    assert "zero everywhere" in notification_manager.records[-1].message
    viewer.layers.remove(empty)
    dock.psf.layer.setCurrentText("point")
    assert dock.run_button.isEnabled()
    viewer.layers.remove(point)
    assert dock.psf.layer.findText("point") == -1


def test_a_region_of_an_image_is_a_psf(viewer, dock):
    field = np.zeros((60, 80), np.float32)
    spot = ir.gaussian_psf(SIGMA)
    field[16 - len(spot) // 2 :, 48 - len(spot) // 2 :][: len(spot), : len(spot)] = spot
    viewer.add_image(field, name="beads", scale=(0.5, 0.5), translate=(3, 4), units=("nm", "nm"))
    around = np.array([[6, 38], [6, 58], [26, 58], [26, 38]]) * 0.5 + (3, 4)
    viewer.add_shapes([around], shape_type="rectangle", name="one", units=("nm", "nm"))
    viewer.add_shapes([around + 500], shape_type="rectangle", name="nowhere", units=("nm", "nm"))
    dock.image.value = viewer.layers["image"]
    assert not dock.psf.crop.isVisible()
    dock.psf.unit.setCurrentText("measured: layer")
    dock.psf.layer.setCurrentText("beads")
    assert dock.psf.crop.isVisible()
    choose(dock.psf.crop, "nowhere")
    assert "none over the image" in notification_manager.records[-1].message
    assert dock.psf.layer.currentText() == "beads"
    choose(dock.psf.crop, "one")
    assert dock.psf.crop.currentIndex() == 0
    assert dock.psf.layer.currentText() == "beads, one"
    point = viewer.layers["beads, one"]
    assert max(point.data.shape) < 24
    brightest = np.unravel_index(np.argmax(point.data), point.data.shape)
    np.testing.assert_allclose(point.data_to_world(brightest), np.array([16, 48]) * 0.5 + (3, 4))
    np.testing.assert_allclose(dock.psf.value.read().array.sum(), 1, rtol=1e-5)
    assert dock.image.value is viewer.layers["image"]


def choose(row, name):
    """As with the mouse."""
    row.setCurrentText(name)
    row.activated.emit(row.currentIndex())


def test_a_lazy_psf_layer_is_not_read_in_the_gui_s_thread(viewer, dock, qtbot):
    read = []

    def note(block):
        read.append(threading.get_ident())
        return block

    kernel = ir.gaussian_psf(SIGMA)
    lazy = da.from_array(3 * kernel, chunks=-1).map_blocks(note, dtype=kernel.dtype, meta=kernel[:0])
    viewer.add_image(lazy, name="point", contrast_limits=(0, 1), visible=False)
    dock.image.value = viewer.layers["image"]
    dock.psf.unit.setCurrentText("exact: layer")
    dock.psf.layer.setCurrentText("point")
    read.clear()
    dock.settings.set_values({"normalise_psf": False})
    layer = run(dock, qtbot)
    assert read
    assert threading.get_ident() not in read
    record = layer.metadata["invrecon"]
    np.testing.assert_allclose(
        layer.data,
        ir.deconvolve(
            viewer.layers["image"].data, 3 * kernel, regulariser="tikhonov", lam=record["lam"], normalise_psf=False
        ).data,
        rtol=1e-4,
        atol=1e-3,
    )
    dock.compare.buttons["Residual"].click()
    qtbot.waitUntil(lambda: not dock.compare.running, timeout=30_000)
    residual = viewer.layers["image residual/σ"].data
    assert np.sqrt(np.mean(np.square(residual))) == pytest.approx(record["residual_over_noise"], rel=0.05)
