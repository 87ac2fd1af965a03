"""Pixel sizes that TIFF writers leave: OME, ImageJ, FEI, Zeiss, TVIPS, DigitalMicrograph, and fine resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import numpy as np

from napari_invrecon.io.origin import finite, known, positive

# Axis letter → (unit, step, coordinate of index 0), as the file writes them.
Calibration = dict[str, tuple[Any, Any, Any]]

_RESOLUTION_UNITS = {2: "inch", 3: "cm"}
_INCH_CM = 2.54
# The resolution of an ordinary tif is that of a printer; 10 µm is finer than any.
_FINEST_PRINT_CM = 1e-3
_ZEISS_DISPLAY_WIDTH = 1024
_DM_UNITS, _DM_ORIGINS, _DM_SCALES = (65003, 65004), (65006, 65007), (65009, 65010)


@dataclass(frozen=True)
class TifCalibration:
    """What a writer says: its name, the axes it calibrates (X, Y, Z), metadata, and OME's description of the image."""

    writer: str
    axes: Calibration = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    description: str = ""


def calibration(tif: Any, series: int) -> TifCalibration:
    """The most specific calibration in the file, for its series of that number."""
    page = tif.series[series].keyframe
    if tif.is_ome and tif.ome_metadata:
        return _ome(tif.ome_metadata, series)
    if tif.fei_metadata:
        return _fei(tif.fei_metadata)
    if tif.sem_metadata:
        return _zeiss(tif.sem_metadata, page.imagewidth)
    if tif.tvips_metadata:
        return _tvips(tif.tvips_metadata)
    if all(tag in page.tags for tag in _DM_SCALES):
        return TifCalibration("DigitalMicrograph", _dm(page.tags))
    if tif.is_imagej:
        return TifCalibration("ImageJ", _imagej(tif.imagej_metadata or {}, page.tags))
    return TifCalibration("TIFF", _resolution(page.tags))


def _ome(xml: str, series: int) -> TifCalibration:
    images = _children(ElementTree.fromstring(xml), "Image")
    pixels = [element for image in images for element in _children(image, "Pixels")]
    if series >= len(pixels):
        return TifCalibration("OME")
    found: Calibration = {}
    for letter in "XYZ":
        size = pixels[series].get(f"PhysicalSize{letter}")
        if size is not None:
            found[letter] = (pixels[series].get(f"PhysicalSize{letter}Unit", "µm"), size, 0.0)
    plane = next(iter(_children(pixels[series], "Plane")), None)
    for letter, (unit, size, _) in found.items():
        # Positions are used in the unit of the size only; the standard's own default is a "reference frame".
        if plane is not None and plane.get(f"Position{letter}Unit") == unit:
            found[letter] = (unit, size, plane.get(f"Position{letter}"))
    description = next((element.text for element in _children(images[series], "Description")), None)
    return TifCalibration("OME", found, description=description or "")


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Those of a name, whatever version of OME's schema they are of."""
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def _imagej(metadata: dict[str, Any], tags: Any) -> Calibration:
    unit = str(metadata.get("unit", "")).encode().decode("unicode_escape", "replace").replace("Âµ", "µ")
    found: Calibration = {}
    for letter, name in (("X", "XResolution"), ("Y", "YResolution")):
        per_pixel = _rational(tags, name)
        if per_pixel:
            found[letter] = (unit, 1 / per_pixel, 0.0)
    if "spacing" in metadata:
        found["Z"] = (unit, metadata["spacing"], 0.0)
    return found


def _resolution(tags: Any) -> Calibration:
    unit = _RESOLUTION_UNITS.get(int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1)
    found: Calibration = {}
    for letter, name in (("X", "XResolution"), ("Y", "YResolution")):
        per_unit = _rational(tags, name)
        if unit and per_unit:
            size_cm = (_INCH_CM if unit == "inch" else 1.0) / per_unit
            if size_cm < _FINEST_PRINT_CM:
                found[letter] = ("cm", size_cm, 0.0)
    return found


def _rational(tags: Any, name: str) -> float | None:
    if name not in tags:
        return None
    numerator, denominator = tags[name].value
    return positive(numerator / denominator) if denominator else None


def _fei(sections: dict[str, Any]) -> TifCalibration:
    scan = sections.get("Scan") or sections.get("EScan") or {}
    beam, stage = sections.get("Beam") or sections.get("EBeam") or {}, sections.get("Stage") or {}
    detectors = sections.get("Detectors") or {}
    return TifCalibration(
        "FEI",
        {"X": ("m", scan.get("PixelWidth"), 0.0), "Y": ("m", scan.get("PixelHeight"), 0.0)},
        known(
            voltage_kv=positive(beam.get("HV"), 1e-3),
            dwell_time_us=positive(scan.get("Dwelltime", scan.get("Dwell")), 1e6),
            stage_tilt_deg=finite(stage.get("StageT"), math.degrees(1.0)),
            detector=detectors.get("Name"),
        ),
    )


def _zeiss(sections: dict[str, Any], width: int) -> TifCalibration:
    """Entries are (label, value, unit); the first block's fourth number is the pixel of a display 1,024 wide, in m."""

    def entry(name: str) -> tuple[Any, Any]:
        values = [*(sections.get(name) or ()), None, None, None]
        return values[1], values[2]

    size, unit = entry("ap_image_pixel_size")
    block = [*(sections.get("") or ())]
    if size is None and len(block) > 3:
        size, unit = positive(block[3], _ZEISS_DISPLAY_WIDTH / width), "m"
    return TifCalibration(
        "Zeiss",
        {"X": (unit, size, 0.0), "Y": (unit, size, 0.0)},
        known(
            voltage_kv=positive(entry("ap_actualkv")[0]),
            stage_tilt_deg=finite(entry("ap_tilt_angle")[0]),
            detector=entry("dp_detector_channel")[0],
        ),
    )


def _tvips(values: dict[str, Any]) -> TifCalibration:
    stage = np.atleast_1d(values.get("TemStagePosition", []))
    return TifCalibration(
        "TVIPS",
        {"X": ("nm", values.get("PixelSizeX"), 0.0), "Y": ("nm", values.get("PixelSizeY"), 0.0)},
        known(
            voltage_kv=positive(values.get("TemHighTension"), 1e-3),
            magnification=positive(values.get("TemMagnification")),
            exposure_time_s=positive(values.get("ExposureTime"), 1e-3),
            stage_tilt_deg=finite(f"{stage[3]:.7g}") if stage.size > 3 else None,
            detector=values.get("CameraType"),
        ),
    )


def _dm(tags: Any) -> Calibration:
    found: Calibration = {}
    for letter, unit, offset, scale in zip("XY", _DM_UNITS, _DM_ORIGINS, _DM_SCALES, strict=True):
        found[letter] = tuple(tags[tag].value if tag in tags else None for tag in (unit, scale, offset))  # type: ignore[assignment]
    return found
