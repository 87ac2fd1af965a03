"""An image cut into blocks with a halo, solved in parallel, put together without a seam; for images larger than memory.

Each block is read with its halo where the image has one, and told how much is missing at the image's edges, so that
its solution there is the solution of the whole. The halo is the modality's business: it depends on H and on λ.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import weakref
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.recon import resources

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_invrecon.recon.operators import Array


@dataclass(frozen=True)
class Block:
    """One piece of work.

    Attributes
    ----------
    core
        Where the result goes: one slice per axis of the image; leading axes have length 1.
    read
        What is read for it: the core and its halo, as far as the image goes.
    missing
        For each blocked axis, how many pixels of halo the image could not give (before, after).
    """

    core: tuple[slice, ...]
    read: tuple[slice, ...]
    missing: tuple[tuple[int, int], ...]

    @property
    def inside(self) -> tuple[slice, ...]:
        """Where the core is in what was read."""
        return tuple(slice(c.start - r.start, c.stop - r.start) for c, r in zip(self.core, self.read, strict=True))


def peak_gb(work_gb: float, result_gb: float, memory_gb: float) -> float:
    """Peak memory of work that is cut into blocks above half of ``memory_gb``.

    ``result_gb`` is what the result takes beside it, none above a quarter of ``memory_gb``: then it is a file.
    """
    work = memory_gb if work_gb > 0.5 * memory_gb else work_gb
    return work + (0.0 if result_gb > 0.25 * memory_gb else result_gb)


def cut(shape: Sequence[int], ndim: int, edge: int | None, halo: Sequence[int]) -> list[Block]:
    """Cut the last ``ndim`` axes into blocks of at most ``edge`` pixels (None: not at all), the others one by one.

    Blocks of one axis differ by at most one pixel, so that no sliver is left at the end.
    """
    leading, last = shape[: len(shape) - ndim], shape[len(shape) - ndim :]
    pieces: list[list[tuple[slice, slice, tuple[int, int]]]] = []
    for n, reach in zip(last, halo, strict=True):
        count = 1 if edge is None else -(-n // edge)
        limits = np.linspace(0, n, count + 1).astype(int).tolist()
        pieces.append([])
        for start, stop in itertools.pairwise(limits):
            low, high = max(0, start - reach), min(n, stop + reach)
            pieces[-1].append((slice(start, stop), slice(low, high), (reach - (start - low), reach - (high - stop))))
    blocks = []
    for frame in np.ndindex(*leading):
        first = tuple(slice(i, i + 1) for i in frame)
        for piece in itertools.product(*pieces):
            core, read, missing = zip(*piece, strict=True)
            blocks.append(Block(first + core, first + read, tuple(missing)))
    return blocks


def sample(image: Any, ndim: int, edge: int = 1024, most: int = 16, whole_up_to: int = 1 << 22) -> list[Array]:
    """Pieces that stand for the image: all of a small frame, else tiles of ``edge`` on a regular grid; frames likewise.

    What is estimated from them (scale, noise, λ) depends on the image's shape alone, not on its chunks.
    """
    shape = tuple(image.shape)
    leading, last = shape[: len(shape) - ndim], shape[len(shape) - ndim :]
    small = int(np.prod(last)) <= whole_up_to
    n_frames = int(np.prod(leading)) if leading else 1
    per_frame = 1 if small else most if n_frames == 1 else 4
    frames = np.unique(np.linspace(0, n_frames - 1, min(n_frames, max(1, most // per_frame))).astype(int))
    along = 1 if small else max(1, round(per_frame ** (1 / ndim)))
    tiles = []
    for number in frames:
        frame = np.unravel_index(number, leading) if leading else ()
        per_axis = []
        for n in last:
            size = n if small else min(edge, n)
            starts = np.unique(np.linspace(0, n - size, along).astype(int))
            per_axis.append([slice(int(s), int(s) + size) for s in starts])
        for piece in itertools.product(*per_axis):
            tiles.append(np.asarray(image[(*frame, *piece)]))
    return tiles


@dataclass(frozen=True, eq=False)
class Store:
    """An array in a scratch folder, which is removed when nothing refers to the store any more, or at exit."""

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    def __getitem__(self, where: Any) -> Any:
        return self.array[where]

    def __setitem__(self, where: Any, values: Any) -> None:
        self.array[where] = values


def allocate(shape: tuple[int, ...], in_memory: bool, edge: int | Sequence[int], dtype: Any = np.float32) -> Any:
    """An array to be filled: NumPy, or a zarr store in the scratch folder for one larger than memory.

    ``edge`` of the store's chunks: of all axes alike, or one for each. The store's folder goes when nothing refers to
    the store any more, or at exit.
    """
    if in_memory:
        return np.empty(shape, dtype)
    folder = Path(tempfile.mkdtemp(prefix="invrecon-", dir=resources.scratch()))
    edges = (edge,) * len(shape) if isinstance(edge, int) else edge
    chunks = tuple(min(n, e) for n, e in zip(shape, edges, strict=True))
    import zarr  # late: it takes longer than a dock

    path = str(folder / "result.zarr")
    store = Store(zarr.create_array(store=path, shape=shape, chunks=chunks, dtype=dtype, compressors=None))
    weakref.finalize(store, shutil.rmtree, folder, ignore_errors=True)
    return store


def as_result(out: Any) -> Any:
    """What the caller gets: the NumPy array itself, or a lazy view that keeps the store."""
    if isinstance(out, np.ndarray):
        return out
    import dask.array as da  # late: it takes longer than a dock

    return da.from_array(out, chunks=out.array.chunks, name=False)


def solve_blocks(
    blocks: Sequence[Block], solve: Callable[[Block], Array], out: Any, executor: Executor, width: int
) -> Generator[int, None, None]:
    """Solve and store every block; yields the number done. At most ``width`` blocks are at work at a time.

    ``solve`` reads what it needs and gives the solution on the block's core. Stopping the generator cancels the blocks
    that have not started and waits for those that have.
    """
    waiting = iter(blocks)
    running: dict[Future[Array], Block] = {}
    done = 0
    try:
        while True:
            for block in itertools.islice(waiting, width - len(running)):
                running[executor.submit(solve, block)] = block
            if not running:
                return
            ready, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                out[running.pop(future).core] = future.result()
                done += 1
            yield done
    finally:
        for future in running:
            future.cancel()
        wait(running)
