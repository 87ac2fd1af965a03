"""The extended headers of MRC files: FEI's three, and SerialEM's."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_invrecon.io.origin import finite, known, positive

# FEI's first header, before it had a name: 1,024 records of 128 bytes, most of them empty. Field → number of its float.
_OLD_FEI = {"alpha_deg": 0, "pixel_m": 11, "magnification": 12, "voltage_v": 13}
_OLD_FEI_BYTES = 128
_SERIALEM_ANGLE = 1


def extended_metadata(header: Any, extended: Any, n_images: int) -> dict[str, Any]:
    """Metadata of an extended header, ``angles_deg`` only where the angles differ; ``pixel_nm`` is for the axes.

    Parameters
    ----------
    header
        Main header.
    extended
        Records (FEI1, FEI2) or bytes; there may be more records than images, the rest is padding.
    n_images
        Sections in the file.
    """
    kind = header.exttyp.item()
    if kind in (b"FEI1", b"FEI2") and extended is not None and extended.dtype.names:
        return _fei(extended[:n_images], n_images)
    byteorder = "=" if header.mode.dtype.isnative else "S"
    raw = np.asarray(extended).tobytes() if extended is not None else b""
    if _is_old_fei(header, raw, n_images):
        return _old_fei(raw, byteorder, n_images)
    if kind == b"SERI":
        return _serialem(raw, bytes(header.extra2), byteorder, n_images)
    return {}


def _fei(records: Any, n_images: int) -> dict[str, Any]:
    if len(records) == 0:
        return {}
    first = records[0]

    def value(name: str) -> Any:
        return first[name] if name in records.dtype.names else None

    detector = value("STEM Detector name") or value("Camera name")
    return _tilts(records["Alpha tilt"], n_images) | known(
        pixel_nm=positive(value("Pixel size X"), 1e9),
        voltage_kv=positive(value("HT"), 1e-3),
        dose_e_per_nm2=positive(value("Dose"), 1e-18),
        convergence_mrad=positive(value("Convergence angle"), 1e3),
        camera_length_mm=positive(value("Camera length"), 1e3),
        magnification=positive(value("Magnification")),
        dwell_time_us=positive(value("Dwell time"), 1e6),
        tilt_axis_angle_deg=finite(value("Tilt axis angle")) or None,
        detector=detector,
    )


def _is_old_fei(header: Any, raw: bytes, n_images: int) -> bool:
    label = bytes(header.label[0]).strip().lower()
    return label.startswith(b"fei company") and len(raw) >= _OLD_FEI_BYTES * n_images


def _old_fei(raw: bytes, byteorder: Any, n_images: int) -> dict[str, Any]:
    floats = np.frombuffer(raw, np.dtype("f4").newbyteorder(byteorder), _OLD_FEI_BYTES // 4 * n_images)
    fields = {name: floats.reshape(n_images, -1)[:, i] for name, i in _OLD_FEI.items()}
    return _tilts(fields["alpha_deg"], n_images) | known(
        pixel_nm=positive(f"{fields['pixel_m'][0]:.7g}", 1e9),
        voltage_kv=positive(fields["voltage_v"][0], 1e-3),
        magnification=positive(fields["magnification"][0]),
    )


def _serialem(raw: bytes, extra: bytes, byteorder: Any, n_images: int) -> dict[str, Any]:
    """Each section has as many bytes as the header says; the first two are the angle in 0.01°, if there is one."""
    short = np.dtype("i2").newbyteorder(byteorder)
    size, flags = np.frombuffer(extra[16:20], short)
    if not flags & _SERIALEM_ANGLE or size < 2 or len(raw) < size * n_images:
        return {}
    sections = np.frombuffer(raw, np.uint8, size * n_images).reshape(n_images, size)
    return _tilts(np.ascontiguousarray(sections[:, :2]).view(short)[:, 0] / 100, n_images)


def _tilts(alpha_deg: Any, n_images: int) -> dict[str, Any]:
    """Angles that differ make a tilt series; one angle is the stage's."""
    angles = [float(f"{angle:.7g}") for angle in alpha_deg]
    if len(angles) != n_images or not np.all(np.abs(angles) <= 180):
        return {}
    if len(set(angles)) > 1:
        return {"angles_deg": angles}
    return {"stage_tilt_deg": angles[0]} if n_images == 1 or angles[0] else {}
