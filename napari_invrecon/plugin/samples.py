"""File → Open Sample → Inverse reconstruction: generated acquisitions, through the readers of any other file."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from napari_invrecon.plugin.readers import read_layers

if TYPE_CHECKING:
    from napari.types import LayerDataTuple


def core_shell_haadf() -> list[LayerDataTuple]:
    """HAADF image of core–shell particles; Gaussian probe, σ = 0.75 nm = 3 px."""
    return _layers("core_shell_haadf.mrc")


def core_shell_eels_maps() -> list[LayerDataTuple]:
    """Ce and Co counts of the same field, about ten at the brightest pixel."""
    return _layers("core_shell_eels_maps.emd")


def particles_tilt_series() -> list[LayerDataTuple]:
    """HAADF tilt series of metal particles in a porous support, −70…70° in steps of 2°, aligned."""
    return _layers("particles_tilt_series.mrc")


def _layers(file_name: str) -> list[LayerDataTuple]:
    return read_layers(str(resources.files("napari_invrecon.sample_data") / file_name))
