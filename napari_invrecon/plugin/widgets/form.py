"""One row for each parameter of a settings dataclass; the advanced ones under one collapsed heading."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, LineEdit, SpinBox
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QFormLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_invrecon.plugin.widgets.advanced_section import AdvancedSection
from napari_invrecon.plugin.widgets.focus import FOCUS_STYLE
from napari_invrecon.plugin.widgets.number_field import NumberField
from napari_invrecon.recon.settings import Parameter, parameters

_LARGEST_INT = 2**31 - 1


class SettingsForm(QWidget):
    """A form for a settings dataclass: ``SettingsClass(**form.values())`` is what it shows.

    Parameters
    ----------
    settings_class
        A frozen dataclass whose fields are described as `parameters` reads them.
    skip
        Names of fields that have a control of their own elsewhere in the dock.
    parent
        The dock.
    """

    changed = Signal()
    """A value was changed by the user or, once for all of them, by `set_values`."""

    def __init__(self, settings_class: type, *, skip: Collection[str] = (), parent: QWidget | None = None) -> None:
        super().__init__(parent)
        found = [each for each in parameters(settings_class) if each.name not in skip]
        self._choices = {each.name: each.choices for each in found}
        self._rows = {each.name: _row(each, self._tell) for each in found}
        self._quiet = False

        self.setStyleSheet(FOCUS_STYLE)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        plain = [each for each in found if not each.advanced]
        if plain:
            layout.addWidget(self._page(plain))
        self.advanced: AdvancedSection | None = None
        if len(plain) < len(found):
            self.advanced = AdvancedSection(self)
            self.advanced.addWidget(self._page([each for each in found if each.advanced]))
            layout.addWidget(self.advanced)

    def values(self) -> dict[str, Any]:
        """The value of every row by the name of its field; None is automatic."""
        return {name: row.read() for name, row in self._rows.items()}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show these values and leave the others as they are.

        Raises
        ------
        KeyError, ValueError
            For a name that has no row here, and for a value that its row refuses.
        """
        unknown = [name for name in values if name not in self._rows]
        if unknown:
            raise KeyError(f"no row for {unknown[0]!r}: this form has {', '.join(self._rows)}")
        before = self.values()
        self._quiet = True
        try:
            for name, value in values.items():
                self._rows[name].write(value)
        finally:
            self._quiet = False
        if self.values() != before:
            self.changed.emit()

    def offers(self, name: str, value: Any) -> bool:
        """Whether there is a row of this name, and where it is a choice, this value in it."""
        return name in self._rows and (not self._choices[name] or value in self._choices[name])

    def row(self, name: str) -> QWidget:
        """The control of a field, to disable it and say why in its tooltip."""
        return self._rows[name].control

    def insert(self, after: str, label: str, control: QWidget, tooltip: str) -> None:
        """Put a control that is no field below the row of one; its value is the dock's business."""
        page = self._rows[after].control.parentWidget()
        layout = page.layout()
        row, _ = layout.getWidgetPosition(self._rows[after].control)
        _add_row(layout, label, control, tooltip, row + 1)

    def _tell(self, *_: object) -> None:
        if not self._quiet:
            self.changed.emit()

    def _page(self, shown: list[Parameter]) -> QWidget:
        page = QWidget(self)
        layout = QFormLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for each in shown:
            control = self._rows[each.name].control
            control.setAccessibleName(each.label)
            if isinstance(control, QCheckBox):  # has its label itself
                control.setToolTip(_tooltip(each))
                layout.addRow(control)
                continue
            _add_row(layout, _title(each), control, _tooltip(each), layout.rowCount())
        return page


def _add_row(layout: QFormLayout, title: str, control: QWidget, tooltip: str, row: int) -> None:
    label = QLabel(title, layout.parentWidget())
    label.setBuddy(control)
    for each in (label, control):
        each.setToolTip(tooltip)
    layout.insertRow(row, label, control)


@dataclass(frozen=True)
class _Row:
    """A control, and how its value is read and written. ``owner`` keeps magicgui's half of the control alive."""

    control: QWidget
    read: Callable[[], Any]
    write: Callable[[Any], None]
    owner: ValueWidget | None = None


