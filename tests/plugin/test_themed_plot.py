"""What the plots of all docks have in common: they are drawn when they are seen, and their labels have room."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication, QVBoxLayout, QWidget

from napari_invrecon.plugin.candidates_plot import CandidatesPlot
from napari_invrecon.plugin.line_plot import Line, LinePlot
from napari_invrecon.plugin.picard import Picard
from napari_invrecon.plugin.picard_plot import PicardPlot
from napari_invrecon.plugin.plots import LambdaPlot, theme_colours
from napari_invrecon.plugin.spectrum_plot import SpectrumPlot
from napari_invrecon.plugin.tilt_plots import QualityPlot, SinogramPlot
from napari_invrecon.recon.naive import naive

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
    plot.show_found(
        Picard(naive(y, kernel / kernel.sum(), noise_sigma=300.0), None, exact=True, regulariser="tv", ndim=2)
    )
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
    assert len(plot._now) == 2
    plot.hide()
    plot.show_curve(CURVE | {"choices": {}})
    QApplication.processEvents()
    assert drawn == [1]
    plot.draw()
    assert drawn == [1, 1], "whoever asks for a picture of it gets one"


def test_a_mark_that_moves_is_all_that_is_new(qtbot, monkeypatch):
    plot = lambda_plot()
    qtbot.addWidget(plot)
    plot.show()
    plot.draw()
    axes, places = plot.figure.axes, [each.get_position().bounds for each in plot.figure.axes]
    plot.show_lam(0.3)
    plot.draw()
    assert plot.figure.axes == axes
    assert [each.get_position().bounds for each in axes] == places
    plot.resize(plot.width() + 80, plot.height())
    plot.draw()
    assert plot.figure.axes == axes
    assert [each.get_position().bounds for each in axes] != places
