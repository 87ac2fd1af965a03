"""What a fusion takes of map layers: their data alone, or what the dock "Spectrum" has kept with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer

    from napari_invrecon.recon.fusion_settings import FusionSettings

Quantity = Literal["data", "counts", "background", "variance"]
_CERTAIN = 0.5  # of the counts' own variance, which a background that counts as known may have at most
_FEW = 5.0  # counts in a pixel on average, below which their noise is not that of values


@dataclass(frozen=True)
class OwnNoise:
    """Which of a map's quantities go where, as `fuse` takes them."""

    maps: Quantity = "data"
    backgrounds: Quantity | None = None
    variances: Quantity | None = None

    @property
    def roles(self) -> dict[str, Quantity]:
        """By the roles of a record's sources."""
        given = {"maps": self.maps, "backgrounds": self.backgrounds, "variances": self.variances}
        return {role: quantity for role, quantity in given.items() if quantity is not None}

    def describe(self) -> str:
        """In a few words; empty where nothing is known."""
        if self.backgrounds is not None:
            return "Maps as counts over their own backgrounds."
        return "Noise of the maps: their own σ² in each pixel." if self.variances is not None else ""


def quantity_of(layer: Layer, quantity: Quantity) -> Any:
    """(y, x)."""
    return layer.data if quantity == "data" else layer.metadata[quantity]


def own_noise(layers: Sequence[Layer], settings: FusionSettings) -> OwnNoise:
    """What all of some maps know, unless the settings say another noise or background.

    Counts over their backgrounds where these are well known against them, or where the counts are few, else values with
    their variances.
    """
    if settings.noise_sigma is not None or settings.background.strip() or not all(map(_knows, layers)):
        return OwnNoise()
    counted = settings.noise != "gaussian" and all(map(_counted, layers))
    if counted and (settings.noise == "poisson" or all(_few(each) or _background_is_known(each) for each in layers)):
        return OwnNoise("counts", "background")
    return OwnNoise("data", variances="variance")


def _knows(layer: Layer) -> bool:
    """Whether a layer still has what was kept with its data."""
    kept = [layer.metadata.get(name) for name in ("counts", "background", "variance")]
    return all(isinstance(each, np.ndarray) and each.shape == layer.data.shape for each in kept)


def _counted(layer: Layer) -> bool:
    """Whether its detector counts, over a background that is nowhere negative."""
    counts, background = layer.metadata["counts"], layer.metadata["background"]
    detector = layer.metadata.get("invrecon", {}).get("detector", {})
    return detector.get("source") == "the data are counts" and bool(
        np.all(np.nan_to_num(background) >= 0) and np.all(np.nan_to_num(counts) >= 0)
    )


def _few(layer: Layer) -> bool:
    return bool(np.nansum(layer.metadata["counts"]) < _FEW * layer.data.size)


def _background_is_known(layer: Layer) -> bool:
    counts, variance = layer.metadata["counts"], layer.metadata["variance"]
    return bool(np.nansum(variance - counts) <= _CERTAIN * np.nansum(counts))
