"""How long a tilt series takes and how much memory, beside ASTRA's SIRT on the CPU in the same run.

    python tests/benchmarks/tomography_speed.py [--size 256] [--slices 256] [--tilts 71] [--algorithms sirt tv-sart tv]
        [--iterations 3]

Prints markdown. Each algorithm runs in a fresh process, which first compiles on a small problem: seconds are of the
solver alone, memory is the peak resident size over that of the process with its data. ASTRA's CPU projectors work slice
by slice on one core; its time is that of a few slices, times the slices, over the cores.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from peak_memory import peak_bytes, reset_peak
from tilt_phantoms import line_integrals, particles, voxels

from napari_invrecon.recon.operators import fft_workers
from napari_invrecon.recon.projector import Geometry, projector_norm
from napari_invrecon.recon.tilt_solvers import TiltProblem, solve

ITERATIONS = {"sirt": 100, "sart": 5, "tv-sart": 60, "tv": 100}
LAM, NOISE = 2e-3, 0.03


def problem(algorithm: str, size: int, angles: np.ndarray, n_iter: int) -> TiltProblem:
    geometry = Geometry(angles, (size, size), size, np.zeros(1))
    return TiltProblem(geometry, algorithm, projector_norm(geometry), n_iter=n_iter, tolerance=0.0)


def measure(algorithm: str, size: int, slices: int, tilts: int, n_iter: int) -> None:
    """One row: seconds, seconds an iteration, seconds until 1.02 times the last RMSE, RMSE, peak memory."""
    angles, threads = np.linspace(-70, 70, tilts), fft_workers()
    small = np.zeros((tilts, 32, 20), np.float32)
    small[:, 12:20] = 1
    for _ in solve(problem(algorithm, 32, angles, 4), small, LAM, threads=threads):
        pass
    objects = particles()
    clean = line_integrals(objects, angles, slices, size, rays=1).swapaxes(1, 2).astype(np.float32)
    peak = float(clean.max())
    noise = np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    data = np.ascontiguousarray(clean / peak + np.float32(NOISE) * noise)
    del clean, noise
    truth = voxels(objects, (size, slices, size), fineness=2).swapaxes(1, 2)[:, :, ::8]
    asked = problem(algorithm, size, angles, n_iter)
    reset_peak()
    before, spent, used, errors, times = peak_bytes(), 0.0, 0.0, [], []
    steps = solve(asked, data, LAM, threads=threads)
    while True:
        started, busy = time.perf_counter(), time.process_time()
        iterate = next(steps, None)
        spent += time.perf_counter() - started
        used += time.process_time() - busy
        if iterate is None:
            break
        seen = iterate.x[:, :, ::8] * (peak / asked.norm)
        errors.append(float(np.sqrt(np.mean(np.square(seen - truth)))))
        times.append(spent)
    near = next(t for k, t in enumerate(times) if max(errors[k:]) <= 1.02 * errors[-1])
    bytes_a_voxel = (peak_bytes() - before) / (size * size * slices)
    print(
        f"| {algorithm} | {len(times)} | {spent:.1f} | {used:.1f} | {spent / len(times):.2f} | {near:.1f} |"
        f" {errors[-1]:.4f} | {peak_bytes() / 1e9:.2f} | {bytes_a_voxel:.0f} |",
        flush=True,
    )


def astra_sirt(size: int, slices: int, tilts: int) -> None:
    """ASTRA's SIRT on the CPU, two iterations of two slices."""
    try:
        import astra
    except ImportError:
        return
    angles = np.deg2rad(np.linspace(-70, 70, tilts))
    volume, beams = astra.create_vol_geom(size, size), astra.create_proj_geom("parallel", 1.0, size, angles)
    projector = astra.create_projector("linear", beams, volume)
    data, out = astra.data2d.create("-sino", beams, 1.0), astra.data2d.create("-vol", volume)
    config = astra.astra_dict("SIRT")
    config.update(ProjectorId=projector, ProjectionDataId=data, ReconstructionDataId=out)
    number = astra.algorithm.create(config)
    astra.algorithm.run(number, 1)
    started = time.perf_counter()
    astra.algorithm.run(number, 4)
    each = (time.perf_counter() - started) / 4 * slices / fft_workers()
    print(f"| ASTRA CPU SIRT, from one slice | 100 | {100 * each:.0f} | | {each:.2f} | | | | |")


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--size", type=int, default=256)
    asked.add_argument("--slices", type=int, default=256)
    asked.add_argument("--tilts", type=int, default=71)
    asked.add_argument("--algorithms", nargs="+", default=["sirt", "tv-sart", "tv"], choices=list(ITERATIONS))
    asked.add_argument("--iterations", type=int, help="a few give the seconds of one and the memory of all")
    asked.add_argument("--one", help=argparse.SUPPRESS)
    options = asked.parse_args()
    sizes = (options.size, options.slices, options.tilts)
    if options.one:
        measure(options.one, *sizes, options.iterations or ITERATIONS[options.one])
    else:
        print(f"\n{options.size}² × {options.slices} voxels, {options.tilts} tilts, {os.cpu_count()} cores\n")
        print(
            "| method | iterations | s | core-s | s/iteration | s to 1.02 × RMSE | RMSE | peak GB | solver's B/voxel |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
        for name in options.algorithms:
            arguments = ["--size", "--slices", "--tilts"]
            given = [text for pair in zip(arguments, map(str, sizes), strict=True) for text in pair]
            given += ["--iterations", str(options.iterations)] if options.iterations else []
            subprocess.run([sys.executable, __file__, "--one", name, *given], check=True)
        astra_sirt(*sizes)
