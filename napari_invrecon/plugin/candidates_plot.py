"""How well each coupling predicts data that it was not given, against λ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory
from qtpy.QtCore import Signal

from napari_invrecon.plugin.plots import FONT_PT, NOW, style_axes
from napari_invrecon.plugin.themed_plot import Room, ThemedPlot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import MouseEvent
    from matplotlib.figure import Figure
    from qtpy.QtWidgets import QWidget

    from napari_invrecon.plugin.plots import Colours

_HEIGHT_PX = 230
# Okabe and Ito's, each legible on napari's dark and light background; the marker tells them apart without colour.
_LINES = {
    "none": ("#999999", "o"),
    "edges": ("#e69f00", "s"),
    "intensity": ("#009e73", "^"),
    "both": ("#2f8fd0", "D"),
    "power": ("#cc79a7", "v"),
}
_ABOVE = 3.0  # how far above the least the axis goes, in spreads of the couplings' own least


class CandidatesPlot(ThemedPlot):
    """The scores of ``record["candidates"]``, the chosen coupling's line thick. A click is a coupling and a λ."""

    picked = Signal(str, float)
    room = Room(left=38, right=10, bottom=22, top=14)

    def __init__(self, colours: Colours, parent: QWidget | None = None) -> None:
        super().__init__(colours, _HEIGHT_PX, "Scores of the couplings against λ", parent)
        self.candidates: dict[str, Any] = {}
        self.axes: Axes | None = None
        self._coupling = ""
        self._lam: float | None = None
        self.mpl_connect("button_press_event", self._click)

    def show_candidates(self, candidates: dict[str, Any], coupling: str, lam: float) -> None:
        """Draw them; the ring is the coupling and λ that were used."""
        self.candidates, self._coupling, self._lam = candidates, coupling, lam
        self.redraw()

    def draw_on(self, figure: Figure) -> None:
        """A line for each coupling."""
        if not self.candidates:
            return
        text = self._colours.text
        axes = self.axes = figure.subplots()
        style_axes(axes, self._colours)
        for name, found in self.candidates.items():
            colour, marker = _LINES[name]
            used = name == self._coupling
            axes.plot(
                found["lam"], found["score"], color=colour, marker=marker, ms=5 if used else 3.5,
                lw=2.2 if used else 1.0, label=name, zorder=3 if used else 2,
            )  # fmt: skip
        axes.set_xscale("log")
        if self._lam is not None and self._coupling in self.candidates:
            self._mark(axes, self.candidates[self._coupling], self._lam)
        axes.set_ylim(*_limits(self.candidates))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel("λ", fontsize=FONT_PT, color=text, labelpad=1)
        axes.set_ylabel("error on held-out data / noise", fontsize=FONT_PT, color=text, labelpad=1)
        axes.legend(
            fontsize=FONT_PT, labelcolor=text, frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0),
            bbox_transform=blended_transform_factory(figure.transFigure, axes.transAxes),
            borderaxespad=0.1, handlelength=1.2, columnspacing=0.8, handletextpad=0.4,
        )  # fmt: skip

    @staticmethod
    def _mark(axes: Axes, found: dict[str, Any], lam: float) -> None:
        axes.axvline(lam, color=NOW, lw=1.2, ls=(0, (2, 2)), zorder=1)
        if found["lam"][0] <= lam <= found["lam"][-1]:
            score = np.interp(math.log(lam), np.log(found["lam"]), found["score"])
            axes.plot(lam, score, "o", ms=10, mfc="none", mec=NOW, mew=2, zorder=5)

    def _click(self, event: MouseEvent) -> None:
        """The coupling whose point is nearest, and the λ of the place."""
        if self.axes is None or event.inaxes is not self.axes or event.xdata is None:
            return
        away = {}
        for name, found in self.candidates.items():
            points = self.axes.transData.transform(np.column_stack([found["lam"], found["score"]]))
            away[name] = float(np.hypot(*(points - (event.x, event.y)).T).min())
        self.picked.emit(min(away, key=lambda name: away[name]), float(f"{event.xdata:.3g}"))


def _limits(candidates: dict[str, Any]) -> tuple[float, float]:
    """From below the least score to where each coupling's own least is well in view; not up to the worst λ."""
    scores = np.concatenate([each["score"] for each in candidates.values()] or [np.array([0.0, 1.0])]).astype(float)
    least = [float(np.nanmin(each["score"])) for each in candidates.values()]
    low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
    spread = max(max(least, default=high) - low, 0.15 * (high - low), 1e-12)
    high = min(high, low + _ABOVE * spread)
    return low - 0.08 * (high - low), high + 0.05 * (high - low)
