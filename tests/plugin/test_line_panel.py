"""The plot in the dock "Deconvolve" that data of one line bring with them."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.gui


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.open_sample("napari-invrecon", "lecture_deblurring_1d")
    return viewer


@pytest.fixture
def dock(viewer, qtbot):
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    yield dock
    qtbot.waitUntil(lambda: not (dock.lines.busy or dock.run_row.running), timeout=30_000)


def move(dock, qtbot, lam):
    dock.lam.value = lam
    qtbot.waitUntil(lambda: not dock.lines.busy, timeout=30_000)


def test_it_follows_lam_and_goes_with_its_image(viewer, dock, qtbot):
    assert dock.lines.isHidden()
    move(dock, qtbot, 0.1)
    assert dock.lines.isVisible()
    move(dock, qtbot, 0.2)
    assert dock.lines.plot._shown[0][2].title == "λ = 0.2"
    assert dock.minimumSizeHint().width() <= 320
    dock.image.value = viewer.layers["three peaks, true"]
    assert dock.lines.isHidden()


def test_a_sample_opened_into_an_open_dock_is_taken(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(np.random.default_rng(0).normal(size=(64, 64)), name="other")
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    assert dock.image.value.name == "other"
    viewer.open_sample("napari-invrecon", "lecture_deblurring_1d")
    assert dock.image.value.name == "three peaks"
    assert dock.settings.values()["regulariser"] == "l2"
    assert dock.psf.unit.currentText() == "exact: layer"
    with qtbot.waitSignal(dock.finished, timeout=60_000) as end:
        dock.run_button.click()
    assert dock.image.value.name == "three peaks", "not its own result"
    assert end.args[0].metadata["invrecon"]["lam_rule"] == "l-curve"
    qtbot.waitUntil(lambda: not dock.lines.busy, timeout=30_000)
    viewer.open_sample("napari-invrecon", "lecture_grain_boundaries")
    assert dock.image.value.name == "three peaks", "the image of a run stays"


@pytest.mark.parametrize("chosen", [True, False])
def test_an_image_that_the_user_chose_stays(make_napari_viewer, chosen):
    viewer = make_napari_viewer()
    first = viewer.add_image(np.ones((64, 64)), name="first")
    viewer.add_image(np.ones((64, 64)), name="second")
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    if chosen:
        dock.image.value = first
    viewer.add_image(np.ones((64, 64)), name="third")
    assert dock.image.value.name == ("first" if chosen else "second"), "a layer that says nothing is not taken"
    viewer.open_sample("napari-invrecon", "lecture_grain_boundaries")
    assert dock.image.value.name == ("first" if chosen else "grain boundaries")


def test_an_image_has_none(viewer, dock, qtbot):
    dock.image.value = viewer.add_image(np.random.default_rng(0).normal(size=(64, 64)))
    move(dock, qtbot, 0.1)
    assert dock.lines.isHidden()


def test_without_the_true_line(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    viewer.open_sample("napari-invrecon", "lecture_deblurring_1d")
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    viewer.layers.remove("three peaks, true")
    move(dock, qtbot, 0.1)
    assert dock.lines.plot._shown[2] is None
    viewer.theme = "light"
    dock.lines.plot.draw()
    assert dock.lines.plot.figure.axes[0].get_title() == "naive inverse, λ → 0"
