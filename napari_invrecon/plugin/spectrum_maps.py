"""Elemental maps as layers: one an element, where its spectrum image is, in its own colour, with σ² and the record."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_invrecon.io import Acquisition, Axis
from napari_invrecon.io.elements import SYMBOLS
from napari_invrecon.plugin.contrast import contrast_limits
from napari_invrecon.plugin.layers import layer_data
from napari_invrecon.plugin.results import describe_layer
from napari_invrecon.recon.element_window import ElementWindow
from napari_invrecon.recon.spectra import MapSettings
from napari_invrecon.records.history import Origin, with_origins

if TYPE_CHECKING:
    from napari import Viewer

    from napari_invrecon.recon.spectra import ElementalMaps

_OF_THE_SPECTRUM = ("kind", "axes", "elements", "pixel_size_nm", "intensity_scale", "intensity_offset", "notes")


@dataclass(frozen=True)
class MapRequest:
    """What was asked for, as a bug report tells it."""

    settings: MapSettings
    windows: tuple[ElementWindow, ...]


@dataclass(frozen=True)
class MapPlace:
    """What a map takes over from its spectrum image, kept so that the layer itself may go meanwhile."""

    origin: Origin
    acquisition: dict[str, Any]
    axes: tuple[Axis, Axis]
    display: dict[str, Any]


def map_place(layer: Image) -> MapPlace:
    """Of a spectrum image's layer; its last two axes are the map's."""
    known = layer.metadata.get("acquisition", {})
    described = known.get("axes", [])[-2:]
    whole = len(known.get("axes", [])) == 3
    y, x = (Axis(**described[i]) if whole else Axis(name) for i, name in enumerate("yx"))
    display = {
        "scale": tuple(layer.scale[-2:]),
        "translate": tuple(layer.translate[-2:]),
        "rotate": layer.rotate[-2:, -2:],
        "affine": layer.affine.affine_matrix[-3:, -3:].copy(),
        "units": tuple(layer.units[-2:]),
        "axis_labels": ("y", "x"),
    }
    kept = {key: copy.deepcopy(value) for key, value in known.items() if key not in _OF_THE_SPECTRUM}
    return MapPlace(describe_layer(layer).origin, kept, (y, x), display)


def map_layer(place: MapPlace, data: Any, element: str, line: str, name: str) -> Image:
    """A map as the readers show one: in the colour of its element, called by it, (y, x)."""
    known = {"element": element} if element in SYMBOLS else {}
    metadata = place.acquisition | {"title": name} | known | ({"line": line} if line else {})
    _, keywords, _ = layer_data(Acquisition(data, place.axes, name, "map", metadata))
    return Image(data, **(keywords | place.display | {"name": name, "contrast_limits": map_limits(data)}))


def map_limits(data: Any) -> tuple[float, float]:
    """Contrast limits of a map: from 0, which is black, where the values scatter about it."""
    low, high = contrast_limits(data)
    return (0.0, high) if high > 0 else (low, high)


def add_maps(viewer: Viewer, maps: ElementalMaps, place: MapPlace, *, with_sigma: bool) -> list[Image]:
    """One new layer for each element, and a hidden one of its σ if wanted.

    ``metadata["invrecon"]`` is the record, in which ``part`` is the map's number among its elements; ``["variance"]``
    the map of σ²; ``["counts"]`` the sums, and ``["background"]`` what was subtracted of them;
    ``["acquisition"]["intensity"]`` says what the values are.
    """
    record = with_origins(maps.record, {"spectrum image": place.origin})
    unit = "counts" if record["detector"]["source"] == "the data are counts" else "data units"
    added = []
    for number, told in enumerate(record["elements"]):
        name = f"{told['element']} {told['line']}".strip()
        layer = map_layer(place, maps.data[number], told["element"], told["line"], name)
        layer.metadata.update(
            invrecon=record | {"part": number},
            variance=maps.variance[number],
            background=maps.background[number],
            counts=maps.counts[number],
        )
        said = unit if told["model"] == "none" else f"{unit} less their background"
        layer.metadata["acquisition"]["intensity"] = said
        if not number:
            layer.blending = "translucent_no_depth"  # black ground for the others' colours to add to
        if with_sigma:
            viewer.add_layer(_sigma_layer(layer, maps.variance[number], place))
        viewer.add_layer(layer)
        added.append(layer)
    return added


def _sigma_layer(layer: Image, variance: Any, place: MapPlace) -> Image:
    return Image(
        np.sqrt(variance),
        name=f"{layer.name} σ",
        visible=False,
        blending="translucent_no_depth",
        metadata={"invrecon": layer.metadata["invrecon"]},
        **place.display,
    )
