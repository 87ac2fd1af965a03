"""The section "PCA denoising" of the dock "Spectrum": spectra from their first principal components."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_invrecon.plugin.results import add_result, describe_layer
from napari_invrecon.plugin.widgets.advanced_section import AdvancedSection
from napari_invrecon.plugin.widgets.form import SettingsForm
from napari_invrecon.plugin.widgets.run_row import RunRow
from napari_invrecon.recon.record import Reconstruction
from napari_invrecon.recon.spectral_components import ComponentSettings, component_steps, estimate_memory
from napari_invrecon.records.schema import settings_of

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image

    from napari_invrecon.plugin.spectrum_source import SpectrumSource

_TITLE = "PCA denoising"
_TIP = (
    "Add the spectra that the first principal components make, weighted for counts. What only a few pixels show is "
    "lost, and σ of maps that are made of them does not hold."
)


class ComponentsSection(QWidget):
    """Works on the spectrum image that the dock shows; `show_source` tells which."""

    finished = Signal(object)
    """At the end of a run: the new layer, or None after a failure or a cancel."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Image | None = None
        self._source: SpectrumSource | None = None
        self._result: Image | None = None
        self.section = AdvancedSection(self, _TITLE, _TIP)
        self.settings = SettingsForm(ComponentSettings, parent=self)
        self.run_row = RunRow(self, task=_TITLE)
        for each in (self.settings, self.run_row):
            self.section.addWidget(each)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.section)
        self.run_row.run_button.clicked.connect(self.run)
        self.run_row.finished.connect(self._end)

    def show_source(self, layer: Image | None, source: SpectrumSource | None) -> None:
        """Another spectrum image, or none."""
        if source is not None and (self._source is None or layer != self._layer):
            self.settings.set_values({"offset": source.detector_offset})
        self._layer, self._source = layer, source
        self.run_row.block(self._why_not())

    def fill(self, record: dict[str, Any]) -> None:
        """Show the settings of a record."""
        self.settings.set_values(vars(settings_of(record)))

    def run(self) -> None:
        """Denoise all spectra."""
        layer, source = self._layer, self._source
        if layer is None or source is None or self._why_not():
            return
        taken, shape = describe_layer(layer), layer.data.shape
        settings = ComponentSettings(**self.settings.values())
        self._result = None

        def keep(result: Reconstruction) -> None:
            shown = Reconstruction(result.data.reshape(shape), result.lam, result.record)
            self._result = add_result(self._viewer, shown, taken, f"PCA {result.record['components']}")

        self.run_row.start(
            lambda: component_steps(source.data, settings),
            keep,
            settings,
            needed_gb=estimate_memory(source.data.shape),
        )

    def stop(self) -> None:
        """Cancel the run."""
        self.run_row.cancel_button.click()

    def _why_not(self) -> str:
        """Why Run could not work; empty where it could."""
        if find_spec("sklearn") is None:
            return "Needs scikit-learn: pip install 'napari-invrecon[pca]', and start napari again"
        if self._source is None:
            return "Open a spectrum image first: drop a file on the viewer"
        if self._source.data.ndim != 3:
            return f"'{self._source.name}' is one spectrum: components need a spectrum image (energy, y, x)"
        return ""

    def _end(self, _: Any) -> None:
        self.finished.emit(self._result)
