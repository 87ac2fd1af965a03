"""What a run is said to need, against the largest sum of arrays that it held at once (tracemalloc counts NumPy's)."""

import tracemalloc

import numpy as np
import pytest

import napari_invrecon as ir
from napari_invrecon.recon import energy, fusion, spectra, spectral_components
from napari_invrecon.recon.fusion_settings import FusionSettings


def spectrum_image(n_channel, edge):
    """Counts, of a line whose height goes from 0 to 1 along y, over a flat background."""
    line = np.exp(-(((np.arange(n_channel) - n_channel / 2) / 20) ** 2))
    mean = 2 + 5 * line[:, None, None] * np.linspace(0, 1, edge)[:, None] * np.ones((1, 1, edge))
    return np.random.default_rng(0).poisson(mean).astype(np.uint16)


def a_fusion(**settings):
    def case():
        shape = (3, 256, 256)
        maps = np.random.default_rng(0).poisson(5, shape).astype(np.float32)
        settings_ = {"lam": 2.0, "coupling": "both", "n_iter": 20} | settings
        needed = fusion.estimate_memory(shape[1:], shape, FusionSettings(**settings_))
        return lambda: ir.fuse(maps.sum(0), maps, **settings_), needed

    return case


def maps_of_two_elements():
    y = spectrum_image(256, 256)
    windows = [
        ir.ElementWindow(name, "K", signal=(532, 580), background=((495, 525),), model="power-law") for name in "NO"
    ]
    return lambda: ir.elemental_maps(y, 400.0 + np.arange(256), windows), spectra.estimate_memory(y.shape, 2)


def components():
    pytest.importorskip("sklearn")
    y = spectrum_image(512, 64)
    return lambda: ir.denoise_spectra(y), spectral_components.estimate_memory(y.shape)


def energy_deconvolution():
    y = spectrum_image(512, 32)
    kernel = 1e4 * np.exp(-(((np.arange(512) - 64) / 3) ** 2))
    needed = energy.estimate_memory(y.shape, energy.EnergySettings())
    return lambda: ir.deconvolve_energy(y, kernel), needed


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(a_fusion(), id="fusion"),
        pytest.param(a_fusion(n_draws=2), id="fusion with errors"),
        maps_of_two_elements,
        components,
        energy_deconvolution,
    ],
)
def test_a_run_needs_what_it_says_and_not_half_of_it(case):
    run, needed_gb = case()
    run()  # compiled, imported
    tracemalloc.start()
    try:
        run()
        peak_gb = 1e-9 * tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_gb <= needed_gb <= 2 * peak_gb
