"""Weighted sums over channels of a spectrum image, chunk by chunk and always in the same order."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_invrecon.recon.operators import fft_workers

if TYPE_CHECKING:
    from collections.abc import Generator

Real = NDArray[np.float64]

_TILE = 4096  # pixels whose sums stay in the nearest cache
_SLAB_BYTES = 16 << 20


def window_sums(image: Any, weights: Real) -> Generator[tuple[int, int], None, Real]:
    """Σ_k w_jk y_k for every row j of ``weights`` (sums, energy) and every pixel of ``image`` (energy, …).

    Yields (pieces done, all pieces); returns float64 (sums, …). Channels without weight are not read. Each pixel's sum
    runs through the channels in ascending order, however the array is cut, so that a lazy array gives the same bits.
    """
    plane = tuple(image.shape[1:])
    sums = np.zeros((len(weights), *plane))
    pieces = _pieces(image)
    if not plane:
        _add(np.asarray(image), weights, sums, slice(0, 1))
        yield 1, 1
        return sums
    width = fft_workers()
    with ThreadPoolExecutor(width, thread_name_prefix="invrecon") as pool:
        for start in range(0, len(pieces), width):
            list(pool.map(lambda piece: _add(image, weights, sums, piece), pieces[start : start + width]))
            yield min(start + width, len(pieces)), len(pieces)
    return sums


def _pieces(image: Any) -> list[slice]:
    """Rows of pixels: of a lazy array whole chunks, of 16 MiB at least where it has as many."""
    if image.ndim < 2:
        return [slice(0, 1)]
    rows = image.shape[1]
    if isinstance(image, np.ndarray):
        per_row = image.itemsize * image.size / max(rows, 1)
        edges = [0, *range(0, rows, max(1, min(math.ceil(rows / fft_workers()), int(_SLAB_BYTES * 8 / per_row)))), rows]
    else:
        edges = [0]
        row_bytes = image.dtype.itemsize * image.size / rows
        for edge in np.cumsum(image.chunks[1]):
            if (edge - edges[-1]) * row_bytes >= _SLAB_BYTES:
                edges.append(int(edge))
        edges.append(rows)
    edges = sorted(set(edges))
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _add(image: Any, weights: Real, sums: Real, piece: slice) -> None:
    used = np.flatnonzero(weights.any(axis=0))
    if not used.size:
        return
    lazy = not isinstance(image, np.ndarray)
    in_place = image.ndim == 1 or (not lazy and image.flags.c_contiguous)  # a row's pixels are where the sums' are
    row = math.prod(image.shape[2:])
    first, last = piece.start * row, piece.stop * row
    for start, stop in _runs(used, np.cumsum(image.chunks[0]) if lazy else None):
        block = image[start:stop] if in_place else image[start:stop, piece]
        block = block.compute(scheduler="synchronous") if lazy else block
        flat = np.reshape(block, (stop - start, -1))
        _accumulate(flat, weights[:, start:stop], sums.reshape(len(sums), -1), 0 if in_place else first, first, last)


def _runs(used: NDArray[np.int64], chunk_ends: Any) -> list[tuple[int, int]]:
    """Neighbouring channels together; those of one chunk too, which is read once."""
    breaks = np.flatnonzero(np.diff(used) > 1)
    firsts, lasts = used[np.r_[0, breaks + 1]], used[np.r_[breaks, used.size - 1]]
    if chunk_ends is None:
        return [(int(a), int(b) + 1) for a, b in zip(firsts, lasts, strict=True)]
    chunk = np.searchsorted(chunk_ends, used, side="right")
    return [(int(used[chunk == c][0]), int(used[chunk == c][-1]) + 1) for c in np.unique(chunk)]


@njit(nogil=True, cache=True)
def _accumulate(block: Any, weights: Any, sums: Any, offset: int, start: int, stop: int) -> None:
    """sums[j, p] += Σ_k weights[j, k] · block[k, p − offset], p from ``start`` to ``stop``, the channels in order."""
    for first in range(start, stop, _TILE):
        last = min(first + _TILE, stop)
        for k in range(block.shape[0]):
            values = block[k, first - offset : last - offset]
            for j in range(weights.shape[0]):
                w, target = weights[j, k], sums[j, first:last]
                if w == 1.0:
                    for p in range(values.size):
                        target[p] += values[p]
                elif w != 0.0:
                    for p in range(values.size):
                        target[p] += w * values[p]


def region_spectrum(image: Any, mask: NDArray[np.bool_] | None) -> Generator[tuple[int, int], None, Real]:
    """Σ over the pixels of ``mask`` (None: all) of ``image`` (energy, …), (energy,) in double precision.

    Yields (channels done, all channels). Pixels with NaN in a channel are left out of it.
    """
    n = image.shape[0]
    spectrum = np.zeros(n)
    lazy = not isinstance(image, np.ndarray)
    if mask is not None and mask.any():  # read no more than the rectangle around it
        box = tuple(slice(int(where.min()), int(where.max()) + 1) for where in np.nonzero(mask))
        image, mask = image[(slice(None), *box)], mask[box]
    per_channel = max(1, image.dtype.itemsize * math.prod(image.shape[1:]))
    ends = np.cumsum(image.chunks[0]).tolist() if lazy else []
    step = max(1, _SLAB_BYTES // per_channel)
    edges = sorted({0, n, *(ends if lazy else range(0, n, step))})
    for start, stop in itertools.pairwise(edges):
        block = image[start:stop]
        block = block.compute(scheduler="synchronous") if lazy else block
        chosen = block.reshape(stop - start, -1) if mask is None else block[:, mask]
        spectrum[start:stop] = np.nansum(chosen, axis=1, dtype=np.float64)
        yield stop, n
    return spectrum
