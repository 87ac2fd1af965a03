"""A tilt series as it is aligned: checked, binned, above vacuum, its axes across and along the tilt axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.operators import Array
from napari_invrecon.recon.tilt_images import binned, each_image, vacuum_level

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class AlignmentScene:
    """The images as they are aligned: (tilt, u, v), binned, above vacuum, blank ones zero.

    ``size`` and ``offset_px`` are how many pixels were made one, and where the middle of the binned images lies from
    that of the given ones; ``sign`` turns the sense of a rotation in (u, v) into that in (y, x).
    """

    images: Array
    angles_deg: NDArray[np.float64]
    usable: NDArray[np.bool_]
    size: int
    offset_px: NDArray[np.float64]
    sign: int
    background: float
    shape: tuple[int, int]


def read_scene(stack: Any, angles_deg: Any, tilt_axis: str, background: float | None) -> AlignmentScene:
    """Check what came, find the vacuum where ``background`` is None, and the tilts that show nothing.

    Raises
    ------
    ValueError
        As `alignment.align`.
    """
    angles = np.array(angles_deg, np.float64)
    if stack.ndim != 3 or np.dtype(stack.dtype).kind not in "uif":
        raise ValueError(f"expected a real stack (tilt, y, x), got {stack.dtype} of shape {tuple(stack.shape)}")
    if angles.shape != (stack.shape[0],):
        raise ValueError(f"{angles.size} tilt angles, but {stack.shape[0]} images: give one angle for each image")
    if not np.isfinite(angles).all():
        raise ValueError("a tilt angle is not a finite number: correct it, or leave that image out")
    if min(stack.shape[1:]) < _SMALLEST:
        raise ValueError(f"images of {stack.shape[1:]} pixels: expected at least {_SMALLEST} along each side")
    shape = (int(stack.shape[1]), int(stack.shape[2]))
    size = max(1, max(shape) // _WORKING_SIZE)
    multiple = size * _binnings(max(shape) // size, size)[0]
    kept = [n // multiple * multiple for n in shape]
    starts = [(n - k) // 2 for n, k in zip(shape, kept, strict=True)]
    window = tuple(slice(start, start + k) for start, k in zip(starts, kept, strict=True))
    offset = np.array([start + (k - 1) / 2 - (n - 1) / 2 for start, k, n in zip(starts, kept, shape, strict=True)])

    def images() -> Iterator[NDArray[Any]]:
        for image in each_image(stack):
            yield binned(image[window].astype(np.float32), size)

    small = np.stack(list(images()))
    finite = np.isfinite(small)
    level = vacuum_level(small) if background is None else background
    contrast = np.array([np.ptp(image[ok]) if ok.any() else 0.0 for image, ok in zip(small, finite, strict=True)])
    small -= np.float32(level)
    small[~finite] = 0
    mass = small.sum(axis=(1, 2), dtype=np.float64)
    usable = (finite.mean(axis=(1, 2)) > 0.5) & (contrast > 0)
    if usable.any():
        usable &= np.abs(mass) > _BLANK * np.median(np.abs(mass[usable]))
    if usable.sum() < 3 or np.ptp(angles[usable]) < 1:
        span = np.ptp(angles[usable]) if usable.any() else 0.0
        raise ValueError(
            f"{usable.sum()} of {len(angles)} tilts have anything in them, over {span:g}°: expected at least three "
            "images, over more than 1°, to align with each other"
        )
    small[~usable] = 0
    if tilt_axis == "y":
        small, offset = small.swapaxes(1, 2), offset[::-1]
    sign = -1 if tilt_axis == "y" else 1
    return AlignmentScene(np.ascontiguousarray(small), angles, usable, size, offset, sign, level, shape)


_SMALLEST = 16
_WORKING_SIZE = 256  # larger images are binned to less than twice this
_MATCHING_SIZE = 128  # projection matching is right to a few hundredths of a pixel of images of about this size
_BLANK = 0.1  # of the median mass: a tilt with less shows nothing


def levels(scene: AlignmentScene) -> list[int]:
    """Binnings of projection matching, coarsest first."""
    return _binnings(max(scene.images.shape[1:]), scene.size)


def _binnings(length: int, size: int) -> list[int]:
    """To about 64 and 128 pixels; and none, where ``size`` pixels have been made one already."""
    wanted = [_MATCHING_SIZE / 2, _MATCHING_SIZE] if size == 1 else [_MATCHING_SIZE / 2, _MATCHING_SIZE, length]
    return sorted({2 ** max(0, round(math.log2(length / pixels))) for pixels in wanted}, reverse=True)
