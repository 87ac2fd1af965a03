"""Regularised inverse reconstruction for electron microscopy: x̂ = argmin Σ w D(Hx, y) + λR(x).

import napari_invrecon as ir
result = ir.deconvolve(image, ir.gaussian_psf(2.0))
result.data, result.lam, result.record
"""

import logging

from napari_invrecon.recon.alignment import (
    AlignedSeries,
    Alignment,
    AlignmentSettings,
    align,
    aligned_series,
    apply_alignment,
)
from napari_invrecon.recon.deconvolution import deconvolve, lambda_curve
from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
from napari_invrecon.recon.element_lines import suggest_window
from napari_invrecon.recon.element_window import ElementWindow
from napari_invrecon.recon.energy import EnergySettings, deconvolve_energy
from napari_invrecon.recon.fusion import FusionResult, FusionSettings, fuse
from napari_invrecon.recon.lambda_choice import LambdaCurve
from napari_invrecon.recon.naive import NaiveInverse, naive
from napari_invrecon.recon.psf import gaussian_psf
from napari_invrecon.recon.record import Reconstruction, array_hash
from napari_invrecon.recon.spectra import ElementalMaps, MapSettings, elemental_maps
from napari_invrecon.recon.spectral_components import ComponentSettings, denoise_spectra
from napari_invrecon.recon.tilt_settings import TomographySettings
from napari_invrecon.recon.tomography import reconstruct_tilt_series
from napari_invrecon.records.history import with_history
from napari_invrecon.records.methods import methods_paragraph
from napari_invrecon.records.replay import replay
from napari_invrecon.records.schema import check_record
from napari_invrecon.records.script import script

__all__ = [
    "AlignedSeries",
    "Alignment",
    "AlignmentSettings",
    "ComponentSettings",
    "DeconvolutionSettings",
    "ElementWindow",
    "ElementalMaps",
    "EnergySettings",
    "FusionResult",
    "FusionSettings",
    "LambdaCurve",
    "MapSettings",
    "NaiveInverse",
    "Reconstruction",
    "TomographySettings",
    "align",
    "aligned_series",
    "apply_alignment",
    "array_hash",
    "check_record",
    "deconvolve",
    "deconvolve_energy",
    "denoise_spectra",
    "elemental_maps",
    "fuse",
    "gaussian_psf",
    "lambda_curve",
    "methods_paragraph",
    "naive",
    "reconstruct_tilt_series",
    "replay",
    "script",
    "suggest_window",
    "with_history",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # whoever wants to read the log adds a real one
