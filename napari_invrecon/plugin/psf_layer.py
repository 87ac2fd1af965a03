"""The point-spread function that a layer, or a part of it, shows, read when it is needed and where it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_invrecon.plugin.layers import pixel_size_nm
from napari_invrecon.recon.measured_psf import MeasuredPSF, measured_psf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.plugin.regions import Region


class PsfLayer:
    """What a layer holds now; a lazy one is not read yet.

    Parameters
    ----------
    layer
        One image of a point.
    as_it_is
        Take its values for the kernel, its centre at index n // 2. Else the spot is centred and its background taken
        off.
    """

    def __init__(self, layer: Image, *, as_it_is: bool) -> None:
        self.data, self.name, self.pixel_size_nm, self.as_it_is = layer.data, layer.name, pixel_size_nm(layer), as_it_is
        self._read: MeasuredPSF | NDArray[np.float32] | None = None

    def same(self, other: PsfLayer) -> bool:
        """Whether the other one would read the same."""
        return self.data is other.data and self.pixel_size_nm == other.pixel_size_nm and self.as_it_is == other.as_it_is

    def read(self) -> MeasuredPSF | NDArray[np.float32]:
        """The kernel; ValueError, with the remedy, where the layer shows no point."""
        if self._read is None:
            shape = self.data.shape
            if shape[:-2] != (1,) * (len(shape) - 2):
                raise ValueError(f"'{self.name}' has the shape {shape}: expected one image of a point")
            array = np.asarray(self.data).reshape(shape[-2:])
            if self.as_it_is:
                self._read = array.astype(np.float32)
            else:
                self._read = measured_psf(array, pixel_size_nm=self.pixel_size_nm)
        return self._read


def part(layer: Image, region: Region) -> Image:
    """A new layer: what an image shows in the box around a region, in its place.

    Raises
    ------
    ValueError
        The region is not over the image.
    """
    inside = region.mask()
    box = tuple(slice(int(each.min()), int(each.max()) + 1) for each in np.nonzero(inside))
    corner = [0.0] * (layer.ndim - 2) + [float(each.start) for each in box]
    moved = np.subtract(layer.data_to_world(corner), layer.data_to_world([0.0] * layer.ndim))
    return Image(
        layer.data[(..., *box)],
        name=f"{layer.name}, {region.name}",
        scale=layer.scale,
        rotate=layer.rotate,
        shear=layer.shear,
        translate=layer.translate + moved,
        units=layer.units,
        axis_labels=layer.axis_labels,
        contrast_limits=layer.contrast_limits,
    )
