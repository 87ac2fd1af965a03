"""A recorded reconstruction, run again."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.recon.alignment import Alignment, aligned_series
from napari_invrecon.recon.deconvolution import deconvolution
from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
from napari_invrecon.recon.energy import EnergySettings, energy_deconvolution
from napari_invrecon.recon.fusion import FusionSettings, fusion
from napari_invrecon.recon.measured_psf import MeasuredPSF
from napari_invrecon.recon.probe import psf_from_description
from napari_invrecon.recon.record import Reconstruction, array_hash
from napari_invrecon.recon.solvers import Iterate, Steps, finish, finish_at
from napari_invrecon.recon.spectra import MapSettings, mapping, recorded_energy
from napari_invrecon.recon.spectral_components import ComponentSettings, component_steps
from napari_invrecon.recon.tilt_settings import TomographySettings
from napari_invrecon.recon.tomography import tomography
from napari_invrecon.records.schema import check_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Sources = dict[str, Any]


def replay(record: dict[str, Any], sources: Sequence[Any]) -> Reconstruction:
    """Run a recorded reconstruction again, with the λ, the coupling and the shifts that it used.

    Parameters
    ----------
    record : dict
        ``Reconstruction.record``, or a layer's ``metadata["invrecon"]``.
    sources : sequence of arrays
        In the order of ``record["sources"]``; a point-spread function that was a model, tilt angles and energies
        may be left out (None).

    Returns
    -------
    Reconstruction
        On the same machine and versions the same array, bit for bit.

    Raises
    ------
    ValueError
        The record is none of this version's or an older one's (`check_record`), or a source is missing.

    Warns
    -----
    UserWarning
        A source is not the one that was recorded.
    """
    record = check_record(record)
    by_role = assign(record, sources)
    for entry in record["sources"]:
        array = by_role[entry["role"]]
        if array is not None and "sha256" in entry and array_hash(_values(array)) != entry["sha256"]:
            warnings.warn(f"the {entry['role']} is not the one that was recorded: its hash differs", stacklevel=2)
    return finish(again(record, by_role))


def run(described: dict[str, Any], sources: Sequence[Any]) -> Reconstruction:
    """What `brief` left of a record, run again on these sources; scripts call it."""
    return finish(again(described, assign(described, sources)))


def brief(record: dict[str, Any]) -> dict[str, Any]:
    """What of a checked record decides the result."""
    names = ("method", "settings", "sources", "lam", "n_iter", "stopped", *_DECIDES.get(record["method"], ()))
    found = {name: record[name] for name in names if name in record}
    passed_over = ("layer", "layers", "file", "acquired", "made_by", "part", "placement", "shape", "dtype")
    found["sources"] = [{k: v for k, v in each.items() if k not in passed_over} for each in record["sources"]]
    for source in found["sources"]:
        if source["role"] == "energy":  # its shape is the number of energies
            source["shape"] = record["sources"][1]["shape"]
    return found


def assign(record: dict[str, Any], sources: Sequence[Any]) -> Sources:
    """Arrays in the order of a record's sources, by role; None for those that the record itself gives.

    Raises
    ------
    ValueError
        There are too many, or one is missing.
    """
    described = record["sources"]
    roles = [entry["role"] for entry in described]
    if len(sources) > len(roles):
        raise ValueError(f"{len(sources)} sources for a record of {len(roles)}: pass {', '.join(roles)}, in this order")
    given = dict(zip(roles, [*sources, *[None] * (len(roles) - len(sources))], strict=True))
    missing = [entry["role"] for entry in described if given[entry["role"]] is None and needs_array(entry)]
    if missing:
        raise ValueError(f"the {missing[0]} is missing: pass {', '.join(roles)}, in this order")
    return given


def needs_array(source: dict[str, Any]) -> bool:
    """Whether an entry of ``record["sources"]`` stands for an array that the record does not hold."""
    return "sha256" in source


def again(record: dict[str, Any], sources: Sources, *, choose_lambda: bool = False) -> Steps[Reconstruction]:
    """A checked record's reconstruction as a generator of `Iterate`, on these sources.

    With ``choose_lambda`` what was chosen from the data (λ, a coupling) is chosen anew, and a run that was asked to
    finish early goes to its end.
    """
    settings = dict(record["settings"])
    if choose_lambda:
        settings["lam"] = None
        last = None
    else:
        settings |= as_used(record)
        last = record["n_iter"] if record["stopped"] == "asked to finish" else None
    return finish_at(_AGAIN[record["method"]](record, settings, sources), last)


def as_used(record: dict[str, Any]) -> dict[str, Any]:
    """Settings with which a record's method uses what it then chose from the data."""
    used = {}
    if record["lam"]:
        used["lam"] = record["lam"]
    if record["method"] == "fuse":
        used["coupling"] = record["coupling"]
        used["edge_px"] = record.get("edge_px")
    return used


