"""A region drawn in a Shapes layer or painted in a Labels layer, as a mask of an image's pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Shapes
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from skimage.draw import polygon2mask

from napari_invrecon.plugin.placement import moved

if TYPE_CHECKING:
    from napari.layers import Image

_AREAS = ("rectangle", "ellipse", "polygon")
_CORNERS = 64  # of an ellipse


@dataclass(frozen=True)
class Outlines:
    """Closed outlines in the pixel coordinates (y, x) of an image whose planes have this ``shape``."""

    name: str
    corners: tuple[tuple[tuple[float, float], ...], ...]
    shape: tuple[int, int]

    def mask(self) -> NDArray[np.bool_]:
        """True inside any of them. ValueError where none holds a pixel."""
        inside = np.zeros(self.shape, bool)
        for corners in self.corners:
            inside |= polygon2mask(self.shape, np.array(corners))
        return _not_empty(inside, self.name, f"has {len(self.corners)} closed shapes, but none over the image")


@dataclass(frozen=True, eq=False)
class Painted:
    """Labels above 0; ``matrix`` and ``offset`` lead from a pixel (y, x) of the image to one of the labels."""

    name: str
    labels: Any
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    shape: tuple[int, int]

    def mask(self) -> NDArray[np.bool_]:
        """True where a label is. ValueError where there is none."""
        painted = (np.asarray(self.labels) > 0).reshape(self.labels.shape[-2:]).astype(np.uint8)
        inside = affine_transform(painted, self.matrix, self.offset, self.shape, order=0, prefilter=False) > 0
        return _not_empty(inside, self.name, "has no label above 0 over the image")


Region = Outlines | Painted


def region(layer: Shapes | Labels, image: Image) -> Region:
    """What ``layer`` marks, in the pixels of ``image``, wherever the two lie and however they are scaled.

    Costs nothing: the mask is made, and an empty one refused, by ``mask()``.
    """
    shape = (image.data.shape[-2], image.data.shape[-1])
    if isinstance(layer, Labels):
        if layer.data.size != np.prod(layer.data.shape[-2:]):
            raise ValueError(f"the labels '{layer.name}' have the shape {layer.data.shape}: expected one plane (y, x)")
        origin, down, right = (moved(point, image, layer) for point in ((0, 0), (1, 0), (0, 1)))
        matrix = np.column_stack([down - origin, right - origin])
        return Painted(layer.name, layer.data, matrix, origin, shape)
    corners = tuple(
        tuple((float(y), float(x)) for y, x in (moved(corner, layer, image) for corner in _outline(kind, vertices)))
        for kind, vertices in zip(layer.shape_type, layer.data, strict=True)
        if kind in _AREAS
    )
    return Outlines(layer.name, corners, shape)


def _outline(kind: str, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corners of a shape; an ellipse comes as the rectangle around it."""
    if kind != "ellipse":
        return vertices
    angle = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)[:, None]
    middle, across, along = vertices.mean(axis=0), vertices[1] - vertices[0], vertices[3] - vertices[0]
    outline: NDArray[np.float64] = middle + np.cos(angle) * across / 2 + np.sin(angle) * along / 2
    return outline


def _not_empty(inside: NDArray[np.bool_], name: str, why: str) -> NDArray[np.bool_]:
    if not inside.any():
        raise ValueError(f"'{name}' {why}: draw a rectangle, an ellipse or a polygon on it, or paint labels")
    return inside
