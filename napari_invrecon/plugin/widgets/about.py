"""The dock "About this reconstruction": the record of the selected layer, to read and to copy."""

from __future__ import annotations

from napari import Viewer  # noqa: TC002 — napari reads this annotation at run time
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import QHBoxLayout, QPlainTextEdit, QPushButton, QVBoxLayout

from napari_invrecon.plugin.about import describe_record
from napari_invrecon.plugin.bug_report import copy_text
from napari_invrecon.plugin.widgets.dock import Dock

_NOTHING = (
    "Select one layer that Deconvolve, Tomography or another dock of this plugin has made: its record is shown here."
)


class AboutDock(Dock):
    """Follows the selection; nothing runs in it.

    Parameters
    ----------
    napari_viewer
        Whose selected layer is described.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.text = QPlainTextEdit(self)
        self.text.setReadOnly(True)
        self.text.setAccessibleName("The record")
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.copy_button = QPushButton("Copy", self)
        self.copy_button.setToolTip("Put the text on the clipboard")
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self.copy_button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addLayout(row)
        self.copy_button.clicked.connect(self._copy)
        napari_viewer.layers.selection.events.active.connect(self.show_selected)
        self.show_selected()

    def show_selected(self, _: object = None) -> None:
        """Describe the selected layer."""
        layer = self.viewer.layers.selection.active
        known = layer is not None and "invrecon" in layer.metadata
        text = _NOTHING
        if known:
            try:
                text = f"{layer.name}\n\n{describe_record(layer.metadata['invrecon'])}"
            except ValueError as error:
                text = f"{layer.name}: {error}"
        self.text.setPlainText(text)
        self.copy_button.setEnabled(known)
        self.copy_button.setToolTip("Put the text on the clipboard" if known else _NOTHING)

    def stop(self) -> None:
        """Nothing runs."""

    def _copy(self) -> None:
        copy_text(self.text.toPlainText())
