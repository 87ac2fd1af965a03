"""Regularised inverse reconstruction for electron microscopy: x̂ = argmin Σ w D(Hx, y) + λR(x).

import napari_invrecon as ir
result = ir.deconvolve(image, ir.gaussian_psf(2.0))
result.data, result.lam, result.record
"""

import warnings
from collections.abc import Sequence
from typing import Any

from napari_invrecon.recon.alignment import Alignment, AlignmentSettings, align, apply_alignment
from napari_invrecon.recon.deconvolution import deconvolve, lambda_curve
from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
from napari_invrecon.recon.element_lines import suggest_window
from napari_invrecon.recon.element_window import ElementWindow
from napari_invrecon.recon.energy import EnergySettings, deconvolve_energy
from napari_invrecon.recon.fusion import FusionResult, FusionSettings, fuse
from napari_invrecon.recon.lambda_choice import LambdaCurve
from napari_invrecon.recon.naive import NaiveInverse, naive
from napari_invrecon.recon.probe import psf_from_description
from napari_invrecon.recon.psf import gaussian_psf
from napari_invrecon.recon.record import Reconstruction, array_hash
from napari_invrecon.recon.solvers import Steps, finish
from napari_invrecon.recon.spectra import ElementalMaps, MapSettings, elemental_maps, recorded_energy
from napari_invrecon.recon.tomography import TomographySettings, reconstruct_tilt_series, tomography

__all__ = [
    "Alignment",
    "AlignmentSettings",
    "DeconvolutionSettings",
    "ElementWindow",
    "ElementalMaps",
    "EnergySettings",
    "FusionResult",
    "FusionSettings",
    "LambdaCurve",
    "MapSettings",
    "NaiveInverse",
    "Reconstruction",
    "TomographySettings",
    "align",
    "apply_alignment",
    "deconvolve",
    "deconvolve_energy",
    "elemental_maps",
    "fuse",
    "gaussian_psf",
    "lambda_curve",
    "naive",
    "reconstruct_tilt_series",
    "replay",
    "suggest_window",
]


_METHODS = ("deconvolve", "deconvolve_energy", "elemental_maps", "fuse", "reconstruct_tilt_series")


def replay(record: dict[str, Any], sources: Sequence[Any]) -> Reconstruction:
    """Run a recorded reconstruction again, with the λ that it used.

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
        The record's method is unknown, or a source is missing.

    Warns
    -----
    UserWarning
        A source is not the one that was recorded.
    """
    if record.get("method") not in _METHODS:
        raise ValueError(f"the record's method is {record.get('method')!r}: expected one of {', '.join(_METHODS)}")
    described = record["sources"]
    if len(sources) > len(described):
        roles = ", ".join(entry["role"] for entry in described)
        raise ValueError(f"{len(sources)} sources for a record of {len(described)}: pass {roles}, in this order")
    given = list(sources) + [None] * (len(described) - len(sources))
    if given[0] is None:
        raise ValueError("the image is missing: pass the arrays in the order of record['sources']")
    for entry, array in zip(described, given, strict=True):
        if array is not None and "sha256" in entry and array_hash(array) != entry["sha256"]:
            warnings.warn(f"the {entry['role']} is not the one that was recorded: its hash differs", stacklevel=2)
    if record["method"] == "deconvolve_energy":
        lam = None if record["settings"]["method"] == "richardson-lucy" else record["lam"]
        return deconvolve_energy(*given, **(record["settings"] | {"lam": lam}))
    if record["method"] == "elemental_maps":
        energy = recorded_energy(described[1]) if given[1] is None else given[1]
        return elemental_maps(given[0], energy, record["elements"], **record["settings"])
    if record["method"] == "reconstruct_tilt_series":
        angles = described[1]["angles_deg"] if given[1] is None else given[1]
        same = TomographySettings(**(record["settings"] | {"lam": record["lam"]}))
        last = record["n_iter"] if record["stopped"] == "asked to finish" else None
        return _finish_at(tomography(given[0], angles, same), last)
    if record["method"] == "fuse":
        settings = record["settings"] | {"lam": record["lam"], "coupling": record["coupling"]}
        if record["stopped"] == "asked":
            settings["n_iter"] = record["n_iter"]
        return fuse(*given, **settings)
    by_role = {entry["role"]: array for entry, array in zip(described, given, strict=True)}
    psf = psf_from_description(described[1]) if by_role["psf"] is None else by_role["psf"]
    settings = record["settings"] | {"lam": record["lam"]}
    if record["stopped"] == "asked to finish":
        settings["n_iter"] = record["n_iter"]
    return deconvolve(by_role["image"], psf, by_role.get("weights"), by_role.get("reference"), **settings)


def _finish_at(steps: Steps[Reconstruction], last: int | None) -> Reconstruction:
    """Run to the end, or ask for it at the iteration at which the recorded run was asked."""
    if last is None:
        return finish(steps)
    asked = None
    while True:
        try:
            asked = steps.send(asked).step >= last
        except StopIteration as end:
            result: Reconstruction = end.value
            return result
