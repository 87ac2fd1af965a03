"""The action "Repeat with these settings", in a real window: the dock is filled, runs, and gives the same array."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from tilt_window import ANGLES, WAIT_MS, add, clean_series, open_dock, press, with_drift

from napari_invrecon.plugin.record_actions import repeat_selected
from napari_invrecon.plugin.widgets import tomography as dock_module
from napari_invrecon.recon import slabs
from napari_invrecon.recon.record import array_hash

pytestmark = pytest.mark.gui
PLUGIN = "napari-invrecon"
SMALL = slice(None), slice(0, 16)


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def said():
    """What napari has told since the test began."""
    before = len(notification_manager.records)
    return lambda: [each.message for each in notification_manager.records[before:]]


def repeat(viewer, qtbot, layer, said, dock="Deconvolve"):
    """Choose the action; the new layer, or None where something was told before anything ran."""
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, dock)
    ended = []
    dock.finished.connect(ended.append)
    told = len(said())
    viewer.layers.selection.active = layer
    repeat_selected()
    qtbot.waitUntil(lambda: bool(ended) or any("Repeat failed" in each for each in said()[told:]), timeout=WAIT_MS)
    return ended[0] if ended else None


def image(viewer, seed=0, name="HAADF"):
    rng = np.random.default_rng(seed)
    data = rng.poisson(40 + 60 * (np.indices((48, 56)).sum(0) % 20 > 9)).astype(np.uint16)
    return viewer.add_image(data, name=name, scale=(0.5, 0.5), units=("nm", "nm"))


def deconvolved(viewer, qtbot, **settings):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    dock.psf.unit.setCurrentText("FWHM (nm)")
    dock.psf.width.setValue(1.7)
    dock.settings.set_values({"regulariser": "tikhonov"} | settings)
    return press(qtbot, dock, dock.run_button), dock


def scramble(dock):
    """Another state of the dock than the one that made the layer."""
    dock.lam.value = 0.5
    dock.psf.unit.setCurrentText("σ (px)")
    dock.psf.width.setValue(3.0)
    dock.settings.set_values({"regulariser": "l1", "n_iter": 3, "seed": 7})


def test_a_deconvolution_with_a_chosen_lambda(viewer, qtbot, said):
    image(viewer, 1, "other")
    image(viewer)
    first, dock = deconvolved(viewer, qtbot, z_exponent=1.7)
    scramble(dock)
    dock.image.value = viewer.layers["other"]
    again = repeat(viewer, qtbot, first, said)
    assert again is not first
    assert array_hash(again.data) == array_hash(first.data)
    old, new = (each.metadata["invrecon"] for each in (first, again))
    assert new["settings"] == old["settings"] | {"lam": old["lam"]}
    assert new["sources"] == old["sources"]
    assert said()[-1] == f"'{again.name}' is the same array as '{first.name}', bit for bit"
    assert len(viewer.layers) == 4


def test_a_source_that_was_changed_is_told(viewer, qtbot, said):
    layer = image(viewer)
    first, _ = deconvolved(viewer, qtbot)
    layer.data = layer.data + np.uint16(1)
    again = repeat(viewer, qtbot, first, said)
    assert "'HAADF' is not the image that was recorded" in said()[-2]
    assert "not the same array" in said()[-1]
    assert "the image (other data)" in said()[-1]
    assert array_hash(again.data) != array_hash(first.data)


def test_a_source_that_was_renamed_is_known_by_its_data(viewer, qtbot, said):
    layer = image(viewer)
    first, _ = deconvolved(viewer, qtbot)
    layer.name = "renamed"
    image(viewer, 1, "HAADF")
    again = repeat(viewer, qtbot, first, said)
    assert array_hash(again.data) == array_hash(first.data)
    assert again.name.startswith("renamed")


def test_a_source_that_is_gone_is_named_and_nothing_runs(viewer, qtbot, said):
    layer = image(viewer)
    first, _ = deconvolved(viewer, qtbot)
    image(viewer, 1, "other")
    viewer.layers.remove(layer)
    before = list(viewer.layers)
    assert repeat(viewer, qtbot, first, said) is None
    assert "the image 'HAADF' is no longer in the viewer: add it again" in said()[-1]
    assert list(viewer.layers) == before


def test_layers_for_the_psf_the_pixels_to_ignore_and_the_flat_region(viewer, qtbot, said):
    image(viewer)
    y, x = np.mgrid[-10:11, -10:11]
    point = np.exp(-(y**2 + x**2) / 8).astype(np.float32)
    psf = viewer.add_image(point, name="point", scale=(0.5, 0.5), units=("nm", "nm"))
    dead = viewer.add_labels(np.pad(np.ones((2, 2), int), ((5, 41), (7, 47))), name="dead")
    dead.scale, dead.units = (0.5, 0.5), ("nm", "nm")
    vacuum = viewer.add_shapes([[2, 2], [2, 20], [12, 20], [12, 2]], name="vacuum", scale=(0.5, 0.5))
    vacuum.units = ("nm", "nm")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    dock.image.value = viewer.layers["HAADF"]
    dock.psf.unit.setCurrentText("measured: layer")
    dock.psf.layer.setCurrentText("point")
    dock.ignored.choose(dead)
    dock.flat.choose(vacuum)
    dock.settings.set_values({"n_iter": 4})
    dock.lam.value = 0.1
    first = press(qtbot, dock, dock.run_button)
    sources = {each["role"]: each.get("layer") for each in first.metadata["invrecon"]["sources"]}
    assert sources == {"image": "HAADF", "psf": "point", "weights": "dead", "reference": "vacuum"}
    scramble(dock)
    dock.ignored.choose(None)
    dock.flat.choose(None)
    again = repeat(viewer, qtbot, first, said)
    assert array_hash(again.data) == array_hash(first.data)
    dead.paint((20, 20), 1)
    repeat(viewer, qtbot, first, said)
    assert "Different: the weights (other data)" in said()[-1]
    viewer.layers.remove(psf)
    assert repeat(viewer, qtbot, first, said) is None
    assert "the psf 'point' is no longer in the viewer" in said()[-1]


def test_a_run_that_was_ended_by_done(viewer, qtbot, said):
    image(viewer)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    dock.settings.set_values({"n_iter": 100_000, "tolerance": 0.0})
    dock.lam.value = 0.01

    def finish(state):
        if state.step > 2:
            dock.run_row.done_button.click()

    dock.run_row.progressed.connect(finish)
    first = press(qtbot, dock, dock.run_button)
    dock.run_row.progressed.disconnect(finish)
    assert first.metadata["invrecon"]["stopped"] == "asked to finish"
    again = repeat(viewer, qtbot, first, said)
    assert array_hash(again.data) == array_hash(first.data)


def test_a_run_of_slabs_that_was_ended_by_done(viewer, qtbot, said, monkeypatch):
    monkeypatch.setattr(slabs, "_SHARE", 0.01)  # of 0.1 GB: room for a part of the stack
    add(viewer, np.tile(clean_series(), (1, 2, 1)))
    dock = open_dock(viewer, n_iter=25, tolerance=0.0, noise_sigma=1e-9, memory_gb=0.1)

    real = dock_module.tomography

    def ended(*asked):
        """As if Done were pressed when the first slab is there."""
        steps, answer = real(*asked), None
        while True:
            try:
                state = steps.send(answer)
            except StopIteration as end:
                return end.value
            yield state
            answer = state.stage.startswith("slab 1 ")

    monkeypatch.setattr(dock_module, "tomography", ended)
    first = press(qtbot, dock, dock.run_button)
    monkeypatch.setattr(dock_module, "tomography", real)
    record = first.metadata["invrecon"]
    assert record["stopped"].startswith("asked to finish: ")
    assert len(set(record["iterations"]["done"])) > 1
    again = repeat(viewer, qtbot, first, said, "Tomography")
    assert array_hash(again.data) == array_hash(first.data)
    assert again.metadata["invrecon"]["iterations"] == record["iterations"]
    assert said()[-1].endswith("bit for bit")
    whole = press(qtbot, dock, dock.run_button)
    assert not whole.metadata["invrecon"]["stopped"].startswith("asked"), "the next run goes to its end"


def test_an_alignment_and_the_volume_that_was_made_of_it(viewer, qtbot, said):
    stack = add(viewer, with_drift(clean_series())[SMALL])
    dock = open_dock(viewer, algorithm="tv-sart", n_iter=3, lam=0.02)
    dock.alignment.settings.set_values({"method": "cross-correlation"})
    aligned = press(qtbot, dock, dock.align_button)
    volume = press(qtbot, dock, dock.run_button)
    dock.lam.value = None
    dock.settings.set_values({"algorithm": "fbp", "axis_shift_px": 2.0, "thickness_px": 9})
    dock.image.value = stack
    dock.axis.value = "x"
    again = repeat(viewer, qtbot, volume, said, "Tomography")
    assert array_hash(again.data) == array_hash(volume.data)
    assert dock.image.value == aligned
    moved = repeat(viewer, qtbot, aligned, said, "Tomography")
    assert array_hash(moved.data) == array_hash(aligned.data)
    assert said()[-1].endswith("bit for bit")
    viewer.dims.ndisplay = 2
    viewer.layers.remove(aligned)
    viewer.layers.remove(moved)
    assert repeat(viewer, qtbot, volume, said, "Tomography") is None
    assert "the stack 'HAADF aligned' is no longer in the viewer: repeat the step that made it" in said()[-1]


def test_angles_that_were_typed_are_those_of_the_record(viewer, qtbot, said):
    layer = add(viewer, clean_series()[SMALL])
    del layer.metadata["acquisition"]["angles_deg"]
    dock = open_dock(viewer)
    dock.angles.source.setCurrentText("start and step")
    dock.angles.start.setValue(-70)
    dock.angles.step.setValue(5)
    first = press(qtbot, dock, dock.run_button)
    dock.angles.step.setValue(4)
    again = repeat(viewer, qtbot, first, said, "Tomography")
    assert array_hash(again.data) == array_hash(first.data)
    np.testing.assert_array_equal(dock.angles.value, ANGLES)
    assert dock.angles.label.text().endswith("from the record")


def test_a_layer_without_a_record_that_can_be_read(viewer, said):
    layer = image(viewer)
    viewer.layers.selection.active = layer
    repeat_selected()
    assert "has no record" in said()[-1]
    for record, message in (
        ({"method": "deconvolve", "schema": 99}, "this version reads"),
        ({"x": 1}, "expected the record"),
    ):
        layer.metadata["invrecon"] = record
        repeat_selected()
        assert message in said()[-1]
    viewer.layers.selection.clear()
    repeat_selected()
    assert "Select one layer first" in said()[-1]
