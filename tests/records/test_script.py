"""The exported script, run in a fresh process, gives the same array, bit for bit, of every modality."""

import subprocess
import sys

import numpy as np
import pytest
from recorded import METHODS, recorded

import napari_invrecon as ir
from napari_invrecon.io import Acquisition, Axis, write
from napari_invrecon.recon.record import array_hash
from napari_invrecon.records.history import Origin, with_history, with_origins
from napari_invrecon.records.script import script
from napari_invrecon.records.sources import open_source


def run(text, folder, *options):
    """A fresh process that must not load napari or Qt."""
    file = folder / "again.py"
    guard = "import sys\nsys.modules['napari'] = sys.modules['qtpy'] = None\n"
    head, _, rest = text.partition("import sys\n")
    file.write_text(head + guard + rest, encoding="utf-8")
    command = [sys.executable, str(file), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300, check=False)


def with_files(record, sources, folder):
    """The record with each array source in an .npy file."""
    saved = {}
    for entry, array in zip(record["sources"], sources, strict=True):
        if "sha256" in entry:
            saved[entry["sha256"]] = str(folder / f"{entry['role']}.npy")
            np.save(saved[entry["sha256"]], array)
    return saved


@pytest.mark.parametrize("method", METHODS)
def test_a_script_of_every_method_gives_the_same_array(method, tmp_path):
    result, sources = recorded(method)
    text = script(result.record, "the result", with_files(result.record, sources, tmp_path))
    done = run(text, tmp_path, "out.npy")
    assert done.returncode == 0, done.stderr
    assert "the same array, bit for bit" in done.stdout
    assert array_hash(np.load(tmp_path / "out.npy")) == result.record["result"]["sha256"]


def test_a_chain_starts_from_the_original_file(tmp_path):
    """align → reconstruct → deconvolve of a file, whose name and signal the record knows."""
    aligned, (stack, angles) = recorded("align")
    file = tmp_path / "series.mrc"
    axes = (Axis("tilt", "degree", 10.0, -60.0), Axis("y", "nm", 1.0), Axis("x", "nm", 1.0))
    write(file, Acquisition(stack, axes, "HAADF", "tilt series", {"angles_deg": angles.tolist()}))
    known = {"file_name": file.name, "signal": "HAADF"}
    first = ir.Reconstruction(
        aligned.data, 0.0, with_origins(aligned.record, {"stack": Origin("HAADF", str(file), known)})
    )
    volume = ir.reconstruct_tilt_series(aligned.data, aligned.angles_deg, lam=0.01, n_iter=2)
    sharp = ir.deconvolve(volume.data, ir.gaussian_psf(1.0, 3), lam=0.01, regulariser="tikhonov")
    psf = tmp_path / "psf.npy"
    np.save(psf, ir.gaussian_psf(1.0, 3))
    record = with_history(sharp, first, volume)
    text = script(record, "the sharpened volume", {record["sources"][1]["sha256"]: str(psf)})
    done = run(text, tmp_path)
    assert done.returncode == 0, done.stderr
    write(file, Acquisition(stack + 1, axes, "HAADF", "tilt series", {"angles_deg": angles.tolist()}))
    done = run(text, tmp_path)
    assert done.returncode == 1
    assert "series.mrc does not hold the data that were used (other hash)" in done.stderr


def test_a_source_without_a_file_is_named():
    with pytest.raises(ValueError, match="names no file of the haadf, maps: save that array"):
        script(recorded("fuse")[0].record)


def test_a_layer_that_shows_one_map_is_one_map(tmp_path):
    result, sources = recorded("fuse")
    record = result.record | {"part": 1}
    done = run(script(record, "Co", with_files(record, sources, tmp_path)), tmp_path, "out.npy")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), result.data[1])


def test_a_file_that_holds_something_else_is_told(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    assert open_source(tmp_path / "a.npy", shape=(3, 1, 4)).shape == (3, 1, 4)
    with pytest.raises(ValueError, match="holds 'a', but no signal 'HAADF'"):
        open_source(tmp_path / "a.npy", signal="HAADF")
    with pytest.raises(ValueError, match=r"holds an array \(3, 4\): expected \(4, 3\)"):
        open_source(tmp_path / "a.npy", shape=(4, 3))
    with pytest.raises(ValueError, match="other hash"):
        open_source(tmp_path / "a.npy", sha256="0" * 64)
