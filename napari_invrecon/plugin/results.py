"""A reconstruction as a new layer: where its source was, calibrated like it, with the record."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_invrecon.plugin.contrast import contrast_limits

if TYPE_CHECKING:
    from napari import Viewer

    from napari_invrecon.recon.record import Reconstruction

_HANDED_ON = ("invrecon", "acquisition")


@dataclass(frozen=True)
class Source:
    """What a result takes over from its source layer, kept so that the layer itself may go meanwhile."""

    name: str
    display: dict[str, Any]
    metadata: dict[str, Any]


def describe_layer(layer: Image) -> Source:
    """Name, place, calibration and look of a layer."""
    display = {
        "scale": tuple(layer.scale),
        "translate": tuple(layer.translate),
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix.copy(),
        "units": tuple(layer.units),
        "axis_labels": tuple(layer.axis_labels),
        "colormap": layer.colormap,
        "blending": "translucent_no_depth",
        "interpolation2d": layer.interpolation2d,
    }
    # Only what is handed on: other plugins keep things in there that cannot be copied.
    kept = {key: copy.deepcopy(layer.metadata[key]) for key in _HANDED_ON if key in layer.metadata}
    return Source(layer.name, display, kept)


def add_result(viewer: Viewer, result: Reconstruction, source: Source, suffix: str) -> Image:
    """Add the reconstruction as a new layer named "source suffix"; the viewer keeps every layer that it has.

    ``metadata["invrecon"]`` is the record, in which the first source gets the layer's name and, where the source was
    itself a reconstruction, that one's record; ``metadata["acquisition"]`` is handed on.
    """
    metadata = result_metadata(result.record, source)
    layer = Image(
        result.data,
        name=f"{source.name} {suffix}",
        metadata=metadata,
        contrast_limits=contrast_limits(result.data),
        **source.display,
    )
    viewer.add_layer(layer)
    return layer


def result_metadata(record: dict[str, Any], source: Source) -> dict[str, Any]:
    """A result's metadata: its record, in which the first source is named, and what the source hands on."""
    record = copy.deepcopy(record)
    record["sources"][0]["layer"] = source.name
    metadata: dict[str, Any] = {"invrecon": record}
    if "invrecon" in source.metadata:
        record["sources"][0]["record"] = source.metadata["invrecon"]
    if "acquisition" in source.metadata:
        metadata["acquisition"] = copy.deepcopy(source.metadata["acquisition"])
    return metadata
