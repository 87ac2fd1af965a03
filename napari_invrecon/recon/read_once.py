"""A lazy stack, read once: into memory or, where it is large, into a scratch file that gives slabs without the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.recon.blocks import allocate, as_result
from napari_invrecon.recon.operators import fft_workers
from napari_invrecon.recon.solvers import Iterate, Steps

if TYPE_CHECKING:
    from typing import Literal

_IN_MEMORY = 0.2  # of the working memory, within the share that slabs at work leave for the stack
_SLICES = 32  # along the tilt axis in a chunk of the scratch file: not many more than a slab's halo


def read_once(stack: Any, tilt_axis: Literal["y", "x"], memory_gb: float) -> Steps[Any]:
    """A stack (…, tilt, y, x) of which any slices along the tilt axis can be had without reading the others.

    A file holds whole images, and so do the blocks of a lazy stack: each slab would read all of it again, and where the
    images are moved lazily, move all of them again. What is no dask array comes back as it is.
    """
    if isinstance(stack, np.ndarray):
        return stack
    import dask  # late: it takes longer than a dock
    import dask.array as da
    from dask.array.core import slices_from_chunks

    if not isinstance(stack, da.Array):
        return stack
    in_memory = stack.nbytes <= _IN_MEMORY * memory_gb * 1e9
    edges = [max(sizes) for sizes in stack.chunks[:-2]] + list(stack.shape[-2:])
    edges[-2 if tilt_axis == "y" else -1] = _SLICES
    copy = allocate(stack.shape, in_memory, edges, stack.dtype)
    places, together = slices_from_chunks(stack.chunks), fft_workers()
    for first in range(0, len(places), together):
        yield Iterate(0, 1, stage=f"reading the stack: {first / len(places):.0%}")
        some = places[first : first + together]
        for place, block in zip(some, dask.compute(*(stack[place] for place in some)), strict=True):
            copy[place] = block
    return as_result(copy)
