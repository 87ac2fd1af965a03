"""One layer that a dock shows for as long as it wants: it is no data, and leaves no trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer


class OwnedLayer(QObject):
    """Keeps `layer` while it is shown. No other layer is touched, and what the user has selected stays selected."""

    removed = Signal()
    """The user deleted the layer."""

    layer: Any = None

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        viewer.layers.events.removed.connect(self._forget)

    def stop(self) -> None:
        """Remove the layer."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def hide(self) -> None:
        """Out of sight until there is another one."""
        if self.layer is not None:
            self.layer.visible = False

    def show(self) -> None:
        """In sight again."""
        if not self.layer.visible:  # napari draws it anew even where it is
            self.layer.visible = True

    def _add(self, layer: Layer) -> None:
        self.layer = layer
        selected = set(self._viewer.layers.selection)
        self._viewer.add_layer(layer)
        self._viewer.layers.selection = selected

    def _forget(self, event: Any) -> None:
        if self.layer is not None and event.value is self.layer:
            self.stop()
            self.removed.emit()
