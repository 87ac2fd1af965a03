# What `import napari_invrecon` offers, for __init__.py and for type checkers.

from . import recon, records
from .recon.alignment import (
    AlignedSeries,
    Alignment,
    AlignmentSettings,
    align,
    aligned_series,
    apply_alignment,
)
from .recon.deconvolution import deconvolve, lambda_curve
from .recon.deconvolution_settings import DeconvolutionSettings
from .recon.element_lines import suggest_window
from .recon.element_window import ElementWindow
from .recon.energy import EnergySettings, deconvolve_energy
from .recon.fusion import FusionResult, FusionSettings, fuse
from .recon.lambda_choice import LambdaCurve
from .recon.naive import NaiveInverse, naive
from .recon.psf import gaussian_psf
from .recon.record import Reconstruction, array_hash
from .recon.spectra import ElementalMaps, MapSettings, elemental_maps
from .recon.spectral_components import ComponentSettings, denoise_spectra
from .recon.tilt_settings import TomographySettings
from .recon.tomography import reconstruct_tilt_series
from .records.history import with_history
from .records.methods import methods_paragraph
from .records.replay import replay
from .records.schema import check_record
from .records.script import script

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
