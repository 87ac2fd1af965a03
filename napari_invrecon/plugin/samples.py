"""File → Open Sample → Inverse reconstruction: generated acquisitions, through the readers of any other file."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import convolve1d, gaussian_filter1d

from napari_invrecon.io import Acquisition, Axis
from napari_invrecon.plugin.layers import layer_data
from napari_invrecon.plugin.readers import read_layers

if TYPE_CHECKING:
    from napari.types import LayerDataTuple


def core_shell_haadf() -> list[LayerDataTuple]:
    """HAADF image of core–shell particles; Gaussian probe, σ = 0.75 nm = 3 px."""
    return _layers("core_shell_haadf.mrc")


def core_shell_eels_maps() -> list[LayerDataTuple]:
    """Ce and Co counts of the same field, about ten at the brightest pixel."""
    return _layers("core_shell_eels_maps.emd")


def core_shell_eels_si() -> list[LayerDataTuple]:
    """EELS spectrum image of the same field, 650 … 1160 eV: Co L23 and Ce M45 on a falling background."""
    return _layers("core_shell_eels_si.emd")


def particles_tilt_series() -> list[LayerDataTuple]:
    """HAADF tilt series of metal particles in a porous support, −70…70° in steps of 2°, aligned."""
    return _layers("particles_tilt_series.mrc")


def lecture_grain_boundaries() -> list[LayerDataTuple]:
    """Two grain boundaries, 0.2 → 0.8 → 0.3, blurred by σ = 4 px, with 6 % noise; beneath, hidden, the truth.

    The PSF is in the metadata, so the dock Deconvolve knows it: TV keeps the steps, Tikhonov makes ramps of them. 128
    rows with noise of their own; the dock's regularisers smooth along the boundaries too, so their errors (RMSE of TV
    0.024, Tikhonov 0.046) are below those of a single line (0.032 and 0.057).
    """
    place = np.arange(200)
    truth = np.where(place < 200 / 3, 0.2, np.where(place < 400 / 3, 0.8, 0.3))
    noise = 0.06 * truth.max() * np.random.default_rng(42).standard_normal((128, 200))
    axes = (Axis("y", "nm", 0.1), Axis("x", "nm", 0.1))
    known = {"psf": {"model": "gaussian", "sigma": 4.0, "unit": "px"}}
    rows = np.tile(truth, (128, 1)).astype(np.float32)
    data, keywords, kind = layer_data(Acquisition(rows, axes, "grain boundaries, true", "image"))
    blurred = layer_data(
        Acquisition(
            (gaussian_filter1d(truth, 4.0) + noise).astype(np.float32), axes, "grain boundaries", "image", known
        )
    )
    hidden = {"visible": False, "contrast_limits": blurred[1]["contrast_limits"]}
    return [(data, keywords | hidden, kind), blurred]


def lecture_deblurring_1d() -> list[LayerDataTuple]:
    """Three peaks on a line of 64 pixels, blurred by a Gaussian that is not normalised, with 10 % noise (circular).

    Three layers, as bands: the truth above the measurement, and, hidden, the kernel. The measurement's metadata hold
    the lecture's settings, so the dock needs one press on Run: λ at the L-curve's corner 0.17 (RMSE 0.142), the naive
    inverse 0.97.
    """
    place = np.linspace(0, 64, 64)
    peaks = ((15, 0.6), (35, 0.9), (50, 1.0))
    truth = sum(height * np.exp(-((place - centre) ** 2) / (2 * 1.5**2)) for centre, height in peaks)
    kernel = np.exp(-(np.linspace(-6, 6, 21) ** 2) / 18)
    noise = 0.1 * truth.max() * np.random.default_rng(42).standard_normal(64)
    measured = convolve1d(truth, kernel, mode="wrap") + noise
    known = {
        "psf": {"model": "array", "layer": "three peaks, kernel"},
        "truth": "three peaks, true",
        "suggested": {"regulariser": "l2", "boundary": "periodic", "normalise_psf": False, "lam_rule": "l-curve"},
    }

    def band(values: np.ndarray, name: str, offset: float, metadata: dict[str, Any]) -> LayerDataTuple:
        axes = (Axis("y", "nm", 8.0, offset), Axis("x", "nm"))
        return layer_data(Acquisition(values[None].astype(np.float32), axes, name, "image", metadata))

    data, keywords, kind = band(kernel, "three peaks, kernel", 20.0, {})
    return [
        band(truth, "three peaks, true", 0.0, {}),  # the first, as napari moves the view to it
        (data, keywords | {"visible": False}, kind),
        band(measured, "three peaks", 10.0, known),
    ]


def _layers(file_name: str) -> list[LayerDataTuple]:
    return read_layers(str(resources.files("napari_invrecon.sample_data") / file_name))
