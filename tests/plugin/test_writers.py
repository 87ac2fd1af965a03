"""Layers saved from a real window come back with everything, by each of napari's ways to save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import npe2
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager

from napari_invrecon.io import Acquisition, Axis, write
from napari_invrecon.plugin.fusion_results import overlay_of
from napari_invrecon.plugin.layers import layer_data
from napari_invrecon.plugin.writers import come_first

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari import Viewer
    from napari.layers import Image

pytestmark = pytest.mark.gui

PLUGIN = "napari-invrecon"
RECORD = {"schema": 1, "method": "deconvolve", "lam": 0.25, "settings": {"regulariser": "tv"}, "sources": []}
EXTENSIONS = (".tif", ".ome.tif", ".mrc", ".zarr", ".hspy")
NM = (Axis("y", "nm", 0.3, -4.0), Axis("x", "nm", 0.3, 2.0))
Z = Axis("z", "nm", 0.3, -0.15)
ANGLES = [-10.0, 0.5, 11.0]


@pytest.fixture(autouse=True)
def _reader_of_hspy() -> None:
    pytest.importorskip("rsciio")


@pytest.fixture
def viewer(make_napari_viewer: Callable[[], Viewer]) -> Viewer:
    """A viewer on which one of our commands has been used, as it is where a layer has a record."""
    viewer = make_napari_viewer()
    npe2.PluginManager.instance().activate(PLUGIN)
    return viewer


def acquisitions() -> list[Acquisition]:
    rng = np.random.default_rng(3)
    tilts = (Axis("tilt", "degree", 10.5, -10.0), *NM)
    spectra = (Axis("energy", "eV", 0.5, 700.0), *NM)
    return [
        Acquisition(rng.random((3, 5, 6), np.float32), tilts, "needle", "tilt series", {"angles_deg": ANGLES}, RECORD),
        Acquisition(rng.random((4, 5, 6), np.float32), spectra, "EELS", "spectrum image", {}, RECORD),
        Acquisition(rng.random((5, 6), np.float32), (Axis("y"), Axis("x")), "plain tv λ=0.25", "image", {}, RECORD),
        Acquisition(
            rng.random((2, 5, 6), np.float32), (Axis("z", "nm", 0.3, -0.15), *NM), "body", "volume", {}, RECORD
        ),
    ]


def add(viewer: ViewerModel, *which: int) -> list[Image]:
    made = acquisitions()
    for i in which or range(len(made)):
        viewer._add_layer_from_data(*layer_data(made[i]))
    return list(viewer.layers)


def check(found: Image, saved: Image) -> None:
    np.testing.assert_array_equal(np.asarray(found.data), np.asarray(saved.data))
    assert found.data.shape == saved.data.shape
    np.testing.assert_array_equal(found.scale, saved.scale)
    np.testing.assert_array_equal(found.translate, saved.translate)
    assert (found.units, found.axis_labels, found.name) == (saved.units, saved.axis_labels, saved.name)
    assert found.metadata["invrecon"] == RECORD
    for key in ("kind", "axes", "angles_deg", "pixel_size_nm"):
        assert found.metadata["acquisition"].get(key) == saved.metadata["acquisition"].get(key)


def reopened(viewer: ViewerModel, path: Path) -> Image:
    viewer.layers.clear()
    (found,) = viewer.open(path, plugin=PLUGIN)
    return found


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_layer_of_every_kind_comes_back(tmp_path: Path, extension: str) -> None:
    viewer = ViewerModel()  # napari's own, but for the window, in which each layer takes half a second
    npe2.PluginManager.instance().activate(PLUGIN)
    for which in range(4):
        viewer.layers.clear()
        (saved,) = add(viewer, which)
        path = tmp_path / f"a{extension}"
        assert viewer.layers.save(str(path)) == [str(path)]
        check(reopened(viewer, path), saved)


@pytest.mark.parametrize("extension", [".ome.tif", ".zarr"])
def test_several_layers_become_a_file_each(viewer: Viewer, tmp_path: Path, extension: str) -> None:
    saved = add(viewer)
    written = viewer.layers.save(str(tmp_path / f"all{extension}"))
    names = [f"all needle{extension}", f"all EELS{extension}", f"all plain tv λ=0.25 [uncalibrated]{extension}"]
    assert written == [str(tmp_path / name) for name in [*names, f"all body{extension}"]]
    for path, layer in zip(written, saved, strict=True):
        check(reopened(viewer, tmp_path / path), layer)
    viewer.layers.clear()
    add(viewer)
    with pytest.raises(OSError, match=r"all needle.*is already there: choose another name, or save this layer alone"):
        viewer.layers.save(str(tmp_path / f"all{extension}"))


def test_the_dialog_of_the_menu(viewer: Viewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qtpy.QtWidgets import QFileDialog

    def choose(*_: Any, filter: str, **__: Any) -> tuple[str, str]:
        offered = [each for each in filter.split(";;") if each.startswith("Inverse reconstruction ")]
        # The default name is the layer's, to which the dialog adds no extension.
        return str(tmp_path / "needle tv λ=0.25"), offered[extensions.index(extension)]

    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
    extensions = (".tif", ".mrc", ".zarr", ".hspy")
    for extension in extensions:
        viewer.layers.clear()
        saved, _ = add(viewer, 0, 1)
        viewer.layers.selection = {saved}
        viewer.window._qt_viewer._save_layers_dialog(selected=True)
        check(reopened(viewer, tmp_path / f"needle tv λ=0.25{extension}"), saved)


def test_through_npe2(viewer: Viewer, tmp_path: Path) -> None:
    (saved,) = add(viewer, 0)
    written = npe2.write(str(tmp_path / "a.mrc"), [saved], plugin_name=PLUGIN)
    check(reopened(viewer, tmp_path / written[0]), saved)


def test_tif_is_ours_wherever_napari_stands(viewer: Viewer, tmp_path: Path) -> None:
    plugins = npe2.PluginManager.instance()
    plugins._contrib.reindex(plugins.get_manifest(PLUGIN))  # napari is found first, as it is on some machines
    assert plugins.get_writer("a.tif", ["image"])[0].plugin_name == "napari"
    come_first(plugins.get_context(PLUGIN))
    assert plugins.get_writer("a.tif", ["image"])[0].plugin_name == PLUGIN
    assert plugins.get_writer("a.png", ["image"])[0].plugin_name == "napari"
    assert not plugins.is_disabled("napari")
    saved = viewer.add_image(np.eye(5, dtype=bool))  # which OME has not, and napari's own writer has
    viewer.layers.save(str(tmp_path / "mask.tif"))
    np.testing.assert_array_equal(reopened(viewer, tmp_path / "mask.tif").data, saved.data)


def test_colours_go_to_napari_s_own_writer(viewer: Viewer, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (5, 6, 3), np.uint8)
    viewer.add_image(colours, rgb=True, name="colours")
    assert viewer.layers.save(str(tmp_path / "a.tif")) == [str(tmp_path / "a.tif")]
    (found,) = viewer.open(tmp_path / "a.tif", plugin="napari")
    np.testing.assert_array_equal(found.data, colours)
    with pytest.raises(OSError, match="'colours' is a layer of colours: save it alone as"):
        npe2.write(str(tmp_path / "b.mrc"), [viewer.layers[0]])


def test_the_overlay_of_a_fusion_can_be_saved_as_its_message_says(viewer: Viewer, tmp_path: Path) -> None:
    overlay = overlay_of(np.random.default_rng(0).random((2, 5, 6)), ("Ce", "Co")).picture
    viewer.add_image(overlay, rgb=True, name="overlay", metadata={"invrecon": RECORD})
    for name in ("a.tif", "a.png"):
        assert viewer.layers.save(str(tmp_path / name)) == [str(tmp_path / name)]
        (found,) = viewer.open(tmp_path / name, plugin="napari")
        np.testing.assert_array_equal(found.data[..., :3], overlay)
        viewer.layers.remove(found)
    assert any("a.tif: colours only" in each.message for each in notification_manager.records)


def test_what_is_lost_is_said(viewer: Viewer, tmp_path: Path) -> None:
    viewer.add_image(np.random.default_rng(0).random((5, 6)), rotate=20, name="turned")
    viewer.layers.save(str(tmp_path / "a.mrc"))
    said = [notification.message for notification in notification_manager.records[-2:]]
    assert said[0].startswith("a.mrc: the layer's rotation and shear are not kept")
    assert said[1].startswith("a.mrc: MRC holds float32, which keeps 7 digits of float64")


def test_a_failure_is_an_error_and_changes_nothing(viewer: Viewer, tmp_path: Path) -> None:
    saved = add(viewer, 1, 3)
    with pytest.raises(OSError, match=r"a EELS\.mrc was not written|folder .* does not exist"):
        viewer.layers.save(str(tmp_path / "none" / "a.mrc"))
    viewer.add_image(np.ones((2, 2, 2, 2)), name="four")
    with pytest.raises(OSError, match=r"expected a real image or volume .*Saved before: b EELS\.mrc, b body\.mrc"):
        viewer.layers.save(str(tmp_path / "b.mrc"))
    assert list(viewer.layers)[:2] == saved


def test_a_user_s_own_calibration_is_what_is_saved(viewer: Viewer, tmp_path: Path) -> None:
    (layer,) = add(viewer, 2)
    layer.scale, layer.units = (2.0, 2.0), ("um", "um")
    viewer.layers.save(str(tmp_path / "a.zarr"))
    found = reopened(viewer, tmp_path / "a.zarr")
    np.testing.assert_allclose(found.scale, 2000)
    assert found.name == "plain tv λ=0.25"


@pytest.mark.usefixtures("viewer")
def test_a_zarr_folder_is_offered_to_this_reader(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", acquisitions()[3])
    readers = npe2.PluginManager.instance().iter_compatible_readers([str(tmp_path / "a.zarr")])
    assert PLUGIN in {reader.plugin_name for reader in readers}
