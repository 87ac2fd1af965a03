"""`napari-invrecon apply`: one record's settings on other files; killed, it goes on where it was."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from recorded import ANGLES, recorded, tilts

import napari_invrecon as ir
from napari_invrecon.__main__ import main
from napari_invrecon.io import Acquisition, Axis, read, write
from napari_invrecon.recon.probe import GaussianPSF
from napari_invrecon.records.history import with_history

PROBE = GaussianPSF(0.6, "nm")
PLANE = (Axis("y", "nm", 0.5), Axis("x", "nm", 0.5))


def images(folder, count=3, size=40):
    rng = np.random.default_rng(0)
    paths = [folder / f"scan_{i}.tif" for i in range(count)]
    for path in paths:
        data = rng.poisson(40 + 60 * (np.indices((size, size)).sum(0) % 20 > 9)).astype(np.uint16)
        write(path, Acquisition(data, PLANE, path.stem, "image"))
    return paths


def saved(record, folder):
    path = folder / "record.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def deconvolved(path, psf=PROBE, **settings):
    (image,) = read(path)
    return ir.deconvolve(image.data, psf, pixel_size_nm=0.5, **({"regulariser": "tikhonov"} | settings))


def apply(capsys, *arguments):
    """(exit status, lines of the standard output, the standard error)."""
    status = main(["apply", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


def test_lambda_as_used_and_results_that_are_there_are_kept(tmp_path, capsys):
    paths, out = images(tmp_path), tmp_path / "out"
    record = saved(deconvolved(paths[0]).record, tmp_path)
    lam = json.loads(record.read_text())["lam"]
    status, said, _ = apply(capsys, record, *paths, "-o", out)
    assert status == 0
    assert said[-1] == "3 done, 0 already there, 0 failed"
    for path, line in zip(paths, said, strict=False):
        made = out / f"{path.stem}_deconvolved.tif"
        (result,) = read(made)
        np.testing.assert_array_equal(result.data, deconvolved(path, lam=lam).data)
        assert [axis.scale for axis in result.axes] == [0.5, 0.5]
        assert ir.check_record(result.record)["sources"][0]["file"]["path"] == str(path)
        assert json.loads(made.with_suffix(".json").read_text())["lam"] == lam
        assert line.startswith(f"{path.name}: λ = {lam:.3g} (given), ")
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    status, said, _ = apply(capsys, record, *paths, "-o", out)
    assert (status, said[-1]) == (0, "0 done, 3 already there, 0 failed")
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    status, said, _ = apply(capsys, record, *paths, "-o", out, "--choose-lambda")
    assert said[-1] == "3 done, 0 already there, 0 failed", "other settings are another result"
    assert len({json.loads(path.read_text())["lam"] for path in out.glob("*.json")}) == 3
    write(paths[1], Acquisition(np.ones((40, 40), np.uint16) + np.eye(40, dtype=np.uint16), PLANE, "x", "image"))
    status, said, _ = apply(capsys, record, *paths, "-o", out, "--choose-lambda")
    assert said[-1] == "1 done, 2 already there, 0 failed", "another file of that name is another result"


def test_a_file_that_fails_is_told_and_the_others_are_done(tmp_path, capsys):
    paths, out = images(tmp_path, 2), tmp_path / "out"
    record = saved(deconvolved(paths[0]).record, tmp_path)
    damaged = tmp_path / "damaged.tif"
    damaged.write_bytes(b"II*\0nothing")
    write(tmp_path / "pixels.tif", Acquisition(np.ones((40, 40), np.uint16), (Axis("y"), Axis("x")), "p", "image"))
    files = [damaged, tmp_path / "pixels.tif", tmp_path / "none.tif", *paths]
    status, said, error = apply(capsys, record, *files, "-o", out)
    assert status == 1
    assert said[0].startswith("damaged.tif: failed: damaged.tif")
    assert "failed: the PSF's σ is in nm" in said[1]
    assert said[2].startswith("none.tif: failed: ")
    assert said[-1] == "2 done, 0 already there, 3 failed"
    assert "3 of 5 files failed: mend them and run the same command again" in error
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{path.stem}_deconvolved.{kind}" for path in paths for kind in ("tif", "json")
    )


def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path, capsys):
    paths, out = images(tmp_path, 3, size=96), tmp_path / "out"
    first = deconvolved(paths[0], regulariser="tv", lam=0.01, n_iter=150, tolerance=0.0)
    record = saved(first.record, tmp_path)
    command = [sys.executable, "-m", "napari_invrecon", "apply", str(record), *map(str, paths), "-o", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        line = running.stdout.readline()
        running.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    assert line.startswith("scan_0.tif: λ = 0.01")
    left = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert {"scan_0_deconvolved.tif", "scan_0_deconvolved.json"} <= left
    assert "scan_2_deconvolved.json" not in left
    status, said, _ = apply(capsys, record, *paths, "-o", out)
    assert status == 0
    assert said[0].startswith("scan_0.tif: already there")
    assert said[-1] in ("2 done, 1 already there, 0 failed", "1 done, 2 already there, 0 failed")
    (result,) = read(out / "scan_0_deconvolved.tif")
    np.testing.assert_array_equal(result.data, first.data)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_a_chain_is_applied_with_shifts_found_anew(tmp_path, capsys):
    aligned, _ = recorded("align")
    volume = ir.reconstruct_tilt_series(aligned.data, aligned.angles_deg, lam=0.01, n_iter=3)
    record = saved(with_history(volume, aligned), tmp_path)
    axes = (Axis("tilt", "degree", 10.0, -60.0), Axis("y", "nm", 2.0), Axis("x", "nm", 2.0))
    metadata = {"angles_deg": ANGLES.tolist()}
    write(tmp_path / "same.mrc", Acquisition(tilts(), axes, "HAADF", "tilt series", metadata))
    write(tmp_path / "other.mrc", Acquisition(np.roll(tilts(), 1, 2), axes, "HAADF", "tilt series", metadata))
    files = [tmp_path / "same.mrc", tmp_path / "other.mrc"]
    status, _, error = apply(capsys, record, *files, "-o", tmp_path / "out")
    assert status == 0, error
    (same,), (other,) = (read(tmp_path / "out" / f"{name}_volume.mrc") for name in ("same", "other"))
    np.testing.assert_array_equal(same.data, volume.data)
    assert [axis.scale for axis in same.axes] == [2.0] * 3
    (history,) = other.record["history"].values()
    assert history["alignment"]["shifts_px"] != aligned.record["alignment"]["shifts_px"]


def test_a_source_that_is_not_in_the_record(tmp_path, capsys):
    paths, psf = images(tmp_path, 1), ir.gaussian_psf(1.2)
    first = deconvolved(paths[0], psf)
    record = saved(first.record, tmp_path)
    status, _, error = apply(capsys, record, *paths, "-o", tmp_path / "out")
    assert status == 1
    assert "the record used a psf that is not in it: give its file with --source psf=FILE" in error
    np.save(tmp_path / "psf.npy", psf)
    status, _, _ = apply(capsys, record, *paths, "-o", tmp_path / "out", "--source", f"psf={tmp_path / 'psf.npy'}")
    assert status == 0
    (result,) = read(tmp_path / "out" / "scan_0_deconvolved.tif")
    np.testing.assert_array_equal(result.data, first.data)


def test_one_record_makes_maps_and_the_saved_result_is_a_record_too(tmp_path, capsys):
    result, (image, energy) = recorded("elemental_maps")
    axes = (Axis("energy", "eV", 0.5, float(energy[0])), *PLANE)
    write(tmp_path / "si.zarr", Acquisition(image.astype(np.float32), axes, "EELS", "spectrum image"))
    record = saved(result.record, tmp_path)
    status, _, error = apply(capsys, record, tmp_path / "si.zarr", "-o", tmp_path / "out")
    assert status == 0, error
    made = tmp_path / "out" / "si_maps.tif"
    (maps,) = read(made)
    np.testing.assert_array_equal(maps.data.reshape(result.data.shape), result.data)
    status, said, _ = apply(capsys, made, tmp_path / "si.zarr", "-o", tmp_path / "out2")
    assert (status, said[-1]) == (0, "1 done, 0 already there, 0 failed")


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("{}", "expected the record of a reconstruction"), ("", "is not JSON")]
)
def test_what_is_no_record_is_refused_in_one_line(text, message, tmp_path, capsys):
    path = tmp_path / "record.json"
    path.write_text(text)
    status, said, error = apply(capsys, path, tmp_path / "a.tif", "-o", tmp_path / "out")
    assert (status, said) == (1, [])
    assert message in error
    assert len(error.splitlines()) == 1


def test_two_files_that_would_become_one_are_refused(tmp_path, capsys):
    (path,) = images(tmp_path, 1)
    record = saved(deconvolved(path).record, tmp_path)
    status, _, error = apply(capsys, record, path, tmp_path / "b" / path.name, "-o", tmp_path / "out")
    assert status == 1
    assert "several files would become scan_0_deconvolved.tif" in error
