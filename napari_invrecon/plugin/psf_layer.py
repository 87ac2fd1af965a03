"""The point-spread function that a layer shows, read when it is needed and in the thread that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_invrecon.plugin.layers import pixel_size_nm
from napari_invrecon.recon.measured_psf import MeasuredPSF, measured_psf

if TYPE_CHECKING:
    from napari.layers import Image
    from numpy.typing import NDArray


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
