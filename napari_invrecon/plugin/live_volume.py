"""The volume while it grows: one layer that shows the solver's own array, as often as the window can afford."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_invrecon.plugin.contrast import contrast_limits

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

_PAUSE_2D_S, _PAUSE_3D_S = 0.3, 2.0  # a plane is read for a slice, the whole volume for a rendering
_SHARE = 0.1  # of the time may go into drawing


class LiveVolume(QObject):
    """`show` may be called with every iterate: most calls do nothing."""

    removed = Signal()
    """The user deleted the layer."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.layer: Image | None = None
        self._next = 0.0
        viewer.layers.events.removed.connect(self._forget)

    def show(self, volume: Any, name: str, display: dict[str, Any]) -> None:
        """Show the volume (z, y, x); it is not copied, and the solver may write on."""
        now = time.monotonic()
        if self.layer is not None and now < self._next:
            return
        limits = contrast_limits(volume)
        if self.layer is None:
            self.layer = Image(volume, name=name, contrast_limits=limits, **display)
            selected = set(self._viewer.layers.selection)
            self._viewer.add_layer(self.layer)
            self._viewer.layers.selection = selected
        else:
            self.layer.data = volume
            self.layer.contrast_limits_range = limits
            self.layer.contrast_limits = limits
        pause = _PAUSE_3D_S if self._viewer.dims.ndisplay == 3 else _PAUSE_2D_S
        end = time.monotonic()
        self._next = end + max(pause, (end - now) / _SHARE)

    def hide(self) -> None:
        """Remove the layer."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def owns(self, layer: Layer) -> bool:
        """Whether this is the layer shown here, which is no data for a dock."""
        return layer is self.layer and layer is not None

    def _forget(self, event: Any) -> None:
        if self.layer is not None and event.value is self.layer:
            self.layer = None
            self.removed.emit()
