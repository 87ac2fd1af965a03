"""A row of buttons of which one is down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QWidget

from napari_invrecon.plugin.widgets.focus import FOCUS_STYLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_STYLE = "QPushButton:checked { border: 1px solid #c2740c; font-weight: bold; }"


class Segments(QWidget):
    """One button for each of ``tips``, its name and its tooltip; ``press`` is called when one was clicked."""

    def __init__(self, tips: Mapping[str, str], press: Callable[[], Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons = {name: QPushButton(name, self) for name in tips}
        self.group = QButtonGroup(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for name, button in self.buttons.items():
            button.setCheckable(True)
            button.setToolTip(tips[name])
            button.setMinimumWidth(60)
            self.group.addButton(button)
            layout.addWidget(button, 1)
            button.clicked.connect(press)
        self.setStyleSheet(FOCUS_STYLE + _STYLE)

    @property
    def chosen(self) -> str:
        """The name of the button that is down."""
        return next(name for name, button in self.buttons.items() if button.isChecked())
