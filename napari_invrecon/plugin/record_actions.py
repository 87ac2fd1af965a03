"""What napari's menus do with the record of the selected layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import napari
from napari.utils.notifications import show_warning

from napari_invrecon.plugin.repeat import repeat

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer


def repeat_selected() -> None:
    """Run the selected layer's reconstruction again."""
    chosen = _selected()
    if chosen is not None:
        repeat(*chosen)


def _selected() -> tuple[Viewer, Layer] | None:
    """The viewer and its selected result; None, and a notification, where there is none."""
    viewer = napari.current_viewer()
    layer = None if viewer is None else viewer.layers.selection.active
    if layer is None:
        show_warning("Select one layer first: a result of this plugin, which has a record")
    elif "invrecon" not in layer.metadata:
        show_warning(f"'{layer.name}' has no record: select a layer that Deconvolve, Tomography or Fuse has made")
    else:
        return viewer, layer
    return None
