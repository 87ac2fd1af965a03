"""The dock "Deconvolve": an image layer, the blur, a regulariser and λ; out comes a new layer that remembers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox
from napari import Viewer
from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_invrecon.plugin.layers import pixel_size_nm
from napari_invrecon.plugin.results import add_result, describe_layer
from napari_invrecon.plugin.widgets.form import SettingsForm
from napari_invrecon.plugin.widgets.lambda_control import LambdaControl
from napari_invrecon.plugin.widgets.psf_row import PsfRow
from napari_invrecon.plugin.widgets.run_row import RunRow
from napari_invrecon.recon.deconvolution import DeconvolutionSettings, deconvolution

if TYPE_CHECKING:
    from napari_invrecon.recon.record import Reconstruction


class DeconvolutionDock(QWidget):
    """Deconvolve a layer: select it, press Run.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and which gets the result.
    """

    finished = Signal(object)
    """The new layer, or None after a failure or a cancel."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.image = ComboBox(choices=self._images, nullable=False)
        self.image.native.setToolTip("The image or stack (…, y, x) to deconvolve; it is not changed.")
        self.psf = PsfRow(self)
        self.settings = SettingsForm(DeconvolutionSettings, skip={"lam", "pixel_size_nm"}, parent=self)
        self.lam = LambdaControl(self)
        self.run_row = RunRow(self, task="Deconvolve")
        self.run_button = self.run_row.run_button

        what = QFormLayout()
        what.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        what.addRow("Image", self.image.native)
        what.addRow("PSF", self.psf)
        layout = QVBoxLayout(self)
        layout.addLayout(what)
        layout.addWidget(self.settings)
        layout.addWidget(self.lam)
        layout.addWidget(self.run_row)
        layout.addStretch(1)

        self.image.changed.connect(self._explain)
        self.psf.changed.connect(self._explain)
        self.run_button.clicked.connect(self.run)
        self._layer: Image | None = None
        self.run_row.finished.connect(self._end)
        self.reset_choices()
        active = self.viewer.layers.selection.active
        if active in self.image.choices:
            self.image.value = active

    @property
    def sigma(self):
        """The number that says how wide the PSF is."""
        return self.psf.width

    def run(self) -> None:
        """Start with what the dock shows."""
        layer = self.image.value
        if layer is None:
            return
        source = describe_layer(layer)
        settings = DeconvolutionSettings(
            **self.settings.values(), lam=self.lam.value, pixel_size_nm=pixel_size_nm(layer)
        )
        psf, image = self.psf.value, layer.data
        self._layer = None

        def keep(result: Reconstruction) -> None:
            if settings.lam is None:
                self.lam.show_chosen(result.lam, result.record["lam_rule"])
            self._layer = add_result(self.viewer, result, source, f"deconvolved λ={result.lam:.3g}")

        self.run_row.start(lambda: deconvolution(image, psf, None, settings), keep)

    def reset_choices(self, event: object = None) -> None:
        """Offer the layers that there are now; napari calls this when they change."""
        self.image.reset_choices()
        self._explain()

    def _images(self, _: object = None) -> list[Image]:
        return [
            layer for layer in self.viewer.layers if isinstance(layer, Image) and not (layer.rgb or layer.multiscale)
        ]

    def _explain(self, _: object = None) -> None:
        """Disable Run, with the reason, where it could not work."""
        layer = self.image.value
        if layer is None:
            self.run_row.block("Open an image first: drop a file on the viewer, or File → Open Sample")
        elif self.psf.needs_nm and pixel_size_nm(layer) is None:
            self.run_row.block(f"'{layer.name}' has no pixel size in nm: give the width in pixels")
        else:
            self.run_row.block("")

    def _end(self, _: object) -> None:
        self.finished.emit(self._layer)
