"""RosettaSciIO's formats: told apart by units; late, optional, and never believed beyond what it reads."""

from __future__ import annotations

import json
import subprocess
import sys
import types
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_invrecon.io import rosetta, rosetta_apart
from napari_invrecon.io.acquisition import Axis
from napari_invrecon.io.formats import read
from napari_invrecon.io.rosetta import MissingReaderError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def entry(
    name: str, units: str | None, scale: float = 1.0, offset: float = 0.0, navigate: bool = False
) -> dict[str, Any]:
    return {"name": name, "units": units, "scale": scale, "offset": offset, "navigate": navigate}


def signal(shape: tuple[int, ...], *axes: dict[str, Any], **trees: Any) -> dict[str, Any]:
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    metadata = {"General": {"title": "a title"}} | trees.pop("metadata", {})
    return {"data": data, "axes": list(axes), "metadata": metadata, "original_metadata": trees}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[Any]]:
    """Read a file of the given name, of which the module of RosettaSciIO makes the given signals."""

    def reads(name: str, *signals: dict[str, Any], module: str = "digitalmicrograph") -> list[Any]:
        fake = types.ModuleType(f"rsciio.{module}")
        fake.file_reader = lambda path, lazy: list(signals)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"rsciio.{module}", fake)
        monkeypatch.setattr(rosetta, "signals", rosetta_apart.read_signals)
        (tmp_path / name).write_bytes(b"anything")
        return read(tmp_path / name)

    return reads


PLANE = (entry("y", "nm", 0.5), entry("x", "nm", 0.25))


def test_eels_with_energy_marked_as_navigation(reads: Callable[..., list[Any]]) -> None:
    energy = entry("Energy loss", "eV", 0.5, 350.0, navigate=True)
    (found,) = reads("a.dm3", signal((5, 2, 3), energy, *PLANE))
    assert found.kind == "spectrum image"
    assert found.axes == (Axis("energy", "eV", 0.5, 350.0), Axis("y", "nm", 0.5), Axis("x", "nm", 0.25))
    assert found.data.shape == (5, 2, 3)
    assert found.name == "a title"
    json.dumps(found.metadata)


def test_eds_with_energy_last_in_kev(reads: Callable[..., list[Any]]) -> None:
    plane = [entry(a["name"], "µm", a["scale"] / 1000, navigate=True) for a in PLANE]
    (found,) = reads("a.bcf", signal((2, 3, 5), *plane, entry("Energy", "keV", 0.01, -0.2)), module="bruker")
    assert found.axes == (Axis("energy", "eV", 10.0, -200.0), Axis("y", "nm", 0.5), Axis("x", "nm", 0.25))
    np.testing.assert_array_equal(found.data[:, 1, 2], np.arange(25, 30))


def test_the_only_signal_axis_is_a_spectrum(reads: Callable[..., list[Any]]) -> None:
    axes = [entry(name, None, navigate=name != "c") for name in "abc"]
    (found,) = reads("a.blo", signal((2, 3, 5), *axes), module="blockfile")
    assert (found.kind, found.data.shape) == ("spectrum image", (5, 2, 3))


@pytest.mark.parametrize(
    ("lead", "kind"),
    [(entry("z", "deg", 2.0, -4.0), "tilt series"), (entry("z", "um", 4.0), "volume"), (entry("z", ""), "stack")],
)
def test_stacks_of_digitalmicrograph(reads: Callable[..., list[Any]], lead: dict[str, Any], kind: str) -> None:
    assert reads("a.dm4", signal((4, 2, 3), lead, *PLANE))[0].kind == kind


def test_stage_tilt_and_microscope_of_digitalmicrograph(reads: Callable[..., list[Any]]) -> None:
    microscope = {"Voltage": 2e5, "Stage Position": {"Stage Alpha": -72.0}, "STEM Camera Length": 100.0}
    tags = {"Microscope Info": microscope, "DigiScan": {"Sample Time": 8.0}}
    (found,) = reads("a.dm3", signal((2, 3), *PLANE, ImageList={"TagGroup0": {"ImageTags": tags}}))
    known = {"voltage_kv": 200, "stage_tilt_deg": -72, "dwell_time_us": 8, "camera_length_mm": 100}
    assert found.metadata.items() >= known.items()


def test_origins_of_tia_are_in_metres(reads: Callable[..., list[Any]]) -> None:
    (found,) = reads("a.ser", signal((2, 3), *(entry(n, "nm", 0.01, -5e-9) for n in "yx")), module="tia")
    assert found.axes == (Axis("y", "nm", 0.01, -5.0), Axis("x", "nm", 0.01, -5.0))


