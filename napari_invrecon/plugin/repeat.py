"""A layer's reconstruction, run again in its dock with the settings of its record, and compared with the layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_info, show_warning

from napari_invrecon.plugin.failure import notify_failure
from napari_invrecon.plugin.worker import Run
from napari_invrecon.recon.record import array_hash
from napari_invrecon.recon.solvers import Iterate, Steps
from napari_invrecon.records.history import NOT_AS_THEY_ARE
from napari_invrecon.records.schema import check_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari import Viewer
    from napari.layers import Layer

    from napari_invrecon.plugin.widgets.dock import Dock

PLUGIN = "napari-invrecon"
DOCKS = {
    "align": "Tomography",
    "deconvolve": "Deconvolve",
    "deconvolve_energy": "Spectrum",
    "denoise_spectra": "Spectrum",
    "elemental_maps": "Spectrum",
    "fuse": "Fuse",
    "reconstruct_tilt_series": "Tomography",
}
_TASK = "Repeat"


@dataclass(frozen=True)
class Found:
    """The layers of a record's sources, by role, and the roles of those that hold other data than they did."""

    layers: dict[str, Any]
    changed: tuple[str, ...]


def repeat(viewer: Viewer, layer: Layer) -> None:
    """Open the dock that made a layer, fill it from the layer's record, run it, and say whether the result is the same.

    Nothing runs, and a notification says why, where the layer has no record, or a source is not in the viewer. Sources
    are looked for by name and, where that layer is gone or holds other data, by their hash.
    """
    try:
        record = check_record(layer.metadata.get("invrecon"))
        if record["method"] not in DOCKS:
            raise ValueError(f"no dock makes results of '{record['method']}': repeat it in Python with ir.replay")
        _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, DOCKS[record["method"]])
        if dock.row_of(record["method"]).running:
            raise ValueError(f"{DOCKS[record['method']]} is running: wait for it, or press its Cancel, and repeat then")
    except ValueError as error:
        notify_failure(_TASK, error)
        return
    candidates = candidate_layers(record, viewer.layers)

    def start(found: Found) -> None:
        try:
            _start(dock, record, found, layer)
        except ValueError as error:
            notify_failure(_TASK, error)

    search = Run(dock)
    search.succeeded.connect(start)
    search.failed.connect(lambda error: notify_failure(_TASK, error))
    search.finished.connect(search.deleteLater)
    search.start(lambda: find_sources(record, candidates))


def find_sources(record: dict[str, Any], candidates: dict[str, list[tuple[Layer, Any]]]) -> Steps[Found]:
    """Choose among the layers that may be a source the one that has its hash, else the one that has its name.

    Raises
    ------
    ValueError
        A source is not there; it is named.
    """
    layers: dict[str, Any] = {}
    changed = []
    for source in record["sources"]:
        role = source["role"]
        if "layers" in source:
            layers[role] = [_named(candidates[role], each, role) for each in source["layers"]]
            continue
        if role not in candidates:
            continue
        yield Iterate(0, 1, stage=f"looking for the {role}")
        for layer, array in candidates[role]:
            if array is None or array_hash(array) == source["sha256"]:
                layers[role] = layer
                break
        else:
            if not candidates[role] or candidates[role][0][0].name != source.get("layer"):
                raise ValueError(_gone(role, source))
            layers[role] = candidates[role][0][0]
            changed.append(role)
    return Found(layers, tuple(changed))


def candidate_layers(record: dict[str, Any], layers: Iterable[Layer]) -> dict[str, list[tuple[Layer, Any]]]:
    """By role, (layer, its data as the source was taken): the one of the source's name first.

    Layers that are not taken as they are, and those of a stack, come without data.
    """
    found: dict[str, list[tuple[Layer, Any]]] = {}
    for source in record["sources"]:
        if "layers" in source:
            found[source["role"]] = [(layer, None) for layer in layers]
        elif source["role"] in NOT_AS_THEY_ARE:
            if "layer" in source:
                found[source["role"]] = [(layer, None) for layer in layers if layer.name == source["layer"]]
        elif "sha256" in source:
            taken = [(layer, as_taken(layer, source)) for layer in layers]
            found[source["role"]] = sorted(
                ((layer, array) for layer, array in taken if array is not None or layer.name == source.get("layer")),
                key=lambda pair: pair[0].name != source.get("layer"),
            )
    return found


def as_taken(layer: Layer, source: dict[str, Any]) -> Any:
    """The layer's data in the shape of a source, without axes of length 1 that only the viewer needs; None if none."""
    if not isinstance(layer, Image) or layer.rgb or layer.multiscale:
        return None
    data, shape = layer.data, tuple(source["shape"])
    if np.dtype(data.dtype).str != source["dtype"] or [n for n in data.shape if n > 1] != [n for n in shape if n > 1]:
        return None
    return data.reshape(shape)


def _named(candidates: list[tuple[Layer, Any]], described: dict[str, Any], role: str) -> Layer:
    """The layer of a stack that has the name."""
    for layer, _ in candidates:
        if layer.name == described.get("layer"):
            return layer
    raise ValueError(_gone(role, described))


def _start(dock: Dock, record: dict[str, Any], found: Found, layer: Layer) -> None:
    for role in found.changed:
        name = found.layers[role].name
        show_warning(f"Repeat: '{name}' is not the {role} that was recorded: its data have changed since (other hash)")

    def compare(result: Layer | None) -> None:
        dock.finished.disconnect(compare)
        if result is not None:
            _say(record, result, layer)

    dock.finished.connect(compare)
    try:
        dock.repeat(record, found.layers)
    except ValueError:
        dock.finished.disconnect(compare)
        raise


def _say(record: dict[str, Any], result: Layer, before: Layer) -> None:
    """Whether a repeated result is the same, and if not, what was different."""
    new = result.metadata["invrecon"]
    if record["result"] is None:
        show_info(f"'{result.name}': repeated. The record is of an older version and does not tell the result's hash")
        return
    if new["result"]["sha256"] == record["result"]["sha256"]:
        show_info(f"'{result.name}' is the same array as '{before.name}', bit for bit")
        return
    reasons = differences(record, new) or ["nothing that is recorded: another machine may round differently"]
    show_warning(f"'{result.name}' is not the same array as '{before.name}'. Different: {'; '.join(reasons)}")


def differences(record: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What of two records' sources, settings and versions is different, in words."""
    found = [
        f"the {old['role']} (other data)"
        for old, now in zip(record["sources"], new["sources"], strict=False)
        if old.get("sha256") != now.get("sha256")
    ]
    if len(record["sources"]) != len(new["sources"]):
        found.append(f"{len(new['sources'])} sources, not {len(record['sources'])}")
    for name, value in record["settings"].items():
        if name != "lam" and new["settings"].get(name) != value:
            found.append(f"{name} {new['settings'].get(name)}, not {value}")
    if new["lam"] != record["lam"]:
        found.append(f"λ {new['lam']:.6g}, not {record['lam']:.6g}")
    for name, version in record["versions"].items():
        if new["versions"].get(name) != version:
            found.append(f"{name} {new['versions'].get(name)}, not {version}")
    return found


def _gone(role: str, source: dict[str, Any]) -> str:
    """What is missing, and where to get it."""
    name = source.get("layer")
    said = f"the {role} '{name}' is no longer in the viewer" if name else f"the {role} is not in the viewer"
    if "file" in source:
        return f"{said}: open {source['file'].get('path', source['file']['name'])}"
    if "made_by" in source:
        return f"{said}: repeat the step that made it, or undo its removal"
    return f"{said}: add it again; its data are recognised, whatever its name"
