"""How long deconvolution takes and how much memory, beside scikit-image on the same image in the same run.

    python tests/benchmarks/deconvolution_speed.py [--parts peers curve large sizes] [--largest 8192]

Prints markdown. Times are medians of five rounds, in each of which every method runs once; the first round, in which
numba compiles, does not count. Memory is the peak resident size of a fresh process that does nothing else.
CPU seconds, of all threads together, hold on a busy machine too.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from peak_memory import peak_bytes, reset_peak
from phantoms import image, rmse
from skimage.restoration import denoise_tv_chambolle, richardson_lucy, unsupervised_wiener

import napari_invrecon as ir
from napari_invrecon.recon.deconvolution import deconvolution
from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings

ROUNDS = 5
SIGMA, COUNTS = 3.0, 200
PARTS = ("peers", "curve", "large", "sizes")
CHAMBOLLE_WEIGHTS = (0.02, 0.05, 0.1, 0.2, 0.4)


def table(head: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join(["---"] + ["---:"] * (len(head) - 1)) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """(seconds, those of all threads together)."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - busy


def iterations_needed(
    y: np.ndarray, x: np.ndarray, psf: np.ndarray, lam: float, within: float
) -> tuple[int, float, float]:
    """(iterations after which the error never again exceeds 1 + ``within`` times that of the minimiser, the latter, the
    least error from there on: on the way it passes below that of the minimiser)."""
    settings = DeconvolutionSettings(regulariser="tv", lam=lam, n_iter=400, tolerance=1e-5)
    errors = np.array([rmse(i.x, x) for i in deconvolution(y, psf, None, settings) if i.x is not None])
    above = np.flatnonzero(errors / errors[-1] - 1 > within)
    needed = int(above[-1]) + 2 if above.size else 1
    return needed, float(errors[-1]), float(errors[needed - 1 :].min())


def compare_with_peers(size: int, rounds: int) -> None:
    x, y = image("slabs", SIGMA, COUNTS, size)
    psf, top, peak = ir.gaussian_psf(SIGMA), float(y.max()), float(x.max())
    scaled = y / np.float32(top)
    lam = ir.lambda_curve(y, psf, regulariser="tv").choices["balanced"]
    needed, converged, least = iterations_needed(y, x, psf, lam, 0.01)
    weight = min(
        CHAMBOLLE_WEIGHTS,
        key=lambda w: rmse(denoise_tv_chambolle(scaled, weight=w, eps=0, max_num_iter=50) * top, x),
    )
    methods = {
        f"ours, TV, λ given, {needed} iterations": lambda: (
            ir.deconvolve(y, psf, lam=lam, n_iter=needed, tolerance=0).data
        ),
        "ours, TV, λ given, defaults": lambda: ir.deconvolve(y, psf, lam=lam).data,
        "ours, TV, λ chosen, defaults": lambda: ir.deconvolve(y, psf).data,
        "ours, Tikhonov, λ chosen": lambda: ir.deconvolve(y, psf, regulariser="tikhonov").data,
        "richardson_lucy, 30 iterations": lambda: richardson_lucy(scaled, psf, num_iter=30, clip=False) * top,
        "unsupervised_wiener": lambda: unsupervised_wiener(scaled, psf, clip=False, rng=0)[0] * top,
        f"denoise_tv_chambolle, 50 iterations, weight {weight:g}": lambda: (
            denoise_tv_chambolle(scaled, weight=weight, eps=0, max_num_iter=50) * top
        ),
    }
    reference = "richardson_lucy, 30 iterations"
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for number in range(rounds + 1):
        for name, work in methods.items():
            took = seconds(work)
            if number > 0:
                taken[name].append(took)
    print(f"## {size}², slabs, σ = {SIGMA:g} px, {COUNTS} counts\n")
    print(
        f"Blurred {100 * rmse(y, x) / peak:.2f}, TV converged {100 * converged / peak:.2f} at λ = {lam:.3g}; "
        f"after {needed} iterations never again 1 % above it (least {100 * least / peak:.2f} on the way).\n"
    )
    rows = [
        [
            name,
            *(f"{value:.2f}" for value in np.median(taken[name], axis=0)),
            *(f"{ratio:.2f}" for ratio in np.median(np.array(taken[name]) / taken[reference], axis=0)),
            f"{100 * rmse(work(), x) / peak:.2f}",
        ]
        for name, work in methods.items()
    ]
    table(["method", "s", "CPU s", "× richardson_lucy", "CPU ×", "RMSE, % of peak"], rows)


