"""Files with one tilt each become one series, in the order of their angles, and what is missing is said."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from napari_invrecon.io.acquisition import Axis
from napari_invrecon.io.single_tilts import acquisitions_in, numbered_alike, series_name, series_of


def write_tilt(
    folder: Path, name: str, angle: float | None, shape: tuple[int, int] = (3, 4), side_a: float = 5.0
) -> Path:
    """An MRC image whose every value is its angle, with SerialEM's metadata beside it."""
    with mrcfile.new(folder / f"{name}.mrc", np.full(shape, angle or 0, np.float32)) as mrc:
        mrc.voxel_size = side_a
    if angle is not None:
        text = f"PixelSpacing = 5\nVoltage = 200\n\n[ZValue = 0]\nTiltAngle = {angle}\n"
        (folder / f"{name}.mrc.mdoc").write_text(text, encoding="utf-8")
    return folder / f"{name}.mrc"


def test_sorted_by_angle_with_what_they_share(tmp_path: Path) -> None:
    paths = [write_tilt(tmp_path, f"TS_{i}", angle) for i, angle in enumerate([0.0, 3.0, -3.0, 6.0, -6.0])]
    (series,) = series_of(paths, "TS")
    assert (series.name, series.kind) == ("TS", "tilt series")
    assert series.metadata["angles_deg"] == [-6, -3, 0, 3, 6]
    assert series.metadata["files"] == [f"TS_{i}.mrc" for i in (4, 2, 0, 1, 3)]
    assert series.axes == (Axis("tilt", "degree", 3.0, -6.0), Axis("y", "nm", 0.5), Axis("x", "nm", 0.5))
    np.testing.assert_array_equal(series.data[:, 0, 0], [-6, -3, 0, 3, 6])
    assert series.metadata["voltage_kv"] == 200
    assert "stage_tilt_deg" not in series.metadata
    assert series.metadata["notes"] == []


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    paths = [write_tilt(tmp_path, f"TS_{i}", angle) for i, angle in enumerate([-6.0, -4.0, 2.0, 4.0, 4.0])]
    paths.append(write_tilt(tmp_path, "map", None))
    (tmp_path / "cut.mrc").write_bytes(b"no")
    (series,) = series_of([*paths, tmp_path / "cut.mrc"], "TS")
    said = " | ".join(series.metadata["notes"])
    assert "left out: map.mrc (no single image with a tilt angle), cut.mrc is not" in said
    assert "more than one image at 4°" in said
    assert "no image at -2°, 0° (the step is 2°)" in said


def test_frames_that_an_mdoc_names(tmp_path: Path) -> None:
    lines = []
    for i, angle in enumerate([0.0, 2.0, -2.0]):
        tifffile.imwrite(tmp_path / f"frame_{i}.tif", np.full((3, 4), i, np.uint8))
        lines.append(f"[ZValue = {i}]\nTiltAngle = {angle}\nSubFramePath = X:\\data\\frame_{i}.tif\n")
    (tmp_path / "frames.mdoc").write_text("\n".join(lines), encoding="utf-8")
    paths = acquisitions_in(tmp_path)
    (series,) = series_of(paths, series_name(paths))
    assert series.name == "frame"
    np.testing.assert_array_equal(series.data[:, 0, 0], [2, 0, 1])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"shape": (3, 5)}, "'TS': the images differ in size, 2 of 3 × 4 and 1 of 3 × 5: open those of one size"),
        ({"side_a": 7.0}, "'TS': the images differ in pixel size: open those of one magnification together"),
    ],
)
def test_images_that_do_not_go_together(tmp_path: Path, other: dict, message: str) -> None:
    paths = [write_tilt(tmp_path, f"TS_{i}", float(i)) for i in range(2)]
    with pytest.raises(ValueError, match=message):
        series_of([*paths, write_tilt(tmp_path, "TS_3", 5.0, **other)], "TS")


def test_images_without_angles_are_no_series(tmp_path: Path) -> None:
    paths = [write_tilt(tmp_path, f"a_{i}", None) for i in range(3)]
    with pytest.raises(
        ValueError, match=r"'a': expected two or more images with a tilt angle each, found 0 in 3 files"
    ):
        series_of(paths, "a")


@pytest.mark.parametrize(
    ("names", "alike"),
    [(("BF_001", "BF_002"), True), (("t_-60.0", "t_+3.5"), True), (("HAADF_1", "BF_1"), False), (("a", "b"), False)],
)
def test_names_of_one_acquisition(names: tuple[str, str], alike: bool) -> None:
    assert numbered_alike([Path(f"{name}.dm3") for name in names]) is alike


def test_real_single_tilts(shared_data: Path) -> None:
    pytest.importorskip("rsciio")
    paths = [shared_data / "tilt" / f"BF_00{i}.dm3" for i in (2, 1)]
    (series,) = series_of(paths, series_name(paths))
    assert series.name == "BF"
    assert series.data.shape == (2, 128, 128)
    assert series.metadata["angles_deg"] == pytest.approx([-72.003, -69.003], abs=1e-3)
    assert series.metadata["files"] == ["BF_001.dm3", "BF_002.dm3"]
