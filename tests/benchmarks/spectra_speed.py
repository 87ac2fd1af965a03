"""Elemental maps against pixel-by-pixel fits: python tests/benchmarks/spectra_speed.py [--edge 128] [--counts 40].

A spectrum image with an oxygen edge over a power law, Poisson noise. Peers: a least-squares power law by scipy's
curve_fit in every pixel (on a sample of them; the time is scaled up), and the two-window formula
r = 2 log(I₁/I₂)/log(E₂/E₁) (Egerton, sec. 4.4.3), vectorised, as microscope software does it. CPU seconds, and the
root mean square error of the map beside them.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from scipy.optimize import curve_fit

import napari_invrecon as ir

ENERGY = 400 + 0.5 * np.arange(512)
WINDOW = ir.ElementWindow("O", "K", (532, 580), ((450, 520),), "power-law")
BELOW = (ENERGY >= 450) & (ENERGY < 520)
UNDER = (ENERGY >= 532) & (ENERGY < 580)


def scene(edge: int, counts: float):
    """(counts drawn, the map that is true)."""
    own = np.where(ENERGY >= 532, 0.1 * counts * np.exp(-(ENERGY - 532) / 40), 0)
    amount = 0.5 + 0.5 * np.sin(np.arange(edge) / 9)
    exponent = 3 + 0.3 * np.sin(np.arange(edge) / 40)[:, None]
    mean = counts * (ENERGY / 400)[:, None, None] ** -exponent + own[:, None, None] * amount
    return np.random.default_rng(0).poisson(mean).astype(np.uint16), np.broadcast_to(
        own[UNDER].sum() * amount, (edge,) * 2
    )


def by_curve_fit(y):
    """Least squares in every pixel, started from the two-window formula."""
    e = ENERGY[BELOW] / 450
    out = np.empty(y.shape[1:])
    for place in np.ndindex(*out.shape):
        spectrum = y[(slice(None), *place)].astype(float)
        start = (spectrum[BELOW][:10].mean() + 1e-3, 3.0)
        try:
            (a, r), _ = curve_fit(lambda e, a, r: a * e**-r, e, spectrum[BELOW], p0=start)
        except RuntimeError:
            a, r = start
        out[place] = spectrum[UNDER].sum() - (a * (ENERGY[UNDER] / 450) ** -r).sum()
    return out


def by_two_windows(y):
    """r from the ratio of the halves of the background window."""
    first, last = BELOW & (ENERGY < 485), BELOW & (ENERGY >= 485)
    areas = [y[each].sum(axis=0).astype(float) for each in (first, last)]
    centres = [np.sqrt(450 * 485), np.sqrt(485 * 520)]
    r = np.log(np.maximum(areas[0], 1) / np.maximum(areas[1], 1)) / np.log(centres[1] / centres[0])
    level = (areas[0] + areas[1]) / np.sum((ENERGY[BELOW] / 450)[:, None] ** -r.ravel(), axis=0).reshape(r.shape)
    under = np.sum((ENERGY[UNDER] / 450)[:, None] ** -r.ravel(), axis=0).reshape(r.shape)
    return y[UNDER].sum(axis=0) - level * under


def compare(edge: int, counts: float, sample: int) -> None:
    """One line for each method."""
    y, truth = scene(edge, counts)
    some = (slice(None), slice(0, sample), slice(0, sample))
    rows = {
        "curve_fit a pixel": (lambda: by_curve_fit(y[some]), truth[some[1:]], edge**2 / sample**2),
        "two-window formula": (lambda: by_two_windows(y), truth, 1.0),
        "ours, each pixel's r": (lambda: ir.elemental_maps(y, ENERGY, [WINDOW], share_px=1).data[0], truth, 1.0),
        "ours, automatic": (lambda: ir.elemental_maps(y, ENERGY, [WINDOW]).data[0], truth, 1.0),
    }
    for name, (run, true, scale) in rows.items():
        cpu = time.process_time()
        found = run()
        cpu = (time.process_time() - cpu) * scale
        error = np.sqrt(np.mean((found - true) ** 2)) / truth.mean()
        bias = np.mean(found - true) / truth.mean()
        print(f"{counts:6.3g} counts  {name:22s} {cpu:9.3f} s  RMSE {error:7.3f}  bias {bias:+.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=128)
    parser.add_argument("--counts", type=float, nargs="+", default=[2, 40])
    parser.add_argument("--sample", type=int, default=24, help="edge of the sample for curve_fit")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    ir.elemental_maps(scene(4, 10)[0], ENERGY, [WINDOW])  # compiles
    print(f"{arguments.edge}² pixels × {len(ENERGY)} channels; CPU s a map (of curve_fit: scaled up), RMSE / true mean")
    for counts in arguments.counts:
        compare(arguments.edge, counts, arguments.sample)


if __name__ == "__main__":
    main()
