"""Where a record's sources come from: files, layers, and the records of the steps that made them.

Every record keeps the earlier ones of its chain once, in ``record["history"]``, under the hash of the array that each
of them made; a source that one of them made has that hash as ``made_by``. It equals the source's own ``sha256`` unless
the array was changed in between.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_invrecon.io.acquisition import Acquisition
    from napari_invrecon.recon.record import Reconstruction

# What of an acquisition's metadata a record keeps: what a paper states.
_ACQUIRED = (
    "element",
    "line",
    "detector",
    "voltage_kv",
    "convergence_mrad",
    "collection_mrad",
    "camera_length_mm",
    "magnification",
    "pixel_size_nm",
    "dwell_time_us",
    "exposure_time_s",
    "dose_e_per_nm2",
    "frames_averaged",
)
# Sources that are made from what their layers or files show, so that these have other hashes.
NOT_AS_THEY_ARE = ("psf", "weights", "reference", "kernel")
_HASHES = ("sha256", "sha256_first_64MiB")


@dataclass(frozen=True)
class Origin:
    """Where an array comes from, as far as it is known.

    Attributes
    ----------
    layer
        The name of the napari layer that showed it; empty outside napari.
    path
        The file that holds it, as it was given; empty if none or not known.
    acquisition
        `Acquisition.metadata`, or a layer's ``metadata["acquisition"]``.
    record
        Of the reconstruction that made it.
    """

    layer: str = ""
    path: str = ""
    acquisition: Mapping[str, Any] | None = None
    record: Mapping[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """What is added to an entry of ``record["sources"]``."""
        found: dict[str, Any] = {"layer": self.layer} if self.layer else {}
        known = self.acquisition or {}
        if self.record is not None and self.record.get("result"):
            found["made_by"] = self.record["result"]["sha256"]
            if "part" in self.record:
                found["part"] = self.record["part"]
        if known.get("file_name") and (self.path or self.record is None):
            found["file"] = {"name": known["file_name"]} | ({"path": self.path} if self.path else {})
            found["file"] |= {name: known[name] for name in ("signal", *_HASHES) if name in known}
        acquired = {name: known[name] for name in _ACQUIRED if known.get(name) is not None}
        return found | ({"acquired": acquired} if acquired else {})


def file_origin(path: Path | str, acquisition: Acquisition) -> Origin:
    """Of a signal as `io.read` gave it; a saved result brings its record along."""
    sides = {axis.scale for axis in acquisition.axes[-2:] if axis.unit == "nm"}
    known = acquisition.metadata | {"signal": acquisition.name}
    known |= {"pixel_size_nm": sides.pop()} if len(sides) == 1 else {}
    return Origin(path=str(Path(path).resolve()), acquisition=known, record=acquisition.record)


def with_origins(record: dict[str, Any], origins: Mapping[str, Origin | Sequence[Origin]]) -> dict[str, Any]:
    """A copy of a record that says where its sources come from, with the history of those that steps made.

    Parameters
    ----------
    record
        As a reconstruction returned it.
    origins
        By the sources' roles; several where layers were stacked along the first axis, in their order.
    """
    record = copy.deepcopy(record)
    history: dict[str, Any] = record.get("history", {})
    for source in record["sources"]:
        found = origins.get(source["role"])
        if found is None:
            continue
        if isinstance(found, Origin):
            source |= found.describe()
        else:
            source["layers"] = [each.describe() for each in found]
        for each in [found] if isinstance(found, Origin) else found:
            history |= _remembered(each.record)
    return record | ({"history": history} if history else {})


def with_history(result: Reconstruction, *earlier: Reconstruction) -> dict[str, Any]:
    """The record of a result whose sources earlier results are, with theirs as its history.

    Parameters
    ----------
    result
        Of the last step.
    *earlier
        Of the steps before, in any order; each is found among the sources by its hash.

    Returns
    -------
    dict
        A new record; write it with the result.

    Raises
    ------
    ValueError
        One of the earlier results is no source of the result, nor of another earlier one.
    """
    by_hash = {each.record["result"]["sha256"]: each.record for each in earlier}
    found = dict.fromkeys(by_hash, False)

    def chained(record: dict[str, Any]) -> dict[str, Any]:
        origins = {}
        for source in record["sources"]:
            made_by = by_hash.get(source.get("sha256", ""))
            if made_by is not None:
                found[source["sha256"]] = True
                origins[source["role"]] = Origin(record=chained(made_by))
        return with_origins(record, origins)

    record = chained(result.record)
    strangers = [by_hash[digest]["method"] for digest, known in found.items() if not known]
    if strangers:
        raise ValueError(
            f"the result of {strangers[0]} is no source of this one: pass the arrays as the steps returned them"
        )
    return record


def steps(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The whole chain, first step first, the record itself last."""
    return [*record.get("history", {}).values(), dict(record)]


def _remembered(record: Mapping[str, Any] | None) -> dict[str, Any]:
    """An earlier record and its history, as a history."""
    if record is None or not record.get("result"):
        return {}
    alone = {name: copy.deepcopy(value) for name, value in record.items() if name not in ("history", "part", "shows")}
    return {**copy.deepcopy(record.get("history", {})), record["result"]["sha256"]: alone}
