"""What fusion and the dock Spectrum say that they need, against the peak of a process: ratio of the two.

    python tests/benchmarks/estimated_memory.py [--sizes 256 512 768]

Each line is a process of its own: what, the shape, the rise of its resident memory above what it held with the input,
and the estimate. Below 1 a run may start that does not fit, far above 2 one is refused that would.
"""

import argparse
import subprocess
import sys
from typing import Any

import numpy as np
from peak_memory import peak_bytes, read_status, reset_peak

import napari_invrecon as ir
from napari_invrecon.recon import energy, fusion, spectra, spectral_components
from napari_invrecon.recon.fusion_settings import FusionSettings

FUSIONS: dict[str, dict[str, Any]] = {
    "given": {"lam": 2.0, "coupling": "both"},
    "automatic": {},
    "power": {"lam": 2.0, "coupling": "power"},
    "values": {"lam": 2.0, "coupling": "both", "noise": "gaussian"},
    "errors": {"lam": 2.0, "coupling": "both", "n_draws": 2},
}
FEW = 0.25  # of the edge in pixels, for what holds all spectra at once


def fused(size: int, n: int, settings: dict[str, Any]) -> tuple[Any, float]:
    shape = (n, size, size)
    maps = np.random.default_rng(0).poisson(5, shape).astype(np.float32)
    haadf, settings = maps.sum(0), {"n_iter": 20} | settings
    needed = fusion.estimate_memory(haadf.shape, shape, FusionSettings(**settings))
    return lambda: ir.fuse(haadf, maps, **settings), needed


def measured(what: str, size: int, n: int) -> tuple[Any, float]:
    """A run and what it is said to need, in GB."""
    if what in FUSIONS:
        return fused(size, n, FUSIONS[what])
    edge = size if what == "maps" else round(FEW * size)
    line = np.exp(-(((np.arange(512) - 256) / 20) ** 2))[:, None, None] * np.linspace(0, 1, edge)[:, None]
    y = np.random.default_rng(0).poisson(2 + 5 * np.broadcast_to(line, (512, edge, edge))).astype(np.uint16)
    if what == "maps":
        window = ir.ElementWindow("O", "K", signal=(532, 580), background=((495, 525),), model="power-law")
        return lambda: ir.elemental_maps(y, 400.0 + np.arange(512), [window] * n), spectra.estimate_memory(y.shape, n)
    if what == "components":
        return lambda: ir.denoise_spectra(y), spectral_components.estimate_memory(y.shape)
    kernel = 1e4 * np.exp(-(((np.arange(512) - 64) / 3) ** 2))
    needed = energy.estimate_memory(y.shape, energy.EnergySettings())
    return lambda: ir.deconvolve_energy(y, kernel), needed


def one(what: str, size: int, n: int) -> str:
    measured(what, 64, n)[0]()
    run, needed_gb = measured(what, size, n)
    reset_peak()
    before = 1024 * read_status("VmRSS")
    run()
    rise = 1e-9 * (peak_bytes() - before)
    return f"{what:10s} {size:5d} × {n}: {1e3 * rise:6.0f} MB, said {1e3 * needed_gb:6.0f} MB, {needed_gb / rise:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=(256, 512, 768))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(one(asked.one[0], int(asked.one[1]), int(asked.one[2])), flush=True)
        return
    for what in (*FUSIONS, "maps", "components", "energy"):
        for size in asked.sizes:
            for n in (3, 6) if what in ("given", "maps") else (3,):
                subprocess.run([sys.executable, __file__, "--one", what, str(size), str(n)], check=False)


if __name__ == "__main__":
    main()
