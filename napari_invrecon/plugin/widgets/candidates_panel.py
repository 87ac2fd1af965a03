"""The collapsed section "λ and coupling" of a dock: how well each candidate predicts data that it was not given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_invrecon.plugin.candidates_plot import CandidatesPlot
from napari_invrecon.plugin.plots import theme_colours
from napari_invrecon.plugin.widgets.advanced_section import AdvancedSection

if TYPE_CHECKING:
    from napari import Viewer

_HINT = "Shown after a run in which λ or the coupling was automatic."
_CLICK = "Lower is better. Click near a line to set its coupling and that λ."


class CandidatesPanel(AdvancedSection):
    """The plot, which follows the viewer's theme."""

    picked = Signal(str, float)
    """The coupling and the λ that were clicked on."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent, "λ and coupling", "The scores of all candidates among which λ and coupling are chosen")
        self._viewer = viewer
        self.plot = CandidatesPlot(theme_colours(viewer.theme), self)
        self.plot.hide()
        self.status = QLabel(_HINT, self)
        self.status.setWordWrap(True)
        page = QWidget(self)
        inside = QVBoxLayout(page)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.plot)
        inside.addWidget(self.status)
        self.addWidget(page)
        self.plot.picked.connect(self.picked)
        viewer.events.theme.connect(self._follow_theme)

    def show_record(self, record: dict[str, Any]) -> None:
        """Show a fusion's candidates; without any, as where both were given, the last ones stay."""
        if record["candidates"]:
            self.plot.show_candidates(record["candidates"], record["coupling"], record["lam"])
            self.plot.show()
            self.status.setText(_CLICK)

    def _follow_theme(self, _: object = None) -> None:
        self.plot.set_colours(theme_colours(self._viewer.theme))
