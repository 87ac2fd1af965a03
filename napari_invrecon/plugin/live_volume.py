"""The volume while it grows: one layer that shows the solver's own array, as often as the window can afford."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_invrecon.plugin.contrast import contrast_limits
from napari_invrecon.plugin.owned_layer import OwnedLayer

if TYPE_CHECKING:
    from napari import Viewer
    from qtpy.QtCore import QObject

_PAUSE_2D_S, _PAUSE_3D_S = 0.3, 2.0  # a plane is read for a slice, the whole volume for a rendering
_SHARE = 0.1  # of the time may go into drawing


class LiveVolume(OwnedLayer):
    """`show` may be called with every iterate: most calls do nothing."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(viewer, parent)
        self._next = 0.0

    def show(self, volume: Any, name: str, display: dict[str, Any]) -> None:
        """Show the volume (z, y, x); it is not copied, and the solver may write on."""
        now = time.monotonic()
        if self.layer is not None and now < self._next:
            return
        limits = contrast_limits(volume)
        if self.layer is None:
            self._add(Image(volume, name=name, contrast_limits=limits, **display))
        else:
            self.layer.data = volume
            self.layer.contrast_limits_range = limits
            self.layer.contrast_limits = limits
        pause = _PAUSE_3D_S if self._viewer.dims.ndisplay == 3 else _PAUSE_2D_S
        end = time.monotonic()
        self._next = end + max(pause, (end - now) / _SHARE)