def time_curve(size: int, rounds: int) -> None:
    y = tiled(size)
    psf, grid = ir.gaussian_psf(SIGMA), np.logspace(-8, 3, 200)
    taken = [seconds(lambda: ir.lambda_curve(y, psf, regulariser="tikhonov", lam=grid)) for _ in range(rounds + 1)][1:]
    median, least = np.median(taken, axis=0), np.min(taken, axis=0)
    print(f"## lambda_curve, Tikhonov, 200 λ, {size}²\n")
    print(f"median {median[0]:.3f} s (CPU {median[1]:.3f} s), least {least[0]:.3f} s (CPU {least[1]:.3f} s)\n")


def tiled(size: int) -> np.ndarray:
    """An image of any size for timing, from one small phantom: no memory beyond its own."""
    _, tile = image("particles", SIGMA, COUNTS, 256)
    return np.tile(tile, (-(-size // 256),) * 2)[:size, :size]


def work_once(what: str, size: int) -> None:
    """In a fresh process: one job, its seconds and its memory as a line of JSON."""
    y, psf = tiled(size), ir.gaussian_psf(SIGMA)
    warm = y[:256, :256]
    jobs = {
        "tikhonov": lambda y: ir.deconvolve(y, psf, regulariser="tikhonov"),
        "tikhonov curve": lambda y: ir.lambda_curve(y, psf, regulariser="tikhonov"),
        "tv given": lambda y: ir.deconvolve(y, psf, regulariser="tv", lam=0.03),
        "tv chosen": lambda y: ir.deconvolve(y, psf, regulariser="tv"),
    }
    jobs[what](warm)
    reset_peak()
    before = peak_bytes()
    start, busy = time.perf_counter(), time.process_time()
    result = jobs[what](y)
    took, busy = time.perf_counter() - start, time.process_time() - busy
    record = getattr(result, "record", {})
    print(
        json.dumps(
            {
                "seconds": took,
                "busy": busy,
                "before": before,
                "peak": peak_bytes(),
                "n_iter": record.get("n_iter"),
                "blocks": record.get("blocks", {}).get("count"),
            }
        )
    )


def in_fresh_process(what: str, size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:  # a result larger than a quarter of the memory goes to a file
        command = [sys.executable, __file__, "--once", what, str(size)]
        run = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "TMPDIR": scratch})
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def print_sizes(title: str, jobs: list[tuple[str, int]]) -> None:
    print(f"## {title}\n")
    rows = []
    for what, size in jobs:
        found = in_fresh_process(what, size)
        rows.append(
            [
                f"{what}, {size}²",
                f"{found['seconds']:.2f}",
                f"{found['busy']:.2f}",
                f"{1e9 * found['busy'] / size**2:.0f}",
                f"{found['peak'] / 1e9:.2f}",
                f"{(found['peak'] - found['before']) / size**2:.0f}",
                str(found["n_iter"] or "–"),
                str(found["blocks"] or "–"),
            ]
        )
        print(f"{what} {size}", file=sys.stderr)
    table(["work", "s", "CPU s", "CPU ns/px", "peak GB", "bytes/px above the image", "iterations", "blocks"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--peers-size", type=int, default=1024)
    parser.add_argument("--curve-size", type=int, default=2048)
    parser.add_argument("--large-size", type=int, default=4096)
    parser.add_argument("--largest", type=int, default=8192, help="edge of the largest image for Tikhonov")
    parser.add_argument("--largest-tv", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--once", nargs=2, metavar=("WORK", "SIZE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once is not None:
        work_once(asked.once[0], int(asked.once[1]))
        return
    print("# Deconvolution: speed and memory\n")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    if "peers" in asked.parts:
        compare_with_peers(asked.peers_size, asked.rounds)
    if "curve" in asked.parts:
        time_curve(asked.curve_size, asked.rounds)
    if "large" in asked.parts:
        size = asked.large_size
        print_sizes(
            f"{size}² float32: GCV alone, and GCV with the solution", [("tikhonov curve", size), ("tikhonov", size)]
        )
    if "sizes" in asked.parts:
        edges = [2**k for k in range(8, 15)]
        jobs = [("tikhonov", n) for n in edges if n <= asked.largest] + [
            (what, n) for what in ("tv given", "tv chosen") for n in edges if n <= asked.largest_tv
        ]
        print_sizes("Cost against size", jobs)


if __name__ == "__main__":
    main()
