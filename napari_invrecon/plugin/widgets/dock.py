"""What every dock of this package is: a scrolled form, what stays below it, and a life that ends with its window's."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from napari.utils.events import disconnect_events
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal, Slot
from qtpy.QtWidgets import QLayout, QMainWindow, QScrollArea, QVBoxLayout, QWidget

from napari_invrecon.plugin.canvas_guard import guard
from napari_invrecon.plugin.widgets.scroll import FormScroll

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari import Viewer
    from qtpy.QtGui import QShowEvent

    from napari_invrecon.plugin.widgets.form import SettingsForm
    from napari_invrecon.plugin.widgets.run_row import RunRow


class Dock(QWidget):
    """A subclass takes the viewer in its own ``__init__``, where it makes its ``run_row`` and calls `lay_out` once.

    It overrides `run`, `stop` and `fill`.
    """

    viewer: Viewer
    run_row: RunRow
    settings: SettingsForm

    finished = Signal(object)
    """At the end of a run: the new layer, or None after a failure or a cancel."""

    def __init__(self) -> None:
        super().__init__()
        self._docked: QObject | None = None
        self._window: QMainWindow | None = None

    def lay_out(self, form: Sequence[QWidget | QLayout], below: Sequence[QWidget]) -> None:
        """The rows of ``form`` in a part that scrolls; those of ``below``, the run row first, always in view."""
        page = QWidget(self)
        rows = QVBoxLayout(page)
        rows.setContentsMargins(0, 0, 0, 0)
        for row in form:
            if isinstance(row, QLayout):
                rows.addLayout(row)
            else:
                rows.addWidget(row)
        rows.addStretch(1)
        layout = QVBoxLayout(self)
        layout.addWidget(FormScroll(page, self))
        for row in below:
            layout.addWidget(row)
        layout.addStretch(1)

    def showEvent(self, event: QShowEvent) -> None:
        """Tab goes from the top down. Qt's own order is that in which widgets were made, with napari's in between."""
        super().showEvent(event)
        window = _main_window(self)
        if window is not None:
            guard(self.viewer, window)
        for before, after in pairwise(_in_order(self)):
            QWidget.setTabOrder(before, after)

    def run(self) -> None:
        """Start with what the dock shows."""
        raise NotImplementedError

    def run_within(self, memory_gb: float) -> None:
        """Run in blocks, in so much memory; for docks whose settings have a ``memory_gb``."""
        self.settings.set_values({"memory_gb": memory_gb})
        self.run()

    def stop(self) -> None:
        """The dock was closed: cancel what runs, remove what only shows while it is open."""
        raise NotImplementedError

    def fill(self, record: dict[str, Any], layers: Mapping[str, Any]) -> None:
        """Show the settings of a record, with λ as it was used, on these layers.

        Parameters
        ----------
        record
            Checked (`records.schema.check_record`), of a method whose results this dock makes.
        layers
            By the roles of ``record["sources"]``: a layer, or a list where layers were stacked; a source that is no
            layer (a model, angles) is not in it.

        Raises
        ------
        ValueError
            The dock cannot show them; the message says which, and what to do.
        """
        raise NotImplementedError

    def repeat(self, record: dict[str, Any], layers: Mapping[str, Any]) -> None:
        """`fill`, and press Run (`RunRow.repeat`). `finished` comes as always."""
        self.fill(record, layers)
        self.row_of(record["method"]).repeat(record)

    def row_of(self, method: str) -> RunRow:
        """The row whose Run makes results of a method: `run_row`, unless the dock makes several."""
        return self.run_row

    def changeEvent(self, event: QEvent) -> None:
        """Napari's × leaves a closed dock without an owner.

        Then the garbage collector would delete it in whichever thread it happens to work, and on PySide6 the process
        ends. So the window that the dock was in takes it back, hidden, and Qt deletes it in the window's own thread.
        """
        super().changeEvent(event)
        if event.type() != QEvent.Type.ParentChange:
            return
        owner = self.parent()
        if owner is not None:
            self._docked = owner
            return
        window, self._docked = _main_window(self._docked), None
        if window is not None:
            self._window = window
            QTimer.singleShot(0, self._retire)

    @Slot()
    def _retire(self) -> None:
        if self.parent() is None:
            self.hide()
            self.setParent(self._window)
            self.stop()
            self._stop_listening()
            self.deleteLater()

    def _stop_listening(self) -> None:
        """Hear nothing of the viewer any more: what Python keeps of a closed dock has no Qt half to work with."""
        viewer = self.viewer
        layers = viewer.layers
        groups = (viewer.events, layers.events, layers.selection.events, viewer.dims.events, viewer.scene.camera.events)
        for group in (*groups, *(layer.events for layer in layers)):
            for listener in (self, *self.findChildren(QObject)):
                disconnect_events(group, listener)


def _main_window(within: QObject | None) -> QMainWindow | None:
    """The window that it belongs to, also as a dock that floats."""
    while within is not None and not isinstance(within, QMainWindow):
        within = within.parent()
    return within


def _in_order(widget: QWidget) -> Iterator[QWidget]:
    """What the Tab key may stop at in a widget, in the order in which its layouts show it."""
    if widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
        yield widget
    inside = widget.widget() if isinstance(widget, QScrollArea) else widget
    if inside is not None and inside.layout() is not None:
        yield from _of_layout(inside.layout())


def _of_layout(layout: QLayout) -> Iterator[QWidget]:
    for item in map(layout.itemAt, range(layout.count())):
        if item.widget() is not None:
            yield from _in_order(item.widget())
        elif item.layout() is not None:
            yield from _of_layout(item.layout())
