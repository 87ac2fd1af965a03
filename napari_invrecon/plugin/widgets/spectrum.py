"""The dock "Spectrum": windows on the spectrum of an image, of a pixel or of a region, and the maps that they make."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox
from napari import Viewer  # noqa: TC002 — napari reads this annotation at run time
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_invrecon.plugin.failure import explain
from napari_invrecon.plugin.live_map import LiveMap
from napari_invrecon.plugin.map_words import amounts, verdict
from napari_invrecon.plugin.picked_pixel import PickedPixel
from napari_invrecon.plugin.plots import theme_colours
from napari_invrecon.plugin.shown_spectrum import ShownSpectrum
from napari_invrecon.plugin.spectrum_maps import add_maps, map_place
from napari_invrecon.plugin.spectrum_plot import SpectrumPlot
from napari_invrecon.plugin.spectrum_source import spectral, spectrum_source
from napari_invrecon.plugin.widgets.dock import Dock
from napari_invrecon.plugin.widgets.element_list import ElementList
from napari_invrecon.plugin.widgets.energy_axis import EnergyAxisSection
from napari_invrecon.plugin.widgets.energy_section import EnergySection
from napari_invrecon.plugin.widgets.form import SettingsForm
from napari_invrecon.plugin.widgets.region_row import RegionRow
from napari_invrecon.plugin.widgets.run_row import RunRow
from napari_invrecon.plugin.widgets.window_fields import WindowFields, with_model
from napari_invrecon.recon.element_window import channels, from_plain
from napari_invrecon.recon.spectra import MapSettings, background_curve, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Image

    from napari_invrecon.plugin.shown_spectrum import PlottedSpectrum
    from napari_invrecon.plugin.spectrum_source import SpectrumSource
    from napari_invrecon.recon.element_lines import SpectrumKind
    from napari_invrecon.recon.element_window import ElementWindow
    from napari_invrecon.recon.spectra import ElementalMaps, Measured

_LIVE_TIP = "Show the map of the chosen element in one layer while its windows change. Untick to remove it."
_RAW_TIP = (
    "Add the sums of the windows as they are, without taking the background off: whole counts stay whole, as a fusion "
    "with Poisson noise takes them."
)
_SIGMA_TIP = "Add a hidden layer of each map's standard deviation; it is in the map's metadata in any case."


class SpectrumDock(Dock):
    """Elemental maps of a spectrum image: add an element, move its windows, press Add maps.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and which gets the maps.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.source: SpectrumSource | None = None
        self._layer: Image | None = None
        self._data: Any = None
        self._kind = ""  # of the elements on the list
        self._shown: np.ndarray | None = None
        self._added: list[Image] = []

        self.image = ComboBox(choices=self._images, nullable=False)
        self.image.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.image.native.setMinimumContentsLength(8)
        self.image.native.setToolTip("The spectrum image (energy, y, x); it is not changed.")
        self.region = RegionRow(napari_viewer, self, none="whole image")
        self.region.setToolTip("Whose spectrum is plotted: all pixels, or those in a Shapes or Labels layer.")
        self.pixel_box = QCheckBox("pixel", self)
        self.pixel_box.setToolTip("The spectrum of one pixel: click on it in the view, or drag its mark.")
        self.plot = SpectrumPlot(theme_colours(napari_viewer.theme), self)
        self.all_button = QPushButton("All", self)
        self.all_button.setToolTip("Show the whole spectrum")
        self.element_button = QPushButton("Element", self)
        self.element_button.setToolTip("Show the windows of the chosen element and what is around them")
        self.log_box = QCheckBox("log", self)
        self.log_box.setToolTip("Logarithmic axis of counts")
        self.elements = ElementList(self)
        self.fields = WindowFields(self)
        self.status = QLabel(self)
        self.status.setWordWrap(True)
        self.live_box = QCheckBox("Live map", self)
        self.live_box.setToolTip(_LIVE_TIP)
        self.live_box.setChecked(True)
        self.settings = SettingsForm(MapSettings, parent=self)
        self.energy = EnergySection(napari_viewer, self)
        self.raw_box = QCheckBox("Raw counts", self)
        self.raw_box.setToolTip(_RAW_TIP)
        self.sigma_box = QCheckBox("σ layers", self)
        self.sigma_box.setToolTip(_SIGMA_TIP)
        self.run_row = RunRow(self, task="Elemental maps")
        self.run_button = self.run_row.run_button
        self.run_button.setText("Add maps")
        self.live = LiveMap(napari_viewer, self)
        self.picked = PickedPixel(napari_viewer, self)
        self.spectrum = ShownSpectrum(self)
        self._lay_out()
        self._connect()
        self.reset_choices()
        active = self.viewer.layers.selection.active
        if active in self.image.choices:
            self.image.value = active
        self._take()

    def _lay_out(self) -> None:
        what = QFormLayout()
        what.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        what.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        what.addRow("Spectra", self.image.native)
        of = QHBoxLayout()
        of.addWidget(self.region, 1)
        of.addWidget(self.pixel_box)
        what.addRow("Spectrum of", of)
        view = QHBoxLayout()
        for each in (self.live_box, self.log_box):
            view.addWidget(each)
        view.addStretch(1)
        for each in (self.element_button, self.all_button):
            view.addWidget(each)
        self.axis_section = EnergyAxisSection(self)
        self.lay_out(
            (
                what,
                self.plot,
                view,
                self.elements,
                self.fields,
                self.status,
                self.axis_section,
                self.settings,
                self.energy,
            ),
            below=(self._options(), self.run_row),
        )

    def _options(self) -> QWidget:
        row = QWidget(self)
        inside = QHBoxLayout(row)
        inside.setContentsMargins(0, 0, 0, 0)
        for each in (self.raw_box, self.sigma_box):
            inside.addWidget(each)
        inside.addStretch(1)
        return row

    def _connect(self) -> None:
        self.image.changed.connect(self._take)
        self.region.changed.connect(self._ask_spectrum)
        self.pixel_box.toggled.connect(self._pick)
        self.picked.changed.connect(self._ask_spectrum)
        self.picked.removed.connect(self._unpick)
        self.plot.moved.connect(self._drag)
        self.all_button.clicked.connect(self.plot.look_at_all)
        self.element_button.clicked.connect(self.plot.look_at_window)
        self.log_box.toggled.connect(self.plot.set_log)
        self.elements.chosen.connect(self._choose)
        self.elements.listed.connect(self._explain)
        self.fields.edited.connect(self._edit)
        self.settings.changed.connect(self._ask_map)
        self.settings.changed.connect(self._ask_spectrum)
        self.live_box.toggled.connect(self._ask_map)
        self.live.told.connect(self._tell)
        self.live.failed.connect(self._fail_map)
        self.live.removed.connect(self._switch_live_off)
        self.axis_section.kind_chosen.connect(self._change_kind)
        self.axis_section.calibrated.connect(self._calibrate)
        self.run_button.clicked.connect(self.run)
        self.run_row.finished.connect(self._end)
        self.spectrum.ready.connect(self._show_spectrum)
        self.spectrum.failed.connect(self._fail_spectrum)
        self.viewer.events.theme.connect(self._follow_theme)

    def run(self) -> None:
        """Add the maps of all elements on the list."""
        layer, source = self.image.value, self.source
        if layer is None or source is None or self._why_not():
            return
        windows = self.elements.windows
        if self.raw_box.isChecked():
            windows = [with_model(each, "none", source.ends) for each in windows]
        settings = MapSettings(**self.settings.values())
        place = map_place(layer)
        with_sigma = self.sigma_box.isChecked()
        self._added = []

        def keep(maps: ElementalMaps) -> None:
            self.live.stop()
            self.live_box.setChecked(False)
            self._added = add_maps(self.viewer, maps, place, with_sigma=with_sigma)

        self.run_row.start(lambda: mapping(source.data, source.energy_ev, windows, settings), keep)

    def fill(self, record: dict[str, Any], layers: Mapping[str, Any]) -> None:
        """As of `Dock`; the energies are those of the spectrum image's layer."""
        layer = layers["spectrum image"]
        if layer not in self.image.choices:
            raise ValueError(f"'{layer.name}' cannot be mapped: it is no spectrum image (energy, y, x)")
        self.image.value = layer
        self.elements.clear()
        for entry in record["elements"]:
            self.elements.add(from_plain(entry))
        self.raw_box.setChecked(False)
        self.settings.set_values(record["settings"])

    def stop(self) -> None:
        """Cancel the run; remove the live map and the picked pixel."""
        self.spectrum.stop()
        self.live_box.setChecked(False)
        self.live.stop()
        self.pixel_box.setChecked(False)
        self.picked.stop()
        self.energy.stop()
        self.run_row.cancel_button.click()

    def reset_choices(self, event: object = None) -> None:
        """Offer the layers that there are now; napari calls this when they change."""
        self.image.reset_choices()
        self.region.offer()
        if self.image.value != self._layer:  # not "is": napari wraps what a plugin gets from its viewer
            self._take()
        self.energy.offer()
        self._explain()

    def _images(self, _: object = None) -> list[Image]:
        return spectral(self.viewer.layers)

    def _take(self, _: object = None) -> None:
        """Another spectrum image, or the same with another calibration."""
        layer = self.image.value
        if self._layer is not None:
            for event in (self._layer.events.scale, self._layer.events.translate):
                event.disconnect(self._take_again)
        another = layer != self._layer
        self._layer = layer
        self.live.stop()
        if layer is None:
            self.source = self._data = self._shown = None
            self.spectrum.stop()
            self.plot.clear()
            self.elements.set_source(None)
            self.fields.show_window(None, (0.0, 1.0))
            self.pixel_box.setChecked(False)
            self.energy.show_source(None, None)
            self._explain()
            return
        for event in (layer.events.scale, layer.events.translate):
            event.connect(self._take_again)
        self._read(layer, another=another)
        if self.pixel_box.isChecked():
            self.picked.start(layer)
        self._ask_spectrum()
        self._ask_map()

    def _take_again(self, _: object = None) -> None:
        self._take()

    def _read(self, layer: Image, *, another: bool) -> None:
        source = spectrum_source(layer)
        before = self.source
        if not another and before is not None:
            same = layer.data is self._data
            source = dataclasses.replace(source, kind=before.kind, data=before.data if same else source.data)
        self._data = layer.data
        self.source = source
        self.axis_section.show_source(source)
        if another:
            if source.detector_offset != self.settings.values()["offset"]:
                self.settings.set_values({"offset": source.detector_offset})
            if self._kind != source.kind:  # also where there was no image in between
                self.elements.clear()
            self._kind = source.kind
            if not source.calibrated:
                self.axis_section.expand()
        self.elements.set_source(source)
        self.energy.show_source(layer, source)
        if another and not self.elements.windows:
            for element in source.elements:
                self._add_quietly(element)
        self._show_fields()
        self._explain()

    def _add_quietly(self, element: str) -> None:
        """An element that the file names; one that has no line in this spectrum is left out."""
        try:
            self.elements.add_element(element)
        except ValueError:
            return

    def _calibrate(self, first_ev: float, step_ev: float) -> None:
        """Typed energies become the layer's."""
        layer = self._layer
        if layer is None:
            return
        with layer.events.scale.blocker(self._take_again), layer.events.translate.blocker(self._take_again):
            layer.scale = (step_ev, *layer.scale[1:])
            layer.translate = (first_ev, *layer.translate[1:])
        self._take()

    def _change_kind(self, kind: SpectrumKind) -> None:
        if self.source is not None:
            self.source = dataclasses.replace(self.source, kind=kind)
            self._kind = kind
            self.elements.set_source(self.source)
            self.energy.show_source(self._layer, self.source)

    def _pick(self, on: bool) -> None:
        if not on:
            self.picked.stop()
            self._ask_spectrum()
        elif self._layer is None:
            self.pixel_box.setChecked(False)
        else:
            self.picked.start(self._layer)
        self.region.setEnabled(not on)

    def _ask_spectrum(self, _: object = None) -> None:
        layer, source = self._layer, self.source
        if layer is None or source is None:
            return
        plane = source.data.shape[1:]
        offset = self.settings.values()["offset"]
        pixel = self.picked.pixel if self.pixel_box.isChecked() else None
        if pixel is not None and len(plane) == 2:
            mask = np.zeros(plane, bool)
            mask[pixel] = True
            self.spectrum.request(source, offset, f"pixel y = {pixel[0]}, x = {pixel[1]}", lambda: mask)
            return
        try:
            marked = self.region.region(layer) if len(plane) == 2 else None
        except ValueError as error:
            self._say(str(error))
            return
        if marked is None:
            self.spectrum.request(source, offset)
        else:
            self.spectrum.request(source, offset, marked.name, marked.mask)

    def _show_spectrum(self, found: PlottedSpectrum) -> None:
        source = self.source
        if source is None or found.source.data is not source.data:
            return
        first, self._shown = self._shown is None, found.counts
        unit = "energy loss (eV)" if source.kind == "eels" else "X-ray energy (eV)"
        self.plot.show_spectrum(source.energy_ev, found.counts, found.title, unit)
        self._draw_window()
        if first:
            self.plot.look_at_window()

    def _fail_spectrum(self, failure: BaseException) -> None:
        self._say(explain(failure))

    def _choose(self) -> None:
        self._show_fields()
        self._draw_window()
        if self.elements.current is not None:
            self.plot.look_at_window()
        self._ask_map()
        self._explain()

    def _drag(self, window: ElementWindow) -> None:
        self.elements.change(window)
        self._show_fields()
        self._changed()

    def _edit(self, window: ElementWindow) -> None:
        self.elements.change(window)
        self._changed()

    def _changed(self) -> None:
        self._draw_window()
        self._ask_map()
        self._explain()

    def _show_fields(self) -> None:
        ends = (0.0, 1.0) if self.source is None else self.source.ends
        self.fields.show_window(self.elements.current, ends)

    def _draw_window(self) -> None:
        source, window, counts = self.source, self.elements.current, self._shown
        curve = None
        if source is not None and window is not None and counts is not None and len(counts) == len(source.energy_ev):
            try:
                curve = background_curve(counts, source.energy_ev, window)
            except ValueError:
                curve = None  # what is odd about the window is said below the plot
        named = [(each.name, sum(each.signal) / 2) for each in self.elements.windows]
        self.plot.show_window(window, curve, named)

    def _ask_map(self, _: object = None) -> None:
        """Ask for the live map of what the dock shows, or remove it."""
        layer, source, window = self._layer, self.source, self.elements.current
        if not self.live_box.isChecked() or layer is None or source is None or window is None:
            self.live.stop()
            return
        why = self._odd(window)
        if why:
            self._say(why)
            return
        try:
            settings = MapSettings(**self.settings.values())
        except ValueError as error:
            self._say(str(error))
            return
        others = [each for each in self.elements.windows if each is not window and not self._odd(each)]
        self.live.request(layer, source, [window, *others], settings)

    def _tell(self, measured: Measured) -> None:
        for found in measured.elements:
            self.elements.tell(found.window.name, *amounts(found))
        self._say(verdict(measured.elements[0], measured.noise))

    def _switch_live_off(self) -> None:
        self.live_box.setChecked(False)

    def _unpick(self) -> None:
        self.pixel_box.setChecked(False)

    def _fail_map(self, failure: BaseException) -> None:
        self._say(explain(failure))

    def _say(self, text: str) -> None:
        self.status.setText(text)

    def _odd(self, window: ElementWindow) -> str:
        """What is wrong with a window; empty where it can be mapped."""
        assert self.source is not None
        if self.source.step_ev <= 0:
            return "The energies do not ascend: type the energy axis"
        try:
            channels(window, self.source.energy_ev)
        except ValueError as error:
            return str(error)
        return ""

    def _explain(self, _: object = None) -> None:
        """Disable Add maps, with the reason, where it could not work."""
        self.run_row.block(self._why_not())

    def _why_not(self) -> str:
        """Why Add maps could not work; empty where it could."""
        if self.image.value is None or self.source is None:
            return "Open a spectrum image first: drop a file on the viewer"
        if self.source.data.ndim != 3:
            return f"'{self.source.name}' is one spectrum: maps need a spectrum image (energy, y, x)"
        if not self.elements.windows:
            return "Add an element first: type its symbol"
        return next((why for why in map(self._odd, self.elements.windows) if why), "")

    def _end(self, _: object) -> None:
        self.finished.emit(self._added[-1] if self._added else None)

    def _follow_theme(self, _: object = None) -> None:
        self.plot.set_colours(theme_colours(self.viewer.theme))
