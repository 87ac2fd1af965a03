"""A record's settings applied to other files: the same steps, each result a file with its own record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io import Acquisition, Axis, read, write
from napari_invrecon.io.atomic import whole
from napari_invrecon.recon.alignment import AlignedSeries, AlignmentSettings, aligned_series, alignment
from napari_invrecon.recon.record import Stopwatch
from napari_invrecon.records.history import NOT_AS_THEY_ARE, Origin, file_origin, steps, with_origins
from napari_invrecon.records.replay import again, needs_array
from napari_invrecon.records.schema import check_record
from napari_invrecon.records.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_invrecon.recon.solvers import Steps

# Suffix and format of what each method makes.
_LEFT = {
    "align": "_aligned.mrc",
    "deconvolve": "_deconvolved.tif",
    "deconvolve_energy": "_deconvolved.tif",
    "denoise_spectra": "_denoised.tif",
    "elemental_maps": "_maps.tif",
    "fuse": "_fused.tif",
    "reconstruct_tilt_series": "_volume.mrc",
}


@dataclass(frozen=True)
class Recipe:
    """What is done to each file.

    Attributes
    ----------
    chain
        The steps that lead to the record through its first source, first step first, each without its history.
    choose_lambda
        Whether λ, and a coupling, are chosen anew for each file.
    signal
        Name of the signal to take of a file with several; empty: the one that was recorded, or the only one.
    given
        Arrays of other sources, by their roles.
    """

    chain: tuple[dict[str, Any], ...]
    choose_lambda: bool
    signal: str
    given: Mapping[str, Any]

    def output(self, file: Path, folder: Path) -> Path:
        """Where the result of a file goes."""
        return folder / f"{file.stem}{_LEFT[self.chain[-1]['method']]}"

    def told(self) -> dict[str, Any]:
        """What tells one recipe from another, JSON-plain."""
        kept = ("method", "settings", "lam", "coupling", "edge_px", "elements")
        steps = [{name: each[name] for name in kept if name in each} for each in self.chain]
        return {"steps": steps, "choose_lambda": self.choose_lambda, "signal": self.signal}


def load_record(path: Path) -> dict[str, Any]:
    """The record in a .json file, or in a result that this package has saved.

    Raises
    ------
    ValueError, OSError
        There is none that this version reads.
    """
    if path.suffix.lower() != ".json":
        recorded = [each.record for each in read(path) if each.record is not None]
        if not recorded:
            raise ValueError(f"{path.name} holds no record: give a result that this package has saved, or its .json")
        return check_record(recorded[0])
    try:
        return check_record(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name} is not JSON ({error}): give the .json beside a result") from error


def recipe(
    record: dict[str, Any], *, choose_lambda: bool = False, signal: str = "", given: Mapping[str, Path] | None = None
) -> Recipe:
    """A checked record's steps, ready for other files.

    Parameters
    ----------
    record
        Of `load_record`.
    choose_lambda, signal
        As in `Recipe`.
    given
        Files of sources that belong to no single file, such as a measured point-spread function, by their roles.

    Raises
    ------
    ValueError, OSError
        A source beside the first is not known: it is named, with the remedy; or a file cannot be read.
    """
    by_hash = {each["result"]["sha256"]: each for each in steps(record) if each["result"]}
    chain = [record]
    while (earlier := by_hash.get(chain[0]["sources"][0].get("made_by", ""))) is not None:
        chain.insert(0, earlier)
    chain = [{name: value for name, value in each.items() if name != "history"} for each in chain]
    arrays = {role: open_source(path) for role, path in (given or {}).items()}
    for each in chain:
        for source in each["sources"][1:]:
            role = source["role"]
            if not needs_array(source) or role in arrays or role == "maps":
                continue
            path = source.get("file", {}).get("path", "")
            if not path or role in NOT_AS_THEY_ARE:
                raise ValueError(f"the record used a {role} that is not in it: give its file with --source {role}=FILE")
            signal_name = source["file"].get("signal")
            arrays[role] = open_source(path, signal=signal_name, shape=source["shape"], sha256=source["sha256"])
    return Recipe(tuple(chain), choose_lambda, signal, arrays)


def is_done(made: Path, file: Path, told: dict[str, Any]) -> bool:
    """Whether ``made`` is what this recipe made of ``file`` as it is now; its .json is written last."""
    try:
        left = json.loads(_beside(made).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    mark = left.get("applied") if isinstance(left, dict) else None
    return made.exists() and mark == {**told, **_fingerprint(file)}


def apply_steps(made_by: Recipe, file: Path, made: Path) -> Steps[dict[str, Any]]:
    """Do a recipe's steps on one file and write the result, then its record as .json; gives the record.

    Raises
    ------
    ValueError, TypeError, OSError, …
        What goes wrong with this file; nothing is left of it then.
    """
    mark = {**made_by.told(), **_fingerprint(file)}
    found = read(file)
    source = _signal(found, made_by.chain[0]["sources"][0], made_by.signal, file)
    origin = file_origin(file, source)
    for each in made_by.chain:
        sources, settings = _sources(each, source, found, made_by)
        if each["method"] == "align":
            watch = Stopwatch()
            shifts = yield from alignment(sources["stack"], sources["angles"], AlignmentSettings(**settings))
            result: Any = aligned_series(sources["stack"], shifts, watch=watch)
        else:
            described = {**each, "settings": settings}
            result = yield from again(described, sources, choose_lambda=made_by.choose_lambda)
        record = with_origins(result.record, {each["sources"][0]["role"]: origin})
        source = _acquisition(source, result, record)
        origin = Origin(acquisition=source.metadata, record=record)
    write(made, source)
    record = {**record, "applied": mark}
    with whole(_beside(made)) as part:
        part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return record


def _beside(made: Path) -> Path:
    return made.with_suffix(".json")


def _fingerprint(file: Path) -> dict[str, Any]:
    state = file.stat()
    return {"file": str(file.resolve()), "bytes": state.st_size, "modified_ns": state.st_mtime_ns}


def _signal(found: Sequence[Acquisition], source: dict[str, Any], name: str, file: Path) -> Acquisition:
    """The signal of a file that takes the place of a record's source."""
    wanted = name or source.get("file", {}).get("signal", "")
    fitting = [each for each in found if each.data.ndim == len(source["shape"])] if len(found) > 1 else list(found)
    named = [each for each in found if each.name == wanted]
    chosen = named or ([] if name else fitting)
    if len(chosen) != 1:
        names = ", ".join(repr(each.name) for each in found)
        raise ValueError(f"{file.name} holds {names}: choose one with --signal")
    return chosen[0]


