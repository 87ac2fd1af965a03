"""What every plot of a dock is: a matplotlib canvas of a given height in the colours of napari's theme.

Drawing one takes a tenth of a second, in which the window stands still. So a plot is drawn when it is seen, and not
before; what moves on it is drawn over a copy of the rest; of several that change, as with the theme, one is drawn after
the other, and the window has its turn between them; and the room around its axes is told, not measured: measuring
labels takes longer than drawing them.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor, QImage, QPainter
from qtpy.QtWidgets import QSizePolicy

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from qtpy.QtGui import QPaintEvent, QResizeEvent, QWheelEvent
    from qtpy.QtWidgets import QWidget

    from napari_invrecon.plugin.plots import Colours


_TURN_MS = 10  # of the window, between two plots


class Room(NamedTuple):
    """For numbers, labels, titles and legends, in points: around all axes, between columns, and between rows."""

    left: float
    right: float
    bottom: float
    top: float
    across: float = 0.0
    down: float = 0.0


class ThemedPlot(FigureCanvasQTAgg):
    """A subclass draws what it has been given in `draw_on`, and says in `room` what its labels need.

    What moves, such as the λ in use, it gives in `marks`, and calls `move_marks`.
    """

    room: Room
    _stale = True  # whether what is to be drawn is another than what the figure has
    _free_at = 0.0  # of all plots: when the window has had its turn
    _ground: Any = None  # the picture without the marks; None: it is to be drawn
    _picture: QImage | None = None  # what is seen until then; None: nothing

    def __init__(self, colours: Colours, height_px: int, name: str, parent: QWidget | None = None) -> None:
        super().__init__(Figure(figsize=(2.9, height_px / 100), dpi=100))
        self.setParent(parent)
        self.setFixedHeight(height_px)
        self.setMinimumWidth(200)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setAccessibleName(name)
        self._colours = colours
        self._marks: list[Artist] = []
        self._turn = QTimer(self)
        self._turn.setSingleShot(True)
        self._turn.timeout.connect(self._take_turn)

    def set_colours(self, colours: Colours) -> None:
        """Follow a change of theme."""
        self._colours = colours
        self.redraw()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """The wheel scrolls the dock."""
        event.ignore()

    def redraw(self) -> None:
        """Draw everything again, as soon as it is seen."""
        self._stale = True
        self.draw_idle()

    def draw_idle(self) -> None:
        """Draw soon; what is not seen waits for `paintEvent`."""
        self._ground = None
        if self.isVisible():
            self._turn.start(0)
        else:
            self._picture = None

    def _take_turn(self) -> None:
        if perf_counter() < ThemedPlot._free_at:
            self._turn.start(_TURN_MS)
        elif self._ground is None:
            self.draw()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The last picture: one of other colours, or another size, comes in its turn; now, if there is none."""
        if self._picture is None:
            self._picture = QImage()  # a plot that cannot be drawn fails once, not with every paint
            self.draw()
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._colours.background))
        painter.drawImage(0, 0, self._picture)
        painter.end()

    def draw(self) -> None:
        """Draw now."""
        if self._stale:
            self._stale = False
            self._marks = []
            for axes in self.figure.axes:
                self.figure.delaxes(axes)  # or they are drawn up again before they go, by `clear`
            self.figure.clear()
            self.figure.set_facecolor(self._colours.background)
            self.draw_on(self.figure)
            self._place()
        super().draw()
        self._ground = self.copy_from_bbox(self.figure.bbox)
        self.move_marks()
        ThemedPlot._free_at = perf_counter() + 1e-3 * _TURN_MS

    def move_marks(self) -> None:
        """Draw the marks where they are now, at once and nothing else; what is to be drawn anew comes with them."""
        if self._ground is None:
            return
        for each in self._marks:
            each.remove()
        self._marks = self.marks()
        self.restore_region(self._ground)
        for each in self._marks:
            each.set_animated(True)
            self.figure.draw_artist(each)
        width, height = self.get_width_height(physical=True)
        picture = QImage(bytes(self.buffer_rgba()), width, height, 4 * width, QImage.Format.Format_RGBA8888)
        self._picture = picture.copy()
        self._picture.setDevicePixelRatio(self.device_pixel_ratio)
        self.update()

    def print_figure(self, *args: Any, **kwargs: Any) -> None:
        """Save a picture; matplotlib's, which would draw what was shown last."""
        if self._ground is None:
            self.draw()
        super().print_figure(*args, **kwargs)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The room stays, the axes get the rest."""
        super().resizeEvent(event)
        self._place()

    def _place(self) -> None:
        if not self.figure.axes:
            return
        grid, room = self.figure.axes[0].get_gridspec(), self.room
        width, height = 72 * self.figure.get_size_inches()
        each_wide = max(1.0, (width - room.left - room.right - (grid.ncols - 1) * room.across) / grid.ncols)
        each_high = max(1.0, (height - room.bottom - room.top - (grid.nrows - 1) * room.down) / grid.nrows)
        self.figure.subplots_adjust(
            left=room.left / width,
            right=1 - room.right / width,
            bottom=room.bottom / height,
            top=1 - room.top / height,
            wspace=room.across / each_wide,
            hspace=room.down / each_high,
        )

    def draw_on(self, figure: Figure) -> None:
        """Draw all but the marks; the figure is empty."""
        raise NotImplementedError

    def marks(self) -> list[Artist]:
        """Add the marks to the axes that `draw_on` made, if any."""
        return []
