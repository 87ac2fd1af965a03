"""What a fusion is made of, as the dock shows it: taken in the GUI's thread, read in the worker's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.plugin.own_noise import OwnNoise
from napari_invrecon.plugin.placement import Placement
from napari_invrecon.plugin.regions import Region
from napari_invrecon.recon.fusion import FusionResult, FusionSettings, estimate_memory, fusion

if TYPE_CHECKING:
    from napari_invrecon.recon.solvers import Steps


@dataclass(frozen=True, eq=False)
class FusionInputs:
    """The HAADF's data (y, x) and how they lie on the maps, of each map (y, x) what `noise` says, vacuum, settings."""

    haadf: Any
    placement: Placement
    noise: OwnNoise
    stacks: dict[str, tuple[Any, ...]]
    vacuum: Region | None
    settings: FusionSettings

    def estimate_memory(self) -> float:
        """Peak memory of the fusion in GB."""
        ny, nx = self.placement.shape
        fine = (ny * self.placement.times, nx * self.placement.times)
        return estimate_memory(fine, (len(self.stacks["maps"]), ny, nx), self.settings)

    def run(self) -> Steps[FusionResult]:
        """The fusion; for the worker's thread, as it reads layers."""
        given = {role: np.stack([np.asarray(each) for each in stack]) for role, stack in self.stacks.items()}
        reference = None if self.vacuum is None else self.vacuum.mask()
        haadf, maps = self.placement.read(self.haadf), given["maps"]
        return fusion(haadf, maps, self.settings, reference, given.get("backgrounds"), given.get("variances"))
