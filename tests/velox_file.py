"""A small Velox file with one of everything, for tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

PIXEL_M, FIELD = 2e-9, 16  # a scan of 16 x 16 over 32 nm, of which rows 4-7 and columns 8-13 are mapped
AREA = {"left": "0.5", "top": "0.25", "right": "0.875", "bottom": "0.5"}
HEIGHT, WIDTH, CHANNELS = 4, 6, 32


def about(detector: str, *, alpha_rad: float = 0.1, calibrated: bool = True, offset: float = 0.0) -> dict[str, Any]:
    """The JSON of one dataset."""
    result: dict[str, Any] = {"Detector": detector, "DetectorIndex": "3"}
    if calibrated:
        result |= {"PixelSize": {"width": str(PIXEL_M), "height": str(PIXEL_M)}, "PixelUnitX": "m", "PixelUnitY": "m"}
        result |= {"Offset": {"x": str(offset), "y": str(offset)}}
    return {
        "BinaryResult": result,
        "Optics": {
            "AccelerationVoltage": "300000",
            "BeamConvergence": "0.02",
            "FullScanFieldOfView": {"x": str(PIXEL_M * FIELD), "y": str(PIXEL_M * FIELD)},
        },
        "Stage": {"AlphaTilt": str(alpha_rad)},
        "Scan": {"ScanSize": {"width": str(FIELD), "height": str(FIELD)}, "DwellTime": "1e-6", "ScanArea": AREA},
        "Detectors": {"Detector-3": {"DetectorName": detector, "Dispersion": "10", "OffsetEnergy": "-50"}},
    }


def columns(*records: dict[str, Any]) -> np.ndarray:
    """One column of zero-padded JSON a frame."""
    table = np.zeros((4000, len(records)), np.uint8)
    for i, record in enumerate(records):
        text = np.frombuffer(json.dumps(record).encode(), np.uint8)
        table[: text.size, i] = text
    return table


def put_image(file: Any, key: str, frames: np.ndarray, *records: dict[str, Any], title: str = "") -> None:
    """An image (y, x, frame), with a display that names it."""
    group = file.create_group(f"Data/Image/{key}")
    group["Data"], group["Metadata"] = frames, columns(*records)
    if title:
        file[f"SharedProperties/ImageSeriesDataReference/{key}"] = [json.dumps({"dataPath": f"/Data/Image/{key}"})]
        display = {"data": f"/SharedProperties/ImageSeriesDataReference/{key}", "id": f"{title}-EELS", "title": title}
        file[f"Displays/ImageDisplay/{key}"] = [json.dumps(display)]


def put_events(file: Any, key: str, stream: list[int], record: dict[str, Any]) -> None:
    """An EDS event stream."""
    group = file.create_group(f"Data/SpectrumStream/{key}")
    group["Data"], group["Metadata"] = np.array(stream, np.uint16)[:, None], columns(record)
    settings = {"bincount": str(CHANNELS), "RasterScanDefinition": {"Width": str(FIELD), "Height": str(FIELD)}}
    group["AcquisitionSettings"] = [json.dumps(settings)]


def put_eels(file: Any, key: str, values: np.ndarray, start_ev: float) -> None:
    """An EELS spectrum image, given as (energy, y, x), stored as (x, energy, y)."""
    group = file.create_group(f"Data/EelsSpectrumImage/{key}")
    group["Data"], group["Metadata"] = values.transpose(2, 0, 1), columns(about("Zebra", calibrated=False))
    taken = {"Data": {"dispersion": 0.5, "offset": start_ev, "intensityScale": 0.1, "intensityOffset": -10.0}}
    group["AcquisitionMetadata"] = columns(taken)


def new(path: Path) -> Any:
    """An open Velox file without data."""
    file = h5py.File(path, "w")
    file["Version"] = [b'{"version": "11", "format": "Velox"}']
    return file
