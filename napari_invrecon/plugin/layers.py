"""Acquisition to napari layer, and back to the array and the pixel size that a reconstruction takes.

napari shows one unit an axis for all layers together, counted from the last axis, and drops every unit as soon as two
layers disagree in kind. So every layer here has lengths in nm as its last axes; a leading axis of tilt, energy or
frames is kept apart from the depth z by an axis of length 1; and what is not a length is shown as nm with a note in the
layer's name, its true calibration in ``metadata["acquisition"]["axes"]``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from napari.utils import Colormap

from napari_invrecon.io import Acquisition, Axis
from napari_invrecon.io.elements import SYMBOLS, element_and_line
from napari_invrecon.plugin.contrast import contrast_limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Layer
    from napari.types import LayerDataTuple

    from napari_invrecon.io.acquisition import Kind

# Unit in which a leading axis is shown; frames are counted, also where the file says how far apart they are in time.
_LEADING_UNITS = {"tilt": "degree", "energy": "eV", "frame": "pixel", "channel": "pixel"}
_STEPS = {"tilt": "tilt", "energy": "channel"}
_SQUARE = 1e-3  # relative; pixels are square when their sides differ by less

# One colour an element, the same in every file; Okabe and Ito's for the colour-blind, the dark blue made lighter.
_MAP_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#8064ff")


def layer_data(acquisition: Acquisition) -> LayerDataTuple:
    """(data, keyword arguments, "image") for napari.

    Shapes: image, map, diffraction (y, x); volume (z, y, x); tilt series, spectrum image, stack (tilt | energy | frame,
    1, y, x); spectrum (energy, 1, 1, 1). Scale and translate are the calibration's; of tilts that are not evenly spaced
    the mean step, the angles themselves in ``metadata["acquisition"]["angles_deg"]``.
    """
    data, axes = acquisition.data, acquisition.axes
    if axes[0].name in _LEADING_UNITS and len(axes) < 4:
        inserted = 4 - len(axes)
        plane = axes[1:] or (Axis("y", "nm"), Axis("x", "nm"))
        # As thick as a pixel, so that the step of the z slider stays the one of the volumes beside it.
        depth = Axis("z", "nm", _shown(plane[-1])[1])
        data, axes = data[(slice(None), *(None,) * inserted)], (axes[0], depth, *plane)
    units, scale, translate = zip(*(_shown(axis) for axis in axes), strict=True)
    keywords = {
        "name": " ".join([acquisition.name, *(f"[{what}]" for what in foreign_units(acquisition))]),
        "scale": scale,
        "translate": translate,
        "units": units,
        "axis_labels": tuple(axis.name for axis in axes),
        "contrast_limits": contrast_limits(acquisition.data),
        "metadata": {"acquisition": _metadata(acquisition)}
        | ({"invrecon": acquisition.record} if acquisition.record is not None else {}),
        **_look(acquisition),
    }
    return data, keywords, "image"


def layer_acquisition(data: Any, attributes: Mapping[str, Any]) -> Acquisition:
    """The way back from a layer's data and attributes: without the axes that were put in, calibrated as the layer is.

    An axis that is shown in another unit than it has gets its own back, unless the user has calibrated the layer since.
    """
    metadata = dict(attributes["metadata"].get("acquisition", {}))
    described, kind = metadata.pop("axes", None), metadata.pop("kind", None)
    metadata.pop("pixel_size_nm", None)
    names = _names(attributes["axis_labels"])
    ndim = len(described) if described else 3 if names[0] in _LEADING_UNITS else data.ndim
    kept = list(range(data.ndim))
    while len(kept) > ndim and data.shape[kept[1]] == 1:
        del kept[1]
    data = data.reshape([data.shape[i] for i in kept])
    columns = (attributes[key] for key in ("units", "scale", "translate"))
    shown = [_of_layer(names[i], *column) for i, column in enumerate(zip(*columns, strict=True))]
    axes = tuple(shown[i] for i in kept)
    name, was = str(attributes["name"]), axes
    if described and len(described) == len(axes):
        was = tuple(Axis(**axis) for axis in described)
        axes = tuple(
            old if math.isclose(new.scale, _shown(old)[1]) and _unit(old) != old.unit else new
            for old, new in zip(was, axes, strict=True)
        )
    found = Acquisition(data, axes, name, kind or _kind(axes), metadata, attributes["metadata"].get("invrecon"))
    for what in reversed(foreign_units(replace(found, axes=was))):
        name = name.removesuffix(f" [{what}]")
    return replace(found, name=name)


def _names(labels: Sequence[str]) -> list[str]:
    """The labels, with names for those that napari has numbered."""
    usual = ("channel", "z", "y", "x")
    return [
        usual[i - len(labels)] if label.lstrip("-").isdigit() and len(labels) - i <= 4 else label
        for i, label in enumerate(labels)
    ]


def _of_layer(name: str, unit: Any, scale: float, translate: float) -> Axis:
    """A layer's axis in the package's units; one that is in none of them counts pixels."""
    for known in ("nm", "degree", "eV"):
        if (unit.is_compatible_with(known) and not unit.dimensionless) or str(unit) == known:
            factor = float((1 * unit).to(known).magnitude)
            return Axis(name, known, float(scale) * factor, float(translate) * factor)
    return Axis(name, "pixel", float(scale), float(translate))


def _kind(axes: Sequence[Axis]) -> Kind:
    kinds: dict[str, Kind] = {"tilt": "tilt series", "energy": "spectrum image", "frame": "stack"}
    if len(axes) == 1:
        return "spectrum"
    return kinds.get(axes[0].name, "image" if len(axes) == 2 else "volume")


def foreign_units(acquisition: Acquisition) -> list[str]:
    """What the axes shown as nm or eV are in truth, where that is something else: "uncalibrated", "1/nm", …"""
    units = [axis.unit for axis in acquisition.axes if axis.name != "frame" and axis.unit != _unit(axis)]
    return list(dict.fromkeys("uncalibrated" if unit == "pixel" else unit for unit in units))


def uncalibrated_steps(acquisition: Acquisition) -> list[str]:
    """What one step of the uncalibrated axes is shown as: "1 pixel is shown as 1/32 nm", "1 channel as 1 eV"."""
    said = []
    for axis in acquisition.axes:
        unit, step, _ = _shown(axis)
        if axis.unit == "pixel" != unit:
            what = _STEPS.get(axis.name, "pixel")
            said.append(f"1 {what} is shown as {'1' if step == 1 else f'1/{round(1 / step)}'} {unit}")
    return list(dict.fromkeys(said))


def source_array(layer: Layer) -> Any:
    """The layer's data without the axes of length 1 that were put in: (tilt, y, x), (energy, y, x), (energy,)."""
    data = layer.data
    described = layer.metadata.get("acquisition", {}).get("axes")
    ndim = len(described) if described else min(data.ndim, 3)
    while data.ndim > ndim and data.shape[1] == 1:
        data = data[:, 0]
    return data


