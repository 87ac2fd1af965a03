"""What Velox calls each of its images: the title of its display, or the operation that made it."""

from __future__ import annotations

import json
from typing import Any

from napari_invrecon.io import hdf5

_INPUTS = ("StemInputOperation", "CameraInputOperation")
# DPC subtracts opposite quarters of its detector and takes A − C as input 0, B − D as input 1.
_DPC_INPUTS = {"0": "A-C", "1": "B-D"}
_DPC = ("/Operations/DpcOperation/", "/Operations/SurfaceReconstructionOperation/")


def titles(file: Any) -> dict[str, str]:
    """Name of each group under ``Data/Image`` that has one.

    The display of an elemental map has the element as title, and an identifier ("Fe-EELS") that tells the technique
    where there are two maps of one element.
    """
    names: dict[str, str] = {}
    for display in _entries(file, "Displays/ImageDisplay"):
        reference = display.get("data")
        target = json.loads(hdf5.text(file[reference])) if reference and reference in file else {}
        title, identifier = str(display.get("title", "")), str(display.get("id", ""))
        names[_key(target, "dataPath")] = identifier if identifier.startswith(f"{title}-") else title or identifier
    for display in _entries(file, "Presentation/Displays/ImageDisplay"):
        names[_key(display, "dataPath")] = str(display.get("display", {}).get("label", ""))
    for kind in _INPUTS:
        for operation in _entries(file, f"Operations/{kind}"):
            names.setdefault(
                _key(operation, "dataPath"), str(operation.get("detector") or operation.get("cameraName") or "")
            )
    for operation in _entries(file, "Operations/MathematicsOperation"):
        names.setdefault(_key(operation, "dataPath"), _difference(operation))
    for operation in _entries(file, "Operations/SurfaceReconstructionOperation"):
        if operation.get("enableFilter") == "true" and operation.get("unfilteredDataPath"):
            names[_key(operation, "dataPath")] = "Filtered iDPC"
            names[_key(operation, "unfilteredDataPath")] = "iDPC"
    names.pop("", None)
    return names


def _entries(file: Any, group: str) -> list[dict[str, Any]]:
    return [json.loads(hdf5.text(entry)) for entry in file.get(group, {}).values()]


def _key(entry: dict[str, Any], name: str) -> str:
    return str(entry.get(name, "")).rsplit("/", 1)[-1]


def _difference(operation: dict[str, Any]) -> str:
    outputs = [out for out in operation.get("outputs") or [] if isinstance(out, dict)]
    into = {str(out.get("inputIndex")) for out in outputs if str(out.get("operation", "")).startswith(_DPC)}
    return _DPC_INPUTS.get(into.pop(), "") if len(into) == 1 else ""
