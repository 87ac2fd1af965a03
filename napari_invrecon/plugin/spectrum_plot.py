"""A spectrum with the windows of one elemental map, which are dragged with the mouse, and the background under them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import AutoLocator, LogLocator
from qtpy.QtCore import Qt, Signal

from napari_invrecon.plugin.plots import FONT_PT, short, style_axes
from napari_invrecon.plugin.themed_plot import Room, ThemedPlot
from napari_invrecon.recon.element_window import ElementWindow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import MouseEvent
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QWidget

    from napari_invrecon.plugin.plots import Colours
    from napari_invrecon.recon.element_window import Window

_HEIGHT_PX = 260
_SIGNAL, _BACKGROUND = "#d55e00", "#2f8fd0"  # Okabe and Ito's, legible on both backgrounds
_GRIP_PX = 7
_MARGIN = 0.5  # of the windows' range, either side, in the view of an element
_MOST_POINTS = 3000  # drawn; more cannot be told apart


@dataclass(frozen=True)
class _Held:
    """What the mouse holds: window 0 is the signal's, edge −1 the lower end, 1 the upper, 0 all of it."""

    number: int
    edge: int
    at: float
    before: ElementWindow


class SpectrumPlot(ThemedPlot):
    """Counts against energy. Ends of windows are dragged, windows moved by their inside, the rest of the plot pans.

    A double click shows the whole spectrum, or the element again; Ctrl and the wheel zoom.
    """

    moved = Signal(object)
    """The `ElementWindow` as it is dragged."""
    room = Room(left=36, right=12, bottom=22, top=13)

    def __init__(self, colours: Colours, parent: QWidget | None = None) -> None:
        super().__init__(colours, _HEIGHT_PX, "Spectrum with the windows of the element", parent)
        self._energy: NDArray[np.float64] | None = None
        self._counts: NDArray[np.float64] | None = None
        self._title = self._unit = ""
        self._window: ElementWindow | None = None
        self._curve: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._others: list[tuple[str, float]] = []
        self._view: tuple[float, float] | None = None
        self._log = False
        self._held: _Held | None = None
        self.axes: Axes | None = None
        self.mpl_connect("button_press_event", self._press)
        self.mpl_connect("motion_notify_event", self._drag)
        self.mpl_connect("button_release_event", self._release)

    @property
    def view(self) -> tuple[float, float] | None:
        """The energies that are shown; None: all."""
        return self._view

    def show_spectrum(self, energy_ev: NDArray[np.float64], counts: NDArray[np.float64], title: str, unit: str) -> None:
        """Draw a spectrum over an axis called ``unit``; the view stays where it is if the energies do."""
        if self._energy is not None and (energy_ev[0], energy_ev[-1]) != (self._energy[0], self._energy[-1]):
            self._view = None
        self._energy, self._counts, self._title, self._unit = energy_ev, counts, title, unit
        self.redraw()

    def show_window(
        self,
        window: ElementWindow | None,
        curve: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
        others: Sequence[tuple[str, float]] = (),
    ) -> None:
        """Draw the windows of an element, the background (energies, counts) that it has here, and names of others."""
        self._window, self._curve, self._others = window, curve, list(others)
        self.move_marks()

    def look_at_window(self) -> None:
        """Show the windows of the element, and half as much around them, as soon as there is a spectrum."""
        if self._window is not None and self._energy is not None:
            ends = [end for window in (self._window.signal, *self._window.background) for end in window]
            around = _MARGIN * (max(ends) - min(ends))
            self._set_view(min(ends) - around, max(ends) + around)

    def look_at_all(self) -> None:
        """Show the whole spectrum."""
        self._view = None
        self.redraw()

    def clear(self) -> None:
        """Show nothing."""
        self._energy = self._counts = self._window = self._curve = self._view = None
        self.redraw()

    def set_log(self, on: bool) -> None:
        """A logarithmic axis of counts."""
        self._log = on
        self.redraw()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """With Ctrl it zooms; else it scrolls the dock."""
        if self._energy is None or self.axes is None or not event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            event.ignore()
            return
        low, high = self._view or (float(self._energy[0]), float(self._energy[-1]))
        box = self.axes.bbox
        share = np.clip((event.position().x() * self.device_pixel_ratio - box.x0) / box.width, 0, 1)
        width = (high - low) * (0.8 if event.angleDelta().y() > 0 else 1.25)
        at = low + share * (high - low)
        self._set_view(at - share * width, at + (1 - share) * width)
        event.accept()

    def _set_view(self, low: float, high: float) -> None:
        assert self._energy is not None
        first, last = self._energy[0], self._energy[-1]
        width = min(max(high - low, 8 * (self._energy[1] - self._energy[0])), last - first)
        low = float(np.clip(low, first, last - width))
        self._view = (low, low + width)
        self.redraw()

    def draw_on(self, figure: Figure) -> None:
        """The spectrum."""
        self.axes = None
        if self._energy is not None and self._counts is not None:
            self.axes = figure.add_subplot()
            style_axes(self.axes, self._colours)
            self._draw_spectrum(self.axes, self._energy, self._counts)

    def _draw_spectrum(self, axes: Axes, energy: NDArray[np.float64], counts: NDArray[np.float64]) -> None:
        colours = self._colours
        low, high = self._view or (float(energy[0]), float(energy[-1]))
        start, stop = np.searchsorted(energy, [low, high])
        shown = slice(max(0, start - 1), stop + 1)
        e, y = _thinned(energy[shown], counts[shown])
        axes.plot(e, y, color=colours.text, lw=0.9, drawstyle="steps-mid")
        axes.set_xlim(low, high)
        self._fit_height(axes, y)
        axes.set_title(self._title, fontsize=FONT_PT, color=colours.text, pad=3, y=1.0)
        axes.set_xlabel(self._unit, fontsize=FONT_PT, color=colours.text, labelpad=1)

    def marks(self) -> list[Artist]:
        """The windows where they are now, the background under the edge, and the elements' names."""
        marks: list[Artist] = []
        axes = self.axes
        if axes is None:
            return marks
        upright = axes.get_xaxis_transform()
        if self._window is not None:
            for number, (a, b) in enumerate((self._window.signal, *self._window.background)):
                look = {"color": _BACKGROUND if number else _SIGNAL, "transform": upright}
                marks.append(Rectangle((a, 0), b - a, 1, alpha=0.22, lw=0, **look))
                marks.append(Line2D([a, a, np.nan, b, b], [0, 1, np.nan, 0, 1], lw=1.2, **look))
        if self._curve is not None:
            marks.append(Line2D(*self._curve, color=_BACKGROUND, lw=1.4, ls=(0, (4, 1.5))))
        for each in marks:
            axes.add_artist(each)  # unlike axes.plot and its like, which look for new limits
        low, high = axes.get_xlim()
        return marks + [self._named(axes, name, at) for name, at in self._others if low < at < high]

    def _named(self, axes: Axes, name: str, at: float) -> Artist:
        return axes.annotate(
            name,
            (at, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, -2),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=FONT_PT - 1,
            color=self._colours.text,
        )

    def _fit_height(self, axes: Axes, y: NDArray[np.float64]) -> None:
        finite = y[np.isfinite(y)]
        if self._log and (finite > 0).any():
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(numticks=5))
            axes.set_ylim(finite[finite > 0].min() * 0.8, finite.max() * 1.5)
            return
        axes.set_yscale("linear")
        axes.yaxis.set_major_locator(AutoLocator())
        axes.yaxis.set_major_formatter(lambda value, _: short(value))
        if finite.size:
            least = min(0.0, float(finite.min())) if finite.min() < 0.5 * finite.max() else float(finite.min())
            room = float(finite.max()) - least or 1.0
            axes.set_ylim(least - 0.04 * room, float(finite.max()) + 0.14 * room)

    def _grip(self, event: MouseEvent) -> tuple[int, int] | None:
        """(window, edge) under the mouse."""
        if self._window is None or self.axes is None or event.inaxes is not self.axes:
            return None
        near: list[tuple[float, int, int]] = []
        inside: list[tuple[int, int]] = []
        for number, ends in enumerate((self._window.signal, *self._window.background)):
            for edge, end in zip((-1, 1), ends, strict=True):
                away = abs(self.axes.transData.transform((end, 0))[0] - event.x)
                near.append((away, number, edge))
            if ends[0] < event.xdata < ends[1]:
                inside.append((number, 0))
        away, number, edge = min(near)
        if away <= _GRIP_PX * self.device_pixel_ratio:
            return number, edge
        return inside[0] if inside else None

    def _press(self, event: MouseEvent) -> None:
        if self._energy is None or self.axes is None or event.inaxes is not self.axes or event.button != 1:
            return
        if event.dblclick:
            if self._view is None:
                self.look_at_window()
            else:
                self.look_at_all()
            return
        grip = self._grip(event)
        if grip is not None and self._window is not None:
            self._held = _Held(*grip, event.xdata, self._window)
        elif self._view is not None:
            self._held = _Held(-1, 0, event.xdata, self._window)  # type: ignore[arg-type]

    def _drag(self, event: MouseEvent) -> None:
        held = self._held
        if held is None:
            grip = self._grip(event)
            shape = Qt.CursorShape.ArrowCursor
            if grip is not None:
                shape = Qt.CursorShape.SizeHorCursor if grip[1] else Qt.CursorShape.OpenHandCursor
            self.setCursor(shape)
            return
        if self.axes is None or event.inaxes is not self.axes or event.xdata is None:
            return
        if held.number < 0:
            low, high = self.axes.get_xlim()
            self._set_view(low + held.at - event.xdata, high + held.at - event.xdata)
            return
        self.moved.emit(self._dragged(held, event.xdata))

    def _dragged(self, held: _Held, at: float) -> ElementWindow:
        assert self._energy is not None
        step = float(self._energy[1] - self._energy[0])
        ends = float(self._energy[0] - step / 2), float(self._energy[-1] + step / 2)
        window = held.before
        low, high = (window.signal, *window.background)[held.number]
        by = at - held.at
        if held.edge == 0:
            by = float(np.clip(by, ends[0] - low, ends[1] - high))
            changed = low + by, high + by
        elif held.edge < 0:
            changed = float(np.clip(low + by, ends[0], high - step)), high
        else:
            changed = low, float(np.clip(high + by, low + step, ends[1]))
        return replaced(window, held.number, _tidy(changed, step, ends))

    def _release(self, event: MouseEvent) -> None:
        self._held = None


def replaced(window: ElementWindow, number: int, ends: Window) -> ElementWindow:
    """With other ends of the signal's window (0) or of a background window (from 1)."""
    if number == 0:
        return dataclasses.replace(window, signal=ends)
    background = list(window.background)
    background[number - 1] = ends
    return dataclasses.replace(window, background=tuple(background))


def _tidy(ends: Window, step: float, limits: Window) -> Window:
    """A tenth of a channel is as much as a number needs to say."""
    digits = max(0, 1 - int(np.floor(np.log10(step))))
    low, high = (round(end, digits) for end in ends)
    return max(low, limits[0]), min(high, limits[1])


def _thinned(energy: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """At most `_MOST_POINTS`: the mean of neighbours."""
    each = -(-energy.size // _MOST_POINTS)
    if each == 1:
        return energy, counts
    n = energy.size // each * each
    return energy[:n].reshape(-1, each).mean(axis=1), counts[:n].reshape(-1, each).mean(axis=1)
