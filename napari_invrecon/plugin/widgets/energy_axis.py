"""The collapsed section of the energy axis: its numbers, which are the layer's, and what has the energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QWidget

from napari_invrecon.plugin.widgets.advanced_section import AdvancedSection
from napari_invrecon.plugin.widgets.number_field import NumberField

if TYPE_CHECKING:
    from napari_invrecon.plugin.spectrum_source import SpectrumSource

_KINDS = (("EELS: energy loss of electrons", "eels"), ("EDX: X-rays", "edx"))
_TITLE, _TIP = "Energy axis and kind", "Where the channels are, and of what"


class EnergyAxisSection(AdvancedSection):
    """Shows the axis of a `SpectrumSource`; what is typed is told, and becomes the layer's by the dock."""

    calibrated = Signal(float, float)
    """(energy of the first channel, of one channel), in eV."""
    kind_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, _TITLE, _TIP)
        page = QWidget(self)
        self.first = NumberField(page)
        self.first.setToolTip("Energy of the first channel's centre, in eV; the layer is moved there.")
        self.step = NumberField(page, minimum=1e-9)
        self.step.setToolTip("Energy of one channel, in eV; the layer is scaled by it.")
        self.kind = QComboBox(page)
        for text, _ in _KINDS:
            self.kind.addItem(text)
        self.kind.setMinimumContentsLength(8)
        self.kind.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.kind.setToolTip("Which edges or lines are offered, and what background they have.")
        rows = QFormLayout(page)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("First channel (eV)", self.first)
        rows.addRow("Channel (eV)", self.step)
        rows.addRow("Kind", self.kind)
        self.addWidget(page)
        for field in (self.first, self.step):
            field.valueChanged.connect(lambda _: self.calibrated.emit(self.first.value(), self.step.value()))
        self.kind.activated.connect(lambda index: self.kind_chosen.emit(_KINDS[index][1]))

    def show_source(self, source: SpectrumSource) -> None:
        """Show its numbers."""
        for field, value in ((self.first, source.ends[0]), (self.step, source.step_ev)):
            field.blockSignals(True)
            field.setValue(value)
            field.blockSignals(False)
        self.kind.setCurrentIndex([kind for _, kind in _KINDS].index(source.kind))
