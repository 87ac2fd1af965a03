"""Velox EMD: images, elemental maps, EELS spectrum images and EDS event streams, each with its own JSON metadata.

Not shown are the spectra that Velox keeps of each EDS detector where the file also has the events that they are sums
of. Frames of a scan that belong to a spectrum image are averaged, as its counts are summed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io import hdf5
from napari_invrecon.io.acquisition import Acquisition, Axis
from napari_invrecon.io.arrange import acquisitions as arranged
from napari_invrecon.io.eds_stream import event_cube
from napari_invrecon.io.elements import SYMBOLS
from napari_invrecon.io.origin import finite, known, origin, positive
from napari_invrecon.io.units import axis
from napari_invrecon.io.velox_record import record
from napari_invrecon.io.velox_titles import titles

if TYPE_CHECKING:
    from pathlib import Path

_SPECTRAL = ("SpectrumStream", "EelsSpectrumImage", "SpectrumImage")
_SAME_TILT_DEG = 0.05


def is_velox(file: Any) -> bool:
    """Whether the root says Velox, or has Velox's groups under ``Data``."""
    if "Data" not in file or not hasattr(file["Data"], "keys"):
        return False
    version = hdf5.text(file["Version"]) if "Version" in file else ""
    return "Velox" in version or bool({"Image", "Spectrum", *_SPECTRAL} & set(file["Data"]))


def acquisitions(path: Path, file: Any) -> list[Acquisition]:
    """EDS and EELS spectrum images, then images, then elemental maps; spectra only where there is nothing else."""
    shared = origin(path, "EMD (Velox)")
    data = file["Data"]
    has_spectra = any(data.get(kind) for kind in _SPECTRAL)
    names = titles(file)
    images: list[Acquisition] = []
    for key, group in data.get("Image", {}).items():
        images += _image(path, group, names.get(key, ""), shared, has_spectra)
    found = _eds(data, shared) + _eels(path, data, shared)
    found += sorted(images, key=lambda image: image.kind == "map")
    for group in () if has_spectra else data.get("Spectrum", {}).values():
        found += _spectrum(path, group, shared)
    return found


def _image(path: Path, group: Any, title: str, shared: dict[str, Any], in_spectrum_image: bool) -> list[Acquisition]:
    height, width, n_frames = group["Data"].shape
    about = record(group)
    axes, notes = about.plane(height, width)
    metadata = shared | about.metadata()
    name = title or str(metadata.get("detector", "")) or path.stem
    metadata |= {"title": name, "notes": notes}
    element = re.split(r"[-\s]", name)[0]
    if in_spectrum_image and element in SYMBOLS:
        metadata["element"] = element
    if n_frames > 1 and in_spectrum_image:
        metadata["frames_averaged"] = n_frames
        return arranged(_mean_frame(group["Data"]), axes, name=name, metadata=metadata)
    data = hdf5.array(path, group["Data"])
    if n_frames == 1:
        return arranged(data[:, :, 0], axes, name=name, metadata=metadata)
    lead = _lead(group, n_frames, metadata)
    return arranged(np.moveaxis(data, 2, 0), [lead, *axes], name=name, metadata=metadata)


def _mean_frame(dataset: Any) -> Any:
    """Mean of the frames (y, x, frame), float32; one frame in memory at a time."""
    total = np.zeros(dataset.shape[:2])
    for frame in range(dataset.shape[2]):
        total += dataset[:, :, frame]
    return (total / dataset.shape[2]).astype(np.float32)


def _lead(group: Any, n_frames: int, metadata: dict[str, Any]) -> Axis:
    """Frames at different stage tilts are a tilt series, its angles put into ``metadata``; others follow in time."""
    alphas = [record(group, frame).alpha_deg for frame in range(min(n_frames, group["Metadata"].shape[1]))]
    tilts = [alpha for alpha in alphas if alpha is not None]
    if len(tilts) == n_frames and max(tilts) - min(tilts) > _SAME_TILT_DEG * n_frames:
        metadata.pop("stage_tilt_deg", None)
        metadata["angles_deg"] = tilts
        return Axis("tilt", "degree")
    return axis("frame", "s", metadata.get("frame_time_s"))[0]


def _eels(path: Path, data: Any, shared: dict[str, Any]) -> list[Acquisition]:
    """Stored as (x, energy, y). Counts are intensity_scale · value + intensity_offset; values stay as stored."""
    found: list[Acquisition] = []
    for group in data.get("EelsSpectrumImage", {}).values():
        about = record(group)
        taken: dict[str, Any] = {}
        if "AcquisitionMetadata" in group:
            column = bytes(group["AcquisitionMetadata"][:, 0]).split(b"\0", 1)[0]
            taken = json.loads(column or b"{}").get("Data", {})
        values = np.moveaxis(hdf5.array(path, group["Data"]), (1, 2), (0, 1))
        energy, note = axis("energy", "eV", taken.get("dispersion"), taken.get("offset"))
        plane, notes = about.plane(*values.shape[1:])
        metadata = shared | about.metadata() | {"notes": [*notes, *([note] if note else [])]}
        metadata |= known(
            intensity_scale=finite(taken.get("intensityScale")),
            intensity_offset=finite(taken.get("intensityOffset")),
            exposure_time_s=positive(taken.get("exposureTime")),
        )
        end = energy.offset + energy.scale * (values.shape[0] - 1)
        name = f"EELS {energy.offset:.0f}…{end:.0f} eV" if energy.unit == "eV" else "EELS"
        found += arranged(values, [energy, *plane], name=name, metadata=metadata, spectral=0)
    return sorted(found, key=lambda spectrum_image: spectrum_image.axes[0].offset)


def _eds(data: Any, shared: dict[str, Any]) -> list[Acquisition]:
    """One spectrum image: the events of all detectors and all frames."""
    streams = list(data.get("SpectrumStream", {}).values())
    if not streams:
        return []
    images = list(data.get("SpectrumImage", {}).values())
    about, detector = record(images[0] if images else streams[0]), record(streams[0]).detector
    settings = json.loads(hdf5.text(streams[0]["AcquisitionSettings"]))
    height, width = about.scanned(settings)
    cube = event_cube((stream["Data"][:, 0] for stream in streams), int(settings["bincount"]), height, width)
    energy, note = axis("energy", "eV", detector.get("Dispersion"), detector.get("OffsetEnergy"))
    plane, notes = about.plane(height, width)
    metadata = shared | about.metadata() | {"notes": [*notes, *([note] if note else [])]}
    metadata["streams_summed"] = len(streams)
    return arranged(cube.counts(), [energy, *plane], name="EDS", metadata=metadata, spectral=0)


def _spectrum(path: Path, group: Any, shared: dict[str, Any]) -> list[Acquisition]:
    about = record(group)
    values = hdf5.array(path, group["Data"])[:, 0]
    energy, note = axis("energy", "eV", about.detector.get("Dispersion"), about.detector.get("OffsetEnergy"))
    metadata = shared | about.metadata() | {"notes": [note] if note else []}
    return arranged(values, [energy], name=f"EDS {metadata.get('detector', '')}".strip(), metadata=metadata)
