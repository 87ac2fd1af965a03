"""Berkeley EMD, versions 0.2 and 1, and HDF5 files that are neither kind of EMD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from napari_invrecon.io import hdf5
from napari_invrecon.io.acquisition import Axis
from napari_invrecon.io.emd import is_emd
from napari_invrecon.io.formats import read

if TYPE_CHECKING:
    from pathlib import Path


def put(file: Any, name: str, data: np.ndarray, dims: list[tuple[str, str, np.ndarray]], first: int = 1) -> None:
    group = file.create_group(f"data/{name}")
    group.attrs["emd_group_type"] = 1
    group["data"] = data
    for number, (axis, units, values) in enumerate(dims, start=first):
        group[f"dim{number}"] = values
        group[f"dim{number}"].attrs["name"], group[f"dim{number}"].attrs["units"] = axis, units


def plane(unit: str = "[n_m]") -> list[tuple[str, str, np.ndarray]]:
    return [("Y", unit, np.arange(3) * 0.5 + 1), ("X", unit, np.float32([0, 0.1, 0.2, 0.3]))]


@pytest.mark.parametrize("first", [0, 1])
def test_groups_are_signals_with_their_coordinates(tmp_path: Path, first: int) -> None:
    with h5py.File(tmp_path / "a.emd", "w") as file:
        put(file, "HAADF", np.arange(12.0).reshape(3, 4), plane(), first)
        put(file, "Ce M45", np.ones((3, 4), np.uint8), plane(), first)
        file.create_group("microscope").attrs["high tension"] = 2e5
    haadf, cerium = sorted(read(tmp_path / "a.emd"), key=lambda a: a.kind)
    assert haadf.axes == (Axis("y", "nm", 0.5, 1.0), Axis("x", "nm", 0.1))
    assert haadf.metadata["voltage_kv"] == 200
    assert (cerium.kind, cerium.metadata["element"], cerium.metadata["line"]) == ("map", "Ce", "M45")


@pytest.mark.parametrize(
    ("unit", "kind"), [("[deg]", "tilt series"), ("n_m", "volume"), ("", "stack"), ("[e_V]", "spectrum image")]
)
def test_the_first_dimension_tells_the_kind(tmp_path: Path, unit: str, kind: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        put(file, "series", np.zeros((5, 3, 4), np.float32), [("", unit, np.arange(5.0) * 2), *plane()])
    (found,) = read(tmp_path / "a.h5")
    assert found.kind == kind


def test_coordinates_that_say_nothing_leave_it_uncalibrated(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.emd", "w") as file:
        put(file, "image", np.zeros((3, 4)), [("Y", "n_m", np.zeros(3)), ("X", "n_m", np.float32([0]))])
    (found,) = read(tmp_path / "a.emd")
    assert [axis.unit for axis in found.axes] == ["pixel", "pixel"]
    assert found.metadata["notes"] == ["axis Y: a step of 0.0 n_m is no calibration"]


def test_a_large_dataset_is_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.arange(60.0).reshape(5, 3, 4)
    with h5py.File(tmp_path / "a.emd", "w") as file:
        put(file, "series", data, [("", "", np.arange(5.0)), *plane()])
    monkeypatch.setattr(hdf5, "EAGER_BYTES", 0)
    (found,) = read(tmp_path / "a.emd")
    assert not isinstance(found.data, np.ndarray)
    np.testing.assert_array_equal(found.data, data)


def test_another_hdf5_file_is_refused_and_not_claimed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["stuff"] = np.zeros(3)
    assert not is_emd(tmp_path / "other.h5")
    with pytest.raises(ValueError, match=r"other\.h5 is HDF5, but neither Velox's nor Berkeley's EMD"):
        read(tmp_path / "other.h5")


def test_a_file_that_is_not_hdf5_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"text")
    assert not is_emd(tmp_path / "a.h5")


def test_real_file(shared_data: Path) -> None:
    (found,) = read(shared_data / "berkeley_emd" / "Acquisition_18.emd")
    assert found.data.shape == (1024, 1024)
    assert [axis.scale for axis in found.axes] == pytest.approx([0.0122465] * 2, rel=1e-5)
    assert found.metadata["dwell_time_us"] == 1


@pytest.mark.parametrize("before", [0, 50_000])
def test_a_heap_that_hdf5_would_read_for_ever_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """Texts before the data, or after so many bytes of them that the beginning of the file shows none."""
    monkeypatch.setattr(hdf5, "_LOOKED_AT_BYTES", 20_000)
    path = tmp_path / "texts.emd"
    with h5py.File(path, "w") as file:
        file["first"] = np.ones(before, np.uint8)
        put(file, "image", np.zeros((3, 4)), plane())
        for number in range(3):
            file[f"text{number}"] = "λ" * (10 + number)
    assert len(read(path)) == 1
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL")
    end = at + int.from_bytes(content[at + 8 : at + 16], "little")
    place = at + 16
    while int.from_bytes(content[place : place + 2], "little"):  # not the free space
        place += 16 + -(-int.from_bytes(content[place + 8 : place + 16], "little") // 8) * 8
    assert int.from_bytes(content[place + 8 : place + 16], "little") == end - place
    content[place + 8 : place + 16] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"texts\.emd has a damaged heap of texts: copy it again"):
        read(path)
    path.write_bytes(content[: at + 9])
    with pytest.raises(ValueError, match=r"texts\.emd is not a whole HDF5 file"):
        read(path)


def test_a_text_that_is_none_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.emd", "w") as file:
        file.create_dataset("sequence", (1,), h5py.vlen_dtype(np.uint8))
        file["text"] = "λ"
        assert hdf5.text(file["text"]) == "λ"
        with pytest.raises(ValueError, match=r"a\.emd has no text in /sequence: copy it again"):
            hdf5.text(file["sequence"])
