"""A reconstruction as a layer: in its source's place and calibration, with the record, and nothing else changed."""

from __future__ import annotations

import json
import threading

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

import napari_invrecon as ir
from napari_invrecon.plugin.results import add_result, describe_layer
from napari_invrecon.recon.record import array_hash, describe_array

ACQUISITION = {"kind": "image", "voltage_kv": 200, "axes": [{"name": "y", "unit": "nm"}, {"name": "x", "unit": "nm"}]}


def result_of(data, **record):
    sources = [{"role": "image", "sha256": "0"}, {"role": "psf"}]
    made = {"method": "deconvolve", "sources": sources, "result": describe_array(data), **record}
    return ir.Reconstruction(data, 0.126, made)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def layer(viewer):
    """Calibrated, moved, turned and looked at in a way of its own."""
    data = np.random.default_rng(0).normal(size=(3, 20, 30)).astype(np.float32)
    affine = np.eye(4)
    affine[1, 3] = 3.0
    return viewer.add_image(
        data,
        name="HAADF",
        scale=(4.0, 0.25, 0.5),
        translate=(1.0, -2.0, 7.5),
        rotate=20,
        affine=affine,
        units=("nm", "nm", "nm"),
        axis_labels=("z", "y", "x"),
        colormap="viridis",
        contrast_limits=(-9, 9),
        metadata={"acquisition": ACQUISITION},
    )


def test_place_calibration_and_look_are_the_source_s(viewer, layer):
    found = add_result(viewer, result_of(layer.data * 3), describe_layer(layer), "deconvolved λ=0.126")
    assert found is viewer.layers[-1]
    assert len(viewer.layers) == 2
    assert found.name == "HAADF deconvolved λ=0.126"
    np.testing.assert_array_equal(found.scale, layer.scale)
    np.testing.assert_array_equal(found.translate, layer.translate)
    assert found.units == layer.units
    assert found.axis_labels == layer.axis_labels == ("z", "y", "x")
    assert found.colormap == layer.colormap
    for corner in np.ndindex(2, 2, 2):
        np.testing.assert_allclose(found.data_to_world(corner), layer.data_to_world(corner))
    low, high = found.contrast_limits
    assert found.data.min() <= low < high <= found.data.max()
    assert viewer.layers.units is not None, "the viewer keeps its units"


def test_the_record_and_the_acquisition_go_with_it(viewer, layer):
    result = result_of(layer.data)
    found = add_result(viewer, result, describe_layer(layer), "deconvolved")
    record = found.metadata["invrecon"]
    acquired = {"voltage_kv": 200}
    assert record["sources"][0] == {"role": "image", "sha256": "0", "layer": "HAADF", "acquired": acquired}
    assert record | {"sources": result.record["sources"]} == result.record
    assert "layer" not in result.record["sources"][0], "the result's own record is not written to"
    assert found.metadata["acquisition"] == ACQUISITION
    json.dumps(found.metadata)
    found.metadata["acquisition"]["voltage_kv"] = 80
    assert layer.metadata["acquisition"]["voltage_kv"] == 200, "source and result share nothing"


def test_a_result_of_a_result_keeps_both_records(viewer, layer):
    first = add_result(viewer, result_of(layer.data, lam=0.1), describe_layer(layer), "deconvolved")
    second = add_result(viewer, result_of(layer.data + 1, lam=0.2), describe_layer(first), "deconvolved")
    record = second.metadata["invrecon"]
    assert record["lam"] == 0.2
    assert record["sources"][0]["layer"] == "HAADF deconvolved"
    assert record["history"] == {record["sources"][0]["made_by"]: first.metadata["invrecon"]}
    assert record["sources"][0]["made_by"] == array_hash(first.data)
    assert "history" not in first.metadata["invrecon"]


def test_an_equal_name_replaces_no_layer(viewer, layer):
    source = describe_layer(layer)
    first = add_result(viewer, result_of(layer.data * 2), source, "deconvolved")
    second = add_result(viewer, result_of(layer.data * 5), source, "deconvolved")
    assert [each.name for each in viewer.layers] == ["HAADF", "HAADF deconvolved", "HAADF deconvolved [1]"]
    np.testing.assert_array_equal(first.data, layer.data * 2)
    np.testing.assert_array_equal(second.data, layer.data * 5)


def test_the_source_is_not_changed(viewer, layer):
    before = array_hash(layer.data), dict(layer.metadata), layer.name, layer.contrast_limits, layer.visible
    add_result(viewer, result_of(layer.data * 2), describe_layer(layer), "deconvolved")
    assert (array_hash(layer.data), dict(layer.metadata), layer.name, layer.contrast_limits, layer.visible) == before


def test_the_source_may_be_renamed_moved_or_removed_meanwhile(viewer, layer):
    source = describe_layer(layer)
    layer.name, layer.scale, layer.translate, layer.colormap = "other", (1, 1, 1), (0, 0, 0), "gray"
    layer.metadata["acquisition"]["kind"] = "map"
    data = layer.data
    viewer.layers.remove(layer)
    found = add_result(viewer, result_of(data), source, "deconvolved")
    assert found.name == "HAADF deconvolved"
    assert tuple(found.scale) == (4.0, 0.25, 0.5)
    assert tuple(found.translate) == (1.0, -2.0, 7.5)
    assert found.colormap.name == "viridis"
    assert found.metadata["acquisition"]["kind"] == "image"


def test_metadata_that_cannot_be_copied_is_no_obstacle(viewer):
    layer = Image(np.eye(5), metadata={"opened by another plugin": threading.Lock()})
    found = add_result(viewer, result_of(layer.data), describe_layer(layer), "deconvolved")
    assert list(found.metadata) == ["invrecon"]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_constant_result_can_be_shown(viewer, layer, value):
    found = add_result(viewer, result_of(np.full(layer.data.shape, value, np.float32)), describe_layer(layer), "flat")
    low, high = found.contrast_limits
    assert low < high


def test_a_lazy_result_stays_lazy(viewer, layer):
    data = da.from_array(layer.data, chunks=(1, 20, 30))
    found = add_result(viewer, result_of(data), describe_layer(layer), "deconvolved")
    assert found.data is data