def _row(parameter: Parameter, changed: Callable[..., None]) -> _Row:
    choices: list[tuple[str, Any]] = [(each, each) for each in parameter.choices]
    if parameter.type is bool and parameter.optional:
        choices = [("yes", True), ("no", False)]
    if choices:
        automatic = [("automatic", None)] if parameter.optional else []
        return _magicgui_row(ComboBox(choices=automatic + choices, value=parameter.default), changed)
    if parameter.type is bool:
        return _magicgui_row(CheckBox(text=parameter.label, value=parameter.default), changed)
    if parameter.type is str:
        row = _magicgui_row(LineEdit(value=parameter.default or ""), changed)
        if not parameter.optional:
            return row
        return replace(row, read=lambda: row.read() or None, write=lambda value: row.write(value or ""))  # empty: None
    if parameter.type is int and not parameter.optional:
        low = -_LARGEST_INT if parameter.minimum is None else int(parameter.minimum)
        high = _LARGEST_INT if parameter.maximum is None else int(parameter.maximum)
        return _magicgui_row(SpinBox(min=low, max=high, value=parameter.default), changed)
    if parameter.type in (int, float):
        control = _NumberOrAutomatic(parameter) if parameter.optional else _Number(parameter)
        control.edited.connect(changed)
        return _Row(control, control.read, control.write)
    raise TypeError(f"{parameter.name}: there is no row for values of type {parameter.type.__name__}")


def _magicgui_row(owner: ValueWidget, changed: Callable[..., None]) -> _Row:
    owner.changed.connect(changed)
    return _Row(owner.native, owner.get_value, lambda value: setattr(owner, "value", value), owner)


class _Number(QWidget):
    """A float, in scientific notation where it is small."""

    edited = Signal()

    def __init__(self, parameter: Parameter) -> None:
        super().__init__()
        self._parameter = parameter
        self.field = NumberField(self, minimum=parameter.minimum, maximum=parameter.maximum)
        self.setFocusProxy(self.field)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.field, 1)
        self.field.valueChanged.connect(self.edited)
        if parameter.default is not None:
            self.field.setValue(parameter.default)

    def read(self) -> float | None:
        self.field.interpretText()
        return self._parameter.type(self.field.value())

    def write(self, value: float | None) -> None:
        low, high = self.field.minimum(), self.field.maximum()
        if value is None or not low <= value <= high:
            unit = f" {self._parameter.unit}" if self._parameter.unit else ""
            raise ValueError(f"{self._parameter.name} = {value!r}: expected a number from {low:g} to {high:g}{unit}")
        self.field.setValue(value)


class _NumberOrAutomatic(_Number):
    """A number, or None while "automatic" is ticked."""

    def __init__(self, parameter: Parameter) -> None:
        super().__init__(parameter)
        if parameter.default is None:
            self.field.setValue(1.0)
        self.automatic = QCheckBox("automatic", self)
        self.setFocusProxy(self.automatic)
        self.layout().insertWidget(0, self.automatic)
        self.automatic.toggled.connect(self.field.setHidden)
        self.automatic.setChecked(parameter.default is None)
        self.automatic.toggled.connect(self.edited)

    def read(self) -> float | None:
        return None if self.automatic.isChecked() else super().read()

    def write(self, value: float | None) -> None:
        if value is not None:
            super().write(value)
        self.automatic.setChecked(value is None)


def _title(parameter: Parameter) -> str:
    return f"{parameter.label} ({parameter.unit})" if parameter.unit else parameter.label


def _tooltip(parameter: Parameter) -> str:
    """Help, unit and range."""
    parts = [parameter.help] if parameter.help else []
    if parameter.unit:
        parts.append(f"Unit: {parameter.unit}.")
    if parameter.minimum is not None:
        parts.append(f"At least {parameter.minimum:g}.")
    if parameter.maximum is not None:
        parts.append(f"At most {parameter.maximum:g}.")
    return " ".join(parts)
