"""Layers of different kinds in one viewer keep napari's units."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_invrecon.io import Acquisition, Axis
from napari_invrecon.plugin.layers import layer_data, source_array
from napari_invrecon.plugin.shared_axes import keep_units

PLANE = (Axis("y", "nm", 0.5), Axis("x", "nm", 0.5))
SERIES = {
    name: Acquisition(np.ones((n, 3, 4)), (lead, *PLANE), name, kind)
    for name, n, lead, kind in (
        ("tilts", 5, Axis("tilt", "degree", 2.0, -4.0), "tilt series"),
        ("more", 9, Axis("tilt", "degree", 2.0, -8.0), "tilt series"),
        ("spectra", 7, Axis("energy", "eV", 10.0, 100.0), "spectrum image"),
        ("frames", 6, Axis("frame"), "stack"),
    )
} | {"image": Acquisition(np.ones((3, 4)), PLANE, "image", "image")}
SPELLED = {"degree", "electron_volt", "pixel", "nanometer"}


def add(viewer: ViewerModel, *names: str) -> None:
    for data, keywords, kind in keep_units([layer_data(SERIES[name]) for name in names], viewer.layers):
        viewer.add_layer(Layer.create(data, keywords, kind))


@pytest.mark.parametrize("order", list(itertools.permutations(["tilts", "spectra", "frames"])))
def test_units_survive_in_any_order(order: tuple[str, ...]) -> None:
    viewer = ViewerModel()
    for name in ("image", *order):
        add(viewer, name)
        assert viewer.layers.units is not None
        assert [f"{unit}" for unit in viewer.layers.units[-2:]] == ["nanometer"] * 2
    assert {f"{unit}" for unit in viewer.layers.units} == SPELLED
    assert viewer.layers[order[0]].ndim == 4
    for name in order:
        assert source_array(viewer.layers[name]).shape == SERIES[name].data.shape


def test_signals_of_one_file_know_of_each_other() -> None:
    viewer = ViewerModel()
    add(viewer, "tilts", "spectra", "frames", "image")
    assert {f"{unit}" for unit in viewer.layers.units or ()} == SPELLED


def test_a_second_series_shares_the_axis_of_the_first() -> None:
    viewer = ViewerModel()
    for name in ("spectra", "tilts", "more"):
        add(viewer, name)
    assert viewer.layers["tilts"].ndim == viewer.layers["more"].ndim == 5
    assert [f"{unit}" for unit in (viewer.layers.units or ())[:2]] == ["degree", "electron_volt"]
    assert viewer.layers["more"].axis_labels == ("tilt", "energy", "z", "y", "x")


def test_a_layer_is_there_all_along_the_other_s_axis() -> None:
    viewer = ViewerModel()
    add(viewer, "tilts", "spectra")
    spectra = viewer.layers["spectra"]
    for tilt in (-4.0, 0.0, 4.0):
        assert round(spectra.world_to_data((130.0, tilt, 0.0, 0.0, 0.0))[1]) == 0


def test_where_units_are_lost_already_nothing_changes() -> None:
    viewer = ViewerModel()
    viewer.add_image(np.ones((3, 4)))
    viewer.add_image(np.ones((3, 4)), units=("nm", "nm"))
    assert viewer.layers.units is None
    add(viewer, "spectra")
    assert viewer.layers["spectra"].ndim == 4
