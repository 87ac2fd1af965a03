"""A dock's form, as high as its rows, and scrolled where the window is not."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QFrame, QScrollArea, QSizePolicy, QSlider, QWidget


class FormScroll(QScrollArea):
    """Takes the height of its content, not more; scrolls up and down only.

    The wheel scrolls, also over a control, unless that one has the focus: a value never changes in passing.
    """

    def __init__(self, content: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(content)
        for control in content.findChildren(QWidget):
            if isinstance(control, (QComboBox, QAbstractSpinBox, QSlider)):
                control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                control.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Hold the wheel back from controls without the focus, and follow the content's height."""
        if event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and watched is not self.widget():
            if not watched.hasFocus():
                event.ignore()
                return True
        elif event.type() == QEvent.Type.LayoutRequest and watched is self.widget():
            self.updateGeometry()
        return super().eventFilter(watched, event)

    def sizeHint(self) -> QSize:
        """The content's, without Qt's limit of 24 lines."""
        content = self.widget()
        width = max(self.viewport().width(), content.minimumSizeHint().width())
        high = content.heightForWidth(width) if content.hasHeightForWidth() else content.sizeHint().height()
        return QSize(content.sizeHint().width(), max(high, content.sizeHint().height()) + 2)

    def minimumSizeHint(self) -> QSize:
        """Wide enough for the content and the scroll bar."""
        bar = self.verticalScrollBar().sizeHint().width()
        return QSize(self.widget().minimumSizeHint().width() + bar, 120)

    def resizeEvent(self, event: object) -> None:
        """A narrower form wraps its rows and is higher."""
        super().resizeEvent(event)
        self.updateGeometry()
