"""The writers that napari calls: each layer becomes one file, with its calibration, tilt angles and record.

napari takes the writer with the longest extension that fits, and of several the one whose plugin it found first, which
is by chance. For .tif that is decided here: this package's OME-TIFF, which keeps what napari's own writer drops.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning
from npe2 import PluginManager

from napari_invrecon.io import write
from napari_invrecon.plugin.layers import layer_acquisition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.types import FullLayerData
    from npe2 import PluginContext

_NAPARI = "napari"
_EXACT_IN_MRC = ("int8", "uint8", "int16", "uint16", "float16", "float32", "bool")
_NEVER_IN_NAMES = '<>:"/\\|?*\0'


def write_tif_layers(path: str, layers: Sequence[FullLayerData]) -> list[str]:
    """OME-TIFF; a layer that it cannot hold goes to napari's own writer, if it has no record or is in colours.

    A picture in colours is only to be looked at: the maps that it shows have its record.
    """
    data, attributes, _ = layers[0]
    try:
        return _write(path, layers, (".tif", ".tiff"))
    except OSError as error:
        recorded = "invrecon" in attributes["metadata"]
        if len(layers) > 1 or (recorded and not attributes.get("rgb")) or not isinstance(error.__cause__, ValueError):
            raise
    if recorded:
        show_warning(f"{Path(path).name}: colours only; save the maps too, which keep the calibration and the record")
    return [PluginManager.instance().commands.execute("napari.write_image", (path, data, attributes))]


def write_mrc_layers(path: str, layers: Sequence[FullLayerData]) -> list[str]:
    """MRC, float32."""
    return _write(path, layers, (".mrc", ".rec"))


def write_zarr_layers(path: str, layers: Sequence[FullLayerData]) -> list[str]:
    """OME-Zarr."""
    return _write(path, layers, (".zarr",))


def write_hspy_layers(path: str, layers: Sequence[FullLayerData]) -> list[str]:
    """HyperSpy."""
    return _write(path, layers, (".hspy",))


def come_first(_: PluginContext) -> None:
    """Put napari's own writers behind this package's; called when napari first uses the package.

    No layer has a record before that. npe2 has no public way: switching napari's plugin off and on removes its menus.
    """
    plugins = PluginManager.instance()
    index = getattr(plugins, "_contrib", None)
    if hasattr(index, "reindex") and _NAPARI in plugins and not plugins.is_disabled(_NAPARI):
        index.reindex(plugins.get_manifest(_NAPARI))


def _write(path: str, layers: Sequence[FullLayerData], extensions: tuple[str, ...]) -> list[str]:
    """Write one layer to ``path``, several to files beside it that have the layers' names appended.

    Raises
    ------
    OSError
        Whatever goes wrong: napari takes a `ValueError` for "no writer found". The files written before stay.
    """
    target = _with_extension(Path(path), extensions)
    written: list[str] = []
    try:
        for file, (data, attributes, _) in zip(_files(target, layers), layers, strict=True):
            _write_one(file, data, attributes)
            written.append(str(file))
    except (ValueError, TypeError, ImportError, MemoryError) as error:
        raise OSError(f"{error}{_so_far(written)}") from error
    except OSError as error:
        if not written:
            raise
        raise OSError(f"{error.strerror or error}{_so_far(written)}") from error
    return written


def _write_one(file: Path, data: Any, attributes: dict[str, Any]) -> None:
    if attributes.get("rgb") or attributes.get("multiscale"):
        kind = "colours" if attributes.get("rgb") else "several resolutions"
        raise ValueError(f"{file.name}: '{attributes['name']}' is a layer of {kind}: save it alone as .tif or .png")
    acquisition = layer_acquisition(data, attributes)
    write(file, acquisition)
    if _turned(attributes):
        show_warning(f"{file.name}: the layer's rotation and shear are not kept, only its scale and place")
    if file.suffix.lower() in (".mrc", ".rec") and acquisition.data.dtype.name not in _EXACT_IN_MRC:
        show_warning(
            f"{file.name}: MRC holds float32, which keeps 7 digits of {acquisition.data.dtype}; .zarr keeps all"
        )


def _with_extension(path: Path, extensions: tuple[str, ...]) -> Path:
    """The dialog adds no extension, and a layer's name may have dots in it."""
    return path if path.suffix.lower() in extensions else path.with_name(path.name + extensions[0])


def _files(target: Path, layers: Sequence[FullLayerData]) -> list[Path]:
    """One name a layer; napari has asked about the name that the user chose, not about the others."""
    if len(layers) == 1:
        return [target]
    names = [attributes["name"].translate({ord(c): "-" for c in _NEVER_IN_NAMES})[:100] for _, attributes, _ in layers]
    extension = "".join(target.suffixes[-2:]) if target.stem.lower().endswith(".ome") else target.suffix
    files = [target.with_name(f"{target.name.removesuffix(extension)} {name}{extension}") for name in names]
    taken = [file.name for file in files if file.exists()] or [f.name for f in files if files.count(f) > 1]
    if taken:
        raise ValueError(f"{taken[0]} is already there: choose another name, or save this layer alone to replace it")
    return files


def _so_far(written: Sequence[str]) -> str:
    return f". Saved before: {', '.join(Path(path).name for path in written)}" if written else ""


def _turned(attributes: dict[str, Any]) -> bool:
    n = len(attributes["scale"])
    affine = np.asarray(attributes["affine"])
    straight = np.allclose(attributes["rotate"], np.eye(n)) and not np.any(attributes["shear"])
    return not (straight and np.allclose(affine, np.eye(n + 1)))
