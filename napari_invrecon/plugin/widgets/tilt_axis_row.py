"""Which array axis the tilt axis lies along, and whether it is drawn."""

from __future__ import annotations

from typing import Literal

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QWidget

_TIP = (
    "The image axis that the tilt axis is parallel to. y: vertical, points of the sample move left and right as the "
    "stage tilts. x: horizontal, they move up and down. A positive angle moves what is at +z towards +x (+y). Where a "
    "microscope counts the other way, the volume is a mirror image: give the angles with the other sign."
)


class TiltAxisRow(QWidget):
    """``value`` is "y" or "x"."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.axis = QComboBox(self)
        self.axis.addItem("y, vertical", "y")
        self.axis.addItem("x, horizontal", "x")
        self.axis.setToolTip(_TIP)
        self.axis.setAccessibleName("Tilt axis")
        self.show_box = QCheckBox("Show", self)
        self.show_box.setToolTip("Draw the tilt axis on the stack, with its shift and rotation. Untick to remove it.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.axis, 1)
        layout.addWidget(self.show_box)
        self.setFocusProxy(self.axis)
        self.axis.currentIndexChanged.connect(self.changed)
        self.show_box.toggled.connect(self.changed)

    @property
    def value(self) -> Literal["y", "x"]:
        """The array axis."""
        return self.axis.currentData()

    @value.setter
    def value(self, axis: Literal["y", "x"]) -> None:
        self.axis.setCurrentIndex(self.axis.findData(axis))
