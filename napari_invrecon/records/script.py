"""A record as a Python script that makes the result again from the files, without napari."""

from __future__ import annotations

import pprint
from typing import TYPE_CHECKING, Any

from napari_invrecon.records.history import NOT_AS_THEY_ARE, steps
from napari_invrecon.records.replay import brief, needs_array
from napari_invrecon.records.schema import check_record

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEAD = '''"""Make {name} again, without napari:

    python THIS_FILE [RESULT.npy]

Written from a record of napari-invrecon {version}; started {started}. Exit status 0: the same array, bit for bit.
"""

import sys

import numpy as np

from napari_invrecon.records.replay import run
from napari_invrecon.records.sources import matches, open_source
'''
_TAIL = """
if len(sys.argv) > 1:
    np.save(sys.argv[1], np.asarray(result))
sys.exit(0 if matches({whole}, "{sha256}") else 1)
"""


def script(record: dict[str, Any], name: str = "the result", saved: Mapping[str, str] | None = None) -> str:
    """Every step of a record's chain as a call with all its settings, its sources read from their files.

    Parameters
    ----------
    record : dict
        ``Reconstruction.record``, or a layer's ``metadata["invrecon"]``.
    name : str
        What the script calls the result.
    saved : mapping, optional
        Files (.npy, or what `napari_invrecon.io.read` knows) of sources by their ``sha256``, for those whose own files
        the record does not name.

    Returns
    -------
    str
        Of the script.

    Raises
    ------
    ValueError
        It is no record that this version reads, or a source's file is not known (`unknown_sources`).
    """
    record, saved = check_record(record), saved or {}
    if record["result"] is None:
        raise ValueError("the record is of an older version and has no hash of the result: run it again first")
    lacking = [role for _, role in unknown_sources(record, saved)]
    if lacking:
        raise ValueError(
            f"the record names no file of the {', '.join(lacking)}: save that array, and pass its name in saved"
        )
    chain, made = steps(record), _made(record)
    versions = record["versions"].get("napari-invrecon", "?")
    parts = [_HEAD.format(name=name, version=versions, started=record["started"])]
    for number, each in enumerate(chain, 1):
        sources = ",\n        ".join(_expression(source, made, saved) or "None" for source in each["sources"])
        described = pprint.pformat(brief(each), width=110, sort_dicts=False, compact=True).replace("\n", "\n    ")
        parts.append(
            f"# {number} of {len(chain)}: {each['method']}\n"
            f"step_{number} = run(\n    {described},\n    [\n        {sources},\n    ],\n)\n"
        )
    whole = f"{made[record['result']['sha256']]}.data"
    parts.append(f"result = {whole}{_part(record)}")
    return "\n".join(parts) + _TAIL.format(whole=whole, sha256=record["result"]["sha256"])


def unknown_sources(record: dict[str, Any], saved: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """(hash, role) of the sources of a checked record's chain that neither a file nor an earlier step gives."""
    made = _made(record)
    return [
        (source["sha256"], source["role"])
        for each in steps(record)
        for source in each["sources"]
        if needs_array(source) and not _expression(source, made, saved or {})
    ]


def _made(record: dict[str, Any]) -> dict[str, str]:
    """The steps by the hashes of their results, as the script calls them."""
    return {each["result"]["sha256"]: f"step_{n}" for n, each in enumerate(steps(record), 1) if each["result"]}


def _expression(source: dict[str, Any], made: Mapping[str, str], saved: Mapping[str, str]) -> str:
    """What gives a source's array in the script; empty where nothing does, or the record itself."""
    digest, made_by = source.get("sha256", ""), source.get("made_by", "")
    if digest in saved:
        return _open(saved[digest], source)
    if digest in made:
        return f"{made[digest]}.data"
    if made_by in made and ("part" in source or not digest):
        return f"{made[made_by]}.{source.get('quantity', 'data')}{_part(source)}"
    if "layers" in source:
        planes = [_expression(each, made, saved) for each in source["layers"]]
        return f"np.stack([{', '.join(planes)}])" if all(planes) else ""
    interpolated = source.get("placement", {}).get("interpolated", False)
    if "path" in source.get("file", {}) and source.get("role") not in NOT_AS_THEY_ARE and not interpolated:
        return _open(source["file"]["path"], source)
    return ""


def _open(path: str, source: dict[str, Any]) -> str:
    file, wanted = source.get("file", {}), [repr(path)]
    if "signal" in file and path == file.get("path"):
        wanted.append(f"signal={file['signal']!r}")
    if any(source.get("placement", {}).get("start", ())) and path == file.get("path"):
        wanted.append(f"start={tuple(source['placement']['start'])}")
    wanted += [f"shape={tuple(source['shape'])}"] if "shape" in source else []
    wanted += [f"sha256={source['sha256']!r}"] if "sha256" in source else []
    return f"open_source({', '.join(wanted)})"


def _part(shown: dict[str, Any]) -> str:
    """The index of the part of a result that a layer shows."""
    return f"[{shown['part']}]" if "part" in shown else ""
