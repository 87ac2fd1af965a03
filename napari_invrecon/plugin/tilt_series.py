"""Layers as tilt series: which ones a tilt dock offers, their projections, their angles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_invrecon.plugin.layers import source_array

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer

_NEVER = ("spectrum", "spectrum image", "volume")  # kinds of three axes and more, none of which is a tilt


@dataclass(frozen=True)
class TiltInput:
    """What a tilt step works on: the layer's projections (…, tilt, y, x), their angles, the axis they turn about.

    ``channel``: which of the maps is on the screen, None for a series of images.
    """

    layer: Image
    stack: Any
    angles_deg: NDArray[np.float64]
    axis: Literal["y", "x"]
    channel: int | None = None


def tilt_stacks(layers: Iterable[Layer]) -> list[Image]:
    """The image layers that may be tilt series: those whose angles are known first, then other stacks."""
    stacks = [layer for layer in layers if isinstance(layer, Image) and _may_be_tilts(layer)]
    return sorted(stacks, key=lambda layer: known_angles(layer) is None)


def projections(layer: Image) -> Any:
    """The layer's data as (tilt, y, x) or (channel, tilt, y, x), without the axes of length 1 that stand for z."""
    data = source_array(layer)
    while data.ndim > 3 and data.shape[-3] == 1:
        data = data[..., 0, :, :]
    return data


def shown_channel(layer: Image, point: Iterable[float]) -> int | None:
    """Which channel of the maps (channel, tilt, y, x) a viewer shows at a point of its world; None for images."""
    if projections(layer).ndim == 3:
        return None
    at = round(float(layer.world_to_data(np.asarray(list(point))[-layer.ndim :])[0]))
    return min(max(at, 0), layer.data.shape[0] - 1)


def known_angles(layer: Layer) -> NDArray[np.float64] | None:
    """The angles in degree that came with the layer, from its file or an earlier step; None if there are none."""
    angles = layer.metadata.get("acquisition", {}).get("angles_deg")
    return None if angles is None else np.asarray(angles, np.float64)


def describe_angles(angles_deg: NDArray[np.float64]) -> str:
    """ "77 angles, −76…76°"."""
    first, last = (f"{angle:.4g}".replace("-", "−") for angle in (angles_deg.min(), angles_deg.max()))
    return f"{len(angles_deg)} angles, {first}…{last}°"


def _may_be_tilts(layer: Image) -> bool:
    if layer.rgb or layer.multiscale or layer.ndim < 3:
        return False
    kind = layer.metadata.get("acquisition", {}).get("kind")
    made_of_tilts = layer.metadata.get("invrecon", {}).get("method") == "reconstruct_tilt_series"
    return kind not in _NEVER and not made_of_tilts and projections(layer).ndim in (3, 4)
