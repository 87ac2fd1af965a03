"""TIFF: whose calibration is believed, and which pages make an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile

from napari_invrecon.io import tif
from napari_invrecon.io.acquisition import Axis
from napari_invrecon.io.formats import read

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)
STACK = np.arange(60, dtype=np.uint16).reshape(5, 3, 4)


def write(path: Path, data: np.ndarray = IMAGE, **keywords: Any) -> Path:
    tifffile.imwrite(path, data, **({"photometric": "minisblack"} | keywords))
    return path


def test_ome_in_micrometres_and_channels_apart(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.002, "PhysicalSizeY": 0.004}
    write(tmp_path / "a.ome.tif", STACK, ome=True, metadata=metadata)
    found = read(tmp_path / "a.ome.tif")
    assert [a.name for a in found] == [f"a.ome channel {i}" for i in range(5)]
    assert found[3].axes == (Axis("y", "nm", 4.0), Axis("x", "nm", 2.0))
    np.testing.assert_array_equal(found[3].data, STACK[3])


def test_imagej(tmp_path: Path) -> None:
    metadata = {"unit": "um", "spacing": 0.1, "axes": "ZYX"}
    write(tmp_path / "a.tif", STACK, imagej=True, resolution=(20, 10), metadata=metadata)
    (found,) = read(tmp_path / "a.tif")
    assert found.kind == "volume"
    assert found.axes == (Axis("z", "nm", 100.0), Axis("y", "nm", 100.0), Axis("x", "nm", 50.0))


def test_imagej_without_a_unit_is_uncalibrated(tmp_path: Path) -> None:
    (found,) = read(write(tmp_path / "a.tif", imagej=True, resolution=(1, 1), metadata={"axes": "YX"}))
    assert [axis.unit for axis in found.axes] == ["pixel", "pixel"]


@pytest.mark.parametrize(("per_cm", "unit"), [(7_038_270, "nm"), (118, "pixel")])
def test_a_resolution_finer_than_print_is_a_calibration(tmp_path: Path, per_cm: int, unit: str) -> None:
    (found,) = read(write(tmp_path / "a.tif", resolution=(per_cm, per_cm), resolutionunit="CENTIMETER"))
    assert {axis.unit for axis in found.axes} == {unit}
    assert found.axes[0].scale == (pytest.approx(1.4208, rel=1e-4) if unit == "nm" else 1)


def test_digitalmicrograph_tags(tmp_path: Path) -> None:
    tags = [(65003 + i, "s", 0, "µm".encode(), True) for i in range(2)]
    tags += [(65006, "d", 1, 3.0, True), (65007, "d", 1, 4.0, True)]
    tags += [(65009, "d", 1, 0.5, True), (65010, "d", 1, 0.25, True)]
    (found,) = read(write(tmp_path / "a.tif", extratags=tags))
    assert found.axes == (Axis("y", "nm", 250.0, 4000.0), Axis("x", "nm", 500.0, 3000.0))


def test_colours_become_luminance(tmp_path: Path) -> None:
    colours = np.zeros((3, 4, 3), np.uint8)
    colours[..., 1] = 100
    (found,) = read(write(tmp_path / "a.tif", colours, photometric="rgb"))
    assert found.name == "a luminance"
    np.testing.assert_allclose(found.data, np.full((3, 4), 71.52), rtol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_pixels_in_one_piece_are_mapped(tmp_path: Path, order: str) -> None:
    (found,) = read(write(tmp_path / "a.tif", STACK, byteorder=order, metadata=None, contiguous=True))
    np.testing.assert_array_equal(found.data, STACK)
    assert found.data.dtype.isnative


def test_many_compressed_pages_are_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", STACK, compression="zlib")
    monkeypatch.setattr(tif, "EAGER_BYTES", 0)
    (found,) = read(path)
    assert isinstance(found.data, da.Array)
    np.testing.assert_array_equal(found.data, STACK)
    np.testing.assert_array_equal(found.data[3, ::2], STACK[3, ::2])


def test_angles_beside_a_stack(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", STACK, metadata={"axes": "QYX"})
    (tmp_path / "a.rawtlt").write_text("2\n1\n0\n-1\n-2\n", encoding="utf-8")
    (found,) = read(path)
    assert found.axes[0] == Axis("tilt", "degree", -1.0, 2.0)


@pytest.mark.parametrize("keep", [0, 4, 150])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "a.tif", STACK)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.tif"):
        read(path)


def test_pixels_cut_off_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((50, 60), np.uint16), metadata=None)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a\.tif is incomplete: expected \d+ bytes, found \d+: copy it again"):
        read(path)


@pytest.mark.parametrize(
    ("name", "nm", "kv", "tilt"),
    [
        ("FEI-Helios-Ebeam-16bits", 3372.4, 5, 0.000375),
        ("TVIPS_bin4", 1.4208037, 99, -0.007),
        ("test_tiff_Zeiss_SEM_512pix", 11.649976, 5, 0.0),
        ("test_loading_image_saved_with_DM", 168.67469, None, None),
    ],
)
def test_real_files(shared_data: Path, name: str, nm: float, kv: float | None, tilt: float | None) -> None:
    (found,) = read(shared_data / "tif" / f"{name}.tif")
    assert {axis.unit for axis in found.axes} == {"nm"}
    assert [axis.scale for axis in found.axes] == pytest.approx([nm, nm])
    assert found.metadata.get("voltage_kv") == kv
    assert found.metadata.get("stage_tilt_deg") == pytest.approx(tilt, abs=1e-9)
