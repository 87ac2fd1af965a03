"""A volume rendered in 3-D, and the way back to what the user had on the screen."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image, Layer

_ANGLES = (-25.0, 30.0, 0.0)


class VolumeView:
    """`show` renders one layer alone; `leave` brings back the two dimensions and what was visible."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._hidden: weakref.WeakSet[Layer] = weakref.WeakSet()  # one that is deleted meanwhile is not kept

    def show(self, volume: Image) -> None:
        """Maximum along the line of sight, weaker with depth, so that the nearer body is in front."""
        for layer in self._viewer.layers:
            if layer is not volume and layer.visible:
                layer.visible = False
                self._hidden.add(layer)
        volume.visible = True
        volume.rendering = "attenuated_mip"
        self._viewer.dims.ndisplay = 3
        self._viewer.reset_view()
        self._viewer.scene.camera.angles = _ANGLES

    def leave(self) -> None:
        """As it was before."""
        for layer in self._hidden:
            if layer in self._viewer.layers:
                layer.visible = True
        self._hidden.clear()
        if self._viewer.dims.ndisplay == 3:
            self._viewer.dims.ndisplay = 2
            self._viewer.reset_view()
