"""The record of a reconstruction: its fields, written once, and the check that a record has them.

docs/record.md says the same in words; a test compares the two.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_invrecon.recon.alignment import AlignmentSettings
from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
from napari_invrecon.recon.energy import EnergySettings
from napari_invrecon.recon.fusion import FusionSettings
from napari_invrecon.recon.record import SCHEMA
from napari_invrecon.recon.spectra import MapSettings
from napari_invrecon.recon.spectral_components import ComponentSettings
from napari_invrecon.recon.tilt_settings import TomographySettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Method:
    """What the record of one method has beside the common fields: its settings, sources and own fields.

    ``fields`` and ``optional_sources`` are read as in `COMMON`; a source that may be left out is in the latter.
    """

    settings: type
    sources: tuple[str, ...]
    fields: dict[str, str]
    optional_sources: tuple[str, ...] = ()


# Name: kind, one of `_KINDS`; a trailing ? allows None, a leading ? an absent field.
COMMON = {
    "schema": "count",
    "method": "text",
    "settings": "object",
    "sources": "objects",
    "lam": "number",
    "lam_rule": "text",
    "curve": "object?",
    "data_scale": "numbers",
    "n_iter": "count",
    "stopped": "text",
    "residual": "history",
    "objective": "history",
    "result": "array?",
    "versions": "texts",
    "started": "time",
    "seconds": "number",
    "?history": "objects by hash",
    "?part": "count",
    "?shows": "object",
    "?applied": "object",
}
SOURCE = {
    "role": "text",
    "?shape": "counts",
    "?dtype": "text",
    "?sha256": "hash",
    "?layer": "text",
    "?file": "file",
    "?acquired": "object",
    "?made_by": "hash",
    "?part": "count",
    "?quantity": "text",
    "?placement": "object",
    "?layers": "objects",
}
_ARRAY = {"shape": "counts", "dtype": "text", "sha256": "hash"}
_FILE = {"name": "text", "?path": "text", "?signal": "text", "?sha256": "hash", "?sha256_first_64MiB": "hash"}

METHODS: dict[str, Method] = {
    "align": Method(
        AlignmentSettings,
        ("stack", "angles"),
        {"alignment": "object", "tilts": "object", "maps": "flag"},
    ),
    "deconvolve": Method(
        DeconvolutionSettings,
        ("image", "psf"),
        {
            "result_is": "text",
            "masked": "count",
            "detector": "object",
            "boundary": "text",
            "nonnegative": "flag",
            "noise_sigma": "number?",
            "noise_is": "text?",
            "residual_over_noise": "number?",
            "remarks": "list of text",
            "heuristic": "flag",
            "blocks": "object",
        },
        ("weights", "reference"),
    ),
    "deconvolve_energy": Method(
        EnergySettings,
        ("spectrum", "kernel"),
        {
            "response": "object",
            "blocks": "object",
            "residual_over_noise": "number?",
            "?noise_sigma": "number?",
            "?detector": "object",
            "?kernel_negative_share": "number",
        },
    ),
    "denoise_spectra": Method(
        ComponentSettings,
        ("spectrum image",),
        {"components": "count", "singular_values": "numbers", "noise_edge": "number", "detector": "object"},
    ),
    "elemental_maps": Method(
        MapSettings,
        ("spectrum image", "energy"),
        {"detector": "object", "elements": "objects"},
    ),
    "fuse": Method(
        FusionSettings,
        ("haadf", "maps"),
        {
            "coupling": "text",
            "?edge_px": "number",
            "?scale": "numbers",
            "candidates": "object",
            "?tried": "objects",
            "noise": "text",
            "elements": "list of text",
            "calibration": "object",
            "shift_px": "numbers",
            "haadf_binning": "number",
            "?blocks": "object?",
            "gain": "number?",
            "flags": "list of text",
        },
        ("reference", "backgrounds", "variances"),
    ),
    "reconstruct_tilt_series": Method(
        TomographySettings,
        ("stack", "angles"),
        {
            "projector_norm": "number",
            "tilts": "object",
            "background": "object",
            "noise": "object",
            "residual_over_noise": "number?",
            "diagnostics": "object",
            "memory": "object",
            "iterations": "object",
        },
    ),
}


def check_record(record: Any) -> dict[str, Any]:
    """The record, in this version's schema.

    Parameters
    ----------
    record
        As it came from a result, a layer's ``metadata["invrecon"]``, or a file; not changed.

    Raises
    ------
    ValueError
        It is none, is newer than this version, or a field is missing or is not what it should be; the message names
        the field, what was expected, and what to do.
    """
    if not isinstance(record, dict) or "method" not in record:
        raise ValueError(f"expected the record of a reconstruction, a dict with a 'method', got {_shown(record)}")
    method = record["method"]
    found = _upgraded(record)
    if found["method"] not in METHODS:
        raise ValueError(f"the record's method is {method!r}: expected {_or(METHODS)}")
    _check_alone(found, "the record")
    for digest, earlier in found.get("history", {}).items():
        where = f"the record's history[{digest[:8]!r}]"
        if not isinstance(earlier, dict) or earlier.get("method") not in METHODS:
            raise ValueError(f"{where}: expected the record of an earlier step, got {_shown(earlier)}")
        _check_alone(earlier, where)
    return found


def settings_of(record: dict[str, Any]) -> Any:
    """The settings of a record, as the method's settings class.

    Raises
    ------
    ValueError
        This version knows no such setting, or refuses its value.
    """
    kind, settings = METHODS[record["method"]].settings, record["settings"]
    unknown = settings.keys() - {field.name for field in dataclasses.fields(kind)}
    if unknown:
        made_by = record.get("versions", {}).get("napari-invrecon", "another version")
        raise ValueError(
            f"the record's settings hold {_or(sorted(unknown))}, which this version does not know: it was made with "
            f"napari-invrecon {made_by}; use that one"
        )
    try:
        return kind(**settings)
    except TypeError as error:
        raise ValueError(f"the record's settings: {error}") from error


def undescribed(record: dict[str, Any]) -> list[str]:
    """Fields of a record that the schema does not know; a test keeps this empty for what this version writes."""
    known = COMMON | METHODS[record["method"]].fields
    return sorted(record.keys() - {name.removeprefix("?") for name in known})


def _check_alone(record: dict[str, Any], where: str) -> None:
    """Check a record without the ones in its history."""
    method = METHODS[record["method"]]
    _check_fields(record, COMMON | method.fields, where)
    settings_of(record)
    roles = [source.get("role") if isinstance(source, dict) else None for source in record["sources"]]
    order = [*method.sources, *method.optional_sources]
    if roles[: len(method.sources)] != list(method.sources) or roles != [each for each in order if each in roles]:
        raise ValueError(f"{where}: expected sources {', '.join(order)}, got {', '.join(map(str, roles)) or 'none'}")
    for source in record["sources"]:
        _check_fields(source, SOURCE, f"{where}, source {source['role']!r}")


def _check_fields(found: dict[str, Any], fields: Mapping[str, str], where: str) -> None:
    for field, kind in fields.items():
        name = field.removeprefix("?")
        if name not in found:
            if field == name:
                raise ValueError(f"{where} has no field {name!r}: it was cut short or edited; take the original")
            continue
        value, allowed = found[name], kind.removesuffix("?")
        if not (value is None and kind.endswith("?")) and not _KINDS[allowed](value):
            raise ValueError(f"{where}, field {name!r}: expected {_WORDS.get(allowed, allowed)}, got {_shown(value)}")


def _upgraded(record: dict[str, Any]) -> dict[str, Any]:
    """A copy in this version's schema."""
    schema = record.get("schema")
    if schema == SCHEMA:
        return copy.deepcopy(record)
    if schema != 1:
        made_by = record.get("versions", {}).get("napari-invrecon", "a newer version")
        raise ValueError(
            f"the record has schema {schema!r}, this version reads 1 to {SCHEMA}: it was made with napari-invrecon "
            f"{made_by}; install that one or a newer one"
        )
    return _from_schema_1(record)


