"""Which layers can be an HAADF image and which the elemental maps of its field, and what the maps are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.layers import Image

from napari_invrecon.io.elements import element_and_line
from napari_invrecon.plugin.placement import Placement, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.layers import Layer

_LEAST_PX = 4  # a side; below it there is no edge to speak of


@dataclass(frozen=True, eq=False)
class OfferedMap:
    """A layer that may be a map; ``why_not`` says why it cannot be one with the chosen HAADF."""

    layer: Image
    element: str
    expected: bool  # it is a map of the HAADF's field, and no other one of its element comes before it
    why_not: str = ""


def planes(layers: Iterable[Layer]) -> list[Image]:
    """Images of one plane (y, x) that hold a measurement: no colours, and no result of a fusion."""
    return [
        layer
        for layer in layers
        if isinstance(layer, Image)
        and not (layer.rgb or layer.multiscale)
        and layer.ndim == 2
        and min(layer.data.shape) >= _LEAST_PX
        and layer.metadata.get("invrecon", {}).get("method") != "fuse"
    ]


def element_of(layer: Image) -> str | None:
    """The element that a layer maps, by its metadata or its name; None where neither names one."""
    known = layer.metadata.get("acquisition", {}).get("element")
    return known or element_and_line(layer.name).get("element")


def likely_haadf(images: Sequence[Image]) -> Image | None:
    """The image that names no element, fits the maps that there are, and calls itself HAADF; the first among equals."""
    maps = [each for each in images if element_of(each)]
    others = [each for each in images if each not in maps] or list(images)

    def rank(image: Image) -> tuple[bool, bool]:
        known = image.metadata.get("acquisition", {})
        named = f"{image.name} {known.get('title', '')} {known.get('detector', '')}".lower()
        return not any(placed(image, each) for each in maps), "haadf" not in named

    return min(others, key=rank, default=None)


def offered_maps(images: Sequence[Image], haadf: Image | None) -> list[OfferedMap]:
    """Every other image, those that are expected to be fused first."""
    found: list[OfferedMap] = []
    first: Image | None = None
    taken: set[str] = set()
    for layer in images:
        if haadf is not None and layer == haadf:
            continue
        element, why_not = element_of(layer), ""
        try:
            if haadf is not None:
                place(haadf, layer)
        except ValueError as error:
            why_not = str(error)
        expected = bool(element) and not why_not and element not in taken
        expected = expected and (first is None or same_grid(layer, first))
        if expected:
            first = first or layer
            taken.add(str(element))
        name = element or layer.name.replace(",", " ")
        found.append(OfferedMap(layer, name, expected, why_not))
    return sorted(found, key=lambda each: (not each.expected, bool(each.why_not)))


def placed(haadf: Image, layer: Image) -> Placement | None:
    """How the HAADF lies on a map, None where it does not."""
    try:
        return place(haadf, layer)
    except ValueError:
        return None


def same_grid(layer: Image, other: Image) -> bool:
    """Whether two maps have the same pixels."""
    if layer.data.shape != other.data.shape:
        return False
    found = placed(layer, other)
    return found is not None and found.times == 1 and found.start == (0, 0)
