"""How long a projection takes, beside ASTRA, scikit-image and corrct on the same slices in the same run, and the roof.

    python tests/benchmarks/projector_speed.py [--slices 64] [--size 256] [--tilts 71] [--rounds 5] [--no-growth]

Prints markdown. Times are the least of the rounds, in each of which every method runs once, so that a busy moment
harms none more than another; the first, in which numba compiles, does not count. Core-seconds count what all threads
and processes of a method computed: on a machine that others use too, these are the figures to compare.

ASTRA's CPU projectors are serial: here each core has a process of its own with its share of the slices, in ASTRA's
memory before the clock starts. The slow ones (scikit-image, corrct) project one slice, on one thread; their times are
that slice's times the number.
"""

import argparse
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from napari_invrecon.recon.lanes import filled, load, store
from napari_invrecon.recon.operators import fft_workers
from napari_invrecon.recon.projector import Geometry, adjoint, forward, projector_norm
from napari_invrecon.recon.tilt_problem import TiltProblem
from napari_invrecon.recon.tilt_sweep import sweep

CORES = fft_workers()
ANGLES = (-70.0, 70.0)


def table(head: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join(["---"] + ["---:"] * (len(head) - 1)) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def least(methods: dict[str, Callable[[], float | None]], rounds: int) -> dict[str, tuple[float, float]]:
    """The least seconds and core-seconds of each; a method returns the core-seconds of its other processes."""
    found = dict.fromkeys(methods, (np.inf, np.inf))
    for number in range(rounds + 1):
        for name, work in methods.items():
            start, start_cores = time.perf_counter(), time.process_time()
            elsewhere = work()
            cores = time.process_time() - start_cores + (elsewhere or 0)
            took = time.perf_counter() - start
            if number > 0:
                found[name] = min(found[name][0], took), min(found[name][1], cores)
    return found


class Astra:
    """Slices in ASTRA's memory, and its serial 'linear' (Joseph) projector."""

    def __init__(self, angles: np.ndarray, size: int, n: int) -> None:
        import astra

        self.astra = astra
        volume = astra.create_vol_geom(size, size)
        beams = astra.create_proj_geom("parallel", 1.0, size, -np.deg2rad(angles))
        projector = astra.create_projector("linear", beams, volume)
        rng = np.random.default_rng(0)
        self.jobs: dict[str, list[int]] = {"FP": [], "BP": []}
        for _ in range(n):
            x = astra.data2d.create("-vol", volume, rng.random((size, size), np.float32))
            y = astra.data2d.create("-sino", beams, rng.random((len(angles), size), np.float32))
            x_out, y_out = astra.data2d.create("-vol", volume), astra.data2d.create("-sino", beams)
            for kind, config in (
                ("FP", {"VolumeDataId": x, "ProjectionDataId": y_out}),
                ("BP", {"ProjectionDataId": y, "ReconstructionDataId": x_out}),
            ):
                self.jobs[kind].append(astra.algorithm.create({"type": kind, "ProjectorId": projector, **config}))

    def run(self, kind: str) -> None:
        for job in self.jobs[kind]:
            self.astra.algorithm.run(job)


def astra_worker(pipe: Any, angles: np.ndarray, size: int, n: int) -> None:
    """In a process of its own: runs what it is told to, and answers when it is done."""
    slices = Astra(angles, size, n)
    while (kind := pipe.recv()) is not None:
        start = time.process_time()
        slices.run(kind)
        pipe.send(time.process_time() - start)


class AstraOnAllCores:
    def __init__(self, angles: np.ndarray, size: int, n: int) -> None:
        shares = [n // CORES + (k < n % CORES) for k in range(CORES)]
        context = multiprocessing.get_context("spawn")
        self.pipes = []
        for share in shares:
            mine, its = context.Pipe()
            context.Process(target=astra_worker, args=(its, angles, size, share), daemon=True).start()
            self.pipes.append(mine)

    def run(self, kind: str) -> float:
        for pipe in self.pipes:
            pipe.send(kind)
        return sum(pipe.recv() for pipe in self.pipes)

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)


LANES = (np.float32(0),) * 32


@numba.njit(nogil=True, fastmath=True)
def multiply_adds(n: int, out: Any, like: Any) -> None:
    """5·n products and sums of 32 floats in registers; the five sums do not wait for each other."""
    x = filled(out[0], like)
    a, b, c, d, e = x, x, x, x, x
    for _ in range(n):
        a, b, c, d, e = a * x + x, b * x + x, c * x + x, d * x + x, e * x + x
    store(out, 0, a + b + c + d + e)


@numba.njit(nogil=True, fastmath=True)
def multiply_adds_from_cache(n: int, source: Any, out: Any, like: Any) -> None:
    """The projector's work without its addresses and weights: a SIMD row from the first cache for each product."""
    w = filled(out[0], like)
    a, b, c, d = w, w, w, w
    for _ in range(n):
        for i in range(0, 4096, 128):
            a, b = a + w * load(source, i, like), b + w * load(source, i + 32, like)
            c, d = c + w * load(source, i + 64, like), d + w * load(source, i + 96, like)
    store(out, 0, a + b + c + d)


def roofs(rounds: int) -> tuple[float, float, float]:
    """(peak, peak with a load for each product, in GFLOP/s; copying, GB/s read and written), on all cores at once."""
    pool = ThreadPoolExecutor(CORES)
    n = 500_000
    outs = [np.full(32, 0.5, np.float32) for _ in range(CORES)]
    memory = np.ones(4096 + 16, np.float32)
    source = memory[(-memory.ctypes.data % 64) // 4 :][:4096]
    a, b = np.zeros((2, CORES, 16 << 20), np.float32)

    def on_all(work: Callable[[int], Any]) -> Callable[[], None]:
        def run() -> None:
            list(pool.map(work, range(CORES)))

        return run

    took = least(
        {
            "registers": on_all(lambda k: multiply_adds(n, outs[k], LANES)),
            "cache": on_all(lambda k: multiply_adds_from_cache(n // 32, source, outs[k], LANES)),
            "copy": on_all(lambda k: np.copyto(b[k], a[k])),
        },
        rounds,
    )
    return (
        CORES * n * 5 * 64 / took["registers"][0] / 1e9,
        CORES * (n // 32) * 4096 * 2 / took["cache"][0] / 1e9,
        2 * a.nbytes / took["copy"][0] / 1e9,
    )


def arrays(size: int, n_slices: int, n_tilts: int) -> tuple[Geometry, np.ndarray, np.ndarray]:
    geometry = Geometry(np.linspace(*ANGLES, n_tilts), (size, size), size, np.zeros(n_tilts))
    rng = np.random.default_rng(0)
    return geometry, rng.random((size, size, n_slices), np.float32), rng.random((n_tilts, size, n_slices), np.float32)


def ours(size: int, n_slices: int, n_tilts: int, threads: int = CORES) -> tuple[Callable[[], None], Callable[[], None]]:
    geometry, x, y = arrays(size, n_slices, n_tilts)
    back, projected = np.empty_like(x), np.empty_like(y)

    def project() -> None:
        forward(geometry, x, projected, threads=threads)

    def back_project() -> None:
        adjoint(geometry, y, back, threads=threads)

    return project, back_project


def sart_sweep(size: int, n_slices: int, n_tilts: int) -> Callable[[], None]:
    geometry, x, y = arrays(size, n_slices, n_tilts)
    problem = TiltProblem(geometry, "sart", projector_norm(geometry))
    steps = np.full((1, 1, 1), 0.5, np.float32)
    return lambda: sweep(problem, y, steps, x.copy(), True, CORES)


def serial_peers(size: int, n_tilts: int) -> dict[str, Callable[[], None]]:
    """Of one slice."""
    from corrct.projectors import ProjectorUncorrected
    from skimage.transform import iradon_sart

    geometry, x, y = arrays(size, 1, n_tilts)
    angles = geometry.angles_deg
    image, sinogram = x[..., 0].astype(np.float64), y[..., 0].T.astype(np.float64)
    corrct = ProjectorUncorrected((size, size), np.deg2rad(angles))

    def no_number(work: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            work()

        return run

    return {
        "scikit-image sweep": no_number(lambda: iradon_sart(sinogram, theta=-angles, image=image)),
        "corrct forward": no_number(lambda: corrct.fp(x[..., 0])),
        "corrct adjoint": no_number(lambda: corrct.bp(y[..., 0])),
    }


def compare(size: int, n_slices: int, n_tilts: int, rounds: int) -> None:
    angles = np.linspace(*ANGLES, n_tilts)
    one, all_cores = Astra(angles, size, 1), AstraOnAllCores(angles, size, n_slices)
    many, serial, single = ours(size, n_slices, n_tilts), ours(size, n_slices, n_tilts, 1), ours(size, 1, n_tilts)
    took = least(
        {
            "ours forward": many[0],
            "ours adjoint": many[1],
            "ours, one thread forward": serial[0],
            "ours, one thread adjoint": serial[1],
            "ASTRA forward": lambda: all_cores.run("FP"),
            "ASTRA adjoint": lambda: all_cores.run("BP"),
            "ours single forward": single[0],
            "ours single adjoint": single[1],
            "ASTRA single forward": lambda: one.run("FP"),
            "ASTRA single adjoint": lambda: one.run("BP"),
            "ours sweep": sart_sweep(size, n_slices, n_tilts),
        },
        rounds,
    )
    all_cores.close()
    for name, (wall, cores) in least(serial_peers(size, n_tilts), 1).items():
        took[name] = n_slices * wall, n_slices * cores
    print(f"## {n_slices} slices of {size}², {n_tilts} tilts, {ANGLES[0]:g}° … {ANGLES[1]:g}°\n")

    def both(name: str, what: int) -> float:
        return took[f"{name} forward"][what] + took[f"{name} adjoint"][what]

    def row(title: str, name: str, reference: str) -> list[str]:
        cells = [f"{1e3 * took[f'{name} {way}'][what]:.1f}" for what in (0, 1) for way in ("forward", "adjoint")]
        ratios = [f"{both(name, what) / both(reference, what):.1f}" for what in (0, 1)]
        return [title, *cells[:2], ratios[0], *cells[2:], ratios[1]]

    table(
        ["projector", "forward, ms", "adjoint, ms", "× ours", "forward, core-ms", "adjoint, core-ms", "× ours"],
        [
            row(f"ours, {CORES} threads", "ours", "ours"),
            row("ours, one thread", "ours, one thread", "ours"),
            row(f"ASTRA CPU linear, {CORES} processes", "ASTRA", "ours"),
            row("corrct (scikit-image), serial", "corrct", "ours"),
            row("one slice: ours", "ours single", "ours single"),
            row("one slice: ASTRA", "ASTRA single", "ours single"),
        ],
    )
    mine, its = took["ours sweep"], took["scikit-image sweep"]
    table(
        ["a SART sweep", "s", "× ours", "core-s", "× ours"],
        [
            [f"ours, {CORES} threads", f"{mine[0]:.3f}", "1", f"{mine[1]:.3f}", "1"],
            [
                "iradon_sart, serial",
                f"{its[0]:.2f}",
                f"{its[0] / mine[0]:.0f}",
                f"{its[1]:.2f}",
                f"{its[1] / mine[1]:.0f}",
            ],
        ],
    )
    # Each ray crosses a row (or column) of the slice in two pixels: two products and two sums.
    flops = 4.0 * n_tilts * size * size * n_slices
    bytes_once = 4.0 * n_slices * (size * size + n_tilts * size)
    peak, from_cache, copying = roofs(rounds)
    print(
        f"Roof on {CORES} threads: {peak:.0f} GFLOP/s in registers, {from_cache:.0f} with a load from the first cache "
        f"for each product, copying {copying:.1f} GB/s. {flops / 1e9:.2f} GFLOP at least, "
        f"{bytes_once / 1e6:.0f} MB read or written at least once.\n"
    )
    table(
        ["attained", "GFLOP/s", "of the cache roof, %", "arrays once, GB/s"],
        [
            [
                name,
                f"{flops / took[name][0] / 1e9:.1f}",
                f"{100 * flops / took[name][0] / 1e9 / from_cache:.0f}",
                f"{bytes_once / took[name][0] / 1e9:.1f}",
            ]
            for name in ("ours forward", "ours adjoint")
        ],
    )


def growth(rounds: int) -> None:
    """Core-time per ray, row and slice: constant where cost is proportional."""
    cases = [(256, n, 71) for n in (1, 2, 8, 16, 32, 64, 100, 256)]
    cases += [(n, 32, 71) for n in (64, 128, 512)] + [(256, 32, n) for n in (1, 4, 15, 141)]
    rows = []
    for size, n_slices, n_tilts in cases:
        project, back = ours(size, n_slices, n_tilts)
        took = least({"forward": project, "adjoint": back}, rounds)
        steps = n_tilts * size * size * n_slices
        rows.append(
            [
                f"{n_slices} × {size}², {n_tilts} tilts",
                *(f"{1e3 * took[what][1]:.2f}" for what in took),
                *(f"{1e9 * took[what][1] / steps:.3f}" for what in took),
            ]
        )
    print("## Growth\n")
    table(
        ["slices × size², tilts", "forward, core-ms", "adjoint, core-ms", "forward, ns a step", "adjoint, ns a step"],
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=64)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--tilts", type=int, default=71)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-growth", action="store_true")
    asked = parser.parse_args()
    print("# Projector: speed\n")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numba {numba.__version__}\n"
    )
    compare(asked.size, asked.slices, asked.tilts, asked.rounds)
    if not asked.no_growth:
        growth(asked.rounds)


if __name__ == "__main__":
    main()
