"""The section "Energy deconvolution" of the dock "Spectrum": a zero-loss or low-loss layer taken out of spectra."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget

from napari_invrecon.plugin.results import add_result, describe_layer
from napari_invrecon.plugin.shown_spectrum import sum_steps
from napari_invrecon.plugin.spectrum_source import spectral, spectrum_source
from napari_invrecon.plugin.widgets.advanced_section import AdvancedSection
from napari_invrecon.plugin.widgets.form import SettingsForm
from napari_invrecon.plugin.widgets.lambda_control import LambdaControl
from napari_invrecon.plugin.widgets.lambda_panel import LambdaPanel
from napari_invrecon.plugin.widgets.run_row import RunRow
from napari_invrecon.recon.energy import EnergySettings, energy_curve, energy_deconvolution, estimate_memory
from napari_invrecon.recon.record import Reconstruction
from napari_invrecon.records.replay import as_used
from napari_invrecon.records.schema import settings_of

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image

    from napari_invrecon.plugin.spectrum_source import SpectrumSource
    from napari_invrecon.plugin.worker import MakeSteps
    from napari_invrecon.recon.lambda_choice import LambdaCurve
    from napari_invrecon.recon.solvers import Steps

_TITLE = "Energy deconvolution"
_TIP = "Sharpen EELS spectra, or take plural scattering out of them, with a zero-loss peak or a low-loss spectrum"
_KERNEL_TIP = (
    "A zero-loss peak (the result is sharper in energy) or a low-loss spectrum (the result is single scattering) with "
    "the same energy per channel. Its pixels are summed."
)
_SAME = 1e-3  # relative; energies per channel that differ by less are one


class EnergySection(QWidget):
    """Works on the spectrum image that the dock shows; `show_source` tells which."""

    finished = Signal(object)
    """At the end of a run: the new layer, or None after a failure or a cancel."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Image | None = None
        self._source: SpectrumSource | None = None
        self._kernels: list[Image] = []
        self._result: Image | None = None
        self.section = AdvancedSection(self, _TITLE, _TIP)
        page = QWidget(self)
        self.kernel = QComboBox(page)
        self.kernel.setMinimumContentsLength(8)
        self.kernel.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.kernel.setToolTip(_KERNEL_TIP)
        self.settings = SettingsForm(EnergySettings, skip={"lam"}, parent=page)
        self.lam = LambdaControl(page)
        self.lambda_panel = LambdaPanel(viewer, self._curve, page)
        self.run_row = RunRow(page, task=_TITLE)
        rows = QFormLayout()
        rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Zero or low loss", self.kernel)
        inside = QVBoxLayout(page)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addLayout(rows)
        for each in (self.settings, self.lam, self.lambda_panel, self.run_row):
            inside.addWidget(each)
        self.section.addWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.section)
        self.run_row.run_button.clicked.connect(self.run)
        self.run_row.finished.connect(self._end)
        self.kernel.currentIndexChanged.connect(self._explain)
        self.settings.changed.connect(self._explain)
        self.lambda_panel.picked.connect(self._pick)
        self.lam.valueChanged.connect(self.lambda_panel.show_lam)

    def show_source(self, layer: Image | None, source: SpectrumSource | None) -> None:
        """Another spectrum image, or none."""
        self._layer, self._source = layer, source
        self.offer()

    def offer(self) -> None:
        """The layers that there are now; the chosen one stays while it is among them."""
        chosen = self.chosen
        self._kernels = [each for each in spectral(self._viewer.layers) if each != self._layer]
        self.kernel.blockSignals(True)
        self.kernel.clear()
        self.kernel.addItems([each.name for each in self._kernels])
        if chosen in self._kernels:
            self.kernel.setCurrentIndex(self._kernels.index(chosen))
        self.kernel.blockSignals(False)
        self._explain()

    @property
    def chosen(self) -> Image | None:
        """The zero-loss or low-loss layer."""
        index = self.kernel.currentIndex()
        return self._kernels[index] if 0 <= index < len(self._kernels) else None

    def run(self) -> None:
        """Deconvolve all spectra."""
        layer, source, kernel = self._layer, self._source, self.chosen
        if layer is None or source is None or kernel is None or self._why_not():
            return
        taken, origin = describe_layer(layer), describe_layer(kernel).origin
        losses, settings, shape = spectrum_source(kernel).data, self._settings(), layer.data.shape
        self._result = None

        def keep(result: Reconstruction) -> None:
            record = result.record
            if record["curve"] is not None:
                if settings.lam is None:
                    self.lam.show_chosen(result.lam, record["lam_rule"])
                self.lambda_panel.show_curve(record["curve"])
                self.lambda_panel.show_lam(result.lam)
            suffix = f"deconvolved λ={result.lam:.3g}" if result.lam else f"deconvolved {settings.method}"
            shown = Reconstruction(result.data.reshape(shape), result.lam, record)
            self._result = add_result(self._viewer, shown, taken, suffix, {"kernel": origin})

        def steps() -> Steps[Reconstruction]:
            response = yield from sum_steps(losses)
            return (yield from energy_deconvolution(source.data, response, settings))

        needed = estimate_memory(source.data.shape, settings)
        self.run_row.start(steps, keep, settings, needed_gb=needed, run_within=self.run_within)

    def run_within(self, memory_gb: float) -> None:
        """Run in blocks, in so much memory."""
        self.settings.set_values({"memory_gb": memory_gb})
        self.run()

    def fill(self, record: dict[str, Any], kernel: Image) -> None:
        """Show the settings of a record, with λ as it was used, and this zero-loss or low-loss layer.

        Raises
        ------
        ValueError
            The layer is not offered.
        """
        if kernel not in self._kernels:
            raise ValueError(f"'{kernel.name}' is no zero-loss or low-loss spectrum: it has no energy axis")
        self.kernel.setCurrentIndex(self._kernels.index(kernel))
        settings = dataclasses.asdict(settings_of(record)) | as_used(record)
        self.lam.value = settings.pop("lam")
        self.settings.set_values(settings)

    def stop(self) -> None:
        """Cancel the run."""
        self.run_row.cancel_button.click()

    def _settings(self) -> EnergySettings:
        values = self.settings.values()
        lam = None if values["method"] == "richardson-lucy" else self.lam.value
        return EnergySettings(**values, lam=lam)

    def _curve(self) -> MakeSteps | None:
        """The computation of the λ curve of what the section shows."""
        source, kernel = self._source, self.chosen
        if source is None or kernel is None or self._why_not():
            return None
        losses, settings = spectrum_source(kernel).data, self._settings()
        if settings.method == "richardson-lucy":
            return None

        def steps() -> Steps[LambdaCurve]:
            response = yield from sum_steps(losses)
            return (yield from energy_curve(source.data, response, settings))

        return steps

    def _explain(self, _: object = None) -> None:
        """Disable Run, with the reason, where it could not work."""
        self.run_row.block(self._why_not())
        by_lambda = self.settings.values()["method"] != "richardson-lucy"
        for each in (self.lam, self.lambda_panel):
            each.setVisible(by_lambda)

    def _why_not(self) -> str:
        """Why Run could not work; empty where it could."""
        source, kernel = self._source, self.chosen
        if source is None:
            return "Open a spectrum image first: drop a file on the viewer"
        if source.kind != "eels":
            return "X-ray spectra have no zero-loss peak: choose an EELS spectrum image"
        if kernel is None:
            return "Open a zero-loss or low-loss spectrum first: drop its file on the viewer"
        step = spectrum_source(kernel).step_ev
        if abs(step - source.step_ev) > _SAME * abs(source.step_ev):
            return (
                f"'{kernel.name}' has {step:.4g} eV a channel, '{source.name}' {source.step_ev:.4g}: choose a low-loss "
                "spectrum of the same dispersion, or correct the energy axes"
            )
        return ""

    def _pick(self, lam: float) -> None:
        self.lam.value = lam

    def _end(self, _: Any) -> None:
        self.finished.emit(self._result)
