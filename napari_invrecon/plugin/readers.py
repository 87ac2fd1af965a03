"""The readers that napari calls: a dropped file becomes all its layers or none, and an error is told in the window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
from napari.utils.notifications import show_error, show_warning

from napari_invrecon.io import read
from napari_invrecon.io.emd import is_emd
from napari_invrecon.io.single_tilts import acquisitions_in, series_name, series_of
from napari_invrecon.plugin.drops import already_open, opened_together, single_tilts
from napari_invrecon.plugin.layers import foreign_units, layer_data, uncalibrated_steps
from napari_invrecon.plugin.shared_axes import keep_units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.types import LayerDataTuple

    from napari_invrecon.io import Acquisition

# napari's word for "read, and there is nothing to add".
_NOTHING: list[Any] = [(None,)]


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerDataTuple]]:
    """The reader of one acquisition file or OME-Zarr folder; of single tilts in a folder, or dropped as a stack."""
    if isinstance(path, str) and (Path(path).suffix.lower() == ".zarr" or not Path(path).is_dir()):
        return read_layers
    return read_tilts


def get_hdf5_reader(path: str | Sequence[str]) -> Callable[[str], list[LayerDataTuple]] | None:
    """The reader of .h5 and .hdf5 files that are EMD inside; None for all others."""
    return read_layers if isinstance(path, str) and is_emd(Path(path)) else None


def read_layers(path: str) -> list[LayerDataTuple]:
    """One layer a signal; spectrum images at the bottom and hidden where the file has images to look at.

    Files that are dropped together and are single tilts of one series become its layer, at the first of them.
    In a viewer, an error becomes a notification and no layer is added. Without one it is raised.
    """
    together = opened_together(path)
    if already_open(path, together):
        return _NOTHING
    series = single_tilts(path, together)
    if series is not None:
        return _shown(Path(path).parent.name, lambda: series)
    return _shown(Path(path).name, lambda: read(path))


def read_tilts(paths: str | Sequence[str]) -> list[LayerDataTuple]:
    """One tilt series from a folder of single tilts, or from files dropped with Shift held, as napari stacks them."""
    if isinstance(paths, str):
        folder = Path(paths)
        return _shown(folder.name, lambda: series_of(acquisitions_in(folder), folder.name))
    files = [Path(path) for path in paths]
    return _shown(files[0].parent.name, lambda: series_of(files, series_name(files)))


def _shown(name: str, acquire: Callable[[], list[Acquisition]]) -> list[LayerDataTuple]:
    """The layers of what is acquired, and a warning for what is not shown as it is; all of them or none."""
    viewer = napari.current_viewer()
    try:
        acquisitions = acquire()
        layers = [layer_data(acquisition) for acquisition in acquisitions]
    except Exception as error:
        if viewer is None:
            raise
        show_error(str(error) or f"{name} could not be read: {type(error).__name__}")
        return _NOTHING
    if viewer is not None:
        layers = keep_units(layers, viewer.layers)
    if any(acquisition.kind in ("image", "map") for acquisition in acquisitions):
        for acquisition, (_, keywords, _) in zip(acquisitions, layers, strict=True):
            keywords["visible"] = not acquisition.kind.startswith("spectrum")
    if warning := _warning(name, acquisitions):
        show_warning(warning)
    return layers


def _warning(file_name: str, acquisitions: Sequence[Acquisition]) -> str:
    """What is not shown in its true unit, and what the file says instead; empty where there is nothing to say."""
    foreign = dict.fromkeys(unit for acquisition in acquisitions for unit in foreign_units(acquisition))
    notes = dict.fromkeys(note for acquisition in acquisitions for note in acquisition.metadata.get("notes", []))
    said = []
    if "uncalibrated" in foreign:
        steps = dict.fromkeys(step for acquisition in acquisitions for step in uncalibrated_steps(acquisition))
        said.append(f"not calibrated; {' and '.join(steps)}, marked [uncalibrated]")
    others = [unit for unit in foreign if unit != "uncalibrated"]
    said += [f"calibrated in {unit}; shown with the same numbers in nm, marked [{unit}]" for unit in others]
    said += list(notes)
    return f"{file_name}: {'. '.join(said)}." if said else ""
