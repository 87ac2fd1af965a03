"""The dock "Tomography" in a real window: a series dropped, aligned, and made a volume of."""

from __future__ import annotations

import json

import numpy as np
import pytest
from notifications import errors
from tilt_phantoms import voxels
from tilt_window import (
    ANGLES,
    OBJECT,
    PIXEL_NM,
    PLACE_NM,
    SHAPE,
    WAIT_MS,
    add,
    clean_series,
    drop,
    open_dock,
    press,
    state,
    with_drift,
    write,
)

from napari_invrecon.recon.record import array_hash

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("no_error_is_left")]


@pytest.fixture(scope="module")
def clean():
    return clean_series()


@pytest.fixture(scope="module")
def drifted(clean):
    return with_drift(clean)


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


def test_a_dropped_series_is_aligned_and_reconstructed(qtbot, viewer, drifted, tmp_path):
    write(tmp_path / "HAADF.mrc", drifted)
    drop(viewer, tmp_path / "HAADF.mrc")
    (source,) = viewer.layers
    dock = open_dock(viewer, n_iter=20)
    assert dock.image.value is source
    assert dock.angles.label.text() == "29 angles, −70…70°, from HAADF.rawtlt"
    before = state(viewer)

    aligned = press(qtbot, dock, dock.align_button)
    assert state(viewer)[:1] == before, "the source is untouched"
    assert aligned.name == "HAADF aligned"
    assert aligned.data.shape == source.data.shape
    assert (tuple(aligned.scale), tuple(aligned.translate)) == (tuple(source.scale), tuple(source.translate))
    assert aligned.units == source.units
    assert aligned.metadata["acquisition"]["angles_deg"] == ANGLES.tolist()
    found = aligned.metadata["invrecon"]
    assert found["method"] == "align"
    assert np.shape(found["alignment"]["shifts_px"]) == (len(ANGLES), 2)
    assert found["sources"][0] == {**found["sources"][0], "layer": "HAADF", "sha256": array_hash(drifted)}
    assert json.loads(json.dumps(found)) == found
    assert dock.image.value is aligned, "the next step is done with it"
    assert dock.alignment.plot.isVisibleTo(dock)
    assert dock.alignment.plot.sinograms.shape == (2, len(ANGLES), SHAPE[1])
    assert "Moved by up to" in dock.alignment.status.text()

    volume = press(qtbot, dock, dock.run_button)
    assert list(viewer.layers) == [source, aligned, volume]
    assert volume.data.shape == (SHAPE[1], *SHAPE)
    assert volume.axis_labels == ("z", "y", "x")
    np.testing.assert_allclose(volume.scale, PIXEL_NM, rtol=1e-6)
    np.testing.assert_allclose(volume.translate, [-PIXEL_NM * (SHAPE[1] - 1) / 2, 0, 0], atol=1e-4)
    assert [f"{unit:~}" for unit in volume.units] == ["nm", "nm", "nm"]
    assert viewer.layers.units is not None
    low, high = volume.contrast_limits
    assert volume.data.min() <= low < high <= volume.data.max()
    record = volume.metadata["invrecon"]
    assert record["method"] == "reconstruct_tilt_series"
    assert record["sources"][0]["layer"] == "HAADF aligned"
    assert record["sources"][0]["sha256"] == array_hash(np.asarray(aligned.data)[:, 0])
    assert record["history"][record["sources"][0]["made_by"]]["method"] == "align"
    assert record["sources"][1]["angles_deg"] == ANGLES.tolist()
    assert record["settings"]["algorithm"] == "sirt"
    assert json.loads(json.dumps(record)) == record
    truth = voxels(OBJECT, volume.data.shape)
    centred = np.corrcoef(np.sum(volume.data, axis=(0, 2)), np.sum(truth, axis=(0, 2)))[0, 1]
    assert centred > 0.95, "the object, as far as its shifts along the axis are known"
    assert dock.run_row.status_label.text().startswith("done in")


def test_the_step_align_can_be_skipped_and_the_object_comes_out(qtbot, viewer, clean):
    add(viewer, clean)
    dock = open_dock(viewer, n_iter=30)
    volume = press(qtbot, dock, dock.run_button)
    truth = voxels(OBJECT, volume.data.shape)
    assert np.corrcoef(volume.data.ravel(), truth.ravel())[0, 1] > 0.9, "z not mirrored, x not mirrored"
    np.testing.assert_allclose(volume.translate, [-PIXEL_NM * (SHAPE[1] - 1) / 2, *PLACE_NM])


@pytest.mark.parametrize("axis", ["y", "x"])
def test_maps_are_reconstructed_channel_by_channel_about_either_axis(qtbot, viewer, clean, axis):
    maps = np.stack([clean, 2 * clean])
    if axis == "x":
        maps = maps.swapaxes(-1, -2)
    viewer.add_image(maps, name="EDX")
    dock = open_dock(viewer)
    dock.angles.start.setValue(ANGLES[0])
    dock.angles.step.setValue(5.0)
    dock.axis.value = axis
    assert not dock.align_button.isEnabled()
    assert "align the image series of the same tilts" in dock.align_button.toolTip()
    volume = press(qtbot, dock, dock.run_button)
    y, x = (24, 40) if axis == "y" else (40, 24)
    assert volume.data.shape == (2, 40, y, x)
    assert volume.axis_labels == ("channel", "z", "y", "x")
    np.testing.assert_allclose(volume.data[1], 2 * volume.data[0], rtol=2e-3, atol=1e-3 * volume.data.max())
    assert viewer.dims.ndisplay == 2, "four dimensions are not rendered by themselves"


def test_the_shifts_are_saved_loaded_and_applied_to_maps(qtbot, viewer, drifted, tmp_path):
    source, maps = add(viewer, drifted), add(viewer, 3 * drifted, name="Co map")
    dock = open_dock(viewer)
    dock.image.value = source
    assert not dock.alignment.save_button.isEnabled()
    assert "not aligned here" in dock.alignment.save_button.toolTip()
    dock.alignment.settings.set_values({"method": "centre-of-mass"})
    aligned = press(qtbot, dock, dock.align_button)
    for name in ("shifts.json", "shifts.xf"):
        dock.alignment.save(tmp_path / name)
        dock.image.value = source
        with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
            dock.alignment.load(tmp_path / name)
        (loaded,) = end.args
        inside = np.s_[:, :, 6:-6, 6:-6]
        scatter = np.abs(loaded.data[inside] - aligned.data[inside]).max()
        assert scatter < 0.01 * np.nanmax(aligned.data), name
        assert dock.image.value is loaded
    dock.alignment.other.value = maps
    moved_maps = press(qtbot, dock, dock.alignment.apply_button)
    assert moved_maps.name == "Co map aligned"
    assert dock.image.value is loaded, "the shifts can be applied to another one"
    inside = np.s_[:, :, 6:-6, 6:-6]
    np.testing.assert_allclose(moved_maps.data[inside], 3 * loaded.data[inside], atol=0.02 * np.nanmax(moved_maps.data))
    (tmp_path / "none.json").write_text("{}")
    dock.alignment.load(tmp_path / "none.json")
    (message,) = errors()
    assert "none.json holds no alignment" in message
