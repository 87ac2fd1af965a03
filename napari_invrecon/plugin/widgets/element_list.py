"""The elements that are mapped: added by symbol, chosen by a click, each with what its map amounts to."""

from __future__ import annotations

import dataclasses
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_invrecon.plugin.failure import notify_failure
from napari_invrecon.plugin.widgets.focus import FOCUS_STYLE
from napari_invrecon.recon.element_lines import energies_of, lines_within, suggest_window
from napari_invrecon.recon.element_window import ElementWindow

if TYPE_CHECKING:
    from napari_invrecon.plugin.spectrum_source import SpectrumSource

_TYPED = re.compile(r"([A-Z][a-z]?)(?:\s+([KLMN][A-Za-z0-9]{0,3}))?(?:\s+([0-9.]+)(?:\s*eV)?)?")
_ROWS = 4
_ADD_TIP = (
    "Symbol (Ti), symbol and line (Ti L), or any energy of your own (Ti 456): windows to start from are put there. "
    "The list has the edges or lines within the spectrum."
)


@dataclass(frozen=True)
class _Suggested:
    """What was asked for, and the windows that were put there."""

    energy_ev: float | None
    line: str
    window: ElementWindow


class ElementList(QWidget):
    """Keeps the windows of all elements; one of them is current while there is any.

    Windows that nobody has changed keep off the other elements' edges or lines as these come and go.
    """

    chosen = Signal()
    """Another one is current."""
    listed = Signal()
    """An element was added or removed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._windows: list[ElementWindow] = []
        self._suggested: dict[str, _Suggested] = {}
        self._source: SpectrumSource | None = None
        self.setStyleSheet(FOCUS_STYLE)
        self.entry = QComboBox(self)
        self.entry.setEditable(True)
        self.entry.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.entry.setMinimumContentsLength(6)
        self.entry.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.entry.lineEdit().setPlaceholderText("element, such as Ti")
        self.entry.setAccessibleName("Element to add")
        self.entry.setToolTip(_ADD_TIP)
        self.add_button = QPushButton("Add", self)
        self.add_button.setToolTip("Add the element with windows to start from")
        self.remove_button = QPushButton("Remove", self)
        self.remove_button.setToolTip("Take the element that is chosen off the list; no layer is changed")
        self.table = QTableWidget(0, 3, self)
        self.table.setHorizontalHeaderLabels(["Element", "total ± σ", "pixel ± σ"])
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.table.verticalHeader().hide()
        self.table.setWordWrap(False)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.table.setAccessibleName("Elements to map")
        self.table.setToolTip("The map of the whole image and its mean over the pixels, each with its counting error")
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.entry, 1)
        row.addWidget(self.add_button)
        row.addWidget(self.remove_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.table)
        height = self.table.verticalHeader().defaultSectionSize()
        self.table.setFixedHeight((_ROWS + 1) * height)
        self.add_button.clicked.connect(self._add_typed)
        self.entry.lineEdit().returnPressed.connect(self._add_typed)
        self.entry.activated.connect(lambda _: self._add_typed())
        self.remove_button.clicked.connect(self._remove)
        self.table.currentCellChanged.connect(self._choose)
        self._rest()

    @property
    def windows(self) -> list[ElementWindow]:
        """Of all elements, in their order."""
        return list(self._windows)

    @property
    def current(self) -> ElementWindow | None:
        """The one that is chosen."""
        row = self.table.currentRow()
        return self._windows[row] if 0 <= row < len(self._windows) else None

    def set_source(self, source: SpectrumSource | None) -> None:
        """Offer what the spectrum can show; windows stay, whether they fit it or not."""
        self._source = source
        typed = self.entry.currentText()
        self.entry.clear()
        if source is not None:
            for line in lines_within(source.kind, *source.ends):
                self.entry.addItem(f"{line.element} {line.line} {line.energy_ev:g} eV")
        self.entry.setCurrentIndex(-1)
        self.entry.setEditText(typed)
        self._rest()

    def add(self, window: ElementWindow) -> None:
        """Put an element on the list, or give the one of this name these windows; it is current then."""
        names = [each.name for each in self._windows]
        if window.name in names:
            row = names.index(window.name)
            self._windows[row] = window
        else:
            row = len(self._windows)
            self._windows.append(window)
            self.table.blockSignals(True)
            self.table.insertRow(row)
            for column, text in enumerate((window.name, "", "")):
                self.table.setItem(row, column, QTableWidgetItem(text))
            self.table.blockSignals(False)
        self._rest()
        self.listed.emit()
        if self.table.currentRow() == row:
            self.chosen.emit()
        else:
            self.table.setCurrentCell(row, 0)

    def change(self, window: ElementWindow) -> None:
        """Give the current element other windows."""
        row = self.table.currentRow()
        if row >= 0:
            self._windows[row] = window

    def clear(self) -> None:
        """No element."""
        self._windows.clear()
        self._suggested.clear()
        self.table.setRowCount(0)
        self._rest()

    def tell(self, name: str, total: str, each: str) -> None:
        """What the map of an element amounts to."""
        for row, window in enumerate(self._windows):
            if window.name == name:
                for column, text in ((1, total), (2, each)):
                    item = self.table.item(row, column)
                    item.setText(text)
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def add_element(self, text: str) -> None:
        """Add what the user has typed: "Ti", "Ti L", "Ti 456", "Ti L 456 eV".

        Raises
        ------
        ValueError
            There is no such element, or it has nothing in this spectrum.
        """
        source = self._source
        if source is None:
            raise ValueError("there is no spectrum image: choose a layer first")
        match = _TYPED.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                f"'{text}' is no element: type a symbol such as Ti, or Ti L, or Ti 456 for an energy of your own"
            )
        element, line, energy = match[1], match[2] or "", match[3]
        at = float(energy) if energy else self._energy_of(element, line)
        window = self._suggest(source, element, at, line)
        self._suggested[window.name] = _Suggested(at, line, window)
        self.add(window)
        self._suggest_again()

    def _suggest(self, source: SpectrumSource, element: str, at: float | None, line: str) -> ElementWindow:
        """Windows that keep off what the other elements on the list have, and off typed energies."""
        others = [each for each in self._windows if each.element != element]
        taken = [each.signal[0] if source.kind == "eels" else sum(each.signal) / 2 for each in others]
        taken += [energy for each in others for energy in energies_of(each.element, source.kind)]
        return suggest_window(
            element, source.kind, *source.ends, step_ev=source.step_ev, energy_ev=at, line=line, others=taken
        )

    def _suggest_again(self) -> None:
        """For all whose windows are still as they were put there; those without room keep theirs."""
        if self._source is None:
            return
        for row, window in enumerate(self._windows):
            known = self._suggested.get(window.name)
            if known is None or known.window != window:
                continue
            with suppress(ValueError):
                fresh = self._suggest(self._source, window.element, known.energy_ev, known.line)
                self._windows[row] = fresh
                self._suggested[window.name] = dataclasses.replace(known, window=fresh)

    def _energy_of(self, element: str, line: str) -> float | None:
        assert self._source is not None
        known = {
            each.line: each.energy_ev
            for each in lines_within(self._source.kind, *self._source.ends)
            if each.element == element
        }
        if line and line not in known:
            have = f": {element} has {', '.join(known)}" if known else ""
            raise ValueError(f"'{element} {line}' is not known in this spectrum{have}; type its energy too")
        return known[line] if line else None

    def _add_typed(self) -> None:
        text = self.entry.currentText()
        if not text.strip():
            return
        try:
            self.add_element(text)
        except ValueError as error:
            notify_failure("Add element", error)
            return
        self.entry.setEditText("")

    def _remove(self) -> None:
        row = self.table.currentRow()
        if row < 0:
            return
        self.table.blockSignals(True)
        del self._windows[row]
        self.table.removeRow(row)
        self.table.blockSignals(False)
        self._suggest_again()
        self._rest()
        self.listed.emit()
        self.chosen.emit()

    def _choose(self, row: int, _column: int, before: int, _before_column: int) -> None:
        if row != before:
            self.chosen.emit()

    def _rest(self) -> None:
        known = self._source is not None
        self.entry.setEnabled(known)
        self.add_button.setEnabled(known)
        self.remove_button.setEnabled(bool(self._windows))
