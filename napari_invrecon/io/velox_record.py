"""The JSON that Velox writes beside every dataset: microscope, scan, detector, calibration."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_invrecon.io.origin import finite, known, positive
from napari_invrecon.io.units import axis

if TYPE_CHECKING:
    from napari_invrecon.io.acquisition import Axis

# Velox's words for the size of y and x, and for where a scan begins and ends.
_EDGES = (("height", "top", "bottom"), ("width", "left", "right"))


@dataclass(frozen=True)
class VeloxRecord:
    """The JSON metadata of one dataset, or of one of its frames."""

    keys: dict[str, Any]

    def get(self, *names: str) -> Any:
        value: Any = self.keys
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    @property
    def alpha_deg(self) -> float | None:
        return finite(self.get("Stage", "AlphaTilt"), math.degrees(1.0))

    @property
    def detector(self) -> dict[str, Any]:
        """The entry of the detector that took the data; Velox names it by index, or only by the start of its name."""
        detectors = self.get("Detectors") or {}
        indexed = detectors.get(f"Detector-{self.get('BinaryResult', 'DetectorIndex')}")
        name = self.get("BinaryResult", "Detector") or "\0"
        named = (entry for entry in detectors.values() if str(entry.get("DetectorName", "")).startswith(name))
        return indexed or next(named, {})

    def custom(self, name: str) -> Any:
        return (self.get("CustomProperties", name) or {}).get("value")

    def metadata(self) -> dict[str, Any]:
        angles = self.detector.get("CollectionAngleRange") or {}
        collection = [finite(angles.get(end), 1e3) for end in ("begin", "end")]
        return known(
            voltage_kv=positive(self.get("Optics", "AccelerationVoltage"), 1e-3),
            convergence_mrad=positive(self.get("Optics", "BeamConvergence"), 1e3),
            collection_mrad=collection if collection[1] else None,
            camera_length_mm=positive(self.get("Optics", "CameraLength"), 1e3),
            magnification=positive(self.custom("StemMagnification")),
            dwell_time_us=positive(self.get("Scan", "DwellTime"), 1e6),
            frame_time_s=positive(self.get("Scan", "FrameTime")),
            stage_tilt_deg=self.alpha_deg,
            detector=self.get("BinaryResult", "Detector"),
            intensity_scale=finite(self.get("BinaryResult", "IntensityScale")),
            intensity_offset=finite(self.get("BinaryResult", "IntensityOffset")),
            intensity_unit=self.get("BinaryResult", "IntensityUnit"),
        )

    def plane(self, height: int, width: int) -> tuple[list[Axis], list[str]]:
        """Axes y and x.

        The pixel size is the dataset's own, or the full field of view over the scan's size. Velox counts positions from
        the middle of the full field; newer files write 0 for scanned images, whose place is then taken from the area
        scanned, so that an image lies under the maps that were taken with it.
        """
        axes, notes = [], []
        for name, n, (size, near, far) in (("y", height, _EDGES[0]), ("x", width, _EDGES[1])):
            pixel = positive(self.get("BinaryResult", "PixelSize", size))
            unit = self.get("BinaryResult", f"PixelUnit{name.upper()}")
            offset = finite(self.get("BinaryResult", "Offset", name)) or 0.0
            field = positive(self.get("Optics", "FullScanFieldOfView", name))
            scanned = positive(self.get("Scan", "ScanSize", size))
            start, end = (finite(self.get("Scan", "ScanArea", edge)) for edge in (near, far))
            if field and scanned and start is not None and end is not None and abs((end - start) * scanned - n) < 1:
                pixel, unit = (pixel, unit) if pixel else (field / scanned, "m")
                offset = offset or (start - 0.5) * field
            calibrated, note = axis(name, unit, pixel, offset)
            axes.append(calibrated)
            notes += [note] if note else []
        return axes, notes

    def scanned(self, settings: dict[str, Any]) -> tuple[int, int]:
        """(height, width) of the part of the raster that was scanned; the whole raster of an event stream otherwise."""
        shape = []
        for size, near, far in _EDGES:
            full = positive(self.get("Scan", "ScanSize", size))
            start, end = (finite(self.get("Scan", "ScanArea", edge)) for edge in (near, far))
            if full and start is not None and end is not None and end > start:
                shape.append(round(full * (end - start)))
            else:
                shape.append(int(settings["RasterScanDefinition"][size.capitalize()]))
        return shape[0], shape[1]


def record(group: Any, frame: int = 0) -> VeloxRecord:
    """The metadata of a dataset's group, of one frame where it has them for each."""
    column = bytes(group["Metadata"][:, frame])
    return VeloxRecord(json.loads(column.split(b"\0", 1)[0].decode("utf-8", "replace") or "{}"))
