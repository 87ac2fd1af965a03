"""Source | result | residual after a run, in a real window, whatever the user does to the layers meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import image
from qtpy.QtCore import Qt

pytestmark = pytest.mark.gui

NAMES = ("Source", "Result", "Residual")


@pytest.fixture(scope="module")
def counts():
    return image("particles", 1.5, 200, size=64)[1]


@pytest.fixture
def viewer(make_napari_viewer, counts):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(counts, name="image", scale=(0.5, 0.5), units=("nm", "nm"))
    return viewer


@pytest.fixture
def dock(viewer, qtbot):
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    dock.settings.set_values({"regulariser": "tikhonov"})
    dock.lam.value = 0.01
    yield dock
    dock.preview_box.setChecked(False)
    qtbot.waitUntil(lambda: not (dock.preview.busy or dock.run_row.running or dock.compare.running))


def run(dock, qtbot):
    with qtbot.waitSignal(dock.finished, timeout=60_000) as got:
        dock.run_button.click()
    return got.args[0]


def press(dock, qtbot, name):
    dock.compare.buttons[name].click()
    qtbot.waitUntil(lambda: not dock.compare.running, timeout=30_000)


def down(dock):
    return [name for name in NAMES if dock.compare.buttons[name].isChecked()]


def seen(viewer):
    return [layer.name for layer in viewer.layers if layer.visible]


def test_one_of_three_is_seen_and_nothing_else_changes(viewer, dock, qtbot):
    assert not dock.compare.isVisible()
    result = run(dock, qtbot)
    viewer.scene.camera.zoom, viewer.scene.camera.center = 7.5, (0, 11, 12)
    camera, chosen = viewer.scene.camera.model_dump(), dock.image.value
    assert down(dock) == ["Result"]
    for name, layer in (("Source", "image"), ("Result", result.name), ("Residual", "image residual/σ")) * 2:
        press(dock, qtbot, name)
        assert seen(viewer) == [layer]
        assert down(dock) == [name]
    assert viewer.scene.camera.model_dump() == camera
    assert dock.image.value is chosen
    assert len(viewer.layers) == 3, "the residual is computed once"
    residual = viewer.layers["image residual/σ"]
    assert tuple(residual.contrast_limits) == (-3, 3)
    white = residual.colormap.map(np.array([0.5]))[0][:3]
    assert white.min() > 0.9, "zero is the middle of the colours"


def test_the_buttons_follow_what_is_shown_and_hidden_elsewhere(viewer, dock, qtbot):
    result = run(dock, qtbot)
    result.visible = False
    assert down(dock) == ["Source"]
    viewer.layers["image"].visible = False
    assert down(dock) == []
    result.visible = True
    assert down(dock) == ["Result"]
    result.name, viewer.layers["image"].name = "renamed", "other"
    press(dock, qtbot, "Source")
    assert seen(viewer) == ["other"]
    press(dock, qtbot, "Result")
    assert seen(viewer) == ["renamed"]


def test_deleted_layers(viewer, dock, qtbot):
    result = run(dock, qtbot)
    press(dock, qtbot, "Residual")
    viewer.layers.remove("image residual/σ")
    assert seen(viewer) == [result.name], "something is always left to look at"
    press(dock, qtbot, "Residual")
    assert seen(viewer) == ["image residual/σ"]
    viewer.layers.remove("image")
    assert not dock.compare.buttons["Source"].isEnabled()
    assert "deleted" in dock.compare.buttons["Source"].toolTip()
    press(dock, qtbot, "Result")
    viewer.layers.remove(result)
    assert not dock.compare.isVisible()


def test_a_result_deleted_while_its_residual_is_computed(viewer, dock, qtbot):
    result = run(dock, qtbot)
    dock.compare.buttons["Residual"].click()
    viewer.layers.remove(result)
    qtbot.waitUntil(lambda: not dock.compare.running, timeout=30_000)
    assert [layer.name for layer in viewer.layers] == ["image"]


def test_a_second_result_takes_the_place_of_the_first(viewer, dock, qtbot):
    run(dock, qtbot)
    press(dock, qtbot, "Residual")
    dock.lam.value = 1.0
    second = run(dock, qtbot)
    assert down(dock) == ["Result"]
    press(dock, qtbot, "Source")
    assert seen(viewer) == ["image"], "the first result does not lie above the source"
    press(dock, qtbot, "Result")
    assert seen(viewer) == [second.name]
    press(dock, qtbot, "Residual")
    assert seen(viewer) == ["image residual/σ [1]"]


def test_the_preview_does_not_lie_above_the_source(viewer, dock, qtbot):
    dock.preview_box.setChecked(True)
    qtbot.waitUntil(lambda: not dock.preview.busy, timeout=30_000)
    run(dock, qtbot)
    press(dock, qtbot, "Source")
    assert seen(viewer) == ["image"]
    dock.lam.value = 0.5
    qtbot.waitUntil(lambda: not dock.preview.busy, timeout=30_000)
    assert "preview" in seen(viewer), "the next look shows it again"


def test_by_keyboard_and_in_320_pixels(viewer, dock, qtbot):
    run(dock, qtbot)
    assert dock.minimumSizeHint().width() <= 320
    window, buttons = dock.window(), dock.compare.buttons
    with qtbot.waitActive(window):
        window.activateWindow()
    buttons["Result"].setFocus()
    qtbot.keyClick(buttons["Result"], Qt.Key.Key_Left)
    assert buttons["Source"].hasFocus()
    assert seen(viewer) == ["image"]


def test_the_three_in_3d(viewer, dock, qtbot):
    viewer.dims.ndisplay = 3
    result = run(dock, qtbot)
    for name in NAMES:
        press(dock, qtbot, name)
        assert len(seen(viewer)) == 1
    viewer.dims.ndisplay = 2
    assert result in viewer.layers


def test_the_verdict_and_the_failure_of_a_residual(viewer, dock, qtbot):
    from napari.utils.notifications import notification_manager

    dock.settings.set_values({"z_exponent": 1.7})
    run(dock, qtbot)
    assert "residual/noise" in dock.compare.label.text()
    notification_manager.records.clear()
    press(dock, qtbot, "Residual")
    assert "run without the Z exponent" in notification_manager.records[-1].message
    assert down(dock) == ["Result"]