def iterations_of_slabs(record: dict[str, Any]) -> dict[str, Any] | None:
    """``iterations`` of `tomography`, for a volume whose run of several slabs was ended by Done; else None."""
    return (record["iterations"] or None) if record["stopped"].startswith("asked to finish: ") else None


def _deconvolve(record: dict[str, Any], settings: dict[str, Any], sources: Sources) -> Steps[Reconstruction]:
    psf = _psf(record["sources"][1], sources["psf"])
    return deconvolution(
        sources["image"], psf, sources.get("weights"), DeconvolutionSettings(**settings), sources.get("reference")
    )


def _psf(described: dict[str, Any], given: Any) -> Any:
    """The recorded model; or the kernel as given, on the pixels that it was measured on."""
    if given is None:
        return psf_from_description(described)
    if described.get("model") == "measured" and isinstance(given, np.ndarray):
        return MeasuredPSF(given, described["pixel_size_nm"], {})
    return given


def _values(source: Any) -> Any:
    """The array in a measured point-spread function, or the source itself."""
    return source.array if isinstance(source, MeasuredPSF) else source


def _energy(_: dict[str, Any], settings: dict[str, Any], sources: Sources) -> Steps[Reconstruction]:
    return energy_deconvolution(sources["spectrum"], sources["kernel"], EnergySettings(**settings))


def _tomography(record: dict[str, Any], settings: dict[str, Any], sources: Sources) -> Steps[Reconstruction]:
    same_lam = (settings["lam"] or None) == (record["lam"] or None)
    return tomography(
        sources["stack"],
        _angles(record, sources),
        TomographySettings(**settings),
        iterations_of_slabs(record) if same_lam else None,
    )


def _angles(record: dict[str, Any], sources: Sources) -> Any:
    given = sources.get("angles")
    return record["sources"][1]["angles_deg"] if given is None else given


def _align(record: dict[str, Any], _: dict[str, Any], sources: Sources) -> Steps[Reconstruction]:
    yield Iterate(0, 1, stage="moving the images")
    return aligned_series(sources["stack"], Alignment.from_summary(record["alignment"]), maps=record["maps"])


def _maps(record: dict[str, Any], settings: dict[str, Any], sources: Sources) -> Steps[Reconstruction]:
    energy = sources.get("energy")
    energy = recorded_energy(record["sources"][1]) if energy is None else energy
    return mapping(sources["spectrum image"], energy, record["elements"], MapSettings(**settings))


def _components(_: dict[str, Any], settings: dict[str, Any], sources: Sources) -> Steps[Reconstruction]:
    return component_steps(sources["spectrum image"], ComponentSettings(**settings))


def _fuse(_: dict[str, Any], settings: dict[str, Any], sources: Sources) -> Steps[Reconstruction]:
    more = (sources.get(role) for role in ("reference", "backgrounds", "variances"))
    return fusion(sources["haadf"], sources["maps"], FusionSettings(**settings), *more)


_DECIDES = {"align": ("alignment", "maps"), "elemental_maps": ("elements",), "fuse": ("coupling", "edge_px")}
_AGAIN: dict[str, Callable[[dict[str, Any], dict[str, Any], Sources], Steps[Any]]] = {
    "align": _align,
    "deconvolve": _deconvolve,
    "deconvolve_energy": _energy,
    "denoise_spectra": _components,
    "elemental_maps": _maps,
    "fuse": _fuse,
    "reconstruct_tilt_series": _tomography,
}
