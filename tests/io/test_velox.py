"""Velox files: what becomes an acquisition, where it lies, and the counts in event streams."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import velox_file
from velox_file import CHANNELS, HEIGHT, WIDTH, about

from napari_invrecon.io import eds_stream, hdf5
from napari_invrecon.io.acquisition import Axis
from napari_invrecon.io.formats import read

if TYPE_CHECKING:
    from pathlib import Path

NEXT = 65535
# The mapped area begins at column 8 and row 4 of a field of 16, and positions count from the field's middle.
PLANE = (Axis("y", "nm", 2.0, -8.0), Axis("x", "nm", 2.0, 0.0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with velox_file.new(tmp_path / "all.emd") as h5:
        frames = rng.integers(0, 100, (HEIGHT, WIDTH, 2)).astype(np.uint16)
        velox_file.put_image(h5, "b", frames, about("HAADF"), about("HAADF"))
        iron = np.ones((HEIGHT, WIDTH, 1), np.float32)
        velox_file.put_image(h5, "a", iron, about("Zebra", calibrated=False), title="Fe")
        velox_file.put_eels(h5, "late", rng.integers(0, 9, (20, HEIGHT, WIDTH)).astype(np.uint16), 700.0)
        velox_file.put_eels(h5, "early", rng.integers(0, 9, (20, HEIGHT, WIDTH)).astype(np.uint16), -20.0)
        marks = [NEXT] * (HEIGHT * WIDTH)
        velox_file.put_events(h5, "one", [5, 5, *marks[:3], 7, *marks[3:], 9], about("SuperXG21"))
        velox_file.put_events(h5, "two", marks, about("SuperXG22"))
        spectrum = h5.create_group("Data/Spectrum/sum")
        spectrum["Data"], spectrum["Metadata"] = (
            np.ones((CHANNELS, 1), np.uint32),
            velox_file.columns(about("SuperXG21")),
        )
    return tmp_path / "all.emd"


def test_every_signal_once(file: Path) -> None:
    found = read(file)
    assert [(a.name, a.kind) for a in found] == [
        ("EDS", "spectrum image"),
        ("EELS -20…-10 eV", "spectrum image"),
        ("EELS 700…710 eV", "spectrum image"),
        ("HAADF", "image"),
        ("Fe-EELS", "map"),
    ]
    for acquisition in found:
        json.dumps(acquisition.metadata)
        assert acquisition.axes[-2:] == PLANE
        assert acquisition.metadata["stage_tilt_deg"] == pytest.approx(np.degrees(0.1))
        assert acquisition.metadata["voltage_kv"] == 300
        assert acquisition.metadata["dwell_time_us"] == 1


def test_events_are_counted_per_pixel_of_all_detectors_and_frames(file: Path) -> None:
    eds = read(file)[0]
    assert eds.axes[0] == Axis("energy", "eV", 10.0, -50.0)
    expected = np.zeros((CHANNELS, HEIGHT * WIDTH), np.uint32)
    expected[5, 0], expected[7, 3] = 2, 1
    expected[9, 0] = 1  # the mark after the last pixel begins a frame
    np.testing.assert_array_equal(eds.data, expected.reshape(CHANNELS, HEIGHT, WIDTH))
    assert eds.metadata["streams_summed"] == 2


def test_a_large_cube_is_made_by_blocks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(file)[0].data
    monkeypatch.setattr(eds_stream, "EAGER_BYTES", 0)
    lazy = read(file)[0].data
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy, whole)
    np.testing.assert_array_equal(lazy[5:8, 1, ::2], whole[5:8, 1, ::2])


def test_large_images_stay_in_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [acquisition.data for acquisition in read(file)]
    monkeypatch.setattr(hdf5, "EAGER_BYTES", 0)
    for lazy, values in zip(read(file)[1:3], whole[1:3], strict=True):
        assert isinstance(lazy.data, da.Array)
        np.testing.assert_array_equal(lazy.data, values)


def test_eels_is_turned_and_left_raw(file: Path) -> None:
    early = read(file)[1]
    assert early.data.shape == (20, HEIGHT, WIDTH)
    assert early.axes[0] == Axis("energy", "eV", 0.5, -20.0)
    assert (early.metadata["intensity_scale"], early.metadata["intensity_offset"]) == (0.1, -10.0)
    assert early.data.dtype == np.uint16


def test_frames_of_a_mapped_scan_are_averaged(file: Path) -> None:
    haadf = read(file)[3]
    assert haadf.metadata["frames_averaged"] == 2
    assert haadf.data.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("alphas", "kind", "lead"),
    [((-0.1, 0.0, 0.1), "tilt series", "degree"), ((0.1, 0.1, 0.1), "stack", "pixel")],
)
def test_frames_without_spectra(tmp_path: Path, alphas: tuple[float, ...], kind: str, lead: str) -> None:
    with velox_file.new(tmp_path / "frames.emd") as h5:
        frames = np.arange(3 * HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH, 3)
        velox_file.put_image(h5, "a", frames, *(about("Ceta", alpha_rad=alpha) for alpha in alphas))
    (found,) = read(tmp_path / "frames.emd")
    assert found.kind == kind
    assert found.axes[0].unit == lead
    np.testing.assert_array_equal(found.data, np.moveaxis(frames, 2, 0))
    if kind == "tilt series":
        np.testing.assert_allclose(found.metadata["angles_deg"], np.degrees(alphas))


def test_a_spectrum_alone_is_shown(tmp_path: Path) -> None:
    with velox_file.new(tmp_path / "spectrum.emd") as h5:
        group = h5.create_group("Data/Spectrum/a")
        group["Data"], group["Metadata"] = np.ones((CHANNELS, 1), np.uint32), velox_file.columns(about("SuperX"))
    (found,) = read(tmp_path / "spectrum.emd")
    assert (found.name, found.kind) == ("EDS SuperX", "spectrum")


def test_a_stream_with_an_impossible_channel_is_refused(tmp_path: Path) -> None:
    with velox_file.new(tmp_path / "bad.emd") as h5:
        velox_file.put_events(h5, "a", [CHANNELS + 5], about("SuperX"))
    with pytest.raises(ValueError, match="channel 37 of 32"):
        read(tmp_path / "bad.emd")


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.97])
def test_a_truncated_file_is_refused(file: Path, keep: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match=r"all\.emd is not a whole HDF5 file .*copy it again"):
        read(file)


def test_a_file_without_signals_is_refused(tmp_path: Path) -> None:
    with velox_file.new(tmp_path / "empty.emd") as h5:
        h5.create_group("Data/Image")
    with pytest.raises(ValueError, match="holds no image"):
        read(tmp_path / "empty.emd")


def test_real_file_with_everything(shared_data: Path) -> None:
    found = read(shared_data / "velox" / "example_velox_EELS_EDS.emd")
    names = [a.name for a in found]
    assert names[:4] == ["EDS", "EELS -22…325 eV", "EELS 480…826 eV", "EELS 800…1146 eV"]
    assert sorted(names[4:6]) == ["DF-S", "Ref DF-S"]
    assert {a.metadata["element"] for a in found[6:]} == {"Fe", "Co", "O"}
    assert int(found[0].data.sum()) == 11093
    small = [a for a in found if a.name != "Ref DF-S"]
    assert {a.data.shape[-2:] for a in small} == {(16, 20)}
    for acquisition in small[1:]:
        for one, other in zip(acquisition.axes[-2:], found[0].axes[-2:], strict=True):
            assert (one.scale, one.offset) == pytest.approx((other.scale, other.offset), rel=1e-6)


def test_dpc_is_named_and_split(shared_data: Path) -> None:
    names = {a.name for a in read(shared_data / "velox" / "fei_example_dpc_titles.emd")}
    assert {"DPC amplitude", "DPC phase", "iDPC", "Filtered iDPC", "A-C", "B-D", "DF4-A"} <= names
