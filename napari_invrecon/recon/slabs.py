"""A tilt series cut into slabs along the tilt axis, solved side by side in bounded memory, here or on a cluster.

Only the regulariser couples slices, so a slab is read with a halo of neighbours where that reaches along the axis, and
solved for as many iterations as every other.
"""

from __future__ import annotations

import math
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.operators import Array, fft_workers
from napari_invrecon.recon.solvers import finish_at
from napari_invrecon.recon.tilt_solvers import TiltProblem, solve

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from napari_invrecon.recon.blocks import Block
    from napari_invrecon.recon.solvers import Iterate

# Copies of a slab's volume and of its sinogram that a solver holds at its peak, input and result included, and how many
# more sinograms where data have weights (NaN, or shot noise): measured.
_COPIES = {
    "fbp": (6, 5, 4),
    "sirt": (6, 7, 5),
    "sart": (5, 7, 3),
    "tv-sart": (8, 6, 2),
    "tv": (9, 10, 2),
    "l1": (7, 8, 2),
    "tikhonov": (7, 8, 2),
}
# Slices of a halo that leave a seam below 1e-3 of the range. TV: 8 at λ = 0.003, 17 at 0.01, some 26 at 0.03.
_HALO = {"tv": (8, 48), "tv-sart": (8, 48), "tikhonov": (12, 12)}
_HALO_PER_ROOT_LAMBDA = 180
_SHARE = 0.75  # of the memory for the slabs at work; the rest is for the stack's pages and the result's
_ON_DISK_FROM = 0.25  # of the memory
_LEAST_SLICES = 4
_HALOS = 10  # in a slab at least, for as many slabs at a time as there are cores
_FIXED_GB = 0.4  # the interpreter, its libraries and the compiled kernels
_WAKE_SECONDS = 0.2
_CONNECT_SECONDS = 10


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a reconstruction, before it starts.

    ``peak_gb`` of everything at once (of each worker of a cluster), ``result_gb`` of the volume, which lies in a file
    where ``on_disk``;
    ``slab_slices`` slices with ``halo_slices`` more on each side are solved at a time by each of ``n_workers`` workers,
    in ``n_slabs`` slabs.
    """

    peak_gb: float
    result_gb: float
    on_disk: bool
    slab_slices: int
    halo_slices: int
    n_slabs: int
    n_workers: int


def halo(algorithm: str, lam: float) -> int:
    """How many slices of a neighbouring slab are felt, for data and H scaled to 1."""
    least, most = _HALO.get(algorithm, (0, 0))
    return min(max(least, math.ceil(_HALO_PER_ROOT_LAMBDA * math.sqrt(lam))), most)


def estimate(
    algorithm: str,
    reach: int,
    slice_voxels: int,
    slice_data: int,
    n_slices: int,
    n_channels: int,
    memory_gb: float,
    n_workers: int | None = None,
    weighted: bool = False,
) -> MemoryEstimate:
    """How a reconstruction is cut so that it stays within its memory, and what it then needs.

    Parameters
    ----------
    algorithm
        As in `TiltProblem`.
    reach
        Slices of the halo, see `halo`.
    slice_voxels, slice_data
        Voxels and data of one slice.
    n_slices, n_channels
        Of the whole.
    memory_gb
        What there is, here or for each worker of a cluster.
    n_workers
        Of a cluster, each with a slab; None: this computer's cores.
    weighted
        Whether data have weights.

    Raises
    ------
    ValueError
        When the thinnest slab is too large for the memory.
    """
    volumes, sinograms, more = _COPIES[algorithm]
    per_slice = 4e-9 * (volumes * slice_voxels + (sinograms + more * weighted) * slice_data)
    least = min(n_slices, _LEAST_SLICES + 2 * reach)
    result = 4e-9 * slice_voxels * n_slices * n_channels
    on_disk = result > _ON_DISK_FROM * memory_gb
    here = n_workers is None
    kept = 0.0 if on_disk or not here else result
    room = (_SHARE * memory_gb - kept) / per_slice  # slices
    if here and n_channels == 1 and n_slices <= room:
        return MemoryEstimate(_FIXED_GB + per_slice * n_slices + kept, result, on_disk, n_slices, 0, 1, 1)
    if room < least:
        raise ValueError(
            f"the thinnest slab, {least} slices with their halo, needs {(per_slice * least + kept) / _SHARE:.2g} GB, "
            f"more than memory_gb={memory_gb:g}: allow more, bin the stack, or give a smaller thickness_px"
        )
    # One slab that all cores share has less halo than one for each.
    workers = n_workers or (fft_workers() if room >= fft_workers() * max(least, _HALOS * reach) else 1)
    at_work = int(room / workers) if here else int(room)
    whole = at_work >= n_slices and n_channels > 1
    core = n_slices if whole else at_work - 2 * reach
    if not here:  # a share for every worker, and no more than that is lost with one
        core = min(core, max(math.ceil(n_slices / (2 * workers)), _LEAST_SLICES, 2 * reach))
    n_along = math.ceil(n_slices / core)
    core = math.ceil(n_slices / n_along)
    reach = 0 if n_along == 1 else reach
    workers = min(workers, n_along * n_channels)
    peak = _FIXED_GB + per_slice * min(n_slices, core + 2 * reach) * (workers if here else 1) + kept
    return MemoryEstimate(peak, result, on_disk, core, reach, n_along * n_channels, workers)


@dataclass(frozen=True)
class Job:
    """What is to be solved of one slab; all that a worker needs.

    ``inside``: which of the solved slices are the slab's own, not its halo's. ``last``: the iteration after which it is
    to finish with what there is; None: all of them.
    """

    problem: TiltProblem
    data: Array
    weights: Array | None
    lam: float
    inside: slice
    threads: int
    last: int | None = None


@dataclass(frozen=True)
class Slab:
    """A solved slab.

    ``x`` its own slices, scaled, (z, x, y); ``misfit`` Σ w (Ax − y)² and ``n_data`` the number of data with w > 0, both
    (tilt,); ``n_iter`` the iterations done.
    """

    x: Array
    misfit: NDArray[np.float64]
    n_data: NDArray[np.int64]
    n_iter: int


def solve_slab(job: Job, report: Callable[[int], bool] | None = None) -> Slab:
    """Solve one slab; ``report`` hears of each iteration, and says whether to finish with what there is."""
    steps = finish_at(solve(job.problem, job.data, job.lam, job.weights, threads=job.threads), job.last)
    count = 0
    answer: bool | None = None
    while True:
        try:
            state: Iterate = steps.send(answer)
        except StopIteration as end:
            return measured(job, end.value, count)
        count = max(count, state.step)
        answer = report(count) if report else None


def measured(job: Job, x: Array, n_iter: int) -> Slab:
    """A solution with its misfit on every tilt."""
    difference = job.problem.predict(x, job.threads)
    difference -= job.data
    np.square(difference, out=difference)
    own = difference[:, :, job.inside]
    if job.weights is None:
        n_data = np.full(len(own), own[0].size)
    else:
        w = np.broadcast_to(job.weights, job.data.shape)[:, :, job.inside]
        own, n_data = own * w, np.count_nonzero(w, axis=(1, 2))
    return Slab(x[:, :, job.inside], own.sum(axis=(1, 2), dtype=np.float64), n_data, n_iter)


def solve_slabs(
    pieces: Sequence[Block],
    make: Callable[[Block, bool], Job],
    workers: Executor,
    width: int,
    local: bool,
) -> Generator[tuple[int, Block | None, Slab | None], bool | None, None]:
    """Solve every slab, ``width`` at a time.

    Yields (iterations done by the slabs at work, None, None) every now and then, and (…, block, `Slab`) for one that is
    finished. ``send(True)`` makes the slabs at work here stop at their next iteration; ``make(block, hurry)`` says what
    is done of those that follow. Stopping the generator stops those at work here, too.
    """
    waiting = iter(pieces)
    running: dict[Future[Slab], Block] = {}
    done_by: dict[int, int] = {}
    hurry = False

    def reporter(key: int) -> Callable[[int], bool]:
        def report(count: int) -> bool:
            done_by[key] = count
            return hurry

        return report

    try:
        while True:
            while len(running) < width and (block := next(waiting, None)) is not None:
                reports = [reporter(id(block))] if local else []
                running[workers.submit(solve_slab, make(block, hurry), *reports)] = block
            if not running:
                return
            ready, _ = wait(running, timeout=_WAKE_SECONDS, return_when=FIRST_COMPLETED)
            for future in ready:
                block = running.pop(future)
                done_by.pop(id(block), None)
                hurry = bool((yield sum(done_by.values()), block, future.result())) or hurry
            if not ready:
                hurry = bool((yield sum(done_by.values()), None, None)) or hurry
    finally:
        hurry = True
        for future in running:
            future.cancel()
        if local:
            wait(running)


@contextmanager
def workers(address: str | None) -> Iterator[tuple[Executor, int | None]]:
    """Threads of this computer and None, or the workers of the dask scheduler at an address and how many they are.

    A slab is sent to a worker with its data: nothing is shared but the network, and one that is lost with its worker is
    sent to another.

    Raises
    ------
    ValueError
        When dask.distributed is not installed, or the scheduler does not answer or has no workers.
    """
    if address is None:
        with ThreadPoolExecutor(fft_workers(), thread_name_prefix="invrecon-slab") as pool:
            yield pool, None
        return
    with _connected(address) as client:
        yield client.get_executor(pure=False, retries=3), len(client.nthreads())


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A client of the dask scheduler at an address."""
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise ValueError(
            "cluster needs dask.distributed, which is not installed: pip install 'napari-invrecon[cluster]'"
        ) from None
    # A slab's data are meant to travel with their task: they come back with it if its worker is lost.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
        try:
            client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"no dask scheduler answers at cluster={address!r}: start one with 'dask scheduler' and give its "
                "address, such as tcp://host:8786"
            ) from error
        with client:
            if not client.nthreads():
                raise ValueError(
                    f"the dask scheduler at {address} has no workers: start them with 'dask worker {address}'"
                )
            yield client
