"""The blur: how wide the point-spread function is, in pixels or nm."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QWidget

from napari_invrecon.plugin.widgets.number_field import NumberField
from napari_invrecon.recon.probe import GaussianPSF
from napari_invrecon.recon.psf import FWHM_PER_SIGMA

_TOOLTIP = (
    "h in y = h ⋆ x + noise: a Gaussian of this width, the blur of the probe or of the optics. σ: standard deviation; "
    "FWHM = 2.355 σ. Larger sharpens more and needs better data; too large rings."
)
_UNITS = {"σ (px)": ("sigma", "px"), "σ (nm)": ("sigma", "nm"), "FWHM (nm)": ("fwhm", "nm")}


class PsfRow(QWidget):
    """A number and what it means."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.width = NumberField(self, minimum=1e-6, maximum=1e6)
        self.width.setValue(2.0)
        self.unit = QComboBox(self)
        self.unit.addItems(list(_UNITS))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.width, 1)
        layout.addWidget(self.unit)
        self.setFocusProxy(self.width)
        for each in (self, self.width, self.unit):
            each.setToolTip(_TOOLTIP)
        self.width.valueChanged.connect(self.changed)
        self.unit.currentIndexChanged.connect(self.changed)

    @property
    def value(self) -> GaussianPSF:
        """The point-spread model."""
        self.width.interpretText()
        kind, unit = _UNITS[self.unit.currentText()]
        sigma = self.width.value() if kind == "sigma" else self.width.value() / FWHM_PER_SIGMA
        return GaussianPSF(sigma, unit)

    @property
    def needs_nm(self) -> bool:
        """Whether the image must have a pixel size."""
        return _UNITS[self.unit.currentText()][1] == "nm"
