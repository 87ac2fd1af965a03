"""Acquisitions as layers, and back."""

from __future__ import annotations

import json
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Layer

from napari_invrecon.io import Acquisition, Axis
from napari_invrecon.plugin.layers import layer_data, pixel_size_nm, source_array, uncalibrated_steps

Y, X = Axis("y", "nm", 0.5, -3.0), Axis("x", "nm", 0.5, 1.0)
TILT, ENERGY = Axis("tilt", "degree", 2.0, -4.0), Axis("energy", "eV", 0.25, 350.0)


def layer(kind: Any, axes: tuple[Axis, ...], data: Any = None, **metadata: Any) -> Image:
    if data is None:
        data = np.random.default_rng(0).random((5, 3, 4)[-len(axes) :] if len(axes) > 1 else (5,)).astype(np.float32)
    made = Layer.create(*layer_data(Acquisition(data, axes, "signal", kind, metadata)))
    assert isinstance(made, Image)
    return made


@pytest.mark.parametrize(
    ("kind", "axes", "shape", "scale", "units", "labels"),
    [
        ("image", (Y, X), (3, 4), (0.5, 0.5), "nm nm", "y x"),
        ("map", (Y, X), (3, 4), (0.5, 0.5), "nm nm", "y x"),
        ("volume", (Axis("z", "nm", 2.0), Y, X), (5, 3, 4), (2, 0.5, 0.5), "nm nm nm", "z y x"),
        ("tilt series", (TILT, Y, X), (5, 1, 3, 4), (2, 0.5, 0.5, 0.5), "degree nm nm nm", "tilt z y x"),
        ("spectrum image", (ENERGY, Y, X), (5, 1, 3, 4), (0.25, 0.5, 0.5, 0.5), "eV nm nm nm", "energy z y x"),
        ("stack", (Axis("frame", "s", 0.8), Y, X), (5, 1, 3, 4), (1, 0.5, 0.5, 0.5), "pixel nm nm nm", "frame z y x"),
        ("spectrum", (ENERGY,), (5, 1, 1, 1), (0.25, 1, 1, 1), "eV nm nm nm", "energy z y x"),
    ],
)
def test_shapes_and_units(
    kind: str, axes: tuple[Axis, ...], shape: tuple[int, ...], scale: tuple[float, ...], units: str, labels: str
) -> None:
    made = layer(kind, axes)
    assert made.data.shape == shape
    np.testing.assert_allclose(made.scale, scale)
    assert [f"{unit:~}" for unit in made.units] == units.replace("degree", "deg").split()
    assert list(made.axis_labels) == labels.split()
    assert made.name == "signal"
    offsets = [axis.offset for axis in axes if axis.name != "frame"]
    assert [place for place in made.translate if place] == [offset for offset in offsets if offset]
    acquisition = made.metadata["acquisition"]
    json.dumps(acquisition)
    assert acquisition["kind"] == kind
    assert [Axis(**axis) for axis in acquisition["axes"]] == list(axes)
    assert source_array(made).shape == tuple(n for n in shape if n > 1)


def test_falling_tilts_read_true_on_the_slider() -> None:
    made = layer("tilt series", (Axis("tilt", "degree", -2.0, 4.0), Y, X), angles_deg=[4, 2, 0, -2, -4])
    np.testing.assert_allclose(made.data_to_world((4, 0, 0, 0))[0], -4)


@pytest.mark.parametrize(
    ("kind", "axes", "name", "scale"),
    [
        ("image", (Axis("y", scale=0.3), Axis("x", scale=2.0)), "signal [uncalibrated]", (1, 1)),
        ("image", (Axis("y", scale=1 / 32), Axis("x", scale=1 / 32)), "signal [uncalibrated]", (1 / 32, 1 / 32)),
        ("diffraction", (Axis("y", "1/nm", 0.17), Axis("x", "1/nm", 0.17)), "signal [1/nm]", (0.17, 0.17)),
        ("diffraction", (Axis("y", "degree", 0.01), Axis("x", "degree", 0.01)), "signal [degree]", (0.01, 0.01)),
        ("spectrum image", (ENERGY, Axis("y"), Axis("x")), "signal [uncalibrated]", (0.25, 1, 1, 1)),
        ("spectrum image", (Axis("energy"), Y, X), "signal [uncalibrated]", (1, 0.5, 0.5, 0.5)),
        ("spectrum", (Axis("energy"),), "signal [uncalibrated]", (1, 1, 1, 1)),
    ],
)
def test_what_is_no_length_is_shown_as_nm_and_marked(
    kind: str, axes: tuple[Axis, ...], name: str, scale: tuple[float, ...]
) -> None:
    made = layer(kind, axes)
    assert made.name == name
    np.testing.assert_allclose(made.scale, scale)
    assert {f"{unit:~}" for unit in made.units[-2:]} == {"nm"}
    assert [Axis(**axis) for axis in made.metadata["acquisition"]["axes"]] == list(axes)


