"""A fusion as layers: a map of each element, their overlay in colours, expected errors, and the HAADF's residual."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_invrecon.plugin.contrast import contrast_limits
from napari_invrecon.plugin.layers import element_colours, map_colormap
from napari_invrecon.plugin.own_noise import OwnNoise
from napari_invrecon.plugin.placement import Placement
from napari_invrecon.plugin.results import Source, describe_layer
from napari_invrecon.records.history import Origin, with_origins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari import Viewer

    from napari_invrecon.recon.fusion import FusionResult


_DARKEST = 1.0  # per cent of an overlay's pixels in which an element is black
_BRIGHTEST = 99.9  # per cent of an overlay's pixels that are within what the screen shows


@dataclass(frozen=True)
class FusionSource:
    """What results take over from the layers that are fused, kept so that these may go meanwhile."""

    haadf: Source
    maps: tuple[Source, ...]
    elements: tuple[str, ...]
    placement: Placement
    noise: OwnNoise
    vacuum: str


@dataclass(frozen=True, eq=False)
class FusedLayers:
    """What one fusion added; no errors where no draws were asked for, no atomic fractions without k-factors."""

    maps: tuple[Image, ...]
    errors: tuple[Image, ...]
    fractions: tuple[Image, ...]
    residual: Image
    overlay: Image


@dataclass(frozen=True, eq=False)
class Overlay:
    """All maps in one ``picture``, (y, x, 3); ``colours`` as "#rrggbb" and contrast ``limits`` of each.

    It has 8 bits, as pictures have: of floats napari saves no .png, and a .tif that few programs show.
    """

    picture: NDArray[np.uint8]
    colours: tuple[str, ...]
    limits: tuple[tuple[float, float], ...]


def describe_sources(
    haadf: Image, maps: Sequence[Image], elements: Sequence[str], placement: Placement, noise: OwnNoise, vacuum: str
) -> FusionSource:
    """Names, places, calibrations of the layers that are to be fused; ``vacuum`` is the region's name, or empty."""
    described = tuple(map(describe_layer, maps))
    return FusionSource(describe_layer(haadf), described, tuple(elements), placement, noise, vacuum)


def overlay_of(x: NDArray[Any], elements: Sequence[str]) -> Overlay:
    """The overlay of maps (element, y, x), in the worker's thread: at 2048² × 6 it takes 1.5 s."""
    colours = tuple(element_colours(elements))
    limits = tuple(_stretched(each) for each in x)
    return Overlay(_added_up(x, colours, limits), colours, limits)


def add_fused(viewer: Viewer, result: FusionResult, over: Overlay, source: FusionSource) -> FusedLayers:
    """Add all layers of a result, the overlay on top and alone visible; the viewer keeps every layer that it has.

    Every one lies where the maps lie and has ``metadata["invrecon"]``: the record, and in ``shows`` what this layer is
    of it.
    """
    record = _record(result.record, source)
    how = f"{record['coupling']} λ={result.lam:.3g}"

    def layer(data: NDArray[Any], name: str, origin: Source, shows: dict[str, Any], **look: Any) -> Image:
        metadata: dict[str, Any] = {"invrecon": record | {"shows": shows}}
        if "acquisition" in origin.metadata:
            metadata["acquisition"] = copy.deepcopy(origin.metadata["acquisition"])
        return Image(data, name=f"{name}, {how}", metadata=metadata, **_display(source, data.shape) | look)

    def of_each(stack: NDArray[Any] | None, quantity: str, word: str, **look: Any) -> tuple[Image, ...]:
        """A hidden layer for each element; none where there is no stack."""
        layers: list[Image] = []
        if stack is None:
            return ()
        for data, origin, element in zip(stack, source.maps, source.elements, strict=True):
            limits = {"contrast_limits": _from_zero(data), "visible": False}
            shows = {"quantity": quantity, "element": element}
            layers.append(layer(data, f"{origin.name} {word}", origin, shows, **limits | look))
        return tuple(layers)

    residual = layer(
        result.haadf_residual,
        f"{source.haadf.name} residual",
        source.haadf,
        {"quantity": "haadf residual"},
        colormap="RdBu_r",
        contrast_limits=_about_zero(result.haadf_residual),
        visible=False,
    )
    errors = of_each(result.expected_error, "expected error", "expected error", colormap="viridis")
    fractions = of_each(
        result.composition, "atomic fraction", "atomic fraction", colormap="viridis", contrast_limits=(0.0, 1.0)
    )
    maps = of_each(result.data, "map", "fused", blending="additive")
    for number, (each, colour) in enumerate(zip(maps, over.colours, strict=True)):
        each.colormap = map_colormap(colour)
        each.metadata["invrecon"]["part"] = number
    shows = {
        "quantity": "overlay",
        "colours": dict(zip(source.elements, over.colours, strict=True)),
        "contrast_limits": dict(zip(source.elements, map(list, over.limits), strict=True)),
    }
    overlay = layer(
        over.picture,
        f"{' + '.join(source.elements)} overlay",
        source.maps[0],
        shows,
        rgb=True,
    )
    overlay.metadata.get("acquisition", {}).pop("element", None)
    for each in (residual, *errors, *fractions, *maps, overlay):
        viewer.add_layer(each)
    return FusedLayers(maps, errors, fractions, residual, overlay)


def _added_up(x: NDArray[Any], colours: Sequence[str], limits: Sequence[tuple[float, float]]) -> NDArray[np.uint8]:
    """(y, x, 3): each map between its contrast limits in its colour, added up.

    Where that is brighter than the screen, all is darkened alike until a thousandth of the pixels is; these keep their
    colour.
    """
    added = np.zeros((*x.shape[1:], 3), np.float32)
    for each, colour, (low, high) in zip(x, colours, limits, strict=True):
        share = np.clip((np.nan_to_num(each) - low) / (high - low), 0, 1)
        rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        added += share[..., None].astype(np.float32) * np.array(rgb, np.float32)
    added /= max(1.0, float(np.percentile(added.max(axis=-1), _BRIGHTEST)))
    added /= np.maximum(added.max(axis=-1, keepdims=True), 1)
    return np.rint(255 * added).astype(np.uint8)


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
    maps = [each.origin for each in source.maps]
    origins: dict[str, Any] = {"haadf": source.haadf.origin} | dict.fromkeys(source.noise.roles, maps)
    if source.vacuum:
        origins["reference"] = Origin(layer=source.vacuum)
    record = with_origins(record, origins)
    record["sources"][0]["placement"] = source.placement.summary()
    for each in record["sources"]:
        quantity = source.noise.roles.get(each["role"], "data")
        for layer in each.get("layers", ()) if quantity != "data" else ():
            layer["quantity"] = quantity
    return record
