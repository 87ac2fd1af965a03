"""The napari-invrecon command, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
from skimage.io import imread

from napari_invrecon.__main__ import main
from napari_invrecon.io import read

SAMPLES = Path(__file__).resolve().parents[1] / "sample_data"


@pytest.mark.long  # and not gui: its window is in a process of its own, and once is enough
@pytest.mark.skipif(sys.platform != "linux", reason="needs Xvfb to stand in for the screen that is taken away")
def test_demo_leaves_results_and_pictures_without_a_screen(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "napari_invrecon", "demo", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    printed = [Path(line) for line in done.stdout.splitlines() if line.startswith(str(tmp_path))]
    assert sorted(printed) == sorted((tmp_path / "out").iterdir())

    for picture in (path for path in printed if path.suffix == ".png"):
        pixels = imread(picture)
        assert pixels.shape[0] > 700
        assert pixels.shape[1] > 1200
        assert np.unique(pixels).size > 50
    record = json.loads((tmp_path / "out" / "core_shell_haadf_deconvolved.json").read_text(encoding="utf-8"))
    assert record["lam"] > 0
    with tifffile.TiffFile(tmp_path / "out" / "core_shell_haadf_deconvolved.tif") as tif:
        assert 'PhysicalSizeX="0.25" PhysicalSizeXUnit="nm"' in tif.ome_metadata
        assert np.isfinite(tif.asarray()).all()


def test_info_describes_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(SAMPLES / "particles_tilt_series.mrc")]) == 0
    printed = capsys.readouterr().out
    assert "particles_tilt_series" in printed
    assert "-70" in printed


def test_a_file_that_is_not_there_is_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path / "none.mrc")]) == 1
    captured = capsys.readouterr()
    assert "none.mrc" in captured.err
    assert len(captured.err.splitlines()) == 1


def test_deconvolve_leaves_a_calibrated_file_and_its_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sharp.tif"
    source = str(SAMPLES / "core_shell_haadf.mrc")
    options = ["--psf-sigma", "0.75", "--psf-unit", "nm", "--regulariser", "tikhonov", "--lam", "0.01"]
    assert main(["deconvolve", source, "-o", str(out), *options]) == 0
    assert "λ = 0.01 (given)" in capsys.readouterr().out
    record = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["settings"]["pixel_size_nm"] == 0.25
    assert record["sources"][1]["kernel_shape"] == [31, 31]
    with tifffile.TiffFile(out) as tif:
        assert 'PhysicalSizeX="0.25"' in tif.ome_metadata
        assert tif.asarray().dtype == np.float32


def test_tomography_leaves_a_calibrated_volume_and_its_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "volume.mrc"
    source = str(SAMPLES / "particles_tilt_series.mrc")
    options = ["--algorithm", "sirt", "--n-iter", "4", "--bin", "4", "--crop", "32", "64", "8", "120"]
    assert main(["tomography", source, "-o", str(out), "--align", *options]) == 0
    printed = capsys.readouterr().out
    assert "4 iterations: all iterations done" in printed
    record = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["method"] == "reconstruct_tilt_series"
    aligned = record["history"][record["sources"][0]["made_by"]]
    assert aligned["sources"][0]["file"]["name"] == "particles_tilt_series.mrc"
    assert aligned["sources"][0]["placement"]["start"] == [32, 8]
    assert len(aligned["alignment"]["angles_deg"]) == 71
    (stack,) = read(Path(source))
    with mrcfile.open(out) as mrc:
        assert mrc.data.shape == (28, 8, 28)
        assert mrc.data.max() > 0
        assert mrc.voxel_size.x == pytest.approx(40 * stack.axes[-1].scale)
        assert mrc.get_labels()[-1].startswith("napari-invrecon reconstruct_tilt_series sirt")


@pytest.fixture
def oxide(tmp_path: Path) -> str:
    """A small EELS spectrum image with an oxygen edge, as an EMD file."""
    energy = 400 + np.arange(220)
    mean = 200 * (energy / 400.0) ** -3 + 20 * (energy >= 532)
    y = np.random.default_rng(0).poisson(mean, (4, 5, 220)).astype(np.uint16)
    path = tmp_path / "oxide.emd"
    with h5py.File(path, "w") as file:
        group = file.create_group("data/EELS")
        group.attrs["emd_group_type"] = 1
        group["data"] = y
        for number, (name, units, values) in enumerate(
            [("y", "n_m", np.arange(4.0)), ("x", "n_m", np.arange(5.0)), ("E", "eV", energy.astype(float))], start=1
        ):
            axis = group.create_dataset(f"dim{number}", data=values)
            axis.attrs["name"], axis.attrs["units"] = name, units
    return str(path)


def test_maps_leaves_maps_their_errors_and_a_record(
    oxide: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "maps"
    assert main(["maps", oxide, "-o", str(out), "--elements", "O"]) == 0
    assert "O_K: " in capsys.readouterr().out
    record = json.loads((out / "maps.json").read_text(encoding="utf-8"))
    assert record["elements"][0]["total"] == pytest.approx(20 * 20 * 53, rel=0.1)
    with tifffile.TiffFile(out / "O_K.tif") as tif:
        assert tif.asarray().shape == (4, 5)
    assert tifffile.imread(out / "O_K_sigma.tif").min() > 0
    again = tmp_path / "again"
    assert main(["maps", oxide, "-o", str(again), "--windows", str(out / "maps.json")]) == 0
    np.testing.assert_array_equal(tifffile.imread(again / "O_K.tif"), tifffile.imread(out / "O_K.tif"))


def test_fuse_leaves_each_map_and_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(SAMPLES / "core_shell_haadf.mrc"), str(SAMPLES / "core_shell_eels_maps.emd")]
    options = ["--elements", "Co, Ce", "--coupling", "both", "--lam", "2", "--n-iter", "5"]
    assert main(["fuse", *files, "-o", str(tmp_path / "out"), *options]) == 0
    assert "coupling both, λ = 2" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "fuse.json").read_text(encoding="utf-8"))
    assert record["elements"] == ["Co", "Ce"]
    maps = {each.metadata["element"]: each.data for each in read(Path(files[1]))}
    for element in ("Ce", "Co"):
        (found,) = read(tmp_path / "out" / f"{element}.tif")
        assert found.metadata["element"] == element
        assert found.axes[-1].scale == pytest.approx(0.25)
        assert found.data.mean() == pytest.approx(maps[element].mean(), rel=0.05)
    (residual,) = read(tmp_path / "out" / "residual.tif")
    assert "element" not in residual.metadata


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["core_shell_eels_maps.emd", "core_shell_haadf.mrc"], "choose the HAADF image with --signal"),
        (["core_shell_haadf.mrc", "core_shell_haadf.mrc"], "no elemental map among 'core_shell_haadf'"),
        (["core_shell_haadf.mrc", "core_shell_eels_maps.emd", "--elements", "Fe"], "no map of Fe among 'Ce M45'"),
    ],
)
def test_fuse_refuses_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    haadf, maps, *options = arguments
    files = [str(SAMPLES / haadf), str(SAMPLES / maps)]
    assert main(["fuse", *files, "-o", str(tmp_path / "out"), *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "names no elements: give --elements"),
        (["--elements", "U"], "no edge of 'U' is known"),
        (["--elements", "O", "--share-px", "2"], "share_px=2: expected an odd number"),
    ],
)
def test_maps_refuses_in_one_line(
    arguments: list[str], message: str, oxide: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["maps", oxide, "-o", str(tmp_path / "maps"), *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["particles_tilt_series.mrc", "-o", "x.png"], "ends in .tif .tiff .mrc"),
        (["core_shell_haadf.mrc", "-o", "x.mrc"], "without tilt angles: put them into a .rawtlt"),
        (["particles_tilt_series.mrc", "-o", "x.mrc", "--bin", "0"], "bin=0: expected a number from 1"),
        (["particles_tilt_series.mrc", "-o", "x.mrc", "--crop", "0", "0", "0", "9"], "expected (tilt, y, x)"),
    ],
)
def test_tomography_refuses_in_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *options = arguments
    assert main(["tomography", str(SAMPLES / name), *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["core_shell_haadf.mrc", "-o", "x.jpg", "--psf-sigma", "2"], "ends in .tif"),
        (["core_shell_eels_maps.emd", "-o", "x.tif", "--psf-sigma", "2"], "choose one with --signal"),
        (["core_shell_haadf.mrc", "-o", "x.tif", "--psf-sigma", "-2"], "σ is -2"),
        (["core_shell_haadf.mrc", "-o", "none/x.tif", "--psf-sigma", "2"], "the folder none does not exist: choose"),
    ],
)
def test_deconvolve_refuses_in_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *options = arguments
    assert main(["deconvolve", str(SAMPLES / name), *options]) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert not said.out, "it is refused before the work is done"


def test_where_no_folder_can_be_is_refused_before_the_work_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    arguments = [str(SAMPLES / "core_shell_haadf.mrc"), str(SAMPLES / "core_shell_eels_maps.emd"), "-o"]
    for output, message in (("taken", "taken is a file: expected a folder"), ("taken/in", "could not be made")):
        assert main(["fuse", *arguments, str(tmp_path / output)]) == 1
        said = capsys.readouterr()
        assert message in said.err
        assert not said.out
