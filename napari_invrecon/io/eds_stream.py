"""Velox's EDS event streams: the channel of every X-ray in the order of the scan, and a mark after each pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_invrecon.io.origin import EAGER_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

_NEXT_PIXEL = 65535


@dataclass(frozen=True)
class EventCube:
    """Counts (energy, y, x), uint32, made from sorted events for the block that is asked for.

    ``pixel`` holds the pixel (y · width + x) of every event, ordered by channel; the events of channel c are those from
    ``starts[c]`` to ``starts[c + 1]``.
    """

    pixel: NDArray[np.uint32]
    starts: NDArray[np.int64]
    shape: tuple[int, int, int]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint32)

    @property
    def ndim(self) -> int:
        return 3

    def __getitem__(self, key: tuple[slice, slice, slice]) -> NDArray[np.uint32]:
        channels, rows, columns = key
        first, last, _ = channels.indices(self.shape[0])
        size = self.shape[1] * self.shape[2]
        events = slice(self.starts[first], self.starts[last])
        counts = np.diff(self.starts[first : last + 1])
        place = np.repeat(np.arange(last - first, dtype=np.int64) * size, counts) + self.pixel[events]
        block = np.bincount(place, minlength=(last - first) * size).astype(np.uint32)
        return block.reshape(last - first, *self.shape[1:])[:, rows, columns]


def event_cube(streams: Iterable[NDArray[np.uint16]], n_channels: int, height: int, width: int) -> EventCube:
    """All detectors' and all frames' events in one cube.

    Each stream counts its pixels from 0 and starts over with each frame, as the beam does.

    Raises
    ------
    ValueError
        When a stream names a channel beyond ``n_channels``.
    """
    pixels, channels = [], []
    for stream in streams:
        mark = stream == _NEXT_PIXEL
        pixels.append(np.cumsum(mark, dtype=np.uint32)[~mark] % np.uint32(height * width))
        channels.append(stream[~mark])
    channel = np.concatenate(channels)
    if channel.size and int(channel.max()) >= n_channels:
        raise ValueError(
            f"an EDS stream names channel {channel.max()}, expected less than {n_channels}: the file is damaged"
        )
    order = np.argsort(channel, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(channel, minlength=n_channels))]).astype(np.int64)
    return EventCube(np.concatenate(pixels)[order], starts, (n_channels, height, width))


def counts(cube: EventCube) -> Any:
    """The whole cube up to 64 MiB, else a dask array of energy blocks."""
    plane = cube.shape[1] * cube.shape[2] * cube.dtype.itemsize
    if cube.shape[0] * plane <= EAGER_BYTES:
        return cube[:, :, :]
    thickness = max(1, min(cube.shape[0], math.ceil(EAGER_BYTES / 4 / plane)))
    return da.from_array(
        cube, chunks=(thickness, -1, -1), name=False, asarray=False, meta=np.empty((0, 0, 0), cube.dtype)
    )