def test_source_array_is_a_view_in_the_acquisition_s_order() -> None:
    data = np.arange(60.0).reshape(5, 3, 4)
    made = layer("tilt series", (TILT, Y, X), data)
    np.testing.assert_array_equal(source_array(made), data)
    assert np.shares_memory(source_array(made), data)


def test_source_array_stays_lazy() -> None:
    assert isinstance(source_array(layer("tilt series", (TILT, Y, X), da.ones((5, 3, 4)))), da.Array)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 1, 3, 4), (5, 3, 4)), ((5, 2, 3, 4), (5, 2, 3, 4)), ((3, 4), (3, 4)), ((1, 1, 4), (1, 1, 4))],
)
def test_source_array_of_other_layers(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert source_array(Image(np.zeros(shape))).shape == expected


def test_pixel_size() -> None:
    assert pixel_size_nm(layer("tilt series", (TILT, Y, X))) == 0.5
    assert pixel_size_nm(layer("image", (Y, Axis("x", "nm", 0.25)))) is None
    assert pixel_size_nm(layer("image", (Axis("y"), Axis("x")))) is None
    assert pixel_size_nm(layer("diffraction", (Axis("y", "1/nm", 0.17), Axis("x", "1/nm", 0.17)))) is None


def test_pixel_size_that_the_user_gave() -> None:
    made = layer("image", (Axis("y"), Axis("x")))
    made.scale = (0.2, 0.2)
    assert pixel_size_nm(made) == pytest.approx(0.2)


def test_pixel_size_of_other_layers() -> None:
    assert pixel_size_nm(Image(np.zeros((3, 4)), scale=(2, 2), units=("um", "um"))) == pytest.approx(2000)
    assert pixel_size_nm(Image(np.zeros((3, 4)))) is None


@pytest.mark.parametrize("together", ["O Ti Cu Pd", "Mn Fe Co Ni O", "Sc Dy O", "Cu Zn O", "Ce Co O", "C N O Si"])
def test_maps_add_up_in_colours_of_their_elements(together: str) -> None:
    maps = [layer("map", (Y, X), element=element) for element in together.split()]
    assert {made.blending for made in maps} == {"additive"}
    assert len({made.colormap.name for made in maps}) == len(maps)
    np.testing.assert_allclose(maps[0].colormap.colors[0], [0, 0, 0, 1])


def test_images_are_grey() -> None:
    assert layer("image", (Y, X)).colormap.name == "gray"


def test_a_scan_within_the_pixels_of_another_lies_over_it() -> None:
    """Digital Micrograph's HAADF of a spectrum image, 32 times finer, neither of them calibrated."""
    fine, coarse = (
        layer("image", (Axis("y", scale=1 / 32), Axis("x", scale=1 / 32))),
        layer("image", (Axis("y"), Axis("x"))),
    )
    first = [each.translate - np.array(each.scale) / 2 for each in (fine, coarse)]
    np.testing.assert_allclose(*first)
    assert pixel_size_nm(fine) is None


def test_what_a_step_of_an_uncalibrated_axis_is_shown_as() -> None:
    plane = Axis("y", scale=1 / 32), Axis("x", scale=1 / 32)
    cases = {
        plane: ["1 pixel is shown as 1/32 nm"],
        (Axis("energy"), Axis("y"), Axis("x")): ["1 channel is shown as 1 eV", "1 pixel is shown as 1 nm"],
        (Axis("frame"), Axis("y", "nm"), Axis("x", "nm")): [],
    }
    for axes, said in cases.items():
        found = Acquisition(np.zeros((4,) * len(axes)), axes, "A", "image")
        assert uncalibrated_steps(found) == said
