"""The windows of one element as numbers: what is dragged on the plot can be typed here."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QHBoxLayout, QLabel, QWidget

from napari_invrecon.plugin.spectrum_plot import replaced
from napari_invrecon.plugin.widgets.focus import FOCUS_STYLE
from napari_invrecon.plugin.widgets.number_field import NumberField

if TYPE_CHECKING:
    from napari_invrecon.recon.element_window import BackgroundModel, ElementWindow, Window

_MODELS: tuple[tuple[str, BackgroundModel], ...] = (
    ("power law A·E^−r", "power-law"),
    ("line between two windows", "linear"),
    ("none: all counts", "none"),
)
_FIELD_PX = 84  # room for 4394.1 and the arrows, so that two fit a dock of 320 pixels
_MODEL_TIP = (
    "power law: fitted in the window before an EELS edge and carried on under it. line: through the counts of two "
    "windows beside an X-ray line. none: the map is the sum of the window, whole counts stay whole."
)
_SIGNAL_TIP = "From, to, in eV: the channels whose counts make the map. Drag the orange window on the plot."
_BACKGROUND_TIP = "From, to, in eV: channels that hold background only. Drag the blue window on the plot."


class WindowFields(QWidget):
    """Shows one `ElementWindow`; disabled while there is none."""

    edited = Signal(object)
    """The `ElementWindow` as the user has typed it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._window: ElementWindow | None = None
        self._ends: Window = (0.0, 1.0)
        self.setStyleSheet(FOCUS_STYLE)
        self.model = QComboBox(self)
        for text, _ in _MODELS:
            self.model.addItem(text)
        self.model.setMinimumContentsLength(8)
        self.model.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.model.setToolTip(_MODEL_TIP)
        self.fields: list[tuple[NumberField, NumberField]] = []
        self._labels: list[QLabel] = []
        self._rows: list[QWidget] = []
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        names = ("Integrate (eV)", "Background (eV)", "and (eV)")
        for number, name in enumerate(names):
            row = QWidget(self)
            inside = QHBoxLayout(row)
            inside.setContentsMargins(0, 0, 0, 0)
            pair = NumberField(row), NumberField(row)
            for field, end in zip(pair, ("from", "to"), strict=True):
                field.setMinimumWidth(_FIELD_PX)
                field.setAccessibleName(f"{name} {end}")
                field.setToolTip(_BACKGROUND_TIP if number else _SIGNAL_TIP)
                field.valueChanged.connect(lambda _, which=number: self._tell(which))
                inside.addWidget(field)
            label = QLabel(name, self)
            label.setBuddy(pair[0])
            layout.addRow(label, row)
            self.fields.append(pair)
            self._labels.append(label)
            self._rows.append(row)
        label = QLabel("Background", self)
        label.setBuddy(self.model)
        label.setToolTip(_MODEL_TIP)
        layout.insertRow(1, label, self.model)
        self.model.currentIndexChanged.connect(self._change_model)
        self.show_window(None, (0.0, 1.0))

    def show_window(self, window: ElementWindow | None, ends: Window) -> None:
        """Show the numbers of an element; ``ends`` are those of the spectrum."""
        self._window, self._ends = window, ends
        self.setEnabled(window is not None)
        shown = [] if window is None else [window.signal, *window.background]
        controls = [self.model, *(field for pair in self.fields for field in pair)]
        for each in controls:
            each.blockSignals(True)
        for number, (pair, row, label) in enumerate(zip(self.fields, self._rows, self._labels, strict=True)):
            there = number < max(len(shown), 2 if window is None else 1)
            row.setVisible(there)
            label.setVisible(there)
            if number < len(shown):
                for field, value in zip(pair, shown[number], strict=True):
                    field.setValue(value)
        if window is not None:
            self.model.setCurrentIndex([model for _, model in _MODELS].index(window.model))
        for each in controls:
            each.blockSignals(False)

    def _tell(self, number: int) -> None:
        if self._window is None:
            return
        low, high = (field.value() for field in self.fields[number])
        self._window = replaced(self._window, number, (low, high))
        self.edited.emit(self._window)

    def _change_model(self, index: int) -> None:
        if self._window is None:
            return
        self._window = with_model(self._window, _MODELS[index][1], self._ends)
        self.show_window(self._window, self._ends)
        self.edited.emit(self._window)


def with_model(window: ElementWindow, model: BackgroundModel, ends: Window) -> ElementWindow:
    """The same element with another model of its background, and as many windows as that needs, within the spectrum."""
    low, high = window.signal
    width = high - low
    below = [each for each in window.background if each[1] <= low]
    before = below[0] if below else (max(ends[0], low - 1.5 * width), max(ends[0], low - 0.1 * width))
    if model == "none":
        background: tuple[Window, ...] = ()
    elif model == "power-law":
        background = (before,)
    else:
        above = [each for each in window.background if each[0] >= high]
        after = above[0] if above else (min(ends[1], high + 0.1 * width), min(ends[1], high + 0.6 * width))
        background = tuple((round(a, 2), round(b, 2)) for a, b in (before, after) if b > a)
    return dataclasses.replace(window, model=model, background=background)
