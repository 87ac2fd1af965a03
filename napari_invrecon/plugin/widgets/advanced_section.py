"""The collapsed headings of a dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QSizePolicy
from superqt import QCollapsible

from napari_invrecon.plugin.widgets.focus import FRAME

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

_NO_LIMIT = 16_777_215  # Qt's own
_COLLAPSED, _EXPANDED = "▶", "▼"


class AdvancedSection(QCollapsible):
    """A `QCollapsible` that follows a change of theme, and whose fields the Tab key skips while it is collapsed."""

    def __init__(
        self,
        parent: QWidget | None = None,
        title: str = "Advanced",
        tooltip: str = "Parameters that are rarely changed",
    ) -> None:
        super().__init__(title, parent, _EXPANDED, _COLLAPSED)
        # superqt's alignment and policy leave no room for a row that is wrapped in a narrow dock
        self.layout().setAlignment(Qt.AlignmentFlag(0))
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.toggleButton().setToolTip(tooltip)
        self.toggleButton().setStyleSheet(
            "QPushButton { text-align: left; background: transparent; border: 1px solid transparent; }"
            f"QPushButton:focus {{ {FRAME} }}"
        )
        self.content().hide()

    def addWidget(self, widget: QWidget) -> None:
        """Without superqt's event filter, which holds the height to that of rows that have not been wrapped."""
        super().addWidget(widget)
        widget.removeEventFilter(self)

    def expand(self, animate: bool = False) -> None:
        """At once, and to whatever height the rows need."""
        super().expand(animate=False)
        self.content().setMaximumHeight(_NO_LIMIT)
        self.content().show()

    def collapse(self, animate: bool = False) -> None:
        """At once."""
        super().collapse(animate=False)
        self.content().hide()

    def changeEvent(self, event: QEvent) -> None:
        """The arrows are pictures in the text's colour: draw them again when it changes."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self.setExpandedIcon(_EXPANDED)
            self.setCollapsedIcon(_COLLAPSED)
