"""What every dock of this package is: a scrolled form, what stays below it, and a life that ends with its window's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QTimer, Signal, Slot
from qtpy.QtWidgets import QLayout, QMainWindow, QVBoxLayout, QWidget

from napari_invrecon.plugin.widgets.scroll import FormScroll

if TYPE_CHECKING:
    from collections.abc import Sequence


class Dock(QWidget):
    """A subclass takes the viewer in its own ``__init__``, calls `lay_out` once, and overrides `stop`."""

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

    def stop(self) -> None:
        """The dock was closed: cancel what runs, remove what only shows while it is open."""
        raise NotImplementedError

    def changeEvent(self, event: QEvent) -> None:
        """Napari's × leaves a closed dock without an owner.

        Then the garbage collector would delete it in whichever thread it happens to work, and on PySide6 the process
        ends. So the window that the dock was in keeps it, hidden.
        """
        super().changeEvent(event)
        if event.type() != QEvent.Type.ParentChange:
            return
        owner = self.parent()
        if owner is not None:
            self._docked = owner
            return
        owner, self._docked = self._docked, None
        while owner is not None and not isinstance(owner, QMainWindow):
            owner = owner.parent()
        if owner is not None:
            self._window = owner
            QTimer.singleShot(0, self._retire)

    @Slot()
    def _retire(self) -> None:
        if self.parent() is None:
            self.hide()
            self.setParent(self._window)
            self.stop()
