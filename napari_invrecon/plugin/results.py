"""A reconstruction as a new layer: where its source was, calibrated like it, with the record."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_invrecon.plugin.contrast import contrast_limits
from napari_invrecon.records.history import Origin, with_origins

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari import Viewer

    from napari_invrecon.recon.record import Reconstruction

    Origins = Mapping[str, Origin | Sequence[Origin]]

_HANDED_ON = ("invrecon", "acquisition")


@dataclass(frozen=True)
class Source:
    """What a result takes over from its source layer, kept so that the layer itself may go meanwhile."""

    name: str
    display: dict[str, Any]
    metadata: dict[str, Any]
    path: str

    @property
    def origin(self) -> Origin:
        """What a record says of it."""
        return Origin(self.name, self.path, self.metadata.get("acquisition"), self.metadata.get("invrecon"))


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
    return Source(layer.name, display, kept, layer.source.path or "")


def add_result(
    viewer: Viewer, result: Reconstruction, source: Source, suffix: str, others: Origins | None = None
) -> Image:
    """Add the reconstruction as a new layer named "source suffix"; the viewer keeps every layer that it has.

    Its metadata are those of `result_metadata`.
    """
    metadata = result_metadata(result.record, source, others)
    layer = Image(
        result.data,
        name=f"{source.name} {suffix}",
        metadata=metadata,
        contrast_limits=contrast_limits(result.data),
        **source.display,
    )
    viewer.add_layer(layer)
    return layer


def result_metadata(record: dict[str, Any], source: Source, others: Origins | None = None) -> dict[str, Any]:
    """A result's metadata: its record, which says where its sources come from, and what the first source hands on.

    ``source`` is the record's first one, ``others`` are more by their roles; several where layers were stacked.
    """
    first = {record["sources"][0]["role"]: source.origin}
    metadata: dict[str, Any] = {"invrecon": with_origins(record, first | dict(others or {}))}
    if "acquisition" in source.metadata:
        metadata["acquisition"] = copy.deepcopy(source.metadata["acquisition"])
    return metadata