def _sources(
    step: dict[str, Any], source: Acquisition, found: Sequence[Acquisition], made_by: Recipe
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A step's sources, by their roles, and the settings that follow from this file and not from the record's."""
    settings = dict(step["settings"])
    sources: dict[str, Any] = {}
    for entry in step["sources"][1:]:
        role = entry["role"]
        sources[role] = made_by.given.get(role)
        if role == "angles":
            sources[role] = _angles(source)
        elif role == "energy":
            axis = source.axes[0]
            sources[role] = axis.offset + axis.scale * np.arange(source.data.shape[0])
        elif role == "maps" and role not in made_by.given:
            sources[role] = _maps(entry, found)
    if "pixel_size_nm" in settings:
        sides = {axis.scale for axis in source.axes[-2:] if axis.unit == "nm"}
        settings["pixel_size_nm"] = sides.pop() if len(sides) == 1 else None
    if "axis_shift_px" in settings and isinstance(source.metadata.get("axis_shift_px"), float):
        settings["axis_shift_px"] = source.metadata["axis_shift_px"]
    return sources | {step["sources"][0]["role"]: source.data}, settings


def _angles(source: Acquisition) -> Any:
    angles = source.metadata.get("angles_deg")
    if angles is None:
        raise ValueError(f"'{source.name}' has no tilt angles: put them into a .rawtlt of the file's name, one a line")
    return np.asarray(angles, np.float64)


def _maps(entry: dict[str, Any], found: Sequence[Acquisition]) -> Any:
    """The maps of the same names, stacked in the record's order."""
    names = [each.get("file", {}).get("signal") or each.get("layer", "") for each in entry.get("layers", [])]
    by_name = {each.name: each for each in found}
    missing = [name for name in names if name not in by_name]
    if missing or not names:
        raise ValueError(
            f"there is no map {', '.join(map(repr, missing))} beside it: give them with --source maps=FILE"
        )
    return np.stack([np.asarray(by_name[name].data) for name in names])


def _acquisition(source: Acquisition, result: Any, record: dict[str, Any]) -> Acquisition:
    """A step's result with the calibration that follows from its source's."""
    metadata = {name: value for name, value in source.metadata.items() if name != "axis_shift_px"}
    axes, kind = source.axes, source.kind
    if isinstance(result, AlignedSeries):
        metadata |= {"angles_deg": result.angles_deg.tolist(), "axis_shift_px": float(result.found.axis_shift_px)}
    elif record["method"] == "reconstruct_tilt_series":
        settings, (y, x) = record["settings"], axes[-2:]
        lead = (Axis("channel"),) * (result.data.ndim - 3)
        z = x if settings["tilt_axis"] == "y" else y
        voxel = [Axis(name, of.unit, of.scale * settings["bin"]) for name, of in zip("zyx", (z, y, x), strict=True)]
        metadata = {name: value for name, value in metadata.items() if not name.startswith("angles")}
        axes, kind = (*lead, *voxel), "volume"
    elif record["method"] in ("elemental_maps", "fuse"):
        axes, kind = (Axis("channel"), *axes[-2:]), "stack"
        metadata |= {"elements": [_name(each) for each in record["elements"]]}
    return replace(source, data=result.data, axes=axes, kind=kind, metadata=metadata, record=record)


def _name(element: Any) -> str:
    return element if isinstance(element, str) else f"{element['element']} {element['line']}".strip()
