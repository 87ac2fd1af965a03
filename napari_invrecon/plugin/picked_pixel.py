"""A pixel of an image that the user picks: by a click anywhere in the view, or by dragging the point that marks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from qtpy.QtCore import QObject, Signal

from napari_invrecon.plugin.owned_layer import OwnedLayer

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari import Viewer
    from napari.layers import Image

_NAME = "picked pixel"
_COLOUR = "#d55e00"


class PickedPixel(OwnedLayer):
    """While it is on, a Points layer of one point marks a pixel."""

    changed = Signal()

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(viewer, parent)
        self._image: Image | None = None

    def start(self, image: Image) -> None:
        """Mark the middle of ``image``, or the nearest pixel to where the mark is."""
        self._image = image
        shape = image.data.shape[-2:]
        if self.layer is None:
            middle = self._world([n // 2 for n in shape])
            pixel = float(np.min(np.abs(image.scale[-2:])))
            layer = Points(
                [middle],
                name=_NAME,
                size=max(1.0, 0.03 * max(shape)) * pixel,
                symbol="cross",
                face_color=_COLOUR,
                border_width=0,
                units=tuple(image.units[-2:]),
                axis_labels=("y", "x"),
            )
            self._add(layer)
            layer.events.data.connect(self._tell)
            self._viewer.mouse_drag_callbacks.append(self._click)
        self.changed.emit()

    def stop(self) -> None:
        """Remove the mark."""
        if self.layer is not None:
            self._viewer.mouse_drag_callbacks.remove(self._click)
            self.layer.events.data.disconnect(self._tell)
        super().stop()

    @property
    def pixel(self) -> tuple[int, int] | None:
        """(y, x) of the image, the nearest one where the mark is outside."""
        if self.layer is None or self._image is None or not len(self.layer.data):
            return None
        image = self._image
        world = np.asarray(self.layer.data_to_world(self.layer.data[-1]), float)[-2:]
        there = np.array(image.data_to_world(np.zeros(image.ndim)), float)
        there[-2:] = world
        at = np.asarray(image.world_to_data(there), float)[-2:]
        y, x = (int(np.clip(round(each), 0, n - 1)) for each, n in zip(at, image.data.shape[-2:], strict=True))
        return y, x

    def _world(self, pixel: list[int]) -> Any:
        assert self._image is not None
        at = np.zeros(self._image.ndim)
        at[-2:] = pixel
        return np.asarray(self._image.data_to_world(at), float)[-2:]

    def _click(self, viewer: Viewer, event: Any) -> Generator[None, None, None]:
        """A press and release at one place; a drag pans the view, or the point."""
        start = np.asarray(event.position)[-2:]
        moved = False
        yield
        while event.type == "mouse_move":
            moved = True
            yield
        if not moved and self.layer is not None and viewer.layers.selection.active is not self.layer:
            self.layer.data = [start]

    def _tell(self, _: object = None) -> None:
        self.changed.emit()
