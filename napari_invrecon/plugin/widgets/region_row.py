"""A choice of the regions that are drawn or painted in the viewer, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Labels, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_invrecon.plugin.regions import Region, region

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image


class RegionRow(QComboBox):
    """Offers the Shapes and Labels layers. What is drawn later counts as soon as it is drawn.

    ``none`` is what it says where no layer is chosen.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, parent: QWidget | None = None, *, none: str = "none") -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._none = none
        self._layers: list[Shapes | Labels] = []
        self._watched: Shapes | Labels | None = None
        self.setMinimumContentsLength(4)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.offer()
        self.currentIndexChanged.connect(self._watch)

    @property
    def layer(self) -> Shapes | Labels | None:
        """The chosen one."""
        return self._layers[self.currentIndex() - 1] if self.currentIndex() > 0 else None

    def choose(self, layer: Shapes | Labels | None) -> None:
        """Choose a layer that is offered."""
        self.setCurrentIndex(0 if layer is None else 1 + self._layers.index(layer))

    def offer(self) -> None:
        """The layers that there are now; the chosen one stays while it is among them."""
        chosen = self.layer
        layers = [each for each in self._viewer.layers if isinstance(each, (Shapes, Labels))]
        self.blockSignals(True)
        self.clear()
        self._layers = layers
        self.addItems([self._none, *(each.name for each in layers)])
        self.setCurrentIndex(1 + layers.index(chosen) if chosen in layers else 0)
        self.blockSignals(False)
        if chosen is not None and chosen not in layers:
            self._watch()

    def region(self, image: Image) -> Region | None:
        """What the chosen layer marks on an image."""
        return None if self.layer is None else region(self.layer, image)

    def _watch(self, _: int = 0) -> None:
        """Tell of another choice, and of what is drawn on the chosen layer."""
        for emitter in self._emitters(self._watched):
            emitter.disconnect(self._tell)
        self._watched = self.layer
        for emitter in self._emitters(self._watched):
            emitter.connect(self._tell)
        self.changed.emit()

    @staticmethod
    def _emitters(layer: Shapes | Labels | None) -> list:
        if layer is None:
            return []
        painted = [layer.events.paint, layer.events.labels_update] if isinstance(layer, Labels) else []
        return [layer.events.data, *painted]

    def _tell(self, _: object = None) -> None:
        self.changed.emit()
