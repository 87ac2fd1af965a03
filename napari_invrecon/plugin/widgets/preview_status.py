"""The line below "Preview": what it is at, or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel

from napari_invrecon.plugin.failure import explain, notify_failure

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


class PreviewStatus(QLabel):
    """Takes no room while there is nothing to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.hide()

    def say(self, status: str) -> None:
        """Show a line; "": none."""
        self.setText(status)
        self.setVisible(bool(status))

    def say_why_none(self, failure: BaseException) -> None:
        """Show why there is no preview, which nobody pressed a button for: data that do not fit are no fault."""
        self.say(f"No preview: {explain(failure)}")
        if not isinstance(failure, ValueError):
            notify_failure("Preview", failure)
