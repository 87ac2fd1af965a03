"""The paragraph on the clipboard, and the script that makes a layer again, from a real window."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication, QFileDialog
from spectrum_window import add_spectra, counts, low_loss
from tilt_window import clean_series, drop, open_dock, press, write

from napari_invrecon.plugin.record_actions import copy_methods, export_script
from napari_invrecon.recon.record import array_hash

pytestmark = pytest.mark.gui
PLUGIN = "napari-invrecon"


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def said():
    before = len(notification_manager.records)
    return lambda: [each.message for each in notification_manager.records[before:]]


def deconvolved(viewer, qtbot):
    """A result whose image and PSF are no files, with pixels that do not count."""
    data = np.random.default_rng(0).poisson(50, (40, 44)).astype(np.uint16)
    viewer.add_image(data, name="HAADF")
    y, x = np.mgrid[-8:9, -8:9]
    viewer.add_image(np.exp(-(y**2 + x**2) / 6).astype(np.float32), name="point")
    dead = viewer.add_labels(np.pad(np.ones((2, 2), int), ((5, 33), (7, 35))), name="dead")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    dock.image.value = viewer.layers["HAADF"]
    dock.psf.unit.setCurrentText("measured: layer")
    dock.psf.layer.setCurrentText("point")
    dock.ignored.choose(dead)
    dock.lam.value = 0.1
    dock.settings.set_values({"n_iter": 3})
    return press(qtbot, dock, dock.run_button)


def export(viewer, qtbot, layer, path, said, monkeypatch):
    viewer.layers.selection.active = layer
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    told = len(said())
    export_script()
    qtbot.waitUntil(lambda: any("again.py" in t or "Export script failed" in t for t in said()[told:]), timeout=60_000)


def run(path):
    return subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=300, check=False)


def test_a_script_of_layers_that_are_no_files(viewer, qtbot, said, tmp_path, monkeypatch):
    layer = deconvolved(viewer, qtbot)
    export(viewer, qtbot, layer, tmp_path / "again", said, monkeypatch)
    assert "with 3 arrays that no file holds beside it" in said()[-1]
    assert len(list(tmp_path.glob("again_*.npy"))) == 3
    done = run(tmp_path / "again.py")
    assert done.returncode == 0, done.stderr
    assert "bit for bit" in done.stdout
    viewer.layers["HAADF"].data = viewer.layers["HAADF"].data + np.uint16(1)
    export(viewer, qtbot, layer, tmp_path / "again.py", said, monkeypatch)
    assert "Export script failed: the image is no longer what was used" in said()[-1]


def test_a_script_of_a_dropped_series_names_its_file_and_runs_through_the_alignment(
    viewer, qtbot, said, tmp_path, monkeypatch
):
    write(tmp_path / "needle.mrc", clean_series()[:, :20])
    drop(viewer, tmp_path / "needle.mrc")
    dock = open_dock(viewer, n_iter=3)
    dock.alignment.settings.set_values({"method": "cross-correlation"})
    press(qtbot, dock, dock.align_button)
    volume = press(qtbot, dock, dock.run_button)
    viewer.dims.ndisplay = 2
    export(viewer, qtbot, volume, tmp_path / "again.py", said, monkeypatch)
    text = (tmp_path / "again.py").read_text(encoding="utf-8")
    assert repr(str(tmp_path / "needle.mrc")) in text
    assert not list(tmp_path.glob("*.npy"))
    done = run(tmp_path / "again.py")
    assert done.returncode == 0, done.stderr
    assert volume.metadata["invrecon"]["result"]["sha256"] == array_hash(volume.data)
    copy_methods()
    told = QApplication.clipboard().text()
    assert told.startswith(
        "The tilt series needle.mrc (pixel size 1.5 nm) of 29 images from −70° to 70° in steps of 5°"
    )
    assert "by SIRT [2]" in told
    assert said()[-1].startswith(f"Methods paragraph of '{volume.name}' copied")


def test_a_script_of_spectra_whose_low_loss_layer_is_summed(viewer, qtbot, said, tmp_path, monkeypatch):
    add_spectra(viewer, counts())
    add_spectra(viewer, np.tile(low_loss(), (1, 2, 3)), name="low loss", start_ev=-10.0)
    viewer.layers.selection.active = viewer.layers["EELS"]
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Spectrum")
    layer = press(qtbot, dock, dock.energy.run_row.run_button)
    export(viewer, qtbot, layer, tmp_path / "again", said, monkeypatch)
    assert "with 2 arrays that no file holds beside it" in said()[-1]
    done = run(tmp_path / "again.py")
    assert done.returncode == 0, done.stderr


def test_a_script_from_a_real_file_through_its_maps_to_their_fusion(
    viewer, qtbot, said, tmp_path, monkeypatch, shared_data
):
    """X-ray counts, four maps, fused; every array comes from the one file. Nothing of napari is loaded."""
    pytest.importorskip("rsciio")
    drop(viewer, shared_data / "bruker/test_TEM.bcf")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Spectrum")
    press(qtbot, dock, dock.run_button)
    _, fuse = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    fuse.lam.value = 2.0
    fuse.settings.set_values({"coupling": "edges", "n_iter": 20})
    press(qtbot, fuse, fuse.run_button)
    blocked = "import sys\nsys.modules['napari'] = sys.modules['qtpy'] = None\n"
    for name, layer in (("map", viewer.layers["Ti Ka"]), ("fused", fuse.fused.maps[1])):
        file = tmp_path / name / "again.py"
        file.parent.mkdir()
        export(viewer, qtbot, layer, file, said, monkeypatch)
        assert list(file.parent.iterdir()) == [file], "every source is in the file"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("import sys\n", blocked), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(file), str(tmp_path / f"{name}.npy")],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), layer.data)
