"""What every plot of a dock is: a matplotlib canvas of a given height in the colours of napari's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy

if TYPE_CHECKING:
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QWidget

    from napari_invrecon.plugin.plots import Colours


class ThemedPlot(FigureCanvasQTAgg):
    """A subclass draws what it has been given in `draw_on`."""

    def __init__(self, colours: Colours, height_px: int, name: str, parent: QWidget | None = None) -> None:
        super().__init__(Figure(figsize=(2.9, height_px / 100), dpi=100, layout="constrained"))
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
        self.figure.clear()
        self.figure.set_facecolor(self._colours.background)
        self.draw_on(self.figure)
        self.draw_idle()

    def draw_on(self, figure: Figure) -> None:
        """Draw; the figure is empty."""
        raise NotImplementedError
