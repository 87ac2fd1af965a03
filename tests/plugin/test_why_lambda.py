"""The section "Why λ is needed" of the dock "Deconvolve", in a real window."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from phantoms import image

from napari_invrecon.plugin.picard import in_words, picard_steps
from napari_invrecon.plugin.plots import theme_colours
from napari_invrecon.plugin.samples import lecture_deblurring_1d
from napari_invrecon.recon.solvers import finish

pytestmark = pytest.mark.gui

SIGMA = 1.5


@pytest.fixture(scope="module")
def counts():
    return image("particles", SIGMA, 200, size=96)[1]


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def dock(viewer, qtbot):
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    dock.sigma.setValue(SIGMA)
    yield dock
    qtbot.waitUntil(lambda: not (dock.why.busy or dock.run_row.running or dock.lines.busy or dock.compare.running))


def look(dock, qtbot):
    """Open the section and wait; what is said."""
    dock.why.section.expand()
    qtbot.waitUntil(lambda: not dock.why.busy, timeout=60_000)
    return dock.why.label.text()


def test_the_lecture_with_its_figures(viewer, dock, qtbot):
    for data, keywords, _ in lecture_deblurring_1d():
        viewer.add_image(data, **keywords)
    said = look(dock, qtbot)
    assert "κ(H) = 230" in said
    assert "Press Run, or set λ" in said
    assert dock.why.plot.mark is None
    dock.lam.value = 0.126
    # By hand: σ² < λ for all but 11 of the 64.
    kernel = np.exp(-(np.linspace(-6, 6, 21) ** 2) / 18)
    below = np.mean(np.abs(np.fft.fft(kernel, 64)) ** 2 < 0.126)
    assert dock.why.plot.mark == pytest.approx(1 - below)
    assert f"below ½ for {100 * below:.2g} % of the frequencies" in dock.why.label.text()


def test_it_follows_the_image_the_psf_and_lam(viewer, dock, qtbot, counts):
    viewer.add_image(counts, name="image")
    dock.settings.set_values({"regulariser": "tikhonov"})
    dock.lam.value = 0.01
    look(dock, qtbot)
    first = dock.why.plot.mark
    assert 0 < first < 1
    dock.lam.value = 1.0
    assert dock.why.plot.mark < first, "a larger λ leaves less to the data"
    larger = dock.why.plot.mark
    dock.sigma.setValue(2 * SIGMA)
    qtbot.waitUntil(lambda: not dock.why.busy, timeout=60_000)
    assert dock.why.plot.mark < larger, "so does a wider PSF"
    dock.settings.set_values({"regulariser": "tv"})
    qtbot.waitUntil(lambda: not dock.why.busy, timeout=60_000)
    assert dock.why.plot.mark is None
    assert "tv is no linear filter" in dock.why.label.text()
    viewer.layers.clear()
    assert dock.why.plot.isHidden()
    assert "Choose an image" in dock.why.label.text()


def test_what_cannot_be_inverted_says_why(viewer, dock, qtbot):
    viewer.add_image(np.full((20, 20), np.nan), name="nothing")
    notification_manager.records.clear()
    assert "no finite value: open another layer" in look(dock, qtbot)
    assert notification_manager.records == [], "it comes with the choice of a layer, not with a button"
    assert dock.why.plot.isHidden()


def test_every_setting_and_shape(viewer, dock, qtbot, counts):
    dock.sigma.setValue(0.5)
    dock.why.section.expand()
    for number, shape in enumerate([(3, 30, 41), (64, 64)]):
        data = np.resize(counts, shape).astype(np.float32)
        data[..., 5, :1] = np.nan
        layer = viewer.add_image(data, name=f"image {number}")
        dock.image.value = layer
        for settings in ({"noise": "poisson"}, {"noise": "gaussian"}, {"boundary": "periodic"}):
            dock.settings.set_values({"boundary": "masked"} | settings)
            qtbot.waitUntil(lambda: not dock.why.busy, timeout=60_000)
            assert "κ(H)" in dock.why.label.text(), (shape, settings)


def test_closed_it_costs_nothing_and_a_closed_dock_stops_it(viewer, dock, qtbot, counts):
    viewer.add_image(counts, name="image")
    dock.sigma.setValue(2.0)
    assert not dock.why.busy
    dock.why.section.expand()
    assert dock.why.busy
    dock.stop()
    qtbot.waitUntil(lambda: not dock.why.busy)
    assert dock.why.plot.isHidden(), "nothing comes of it"


def test_theme_width_and_the_worst_blur(viewer, dock, qtbot, counts):
    viewer.add_image(counts, name="image")
    look(dock, qtbot)
    assert dock.minimumSizeHint().width() <= 320
    viewer.theme = "light"
    dock.why.plot.draw()
    assert dock.why.plot.figure.get_facecolor()[0] > 0.8
    assert dock.why.plot._colours == theme_colours("light")
    dock.psf.unit.setCurrentText("σ (px)")
    layer = viewer.layers["image"]
    found = finish(picard_steps(dock._inputs(layer, None)))
    assert found.inverse.noise_sigma == pytest.approx(np.sqrt(counts.mean()), rel=0.5)
    assert 0 < found.drowned < 1
    assert "lie below the noise" in in_words(found, None)
