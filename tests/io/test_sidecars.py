"""Tilt angles and SerialEM's metadata beside a stack, and opened by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mrcfile
import numpy as np
import pytest

from napari_invrecon.io.acquisition import Axis
from napari_invrecon.io.formats import read
from napari_invrecon.io.sidecars import read_sidecar

if TYPE_CHECKING:
    from pathlib import Path

MDOC = """PixelSpacing = 5.4
Voltage = 300
ImageFile = C:\\data\\TS_01.mrc

[T = SerialEM: somewhere]
[T =     Tilt axis angle = 85.3, binning = 4  spot = 8  camera = 2]

"""


def write_stack(path: Path, n: int = 3, voxel_a: float = 20.0) -> Path:
    with mrcfile.new(path, np.zeros((n, 2, 2), np.int16)) as mrc:
        mrc.set_image_stack()
        mrc.voxel_size = voxel_a
    return path


def write_mdoc(path: Path, angles: list[float], dose: float = 1.5) -> Path:
    sections = (
        f"[ZValue = {i}]\nTiltAngle = {a}\nExposureDose = {dose}\nPixelSpacing = 5.4\nMagnification = 105000\n\n"
        for i, a in enumerate(angles)
    )
    path.write_text(MDOC + "".join(sections) + "[MontSection = 0]\nTiltAngle = 99\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["TS.rawtlt", "TS.tlt"])
def test_angles_beside_a_stack_make_it_a_tilt_series(tmp_path: Path, name: str) -> None:
    stack = write_stack(tmp_path / "TS.mrc")
    (tmp_path / name).write_text(" -2.50\n  0.00\n  2.50\n", encoding="utf-8")
    (found,) = read(stack)
    assert found.kind == "tilt series"
    assert found.axes[0] == Axis("tilt", "degree", 2.5, -2.5)
    assert found.metadata["angles_deg"] == [-2.5, 0.0, 2.5]
    assert found.metadata["angles_from"] == name


@pytest.mark.parametrize(("stack", "first"), [("TS.st", -1.0), ("TS.ali", -1.1)])
def test_refined_angles_are_for_the_aligned_stack(tmp_path: Path, stack: str, first: float) -> None:
    (tmp_path / "TS.rawtlt").write_text("-1\n0\n1\n", encoding="utf-8")
    (tmp_path / "TS.tlt").write_text("-1.1\n0.1\n1.1\n", encoding="utf-8")
    assert read(write_stack(tmp_path / stack))[0].metadata["angles_deg"][0] == first


def test_a_reconstruction_is_no_tilt_series(tmp_path: Path) -> None:
    (tmp_path / "TS.rawtlt").write_text("-1\n0\n1\n", encoding="utf-8")
    assert read(write_stack(tmp_path / "TS.rec"))[0].kind == "volume"


@pytest.mark.parametrize("name", ["TS_01.mrc.mdoc", "TS_01.mdoc"])
def test_mdoc_beside_a_stack(tmp_path: Path, name: str) -> None:
    stack = write_stack(tmp_path / "TS_01.mrc", voxel_a=0.0)
    write_mdoc(tmp_path / name, [0.0, 3.0, -3.0])
    (found,) = read(stack)
    assert found.kind == "tilt series"
    assert found.axes == (Axis("tilt", "degree", 3.0, -3.0), Axis("y", "nm", 0.54), Axis("x", "nm", 0.54))
    assert found.metadata["angles_deg"] == [0.0, 3.0, -3.0]
    assert found.metadata["voltage_kv"] == 300
    assert found.metadata["dose_e_per_nm2"] == pytest.approx(450)
    assert found.metadata["tilt_axis_angle_deg"] == 85.3


def test_images_at_one_tilt_stay_a_stack(tmp_path: Path) -> None:
    stack = write_stack(tmp_path / "TS_01.mrc", 2)
    write_mdoc(tmp_path / "TS_01.mdoc", [7.0, 7.0])
    (found,) = read(stack)
    assert found.kind == "stack"
    assert found.metadata["stage_tilt_deg"] == 7


@pytest.mark.parametrize("alone", ["TS_01.rawtlt", "TS_01.mdoc", "other.mdoc"])
def test_a_sidecar_opens_its_stack(tmp_path: Path, alone: str) -> None:
    write_stack(tmp_path / "TS_01.mrc")
    if alone.endswith(".mdoc"):
        write_mdoc(tmp_path / alone, [1, 2, 3])
    else:
        (tmp_path / alone).write_text("1\n2\n3\n", encoding="utf-8")
    (found,) = read(tmp_path / alone)
    assert found.name == "TS_01"
    assert found.metadata["angles_deg"] == [1, 2, 3]


@pytest.mark.parametrize(("alone", "wanted"), [("TS_01.rawtlt", "TS_01.mrc"), ("renamed.mdoc", "TS_01.mrc")])
def test_a_sidecar_without_its_stack_names_it(tmp_path: Path, alone: str, wanted: str) -> None:
    write_mdoc(tmp_path / alone, [1, 2])
    with pytest.raises(ValueError, match=f"{alone} describes images that are not beside it.*put {wanted} into its"):
        read(tmp_path / alone)


def test_a_sidecar_of_the_wrong_length_is_refused(tmp_path: Path) -> None:
    stack = write_stack(tmp_path / "TS.mrc", 4)
    (tmp_path / "TS.rawtlt").write_text("1\n2\n3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"TS\.rawtlt lists 3 tilt angles, but 'TS' has 4 images: correct TS\.rawtlt"):
        read(stack)


@pytest.mark.parametrize(
    ("content", "problem"), [("", "it is empty"), ("1\ntwo\n3\n", "found 'two'"), ("1\n500\n", "between -180 and 180")]
)
def test_a_list_of_something_else_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "TS.rawtlt").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=problem):
        read_sidecar(tmp_path / "TS.rawtlt")


def test_an_mdoc_without_angles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "TS.mdoc").write_text("[ZValue = 0]\nDefocus = 3\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected a TiltAngle in each of its 1"):
        read_sidecar(tmp_path / "TS.mdoc")


def test_real_mdoc(shared_data: Path) -> None:
    sidecar = read_sidecar(shared_data / "tilt" / "tilt_series.mdoc")
    assert len(sidecar.angles_deg) == 41
    assert (min(sidecar.angles_deg), max(sidecar.angles_deg)) == (-59.9986, 60.0006)
    assert sidecar.pixel_size_nm == 0.54
    with pytest.raises(ValueError, match=r"put TS_01\.mrc into its folder"):
        read(sidecar.path)
