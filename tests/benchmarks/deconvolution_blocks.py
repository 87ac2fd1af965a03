"""An image larger than the memory allowed, deconvolved in blocks: seconds, peak memory, and the seam.

    python tests/benchmarks/deconvolution_blocks.py [--size 16384] [--memory-gb 0.75] [--dask]

Prints markdown. The image is made row by row into a temporary file, opened memory-mapped by a fresh process that does
nothing but deconvolve it, and deleted in the end. The seam is the largest difference from windows that are solved
whole with the same λ, over the range of the data (0.1 to 99.9 percentile), farther from a window's own edges than its
halo.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.lib.format import open_memmap
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).parents[1]))
from peak_memory import STATUS, peak_bytes, read_status, reset_peak
from phantoms import image

import napari_invrecon as ir

SIGMA, COUNTS = 3.0, 200
TILE = 1024


def make_image(path: Path, size: int) -> None:
    """A phantom repeated with a slope across it, so that no two places are the same, and its own noise everywhere."""
    tile, _ = image("particles", SIGMA, COUNTS, TILE)
    blurred = gaussian_filter(tile, SIGMA, mode="wrap")
    out = open_memmap(path, mode="w+", dtype=np.float32, shape=(size, size))
    slope = np.linspace(0.5, 1.5, size)
    for number, start in enumerate(range(0, size, TILE)):
        stop = min(size, start + TILE)
        rows = np.tile(blurred[: stop - start], (1, -(-size // TILE)))[:, :size]
        out[start:stop] = np.random.default_rng(number).poisson(rows * slope * slope[start:stop, None])
        out.flush()
    del out


class PrivateMemory(threading.Thread):
    """Watches the peak of the process's own pages: without those of the mapped file, which the system may take back."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while STATUS.exists() and not self.stopped.wait(0.02):
            self.peak = max(self.peak, 1024 * read_status("RssAnon"))


def work_once(path: Path, memory_gb: float, as_dask: bool) -> None:
    """In a fresh process: deconvolve, and print seconds and memory as a line of JSON."""
    y: Any = np.load(path, mmap_mode="r")
    if as_dask:
        y = da.from_array(y, chunks=(1500, 2500))
    watch = PrivateMemory()
    watch.start()
    reset_peak()
    before = peak_bytes()
    start = time.perf_counter()
    result = ir.deconvolve(y, ir.gaussian_psf(SIGMA), regulariser="tikhonov", memory_gb=memory_gb)
    took = time.perf_counter() - start
    peak = peak_bytes()
    watch.stopped.set()
    kept = open_memmap(path.with_name("result.npy"), mode="w+", dtype=np.float32, shape=result.data.shape)
    da.store(da.asarray(result.data), kept, lock=True)  # the file of the result ends with this process
    found = {"seconds": took, "before": before, "peak": peak, "private": watch.peak, "lam": result.lam}
    print(json.dumps({**found, "blocks": result.record["blocks"], "scale": result.record["data_scale"]}))


def seam(
    y: np.ndarray, x: Any, found: dict[str, Any], corner: tuple[int, int], edge: int
) -> tuple[float, float, list[int]]:
    """(largest, root mean square) difference from a window solved whole, over the range; the seams in it."""
    size, count = y.shape[0], round(found["blocks"]["count"] ** 0.5)
    window = tuple(slice(at, min(at + edge, size)) for at in corner)
    margin = 2 * max(found["blocks"]["halo_px"])
    inside = tuple(
        slice(s.start + (margin if s.start > 0 else 0), s.stop - (margin if s.stop < size else 0)) for s in window
    )
    local = tuple(slice(i.start - w.start, i.stop - w.start) for i, w in zip(inside, window, strict=True))
    psf = ir.gaussian_psf(SIGMA)
    alone = ir.deconvolve(y[window], psf, regulariser="tikhonov", lam=found["lam"], memory_gb=64)
    difference = (np.asarray(x[inside]) - alone.data[local]).astype(np.float64) / found["scale"]
    limits = np.linspace(0, size, count + 1).astype(int)[1:-1]
    seams = [int(np.sum((i.start < limits) & (limits < i.stop))) for i in inside]
    return float(np.abs(difference).max()), float(np.sqrt(np.mean(difference**2))), seams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=16384)
    parser.add_argument("--window", type=int, default=3072, help="edge of the windows that are solved whole")
    parser.add_argument("--memory-gb", type=float, default=0.75)
    parser.add_argument("--dask", action="store_true", help="hand the image over as a dask array with odd chunks")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once is not None:
        work_once(asked.once, asked.memory_gb, asked.dask)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "image.npy"
        make_image(path, asked.size)
        command = [sys.executable, __file__, "--once", str(path), "--memory-gb", str(asked.memory_gb)]
        run = subprocess.run(
            command + ["--dask"] * asked.dask,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": name},
        )
        found = json.loads(run.stdout.splitlines()[-1])
        blocks = found["blocks"]
        print(f"# Deconvolution in blocks: {asked.size}² float32, Tikhonov, memory_gb = {asked.memory_gb:g}\n")
        print("| | |\n|---|---:|")
        print(f"| seconds, λ chosen and image solved | {found['seconds']:.1f} |")
        print(f"| peak resident memory, GB | {found['peak'] / 1e9:.2f} |")
        print(f"| … without the pages of the mapped file, GB | {found['private'] / 1e9:.2f} |")
        print(f"| … before the work, GB | {found['before'] / 1e9:.2f} |")
        print(f"| λ (gcv) | {found['lam']:.4g} |")
        print(f"| blocks, edge, halo | {blocks['count']}, {blocks['edge_px']} px, {max(blocks['halo_px'])} px |\n")
        y, x = (np.load(each, mmap_mode="r") for each in (path, folder / "result.npy"))
        edge = min(asked.window, asked.size)
        middle = (asked.size - edge) // 2
        print("| window solved whole | seams (y, x) | largest difference / range | RMS / range |\n|---|---:|---:|---:|")
        for label, corner in {
            "centre": (middle, middle),
            "corner": (0, 0),
            "edge": (middle, asked.size - edge),
        }.items():
            largest, typical, seams = seam(y, x, found, corner, edge)
            print(f"| {label}, {edge}² | {seams[0]}, {seams[1]} | {largest:.1e} | {typical:.1e} |", flush=True)


if __name__ == "__main__":
    main()
