"""A record in words: what made a layer, as one text to read and to copy."""

from __future__ import annotations

from typing import Any

from napari_invrecon.plugin.remaining_time import in_words
from napari_invrecon.recon.settings import Parameter, parameters
from napari_invrecon.records.schema import METHODS, check_record

_WARNINGS = ("remarks", "flags")


def describe_record(record: dict[str, Any]) -> str:
    """Method, λ and its rule, sources, settings, warnings, versions and duration, under headings.

    Raises
    ------
    ValueError
        What came is no record, or one that this version does not know.
    """
    record = check_record(record)
    parts = [
        ("Method", [record["method"].replace("_", " "), _lam(record)]),
        ("Iterations", [f"{record['n_iter']}; stopped: {record['stopped']}", *_fit(record)]),
        ("Sources", [_source(each) for each in record["sources"]]),
        ("Warnings", _warnings(record)),
        ("Settings", _settings(record)),
        ("Made", [f"{record['started']}, in {in_words(record['seconds'])}"]),
        ("Versions", [", ".join(f"{name} {number}" for name, number in record["versions"].items())]),
        ("Earlier steps", [each["method"].replace("_", " ") for each in record.get("history", {}).values()]),
    ]
    return "\n\n".join("\n".join([title, *(f"  {line}" for line in lines if line)]) for title, lines in parts if lines)


def _lam(record: dict[str, Any]) -> str:
    if not record["lam"]:
        return ""
    return f"λ = {record['lam']:.4g}, {'given' if record['lam_rule'] == 'given' else 'chosen by ' + record['lam_rule']}"


def _fit(record: dict[str, Any]) -> list[str]:
    found = record.get("residual_over_noise")
    return [] if found is None else [f"residual/noise {found:.3g}"]


def _source(source: dict[str, Any]) -> str:
    parts = [source["role"]]
    if "layer" in source:
        parts.append(f"layer '{source['layer']}'")
    if "file" in source:
        parts.append(f"file {source['file']['name']}")
    if "shape" in source:
        parts.append(" × ".join(map(str, source["shape"])))
    if "sha256" in source:
        parts.append(f"sha256 {source['sha256'][:12]}…")
    if "model" in source:
        parts.append(str(source["model"]))
    return ", ".join(parts)


def _warnings(record: dict[str, Any]) -> list[str]:
    found = [str(each) for name in _WARNINGS for each in record.get(name, [])]
    found += record.get("diagnostics", {}).get("warnings", [])
    if advice := record.get("background", {}).get("advice"):
        found.append(advice)
    return found


def _settings(record: dict[str, Any]) -> list[str]:
    """Those that are not as they come first, marked."""
    known = {each.name: each for each in parameters(METHODS[record["method"]].settings)}
    lines = []
    for name, value in record["settings"].items():
        changed = name in known and value != known[name].default
        lines.append((not changed, f"{'• ' if changed else ''}{_setting(known.get(name), name, value)}"))
    return [line for _, line in sorted(lines, key=lambda each: each[0])]


def _setting(parameter: Parameter | None, name: str, value: Any) -> str:
    label, unit = (name, "") if parameter is None else (parameter.label, parameter.unit)
    shown = "automatic" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return f"{label}: {shown}{f' {unit}' if unit and value is not None else ''}"
