"""A fusion as layers: a map of each element, their overlay in colours, standard errors, and the HAADF's residual."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_invrecon.plugin.contrast import contrast_limits
from napari_invrecon.plugin.layers import element_colours, map_colormap
from napari_invrecon.plugin.placement import Placement
from napari_invrecon.plugin.results import Source, describe_layer
from napari_invrecon.records.history import Origin, with_origins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari import Viewer
    from numpy.typing import NDArray

    from napari_invrecon.recon.fusion import FusionResult


_DARKEST = 1.0  # per cent of an overlay's pixels in which an element is black


@dataclass(frozen=True)
class FusionSource:
    """What results take over from the layers that are fused, kept so that these may go meanwhile."""

    haadf: Source
    maps: tuple[Source, ...]
    elements: tuple[str, ...]
    placement: Placement
    vacuum: str


@dataclass(frozen=True, eq=False)
class FusedLayers:
    """What one fusion added; no errors where no draws were asked for."""

    maps: tuple[Image, ...]
    errors: tuple[Image, ...]
    residual: Image
    overlay: Image


def describe_sources(
    haadf: Image, maps: Sequence[Image], elements: Sequence[str], placement: Placement, vacuum: str
) -> FusionSource:
    """Names, places, calibrations of the layers that are to be fused; ``vacuum`` is the region's name, or empty."""
    return FusionSource(describe_layer(haadf), tuple(map(describe_layer, maps)), tuple(elements), placement, vacuum)


def add_fused(viewer: Viewer, result: FusionResult, source: FusionSource) -> FusedLayers:
    """Add all layers of a result, the overlay on top and alone visible; the viewer keeps every layer that it has.

    Every one lies where the maps lie and has ``metadata["invrecon"]``: the record, and in ``shows`` what this layer is
    of it.
    """
    how = f"{result.record['coupling']} λ={result.lam:.3g}"
    x, error = result.data, result.standard_error
    record = _record(result.record, source)
    colours = element_colours(source.elements)
    limits = [_stretched(each) for each in x]

    def layer(data: NDArray[Any], name: str, shows: dict[str, Any], origin: Source, **look: Any) -> Image:
        part = {"part": source.elements.index(shows["element"])} if shows["quantity"] == "map" else {}
        metadata: dict[str, Any] = {"invrecon": record | {"shows": shows} | part}
        if "acquisition" in origin.metadata:
            metadata["acquisition"] = copy.deepcopy(origin.metadata["acquisition"])
        return Image(data, name=name, metadata=metadata, **_display(source, data.shape) | look)

    residual = layer(
        result.haadf_residual,
        f"{source.haadf.name} residual, {how}",
        {"quantity": "haadf residual"},
        source.haadf,
        colormap="RdBu_r",
        contrast_limits=_about_zero(result.haadf_residual),
        visible=False,
    )
    errors = tuple(
        layer(
            each,
            f"{origin.name} standard error, {how}",
            {"quantity": "standard error", "element": element},
            origin,
            colormap="viridis",
            contrast_limits=_from_zero(each),
            visible=False,
        )
        for each, element, origin in zip(error if error is not None else (), source.elements, source.maps, strict=False)
    )
    maps = tuple(
        layer(
            each,
            f"{origin.name} fused, {how}",
            {"quantity": "map", "element": element},
            origin,
            colormap=map_colormap(colour),
            contrast_limits=_from_zero(each),
            blending="additive",
            visible=False,
        )
        for each, element, origin, colour in zip(x, source.elements, source.maps, colours, strict=True)
    )
    shows = {
        "quantity": "overlay",
        "colours": dict(zip(source.elements, colours, strict=True)),
        "contrast_limits": dict(zip(source.elements, map(list, limits), strict=True)),
    }
    named = " + ".join(source.elements)
    overlay = layer(overlay_of(x, colours, limits), f"{named} overlay, {how}", shows, source.maps[0], rgb=True)
    overlay.metadata.get("acquisition", {}).pop("element", None)
    for each in (residual, *errors, *maps, overlay):
        viewer.add_layer(each)
    return FusedLayers(maps, errors, residual, overlay)


def overlay_of(x: NDArray[Any], colours: Sequence[str], limits: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    """(y, x, 3) from 0 to 1: each map between its contrast limits in its colour, added up.

    Where that is brighter than the screen, the colour is kept and the brightness is not.
    """
    added = np.zeros((*x.shape[1:], 3), np.float32)
    for each, colour, (low, high) in zip(x, colours, limits, strict=True):
        share = np.clip((np.nan_to_num(each) - low) / (high - low), 0, 1)
        rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        added += share[..., None].astype(np.float32) * np.array(rgb, np.float32)
    return added / np.maximum(added.max(axis=-1, keepdims=True), 1)


def _from_zero(data: NDArray[Any]) -> tuple[float, float]:
    """Contrast limits from nothing at all up, so that black means none."""
    high = contrast_limits(data)[1]
    return (0.0, high) if high > 0 else (0.0, 1.0)


def _stretched(data: NDArray[Any]) -> tuple[float, float]:
    """The same from its darkest hundredth up, but not so far that a uniform map would show its noise."""
    low, high = _from_zero(data)
    darkest = float(np.nanpercentile(data, _DARKEST)) if np.isfinite(data).any() else low
    return (min(max(low, darkest), high / 2), high)


def _about_zero(data: NDArray[Any]) -> tuple[float, float]:
    high = max(map(abs, contrast_limits(data)))
    return (-high, high)


def _display(source: FusionSource, shape: Sequence[int]) -> dict[str, Any]:
    """Place and calibration of an image of this shape over the field of the maps."""
    maps = source.maps[0].display
    times = shape[0] // source.placement.shape[0]
    side = np.array(maps["scale"])
    first = maps["rotate"] @ ((1 / times - 1) / 2 * side)  # from the first pixel of the maps to that of the image
    look = {key: value for key, value in maps.items() if key not in ("colormap", "interpolation2d")}
    return look | {"scale": tuple(side / times), "translate": tuple(np.array(maps["translate"]) + first)}


def _record(record: dict[str, Any], source: FusionSource) -> dict[str, Any]:
    """The record, which says where its sources come from and how the HAADF was brought onto the maps."""
    origins: dict[str, Any] = {"haadf": source.haadf.origin, "maps": [each.origin for each in source.maps]}
    if source.vacuum:
        origins["reference"] = Origin(layer=source.vacuum)
    record = with_origins(record, origins)
    record["sources"][0]["placement"] = source.placement.summary()
    return record
