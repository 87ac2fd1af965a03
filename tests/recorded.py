"""One small result of every method, with the sources that it was made from."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from phantoms import image
from tilt_phantoms import line_integrals, particles

import napari_invrecon as ir
from napari_invrecon.recon.probe import GaussianPSF

ANGLES = np.arange(-60.0, 61.0, 10.0)


def zero_loss(size=100):
    """A zero-loss peak in counts."""
    return np.exp(-((np.arange(size) - 20.0) ** 2) / 18) * 1e4


def edge_spectrum():
    """A step in counts, as the zero-loss peak smears it."""
    kernel = zero_loss()
    expected = np.convolve(np.where(np.arange(200) > 90, 200.0, 20.0), kernel / kernel.sum(), "same")
    return np.random.default_rng(0).poisson(expected)


def tilts():
    """A drifting series of 13 tilts."""
    exact = line_integrals(particles(6, seed=3), ANGLES, 16, 24)
    rng = np.random.default_rng(0)
    moved = np.stack([np.roll(each, rng.integers(-1, 2), axis=1) for each in exact])
    return (moved + rng.normal(0, 0.01 * exact.max(), exact.shape)).astype(np.float32)


def make_deconvolution():
    _, y = image("slabs", 1.5, 50, size=48)
    return ir.deconvolve(y, GaussianPSF(1.5), regulariser="tikhonov"), [y, GaussianPSF(1.5)]


def make_energy():
    sources = [edge_spectrum(), zero_loss()]
    return ir.deconvolve_energy(*sources), sources


def make_maps():
    energy = 400 + 0.5 * np.arange(400)
    expected = 50 * (energy / 400)[:, None, None] ** -3.0 * np.ones((1, 6, 8))
    sources = [np.random.default_rng(0).poisson(expected), energy]
    return ir.elemental_maps(*sources, [ir.suggest_window("O", "eels", 400, 600)]), sources


def make_components():
    pytest.importorskip("sklearn")
    sources = make_maps()[1][:1]
    return ir.denoise_spectra(sources[0], n_components=2), sources


def make_alignment():
    stack = tilts()
    found = ir.align(stack, ANGLES, method="cross-correlation")
    return ir.aligned_series(stack, found), [stack, ANGLES]


def make_volume():
    stack = tilts()
    return ir.reconstruct_tilt_series(stack, ANGLES, lam=0.01, n_iter=4), [stack, ANGLES]


def make_fusion():
    rng, (y, x) = np.random.default_rng(1), np.mgrid[:32, :40]
    expected = np.stack([8.0 * (x > 20), 5.0 * (y > 12) + 1])
    maps, haadf = rng.poisson(expected), expected.sum(0) + rng.normal(0, 0.1, x.shape)
    return ir.fuse(haadf, maps, coupling="both"), [haadf, maps]


METHODS = {
    "align": make_alignment,
    "deconvolve": make_deconvolution,
    "deconvolve_energy": make_energy,
    "denoise_spectra": make_components,
    "elemental_maps": make_maps,
    "fuse": make_fusion,
    "reconstruct_tilt_series": make_volume,
}


@functools.cache
def recorded(method):
    """(result, its sources), made once."""
    return METHODS[method]()
