"""The blur: a width, the optics of a microscope, or the image of a point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QHBoxLayout, QVBoxLayout, QWidget

from napari_invrecon.plugin import regions
from napari_invrecon.plugin.failure import notify_failure
from napari_invrecon.plugin.psf_layer import PsfLayer, part
from napari_invrecon.plugin.widgets.number_field import NumberField
from napari_invrecon.plugin.widgets.region_row import RegionRow
from napari_invrecon.recon.probe import AiryPSF, GaussianPSF, LorentzianPSF, StemProbe, psf_from_description
from napari_invrecon.recon.psf import FWHM_PER_SIGMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari import Viewer
    from napari.layers import Image

_TOOLTIP = (
    "y = h ⋆ x + noise: h is the blur of the probe or the optics. σ and FWHM: a Gaussian of this standard deviation, "
    "or full width at half maximum (2.355 σ). Lorentzian: long tails, the image of a line has this FWHM. Airy: a "
    "perfect lens. STEM probe: with aberrations. Measured: a layer that shows a point. Exact: a layer whose values are "
    "the kernel, its centre at index n // 2. Wider sharpens more and needs better data; too wide rings."
)
_GUESS_PX = 1.0  # too narrow leaves blur, too wide makes detail of noise
_LORENTZIAN, _AIRY, _STEM = "Lorentzian FWHM (nm)", "Airy disc", "STEM probe"
_MEASURED, _EXACT = "measured: layer", "exact: layer"
_GAUSSIANS = {"σ (px)": ("sigma", "px"), "σ (nm)": ("sigma", "nm"), "FWHM (nm)": ("fwhm", "nm")}
# name: label, value to start from, range, what it is
_OPTICS: dict[str, tuple[str, float, float, float, str]] = {
    "voltage_kv": ("Voltage (kV)", 200, 1, 3000, "Acceleration voltage, which gives the electron's wavelength λ."),
    "convergence_mrad": ("Semi-angle (mrad)", 20, 0.01, 499, "Convergence semi-angle α; the probe is about λ/2α wide."),
    "defocus_nm": ("Defocus (nm)", 0, -1e5, 1e5, "Underfocus is positive. Larger either way is a wider probe."),
    "c3_mm": ("C3 (mm)", 0, -100, 100, "Spherical aberration; 0 where a corrector takes care of it."),
    "source_fwhm_nm": ("Source FWHM (nm)", 0, 0, 100, "Full width at half maximum of the source's image."),
}
_LENS = ("voltage_kv", "convergence_mrad")
_FIELDS = {_AIRY: _LENS, _STEM: tuple(_OPTICS)}

PsfModel = GaussianPSF | LorentzianPSF | AiryPSF | StemProbe


class PsfRow(QWidget):
    """A number and what it means; for a computed or a measured probe the rows that it needs.

    `offer` gives it the layers that a measured one may come from, `fill_in` the microscope parameters of an image.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.width = NumberField(self, minimum=1e-6, maximum=1e6)
        self.width.setValue(_GUESS_PX)
        self.layer = QComboBox(self)
        self.layer.setToolTip(
            "The layer that shows a point. Measured: its spot is centred, its background taken off. Exact: as it is."
        )
        self.layer.setMinimumContentsLength(4)
        self.layer.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.unit = QComboBox(self)
        self.unit.addItems([*_GAUSSIANS, _LORENTZIAN, _AIRY, _STEM, _MEASURED, _EXACT])
        self.unit.setMinimumContentsLength(5)
        self.unit.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.crop = RegionRow(viewer, self, none="crop the layer to …")
        self.crop.setToolTip(
            "A region drawn around one point: the box around it becomes a layer of its own, which then is the PSF."
        )
        self.crop.setAccessibleName("Crop the layer of the PSF to a region")
        self.optics = {name: NumberField(self, minimum=row[2], maximum=row[3]) for name, row in _OPTICS.items()}
        first = QHBoxLayout()
        for each in (self.width, self.layer, self.unit):
            first.addWidget(each, 1)
        self._page = QFormLayout()
        self._page.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, (label, start, _, _, tooltip) in _OPTICS.items():
            field = self.optics[name]
            field.setValue(start)
            field.setToolTip(tooltip)
            field.setAccessibleName(label)
            self._page.addRow(label, field)
            field.valueChanged.connect(self.changed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(first)
        layout.addWidget(self.crop)
        layout.addLayout(self._page)
        self.setFocusProxy(self.width)
        for each in (self, self.width, self.unit):
            each.setToolTip(_TOOLTIP)
        self._layers: list[Image] = []
        self._read: PsfLayer | None = None
        self._show_rows()
        self.width.valueChanged.connect(self.changed)
        self.layer.currentIndexChanged.connect(self.changed)
        self.crop.activated.connect(self._crop)
        self.unit.currentIndexChanged.connect(self._choose)

    @property
    def value(self) -> PsfModel | PsfLayer:
        """The point-spread model, or the layer that holds it; ValueError where there is no layer."""
        kind = self.unit.currentText()
        if kind in _FIELDS:
            for field in self.optics.values():
                field.interpretText()
            values = {name: self.optics[name].value() for name in _FIELDS[kind]}
            return AiryPSF(**values) if kind == _AIRY else StemProbe(**values)
        if kind in (_MEASURED, _EXACT):
            return self._layer(as_it_is=kind == _EXACT)
        self.width.interpretText()
        if kind == _LORENTZIAN:
            return LorentzianPSF(self.width.value(), "nm")
        meaning, unit = _GAUSSIANS[kind]
        sigma = self.width.value() if meaning == "sigma" else self.width.value() / FWHM_PER_SIGMA
        return GaussianPSF(sigma, unit)

    @property
    def shown(self) -> Image | None:
        """The layer that gives the kernel; None for a model."""
        return self._layers[self.layer.currentIndex()] if self.layer.isVisibleTo(self) and self._layers else None

    @property
    def needs_nm(self) -> bool:
        """Whether the image must have a pixel size."""
        return self.unit.currentText() not in ("σ (px)", _MEASURED, _EXACT)

    def offer(self, layers: Sequence[Image]) -> None:
        """The layers that may show a point; the chosen one stays while it is among them."""
        self.crop.offer()
        chosen = self._layers[self.layer.currentIndex()] if self._layers else None
        if [*layers] == self._layers and [each.name for each in layers] == self._names():
            return
        self._layers = list(layers)
        self.layer.blockSignals(True)
        self.layer.clear()
        self.layer.addItems([each.name for each in layers])
        if chosen in self._layers:
            self.layer.setCurrentIndex(self._layers.index(chosen))
        self.layer.blockSignals(False)
        if self._read is not None and all(self._read.data is not each.data for each in layers):
            self._read = None
        if self.unit.currentText() in (_MEASURED, _EXACT) and chosen not in self._layers:
            self.changed.emit()

    def fill_in(self, acquisition: dict[str, Any]) -> None:
        """Microscope parameters, and a ``psf``, that an image's file gives; the others stay as they are."""
        for name, field in self.optics.items():
            value = acquisition.get(name)
            if isinstance(value, (int, float)) and field.minimum() <= value <= field.maximum():
                field.setValue(value)
        known = acquisition.get("psf", {})
        if known.get("model") == "gaussian":
            self.unit.setCurrentText(f"σ ({known['unit']})")
            self.width.setValue(known["sigma"])
        elif known.get("model") == "array" and known.get("layer") in self._names():
            self.unit.setCurrentText(_EXACT)
            self.layer.setCurrentText(known["layer"])

    def fill(self, described: dict[str, Any], layer: Image | None) -> None:
        """Show the point-spread function of a record's source, whose kernel a layer may show.

        Raises
        ------
        ValueError
            No row here can show it.
        """
        model = described["model"]
        if model in ("measured", "array"):
            if layer not in self._layers:
                raise ValueError("the layer of the record's point-spread function is not there: open its image")
            self.unit.setCurrentText(_MEASURED if model == "measured" else _EXACT)
            self.layer.setCurrentIndex(self._layers.index(layer))
            return
        if model == "gaussian":
            self.unit.setCurrentText(f"σ ({described['unit']})")
            self.width.setValue(described["sigma"])
        elif model == "lorentzian":
            self.unit.setCurrentText(_LORENTZIAN)
            self.width.setValue(described["fwhm"])
        else:
            self.unit.setCurrentText(_AIRY if model == "airy" else _STEM)
            for name, field in self.optics.items():
                field.setValue(described.get(name, _OPTICS[name][1]))
        if self.value != psf_from_description(described):
            raise ValueError(f"the dock has no row for the record's PSF, {described}: repeat it with ir.replay")

    def _names(self) -> list[str]:
        return [self.layer.itemText(i) for i in range(self.layer.count())]

    def _layer(self, *, as_it_is: bool) -> PsfLayer:
        """The chosen layer; the same object as long as nothing has changed, as it keeps what it has read."""
        if not self._layers:
            raise ValueError("no layer shows the point-spread function: open the image of a point")
        now = PsfLayer(self._layers[self.layer.currentIndex()], as_it_is=as_it_is)
        if self._read is None or not self._read.same(now):
            self._read = now
        return self._read

    def _crop(self, _: int) -> None:
        """Add the part of the layer that the chosen region marks, and let it be the PSF."""
        region, layer = self.crop.layer, self.shown
        if region is None or layer is None:
            return
        self.crop.choose(None)
        try:
            point = part(layer, regions.region(region, layer))
        except ValueError as error:
            notify_failure("Crop", error)
            return
        self._viewer.add_layer(point)
        if point not in self._layers:  # napari has told the dock of it, where it is in a window
            self.offer([*self._layers, point])
        self.layer.setCurrentIndex(self._layers.index(point))

    def _choose(self, _: int) -> None:
        self._show_rows()
        self.changed.emit()

    def _show_rows(self) -> None:
        kind = self.unit.currentText()
        self.width.setVisible(kind in (*_GAUSSIANS, _LORENTZIAN))
        for each in (self.layer, self.crop):
            each.setVisible(kind in (_MEASURED, _EXACT))
        for name, field in self.optics.items():
            self._page.setRowVisible(field, name in _FIELDS.get(kind, ()))