def test_ser_takes_its_own_signal_and_metadata_from_the_emi(reads: Callable[..., list[Any]], tmp_path: Path) -> None:
    (tmp_path / "scan.emi").write_bytes(b"anything")
    signals = [
        signal((2, 3), *PLANE, metadata={"General": {"original_filename": f"scan_{i}.ser"}})
        | {"data": np.full((2, 3), i)}
        for i in (1, 2)
    ]
    (found,) = reads("scan_2.ser", *signals, module="tia")
    assert found.data[0, 0] == 2


def test_several_signals_and_complex_ones(reads: Callable[..., list[Any]]) -> None:
    wave = signal((2, 3), *PLANE) | {"data": np.full((2, 3), 1j)}
    assert [a.name for a in reads("a.dm3", signal((2, 3), *PLANE), wave)] == [
        "a title",
        "a title amplitude",
        "a title phase",
    ]


def test_a_pickled_or_ragged_signal_is_refused(reads: Callable[..., list[Any]]) -> None:
    ragged = signal((2, 3), *PLANE) | {"data": np.full((2, 3), None, object)}
    with pytest.raises(ValueError, match="expected numbers"):
        reads("a.blo", ragged, module="blockfile")


def test_steps_that_are_not_uniform_are_reported(reads: Callable[..., list[Any]]) -> None:
    uneven = {"name": "Energy", "units": "eV", "axis": [0.0, 1.0, 4.0], "navigate": False}
    (found,) = reads("a.blo", signal((3,), uneven), module="blockfile")
    assert found.axes[0].unit == "pixel"
    assert "not uniform" in found.metadata["notes"][0]


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "rsciio.digitalmicrograph", None)
    monkeypatch.setattr(rosetta, "signals", rosetta_apart.read_signals)
    (tmp_path / "a.dm3").write_bytes(b"anything")
    with pytest.raises(MissingReaderError, match=r'a\.dm3 needs .*pip install "napari-invrecon\[em\]"'):
        read(tmp_path / "a.dm3")


# One of its parsers leaves a damaged file open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("extension", [extension for extension in rosetta.EXTENSIONS if extension != ".emi"])
def test_damaged_files_say_so(tmp_path: Path, extension: str) -> None:
    pytest.importorskip("rsciio")
    path = tmp_path / f"damaged{extension}"
    path.write_bytes(b"\1\2\3\4" * 16)
    with pytest.raises(
        ValueError, match=rf"damaged{extension} (could not be read|is not a whole HDF5 file).*copy it again"
    ):
        read(path)


def test_an_emi_without_its_images_names_them(reads: Callable[..., list[Any]]) -> None:
    with pytest.raises(ValueError, match=r"its images are in scan_1\.ser and so on"):
        reads("scan.emi", module="tia")


