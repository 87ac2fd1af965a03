"""The dock "Fuse" in a real window: files dropped, the button pressed, and whatever may happen meanwhile."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from fusion_window import (
    ELEMENTS,
    PIXEL_NM,
    PLACE_NM,
    SHAPE,
    add_haadf,
    add_maps,
    calibrated,
    made,
    open_dock,
    scene,
)
from matplotlib.backend_bases import MouseButton, MouseEvent
from napari.settings import get_settings
from notifications import errors
from qtpy.QtCore import Qt, QThreadPool
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QSlider,
    QTableView,
)
from tilt_window import PLUGIN, WAIT_MS, drop, press, state

import napari_invrecon as ir
from napari_invrecon.plugin import fusion_inputs as inputs_module
from napari_invrecon.plugin.record_actions import repeat_selected
from napari_invrecon.plugin.widgets import fusion as dock_module
from napari_invrecon.plugin.widgets.fusion import FusionDock
from napari_invrecon.recon.record import array_hash
from napari_invrecon.records.schema import check_record, undescribed

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("no_error_is_left", "runs_end")]


@pytest.fixture(scope="module")
def pair():
    """(HAADF, counts (2, y, x)) on the same pixels."""
    return scene()


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def held(hold):
    return hold(inputs_module, "fusion")


def start(qtbot, dock, held):
    """Press Run and wait until it is in the middle."""
    before = len(held.shown)
    qtbot.mouseClick(dock.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(held.shown) == before + 1, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: "fusing" in dock.run_row.status_label.text())
    qtbot.waitUntil(dock.run_row.done_button.isEnabled)


def ticked(dock):
    return [(layer.name, element) for layer, element in dock.maps.chosen()]


# -------------------------------------------------------------------------------------------------------- the result


def test_the_sample_is_fused_with_the_defaults(qtbot, viewer):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    assert not dock.run_button.isEnabled()
    assert "Open an HAADF image and the maps" in dock.run_button.toolTip()
    maps = viewer.open_sample(PLUGIN, "core_shell_eels_maps")
    (haadf,) = viewer.open_sample(PLUGIN, "core_shell_haadf")
    assert dock.haadf.value == haadf, "it came last, and is no map"
    assert ticked(dock) == [("Ce M45", "Ce"), ("Co L23", "Co")]
    for layer in (haadf, *maps):  # a corner of it is enough
        layer.data = np.asarray(layer.data[60:156, 40:168])
    assert dock.lam.value is None, "λ is automatic"
    before = state(viewer)
    overlay = press(qtbot, dock, dock.run_button)
    assert state(viewer)[:3] == before, "the sources are untouched"

    added = made(viewer)
    assert overlay is viewer.layers[-1] is added[-1]
    assert [each.visible for each in added] == [False] * 3 + [True], "the overlay covers what is below it"
    record = overlay.metadata["invrecon"]
    how = f"{record['coupling']} λ={record['lam']:.3g}"
    assert [each.name for each in added] == [
        f"core_shell_haadf residual, {how}",
        f"Ce M45 fused, {how}",
        f"Co L23 fused, {how}",
        f"Ce + Co overlay, {how}",
    ]
    for each in added:
        np.testing.assert_allclose(each.scale, haadf.scale)
        np.testing.assert_allclose(each.translate, haadf.translate)
        assert each.units == haadf.units
        assert check_record(each.metadata["invrecon"]) == each.metadata["invrecon"]
        assert undescribed(each.metadata["invrecon"]) == []
    assert [each.metadata["invrecon"].get("part") for each in added] == [None, 0, 1, None]
    assert viewer.layers.units is not None
    assert record["settings"]["lam"] is None
    assert record["settings"]["coupling"] is None
    assert record["noise"] == "poisson"
    assert record["elements"] == ["Ce", "Co"]
    assert record["sources"][0]["layer"] == "core_shell_haadf"
    assert [each["layer"] for each in record["sources"][1]["layers"]] == ["Ce M45", "Co L23"]
    stack = np.stack([each.data for each in maps])
    assert record["sources"][1]["sha256"] == array_hash(stack)
    for each, counts in zip(dock.fused.maps, stack, strict=True):
        assert each.data.dtype == np.float32
        assert each.data.mean() == pytest.approx(counts.mean(), rel=0.05), "counts stay counts"
        assert np.abs(np.diff(each.data)).mean() < 0.3 * np.abs(np.diff(counts.astype(float))).mean()
        assert each.blending == "additive"
        assert each.contrast_limits[0] == 0
    assert dock.fused.maps[0].metadata["acquisition"]["element"] == "Ce"
    assert dock.fused.maps[0].colormap.name == maps[0].colormap.name, "an element keeps its colour"
    assert overlay.rgb
    assert "element" not in overlay.metadata["acquisition"]

    assert f"{record['lam']:.3g}" in dock.lam.automatic_box.text(), "the chosen λ is shown"
    assert dock.candidates.plot.candidates == record["candidates"], "and what it was chosen among"
    assert set(record["candidates"]) == {"none", "edges", "intensity", "both"}
    assert dock.report.label.text().startswith("Counts, coupled by")
    assert dock.run_row.status_label.text().startswith("done in")
    again = ir.replay(record, [haadf.data, stack])
    np.testing.assert_array_equal(again.data, np.stack([each.data for each in dock.fused.maps]))


def test_the_window_has_little_to_do_at_the_end(qtbot, viewer, pair, monkeypatch):
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1])
    dock = open_dock(viewer)
    threads, offered = [], []
    make, offer = dock_module.overlay_of, dock.maps.offer
    monkeypatch.setattr(
        dock_module, "overlay_of", lambda *given: threads.append(threading.current_thread()) or make(*given)
    )
    monkeypatch.setattr(dock.maps, "offer", lambda layers: offered.append(len(layers)) or offer(layers))
    overlay = press(qtbot, dock, dock.run_button)
    assert overlay.rgb
    assert threading.main_thread() not in threads, "the overlay is made beside the window"
    assert len(threads) == 1
    assert offered == [len(ELEMENTS)], "layers are offered once, not as each of them comes"


def test_a_theme_that_changes_before_the_first_run(viewer):
    open_dock(viewer)
    viewer.theme = "light"


def test_a_second_run_adds_layers_and_changes_none(qtbot, viewer, pair):
    haadf, counts = pair
    add_haadf(viewer, haadf)
    add_maps(viewer, counts)
    dock = open_dock(viewer)
    press(qtbot, dock, dock.run_button)
    before = state(viewer)
    assert ticked(dock) == [("Ce K", "Ce"), ("Co K", "Co")], "results are not offered as maps"
    assert len(dock.haadf.choices) == 3
    press(qtbot, dock, dock.run_button)
    assert state(viewer)[: len(before)] == before
    names = [each.name for each in made(viewer)]
    assert len(names) == len(set(names)) == 8
    assert names[4:] == [f"{each} [1]" for each in names[:4]]


def test_a_layer_is_repeated_from_its_record(qtbot, viewer, pair):
    add_haadf(viewer, pair[0])
    maps = add_maps(viewer, pair[1])
    dock = open_dock(viewer, lam=2.0, coupling="both")
    dock.maps.rename(maps[1], "Co(II)")
    press(qtbot, dock, dock.run_button)
    first = dock.fused
    dock.lam.value = None
    dock.settings.set_values({"coupling": "none", "n_iter": 5})
    dock.maps.tick(maps[0], False)
    viewer.layers.selection.active = first.maps[1]
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS):
        repeat_selected()
    assert dock.fused is not first
    for each, before in zip(dock.fused.maps, first.maps, strict=True):
        np.testing.assert_array_equal(each.data, before.data)
        assert each.name == f"{before.name} [1]"


def test_expected_errors_and_atomic_fractions_come_hidden(qtbot, viewer, pair):
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1])
    dock = open_dock(viewer, n_draws=3, k_factors="Ce=1, Co=1.5")
    press(qtbot, dock, dock.run_button)
    assert not any(each.visible for each in (*dock.fused.errors, *dock.fused.fractions))
    total = sum(each.data for each in dock.fused.fractions)
    np.testing.assert_allclose(total[np.isfinite(total)], 1, rtol=1e-5)
    assert dock.fused.fractions[0].name == "Ce K atomic fraction, edges λ=1"
    assert [each.name for each in dock.fused.errors] == [f"{e} K expected error, edges λ=1" for e in ELEMENTS]
    for each in dock.fused.errors:
        assert each.data.shape == SHAPE
        assert each.data.max() > 0
        assert each.metadata["invrecon"]["shows"]["quantity"] == "expected error"


def test_one_map_and_fitted_values(qtbot, viewer, pair):
    haadf, counts = pair
    add_haadf(viewer, haadf)
    values = counts[:1] / 12 - 0.01
    values[0, 3, 4] = np.nan
    add_maps(viewer, values, ELEMENTS[:1])
    dock = open_dock(viewer)
    press(qtbot, dock, dock.run_button)
    (fused,) = dock.fused.maps
    assert np.isfinite(fused.data).all()
    assert fused.data.mean() == pytest.approx(np.nanmean(values), abs=0.05)
    assert dock.report.label.text().startswith("Values, ")


@pytest.mark.parametrize("times", [2, 4])
def test_a_finer_haadf_is_placed_by_its_calibration(qtbot, viewer, times):
    """It also shows more than the maps do: what is cut out of it is what lies over them."""
    haadf, counts = scene(times)
    wide = np.pad(haadf, ((2 * times, times), (3 * times, 0)), constant_values=1e6)
    side = PIXEL_NM / times
    place = calibrated(side)
    place["translate"] = tuple(np.array(place["translate"]) - np.array([2, 3]) * PIXEL_NM)
    add_haadf(viewer, wide, **place)
    maps = add_maps(viewer, counts)
    dock = open_dock(viewer)
    assert dock.lies.text() == f"HAADF {times} × finer than the maps, cut to their field."
    press(qtbot, dock, dock.run_button)
    record = dock.fused.overlay.metadata["invrecon"]
    assert record["sources"][0]["placement"] == {"interpolated": False, "start": [2 * times, 3 * times]}
    assert record["sources"][0]["sha256"] == array_hash(haadf)
    for each in made(viewer):
        np.testing.assert_allclose(each.scale, maps[0].scale)
        np.testing.assert_allclose(each.translate, PLACE_NM)


def test_maps_on_the_pixels_of_the_haadf(qtbot, viewer):
    haadf, counts = scene(2)
    image = add_haadf(viewer, haadf, **calibrated(PIXEL_NM / 2))
    add_maps(viewer, counts)
    dock = open_dock(viewer, grid="haadf")
    press(qtbot, dock, dock.run_button)
    for each in made(viewer):
        assert each.data.shape[:2] == haadf.shape
        np.testing.assert_allclose(each.scale, image.scale)
        np.testing.assert_allclose(each.translate, image.translate)


def test_pixels_that_do_not_fit_are_interpolated(qtbot, viewer):
    haadf, counts = scene(3)
    add_haadf(viewer, haadf[:-7, 5:], **calibrated(PIXEL_NM / 3, (PLACE_NM[0], PLACE_NM[1] + 5 * PIXEL_NM / 3 - 0.2)))
    add_maps(viewer, counts)
    dock = open_dock(viewer)
    assert dock.lies.text() == "HAADF interpolated 3 × finer than the maps."
    press(qtbot, dock, dock.run_button)
    assert np.isnan(dock.fused.residual.data[-1]).all(), "there is no HAADF there"
    assert np.isfinite(dock.fused.maps[0].data).all()


def test_a_region_over_vacuum_makes_it_flat(qtbot, viewer, pair):
    stray = np.random.default_rng(5).poisson(1.0, pair[1].shape)
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1] + stray)
    dock = open_dock(viewer, lam=None)
    shapes = viewer.add_shapes(name="vacuum", units=("nm", "nm"))
    dock.vacuum.choose(shapes)
    assert not dock.run_button.isEnabled()
    assert "'vacuum' has no closed shape" in dock.run_button.toolTip()
    shapes.add_rectangles(np.array([[0, 0], [0, 8], [39, 8], [39, 0]]) * PIXEL_NM + PLACE_NM)
    assert dock.run_button.isEnabled(), dock.run_button.toolTip()
    press(qtbot, dock, dock.run_button)
    record = dock.fused.overlay.metadata["invrecon"]
    assert record["sources"][2]["role"] == "reference"
    assert record["lam"] >= record["curve"]["choices"]["reference"]
    assert dock.fused.maps[0].data[:, :8].std() < 0.3


# ------------------------------------------------------------------------------------------------------ why not to run


def test_run_says_why_it_could_not_work(viewer, pair):
    haadf, counts = pair
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    image = add_haadf(viewer, haadf)
    assert "Open an HAADF image and the maps of its field" in dock.run_button.toolTip()
    maps = add_maps(viewer, counts)
    assert dock.run_button.isEnabled()
    assert dock.lies.text() == "HAADF on the maps' pixels."
    for each in maps:
        dock.maps.tick(each, False)
    assert "Tick the maps to fuse with 'HAADF'" in dock.run_row.status_label.text()
    dock.maps.tick(maps[1], True)
    dock.maps.rename(maps[1], " ")
    assert "'Co K' needs the name of its element" in dock.run_button.toolTip()
    dock.maps.tick(maps[0], True)
    dock.maps.rename(maps[1], "Ce")
    assert "Two maps are named Ce" in dock.run_button.toolTip()
    dock.maps.rename(maps[1], "Co(II)")
    assert ticked(dock) == [("Ce K", "Ce"), ("Co K", "Co(II)")]
    assert dock.run_button.isEnabled()

    small = viewer.add_image(np.ones((10, 14)), name="Fe", **calibrated(4 * PIXEL_NM))
    assert not dict(dock.maps.chosen()).get(small), "of other pixels"
    dock.maps.tick(small, True)
    assert "have different pixels: tick maps of one acquisition only" in dock.run_button.toolTip()
    dock.maps.tick(small, False)
    image.translate = (500, 500)
    assert "shows 0 % of the field" in dock.run_button.toolTip()
    assert dock.lies.isHidden()
    image.translate = PLACE_NM
    assert dock.run_button.isEnabled()


def test_shapes_that_do_not_fit(viewer, pair):
    haadf, counts = pair
    viewer.add_image(haadf[:-3], name="HAADF", units=("nm", "nm"))
    for each, name in zip(counts, ELEMENTS, strict=True):
        viewer.add_image(each, name=name)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    assert dock.haadf.value.name == "HAADF"
    assert ticked(dock) == []
    assert "no whole multiple: give both a scale in nm" in dock.run_button.toolTip()
    viewer.layers["HAADF"].data = haadf
    assert ticked(dock) == [("Ce", "Ce"), ("Co", "Co")], "uncalibrated layers of one shape show one field"
    assert dock.run_button.isEnabled()


def test_a_failure_is_told_and_changes_nothing(qtbot, viewer, pair):
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1] - 0.5)
    dock = open_dock(viewer, noise="poisson")
    before = state(viewer)
    assert press(qtbot, dock, dock.run_button) is None
    (message,) = errors()
    assert message.startswith("Fuse failed: the maps are no counts")
    assert state(viewer) == before
    dock.settings.set_values({"noise": None})
    assert press(qtbot, dock, dock.run_button) is viewer.layers[-1]


# ---------------------------------------------------------------------------------------------------- what is offered


def test_layers_are_offered_as_they_come_go_and_are_renamed(viewer, pair):
    haadf, counts = pair
    maps = add_maps(viewer, counts)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    image = add_haadf(viewer, haadf)
    viewer.add_image(np.zeros((8, 8, 3), np.uint8), rgb=True, name="photograph")
    viewer.add_image(np.zeros((5, 8, 8)), name="stack")
    assert [each.name for each in dock.haadf.choices] == ["Ce K", "Co K", "HAADF"]
    assert dock.haadf.value == image
    maps[0].name, image.name = "cerium", "dark field"
    assert dock.haadf.native.currentText() == "dark field"
    assert ticked(dock) == [("cerium", "Ce"), ("Co K", "Co")]
    dock.maps.tick(maps[1], False)
    later = viewer.add_image(counts[1], name="Fe", **calibrated())
    assert ticked(dock) == [("cerium", "Ce"), ("Fe", "Fe")], "what was unticked stays so"
    viewer.layers.remove(later)
    viewer.layers.remove(image)
    assert dock.haadf.value == maps[0], "there is nothing better"
    assert dock.run_button.isEnabled() is False
    viewer.layers.clear()
    assert "Open an HAADF image" in dock.run_button.toolTip()


def test_the_first_map_of_an_element_is_ticked(viewer, pair):
    """A Velox file holds the EELS and the EDX map of the same element."""
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1])
    add_maps(viewer, pair[1])
    dock = open_dock(viewer)
    assert ticked(dock) == [("Ce K", "Ce"), ("Co K", "Co")]
    assert dock.maps.rowCount() == 4


# --------------------------------------------------------------------------------------------- stopped in the middle


def test_cancel_in_the_middle_changes_nothing(qtbot, viewer, pair, held):
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1])
    dock = open_dock(viewer)
    before = state(viewer)
    start(qtbot, dock, held)
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        qtbot.mouseClick(dock.run_row.cancel_button, Qt.MouseButton.LeftButton)
    assert end.args == [None]
    assert state(viewer) == before
    assert dock.report.isHidden()
    held.opened.set()
    assert press(qtbot, dock, dock.run_button) is viewer.layers[-1]


def test_cancel_at_any_moment_leaves_no_layer(qtbot, viewer, pair):
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1])
    dock = open_dock(viewer, lam=None, coupling=None, n_iter=20000, tolerance=0.0)  # also while λ is chosen
    before = state(viewer)
    for wait_ms in np.random.default_rng(6).exponential(200, 6).astype(int).tolist():
        qtbot.mouseClick(dock.run_button, Qt.MouseButton.LeftButton)
        qtbot.wait(wait_ms)
        assert dock.run_row.running
        with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
            qtbot.mouseClick(dock.run_row.cancel_button, Qt.MouseButton.LeftButton)
        assert end.args == [None]
        assert state(viewer) == before


def test_done_keeps_the_current_maps(qtbot, viewer, pair, held):
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1])
    dock = open_dock(viewer)
    start(qtbot, dock, held)
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        qtbot.mouseClick(dock.run_row.done_button, Qt.MouseButton.LeftButton)
    assert end.args == [dock.fused.overlay]
    record = dock.fused.overlay.metadata["invrecon"]
    assert record["stopped"] == "asked to finish"
    assert record["n_iter"] < 30
    assert np.ptp(dock.fused.maps[0].data) > 0


def test_sources_are_removed_and_renamed_in_the_middle(qtbot, viewer, pair, held):
    haadf = add_haadf(viewer, pair[0])
    maps = add_maps(viewer, pair[1])
    hashes = [array_hash(pair[0]), array_hash(pair[1])]
    dock = open_dock(viewer)
    start(qtbot, dock, held)
    maps[0].name = "other"
    maps[1].data = np.zeros((8, 8))
    viewer.layers.remove(haadf)
    viewer.layers.remove(maps[1])
    assert "fusing" in dock.run_row.status_label.text(), "it goes on"
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS):
        held.opened.set()
    assert [each.name for each in viewer.layers] == [
        "other",
        "HAADF residual, edges λ=1",
        "Ce K fused, edges λ=1",
        "Co K fused, edges λ=1",
        "Ce + Co overlay, edges λ=1",
    ]
    record = dock.fused.overlay.metadata["invrecon"]
    assert [each["sha256"] for each in record["sources"]] == hashes
    for each in dock.fused.maps:
        np.testing.assert_allclose(each.translate, PLACE_NM)
    assert not dock.run_button.isEnabled()
    dock.report.what.setCurrentText("Co")
    dock.report.what.activated.emit(dock.report.what.currentIndex())
    assert dock.fused.maps[1].visible
    assert not dock.report.buttons["Measured"].isEnabled(), "it was deleted"


def test_the_dock_is_closed_in_the_middle(qtbot, viewer, pair, held):
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1])
    docked, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    dock.lam.value = 1.0
    dock.settings.set_values({"coupling": "edges"})
    start(qtbot, dock, held)
    docked.destroyOnClose()  # what its × does
    qtbot.waitUntil(lambda: len(held.ended) == 1, timeout=WAIT_MS)
    qtbot.wait(50)
    assert made(viewer) == []
    viewer.layers[0].translate = (1, 1)
    viewer.layers[0].translate = PLACE_NM
    held.opened.set()
    again = open_dock(viewer)
    assert press(qtbot, again, again.run_button) is viewer.layers[-1]


def test_the_viewer_is_closed_in_the_middle(qtbot, viewer, pair, held):
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1])
    dock = open_dock(viewer)
    start(qtbot, dock, held)
    viewer.close()
    added = []
    viewer.layers.events.inserted.connect(added.append)
    qtbot.waitUntil(lambda: len(held.ended) == 1, timeout=WAIT_MS)
    assert QThreadPool.globalInstance().waitForDone(5000)
    qtbot.wait(100)
    assert added == []


# ------------------------------------------------------------------------------------------------------------ looking


def test_measured_fused_and_error_are_shown_alone(qtbot, viewer, pair):
    haadf = add_haadf(viewer, pair[0])
    maps = add_maps(viewer, pair[1])
    dock = open_dock(viewer, n_draws=2)
    press(qtbot, dock, dock.run_button)
    later = viewer.add_image(pair[0], name="later", **calibrated())
    shapes = viewer.add_shapes()
    report, fused = dock.report, dock.fused

    def seen(what, name):
        report.what.setCurrentText(what)
        report.what.activated.emit(report.what.currentIndex())
        qtbot.mouseClick(report.buttons[name], Qt.MouseButton.LeftButton)
        assert shapes.visible
        return [each for each in viewer.layers if each.visible and each is not shapes]

    assert seen("All elements", "Measured") == maps
    assert seen("All elements", "Fused") == [fused.overlay]
    assert seen("Ce", "Measured") == maps[:1]
    assert seen("Co", "Fused") == [fused.maps[1]]
    assert seen("Co", "Error") == [fused.errors[1]]
    assert seen("HAADF", "Measured") == [haadf]
    assert seen("HAADF", "Error") == [fused.residual]
    assert not report.buttons["Fused"].isEnabled()
    assert not later.visible
    for each in (*fused.maps, fused.overlay):
        viewer.layers.remove(each)
    assert report.isHidden(), "there is nothing to report on any more"


def test_a_click_on_the_plot_sets_coupling_and_lam(qtbot, viewer, pair):
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1])
    dock = open_dock(viewer, lam=None, coupling=None)
    press(qtbot, dock, dock.run_button)
    dock.candidates.expand()
    plot = dock.candidates.plot
    qtbot.waitUntil(lambda: plot.isVisibleTo(dock))
    plot.draw()
    found = plot.candidates["none"]
    best = int(np.argmin(found["score"]))
    x, y = plot.axes.transData.transform((found["lam"][best], found["score"][best]))
    plot.callbacks.process("button_press_event", MouseEvent("button_press_event", plot, x, y, MouseButton.LEFT))
    assert dock.lam.value == pytest.approx(found["lam"][best], rel=0.05)
    assert dock.settings.values()["coupling"] == "none"
    press(qtbot, dock, dock.run_button)
    assert dock.fused.overlay.metadata["invrecon"]["coupling"] == "none"
    assert plot.candidates["none"] == found, "the curves stay to be compared"


def test_it_fits_320_pixels_has_tooltips_and_follows_the_theme(qtbot, viewer, pair):
    add_haadf(viewer, pair[0], name="a rather long name of an HAADF image")
    add_maps(viewer, pair[1])
    dock = open_dock(viewer, coupling=None)
    press(qtbot, dock, dock.run_button)
    dock.candidates.expand()
    dock.settings.advanced.expand()
    QApplication.processEvents()
    assert dock.minimumSizeHint().width() <= 320
    assert dock.maps.height() > 2 * dock.maps.rowHeight(0), "two maps are seen without scrolling"
    silent = [
        control.accessibleName()
        for kind in (QAbstractButton, QComboBox, QAbstractSpinBox, QSlider, QLineEdit)
        for control in dock.findChildren(kind)
        if control.objectName() != "qt_toolbar_ext_button"
        and not (control.toolTip() or control.parentWidget().toolTip())
        and not isinstance(control.parentWidget(), (QComboBox, QAbstractSpinBox, QTableView))
    ]
    assert silent == []
    for theme in ("light", "dark"):
        viewer.theme = theme
        dock.candidates.plot.draw()
        background = dock.candidates.plot.figure.get_facecolor()
        assert (sum(background[:3]) < 1.5) == (theme == "dark")


def test_it_is_worked_by_keyboard(qtbot, make_napari_viewer, pair):
    viewer = make_napari_viewer(show=True)
    add_haadf(viewer, pair[0])
    add_maps(viewer, pair[1])
    dock = open_dock(viewer)
    with qtbot.waitActive(dock.window()):
        dock.window().activateWindow()
    table = dock.maps
    table.setFocus()
    assert table.hasFocus()
    table.setCurrentCell(0, 0)
    qtbot.keyClick(table, Qt.Key.Key_Space)
    assert ticked(dock) == [("Co K", "Co")]
    qtbot.keyClick(table, Qt.Key.Key_Space)
    qtbot.keyClick(table, Qt.Key.Key_Down)
    qtbot.keyClick(table, Qt.Key.Key_Right)
    qtbot.keyClick(table, Qt.Key.Key_F2)
    editor = QApplication.focusWidget()
    qtbot.keyClicks(editor, "X")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: ticked(dock) == [("Ce K", "Ce"), ("Co K", "X")])
    qtbot.keyClick(table, Qt.Key.Key_Tab)
    assert not table.hasFocus(), "Tab leaves the table"
    dock.run_button.setFocus()
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS):
        qtbot.keyClick(dock.run_button, Qt.Key.Key_Return)
    assert dock.fused.overlay.name.startswith("Ce + X overlay")
    dock.report.buttons["Measured"].setFocus()
    qtbot.keyClick(dock.report.buttons["Measured"], Qt.Key.Key_Space)
    assert not dock.fused.overlay.visible


# ---------------------------------------------------------------------------------------------------------- real files


def test_dropped_maps_are_fused(qtbot, viewer, shared_data):
    get_settings().plugins.extension2reader = {"*.npz": PLUGIN}
    drop(viewer, shared_data / "fusion/maps_CuZn_EELS.npz")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    assert dock.haadf.value.name == "HAADF [uncalibrated]"
    assert [element for _, element in dock.maps.chosen()] == ["Cu", "Zn"]
    assert dock.maps.rowCount() == 6, "the raw windows and the backgrounds are there to be ticked"
    before = state(viewer)
    press(qtbot, dock, dock.run_button)
    assert state(viewer)[: len(before)] == before
    record = dock.fused.overlay.metadata["invrecon"]
    assert record["noise"] == "gaussian"
    measured = np.stack([viewer.layers[f"{each} [uncalibrated]"].data for each in ("Cu", "Zn")])
    for each, raw in zip(dock.fused.maps, measured, strict=True):
        assert np.corrcoef(each.data.ravel(), raw.ravel())[0, 1] > 0.9
        assert each.data.mean() == pytest.approx(raw.mean(), rel=0.1)


def test_a_velox_file_offers_its_maps_of_one_technique(viewer, shared_data):
    drop(viewer, shared_data / "velox/example_velox_EELS_EDS.emd")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    assert dock.haadf.value.name == "DF-S", "not the reference image of the larger field"
    assert ticked(dock) == [("Fe-EELS", "Fe"), ("Co-EELS", "Co"), ("O-EELS", "O")]
    assert dock.lies.text() == "HAADF on the maps' pixels."


def test_the_menus_know_the_dock(viewer):
    from npe2 import PluginManager

    offered = [item.command for item in PluginManager.instance().iter_menu("napari/layers/filter")]
    assert "napari-invrecon.fuse" in offered
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    assert isinstance(dock, FusionDock)
