"""What matters of the metadata that RosettaSciIO finds; it leaves the vendors' own trees unmapped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_invrecon.io.origin import finite, known, positive

_DM_TAGS = ("ImageList", "TagGroup0", "ImageTags")


def about(signal: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of `Acquisition`, from HyperSpy's tree and from the vendors'; the vendors' own come first."""
    tree, original = signal.get("metadata") or {}, signal.get("original_metadata") or {}
    found = _hyperspy(tree)
    if _dig(original, *_DM_TAGS):
        found |= _digitalmicrograph(_dig(original, *_DM_TAGS))
    if _dig(original, "ObjectInfo"):
        found |= _tia(_dig(original, "ObjectInfo"))
    if "electron_gun.voltage" in original:
        found |= _panta_rhei(original)
    return found


def _dig(tree: Any, *names: str) -> Any:
    for name in names:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _hyperspy(tree: Mapping[str, Any]) -> dict[str, Any]:
    instrument = _dig(tree, "Acquisition_instrument", "TEM") or _dig(tree, "Acquisition_instrument", "SEM") or {}
    elements = _dig(tree, "Sample", "elements")
    return known(
        title=_dig(tree, "General", "title"),
        voltage_kv=positive(instrument.get("beam_energy")),
        magnification=positive(instrument.get("magnification")),
        camera_length_mm=positive(instrument.get("camera_length")),
        convergence_mrad=positive(instrument.get("convergence_angle")),
        collection_mrad=positive(_dig(instrument, "Detector", "EELS", "collection_angle")),
        stage_tilt_deg=finite(_dig(instrument, "Stage", "tilt_alpha")),
        exposure_time_s=positive(_dig(instrument, "Detector", "Camera", "exposure")),
        elements=[str(element) for element in elements] if elements is not None else None,
    )


def _digitalmicrograph(tags: Mapping[str, Any]) -> dict[str, Any]:
    microscope, eels = tags.get("Microscope Info") or {}, tags.get("EELS") or {}
    angles = {**(eels.get("Experimental Conditions") or {}), **eels}
    exposure = _dig(eels, "Acquisition", "Exposure (s)") or _dig(tags, "DataBar", "Exposure Time (s)")
    return known(
        voltage_kv=positive(microscope.get("Voltage"), 1e-3),
        magnification=positive(microscope.get("Indicated Magnification")),
        camera_length_mm=positive(microscope.get("STEM Camera Length")),
        stage_tilt_deg=finite(_dig(microscope, "Stage Position", "Stage Alpha")),
        dwell_time_us=positive(_dig(tags, "DigiScan", "Sample Time")),
        detector=_dig(tags, "DataBar", "Signal Name") or _dig(tags, "Acquisition", "Device", "Name"),
        convergence_mrad=positive(angles.get("Convergence semi-angle (mrad)")),
        collection_mrad=positive(angles.get("Collection semi-angle (mrad)")),
        exposure_time_s=positive(exposure),
    )


def _tia(info: Mapping[str, Any]) -> dict[str, Any]:
    described = info.get("ExperimentalDescription") or {}
    return known(
        voltage_kv=positive(described.get("High tension_kV")),
        magnification=positive(described.get("Magnification_x")),
        camera_length_mm=positive(described.get("Camera length_m"), 1e3),
        stage_tilt_deg=finite(described.get("Stage A_deg")),
        dwell_time_us=positive(_dig(info, "AcquireInfo", "DwellTimePath"), 1e6),
    )


def _panta_rhei(values: Mapping[str, Any]) -> dict[str, Any]:
    return known(
        voltage_kv=positive(values.get("electron_gun.voltage"), 1e-3),
        camera_length_mm=positive(values.get("projector.camera_length"), 1e3),
        magnification=positive(values.get("scan_driver.magnification")),
        dwell_time_us=positive(values.get("scan_generator.dwell_time"), 1e6),
        detector=values.get("scan_generator.detector"),
    )
