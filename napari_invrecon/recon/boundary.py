"""What is assumed beyond the edge of the field of view, so that a periodic Fourier transform may be used inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_invrecon.recon.operators import Array


_NEIGHBOURS = 3  # pixels: the reach of two levels of wavelets


@dataclass(frozen=True)
class Frame:
    """An image of ``inner`` shape inside a periodic field of ``shape``, ``before`` pixels from its first corner.

    The last ``seam`` pixels of each axis are where the two continued ends meet.
    """

    inner: tuple[int, ...]
    shape: tuple[int, ...]
    before: tuple[int, ...]
    seam: tuple[int, ...]

    @property
    def view(self) -> tuple[slice, ...]:
        """Where the image sits in the field."""
        return tuple(slice(b, b + n) for b, n in zip(self.before, self.inner, strict=True))

    def crop(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The image's part of a field (leading axes are kept)."""
        cropped: NDArray[np.float32] = x[(slice(None),) * (x.ndim - len(self.view)) + self.view]
        return cropped


def periodic_frame(shape: Sequence[int]) -> Frame:
    """No frame: the image is taken as one period."""
    return Frame(tuple(shape), tuple(shape), (0,) * len(shape), (0,) * len(shape))


def mirror_frame(shape: Sequence[int], margins: Sequence[tuple[int, int]]) -> Frame:
    """Room for a mirrored margin of (before, after) pixels on each axis, and for a seam in which the two ends meet.

    Where margins would pass half the image, the whole image is mirrored once (period 2n), which needs no seam. An axis
    of one pixel has nothing to mirror.
    """
    field, before, seam = [], [], []
    for n, (low, high) in zip(shape, margins, strict=True):
        size = int(fft.next_fast_len(n + low + high + max(8, (low + high) // 4), real=True))
        meeting = size - n - low - high
        if n == 1:
            size, low, meeting = 1, 0, 0
        elif size >= 2 * n:
            size, low, meeting = 2 * n, n // 2, 0
        field.append(size)
        before.append(low)
        seam.append(meeting)
    return Frame(tuple(shape), tuple(field), tuple(before), tuple(seam))


def open_frame(shape: Sequence[int], psf_shape: Sequence[int]) -> Frame:
    """Room around the image for all that the PSF can bring in, where the unknown is free: nothing is assumed there.

    At least as much room as a regulariser looks around a pixel. Behind it, a gap keeps the two ends of the periodic
    field apart. An axis of one pixel has no neighbours, and needs no room.
    """
    before = tuple(0 if n == 1 else max(p // 2, _NEIGHBOURS) for n, p in zip(shape, psf_shape, strict=True))
    wanted = [n if n == 1 else n + 2 * b + max(8, b) for n, b in zip(shape, before, strict=True)]
    field = tuple(int(fft.next_fast_len(n, real=True)) for n in wanted)
    after = tuple(f - n - b for f, n, b in zip(field, shape, before, strict=True))
    return Frame(tuple(shape), field, before, after)


def mirror(image: NDArray[np.float32], frame: Frame) -> Array:
    """The image continued by half-sample reflection over the whole frame, the two ends blended where they meet."""
    y = np.asarray(image, np.float32)
    ends = [
        (low + seam, size - n - low)
        for n, size, low, seam in zip(frame.inner, frame.shape, frame.before, frame.seam, strict=True)
    ]
    wide = np.pad(y, [(0, 0)] * (y.ndim - len(ends)) + ends, mode="symmetric")
    for axis, seam in zip(range(-len(ends), 0), frame.seam, strict=True):
        wide = np.moveaxis(wide, axis, -1)
        body = wide[..., seam:]
        if seam:
            towards = ((np.arange(seam) + 0.5) / seam).astype(np.float32)
            body[..., -seam:] = (1 - towards) * body[..., -seam:] + towards * wide[..., :seam]
        wide = np.moveaxis(body, -1, axis)
    return np.ascontiguousarray(wide)
