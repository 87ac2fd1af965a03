"""What a fusion is made of, as the dock shows it: taken in the GUI's thread, read in the worker's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.plugin.placement import Placement
from napari_invrecon.plugin.regions import Region
from napari_invrecon.recon.fusion import FusionResult, FusionSettings, fusion

if TYPE_CHECKING:
    from napari_invrecon.recon.solvers import Steps


@dataclass(frozen=True, eq=False)
class FusionInputs:
    """The HAADF's data (y, x) and how they lie on the maps, the maps' data (y, x) each, vacuum, and settings."""

    haadf: Any
    placement: Placement
    maps: tuple[Any, ...]
    vacuum: Region | None
    settings: FusionSettings

    def run(self) -> Steps[FusionResult]:
        """The fusion; for the worker's thread, as it reads layers."""
        maps = np.stack([np.asarray(each) for each in self.maps])
        reference = None if self.vacuum is None else self.vacuum.mask()
        return fusion(self.placement.read(self.haadf), maps, self.settings, reference)
