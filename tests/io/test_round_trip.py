"""What is written comes back: the array exactly, axes, angles, microscope, record; by every writer, of every kind."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from napari_invrecon.io import Acquisition, Axis, read, write
from napari_invrecon.io.saved import note_text

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(7)
NM = (Axis("y", "nm", 0.1 + 1e-9, -3.7), Axis("x", "nm", 0.1 + 1e-9, 1 / 3))
ANGLES = [-60.25, -41.5, 0.1, 33.3, 61.0]
RECORD = {
    "schema": 1,
    "method": "deconvolve",
    "lam": 0.1 + 0.2,
    "lam_rule": "gcv",
    "settings": {"regulariser": "tv", "text": 'λ <&"> µ', "nothing": None},
    "sources": [{"role": "image", "sha256": "ab" * 32}],
}

KINDS: dict[str, tuple[tuple[int, ...], tuple[Axis, ...], dict[str, Any]]] = {
    "image": ((7, 9), NM, {"voltage_kv": 300.0, "file_name": "before.dm4", "sha256": "cd" * 32}),
    "map": ((7, 9), NM, {"element": "Fe", "line": "L23"}),
    "volume": ((4, 7, 9), (Axis("z", "nm", 0.3, -0.45), *NM), {}),
    "tilt series": ((5, 7, 9), (Axis("tilt", "degree", 30.3125, -60.25), *NM), {"angles_deg": ANGLES}),
    "stack": ((5, 7, 9), (Axis("frame", "s", 0.25), Axis("y"), Axis("x")), {"notes": ["said before"]}),
    "spectrum image": ((6, 3, 4), (Axis("energy", "eV", 0.25, 402.0), *NM), {"elements": ["Ti", "O"]}),
    "spectrum": ((6,), (Axis("energy", "eV", 0.25, 402.0),), {}),
    "diffraction": ((7, 9), (Axis("y", "1/nm", 0.17, -0.6), Axis("x", "1/nm", 0.17, -0.7)), {}),
}
CHANNELS = ((2, 4, 7, 9), (Axis("channel"), Axis("z", "nm", 0.3, -0.45), *NM), {"angles_from": "the alignment"})

TABLE = [(kind, extension) for kind in KINDS for extension in (".mrc", ".tif", ".zarr", ".hspy")]
TABLE.remove(("spectrum", ".mrc"))


def acquisition(kind: str, dtype: str = "float32", lazy: bool = False) -> Acquisition:
    shape, axes, metadata = KINDS[kind]
    data: Any = (1000 * RNG.normal(size=shape)).astype(dtype)
    if lazy:
        data = da.from_array(data, chunks=tuple(max(1, n // 2) for n in shape))
    return Acquisition(data, axes, f"{kind} λ=0.3 / 1", kind, metadata, RECORD)  # type: ignore[arg-type]


def wanting(extension: str) -> None:
    if extension == ".hspy":
        pytest.importorskip("rsciio")


def check(found: Acquisition, saved: Acquisition) -> None:
    np.testing.assert_array_equal(np.asarray(found.data), np.asarray(saved.data))
    assert found.axes == saved.axes
    assert (found.name, found.kind, found.record) == (saved.name, saved.kind, saved.record)
    of_file = ("file_name", "format", "sha256", "saved_from")
    assert {k: v for k, v in found.metadata.items() if k not in of_file} == {
        k: v for k, v in saved.metadata.items() if k not in of_file
    }


@pytest.mark.parametrize(("kind", "extension"), TABLE)
def test_everything_comes_back(tmp_path: Path, kind: str, extension: str) -> None:
    wanting(extension)
    saved = acquisition(kind)
    write(tmp_path / f"out{extension}", saved)
    (found,) = read(tmp_path / f"out{extension}")
    check(found, saved)
    if extension != ".mrc":
        assert found.data.dtype == np.float32
    assert found.metadata["file_name"] == f"out{extension}"
    json.dumps(found.metadata, allow_nan=False)
    if kind == "image":
        assert found.metadata["saved_from"] == {"file_name": "before.dm4", "sha256": "cd" * 32}
    assert [path.name for path in tmp_path.iterdir()] == [f"out{extension}"]


@pytest.mark.parametrize("extension", [".mrc", ".tif", ".zarr", ".hspy"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_a_lazy_array_of_any_type_comes_back(tmp_path: Path, extension: str, dtype: str) -> None:
    wanting(extension)
    saved = acquisition("tilt series", dtype, lazy=True)
    write(tmp_path / f"out{extension}", saved)
    (found,) = read(tmp_path / f"out{extension}")
    check(found, saved)


@pytest.mark.parametrize("extension", [".tif", ".zarr", ".hspy"])
def test_volumes_by_channel(tmp_path: Path, extension: str) -> None:
    wanting(extension)
    shape, axes, metadata = CHANNELS
    saved = Acquisition(RNG.normal(size=shape).astype(np.float32), axes, "Fe, Co", "volume", metadata, RECORD)
    write(tmp_path / f"out{extension}", saved)
    check(read(tmp_path / f"out{extension}")[0], saved)


def test_other_programs_read_the_mrc(tmp_path: Path) -> None:
    saved = acquisition("tilt series")
    write(tmp_path / "out.mrc", saved)
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, saved.data)
        assert mrc.is_image_stack()
        assert mrc.voxel_size.x == pytest.approx(1.0)
        tilts = mrc.indexed_extended_header
        np.testing.assert_array_equal(tilts["Alpha tilt"], ANGLES)
        np.testing.assert_allclose(tilts["Pixel size X"], 1e-10, rtol=1e-6)
        assert mrc.get_labels()[0].startswith("napari-invrecon deconvolve tv lambda 0.3")
    assert mrcfile.validate(str(tmp_path / "out.mrc"))
    write(tmp_path / "volume.mrc", acquisition("volume"))
    assert mrcfile.validate(str(tmp_path / "volume.mrc"))
    with mrcfile.open(tmp_path / "volume.mrc") as mrc:
        assert mrc.is_volume()
        assert mrc.voxel_size.z == pytest.approx(3.0)


def test_other_programs_read_the_tif_and_the_zarr(tmp_path: Path) -> None:
    saved = acquisition("spectrum image")
    write(tmp_path / "out.tif", saved)
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        np.testing.assert_array_equal(tif.asarray(), saved.data)
        assert tif.series[0].axes == "CYX"
        assert 'PhysicalSizeX="0.100000001" PhysicalSizeXUnit="nm"' in (tif.ome_metadata or "")
    write(tmp_path / "out.zarr", saved)
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][...], saved.data)
    (image,) = group.attrs["multiscales"]
    assert image["version"] == "0.4"
    assert [(a["name"], a["type"], a["unit"]) for a in image["axes"]] == [
        ("energy", "energy", "electronvolt"),
        ("y", "space", "nanometer"),
        ("x", "space", "nanometer"),
    ]
    scale, translation = image["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [0.25, NM[0].scale, NM[1].scale]
    assert translation["translation"] == [402.0, -3.7, 1 / 3]
    assert group.attrs["napari-invrecon"]["record"] == RECORD


def test_hyperspy_finds_a_spectrum_along_its_signal_axis(tmp_path: Path) -> None:
    hspy = pytest.importorskip("rsciio.hspy")
    saved = acquisition("spectrum image")
    write(tmp_path / "out.hspy", saved)
    (signal,) = hspy.file_reader(str(tmp_path / "out.hspy"))
    np.testing.assert_array_equal(signal["data"], np.moveaxis(saved.data, 0, -1))
    described = [
        (axis["name"], axis["units"], axis["scale"], axis["offset"], axis["navigate"]) for axis in signal["axes"]
    ]
    assert described == [
        ("y", "nm", NM[0].scale, NM[0].offset, True),
        ("x", "nm", NM[1].scale, NM[1].offset, True),
        ("energy", "eV", 0.25, 402.0, False),
    ]


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out\.mrc: expected a real image or volume .*as \.zarr"):
        write(tmp_path / "out.mrc", acquisition("spectrum"))
    with pytest.raises(ValueError, match=r"out\.tif: OME-TIFF has no int64"):
        write(tmp_path / "out.tif", acquisition("image", "int64"))
    with pytest.raises(ValueError, match=r"'out\.png': expected a name that ends in \.tif"):
        write(tmp_path / "out.png", acquisition("image"))
    assert not list(tmp_path.iterdir())


def test_a_note_of_another_state_of_the_file_is_not_believed(tmp_path: Path) -> None:
    write(tmp_path / "a.mrc", acquisition("volume"))
    with mrcfile.open(tmp_path / "a.mrc", "r+") as mrc:
        mrc.voxel_size = 7.0
    (found,) = read(tmp_path / "a.mrc")
    assert [axis.scale for axis in found.axes] == pytest.approx([0.7] * 3)
    assert found.record is None
    with mrcfile.open(tmp_path / "a.mrc", "r+") as mrc:
        mrc.set_data(np.zeros((4, 3, 9), np.float32))
    assert read(tmp_path / "a.mrc")[0].data.shape == (4, 3, 9)


@pytest.mark.parametrize(
    "damage",
    [
        {"axes": []},
        {"axes": [{"name": "y", "unit": "furlong", "scale": 1, "offset": 0}] * 2},
        {"axes": [{"name": "y", "unit": "nm", "scale": float("nan"), "offset": 0}] * 2},
        {"kind": "poem"},
        {"metadata": None},
        {"record": 3},
        {"shape": [1e99]},
        {"kind": "tilt series"},
    ],
)
def test_a_damaged_note_is_left_out(tmp_path: Path, damage: dict[str, Any]) -> None:
    text = json.dumps(json.loads(note_text(acquisition("image"))) | damage)
    data = np.ones((7, 9), np.float32)
    tifffile.imwrite(tmp_path / "a.ome.tif", data, ome=True, metadata={"axes": "YX", "Description": text})
    (found,) = read(tmp_path / "a.ome.tif")
    assert (found.name, found.kind, found.record) == ("a.ome", "image", None)


def test_a_chunk_that_is_missing_is_told(tmp_path: Path) -> None:
    saved = acquisition("volume", lazy=True)
    write(tmp_path / "out.zarr", replace(saved, data=saved.data * 0))
    (tmp_path / "out.zarr" / "0" / "1" / "0" / "0").unlink()
    with pytest.raises(ValueError, match=r"out\.zarr is incomplete: 1 of its 18 chunks are missing"):
        read(tmp_path / "out.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_other_programs_ome_zarr(tmp_path: Path, version: str) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2 if version == "0.4" else 3)
    image = {
        "axes": [
            {"name": "c", "type": "channel"},
            {"name": "y", "type": "space", "unit": "micrometer"},
            {"name": "x", "type": "space", "unit": "micrometer"},
        ],
        "datasets": [
            {
                "path": "full",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1, 0.5, 0.25]},
                    {"type": "translation", "translation": [0, 1, 2]},
                ],
            }
        ],
        "coordinateTransformations": [{"type": "scale", "scale": [1, 2, 2]}],
    }
    described = {"multiscales": [image | ({"version": "0.4"} if version == "0.4" else {})]}
    group.attrs.update(described if version == "0.4" else {"ome": {"version": "0.5", **described}})
    group["full"] = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    found = read(tmp_path / "a.zarr")
    assert [each.name for each in found] == ["a channel 0", "a channel 1"]
    assert found[1].axes == (Axis("y", "nm", 1000, 2000), Axis("x", "nm", 500, 4000))
    assert found[1].data[0, 0] == 12
    assert found[0].metadata["format"] == f"OME-Zarr {version}"


def test_a_folder_that_is_no_ome_zarr(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ValueError, match=r"a\.zarr is not a whole OME-Zarr"):
        read(tmp_path / "a.zarr")
    zarr.open_group(tmp_path / "b.zarr", mode="w")
    with pytest.raises(ValueError, match=r"b\.zarr holds no OME-Zarr image"):
        read(tmp_path / "b.zarr")
    with pytest.raises(FileNotFoundError, match=r"c\.zarr: no such file"):
        read(tmp_path / "c.zarr")