def pixel_size_nm(layer: Layer) -> float | None:
    """Side of a pixel in nm; None where the layer is not calibrated in lengths, or its pixels are not square.

    A calibration that the user has given the layer counts, also where its file had none.
    """
    sides = pixel_sides_nm(layer)
    return None if sides is None else _square_side(sides)


def pixel_sides_nm(layer: Layer) -> tuple[float, ...] | None:
    """Both sides (y, x) of a pixel in nm; None where the layer is not calibrated in lengths."""
    described = layer.metadata.get("acquisition", {}).get("axes", [])
    sides = []
    for scale, unit, axis in zip(layer.scale[-2:], layer.units[-2:], described[-2:] or (None, None), strict=False):
        if axis is not None and axis["unit"] != "nm" and math.isclose(scale, _shown(Axis(**axis))[1]):
            return None
        if not unit.is_compatible_with("nm"):
            return None
        sides.append((float(scale) * unit).to("nm").magnitude)
    return tuple(sides)


def _square_side(sides: Sequence[float]) -> float | None:
    return float(sides[0]) if len(sides) == 2 and math.isclose(*sides, rel_tol=_SQUARE) else None


def _unit(axis: Axis) -> str:
    return _LEADING_UNITS.get(axis.name, "nm")


def _shown(axis: Axis) -> tuple[str, float, float]:
    """(unit, scale, translate) in napari: an uncalibrated axis counts pixels, any other keeps its numbers.

    Where a file says that its pixels are a whole fraction of another image's (scanned within each pixel of a spectrum
    image), they are shown so, and both fields begin at the same edge.
    """
    if axis.unit == "pixel" and axis.name in ("y", "x") and 0 < axis.scale < 1:
        times = round(1 / axis.scale)
        if math.isclose(times * axis.scale, 1.0, rel_tol=1e-6):
            return _unit(axis), 1 / times, (1 / times - 1) / 2
    if axis.unit == "pixel" or axis.name == "frame":
        return _unit(axis), 1.0, 0.0
    return _unit(axis), axis.scale or 1.0, axis.offset


def _metadata(acquisition: Acquisition) -> dict[str, Any]:
    lengths = [axis.scale for axis in acquisition.axes[-2:] if axis.unit == "nm"]
    return acquisition.metadata | {
        "signal": acquisition.name,
        "kind": acquisition.kind,
        "axes": [asdict(axis) for axis in acquisition.axes],
        "pixel_size_nm": _square_side(lengths),
    }


def element_colours(elements: Sequence[str]) -> list[str]:
    """A colour for each map, its element's own while no other one of these has it, so that they can be told apart."""
    colours: list[str] = []
    for element in elements:
        first = _own_colour(element)
        order = [*_MAP_COLOURS[first:], *_MAP_COLOURS[:first]]
        free = [each for each in order if each not in colours]
        colours.append((free or order)[0])
    return colours


def map_colormap(colour: str) -> Colormap:
    """From black to a colour."""
    return Colormap([[0, 0, 0, 1], colour], name=f"black to {colour}")


def _own_colour(element: str) -> int:
    """A hash of the atomic number under which elements that are mapped together (O Ti Cu Pd, Fe Co Ni O) differ."""
    symbol = element_and_line(element).get("element")
    return 0 if symbol is None else 31 * (SYMBOLS.index(symbol) + 1) % 81 % len(_MAP_COLOURS)


def _look(acquisition: Acquisition) -> dict[str, Any]:
    element = acquisition.metadata.get("element")
    if element is not None:
        return {"colormap": map_colormap(element_colours([element])[0]), "blending": "additive"}
    return {"colormap": "gray", "blending": "translucent_no_depth"}
