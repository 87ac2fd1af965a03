"""A list of layers to tick, each with the name of its element, which can be edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_invrecon.plugin.layers import element_colours
from napari_invrecon.plugin.widgets.focus import FRAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Image

    from napari_invrecon.plugin.map_layers import OfferedMap

_ROWS = 6  # in view
_SWATCH_PX = 12
_TIP = (
    "Tick the maps that are to be fused, all of one acquisition: counts, or values of a fit; they are not changed. "
    "Space ticks, F2 or a double click on the second column renames the element. The square is its colour."
)


class MapTable(QTableWidget):
    """What the user has ticked, unticked or renamed stays so for a layer as long as it is in the viewer."""

    edited = Signal()
    """A tick or a name was changed, here or by `offer`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 2, parent)
        self._offered: list[OfferedMap] = []
        self._ticks: dict[Image, bool] = {}
        self._names: dict[Image, str] = {}
        self.setHorizontalHeaderLabels(["Map", "Element"])
        self.setToolTip(_TIP)
        self.setAccessibleName("Maps")
        self.setTabKeyNavigation(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setStyleSheet(f"QTableWidget:focus {{ {FRAME} }}")
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(1, 72)
        header.setHighlightSections(False)
        self.itemChanged.connect(self._read)
        self._fit()

    def offer(self, maps: Sequence[OfferedMap]) -> None:
        """Show these, ticked where the user or, failing that, the layer itself says so."""
        self._offered = list(maps)
        there = [each.layer for each in maps]
        self._ticks = {layer: tick for layer, tick in self._ticks.items() if layer in there}
        self._names = {layer: name for layer, name in self._names.items() if layer in there}
        self._draw()
        self.edited.emit()

    def chosen(self) -> list[tuple[Image, str]]:
        """(layer, element) of those that are ticked."""
        return [(each.layer, self._name(each)) for each in self._offered if self._ticked(each)]

    def choose(self, elements: Mapping[Image, str]) -> None:
        """Tick these layers alone, and call them so; the maps are fused in the order of the list."""
        for each in self._offered:
            self._ticks[each.layer] = each.layer in elements
            if each.layer in elements:
                self._names[each.layer] = elements[each.layer]
        self._draw()
        self.edited.emit()

    def why_none(self) -> str:
        """Why the first layer that is no map of this field is none."""
        return next((each.why_not for each in self._offered if each.why_not), "")

    def tick(self, layer: Image, on: bool) -> None:
        """As a click on its box does."""
        row = [each.layer for each in self._offered].index(layer)
        self.item(row, 0).setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    def rename(self, layer: Image, element: str) -> None:
        """As an edit of its second column does."""
        self.item([each.layer for each in self._offered].index(layer), 1).setText(element)

    def _ticked(self, each: OfferedMap) -> bool:
        return not each.why_not and self._ticks.get(each.layer, each.expected)

    def _name(self, each: OfferedMap) -> str:
        return self._names.get(each.layer, each.element).strip()

    def _draw(self) -> None:
        with QSignalBlocker(self):
            self.setRowCount(len(self._offered))
            for row, each in enumerate(self._offered):
                allowed = Qt.ItemFlag.NoItemFlags if each.why_not else Qt.ItemFlag.ItemIsEnabled
                box, name = QTableWidgetItem(each.layer.name), QTableWidgetItem(self._name(each))
                box.setFlags(allowed | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsUserCheckable)
                box.setCheckState(Qt.CheckState.Checked if self._ticked(each) else Qt.CheckState.Unchecked)
                name.setFlags(allowed | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEditable)
                for column, item in enumerate((box, name)):
                    item.setToolTip(each.why_not or f"{each.layer.name}\n{_TIP}")
                    self.setItem(row, column, item)
        self._colour()
        self._fit()

    def _colour(self) -> None:
        """The colours that the results will have."""
        colours = iter(element_colours([name for _, name in self.chosen()]))
        with QSignalBlocker(self):
            for row, each in enumerate(self._offered):
                self.item(row, 0).setIcon(_swatch(next(colours) if self._ticked(each) else None))

    def _read(self, item: QTableWidgetItem) -> None:
        layer = self._offered[item.row()].layer
        if item.column() == 0:
            self._ticks[layer] = item.checkState() == Qt.CheckState.Checked
        else:
            self._names[layer] = item.text()
        self._colour()
        self.edited.emit()

    def changeEvent(self, event: QEvent) -> None:
        """The theme's font decides how high a row is."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        """As high as its rows, up to a few."""
        self.ensurePolished()
        high = self.fontMetrics().lineSpacing() + 8
        self.verticalHeader().setDefaultSectionSize(high)
        self.horizontalHeader().setFixedHeight(high)
        self.setFixedHeight((1 + min(max(self.rowCount(), 1), _ROWS)) * high + 2 * self.frameWidth() + 2)


def _swatch(colour: str | None) -> QIcon:
    picture = QPixmap(_SWATCH_PX, _SWATCH_PX)
    picture.fill(QColor(colour) if colour else Qt.GlobalColor.transparent)
    return QIcon(picture)
