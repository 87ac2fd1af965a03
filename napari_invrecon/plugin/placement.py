"""Where the pixels of one layer lie on those of another, by their calibrations; and one image on the other's grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from napari_invrecon.plugin.layers import pixel_sides_nm

if TYPE_CHECKING:
    from napari.layers import Image

_COVERED = 0.5  # of the field, at least
_PROBES = 17  # per axis, at which that is looked up


@dataclass(frozen=True, eq=False)
class Placement:
    """The pixel p = (y, x) of a grid of this ``shape`` lies at ``matrix`` p + ``offset`` of an image.

    ``times`` is how many of the image's pixels there are along one of the grid's. ``start`` is the image's first pixel
    where they fit in whole blocks, None where the image has to be interpolated.
    """

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    shape: tuple[int, int]
    times: int
    start: tuple[int, int] | None

    def read(self, image: Any) -> NDArray[Any]:
        """The image over the grid, ``times`` finer than it; NaN where it does not reach."""
        fine = (self.shape[0] * self.times, self.shape[1] * self.times)
        if self.start is not None:
            y, x = self.start
            return np.asarray(image[y : y + fine[0], x : x + fine[1]])
        offset = self.offset - self.matrix @ np.full(2, (self.times - 1) / 2 / self.times)
        given = np.asarray(image, np.float32)
        return np.asarray(affine_transform(given, self.matrix / self.times, offset, fine, order=1, cval=np.nan))

    def summary(self) -> dict[str, Any]:
        """JSON-plain, for a record."""
        if self.start is None:
            return {"interpolated": True, "matrix": self.matrix.tolist(), "offset": self.offset.tolist()}
        return {"interpolated": False, "start": list(self.start)}

    def describe(self, image_shape: tuple[int, ...]) -> str:
        """What is done with the image, in a few words."""
        finer = f"{self.times} × finer than the maps" if self.times > 1 else "on the maps' pixels"
        if self.start is None:
            return f"interpolated {finer}" if self.times > 1 else "interpolated on the maps' pixels"
        whole = tuple(n * self.times for n in self.shape) == image_shape
        return finer if whole else f"{finer}, cut to their field"


def place(image: Image, grid: Image) -> Placement:
    """How ``image`` lies on the pixels of ``grid``, both of one plane.

    By their calibrations where both have one. Else two images whose sizes are whole multiples show the same field.

    Raises
    ------
    ValueError
        When the image shows less than half of the field, or nothing says where it lies.
    """
    size, wanted = image.data.shape, grid.data.shape
    times = size[0] // wanted[0]
    known = pixel_sides_nm(image) is not None and pixel_sides_nm(grid) is not None
    if not known and times > 0 and size == tuple(times * n for n in wanted):
        return Placement(np.eye(2) * times, np.full(2, (times - 1) / 2), wanted, times, (0, 0))
    if not known and image.units != grid.units:
        raise ValueError(
            f"'{image.name}' has {size[0]} × {size[1]} pixels and '{grid.name}' {wanted[0]} × {wanted[1]}, no whole "
            "multiple: give both a scale in nm, or crop them to one field"
        )
    origin, down, right = (moved(point, grid, image) for point in ((0, 0), (1, 0), (0, 1)))
    matrix = np.column_stack([down - origin, right - origin])
    points = np.stack([each.ravel() for each in np.meshgrid(*(np.linspace(0, n - 1, _PROBES) for n in wanted))])
    there = matrix @ points + origin[:, None]
    inside = np.all((there > -0.5) & (there < np.array(size)[:, None] - 0.5), axis=0).mean()
    if inside < _COVERED:
        raise ValueError(
            f"'{image.name}' shows {100 * inside:.0f} % of the field of '{grid.name}': choose the image that was taken "
            "with it, or mend their scale and translate"
        )
    times = max(1, round(float(np.sqrt(abs(np.linalg.det(matrix))))))
    return Placement(matrix, origin, wanted, times, _blocks(matrix, origin, wanted, size, times))


def _blocks(
    matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, ...], size: tuple[int, ...], times: int
) -> tuple[int, int] | None:
    """The first pixel where the grid's pixels are blocks of the image's to within half a pixel of the grid."""
    drift = np.abs(matrix - times * np.eye(2)) @ np.array(shape, float)
    exact = offset - (times - 1) / 2
    room = np.array(size) - times * np.array(shape)
    start = np.clip(np.round(exact), 0, np.maximum(room, 0))
    off = np.abs(start - exact) + drift
    if (room < 0).any() or (off > times / 2 + 1e-6).any():
        return None
    return int(start[0]), int(start[1])


def moved(point: Any, layer: Any, other: Any) -> NDArray[np.float64]:
    """A point of one layer, its last two coordinates counting, in the pixels (y, x) of another one.

    Lengths in different units are brought to one; any other units are taken for the same.
    """
    here = np.zeros(layer.ndim)
    here[-2:] = np.asarray(point)[-2:]
    world = np.asarray(layer.data_to_world(here), float)
    there = np.zeros(other.ndim)
    there[-2:] = world[-2:] * [_ratio(*each) for each in zip(layer.units[-2:], other.units[-2:], strict=True)]
    return np.asarray(other.world_to_data(there), float)[-2:]


def _ratio(unit: Any, other: Any) -> float:
    return float((1 * unit).to(other).magnitude) if unit.is_compatible_with(other) else 1.0
