"""What napari's menus do with the record of the selected layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import napari
from napari.utils.notifications import show_info, show_warning
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_invrecon.plugin.export_script import export_steps
from napari_invrecon.plugin.failure import notify_failure
from napari_invrecon.plugin.repeat import repeat
from napari_invrecon.plugin.worker import Run
from napari_invrecon.records.methods import methods_paragraph

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

_COPY, _EXPORT = "Copy methods paragraph", "Export script"


def repeat_selected() -> None:
    """Run the selected layer's reconstruction again."""
    chosen = _selected()
    if chosen is not None:
        repeat(*chosen)


def copy_methods() -> None:
    """Put the methods paragraph of the selected layer on the clipboard."""
    chosen = _selected()
    if chosen is None:
        return
    _, layer = chosen
    try:
        text = methods_paragraph(layer.metadata["invrecon"])
    except ValueError as error:
        notify_failure(_COPY, error)
        return
    QApplication.clipboard().setText(text)
    show_info(f"Methods paragraph of '{layer.name}' copied: {text.partition('. ')[0]}…")


def export_script() -> None:
    """Ask where, and write the script that makes the selected layer again."""
    chosen = _selected()
    if chosen is None:
        return
    name = "".join(c if c.isalnum() else "_" for c in chosen[1].name)
    path, _ = QFileDialog.getSaveFileName(None, "Export script", f"{name}.py", "Python (*.py)")
    if path:
        write_script(*chosen, Path(path).with_suffix(".py"))


def write_script(viewer: Viewer, layer: Layer, path: Path) -> None:
    """Write it; a notification says where, and what was saved beside it."""
    try:
        make_steps = export_steps(layer.metadata["invrecon"], layer.name, path, viewer.layers)
    except ValueError as error:
        notify_failure(_EXPORT, error)
        return

    def tell(n_saved: int) -> None:
        beside = f", with {n_saved} array{'s' if n_saved > 1 else ''} that no file holds beside it" if n_saved else ""
        show_info(f"{path} written{beside}: run it with python {path.name}")

    run = Run(QApplication.instance(), task=_EXPORT)
    run.succeeded.connect(tell)
    run.failed.connect(lambda error: notify_failure(_EXPORT, error))
    run.finished.connect(run.deleteLater)
    run.start(make_steps)


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
