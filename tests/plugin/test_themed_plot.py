"""What the plots of all docks have in common: they are drawn when they are seen, and their labels have room."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.image import imread
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QVBoxLayout, QWidget

from napari_invrecon.plugin.candidates_plot import CandidatesPlot
from napari_invrecon.plugin.line_plot import Line, LinePlot
from napari_invrecon.plugin.picard import Picard
from napari_invrecon.plugin.picard_plot import PicardPlot
from napari_invrecon.plugin.plots import LambdaPlot, theme_colours
from napari_invrecon.plugin.spectrum_plot import SpectrumPlot
from napari_invrecon.plugin.tilt_plots import QualityPlot, SinogramPlot
from napari_invrecon.recon.naive import FilterFactors, naive

pytestmark = pytest.mark.gui

DARK = theme_colours("dark")
LAM = np.geomspace(1e-8, 1e3, 12)
CURVE = {
    "lam": LAM.tolist(), "residual_norm": (2.9e3 * LAM**0.2).tolist(), "solution_norm": (1.3e-3 / LAM).tolist(),
    "gcv": (1 + np.log(LAM) ** 2).tolist(), "holdout": (1 + np.log(10 * LAM) ** 2).tolist(),
    "sure": (1 + np.log(LAM / 10) ** 2).tolist(), "choices": {"gcv": 1.0, "holdout": 0.1}, "n_data": 100, "sigma": 0.01,
}  # fmt: skip
ANGLES = np.arange(-70.0, 71.0, 5.0)
QUALITY = {
    "missing_wedge_fraction": 0.22, "residual_per_tilt": np.linspace(0.75, 1.25, ANGLES.size).tolist(),
    "residual_over_noise": 1.0, "bad_tilts": [0, 20],
}  # fmt: skip
SCORES = {name: {"lam": [0.1, 1.0, 10.0], "score": [1.0125, 1.0, 1.025]} for name in ("none", "edges", "intensity",
                                                                                     "both", "power")}  # fmt: skip


def lambda_plot():
    plot = LambdaPlot(DARK)
    plot.show_curve(CURVE)
    return plot


def line_plot():
    plot, y = LinePlot(DARK), np.linspace(-12000.0, 12000.0, 64)
    plot.show_lines([Line(f"λ = {lam:.2g}, too small", y) for lam in (1e-10, 3e-5, 1e-3, 0.03)], y, y)
    return plot


def picard_plot():
    plot, y = PicardPlot(DARK), np.random.default_rng(0).poisson(1e5, (32, 32))
    kernel = np.exp(-(np.mgrid[-9:10, -9:10] ** 2).sum(0) / 8)
    factors = FilterFactors(balance=np.geomspace(1e-3, 10, 50), share=np.linspace(0.1, 0.9, 50))
    found = naive(y, kernel / kernel.sum(), noise_sigma=300.0)
    plot.show_found(Picard(found, factors, exact=True, regulariser="l2", ndim=2))
    return plot


def sinogram_plot():
    plot = SinogramPlot(DARK)
    plot.show_sinograms(np.random.default_rng(0).random((2, 144, 1024), np.float32))
    return plot


def quality_plot():
    plot = QualityPlot(DARK)
    plot.show_quality(ANGLES, QUALITY)
    return plot


def candidates_plot():
    plot = CandidatesPlot(DARK)
    plot.show_candidates(SCORES, "edges", 1.0)
    return plot


def spectrum_plot():
    plot, energy = SpectrumPlot(DARK), np.linspace(400.0, 1400.0, 500)
    plot.show_spectrum(energy, 1e7 * (energy / 400) ** -3, "whole image: sum of 256 × 256 pixels", "energy loss (eV)")
    return plot


PLOTS = (lambda_plot, line_plot, picard_plot, sinogram_plot, quality_plot, candidates_plot, spectrum_plot)


@pytest.mark.parametrize("make", PLOTS)
@pytest.mark.parametrize("width", [280, 460])
def test_what_is_written_on_a_plot_is_within_it(qtbot, make, width):
    plot = make()
    qtbot.addWidget(plot)
    plot.resize(width, plot.height())
    plot.draw()
    renderer, room = plot.get_renderer(), plot.figure.bbox
    legends = [each for each in (*plot.figure.legends, *(axes.get_legend() for axes in plot.figure.axes)) if each]
    boxes = [axes.get_tightbbox(renderer, bbox_extra_artists=[]) for axes in plot.figure.axes]
    boxes += [legend.get_window_extent(renderer) for legend in legends]
    for box in boxes:
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= room.x1 + 1
        assert box.y1 <= room.y1 + 1
    for axes in plot.figure.axes:
        assert axes.get_window_extent().width > 0.25 * room.width
    for above, below in itertools.pairwise(boxes[: len(plot.figure.axes)]):
        assert below.y1 <= above.y0 + 1 or below.x0 >= above.x0, "labels of one are not on the other"


def test_a_plot_that_is_not_seen_is_not_drawn(qtbot, monkeypatch):
    drawn = []
    draw_on = LambdaPlot.draw_on
    monkeypatch.setattr(LambdaPlot, "draw_on", lambda *args: drawn.append(1) or draw_on(*args))
    page = QWidget()
    qtbot.addWidget(page)
    plot = LambdaPlot(DARK, page)
    QVBoxLayout(page).addWidget(plot)
    plot.hide()
    page.show()
    plot.show_curve(CURVE)
    plot.show_lam(0.5)
    plot.set_colours(theme_colours("light"))
    plot.resize(300, plot.height())
    QApplication.processEvents()
    assert not drawn
    plot.show()
    qtbot.waitUntil(lambda: bool(drawn))
    QApplication.processEvents()
    assert drawn == [1], "once, with all that has come meanwhile"
    assert plot.figure.get_facecolor()[0] > 0.8
    assert len(plot._marks) == 2
    plot.hide()
    plot.show_curve(CURVE | {"choices": {}})
    QApplication.processEvents()
    assert drawn == [1]
    plot.draw()
    assert drawn == [1, 1], "whoever asks for a picture of it gets one"


def pixels(plot):
    return np.array(plot.buffer_rgba())


def seen(widget):
    return widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)


@pytest.mark.parametrize("make", [lambda_plot, picard_plot])
def test_only_the_marks_are_drawn_when_lam_moves(qtbot, monkeypatch, make):
    plot = make()
    qtbot.addWidget(plot)
    plot.show()
    plot.show_lam(1e-2)
    qtbot.waitUntil(lambda: plot._ground is not None)
    pictures, drawn = [pixels(plot)], []
    with monkeypatch.context() as watched:
        watched.setattr(plot.figure, "draw", drawn.append)
        for lam in (0.3, None, 1e-2):
            plot.show_lam(lam)
            pictures.append(pixels(plot))
        QApplication.processEvents()
        assert not drawn
    before, moved, none, after = pictures
    np.testing.assert_array_equal(after, before)
    for lam, picture in ((0.3, moved), (None, none)):
        assert (picture != before).any()
        plot.show_lam(lam)
        plot.redraw()
        plot.draw()
        np.testing.assert_array_equal(pixels(plot), picture)


@pytest.mark.parametrize("make", [lambda_plot, picard_plot])
@pytest.mark.parametrize("first", [True, False])
def test_a_mark_that_moves_while_something_else_is_to_be_drawn(qtbot, make, first):
    """What is seen at last is what a plot shows that has been told everything before it was drawn."""
    page = QWidget()
    qtbot.addWidget(page)
    plot, fresh = make(), make()
    for each in (plot, fresh):
        each.setParent(page)
    page.resize(700, plot.height())
    fresh.set_colours(theme_colours("light"))
    fresh.show_lam(0.3)
    fresh.setGeometry(350, 0, 340, fresh.height())
    plot.setGeometry(0, 0, 280, plot.height())
    if first:
        page.show()
        plot.draw()
    plot.show_lam(1e-2)
    plot.hide()
    plot.show_lam(0.1)
    plot.setGeometry(0, 0, 340, plot.height())
    plot.show_lam(0.2)
    plot.set_colours(theme_colours("light"))
    plot.show()
    plot.show_lam(0.3)
    page.show()
    qtbot.waitUntil(lambda: plot._ground is not None and fresh._ground is not None)
    np.testing.assert_array_equal(pixels(plot), pixels(fresh))
    assert seen(plot) == seen(fresh)


def test_of_several_plots_one_is_drawn_at_a_time(qtbot, monkeypatch):
    """The window has its turn between two of them; until its own a plot shows what it has shown."""
    page = QWidget()
    qtbot.addWidget(page)
    layout = QVBoxLayout(page)
    plots = [lambda_plot(), picard_plot()]
    for each in plots:
        layout.addWidget(each)
    page.show()
    qtbot.waitUntil(lambda: all(each._picture for each in plots))
    qtbot.wait(50)
    before = [seen(each) for each in plots]
    monkeypatch.setattr("napari_invrecon.plugin.themed_plot._TURN_MS", 1000)
    for each in plots:
        each.set_colours(theme_colours("light"))
    qtbot.waitUntil(lambda: any(each._ground for each in plots))
    assert [each._ground is None for each in plots].count(True) == 1
    for each, picture in zip(plots, before, strict=True):
        assert (seen(each).pixelColor(5, 5) == picture.pixelColor(5, 5)) is (each._ground is None)
    qtbot.waitUntil(lambda: all(each._ground for each in plots))
    assert all(seen(each).pixelColor(5, 5).name() == theme_colours("light").background for each in plots)


def test_a_plot_that_is_seen_again_is_not_drawn_again(qtbot, monkeypatch):
    plot = lambda_plot()
    qtbot.addWidget(plot)
    plot.show()
    qtbot.waitUntil(lambda: plot._ground is not None)
    drawn = []
    monkeypatch.setattr(plot.figure, "draw", drawn.append)
    plot.hide()
    plot.show_lam(0.3)
    plot.show()
    QApplication.processEvents()
    assert not drawn
    assert seen(plot).pixelColor(0, 0).name() == DARK.background


@pytest.mark.parametrize("drawn", [True, False])
def test_a_saved_picture_has_the_marks(qtbot, tmp_path, drawn):
    plot = lambda_plot()
    qtbot.addWidget(plot)
    if drawn:
        plot.show()
        plot.draw()
    pictures = []
    for lam in (None, 0.3):
        plot.show_lam(lam)
        plot.figure.savefig(tmp_path / "plot.png", dpi=150)
        pictures.append(imread(tmp_path / "plot.png"))
    bare, marked = pictures
    changed = np.abs(marked - bare).max(axis=2) > 0.1
    assert changed[: len(bare) // 2].any(), "the ring"
    assert changed[len(bare) // 2 :].any(), "the line"
    plot.show()
    plot.show_lam(0.1)
    plot.show_lam(0.3)
    after = seen(plot)
    plot.draw()
    assert seen(plot) == after
