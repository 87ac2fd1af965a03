"""Peak memory of 71 tilts of 1024 × 1024 px by TV-SART: python tests/benchmarks/tomography_memory.py [--slices 1024].

The stack is mapped from a file, the volume (4.3 GB) goes to one; ``memory_gb`` is the default. One sweep needs
all the memory that a whole reconstruction needs; so do some 300 slices, which make several slabs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peak_memory import peak_bytes

import napari_invrecon as ir
from napari_invrecon.recon.tilt_settings import TomographySettings
from napari_invrecon.recon.tomography import estimate_memory

N_TILTS, WIDTH = 71, 1024
ANGLES = np.linspace(-70, 70, N_TILTS)
GOAL_GB = 6.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=WIDTH)
    shape = (N_TILTS, parser.parse_args().slices, WIDTH)
    settings = {"algorithm": "tv-sart", "lam": 3e-3, "n_iter": 1, "tolerance": 0.0}
    plan = estimate_memory(shape, TomographySettings(**settings), np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.npy"
        stack = np.lib.format.open_memmap(path, "w+", np.uint16, shape)
        rng = np.random.default_rng(0)
        chord = 1000 * np.sqrt(np.maximum(0.64 - np.linspace(-1, 1, WIDTH) ** 2, 0))  # of a cylinder about the axis
        for tilt in range(N_TILTS):
            stack[tilt] = rng.poisson(chord, shape[1:])
        stack.flush()
        del stack
        started = time.perf_counter()
        result = ir.reconstruct_tilt_series(np.load(path, mmap_mode="r"), ANGLES, **settings)
        seconds = time.perf_counter() - started
        middle = np.asarray(result.data[WIDTH // 2, 0])
    peak = peak_bytes() / 1e9
    print(f"{plan.n_slabs} slabs of {plan.slab_slices} + 2 × {plan.halo_slices} slices, {plan.n_workers} at a time")
    print(f"one sweep: {seconds:.0f} s; the volume: {result.data.nbytes / 1e9:.2f} GB, {type(result.data).__name__}")
    print(f"middle voxel {middle[WIDTH // 2]:.3f} counts a pixel of path")
    print(f"peak memory {peak:.2f} GB, estimated {plan.peak_gb:.2f} GB, goal {GOAL_GB:g} GB")
    return 0 if peak <= GOAL_GB else 1


if __name__ == "__main__":
    sys.exit(main())
