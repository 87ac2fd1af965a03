"""The dock "Spectrum": windows on the spectrum of an image, of a pixel or of a region, and the maps that they make."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari import Viewer  # noqa: TC002 — napari reads this annotation at run time
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QLabel, QWidget

from napari_invrecon.plugin.failure import explain
from napari_invrecon.plugin.live_map import LiveMap
from napari_invrecon.plugin.map_words import amounts, verdict
from napari_invrecon.plugin.preferences import start_with
from napari_invrecon.plugin.spectrum_maps import MapRequest, add_maps, map_place
from napari_invrecon.plugin.spectrum_source import spectral, spectrum_source
from napari_invrecon.plugin.widgets.components_section import ComponentsSection
from napari_invrecon.plugin.widgets.dock import Dock
from napari_invrecon.plugin.widgets.element_list import ElementList
from napari_invrecon.plugin.widgets.energy_axis import EnergyAxisSection
from napari_invrecon.plugin.widgets.energy_section import EnergySection
from napari_invrecon.plugin.widgets.form import SettingsForm
from napari_invrecon.plugin.widgets.run_row import RunRow
from napari_invrecon.plugin.widgets.spectrum_view import SpectrumView
from napari_invrecon.plugin.widgets.window_fields import WindowFields, with_model
from napari_invrecon.recon.element_window import channels, from_plain
from napari_invrecon.recon.spectra import MapSettings, estimate_memory, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Image

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
_DENOISED = "denoised spectra: σ does not hold, and is too small"


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
        self._added: list[Image] = []

        self.image = ComboBox(choices=self._images, nullable=False)
        self.image.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.image.native.setMinimumContentsLength(8)
        self.image.native.setToolTip("The spectrum image (energy, y, x); it is not changed.")
        self.view = SpectrumView(napari_viewer, self)
        self.elements = ElementList(self)
        self.fields = WindowFields(self)
        self.status = QLabel(self)
        self.status.setWordWrap(True)
        self.live_box = QCheckBox("Live map", self)
        self.live_box.setToolTip(_LIVE_TIP)
        self.live_box.setChecked(True)
        self.settings = SettingsForm(MapSettings, parent=self)
        self.energy = EnergySection(napari_viewer, self)
        self.components = ComponentsSection(napari_viewer, self)
        start_with(self.settings, self.energy.settings)
        self.raw_box = QCheckBox("Raw counts", self)
        self.raw_box.setToolTip(_RAW_TIP)
        self.sigma_box = QCheckBox("σ layers", self)
        self.sigma_box.setToolTip(_SIGMA_TIP)
        self.run_row = RunRow(self, task="Elemental maps")
        self.run_button = self.run_row.run_button
        self.run_button.setText("Add maps")
        self.live = LiveMap(napari_viewer, self)
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
        self.axis_section = EnergyAxisSection(self)
        self.lay_out(
            (
                what,
                self.view,
                self.elements,
                self.fields,
                self.live_box,
                self.status,
                self.axis_section,
                self.settings,
                self.components,
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
        self.view.moved.connect(self._drag)
        self.view.told.connect(self._say)
        self.elements.chosen.connect(self._choose)
        self.elements.listed.connect(self._explain)
        self.fields.edited.connect(self._edit)
        self.settings.changed.connect(self._ask_map)
        self.settings.changed.connect(self._show_spectrum)
        self.live_box.toggled.connect(self._ask_map)
        self.live.told.connect(self._tell)
        self.live.failed.connect(self._fail_map)
        self.live.removed.connect(self._switch_live_off)
        self.axis_section.kind_chosen.connect(self._change_kind)
        self.axis_section.calibrated.connect(self._calibrate)
        self.run_button.clicked.connect(self.run)
        self.run_row.finished.connect(self._end)
        for section in (self.components, self.energy):
            section.finished.connect(self.finished)

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
            for window, told, variance in zip(windows, maps.record["elements"], maps.variance, strict=True):
                self.elements.tell(window.name, *amounts(told, variance))  # the live map may have been too late

        self.run_row.start(
            lambda: mapping(source.data, source.energy_ev, windows, settings),
            keep,
            MapRequest(settings, tuple(windows)),
            needed_gb=estimate_memory(source.data.shape, len(windows)),
        )

    def row_of(self, method: str) -> RunRow:
        """As of `Dock`; spectra that are denoised or deconvolved have rows of their own."""
        rows = {"denoise_spectra": self.components.run_row, "deconvolve_energy": self.energy.run_row}
        return rows.get(method, self.run_row)

    def fill(self, record: dict[str, Any], layers: Mapping[str, Any]) -> None:
        """As of `Dock`, for maps or new spectra; the energies are those of the spectrum image's layer."""
        layer = layers[record["sources"][0]["role"]]
        if layer not in self.image.choices:
            raise ValueError(f"'{layer.name}' is no spectrum image (energy, y, x)")
        self.image.value = layer
        if record["method"] == "deconvolve_energy":
            self.energy.fill(record, layers["kernel"])
            return
        if record["method"] == "denoise_spectra":
            self.components.fill(record)
            return
        self.elements.clear()
        for entry in record["elements"]:
            self.elements.add(from_plain(entry))
        self.raw_box.setChecked(False)
        self.settings.set_values(record["settings"])

    def stop(self) -> None:
        """Cancel the run; remove the live map and the picked pixel."""
        self.live_box.setChecked(False)
        self.live.stop()
        self.view.stop()
        self.components.stop()
        self.energy.stop()
        self.run_row.cancel_button.click()

    def reset_choices(self, event: object = None) -> None:
        """Offer the layers that there are now; napari calls this when they change."""
        self.image.reset_choices()
        self.view.offer()
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
            self.source = self._data = None
            self._show_spectrum()
            self.elements.set_source(None)
            self.fields.show_window(None, (0.0, 1.0))
            self._show_sections()
            self._explain()
            return
        for event in (layer.events.scale, layer.events.translate):
            event.connect(self._take_again)
        self._read(layer, another=another)
        self._show_spectrum()
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
        self._show_sections()
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
            self._show_sections()
            self._show_spectrum()

    def _show_sections(self) -> None:
        for section in (self.components, self.energy):
            section.show_source(self._layer, self.source)

    def _show_spectrum(self) -> None:
        self.view.show_source(self._layer, self.source, self.settings.values()["offset"])

    def _choose(self) -> None:
        self._show_fields()
        self._draw_window()
        if self.elements.current is not None:
            self.view.plot.look_at_window()
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
        self.view.show_window(self.elements.current, self.elements.windows)

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
            self.elements.tell(found.window.name, *amounts(found.summary, found.variance))
        told = verdict(measured.elements[0], measured.noise)
        self._say(f"{told} · {_DENOISED}" if self._is_denoised() else told)

    def _is_denoised(self) -> bool:
        """Whether the spectra come from principal components, here or some steps before."""
        record = {} if self._layer is None else self._layer.metadata.get("invrecon", {})
        return any(each.get("method") == "denoise_spectra" for each in (record, *record.get("history", {}).values()))

    def _switch_live_off(self) -> None:
        self.live_box.setChecked(False)

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
