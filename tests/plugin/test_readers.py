"""Files dropped on a real window: the layers they become, what they leave of the others, and what errors look like."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import dask.array as da
import h5py
import mrcfile
import numpy as np
import pytest
from dropped import DROPPED, Row
from napari.settings import get_settings
from napari.utils.notifications import NotificationSeverity, notification_manager

from napari_invrecon.io import Acquisition, Axis, hdf5, lazy, ome_zarr, raw, rosetta, rosetta_apart, tif, write
from napari_invrecon.plugin import readers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari import Viewer
    from napari.utils.notifications import Notification

pytestmark = pytest.mark.gui

PLUGIN = "napari-invrecon"
ASKED = ("*.tif", "*.npz")  # napari has readers of its own for these


@pytest.fixture
def remembered(viewer: Viewer) -> None:
    """The user has chosen this reader in napari's dialog, and ticked "Remember this choice"."""
    get_settings().plugins.extension2reader = dict.fromkeys(ASKED, PLUGIN)


@pytest.fixture(autouse=True)
def no_dialog(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dialog that nobody expects fails, rather than waits for an answer."""
    from napari._qt.dialogs.qt_reader_dialog import QtReaderDialog

    def asked(dialog: QtReaderDialog) -> None:
        raise AssertionError(f"napari asks: {dialog._current_file}")

    monkeypatch.setattr(QtReaderDialog, "get_user_choices", asked)


@pytest.fixture
def drop() -> Callable[..., list[Notification]]:
    """Drop files on a viewer, as the window system does; gives back the notifications."""
    from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
    from qtpy.QtGui import QDropEvent

    def drop(viewer: Viewer, *paths: Path) -> list[Notification]:
        seen = len(notification_manager.records)
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        event = QDropEvent(
            QPointF(5, 5),
            Qt.DropAction.CopyAction,
            mime,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        viewer.window._qt_viewer.dropEvent(event)
        return list(notification_manager.records[seen:])

    return drop


@pytest.fixture
def viewer(make_napari_viewer: Callable[[], Viewer]) -> Viewer:
    """A viewer with a calibrated image open, whose units nothing may break."""
    viewer = make_napari_viewer()
    viewer.add_image(np.eye(20), scale=(0.5, 0.5), units=("nm", "nm"), name="open before")
    viewer.canvas.overlays.scale_bar.visible = True
    return viewer


def units(viewer: Viewer) -> list[str]:
    assert viewer.layers.units is not None, "napari has dropped the units of all layers"
    return [f"{unit}" for unit in viewer.layers.units]


def write_mrc(path: Path, data: np.ndarray, voxel_a: float = 5.0) -> Path:
    with mrcfile.new(path, data) as mrc:
        if data.ndim == 3:
            mrc.set_image_stack()
        mrc.voxel_size = voxel_a
    return path


def write_tilts(folder: Path, name: str = "TS") -> Path:
    (folder / f"{name}.rawtlt").write_text("-2\n0\n2\n", encoding="utf-8")
    return write_mrc(folder / f"{name}.mrc", np.arange(36, dtype=np.int16).reshape(3, 3, 4))


def write_spectra(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        group = file.create_group("data/EELS")
        group.attrs["emd_group_type"] = 1
        group["data"] = np.ones((5, 3, 4), np.float32)
        for number, unit in enumerate(("[eV]", "[n_m]", "[n_m]"), start=1):
            group[f"dim{number}"] = np.arange((5, 3, 4)[number - 1]) * 0.5 + 100
            group[f"dim{number}"].attrs["units"] = unit
    return path


def severities(notifications: list[Notification]) -> list[NotificationSeverity]:
    return [notification.severity for notification in notifications]


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize("folder", sorted({file.split("/")[0] for file in DROPPED}))
def test_every_real_acquisition_opens_by_a_drop(folder: str, viewer: Viewer, drop: Any, shared_data: Path) -> None:
    pytest.importorskip("rsciio")
    files = sorted(p for p in (shared_data / folder).iterdir() if p.suffix != ".md")
    assert {f"{folder}/{path.name}" for path in files} == {file for file in DROPPED if file.startswith(f"{folder}/")}
    for path in files:
        rows = DROPPED[f"{folder}/{path.name}"]
        notifications = drop(viewer, path)
        opened = viewer.layers[1:]
        assert len(opened) == len(rows), path.name
        for layer, row in zip(opened, rows, strict=True):
            check(layer, row)
        assert units(viewer)[-2:] == ["nanometer", "nanometer"], path.name
        if not rows:
            assert severities(notifications) == [NotificationSeverity.ERROR]
            assert f"{path.name} describes images that are not beside it" in notifications[0].message
        del viewer.layers[1:]


def check(layer: Any, row: Row) -> None:
    acquisition = layer.metadata["acquisition"]
    assert layer.name == row.name
    assert layer.data.shape == row.shape, row.name
    np.testing.assert_allclose(layer.scale, row.scale, rtol=1e-5, err_msg=row.name)
    spelled = {"eV": "electron_volt", "nm": "nanometer"}
    assert [str(unit) for unit in layer.units] == [spelled.get(unit, unit) for unit in row.units.split()], row.name
    if isinstance(row.tilt, tuple):
        angles = acquisition["angles_deg"]
        assert len(angles) == row.shape[0]
        assert (angles[0], angles[-1]) == row.tilt
        np.testing.assert_allclose(layer.translate[0], row.tilt[0])
    else:
        tilt = acquisition.get("stage_tilt_deg")
        assert tilt == (row.tilt if row.tilt is None else pytest.approx(row.tilt, rel=1e-3)), row.name
    calibrated = "[" not in row.name and row.name != "dmTest_float32_nonSquare_diffPixelSize"
    plane = [axis["scale"] for axis in acquisition["axes"][-2:]]
    if calibrated and len(acquisition["axes"]) > 1 and len(set(plane)) == 1:
        assert acquisition["pixel_size_nm"] == pytest.approx(row.scale[-1], rel=1e-5)
    else:
        assert acquisition["pixel_size_nm"] is None


def test_every_kind_together_keeps_units_and_scale_bar(viewer: Viewer, drop: Any, tmp_path: Path) -> None:
    volume = write_mrc(tmp_path / "volume.rec", np.ones((3, 3, 4), np.float32))
    frames = write_mrc(tmp_path / "frames.mrcs", np.ones((3, 3, 4), np.float32))
    for path in (write_tilts(tmp_path), write_spectra(tmp_path / "a.emd"), frames, volume, write_tilts(tmp_path, "T2")):
        assert not drop(viewer, path)
    assert units(viewer) == ["pixel", "electron_volt", "degree", *["nanometer"] * 3]
    assert viewer.canvas.overlays.scale_bar.visible
    tilts, spectra = viewer.layers["TS"], viewer.layers["EELS"]
    assert tilts.data.shape == (3, 1, 3, 4)
    assert spectra.data.shape == (5, 1, 1, 3, 4)
    for tilt in (-2.0, 2.0):  # the spectrum image is there at every tilt
        viewer.dims.set_point((1, 2), (101.0, tilt))
        assert not spectra._slice.empty
        assert not tilts._slice.empty
        assert tilts._data_view.max() == (11 if tilt < 0 else 35)


def test_an_uncalibrated_file_is_marked_and_said_once(viewer: Viewer, drop: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "maps.npz", HAADF=np.ones((3, 4)), Cu=np.ones((3, 4)))
    viewer.open(tmp_path / "maps.npz", plugin=PLUGIN)
    (told,) = drop(viewer, write_mrc(tmp_path / "a.mrc", np.ones((3, 4), np.float32), -1.0))
    assert [layer.name for layer in viewer.layers[1:]] == [f"{n} [uncalibrated]" for n in ("HAADF", "Cu", "a")]
    assert told.severity == NotificationSeverity.WARNING
    assert told.message.startswith("a.mrc: not calibrated; 1 pixel is shown as 1 nm")
    assert "-1.0 A is no calibration" in told.message
    assert units(viewer) == ["nanometer", "nanometer"]


def test_several_files_in_one_drop_with_a_broken_one(viewer: Viewer, drop: Any, tmp_path: Path) -> None:
    good = [write_mrc(tmp_path / f"{name}.mrc", np.ones((3, 4), np.float32)) for name in "ac"]
    broken = tmp_path / "b.mrc"
    broken.write_bytes(good[0].read_bytes()[:-1])
    (told,) = drop(viewer, good[0], broken, good[1])
    assert [layer.name for layer in viewer.layers] == ["open before", "a", "c"]
    assert told.severity == NotificationSeverity.ERROR
    assert "b.mrc is incomplete" in told.message
    assert "copy it again" in told.message


def test_a_missing_extra_names_the_command(
    viewer: Viewer, drop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rsciio.digitalmicrograph", None)
    monkeypatch.setattr(rosetta, "signals", rosetta_apart.read_signals)
    (tmp_path / "a.dm4").write_bytes(b"anything")
    (told,) = drop(viewer, tmp_path / "a.dm4")
    assert 'pip install "napari-invrecon[em]"' in told.message
    assert len(viewer.layers) == 1


def test_no_layer_of_a_file_that_fails_at_its_second_signal(
    viewer: Viewer, drop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def fail_later(acquisition: object) -> tuple[Any, ...]:
        if made:
            raise RuntimeError
        made.append(acquisition)
        return np.ones((3, 4)), {}, "image"

    monkeypatch.setattr(readers, "read", lambda path: [object(), object()])
    monkeypatch.setattr(readers, "layer_data", fail_later)
    (told,) = drop(viewer, write_mrc(tmp_path / "a.mrc", np.ones((3, 4), np.float32)))
    assert told.message == "a.mrc could not be read: RuntimeError"
    assert len(viewer.layers) == 1


def test_without_a_viewer_an_error_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers.napari, "current_viewer", lambda: None)
    (tmp_path / "a.mrc").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"a\.mrc is not an MRC file"):
        readers.read_layers(str(tmp_path / "a.mrc"))


def test_tif_is_offered_in_the_dialog_and_left_to_napari_by_default(
    viewer: Viewer, drop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tifffile
    from napari._qt.dialogs.qt_reader_dialog import QtReaderDialog

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((3, 4), np.uint8), resolution=(1e7, 1e7), resolutionunit="CENTIMETER")
    offered = []

    def choose(dialog: QtReaderDialog) -> tuple[str, bool]:
        offered.extend(button.text() for button in dialog.reader_btn_group.buttons())
        return "Inverse reconstruction", False

    monkeypatch.setattr(QtReaderDialog, "get_user_choices", choose)
    drop(viewer, path)
    assert offered == ["Inverse reconstruction", "napari builtins"]
    assert viewer.layers[-1].scale == pytest.approx([1.0, 1.0])
    assert [str(unit) for unit in viewer.layers[-1].units] == ["nanometer"] * 2
    (plain,) = viewer.open(path)
    assert [str(unit) for unit in plain.units] == ["pixel"] * 2


def test_hdf5_is_claimed_only_where_it_is_emd(viewer: Viewer, drop: Any, tmp_path: Path) -> None:
    get_settings().plugins.extension2reader = {"*.h5": PLUGIN}
    drop(viewer, write_spectra(tmp_path / "emd.h5"))
    assert viewer.layers[-1].name == "EELS"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["stuff"] = 1
    assert readers.get_hdf5_reader(str(tmp_path / "other.h5")) is None
    assert readers.get_hdf5_reader(str(tmp_path / "emd.h5")) is readers.read_layers


def test_spectrum_images_are_hidden_where_there_is_an_image(viewer: Viewer, tmp_path: Path) -> None:
    viewer.open(write_spectra(tmp_path / "alone.emd"), plugin=PLUGIN)
    assert viewer.layers["EELS"].visible
    with h5py.File(write_spectra(tmp_path / "both.emd"), "a") as file:
        file.copy("data/EELS", "data/HAADF")
        del file["data/HAADF/data"], file["data/HAADF/dim1"], file["data/HAADF/dim3"]
        file["data/HAADF/data"] = np.ones((3, 3))
    found = viewer.open(tmp_path / "both.emd", plugin=PLUGIN)
    assert {layer.name.split(" [")[0]: layer.visible for layer in found} == {"EELS": False, "HAADF": True}


def write_single_tilts(folder: Path, angles: tuple[float, ...], name: str = "TS_{}") -> list[Path]:
    paths = []
    for i, angle in enumerate(angles):
        paths.append(write_mrc(folder / f"{name.format(i)}.mrc", np.full((3, 4), i, np.float32)))
        mdoc = f"[ZValue = 0]\nTiltAngle = {angle}\n"
        (folder / f"{paths[-1].name}.mdoc").write_text(mdoc, encoding="utf-8")
    return paths


def test_single_tilts_dropped_together_become_a_series(
    viewer: Viewer, drop: Any, tmp_path: Path, shared_data: Path
) -> None:
    pytest.importorskip("rsciio")
    drop(viewer, shared_data / "tilt" / "BF_002.dm3", shared_data / "tilt" / "BF_001.dm3")
    (series,) = viewer.layers[1:]
    assert series.name == "BF"
    assert series.data.shape == (2, 1, 128, 128)
    assert series.metadata["acquisition"]["files"] == ["BF_001.dm3", "BF_002.dm3"]
    del viewer.layers[1:]

    paths = write_single_tilts(tmp_path, (0.0, 4.0, -2.0, 6.0))
    alone = write_mrc(tmp_path / "TS_9.mrc", np.ones((3, 4), np.float32))
    told = drop(viewer, *paths, alone, *tmp_path.glob("*.mdoc"))
    assert [layer.name for layer in viewer.layers[1:]] == ["TS", "TS_9"]
    assert viewer.layers["TS"].metadata["acquisition"]["angles_deg"] == [-2, 0, 4, 6]
    assert units(viewer)[:1] == ["degree"]
    (missing,) = [each.message for each in told if "no image at" in each.message]
    assert "left out: TS_9.mrc (no single image with a tilt angle)" in missing
    drop(viewer, *paths)  # a second time, as a second layer
    assert viewer.layers[-1].name == "TS [1]"


def test_unlike_names_are_opened_one_by_one_and_the_remedy_is_told(viewer: Viewer, drop: Any, tmp_path: Path) -> None:
    from napari_invrecon.plugin.readers import get_reader

    paths = [*write_single_tilts(tmp_path, (0.0,), "before{}"), *write_single_tilts(tmp_path, (3.0,), "after{}")]
    (told,) = drop(viewer, *paths)
    assert [layer.name for layer in viewer.layers[1:]] == ["before0", "after0"]
    assert "drop them again with Shift held" in told.message
    del viewer.layers[1:]
    viewer.window._qt_viewer._qt_open([str(path) for path in paths], stack=True)  # what a drop with Shift calls
    assert viewer.layers[-1].metadata["acquisition"]["angles_deg"] == [0, 3]
    assert get_reader([str(path) for path in paths]) is get_reader(str(tmp_path))


def test_images_of_an_untilted_stage_stay_apart(viewer: Viewer, drop: Any, tmp_path: Path) -> None:
    assert not drop(viewer, *write_single_tilts(tmp_path, (0.01, 0.05, 0.02)))
    assert [layer.name for layer in viewer.layers[1:]] == ["TS_0", "TS_1", "TS_2"]


def test_a_stack_and_its_sidecar_are_one_layer(viewer: Viewer, drop: Any, tmp_path: Path) -> None:
    stack = write_tilts(tmp_path)
    drop(viewer, stack.with_suffix(".rawtlt"), stack)
    assert [layer.name for layer in viewer.layers[1:]] == ["TS"]


def test_a_folder_of_single_tilts_asks_which_reader(
    viewer: Viewer, drop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari._qt.dialogs.qt_reader_dialog import QtReaderDialog

    folder = tmp_path / "needle"
    folder.mkdir()
    write_single_tilts(folder, (2.0, 0.0, -2.0))
    monkeypatch.setattr(QtReaderDialog, "get_user_choices", lambda dialog: ("Inverse reconstruction", False))
    drop(viewer, folder)
    assert viewer.layers[-1].name == "needle"
    assert viewer.layers[-1].data.shape == (3, 1, 3, 4)
    (tmp_path / "empty").mkdir()
    (told,) = drop(viewer, tmp_path / "empty")
    assert "expected two or more images with a tilt angle each, found 0 in 0 files" in told.message


def write_large(folder: Path, suffix: str) -> Path:
    """40 planes (16, 16) of their pixels' numbers, too large to be read at once, one plane or a few in a block."""
    planes = np.arange(40 * 256, dtype=np.int16).reshape(40, 16, 16)
    path = folder / f"large{suffix}"
    if suffix == ".mrcs":
        return write_mrc(path, planes)
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            group = file.create_group("data/planes")
            group.attrs["emd_group_type"] = 1
            group.create_dataset("data", data=planes, chunks=(1, 16, 16))
            for number, n in enumerate(planes.shape, 1):
                group[f"dim{number}"] = np.arange(n, dtype=float)
        return path
    lazy_planes = da.from_array(planes, chunks=(1, 16, 16))
    write(path, Acquisition(lazy_planes, tuple(Axis(name, "nm", 1.0) for name in "zyx"), "large", "volume"))
    return path


@pytest.mark.parametrize("suffix", [".mrcs", ".tif", ".h5", ".zarr"])
def test_a_file_that_vanishes_is_an_error_and_the_window_lives(
    viewer: Viewer, drop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    for module in (raw, tif, hdf5, ome_zarr):
        monkeypatch.setattr(module, "EAGER_BYTES", 100)
    monkeypatch.setattr(lazy, "BLOCK_BYTES", 1000)
    path = write_large(tmp_path, suffix)
    viewer.open(path, plugin=PLUGIN)  # of some, napari has a reader too
    layer = viewer.layers[-1]
    assert isinstance(layer.data, da.Array)

    def shown(plane: int) -> None:
        viewer.dims.set_point(0, plane * layer.scale[0] + layer.translate[0])
        np.testing.assert_array_equal(np.asarray(layer._data_view).ravel()[:3], plane * 256 + np.arange(3))

    shown(5)
    whole = path.rename(tmp_path / "whole")
    if whole.is_dir():
        shutil.copytree(whole, path)
        for chunk in [each for each in path.rglob("[0-9]*") if each.is_file()]:
            chunk.unlink()
    else:
        path.write_bytes(whole.read_bytes()[:5000])  # cut short; a mapped file would end the process here
    with pytest.raises(OSError, match=r"large.*: a part of it cannot be read any more"):
        shown(35)
    shutil.rmtree(path) if path.is_dir() else path.unlink()  # and gone
    with pytest.raises(OSError, match=r"connect its drive again"):
        shown(20)
    assert layer in viewer.layers
    drop(viewer, write_mrc(tmp_path / "other.mrc", np.ones((3, 4), np.float32)))
    assert viewer.layers[-1].name == "other"
    whole.rename(path)
    shown(30)


def test_scrolling_past_the_end_of_a_file_on_the_slider_is_told_once(
    viewer: Viewer, drop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    """As a user meets it: Qt's slider moves, nobody catches the error, napari shows it."""
    monkeypatch.setattr(raw, "EAGER_BYTES", 100)
    monkeypatch.setattr(lazy, "BLOCK_BYTES", 1000)
    path = write_large(tmp_path, ".mrcs")
    drop(viewer, path)
    path.unlink()
    slider = viewer.window._qt_viewer.dims.slider_widgets[0].slider
    with qtbot.captureExceptions() as raised:
        slider.setValue(20)
    assert [type(each[1]) for each in raised] == [OSError]
    viewer.layers[-1].visible = False
    slider.setValue(3)
    assert viewer.dims.current_step[0] == 3
