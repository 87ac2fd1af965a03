"""What other programs find in an OME-TIFF of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from napari_invrecon.io.acquisition import Acquisition, Axis
from napari_invrecon.io.write_tif import write_tif

if TYPE_CHECKING:
    from pathlib import Path

OME = {"ome": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}


def stored(path: Path) -> tuple[np.ndarray, dict[str, str], list[dict[str, str]]]:
    """The pixels, the attributes of OME's Pixels, and those of each of its planes."""
    with tifffile.TiffFile(path) as tif:
        pixels = ElementTree.fromstring(tif.ome_metadata or "").find(".//ome:Pixels", OME)
        assert pixels is not None
        return tif.asarray(), pixels.attrib, [plane.attrib for plane in pixels.findall("ome:Plane", OME)]


def test_a_volume_has_its_calibration(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    axes = (Axis("z", "nm", 2.0, 10.0), Axis("y", "nm", 0.5, -3.0), Axis("x", "nm", 0.25))
    write_tif(tmp_path / "volume.tif", Acquisition(volume, axes, "a", "volume"))
    data, pixels, planes = stored(tmp_path / "volume.tif")
    assert data.dtype == np.float32
    np.testing.assert_array_equal(data, volume)
    assert [float(pixels[f"PhysicalSize{a}"]) for a in "ZYX"] == [2.0, 0.5, 0.25]
    assert {pixels[f"PhysicalSize{a}Unit"] for a in "ZYX"} == {"nm"}
    assert [float(plane["PositionZ"]) for plane in planes] == [10.0, 12.0, 14.0]
    assert {float(plane["PositionY"]) for plane in planes} == {-3.0}


def test_an_uncalibrated_image_claims_no_size(tmp_path: Path) -> None:
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    write_tif(tmp_path / "image.tif", Acquisition(image, (Axis("y"), Axis("x")), "a", "image"))
    data, pixels, _ = stored(tmp_path / "image.tif")
    np.testing.assert_array_equal(data, image)
    assert not [name for name in pixels if name.startswith("PhysicalSize")]


@pytest.mark.parametrize("names", [("defocus", "y", "x"), ("y", "x", "z")])
def test_axes_that_the_format_has_not_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    axes = tuple(Axis(name) for name in names)
    with pytest.raises(ValueError, match=r"no\.tif: OME-TIFF has no place for the axes"):
        write_tif(tmp_path / "no.tif", Acquisition(np.zeros((2, 2, 2), np.uint8), axes, "a", "stack"))
    assert not (tmp_path / "no.tif").exists()
