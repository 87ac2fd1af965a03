"""A layer's record as a script, with the arrays that no file holds beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.atomic import whole
from napari_invrecon.plugin.own_noise import quantity_of
from napari_invrecon.plugin.placement import place
from napari_invrecon.plugin.psf_layer import PsfLayer
from napari_invrecon.plugin.regions import region
from napari_invrecon.plugin.repeat import as_taken, candidate_layers, find_sources
from napari_invrecon.plugin.shown_spectrum import sum_steps
from napari_invrecon.plugin.spectrum_source import spectrum_source
from napari_invrecon.recon.measured_psf import MeasuredPSF
from napari_invrecon.recon.record import array_hash
from napari_invrecon.recon.solvers import Iterate, Steps, finish
from napari_invrecon.records.history import steps
from napari_invrecon.records.schema import check_record
from napari_invrecon.records.script import script, unknown_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from napari.layers import Layer


def export_steps(record: dict[str, Any], name: str, path: Path, layers: Iterable[Layer]) -> Callable[[], Steps[int]]:
    """Of a generator that writes the script and, as .npy beside it, sources of which no file is known.

    It gives the number of these. The layers are taken note of now, in the GUI's thread, and read in the worker's.

    Raises
    ------
    ValueError
        From here: it is no record. From the generator: a source has no file and its layer is gone, or holds other
        data than it did.
    """
    record = check_record(record)
    layers = list(layers)
    chain = [(each, candidate_layers(each, layers)) for each in steps(record)]

    def export() -> Steps[int]:
        lacking = dict(unknown_sources(record))
        saved: dict[str, str] = {}
        for each, candidates in chain:
            if not lacking.keys() & {source.get("sha256") for source in each["sources"]}:
                continue
            found = yield from find_sources(each, candidates)
            for source in each["sources"]:
                digest, role = source.get("sha256", ""), source["role"]
                if digest not in lacking or digest in saved:
                    continue
                yield Iterate(0, 1, stage=f"saving the {role}")
                array = np.asarray(source_array(source, found.layers))
                if array_hash(array) != digest:
                    raise ValueError(
                        f"the {role} is no longer what was used, and no file of it is known: undo its change"
                    )
                file = path.with_name(f"{path.stem}_{role.replace(' ', '_')}_{digest[:8]}.npy")
                with whole(file) as part, part.open("wb") as opened:
                    np.save(opened, array, allow_pickle=False)
                saved[digest] = str(file)
        text = script(record, f"'{name}'", saved)
        with whole(path) as part:
            part.write_text(text, encoding="utf-8")
        return len(saved)

    return export


def source_array(source: dict[str, Any], layers: dict[str, Any]) -> Any:
    """What a method took from the layers of its record's sources, for one of them."""
    role, layer = source["role"], layers[source["role"]]
    if role == "psf":
        psf = PsfLayer(layer, as_it_is=source["model"] == "array").read()
        return psf.array if isinstance(psf, MeasuredPSF) else psf
    if role == "weights":
        return ~region(layer, layers["image"]).mask()
    if role == "reference":
        return region(layer, layers["image"]).mask()
    if role == "kernel":
        return finish(sum_steps(spectrum_source(layer).data))
    if role == "haadf":
        return place(layer, layers["maps"][0]).read(layer.data)
    if isinstance(layer, list):
        shown = [described.get("quantity", "data") for described in source["layers"]]
        return np.stack([np.asarray(quantity_of(each, what)) for each, what in zip(layer, shown, strict=True)])
    return as_taken(layer, source)
