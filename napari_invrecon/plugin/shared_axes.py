"""Where a layer's leading axis goes in a viewer that uses the fourth axis from the end for something else already.

napari counts axes from the last and shows one unit an axis. A spectrum image (energy, 1, y, x) beside a tilt series
(tilt, 1, y, x) would put eV and degree on one axis, upon which napari drops the units of all layers, the scale bar's
too. So the later of the two moves its leading axis one to the front, and gets an axis of length 1 in the other's place,
as long as the other's range: it is there at every tilt, and the tilt series at every energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import LayerList
    from napari.types import LayerDataTuple

_LENGTHS = 3  # z, y and x, counted from the end, are lengths in every layer


@dataclass(frozen=True)
class _Taken:
    """What an axis of the viewer is used for: its unit, and from where to where."""

    label: str
    unit: pint.Unit
    low: float
    high: float


def keep_units(layers: Sequence[LayerDataTuple], opened: LayerList) -> list[LayerDataTuple]:
    """The layers from `layer_data`, with axes of length 1 put in where a unit would clash with a layer that is open."""
    if len(opened) and opened.extent.units is None:
        return list(layers)  # there are no units left to keep
    taken: list[_Taken] = []  # beyond the lengths, counted from there to the front
    if len(opened):
        extent = opened.extent
        for k in range(_LENGTHS + 1, len(extent.units) + 1):
            label = next(layer.axis_labels[-k] for layer in opened if layer.ndim >= k)
            taken.append(_Taken(label, extent.units[-k], *extent.world[:, -k]))
    return [_placed(layer, taken) for layer in layers]


def _placed(layer: LayerDataTuple, taken: list[_Taken]) -> LayerDataTuple:
    """The layer with its leading axis at the first place that is free or has its unit; ``taken`` is updated."""
    data, keywords, layer_type = layer
    if data.ndim <= _LENGTHS:
        return layer
    unit = pint.get_application_registry().Unit(keywords["units"][0])
    ends = (keywords["translate"][0], keywords["translate"][0] + keywords["scale"][0] * (data.shape[0] - 1))
    same = (i for i, axis in enumerate(taken) if axis.unit.dimensionality == unit.dimensionality)
    place = next(same, len(taken))
    fill = list(reversed(taken[:place]))
    lead = _Taken(keywords["axis_labels"][0], unit, min(ends), max(ends))
    if place < len(taken):
        lead = _Taken(lead.label, unit, min(lead.low, taken[place].low), max(lead.high, taken[place].high))
    taken[place : place + 1] = [lead]
    if not fill:
        return layer
    # A little longer than the range, so that both its ends round to the one place that there is.
    between: dict[str, list[Any]] = {
        "units": [axis.unit for axis in fill],
        "scale": [1.01 * (axis.high - axis.low) or 1.0 for axis in fill],
        "translate": [(axis.low + axis.high) / 2 for axis in fill],
        "axis_labels": [axis.label for axis in fill],
    }
    moved = {key: (keywords[key][0], *values, *keywords[key][1:]) for key, values in between.items()}
    return data[(slice(None), *(None,) * len(fill))], keywords | moved, layer_type
