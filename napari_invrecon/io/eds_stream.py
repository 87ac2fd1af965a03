"""Velox's EDS event streams: the channel of every X-ray in the order of the scan, and a mark after each pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.io.lazy import EAGER_BYTES, blockwise

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

    def block(self, place: tuple[slice, ...]) -> NDArray[np.uint32]:
        """The counts in a place, given as slices from start to stop of energy, y and x."""
        channels, rows, columns = place
        n, size = channels.stop - channels.start, self.shape[1] * self.shape[2]
        starts = self.starts[channels.start : channels.stop + 1]
        bins = np.repeat(np.arange(n, dtype=np.int64) * size, np.diff(starts)) + self.pixel[starts[0] : starts[-1]]
        block = np.bincount(bins, minlength=n * size).astype(np.uint32)
        return block.reshape(n, *self.shape[1:])[:, rows, columns]

    def counts(self) -> Any:
        """The whole cube up to 64 MiB, else a dask array of energy blocks."""
        if math.prod(self.shape) * 4 <= EAGER_BYTES:
            return self.block(tuple(slice(0, n) for n in self.shape))
        return blockwise(self.block, self.shape, np.dtype(np.uint32), (1, *self.shape[1:]), name="EDS events")


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
            f"an EDS stream names channel {channel.max()} of {n_channels}: the file is damaged, copy it again"
        )
    order = np.argsort(channel, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(channel, minlength=n_channels))]).astype(np.int64)
    return EventCube(np.concatenate(pixels)[order], starts, (n_channels, height, width))
