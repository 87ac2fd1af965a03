"""A layer as a spectrum image: (energy, y, x), with the energies that the layer's calibration gives its channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_invrecon.io.spectrum_kind import spectrum_kind
from napari_invrecon.plugin.layers import source_array
from napari_invrecon.recon.element_lines import SpectrumKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer


_LEAST_CHANNELS = 4


@dataclass(frozen=True, eq=False)
class SpectrumSource:
    """What the dock works on.

    ``detector_offset`` is the stored value of a channel without signal, where the file says it.
    """

    name: str
    data: Any
    energy_ev: NDArray[np.float64]
    calibrated: bool
    kind: SpectrumKind
    detector_offset: float
    elements: tuple[str, ...]

    @property
    def ends(self) -> tuple[float, float]:
        """First and last energy."""
        return float(self.energy_ev[0]), float(self.energy_ev[-1])

    @property
    def step_ev(self) -> float:
        """Energy of a channel."""
        return float(self.energy_ev[1] - self.energy_ev[0])


def spectral(layers: Iterable[Layer]) -> list[Image]:
    """The layers that can be spectrum images: those that say so, then arrays of three axes that say nothing."""
    offered = [each for each in layers if isinstance(each, Image) and not (each.rgb or each.multiscale)]
    sure = [each for each in offered if _has_energy(each)]
    unknown = [
        each
        for each in offered
        if each not in sure and each.ndim >= 3 and not {"acquisition", "invrecon"} & each.metadata.keys()
    ]
    return [each for each in [*sure, *unknown] if each.data.shape[0] >= _LEAST_CHANNELS]


def _has_energy(layer: Image) -> bool:
    kind = layer.metadata.get("acquisition", {}).get("kind", "")
    return kind.startswith("spectrum") or (layer.ndim >= 3 and layer.axis_labels[0] == "energy")


def spectrum_source(layer: Image) -> SpectrumSource:
    """The layer's data and energies, as they are now."""
    data = source_array(layer)
    about = layer.metadata.get("acquisition", {})
    start, step = float(layer.translate[0]), float(layer.scale[0])
    energy = start + step * np.arange(data.shape[0])
    gain, offset = about.get("intensity_scale"), about.get("intensity_offset")
    return SpectrumSource(
        layer.name,
        data,
        energy,
        _is_calibrated(layer),
        spectrum_kind(layer.name, about, float(energy[-1])),
        round(-offset / gain, 6) if gain and offset is not None else 0.0,
        tuple(about.get("elements", ())),
    )


def _is_calibrated(layer: Image) -> bool:
    """Whether the file or, since, the user has given the energy axis its numbers."""
    described = layer.metadata.get("acquisition", {}).get("axes")
    if described and described[0]["unit"] == "eV":
        return True
    return not (math.isclose(layer.scale[0], 1.0) and layer.translate[0] == 0)
