"""What λ does to a line of data: the naive inverse, λ too small, λ, and λ too large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.plugin.plots import style_axes
from napari_invrecon.plugin.themed_plot import Room, ThemedPlot

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from qtpy.QtWidgets import QWidget

    from napari_invrecon.plugin.plots import Colours

_HEIGHT_PX = 250
_FONT_PT = 7.5
_RESULT, _MEASURED = "#d55e00", "#2f8fd0"  # Okabe and Ito's, legible on both backgrounds
_HEADROOM = 0.35  # of the measured range: beyond it a naive inverse is cut off


@dataclass(frozen=True)
class Line:
    """x̂ of one λ, in one dimension, and what to call it."""

    title: str
    x: NDArray[np.float32]


class LinePlot(ThemedPlot):
    """Four times a `Line` over the data and, where it is known, the true object, with the RMSE to it."""

    room = Room(left=34, right=8, bottom=28, top=22, across=6, down=24)

    def __init__(self, colours: Colours, parent: QWidget | None = None) -> None:
        super().__init__(colours, _HEIGHT_PX, "The line for several λ", parent)
        self._shown: tuple[list[Line], NDArray[np.float64], NDArray[np.float64] | None] | None = None

    def show_lines(self, lines: list[Line], y: NDArray[np.float64], truth: NDArray[np.float64] | None) -> None:
        """Draw them; ``y`` is the measured line."""
        self._shown = (lines, y, truth)
        self.redraw()

    def draw_on(self, figure: Figure) -> None:
        """One picture for each λ."""
        if self._shown is None:
            return
        lines, y, truth = self._shown
        measured = "measured"
        if truth is not None and y.max() > 2 * truth.max() > 0:  # a kernel whose sum is not 1
            y, measured = y * (truth.max() / y.max()), "measured, scaled"
        known = [y] if truth is None else [y, truth]
        low, high = min(each.min() for each in known), max(each.max() for each in known)
        room = _HEADROOM * (high - low)
        colours = self._colours
        for axes, line in zip(figure.subplots(2, 2, sharex=True, sharey=True).flat, lines, strict=True):
            style_axes(axes, colours)
            axes.plot(y, color=_MEASURED, lw=0.9, ls=(0, (1, 1)), label=measured)
            if truth is not None:
                axes.plot(truth, color=colours.text, lw=0.9, ls=(0, (4, 2)), label="true")
            axes.plot(line.x, color=_RESULT, lw=1.5, label="result")
            axes.set_xlim(0, len(y) - 1)
            axes.set_ylim(low - room, high + room)
            error = "" if truth is None else f"\nRMSE {np.sqrt(np.mean(np.square(line.x - truth))):.3f}"
            axes.set_title(f"{line.title}{error}", fontsize=_FONT_PT, color=colours.text, pad=2, y=1.0)
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="lower center",
            ncols=3,
            fontsize=_FONT_PT,
            labelcolor=colours.text,
            frameon=False,
            handlelength=2.2,
            columnspacing=1.2,
            borderpad=0.1,
        )
