"""OME-Zarr folders (NGFF 0.4 and 0.5): each image at its full size; large ones by blocks, read when they are needed."""

from __future__ import annotations

import itertools
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.arrange import acquisitions
from napari_invrecon.io.declared import check_zarray
from napari_invrecon.io.lazy import EAGER_BYTES, blockwise
from napari_invrecon.io.origin import origin
from napari_invrecon.io.saved import KEY, restored
from napari_invrecon.io.units import axis

if TYPE_CHECKING:
    from pathlib import Path

    from napari_invrecon.io.acquisition import Acquisition, Axis

EXTENSIONS = (".zarr",)

_NAMES = {"x": "x", "y": "y", "z": "z", "t": "frame"}
_UDUNITS = {"electronvolt": "eV", "nanometer^-1": "1/nm"}


def read(path: Path) -> list[Acquisition]:
    """The image of the folder, or all images of its subfolders; channels apart.

    Raises
    ------
    ValueError
        When the folder is no OME-Zarr, or chunks are missing from one that this package wrote.
    """
    import zarr  # late: it takes longer than most files

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr warns of stray files, which are no concern of the images
            root = zarr.open_group(path, mode="r")
            groups = [root] if _multiscale(root) else [group for _, group in root.groups() if _multiscale(group)]
            found = [acquisition for group in groups for acquisition in _image(path, group)]
    except (OSError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{path.name} is not a whole OME-Zarr folder ({type(error).__name__}: {error}): copy it again"
        ) from error
    if not found:
        raise ValueError(f"{path.name} holds no OME-Zarr image: expected 'multiscales' among its attributes")
    return found


def _multiscale(group: Any) -> dict[str, Any] | None:
    """The first multiscale of a group, from where version 0.5 or 0.4 has it."""
    attributes = dict(group.attrs)
    found = (attributes.get("ome") or attributes).get("multiscales")
    return found[0] if found else None


def _image(path: Path, group: Any) -> list[Acquisition]:
    described: dict[str, Any] = _multiscale(group) or {}
    dataset = described["datasets"][0]
    stored = group[str(dataset["path"])]
    on_disk = sum(file.stat().st_size for file in (path / group.path / dataset["path"]).rglob("*") if file.is_file())
    check_zarray(path, stored.path, stored.metadata.to_dict(), on_disk)
    if stored.dtype.kind not in "biufc":
        raise ValueError(f"{path.name} holds values of type {stored.dtype}, expected numbers: export plain numbers")
    noted = group.attrs.get(KEY)
    lost = stored.nchunks - stored.nchunks_initialized
    if noted is not None and lost:
        raise ValueError(f"{path.name} is incomplete: {lost} of its {stored.nchunks} chunks are missing: copy it again")
    data = _array(path, stored, whole=not lost)
    axes, notes = _axes(described, dataset, stored.ndim)
    shared = origin(path, f"OME-Zarr {described.get('version') or dict(group.attrs['ome']).get('version')}")
    saved = restored(data, noted, shared, {each.name: each for each in axes})
    if saved is not None:
        return [saved]
    name = str(described.get("name") or path.stem)
    metadata = shared | {"notes": notes}
    names = [each.name for each in axes]
    if "channel" not in names:
        return acquisitions(data, axes, name=name, metadata=metadata)
    where = names.index("channel")
    rest = [each for each in axes if each.name != "channel"]
    found: list[Acquisition] = []
    for channel in range(data.shape[where]):
        one = data[(slice(None),) * where + (channel,)]
        found += acquisitions(one, rest, name=f"{name} channel {channel}", metadata=metadata)
    return found


def _array(path: Path, stored: Any, *, whole: bool) -> Any:
    if stored.nbytes <= EAGER_BYTES:
        return np.asarray(stored[...])
    read = partial(_block, path, stored.path, whole)
    return blockwise(read, stored.shape, np.dtype(stored.dtype), stored.chunks, name=path.name)


def _block(path: Path, array: str, whole: bool, place: tuple[slice, ...]) -> Any:
    """Zarr takes a chunk that is missing for zeros: of an array that was ``whole``, it has been lost since."""
    import zarr

    stored = zarr.open_array(path, path=array, mode="r")
    ranges = (
        range(at.start // n, -(-at.stop // n)) for at, n in zip(place, stored.shards or stored.chunks, strict=True)
    )
    for index in itertools.product(*ranges) if whole else ():
        chunk = path / array / stored.metadata.encode_chunk_key(index)
        if not chunk.is_file():
            raise FileNotFoundError(f"chunk {chunk.relative_to(path)} is missing")
    return np.asarray(stored[place])


def _axes(described: dict[str, Any], dataset: dict[str, Any], ndim: int) -> tuple[list[Axis], list[str]]:
    """Scales and translations, of the dataset and then of all datasets, one after the other."""
    scale, offset = [1.0] * ndim, [0.0] * ndim
    for step in [*dataset["coordinateTransformations"], *described.get("coordinateTransformations", [])]:
        if step["type"] == "scale":
            scale = [a * b for a, b in zip(scale, step["scale"], strict=True)]
            offset = [a * b for a, b in zip(offset, step["scale"], strict=True)]
        elif step["type"] == "translation":
            offset = [a + b for a, b in zip(offset, step["translation"], strict=True)]
    axes, notes = [], []
    for entry, step, start in zip(described["axes"], scale, offset, strict=True):
        unit = entry.get("unit")
        name = "channel" if entry.get("type") == "channel" else _NAMES.get(entry["name"], str(entry["name"]))
        calibrated, note = axis(name, _UDUNITS.get(unit, unit), step, start)
        axes.append(calibrated)
        notes += [note] if note else []
    return axes, notes
