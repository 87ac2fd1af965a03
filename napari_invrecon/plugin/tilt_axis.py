"""The tilt axis, drawn on its stack: a line in a layer of vectors, which is no data and can be switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Vectors

from napari_invrecon.plugin.owned_layer import OwnedLayer
from napari_invrecon.plugin.tilt_results import image_transform

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image
    from qtpy.QtCore import QObject

_NAME = "tilt axis"
_COLOUR = "#e69f00"
_WIDTH = 1 / 250  # of the image's longer side


class TiltAxisLine(OwnedLayer):
    """Keeps one layer up to date while it is on; it belongs to no other layer and changes none."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(viewer, parent)

    def show(self, stack: Image, axis: str, shift_px: float, rotation_deg: float) -> None:
        """Draw the axis of ``stack``, in every image of it; see `ends`."""
        start, end = ends(stack.data.shape[-2:], axis, shift_px, rotation_deg)
        line = np.array([[start, end - start]])
        place = {"affine": image_transform(stack)}
        if self.layer is None:
            layer = Vectors(
                line,
                name=_NAME,
                vector_style="line",
                edge_color=_COLOUR,
                edge_width=_WIDTH * max(stack.data.shape[-2:]),
                units=stack.units[-2:],
                axis_labels=("y", "x"),
                **place,
            )
            self._add(layer)
        else:
            self.layer.data = line
            self.layer.affine = place["affine"]
            at, beneath = self._viewer.layers.index(self.layer), self._viewer.layers.index(stack)
            if at < beneath:
                self._viewer.layers.move(at, beneath + 1)


def ends(shape: tuple[int, int], axis: str, shift_px: float, rotation_deg: float) -> np.ndarray:
    """((y, x), (y, x)) of the axis's ends, in pixels.

    Parameters
    ----------
    shape
        (y, x) of an image.
    axis
        "y" or "x", the array axis that it roughly lies along.
    shift_px
        How far it lies beyond the middle of the image, towards larger x (y for an axis along x).
    rotation_deg
        From the array axis to the tilt axis, positive from +x towards +y.
    """
    phi = np.deg2rad(rotation_deg)
    along = np.array([np.cos(phi), -np.sin(phi)] if axis == "y" else [np.sin(phi), np.cos(phi)])
    across = np.array([0.0, shift_px] if axis == "y" else [shift_px, 0.0])
    middle = (np.array(shape) - 1) / 2 + across
    half = shape[0 if axis == "y" else 1] / 2
    return np.stack([middle - half * along, middle + half * along])