def test_warnings_of_the_reader_become_metadata(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def file_reader(path: str, lazy: bool) -> list[dict[str, Any]]:
        warnings.warn("old format", UserWarning, stacklevel=1)
        return [signal((2, 3), *PLANE)]

    fake = types.ModuleType("rsciio.blockfile")
    fake.file_reader = file_reader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rsciio.blockfile", fake)
    monkeypatch.setattr(rosetta, "signals", rosetta_apart.read_signals)
    (tmp_path / "a.blo").write_bytes(b"anything")
    assert read(tmp_path / "a.blo")[0].metadata["reader_warnings"] == ["old format"]


def test_a_file_that_rosettasciio_wrote(tmp_path: Path) -> None:
    writer = pytest.importorskip("rsciio.hspy")
    axes = [entry("y", "nm", 0.5) | {"size": 2}, entry("x", "nm", 0.25) | {"size": 3}]
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    trees = {"metadata": {"General": {"title": "HAADF"}}, "original_metadata": {}, "learning_results": {}, "models": {}}
    package = {"package": "hyperspy", "package_version": "2.0"}
    trees |= {"tmp_parameters": {}, "attributes": {"_lazy": False}}
    writer.file_writer(str(tmp_path / "a.hspy"), {"data": values, "axes": axes, "package_info": package} | trees)
    (found,) = read(tmp_path / "a.hspy")
    assert found.name == "HAADF"
    assert found.axes == (Axis("y", "nm", 0.5), Axis("x", "nm", 0.25))
    np.testing.assert_array_equal(found.data, values)


@pytest.mark.parametrize(
    "file", ["tilt/HAADF_stack.dm3", "bruker/test_TEM.bcf", "ser/16_STOimage.emi", "zspy/signal1d_10x10-ZipStore.zspy"]
)
def test_large_files_have_the_same_values(shared_data: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rsciio")
    eager = read(shared_data / file)
    monkeypatch.setattr(rosetta, "EAGER_BYTES", 0)
    for one, other in zip(read(shared_data / file), eager, strict=True):
        np.testing.assert_array_equal(one.data, other.data)
        assert one.axes == other.axes


@pytest.mark.parametrize(
    ("file", "kind", "shape", "known"),
    [
        ("tilt/BF_001.dm3", "image", (128, 128), {"stage_tilt_deg": -72.003}),
        ("tilt/HAADF_stack.dm3", "tilt series", (91, 64, 64), {"voltage_kv": 300}),
        ("dm_eels/DMReader_SpectrumImage_SI-EELS.dm3", "spectrum image", (1024, 49, 6), {"convergence_mrad": 30}),
        ("dm/dmTest_3D_int16_64,65,66.dm3", "volume", (66, 65, 64), {}),
        ("ser/16_STOimage_1.ser", "image", (1024, 1024), {"voltage_kv": 80, "dwell_time_us": 29}),
        ("hspy/example2_v3.1.hspy", "diffraction", (16, 16), {"camera_length_mm": 320}),
    ],
)
def test_real_files(shared_data: Path, file: str, kind: str, shape: tuple[int, ...], known: dict[str, float]) -> None:
    pytest.importorskip("rsciio")
    (found,) = read(shared_data / file)
    assert (found.kind, found.data.shape) == (kind, shape)
    for key, value in known.items():
        assert found.metadata[key] == pytest.approx(value, rel=1e-4)


def test_a_reader_that_crashes_or_never_ends_is_an_error_and_the_next_file_opens(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("rsciio")
    bad = bytearray((shared_data / "dm" / "multi_signal.dm3").read_bytes())
    struct = bad.index(b"%%%%", 200) + 12  # a definition of fields; their number is said to be 2³¹ − 1
    while bad[struct - 1] != 15:
        struct = bad.index(b"%%%%", struct) + 12
    bad[struct + 4 : struct + 8] = b"\x7f\xff\xff\xff"
    (tmp_path / "busy.dm3").write_bytes(bad)
    monkeypatch.setattr(rosetta_apart, "_SECONDS", 0.5)
    with pytest.raises(ValueError, match=r"busy\.dm3 could not be read: its reader was stopped after 0\.\d s of the p"):
        read(tmp_path / "busy.dm3")
    monkeypatch.setattr(rosetta_apart, "_SECONDS", 30.0)
    assert read(shared_data / "tilt" / "BF_001.dm3")[0].kind == "image"
    child = rosetta_apart._child
    assert child is not None
    child.kill()
    child.wait()
    assert read(shared_data / "tilt" / "BF_002.dm3")[0].metadata["stage_tilt_deg"] == pytest.approx(-69.0036, abs=1e-3)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"its reader crashed \(SIGSEGV\)\. It is damaged: copy it again"),
        ("sys.exit(3)", r"its reader crashed \(exit status 3\)\. It is damaged"),
        ("os.kill(os.getpid(), signal.SIGPROF)", r"its reader was stopped after 4\.0 s of the p.*or this computer v"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the system ended its reader.*close other programs"),
        ("time.sleep(60)", "its reader was not done after 1 s and was stopped.*open it again when less is running"),
    ],
)
def test_an_error_says_what_became_of_the_reader(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str, said: str
) -> None:
    script = f"import os, pickle, signal, sys, time; pickle.load(sys.stdin.buffer); {does}"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    monkeypatch.setattr(rosetta_apart, "_start", lambda: child)
    rosetta_apart._stop()
    if "sleep" in does:
        monkeypatch.setattr(rosetta_apart, "_WALL", 0)
        monkeypatch.setattr(rosetta_apart, "_START_SECONDS", 1.0)
    (tmp_path / "a.dm3").write_bytes(b"anything")
    with pytest.raises(ValueError, match=rf"a\.dm3 could not be read: {said}"):
        read(tmp_path / "a.dm3")
    assert child.poll() is not None


def test_the_time_to_load_a_reader_is_not_its_files(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rsciio")
    rosetta_apart._stop()
    monkeypatch.setattr(rosetta_apart, "_SECONDS", 0.5)
    monkeypatch.setattr(rosetta_apart, "_WALL", 600)
    assert read(shared_data / "tilt" / "HAADF_stack.dm3")[0].data.shape == (91, 64, 64)


def test_no_room_for_what_was_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("rsciio")

    def load(_: object) -> None:
        raise MemoryError

    (tmp_path / "a.dm3").write_bytes(b"anything")
    monkeypatch.setattr(rosetta_apart.pickle, "load", load)
    with pytest.raises(ValueError, match=r"a\.dm3 needs more memory than there is: close other programs"):
        read(tmp_path / "a.dm3")
    assert rosetta_apart._child is None
