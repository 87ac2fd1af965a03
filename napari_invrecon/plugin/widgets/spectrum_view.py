"""The spectrum of an image, of a pixel or of a region, with the windows of an element, which are dragged on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QFormLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_invrecon.plugin.failure import explain
from napari_invrecon.plugin.picked_pixel import PickedPixel
from napari_invrecon.plugin.plots import theme_colours
from napari_invrecon.plugin.shown_spectrum import ShownSpectrum
from napari_invrecon.plugin.spectrum_plot import SpectrumPlot
from napari_invrecon.plugin.widgets.region_row import RegionRow
from napari_invrecon.recon.spectra import background_curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari import Viewer
    from napari.layers import Image

    from napari_invrecon.plugin.shown_spectrum import PlottedSpectrum
    from napari_invrecon.plugin.spectrum_source import SpectrumSource
    from napari_invrecon.recon.element_window import ElementWindow


class SpectrumView(QWidget):
    """Asked to `show_source` and `show_window`, plots them; what is picked in the viewer is its own business."""

    moved = Signal(object)
    """The `ElementWindow` as it is dragged."""
    told = Signal(str)
    """Why there is no spectrum."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Image | None = None
        self._source: SpectrumSource | None = None
        self._offset = 0.0
        self._window: ElementWindow | None = None
        self._others: Sequence[ElementWindow] = ()
        self._shown: np.ndarray | None = None

        self.region = RegionRow(viewer, self, none="whole image")
        self.region.setToolTip("Whose spectrum is plotted: all pixels, or those in a Shapes or Labels layer.")
        self.pixel_box = QCheckBox("pixel", self)
        self.pixel_box.setToolTip("The spectrum of one pixel: click on it in the view, or drag its mark.")
        self.plot = SpectrumPlot(theme_colours(viewer.theme), self)
        self.all_button = QPushButton("All", self)
        self.all_button.setToolTip("Show the whole spectrum")
        self.element_button = QPushButton("Element", self)
        self.element_button.setToolTip("Show the windows of the chosen element and what is around them")
        self.log_box = QCheckBox("log", self)
        self.log_box.setToolTip("Logarithmic axis of counts")
        self.picked = PickedPixel(viewer, self)
        self.spectrum = ShownSpectrum(self)
        self._lay_out()

        self.region.changed.connect(self._ask)
        self.pixel_box.toggled.connect(self._pick)
        self.picked.changed.connect(self._ask)
        self.picked.removed.connect(self._unpick)
        self.plot.moved.connect(self.moved)
        self.all_button.clicked.connect(self.plot.look_at_all)
        self.element_button.clicked.connect(self.plot.look_at_window)
        self.log_box.toggled.connect(self.plot.set_log)
        self.spectrum.ready.connect(self._show)
        self.spectrum.failed.connect(self._fail)
        viewer.events.theme.connect(self._follow_theme)

    def _lay_out(self) -> None:
        of = QHBoxLayout()
        of.addWidget(self.region, 1)
        of.addWidget(self.pixel_box)
        rows = QFormLayout()
        rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Spectrum of", of)
        look = QHBoxLayout()
        look.addWidget(self.log_box)
        look.addStretch(1)
        for each in (self.element_button, self.all_button):
            look.addWidget(each)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(rows)
        layout.addWidget(self.plot)
        layout.addLayout(look)

    def offer(self) -> None:
        """The regions that there are now."""
        self.region.offer()

    def show_source(self, layer: Image | None, source: SpectrumSource | None, offset: float) -> None:
        """Another spectrum image, or none; ``offset`` is the detector's."""
        another = layer != self._layer
        self._layer, self._source, self._offset = layer, source, offset
        if layer is None:
            self._shown = None
            self.spectrum.stop()
            self.plot.clear()
            self.pixel_box.setChecked(False)
            return
        if another and self.pixel_box.isChecked():
            self.picked.start(layer)
        self._ask()

    def show_window(self, window: ElementWindow | None, others: Sequence[ElementWindow]) -> None:
        """The windows of the current element, the background that this spectrum has there, and the others' names."""
        self._window, self._others = window, others
        source, counts = self._source, self._shown
        curve = None
        if source is not None and window is not None and counts is not None and len(counts) == len(source.energy_ev):
            try:
                curve = background_curve(counts, source.energy_ev, window)
            except ValueError:
                curve = None  # what is odd about the window is said below the plot
        self.plot.show_window(window, curve, [(each.name, sum(each.signal) / 2) for each in others])

    def stop(self) -> None:
        """Drop what runs; remove the picked pixel."""
        self.spectrum.stop()
        self.pixel_box.setChecked(False)
        self.picked.stop()

    def _pick(self, on: bool) -> None:
        self.region.setEnabled(not on)
        if not on:
            self.picked.stop()
            self._ask()
        elif self._layer is None:
            self.pixel_box.setChecked(False)
        else:
            self.picked.start(self._layer)

    def _unpick(self) -> None:
        self.pixel_box.setChecked(False)

    def _ask(self, _: object = None) -> None:
        layer, source = self._layer, self._source
        if layer is None or source is None:
            return
        plane = source.data.shape[1:]
        pixel = self.picked.pixel if self.pixel_box.isChecked() else None
        if pixel is not None and len(plane) == 2:
            mask = np.zeros(plane, bool)
            mask[pixel] = True
            self.spectrum.request(source, self._offset, f"pixel y = {pixel[0]}, x = {pixel[1]}", lambda: mask)
            return
        try:
            marked = self.region.region(layer) if len(plane) == 2 else None
        except ValueError as error:
            self.told.emit(str(error))
            return
        if marked is None:
            self.spectrum.request(source, self._offset)
        else:
            self.spectrum.request(source, self._offset, marked.name, marked.mask)

    def _show(self, found: PlottedSpectrum) -> None:
        source = self._source
        if source is None or found.source.data is not source.data:
            return
        first, self._shown = self._shown is None, found.counts
        unit = "energy loss (eV)" if source.kind == "eels" else "X-ray energy (eV)"
        self.plot.show_spectrum(source.energy_ev, found.counts, found.title, unit)
        self.show_window(self._window, self._others)
        if first:
            self.plot.look_at_window()

    def _fail(self, failure: BaseException) -> None:
        self.told.emit(explain(failure))

    def _follow_theme(self, _: object = None) -> None:
        self.plot.set_colours(theme_colours(self._viewer.theme))
