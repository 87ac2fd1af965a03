"""How exactly a drift and a tilt axis that are known are found again, and how long it takes.

    python tests/benchmarks/alignment_accuracy.py [--data FOLDER] [--seeds 3] [--parts needle small phantom]

Prints markdown. "needle" and "small" are real series: each is aligned; the aligned copy is turned and moved by what is
drawn (±5 px, one interpolation), and aligned again from nothing. "phantom" has line integrals in closed form. What no
image can tell is taken out of the errors: a constant along the axis, a cos θ + b sin θ across it.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from drifting_series import drift, drifting_series, needle, rms, shift_errors

from napari_invrecon.io import read
from napari_invrecon.recon.alignment import align, apply_alignment
from napari_invrecon.recon.tilt_images import turned

LARGEST_PX = 5.0
ROTATION_DEG = 3.0
METHODS = ("cross-correlation", "centre-of-mass", "projection-matching")
FILES = {"needle": "HAADF.mrc", "small": "HAADF_stack.dm3"}


def row(name, method, errors, rotation_error, seconds):
    along, across = rms(errors)
    worst = np.abs(errors).max()
    print(f"| {name} | {method} | {across:.3f} | {along:.3f} | {worst:.2f} | {rotation_error:+.3f} | {seconds:.1f} |")
    sys.stdout.flush()


def timed(stack, angles, **settings):
    start = time.perf_counter()
    return align(stack, angles, **settings), time.perf_counter() - start


def disturbed(aligned, found, rotation_deg, shifts):
    """The aligned images as a microscope would have taken them: p′ = R(−φ)p + d undone."""
    back = turned(-rotation_deg)
    undone = replace(found, axis_rotation_deg=-rotation_deg, shifts_px=-shifts @ back.T)
    return apply_alignment(aligned, undone)


def real(name, folder, seeds):
    series = read(folder / FILES[name])[0]
    stack, angles = np.asarray(series.data), np.array(series.metadata["angles_deg"])
    found, seconds = timed(stack, angles, tilt_axis="x")
    said = (
        f"{name} {stack.shape} as taken: {found.used.sum()} of {len(angles)} used, axis {found.axis_rotation_deg:.2f}°"
    )
    print(f"| {said}, residual {np.nanmedian(found.residual):.4f} | | | | | | {seconds:.1f} |")
    aligned = apply_alignment(stack, found)
    for seed in range(seeds):
        shifts = drift(len(angles), LARGEST_PX, seed)
        taken = disturbed(aligned, found, ROTATION_DEG, shifts)
        for method in METHODS if seed == 0 else METHODS[-1:]:
            again, seconds = timed(taken, angles, tilt_axis="x", method=method)
            errors = shift_errors(again.shifts_px, shifts, angles, "x")
            row(f"{name}, seed {seed}", method, errors, again.axis_rotation_deg - ROTATION_DEG, seconds)


def phantom(seeds):
    for span, noise in ((70, 0.03), (60, 0.03), (70, 0.1)):
        angles = np.arange(-span, span + 1, 2.0)
        for seed in range(seeds):
            shifts = drift(len(angles), LARGEST_PX, seed)
            taken = drifting_series(needle(seed), angles, 128, shifts, ROTATION_DEG, noise, seed)
            for method in METHODS if seed == 0 else METHODS[-1:]:
                found, seconds = timed(taken, angles, method=method)
                errors = shift_errors(found.shifts_px, shifts, angles)
                name = f"phantom 128², ±{span}°, noise {noise:.0%}, seed {seed}"
                row(name, method, errors, found.axis_rotation_deg - ROTATION_DEG, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data" / "tilt")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=("needle", "small", "phantom"))
    arguments = parser.parse_args()
    angles = np.arange(-10, 11, 2.0)
    align(drifting_series(needle(), angles, 32, drift(len(angles), 1, 0)), angles)  # numba compiles
    print("| series | method | ⊥ RMS px | ∥ RMS px | largest px | rotation ° | s |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for part in arguments.parts:
        if part == "phantom":
            phantom(arguments.seeds)
        elif (arguments.data / FILES[part]).is_file():
            real(part, arguments.data, arguments.seeds)
        else:
            print(f"| {part}: no {arguments.data / FILES[part]} |", file=sys.stderr)


if __name__ == "__main__":
    main()
