"""The step "Align" of the dock "Tomography": a new layer of aligned tilts, whose shifts can be kept and used again."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from magicgui.widgets import ComboBox
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_invrecon.plugin.failure import explain, notify_failure
from napari_invrecon.plugin.plots import theme_colours
from napari_invrecon.plugin.tilt_alignment import Aligned, align_steps, apply_steps, load_alignment, save_alignment
from napari_invrecon.plugin.tilt_plots import SinogramPlot
from napari_invrecon.plugin.tilt_results import add_aligned, describe_stack
from napari_invrecon.plugin.tilt_series import projections
from napari_invrecon.plugin.widgets.advanced_section import AdvancedSection
from napari_invrecon.plugin.widgets.form import SettingsForm
from napari_invrecon.recon.alignment import ASKED, Alignment, AlignmentSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari import Viewer
    from napari.layers import Image

    from napari_invrecon.plugin.tilt_series import TiltInput
    from napari_invrecon.plugin.widgets.run_row import RunRow
    from napari_invrecon.plugin.worker import MakeSteps

_TASK = "Alignment"
_FILES = "Alignment (*.json);;IMOD transforms (*.xf)"
_ALIGN_TIP = (
    "Find how far each image has drifted, and where the tilt axis is, and add the images in their places as a new "
    "layer '… aligned'; move its slider for the movie. Skip this step for images that are aligned already."
)
_APPLY_TIP = "Move another series of the same tilts, such as elemental maps, by the shifts of the layer chosen above."
_NOT_ALIGNED = "The layer above was not aligned here: press Align, or load the shifts, first"


class AlignmentSection(QWidget):
    """Collapsed or not, as the user leaves it; its runs go through the dock's run row.

    Parameters
    ----------
    viewer
        Gets the aligned layers.
    run_row
        Progress, Cancel and Done.
    chosen
        Gives what the dock shows; None where that is nothing to align.
    parent
        The dock.
    """

    added = Signal(object, bool)
    """A new, aligned layer, and whether it is of the layer that the dock shows."""

    started = Signal()
    """A run has begun."""

    def __init__(
        self, viewer: Viewer, run_row: RunRow, chosen: Callable[[], TiltInput | None], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._run_row = run_row
        self._chosen = chosen
        self._layer: Image | None = None
        self._plotted: weakref.ref[Image] | None = None  # the layer in view when its sinograms were drawn
        self._others: Sequence[Image] = ()
        self.section = AdvancedSection(self, "1 · Align", "Step 1: put the images in their places; may be skipped")
        self.settings = SettingsForm(AlignmentSettings, skip={"tilt_axis"}, parent=self)
        self.align_button = QPushButton("Align", self)
        self.load_button = QPushButton("Load shifts…", self)
        self.save_button = QPushButton("Save shifts…", self)
        self.other = ComboBox(choices=lambda _: self._others, nullable=False)
        self.other.native.setToolTip(_APPLY_TIP)
        self.other.native.setAccessibleName("Apply the shifts to")
        self.apply_button = QPushButton("Apply to", self)
        self.status = QLabel(self)
        self.status.setWordWrap(True)
        self.plot = SinogramPlot(theme_colours(viewer.theme), self)
        self.plot.setToolTip(
            "One row along the tilt axis in every image. Aligned, each point of the sample runs along a smooth sine."
        )
        self.plot.hide()

        page = QWidget(self)
        inside = QVBoxLayout(page)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.settings)
        inside.addWidget(self.align_button)
        for row in ((self.load_button, self.save_button), (self.apply_button, self.other.native)):
            line = QHBoxLayout()
            for each in row:
                line.addWidget(each, 1)
            inside.addLayout(line)
        inside.addWidget(self.status)
        inside.addWidget(self.plot)
        self.section.addWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.section)

        for button in (self.align_button, self.load_button, self.save_button, self.apply_button):
            button.setAutoDefault(True)  # Return presses it, as Space does
        self.align_button.clicked.connect(self._align)
        self.load_button.clicked.connect(self._ask_for_file)
        self.save_button.clicked.connect(self._ask_where)
        self.apply_button.clicked.connect(self._apply)
        viewer.events.theme.connect(self._follow_theme)

    @property
    def found(self) -> Alignment | None:
        """The alignment of the layer that the dock shows, if it was made by one."""
        return None if self._layer is None else found_alignment(self._layer)

    def offer(self, layer: Image | None, others: Sequence[Image], why_not: str) -> None:
        """The layer to align, those that its shifts can be given to, and why it can not be aligned."""
        if layer is not self._layer:
            self._layer = layer
            self._tell()
        self._others = [each for each in others if each is not layer]
        self.other.reset_choices()
        if not why_not and layer is not None and projections(layer).ndim != 3:
            why_not = "These are maps: align the image series of the same tilts, then apply its shifts to them"
        busy = f"{_TASK} or reconstruction is running: wait, or press Cancel" if self._run_row.running else ""
        _set(self.align_button, _ALIGN_TIP, busy or why_not)
        _set(self.load_button, "Read shifts from a .json saved here, or IMOD's .xf, and apply them", busy or why_not)
        unaligned = "" if self.found is not None else _NOT_ALIGNED
        _set(self.save_button, "Write all of the alignment as .json, or IMOD's .xf and .tlt", unaligned)
        nothing = "" if self._others else "There is no other series to apply the shifts to"
        _set(self.apply_button, _APPLY_TIP, busy or unaligned or nothing)
        self.other.native.setEnabled(bool(self._others))
        self.other.native.setToolTip(nothing or _APPLY_TIP)

    def load(self, path: Path) -> None:
        """Apply the shifts of a file to the layer."""
        chosen = self._chosen()
        if chosen is None:
            return
        try:
            found = load_alignment(path, chosen)
        except (ValueError, OSError) as error:
            notify_failure(_TASK, error)
            self.status.setText(explain(error))
            return
        self._start(chosen.layer, lambda: apply_steps(chosen.stack, found, maps=False), chosen=True)

    def apply_again(self, layer: Image, found: Alignment, *, maps: bool) -> None:
        """Move a layer by the shifts of a record."""
        stack = projections(layer)
        self._start(layer, lambda: apply_steps(stack, found, maps=maps), chosen=not maps)

    def save(self, path: Path) -> None:
        """Write the shifts of the layer."""
        found = self.found
        if found is None:
            return
        try:
            save_alignment(path, found)
        except (ValueError, OSError) as error:
            notify_failure(_TASK, error)
            return
        self.status.setText(f"saved as {path.name}")

    def _align(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        settings = AlignmentSettings(**self.settings.values(), tilt_axis=chosen.axis)
        self._start(chosen.layer, lambda: align_steps(chosen.stack, chosen.angles_deg, settings), chosen=True)

    def _apply(self) -> None:
        found, layer = self.found, self.other.value
        if found is None or layer is None:
            return
        stack = projections(layer)
        self._start(layer, lambda: apply_steps(stack, found, maps=True), chosen=False)

    def _start(self, layer: Image, make_steps: MakeSteps, *, chosen: bool) -> None:
        origin = describe_stack(layer)

        def keep(aligned: Aligned) -> None:
            layer = add_aligned(self._viewer, aligned.series, origin)
            self.added.emit(layer, chosen)
            self.plot.show_sinograms(aligned.sinograms)
            self._plotted = None if self._layer is None else weakref.ref(self._layer)
            self._tell()
            self.status.setText(describe(aligned.series.found))

        self._run_row.start(make_steps, keep)
        self.started.emit()

    def _tell(self) -> None:
        """What is known of the layer that the dock shows, not of the one before."""
        self.status.setText("" if self.found is None else describe(self.found))
        self.plot.setVisible(self._plotted is not None and self._plotted() is self._layer is not None)

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load shifts", "", "Alignment (*.json *.xf);;All files (*)")
        if path:
            self.load(Path(path))

    def _ask_where(self) -> None:
        name = "" if self._layer is None else f"{self._layer.name}.json"
        path, _ = QFileDialog.getSaveFileName(self, "Save shifts", name, _FILES)
        if path:
            self.save(Path(path))

    def _follow_theme(self, _: object = None) -> None:
        self.plot.set_colours(theme_colours(self._viewer.theme))


def found_alignment(layer: Image) -> Alignment | None:
    """The alignment that made a layer."""
    record = layer.metadata.get("invrecon", {})
    return Alignment.from_summary(record["alignment"]) if record.get("method") == "align" else None


def describe(found: Alignment) -> str:
    """What was found, and which axis to choose where the images were turned by a quarter."""
    said = (
        f"Moved by up to {np.abs(found.shifts_px).max():.1f} px; tilt axis turned by "
        f"{_signed(found.axis_rotation_deg)}°, {_signed(found.axis_shift_px)} px beside the centre."
    )
    if not found.used.all():
        said += f" Left out: {', '.join(f'{_signed(angle, 1)}°' for angle in found.angles_deg[~found.used])}."
    if found.stages and found.stages[-1]["stage"] == ASKED:
        said += " Ended by Done before all stages: a whole run places the images better."
    if abs(found.axis_rotation_deg) > 45:
        other = "x, horizontal" if found.tilt_axis == "y" else "y, vertical"
        said += f" The images were turned by a quarter: to keep them upright, align with the tilt axis {other}."
    return said


def _signed(value: float, digits: int = 2) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _set(button: QPushButton, tooltip: str, why_not: str) -> None:
    button.setEnabled(not why_not)
    button.setToolTip(why_not or tooltip)
