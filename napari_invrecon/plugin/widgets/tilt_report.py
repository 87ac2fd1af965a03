"""What a volume is worth: how much of Fourier space was measured, how each tilt is fitted, and its 3-D rendering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_invrecon.plugin.plots import theme_colours
from napari_invrecon.plugin.tilt_plots import QualityPlot
from napari_invrecon.plugin.volume_view import VolumeView
from napari_invrecon.plugin.widgets.advanced_section import AdvancedSection
from napari_invrecon.plugin.widgets.focus import FOCUS_STYLE

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image

_TIP = (
    "‖Hx̂ − y‖/(σ√N): 1 fits to the noise. Elongation: how much longer along the beam a small body looks, as its tilts "
    "do not reach ±90°."
)


class TiltReport(QWidget):
    """Hidden until the first volume; forgets it with its layer. `section` goes into the dock's form.

    Parameters
    ----------
    viewer
        Whose view becomes 3-D, and whose theme the plot follows.
    parent
        The dock.
    """

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._view = VolumeView(viewer)
        self._layer: Image | None = None
        self.label = QLabel(self)
        self.label.setWordWrap(True)
        self.label.setToolTip(_TIP)
        self.button = QPushButton("3-D", self)
        self.button.setCheckable(True)
        self.button.setToolTip("Render the volume alone in three dimensions; press again for the slices.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.label)
        layout.addWidget(self.button)
        self.setStyleSheet(FOCUS_STYLE)

        self.plot = QualityPlot(theme_colours(viewer.theme), self)
        self.facts = QLabel("Shown after a reconstruction.", self)
        self.facts.setWordWrap(True)
        self.plot.hide()
        self.section = AdvancedSection(
            self, "Diagnostics", "Tilt range, missing wedge, elongation, and the residual of each tilt"
        )
        page = QWidget(self)
        inside = QVBoxLayout(page)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.facts)
        inside.addWidget(self.plot)
        self.section.addWidget(page)

        self.button.toggled.connect(self._turn)
        viewer.layers.events.removed.connect(self._forget)
        viewer.dims.events.ndisplay.connect(self._follow_view)
        viewer.events.theme.connect(self._follow_theme)
        self.hide()

    def show_result(self, layer: Image, *, render: bool) -> None:
        """Report on a volume, and render it if asked to."""
        self._layer = layer
        record = layer.metadata["invrecon"]
        found = record["diagnostics"]
        said = [found["verdict"], *found["warnings"]]
        if advice := record["background"]["advice"]:
            said.append(f"{advice} (Background, under Advanced).")
        self.label.setText("\n".join(each[:1].upper() + each[1:] for each in said))
        self.facts.setText(facts(found))
        self.plot.show_quality(np.delete(record["sources"][1]["angles_deg"], record["tilts"]["excluded"]), found)
        self.plot.show()
        self.button.setChecked(False)
        self.show()
        if render:
            self.button.setChecked(True)

    def _turn(self, on: bool) -> None:
        if on and self._layer is not None:
            self._view.show(self._layer)
        elif not on:
            self._view.leave()

    def _follow_view(self, _: object = None) -> None:
        if self._viewer.dims.ndisplay == 2:
            self.button.setChecked(False)

    def _forget(self, event: Any) -> None:
        if self._layer is not None and event.value is self._layer:
            self._layer = None
            self.button.setChecked(False)
            self.hide()

    def _follow_theme(self, _: object = None) -> None:
        self.plot.set_colours(theme_colours(self._viewer.theme))


def facts(found: dict[str, Any]) -> str:
    """Range, step, missing wedge, elongation and resolution, in a line each."""
    low, high = found["range_deg"]
    lines = [f"{found['n_tilts']} tilts from {low:.4g}° to {high:.4g}°"]
    if found["step_deg"] is not None:
        lines[0] += f", {found['step_deg']:.3g}° apart, at most {found['largest_gap_deg']:.3g}°"
    lines.append(f"Missing wedge: {100 * found['missing_wedge_fraction']:.0f} % of Fourier space")
    if found["elongation"] is not None:
        lines.append(f"Elongation along the beam: {found['elongation']:.2f} (Radermacher 1988)")
    lines.append(f"Resolution by the number of tilts, πD/N: {found['crowther_px']:.2g} px")
    return ".\n".join(lines) + "."
