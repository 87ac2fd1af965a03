"""MRC files: what the headers say, and what they must not be believed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dask.array as da
import mrcfile
import numpy as np
import pytest
from mrcfile.dtypes import fei1_dtype_big_endian

from napari_invrecon.io import lazy, raw
from napari_invrecon.io.acquisition import Axis
from napari_invrecon.io.formats import read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STACK = np.arange(-30, 30, dtype=np.int16).reshape(5, 3, 4)


def write(path: Path, data: np.ndarray, edit: Callable[[Any], None] = lambda mrc: None, voxel_a: float = 5.0) -> Path:
    with mrcfile.new(path, data, overwrite=True) as mrc:
        mrc.voxel_size = voxel_a
        edit(mrc)
    return path


def as_stack(mrc: Any) -> None:
    mrc.set_image_stack()


def test_an_image_in_nm_with_its_values(tmp_path: Path) -> None:
    (found,) = read(write(tmp_path / "image.mrc", STACK[0]))
    assert found.kind == "image"
    assert found.name == "image"
    assert found.axes == (Axis("y", "nm", 0.5), Axis("x", "nm", 0.5))
    np.testing.assert_array_equal(found.data, STACK[0])
    assert found.data.min() == -30
    assert len(found.metadata["sha256"]) == 64
    json.dumps(found.metadata)


def test_a_large_file_is_read_by_blocks_and_a_cut_one_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "EAGER_BYTES", 10)
    monkeypatch.setattr(lazy, "BLOCK_BYTES", 50)
    path = write(tmp_path / "stack.mrc", STACK, as_stack)
    (found,) = read(path)
    assert isinstance(found.data, da.Array)
    assert found.data.chunks[0] == (2, 2, 1)
    np.testing.assert_array_equal(found.data.compute(), STACK)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    np.testing.assert_array_equal(found.data[:2].compute(), STACK[:2])
    with pytest.raises(OSError, match=r"stack\.mrc: a part of it cannot be read any more .*shorter.*: connect its"):
        found.data.compute()
    path.unlink()
    with pytest.raises(OSError, match="No such file"):
        found.data.compute()
    path.write_bytes(whole)
    np.testing.assert_array_equal(found.data.compute(), STACK)


@pytest.mark.parametrize(
    ("name", "edit", "kind"),
    [
        ("a.mrc", as_stack, "stack"),
        ("a.mrc", lambda mrc: mrc.set_volume(), "volume"),
        ("a.rec", as_stack, "volume"),
        ("a.map", as_stack, "volume"),
        ("a.mrcs", lambda mrc: mrc.set_volume(), "stack"),
        ("a.st", lambda mrc: mrc.set_volume(), "stack"),
        ("a.ALI", lambda mrc: mrc.set_volume(), "stack"),
    ],
)
def test_stack_or_volume(tmp_path: Path, name: str, edit: Callable[[Any], None], kind: str) -> None:
    (found,) = read(write(tmp_path / name, STACK, edit))
    assert found.kind == kind
    assert found.data.shape == (5, 3, 4)


def fei1(angles: list[float], records: int) -> np.ndarray:
    header = np.zeros(records, fei1_dtype_big_endian.newbyteorder("<"))
    header["Metadata size"] = header.dtype.itemsize
    header["Alpha tilt"][: len(angles)] = angles
    header["Pixel size X"] = header["Pixel size Y"] = 3.36e-9
    header["HT"] = 3e5
    header["Dwell time"] = 8e-6
    header["Dose"] = 2e20
    header["STEM Detector name"] = b"HAADF"
    return header


def test_fei_extended_header_padded_with_zeros(tmp_path: Path) -> None:
    def edit(mrc: Any) -> None:
        mrc.set_image_stack()
        mrc.set_extended_header(fei1([-4, -2, 0, 2, 4], 1024))
        mrc.header.exttyp = b"FEI1"

    (found,) = read(write(tmp_path / "tilts.mrc", STACK, edit))
    assert found.kind == "tilt series"
    assert found.metadata["angles_deg"] == [-4, -2, 0, 2, 4]
    assert found.axes == (Axis("tilt", "degree", 2.0, -4.0), Axis("y", "nm", 3.36), Axis("x", "nm", 3.36))
    assert found.metadata["voltage_kv"] == 300
    assert found.metadata["dwell_time_us"] == 8
    assert found.metadata["dose_e_per_nm2"] == 200
    assert found.metadata["detector"] == "HAADF"


@pytest.mark.parametrize("order", ["<", ">"])
def test_feis_first_extended_header_in_either_byte_order(tmp_path: Path, order: str) -> None:
    records = np.zeros((1024, 32), order + "f4")
    records[:5, 0] = [10, 8, 6, 4, 2]
    records[:5, 11] = 3.36e-9
    header = np.zeros(1, mrcfile.dtypes.HEADER_DTYPE.newbyteorder(order))
    header["nx"], header["ny"], header["nz"], header["mode"] = 4, 3, 5, 1
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["nsymbt"], header["nlabl"] = records.nbytes, 1
    header["label"][0, 0] = b"    Fei Company (c) Copyright 2003"
    path = tmp_path / "old.mrc"
    path.write_bytes(header.tobytes() + records.tobytes() + STACK.astype(order + "i2").tobytes())
    (found,) = read(path)
    assert found.metadata["angles_deg"] == [10, 8, 6, 4, 2]
    assert found.axes == (Axis("tilt", "degree", -2.0, 10.0), Axis("y", "nm", 3.36), Axis("x", "nm", 3.36))
    np.testing.assert_array_equal(found.data, STACK)
    assert found.data.dtype.isnative


def test_serialem_extended_header(tmp_path: Path) -> None:
    def edit(mrc: Any) -> None:
        mrc.set_image_stack()
        sections = np.zeros((5, 4), "<i2")
        sections[:, 0] = [-200, -100, 0, 100, 200]
        mrc.set_extended_header(np.frombuffer(sections.tobytes(), "V1"))
        mrc.header.exttyp = b"SERI"
        extra = bytearray(bytes(mrc.header.extra2))
        extra[16:20] = np.array([8, 1], "<i2").tobytes()
        mrc.header.extra2 = np.frombuffer(bytes(extra), mrc.header.extra2.dtype)[0]

    (found,) = read(write(tmp_path / "serialem.st", STACK, edit))
    assert found.metadata["angles_deg"] == [-2, -1, 0, 1, 2]


def test_axes_stored_in_another_order(tmp_path: Path) -> None:
    def edit(mrc: Any) -> None:
        mrc.set_volume()
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = 3, 1, 2
        mrc.header.mx, mrc.header.my, mrc.header.mz = 3, 5, 4
        mrc.header.cella.x, mrc.header.cella.y, mrc.header.cella.z = 30, 100, 120

    (found,) = read(write(tmp_path / "map.map", STACK, edit))
    assert found.data.shape == (4, 5, 3)
    np.testing.assert_array_equal(found.data, STACK.transpose(2, 0, 1))
    assert [axis.scale for axis in found.axes] == [3.0, 2.0, 1.0]


def test_a_negative_pixel_size_is_reported(tmp_path: Path) -> None:
    (found,) = read(write(tmp_path / "a.mrc", STACK[0], voxel_a=-10.0))
    assert [axis.unit for axis in found.axes] == ["pixel", "pixel"]
    assert "-10.0 A is no calibration" in found.metadata["notes"][0]


def test_bytes_of_imod_are_unsigned_where_it_says_so(tmp_path: Path) -> None:
    def edit(mrc: Any) -> None:
        extra = bytearray(bytes(mrc.header.extra2))
        extra[40:48] = np.array([1146047817, 0], "<u4").tobytes()
        mrc.header.extra2 = np.frombuffer(bytes(extra), mrc.header.extra2.dtype)[0]

    (found,) = read(write(tmp_path / "a.mrc", np.array([[-1, 1]], np.int8), edit))
    np.testing.assert_array_equal(found.data, [[255, 1]])


def test_complex_modes_become_two_layers(tmp_path: Path) -> None:
    found = read(write(tmp_path / "fft.mrc", np.array([[3 + 4j]], np.complex64)))
    assert [(a.name, a.data.item()) for a in found] == [("fft amplitude", 5), ("fft phase", pytest.approx(0.9272952))]


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.mrc", STACK)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"cut.mrc is incomplete: expected 1144 bytes, found 1137: copy it again"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"no", b"\0" * 2000, b"\xff" * 2000])
def test_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.mrc"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.mrc"):
        read(path)


def test_a_mode_without_a_type_is_refused(tmp_path: Path) -> None:
    def edit(mrc: Any) -> None:
        mrc.header.mode = 101

    with pytest.raises(ValueError, match="MRC mode 101, expected one of"):
        read(write(tmp_path / "packed.mrc", STACK, edit))


def test_real_tilt_series(shared_data: Path) -> None:
    (found,) = read(shared_data / "tilt" / "HAADF.mrc")
    assert found.data.shape == (77, 256, 256)
    assert found.data.min() == -31908
    assert found.metadata["angles_deg"] == list(range(-76, 78, 2))
    assert found.metadata["angles_from"] == "HAADF.rawtlt"
    assert found.metadata["voltage_kv"] == 300
    assert found.axes[1:] == (Axis("y", "nm", 3.36), Axis("x", "nm", 3.36))
