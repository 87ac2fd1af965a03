"""What every plot of a dock is: a matplotlib canvas of a given height in the colours of napari's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent, QWheelEvent
    from qtpy.QtWidgets import QWidget

    from napari_invrecon.plugin.plots import Colours


class ThemedPlot(FigureCanvasQTAgg):
    """A subclass draws what it has been given in `draw_on`."""

    _fits = False  # whether the places of axes and labels are right for what is drawn, and for the size

    def __init__(self, colours: Colours, height_px: int, name: str, parent: QWidget | None = None) -> None:
        super().__init__(Figure(figsize=(2.9, height_px / 100), dpi=100))
        self.setParent(parent)
        self.setFixedHeight(height_px)
        self.setMinimumWidth(200)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setAccessibleName(name)
        self._colours = colours

    def set_colours(self, colours: Colours) -> None:
        """Follow a change of theme."""
        self._colours = colours
        self.redraw()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """The wheel scrolls the dock."""
        event.ignore()

    def redraw(self) -> None:
        """Draw everything again."""
        self._fits = False
        self.figure.clear()
        self.figure.set_facecolor(self._colours.background)
        self.draw_on(self.figure)
        self.draw_idle()

    def draw(self) -> None:
        """Draw; what is new is laid out first. For a mark that moves, that would take half of the time."""
        self.figure.set_layout_engine("none" if self._fits else "constrained")
        super().draw()
        self._fits = True

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Another size is laid out anew."""
        self._fits = False
        super().resizeEvent(event)

    def draw_on(self, figure: Figure) -> None:
        """Draw; the figure is empty."""
        raise NotImplementedError
