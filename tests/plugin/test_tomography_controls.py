"""The dock "Tomography" in a real window: what it offers, what it refuses and why, its preview and its plots."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backend_bases import MouseButton, MouseEvent
from notifications import errors
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QApplication, QComboBox, QLineEdit, QMenu, QSlider
from tilt_window import ANGLES, PIXEL_NM, PLACE_NM, SHAPE, add, clean_series, open_dock, press, state

from napari_invrecon.plugin.plots import theme_colours
from napari_invrecon.plugin.widgets.tomography import TomographyDock

pytestmark = pytest.mark.gui


@pytest.fixture(scope="module")
def clean():
    return clean_series()


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


def settle(qtbot, dock):
    qtbot.waitUntil(lambda: not dock.preview.busy, timeout=60_000)


def test_without_a_series_everything_says_what_to_do(viewer):
    dock = open_dock(viewer)
    for button in (dock.run_button, dock.align_button):
        assert not button.isEnabled()
        assert "Open a tilt series first" in button.toolTip()
    viewer.add_image(np.eye(8))
    assert list(dock.image.choices) == []


def test_a_mismatch_of_angles_disables_both_steps_and_names_both_lengths(viewer, clean):
    add(viewer, clean, angles=ANGLES[:-2])
    dock = open_dock(viewer)
    for button in (dock.run_button, dock.align_button):
        assert not button.isEnabled()
        assert "lists 27 angles, but 'HAADF' has 29 images" in button.toolTip()
    assert "27 angles" in dock.run_row.status_label.text()
    dock.angles.source.setCurrentText("start and step")
    assert dock.run_button.isEnabled()
    assert dock.align_button.isEnabled()


def test_the_series_with_angles_is_chosen_and_typed_angles_survive_another_choice(viewer, clean):
    plain = viewer.add_image(clean, name="plain")
    series = add(viewer, clean)
    dock = open_dock(viewer)
    assert list(dock.image.choices) == [series, plain]
    dock.image.value = plain
    dock.angles.start.setValue(-56.0)
    dock.angles.step.setValue(4.0)
    dock.image.value = series
    np.testing.assert_array_equal(dock.angles.value, ANGLES)
    dock.image.value = plain
    assert dock.angles.value[0] == -56.0
    viewer.layers.remove(series)
    assert dock.angles.value[1] == -52.0


def test_the_axis_is_drawn_where_the_settings_say_and_is_no_data(viewer, clean):
    add(viewer, clean)
    dock = open_dock(viewer)
    dock.axis.show_box.setChecked(True)
    line = dock.axis_line.layer
    assert line in viewer.layers
    assert list(dock.image.choices) == [viewer.layers[0]]
    assert viewer.layers.units is not None, "no unit is lost"
    start, direction = line.data[0]
    np.testing.assert_allclose(line.data_to_world(start), [PLACE_NM[0] - 0.5 * PIXEL_NM, PLACE_NM[1] + 19.5 * PIXEL_NM])
    assert direction[1] == 0
    dock.settings.set_values({"axis_shift_px": 4.0})
    assert dock.axis_line.layer is line
    assert line.data[0, 0, 1] == pytest.approx(23.5)
    dock.alignment.settings.set_values({"axis_rotation_deg": 10.0})
    assert line.data[0, 1, 1] < 0
    dock.axis.value = "x"
    assert abs(line.data[0, 1, 1]) > abs(line.data[0, 1, 0])
    viewer.dims.ndisplay = 3
    dock.settings.set_values({"axis_shift_px": 2.0})
    viewer.dims.ndisplay = 2
    viewer.layers.remove(line)
    assert not dock.axis.show_box.isChecked()
    dock.axis.show_box.setChecked(True)
    dock.axis.show_box.setChecked(False)
    assert len(viewer.layers) == 1


@pytest.mark.parametrize("axis", ["y", "x"])
def test_the_preview_is_a_slice_beside_the_stack(qtbot, viewer, clean, axis):
    stack = clean if axis == "y" else np.ascontiguousarray(clean.swapaxes(-1, -2))
    source = add(viewer, stack)
    dock = open_dock(viewer)
    dock.axis.value = axis
    before, selected = state(viewer), set(viewer.layers.selection)
    dock.preview_box.setChecked(True)
    settle(qtbot, dock)
    preview = dock.preview.layer
    assert state(viewer)[:1] == before
    assert set(viewer.layers.selection) == selected
    assert list(dock.image.choices) == [source]
    assert viewer.layers.units is not None
    # It lies beyond the stack, and across the axis at the stack's place.
    across, beyond = (1, 0) if axis == "y" else (0, 1)
    low, high = preview.extent.world
    _, end = source.extent.world[:, -2:]
    assert low[beyond] > end[beyond]
    np.testing.assert_allclose([low[across], high[across]], source.extent.world[:, -2:][:, across])
    index = dock.slice.value()
    assert f"slice at {axis} = {PLACE_NM[0 if axis == 'y' else 1] + PIXEL_NM * index:.4g} nm" in preview.name
    volume = press(qtbot, dock, dock.run_button)
    made = volume.data[:, index] if axis == "y" else volume.data[:, :, index].T
    assert np.corrcoef(preview.data.ravel(), made.ravel())[0, 1] > 0.99, "it is what the run gives"

    shown = preview.data
    dock.slice.setValue(index + 3)
    settle(qtbot, dock)
    assert dock.preview.layer is preview
    assert not np.array_equal(preview.data, shown)
    dock.preview_box.setChecked(False)
    assert preview not in viewer.layers


def test_a_preview_of_a_stack_that_does_not_fit_says_why_below_its_box(qtbot, viewer, clean):
    add(viewer, clean)
    dock = open_dock(viewer, algorithm="sirt", n_iter=4)
    dock.preview_box.setChecked(True)
    settle(qtbot, dock)
    dock.image.value = add(viewer, np.zeros_like(clean), name="empty")
    settle(qtbot, dock)
    assert "No preview: " in dock.preview_status.text()
    assert not dock.preview.layer.visible
    assert not errors(), "nobody pressed a button"
    dock.image.value = viewer.layers["HAADF"]
    settle(qtbot, dock)
    assert dock.preview_status.text() == ""
    assert dock.preview.layer.visible


def test_the_preview_of_maps_is_of_the_channel_on_the_screen(qtbot, viewer, clean):
    maps = viewer.add_image(np.stack([clean, clean[:, ::-1], 3 * clean])[:, :, None], name="EDX")
    dock = open_dock(viewer)
    dock.angles.start.setValue(ANGLES[0])
    dock.angles.step.setValue(5.0)
    before = state(viewer)
    viewer.dims.set_current_step(0, 0)
    dock.preview_box.setChecked(True)
    settle(qtbot, dock)
    assert state(viewer)[:1] == before
    assert list(dock.image.choices) == [maps]
    index = dock.slice.value()
    shown = {}
    for channel in (0, 2, 1):
        viewer.dims.set_current_step(0, channel)
        settle(qtbot, dock)
        assert f"slice of channel {channel} at y" in dock.preview.layer.name
        shown[channel] = dock.preview.layer.data
    volume = press(qtbot, dock, dock.run_button)
    for channel, slice_zx in shown.items():
        assert np.corrcoef(slice_zx.ravel(), volume.data[channel, :, index].ravel())[0, 1] > 0.99
    dense = shown[0] > 0.5 * shown[0].max()
    assert np.median(shown[2][dense]) == pytest.approx(3 * np.median(shown[0][dense]), rel=0.1)


def test_a_turned_layer_has_its_axis_its_preview_and_its_volume_turned_with_it(qtbot, viewer, clean):
    source = add(viewer, clean)
    turn = np.eye(5)
    turn[2:4, 2:4] = [[0.8, -0.6], [0.6, 0.8]]
    turn[2:4, 4] = [50.0, -20.0]
    source.affine = turn
    source.rotate = 10
    dock = open_dock(viewer)
    dock.axis.show_box.setChecked(True)
    drawn = dock.axis_line.layer
    start, along = drawn.data[0]
    ends = [np.asarray(drawn.data_to_world(end)[-2:]) for end in (start, start + along)]
    on_axis = np.asarray(source.data_to_world([0, 0, 3.0, (SHAPE[1] - 1) / 2])[-2:])
    (a, b), (c, d) = ends[1] - ends[0], on_axis - ends[0]
    assert a * d == pytest.approx(b * c, abs=1e-6), "the middle column lies on the line"
    dock.preview_box.setChecked(True)
    settle(qtbot, dock)
    preview = dock.preview.layer
    beside = np.subtract(preview.data_to_world([0, SHAPE[1] - 1]), preview.data_to_world([0, 0]))
    across = np.subtract(*(source.data_to_world([0, 0, 0, u])[-2:] for u in (SHAPE[1] - 1, 0)))
    np.testing.assert_allclose(beside[-2:], across, atol=1e-6)
    volume = press(qtbot, dock, dock.run_button)
    for y, x in ((0, 0), (5, 30)):
        there = volume.data_to_world([(volume.data.shape[0] - 1) / 2, y, x])
        np.testing.assert_allclose(there, [0, *source.data_to_world([0, 0, y, x])[-2:]], atol=1e-6)
    tipped = np.eye(5)
    tipped[1:3, 1:3] = [[0.8, -0.6], [0.6, 0.8]]
    source.affine = tipped
    assert not dock.run_button.isEnabled()
    assert "turned out of its image plane" in dock.run_button.toolTip()
    source.affine = np.eye(5)
    assert dock.run_button.isEnabled()


def test_the_preview_follows_lam_and_a_click_on_the_curve_sets_it(qtbot, viewer, clean):
    add(viewer, clean)
    dock = open_dock(viewer, algorithm="tv-sart", n_iter=10, lam=0.01)
    dock.preview_box.setChecked(True)
    settle(qtbot, dock)
    first = dock.preview.layer.data
    for lam in (0.02, 0.05, 0.1):  # the newest wins
        dock.lam.value = lam
    settle(qtbot, dock)
    assert np.abs(np.diff(dock.preview.layer.data)).sum() < np.abs(np.diff(first)).sum(), "a larger λ is smoother"
    dock.lam.value = None
    settle(qtbot, dock)
    assert "automatic: " in dock.lam.automatic_box.text()
    plot = dock.lambda_panel.plot
    assert len(plot._curve["lam"]) > 2
    dock.lambda_panel.section.expand()
    qtbot.waitUntil(lambda: plot.isVisible() and plot.width() > 150)
    plot.draw()
    lam = float(np.sqrt(plot._curve["lam"][0] * plot._curve["lam"][-1]))
    at = plot._scores.transData.transform((lam, np.mean(plot._scores.get_ylim())))
    plot.callbacks.process("button_press_event", MouseEvent("button_press_event", plot, *at, MouseButton.LEFT))
    assert dock.lam.value == pytest.approx(lam, rel=0.02)
    viewer.layers.remove(dock.preview.layer)
    assert not dock.preview_box.isChecked()
    settle(qtbot, dock)


def test_the_rendering_is_not_forced_on_a_viewer_with_other_layers(qtbot, viewer, clean):
    add(viewer, clean)
    dock = open_dock(viewer)
    volume = press(qtbot, dock, dock.run_button)
    assert viewer.dims.ndisplay == 3, "alone, it is rendered"
    assert volume.rendering == "attenuated_mip"
    assert [each.name for each in viewer.layers if each.visible] == [volume.name]
    dock.report.button.setChecked(False)
    assert viewer.dims.ndisplay == 2
    assert all(each.visible for each in viewer.layers)
    viewer.add_image(np.eye(8), name="the user's own")
    second = press(qtbot, dock, dock.run_button)
    assert viewer.dims.ndisplay == 2
    assert viewer.layers["the user's own"].visible
    dock.report.button.setChecked(True)
    assert viewer.dims.ndisplay == 3
    viewer.layers.remove(second)
    assert viewer.dims.ndisplay == 2
    assert dock.report.isHidden(), "the report goes with its volume"


def test_the_report_names_wedge_elongation_and_bad_tilts(qtbot, viewer, clean):
    bad = clean.copy()
    bad[20] = np.roll(bad[20], 7, axis=1)
    add(viewer, bad)
    dock = open_dock(viewer, n_iter=15)
    volume = press(qtbot, dock, dock.run_button)
    found = volume.metadata["invrecon"]["diagnostics"]
    assert 20 in found["bad_tilts"]
    assert "20 (30°)" in dock.report.label.text()
    assert "Missing wedge: 22 %" in dock.report.facts.text()
    assert f"Elongation along the beam: {found['elongation']:.2f}" in dock.report.facts.text()
    dock.report.plot.draw()
    coverage, residual = dock.report.plot.figure.axes
    assert "22 % never measured" in coverage.get_title()
    assert [each.get_text() for each in residual.texts] == ["30°"] or len(found["bad_tilts"]) > 1
    dock.report.button.setChecked(False)
    for name in ("light", "dark"):
        viewer.theme = name
        dock.report.plot.draw()
        r, g, b, _ = dock.report.plot.figure.get_facecolor()
        assert "#" + "".join(f"{round(255 * v):02x}" for v in (r, g, b)) == theme_colours(name).background.lower()


def test_a_background_is_told_of_whether_subtracted_or_only_suggested(qtbot, viewer, clean):
    add(viewer, clean - 3)
    dock = open_dock(viewer)
    volume = press(qtbot, dock, dock.run_button)
    assert volume.metadata["invrecon"]["background"]["subtracted"] == pytest.approx(-3, abs=0.2)
    assert "is subtracted" in dock.report.label.text()
    viewer.layers[0].data = viewer.layers[0].data + 6
    kept = press(qtbot, dock, dock.run_button)
    assert kept.metadata["invrecon"]["background"]["subtracted"] == 0
    assert "is suggested" in dock.report.label.text()
    dock.settings.set_values({"background": 3.0})
    press(qtbot, dock, dock.run_button)
    said = dock.report.label.text()
    assert "is suggested" not in said
    assert "is subtracted" not in said


def test_the_memory_is_told_before_the_start(viewer, clean):
    add(viewer, clean)
    dock = open_dock(viewer)
    assert "Needs about" in dock.memory.text()
    dock.image.value.data = np.zeros((29, 1, 600, 600), np.float32)
    large = dock.memory.text()
    assert "GB" in large
    dock.settings.set_values({"memory_gb": 1.0})
    assert "slabs" in dock.memory.text()


def test_every_control_has_a_tooltip_and_all_fit_in_320_pixels(viewer, clean):
    add(viewer, clean)
    dock = open_dock(viewer, algorithm="tv-sart")
    dock.settings.advanced.expand()
    dock.alignment.settings.advanced.expand()
    dock.lambda_panel.section.expand()
    dock.report.section.expand()
    QApplication.processEvents()
    assert dock.minimumSizeHint().width() <= 320
    controls = (QAbstractButton, QComboBox, QAbstractSpinBox, QSlider, QLineEdit)
    silent = []
    for control in (each for kind in controls for each in dock.findChildren(kind)):
        parent = control.parentWidget()
        inside = isinstance(parent, (QComboBox, QAbstractSpinBox)) or control.objectName() == "qt_toolbar_ext_button"
        if not inside and not control.toolTip() and not parent.toolTip():
            silent.append((type(control).__name__, control.accessibleName(), getattr(control, "text", str)()))
    assert silent == []


def reachable(dock):
    """The controls that a keyboard has to reach, from the top: visible, enabled, and no part of another."""
    controls = (QAbstractButton, QComboBox, QAbstractSpinBox, QSlider, QLineEdit)
    found = [each for kind in controls for each in dock.findChildren(kind)]
    return [
        each
        for each in found
        if each.isVisible()
        and each.isEnabled()
        and not isinstance(each.parentWidget(), (QComboBox, QAbstractSpinBox))
        and each.objectName() != "qt_toolbar_ext_button"
    ]


def tour(qtbot, dock, first):
    """The widgets that Tab reaches one after another, from ``first`` until it comes round or leaves the dock."""
    first.setFocus()
    seen = []
    while (here := QApplication.focusWidget()) not in seen and here is not None and dock.isAncestorOf(here):
        seen.append(here)
        qtbot.keyClick(here, Qt.Key.Key_Tab)
    return seen


def test_by_keyboard_alone(qtbot, viewer, clean):
    add(viewer, clean)
    add(viewer, 2 * clean, name="Co map")
    dock = open_dock(viewer, algorithm="tv-sart", n_iter=300, lam=1e-3, tolerance=0.0)
    dock.settings.advanced.expand()
    dock.alignment.settings.advanced.expand()
    dock.window().activateWindow()
    qtbot.waitUntil(dock.window().isActiveWindow)
    QApplication.processEvents()
    first = dock.image.native
    seen = tour(qtbot, dock, first)
    stepped = [each for each in reachable(dock) if not any(s is each or each.isAncestorOf(s) for s in seen)]
    assert [(type(each).__name__, each.accessibleName(), each.toolTip()) for each in stepped] == []
    marks = [first, dock.axis.show_box, dock.align_button, dock.preview_box, dock.live_box, dock.run_button]
    places = [next(i for i, s in enumerate(seen) if s is m or m.isAncestorOf(s)) for m in marks]
    assert places == sorted(places), "from the top down, the run row last"

    for box in (dock.preview_box, dock.axis.show_box):
        box.setFocus()
        qtbot.keyClick(box, Qt.Key.Key_Space)
        assert box.isChecked()
        qtbot.keyClick(box, Qt.Key.Key_Space)
        assert not box.isChecked()
    before = len(viewer.layers)
    dock.run_button.setFocus()
    qtbot.keyClick(dock.run_button, Qt.Key.Key_Return)
    assert dock.run_row.cancel_button.hasFocus()
    with qtbot.waitSignal(dock.finished, timeout=60_000) as end:
        qtbot.keyClick(dock.run_row.cancel_button, Qt.Key.Key_Escape)
    assert end.args == [None]
    assert len(viewer.layers) == before
    assert dock.run_button.hasFocus()
    qtbot.keyClick(dock.run_button, Qt.Key.Key_Space)
    qtbot.waitUntil(dock.run_row.done_button.isEnabled, timeout=60_000)
    qtbot.keyClick(dock.run_row.cancel_button, Qt.Key.Key_Tab)
    assert dock.run_row.done_button.hasFocus()
    with qtbot.waitSignal(dock.finished, timeout=60_000) as end:
        qtbot.keyClick(dock.run_row.done_button, Qt.Key.Key_Return)
    assert end.args[0] is viewer.layers[-1]
    dock.alignment.settings.set_values({"method": "cross-correlation"})
    dock.align_button.setFocus()
    with qtbot.waitSignal(dock.finished, timeout=60_000) as end:
        qtbot.keyClick(dock.align_button, Qt.Key.Key_Return)
    assert end.args[0].name.endswith(" aligned")


def test_algorithms_without_lam_show_none(viewer, clean):
    add(viewer, clean)
    dock = open_dock(viewer, algorithm="tv")
    assert not dock.lam.isHidden()
    for algorithm in ("sirt", "sart", "fbp"):
        dock.settings.set_values({"algorithm": algorithm})
        assert dock.lam.isHidden()
        assert dock.lambda_panel.isHidden()


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
def test_the_menus_open_the_dock(viewer, clean, where):
    add(viewer, clean)
    (action,) = (action for path, action in actions(getattr(viewer.window, where)) if path[-1].startswith("Tomography"))
    action.trigger()
    (dock,) = (each for each in viewer.window.dock_widgets.values() if isinstance(each, TomographyDock))
    assert dock.image.value is viewer.layers[0]
    assert dock.image.value.data.shape[-2:] == SHAPE
