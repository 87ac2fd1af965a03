"""What a fusion costs: everything from the data and the solution alone, against pixels and elements, with peak memory.

    python tests/benchmarks/fusion_speed.py [--sizes 256 512 1024] [--elements 3] [--memory-gb 4] [--peer]

Each line is a process of its own, so that its peak is its own; the kernels are compiled before the clock starts. Times
are core-seconds and wall-clock seconds. --peer adds 100 iterations of multimodal-fusion (PyPI, MIT) in the same run.
"""

import argparse
import contextlib
import io
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from fusion_phantoms import psnr, specimen

import napari_invrecon as ir


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """(result, core-seconds, seconds)."""
    cores, clock = time.process_time(), time.perf_counter()
    result = run()
    return result, time.process_time() - cores, time.perf_counter() - clock


def one(size: int, n_element: int, memory_gb: float, method: str) -> str:
    truth, counts, haadf = specimen("domains", 10, (256, 256), seed=1)
    times = -(-size // 256)
    wide = (1, times, times)
    truth, counts = (np.tile(each, wide)[:, :size, :size] for each in (truth, counts))
    haadf = np.tile(haadf, (times, times))[:size, :size]
    counts = np.concatenate([counts] * -(-n_element // 3))[:n_element]
    truth = np.concatenate([truth] * -(-n_element // 3))[:n_element]
    ir.fuse(haadf[:64, :64], counts[:, :64, :64])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if method == "published":
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            x, cores, clock = timed(lambda: _published(counts, haadf))
        blocks = None
    else:
        given = {} if method == "automatic" else {"lam": 4.0, "coupling": "both"}
        result, cores, clock = timed(lambda: ir.fuse(haadf, counts, memory_gb=memory_gb, **given))
        x, blocks = result.data, result.record["blocks"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (
        f"{size}² × {n_element} {method}: {cores:.1f} core-s, {clock:.1f} s, {psnr(x, truth):.2f} dB, peak "
        f"{peak / 1e6:.2f} GB (before {before / 1e6:.2f}), blocks {blocks}"
    )


def _published(counts: np.ndarray, haadf: np.ndarray) -> np.ndarray:
    from multimodal_fusion.fusion import DataFusion

    names = ["ti", "fe", "cu", "ce", "co", "o"][: len(counts)]
    fusion = DataFusion(names)
    fusion.load_chemical_maps({n: b.astype(np.float32) for n, b in zip(names, counts, strict=True)})
    fusion.load_haadf(haadf.astype(np.float32))
    fusion.run(nIter=100, plot_images=False, plot_convergence=False)
    return np.stack([fusion.get_results()[n] for n in names])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=(256, 512, 1024))
    parser.add_argument("--elements", nargs="+", type=int, default=(3,))
    parser.add_argument("--memory-gb", type=float, default=4.0)
    parser.add_argument("--methods", nargs="+", default=("automatic", "given"))
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--one", nargs=4, metavar=("SIZE", "ELEMENTS", "MEMORY_GB", "METHOD"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        size, n_element, memory_gb, method = asked.one
        print(one(int(size), int(n_element), float(memory_gb), method), flush=True)
        return
    for size in asked.sizes:
        for n_element in asked.elements:
            for method in (*asked.methods, *(("published",) if asked.peer else ())):
                command = [sys.executable, __file__, "--one", str(size), str(n_element), str(asked.memory_gb), method]
                subprocess.run(command, check=False)


if __name__ == "__main__":
    main()