def _from_schema_1(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 had an earlier step's record in its source, no hash of the result, and fewer fields in some methods."""
    record = copy.deepcopy(record) | {"schema": SCHEMA}
    history: dict[str, Any] = {}
    for source in record.get("sources", []):
        earlier = source.pop("record", None)
        if earlier is None:
            continue
        earlier = _from_schema_1(earlier)
        history |= earlier.pop("history", {})
        earlier["result"] = {name: source[name] for name in _ARRAY}
        history[source["sha256"]] = earlier
        source["made_by"] = source["sha256"]
    unknown = "not recorded"
    absent: dict[str, Any] = {
        "lam": 0.0,
        "lam_rule": unknown,
        "curve": None,
        "data_scale": 1.0,
        "n_iter": 0,
        "stopped": unknown,
    }
    record = absent | {"residual": [], "objective": []} | record | {"result": None}
    if record["method"] == "alignment":
        record |= {"method": "align", "maps": False, "tilts": {}}
        record["sources"].append({"role": "angles", "angles_deg": record["alignment"]["angles_deg"]})
    if record["method"] == "reconstruct_tilt_series":
        record.setdefault("iterations", {})
    if record["stopped"] == "asked":
        record["stopped"] = "asked to finish"
    return record | ({"history": history} if history else {})


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(of, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _has(fields: Mapping[str, str]) -> Callable[[Any], bool]:
    def has(value: Any) -> bool:
        if not _is_object(value):
            return False
        required = {name for name in fields if not name.startswith("?")}
        given = {name.removeprefix("?"): kind for name, kind in fields.items()}
        return required <= value.keys() and all(_KINDS[given[n]](v) for n, v in value.items() if n in given)

    return has


_KINDS: dict[str, Callable[[Any], bool]] = {
    "number": _is_number,
    "numbers": lambda value: _is_number(value) or _is_list(_is_number)(value),
    "count": _is_count,
    "counts": _is_list(_is_count),
    "flag": lambda value: isinstance(value, bool),
    "text": _is_text,
    "list of text": _is_list(_is_text),
    "texts": lambda value: _is_object(value) and all(map(_is_text, value.values())),
    "time": lambda value: isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value) is not None,
    "history": _is_list(lambda value: value is None or _is_number(value)),
    "hash": _is_hash,
    "object": _is_object,
    "objects": _is_list(_is_object),
    "objects by hash": lambda value: _is_object(value) and all(map(_is_hash, value)),
    "array": _has(_ARRAY),
    "file": _has(_FILE),
}
_WORDS = {
    "number": "a finite number",
    "numbers": "a finite number or a list of them",
    "count": "a whole number from 0 up",
    "counts": "a list of whole numbers",
    "flag": "true or false",
    "texts": "names and texts",
    "time": "a date and time as 2026-01-31T12:00:00+00:00",
    "history": "a list of numbers",
    "hash": "a SHA-256 hash, 64 hexadecimal digits",
    "objects": "a list of objects",
    "objects by hash": "records by the hash of what they made",
    "array": "shape, dtype and sha256 of an array",
    "file": "name, path and sha256 of a file",
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _or(names: Any) -> str:
    return " or ".join(repr(name) for name in names)
