"""The dock "Deconvolve": an image layer, the blur, a regulariser and λ; out comes a new layer that remembers them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari import Viewer  # noqa: TC002 — napari reads this annotation at run time
from napari.layers import Image
from qtpy.QtWidgets import QCheckBox, QFormLayout, QVBoxLayout

from napari_invrecon.plugin.inputs import Inputs
from napari_invrecon.plugin.layers import pixel_size_nm
from napari_invrecon.plugin.preferences import start_with
from napari_invrecon.plugin.preview import Looked, Preview
from napari_invrecon.plugin.regions import Outlines
from napari_invrecon.plugin.results import add_result, describe_layer
from napari_invrecon.plugin.widgets.compare_row import Compared, CompareRow
from napari_invrecon.plugin.widgets.dock import Dock
from napari_invrecon.plugin.widgets.form import SettingsForm
from napari_invrecon.plugin.widgets.lambda_control import LambdaControl
from napari_invrecon.plugin.widgets.lambda_panel import LambdaPanel
from napari_invrecon.plugin.widgets.line_panel import LinePanel, is_line
from napari_invrecon.plugin.widgets.preview_status import PreviewStatus
from napari_invrecon.plugin.widgets.psf_row import PsfRow
from napari_invrecon.plugin.widgets.region_row import RegionRow
from napari_invrecon.plugin.widgets.run_row import RunRow
from napari_invrecon.plugin.widgets.why_lambda import WhyLambda
from napari_invrecon.recon.deconvolution import estimate_memory
from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
from napari_invrecon.recon.probe import GaussianPSF
from napari_invrecon.recon.psf import check_psf
from napari_invrecon.records.history import Origin
from napari_invrecon.records.replay import as_used
from napari_invrecon.records.schema import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari.layers import Layer

    from napari_invrecon.plugin.worker import MakeSteps
    from napari_invrecon.recon.record import Reconstruction

_PREVIEW_TIP = (
    "Deconvolve the middle of the view (512 × 512 pixels, 2048 × 2048 where one division does it) into one layer "
    "'preview' whenever λ, a setting or the view changes. Untick to remove it; no other layer is changed."
)
_FLAT_TIP = (
    "A Shapes or Labels layer over vacuum, or a bare support: where the object is known to be flat. The rule "
    "'reference' takes the λ with which it comes out flat; automatic takes that rule where a region is chosen."
)
_IGNORED_TIP = (
    "A Shapes or Labels layer over pixels that must not count: dead, saturated, dirt, out of the field of view. What "
    "the object is there follows from the pixels around them."
)


class DeconvolutionDock(Dock):
    """Deconvolve a layer: select it, press Run.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and which gets the result.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.preview = Preview(napari_viewer, self)
        self.image = ComboBox(choices=self._images, nullable=False)
        self.image.native.setToolTip("The image or stack (…, y, x) to deconvolve; it is not changed.")
        self.psf = PsfRow(napari_viewer, self)
        self.settings = SettingsForm(DeconvolutionSettings, skip={"lam", "pixel_size_nm"}, parent=self)
        start_with(self.settings)
        self.lam = LambdaControl(self)
        self.run_row = RunRow(self, task="Deconvolve")
        self.run_button = self.run_row.run_button
        self.compare = CompareRow(napari_viewer, self)
        self.ignored = RegionRow(napari_viewer, self)
        self.flat = RegionRow(napari_viewer, self)
        self.settings.insert("lam_rule", "Flat region", self.flat, _FLAT_TIP)
        self.settings.insert("noise_sigma", "Ignore", self.ignored, _IGNORED_TIP)

        self.lambda_panel = LambdaPanel(napari_viewer, self._curve, self)
        self.why = WhyLambda(napari_viewer, self._inputs_of_curve, self)
        self.lines = LinePanel(napari_viewer, self)
        self.preview_box = QCheckBox("Preview", self)
        self.preview_box.setToolTip(_PREVIEW_TIP)
        self.preview_status = PreviewStatus(self)

        look = QVBoxLayout()
        look.addWidget(self.preview_box)
        look.addWidget(self.preview_status)
        what = QFormLayout()
        what.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        what.addRow("Image", self.image.native)
        what.addRow("PSF", self.psf)
        self.lay_out(
            (what, self.settings, self.lam, self.lines, self.lambda_panel, self.why, look),
            below=(self.run_row, self.compare),
        )

        self.preview_box.toggled.connect(self._look)
        self.preview.looked.connect(self._show_looked)
        self.preview.failed.connect(self._show_why_no_preview)
        self.preview.removed.connect(self._switch_preview_off)
        regions = (self.ignored.changed, self.flat.changed)
        for changed in (self.image.changed, self.psf.changed, self.settings.changed, self.lam.valueChanged, *regions):
            changed.connect(self._look)
        for changed in (self.settings.changed, *regions):
            changed.connect(self._explain)
        for changed in (self.image.changed, self.psf.changed, self.settings.changed, *regions):
            changed.connect(self.why.refresh)
        self.compare.switched.connect(self.preview.hide)
        for moved in (self.viewer.scene.camera.events, self.viewer.dims.events.point):
            moved.connect(self._look)
        self.image.changed.connect(self._fill_in)
        self.image.changed.connect(self._explain)
        self.psf.changed.connect(self._explain)
        self.run_button.clicked.connect(self.run)
        self.lambda_panel.picked.connect(self._pick)
        self.lam.valueChanged.connect(self._mark)
        self.lam.valueChanged.connect(self._move_lines)
        self._layer: Image | None = None
        self._taken: Image | None = self.image.value
        self._calibrated: Image | None = None
        self._own_settings: dict[str, Any] | None = None
        self.run_row.finished.connect(self._end)
        self.reset_choices()
        active = self.viewer.layers.selection.active
        if active in self.image.choices:
            self._take(active)
        self._fill_in()

    @property
    def sigma(self):
        """The number that says how wide the PSF is."""
        return self.psf.width

    def run(self) -> None:
        """Start with what the dock shows."""
        layer = self.image.value
        if layer is None or self._why_not():
            return
        self._taken = None
        source = describe_layer(layer)
        inputs = self._inputs(layer, self.lam.value)
        others = self._origins()
        self._layer = None

        def keep(result: Reconstruction) -> None:
            record = result.record
            if inputs.settings.lam is None:
                self.lam.show_chosen(result.lam, record["lam_rule"])
            self.lambda_panel.show_curve(record["curve"])
            self._mark(result.lam)
            self._layer = add_result(self.viewer, result, source, f"deconvolved λ={result.lam:.3g}", others)
            self.compare.show_result(Compared(self._layer, layer, source, lambda: inputs.residual(result.data, record)))

            self._show_lines(layer, inputs, result.lam)

        needed = estimate_memory(layer.data.shape, inputs.settings)
        self.run_row.start(inputs.run, keep, inputs.settings, needed_gb=needed, run_within=self.run_within)

    def fill(self, record: dict[str, Any], layers: Mapping[str, Any]) -> None:
        """As of `Dock`; the roles are image, psf, weights (the pixels to ignore) and reference (the flat region)."""
        if layers["image"] not in self.image.choices:
            raise ValueError(f"'{layers['image'].name}' cannot be deconvolved: it is no image of numbers")
        self.image.value = layers["image"]
        self._taken = None
        self.psf.fill(record["sources"][1], layers.get("psf"))
        self.ignored.choose(layers.get("weights"))
        self.flat.choose(layers.get("reference"))
        settings = dataclasses.asdict(settings_of(record)) | as_used(record)
        self.lam.value = settings.pop("lam")
        del settings["pixel_size_nm"]
        self.settings.set_values(settings)

    def stop(self) -> None:
        """Cancel the run, remove the preview and the plot of a line."""
        self.lines.stop()
        self.why.stop()
        self.preview_box.setChecked(False)
        self.run_row.cancel_button.click()

    def reset_choices(self, event: object = None) -> None:
        """Offer the layers that there are now; napari calls this when they change."""
        known = set(self.image.choices)
        untouched = self.image.value == self._taken  # not "is": napari wraps what a plugin gets from its viewer
        self.image.reset_choices()
        self.psf.offer(self.image.choices)
        self.ignored.offer()
        self.flat.offer()
        if untouched:  # a choice of the user's, and the image of a run, stay
            opened = [layer for layer in self.image.choices if layer not in known and _comes_with_settings(layer)]
            self._take(opened[0] if opened else self.image.value)
        if self.image.value is None:  # of which magicgui says nothing
            self.why.refresh()
            self._fill_in()
        self._explain()

    def _take(self, layer: Image | None) -> None:
        """Choose an image on the user's behalf."""
        if layer is not None:
            self.image.value = layer
        self._taken = layer

    def _images(self, _: object = None) -> list[Image]:
        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Image) and not (layer.rgb or layer.multiscale or layer is self.preview.layer)
        ]

    def _explain(self, _: object = None) -> None:
        """Disable Run, with the reason, where it could not work."""
        self.run_row.block(self._why_not())

    def _why_not(self) -> str:
        """Why Run could not work; empty where it could."""
        layer = self.image.value
        if layer is None:
            return _unfit(self.viewer.layers)
        if self.psf.needs_nm and pixel_size_nm(layer) is None:
            return f"'{layer.name}' has no pixel size in nm: give it a scale in nm, or the width in pixels"
        try:
            inputs = self._inputs(layer, None)
            if isinstance(inputs.psf, GaussianPSF):  # the others take longer to compute than a window may wait
                shape = layer.data.shape
                check_psf(inputs.psf.kernel(inputs.settings.pixel_size_nm, min(2, len(shape))), shape)
        except ValueError as error:
            return str(error)
        for region in (inputs.flat, inputs.ignored):
            if isinstance(region, Outlines) and not region.corners:
                return f"'{region.name}' has no closed shape: draw a rectangle, an ellipse or a polygon in it"
        if inputs.settings.lam_rule == "reference" and inputs.flat is None:
            return "The rule 'reference' needs a flat region: draw one in a Shapes layer, and choose it under Advanced"
        return ""

    def _fill_in(self, _: object = None) -> None:
        """Microscope parameters from the image's file; later, a calibration that the user gives it."""
        if self._calibrated is not None:
            self._calibrated.events.scale.disconnect(self._explain)
            self._calibrated.events.units.disconnect(self._explain)
        layer = self._calibrated = self.image.value
        if layer is not None:
            layer.events.scale.connect(self._explain)
            layer.events.units.connect(self._explain)
            known = layer.metadata.get("acquisition", {})
            self.psf.fill_in(known)
            self._suggest(known.get("suggested"))
        self.lines.stop()

    def _suggest(self, settings: dict[str, Any] | None) -> None:
        """Show the settings that a sample comes with; for the next image the user's own are shown again."""
        if settings is not None:
            self._own_settings = self._own_settings or self.settings.values()
            self.settings.set_values(settings)
            self.lambda_panel.section.expand()
        elif self._own_settings is not None:
            own, self._own_settings = self._own_settings, None
            self.settings.set_values(own)

    def _inputs(self, layer: Image, lam: float | None) -> Inputs:
        """What the dock shows; ValueError where a layer that it needs is not there."""
        settings = DeconvolutionSettings(**self.settings.values(), lam=lam, pixel_size_nm=pixel_size_nm(layer))
        return Inputs(layer.data, self.psf.value, self.ignored.region(layer), self.flat.region(layer), settings)

    def _origins(self) -> dict[str, Origin]:
        """The layers that give what is beside the image, by the roles of a record's sources."""
        rows = {"weights": self.ignored.layer, "reference": self.flat.layer}
        shown = {role: Origin(layer=layer.name) for role, layer in rows.items() if layer is not None}
        if self.psf.shown is not None:
            shown["psf"] = describe_layer(self.psf.shown).origin
        return shown

    def _curve(self) -> MakeSteps | None:
        """The computation of the λ curve of what the dock shows."""
        inputs = self._inputs_of_curve()
        return None if inputs is None else inputs.curve

    def _inputs_of_curve(self) -> Inputs | None:
        """What the dock shows, whatever λ is; None where something is missing."""
        layer = self.image.value
        return None if layer is None or self._why_not() else self._inputs(layer, None)

    def _mark(self, lam: float | None) -> None:
        """Mark λ on the plots."""
        self.lambda_panel.show_lam(lam)
        self.why.show_lam(lam)

    def _look(self, _: object = None) -> None:
        """Ask for a preview of what the dock shows, or remove it."""
        layer = self.image.value
        if not self.preview_box.isChecked():
            self.preview.stop()
            self._say_of_preview("")
        elif layer is not None and not self._why_not():
            self.preview.request(layer, self._inputs(layer, self.lam.value))

    def _move_lines(self, lam: float | None) -> None:
        """Where the image is a line, plot it for this λ."""
        layer = self.image.value
        if layer is not None and lam is not None and not self._why_not():
            self._show_lines(layer, self._inputs(layer, lam), lam)

    def _show_lines(self, layer: Image, inputs: Inputs, lam: float) -> None:
        if is_line(layer):
            self.lines.request(inputs, lam, layer.metadata.get("acquisition", {}).get("truth", ""))

    def _show_looked(self, looked: Looked) -> None:
        remark = ": nothing but the mean is left" if looked.bare else ""
        self._say_of_preview(remark if looked.final else ": not converged yet")
        if looked.curve is not None and looked.rule != "given":
            self.lam.show_chosen(looked.lam, looked.rule)
            self.lambda_panel.show_curve(looked.curve.summary())
        self._mark(looked.lam)

    def _say_of_preview(self, remark: str) -> None:
        """A remark beside the box, where it comes and goes without moving what is below."""
        self.preview_box.setText(f"Preview{remark}")
        self.preview_status.say("")

    def _show_why_no_preview(self, failure: BaseException) -> None:
        self._say_of_preview("")
        self.preview.hide()
        self.lam.forget_chosen()
        self._mark(self.lam.value)
        self.preview_status.say_why_none(failure)

    def _switch_preview_off(self) -> None:
        self.preview_box.setChecked(False)

    def _pick(self, lam: float) -> None:
        self.lam.value = lam

    def _end(self, _: object) -> None:
        layer, self._layer = self._layer, None
        self.finished.emit(layer)


def _unfit(layers: Iterable[Layer]) -> str:
    """Why there is no image to choose."""
    for layer in layers:
        if isinstance(layer, Image) and layer.rgb:
            return f"'{layer.name}' is in colours: split it into its channels, by right click → Split RGB"
        if isinstance(layer, Image) and layer.multiscale:
            return (
                f"'{layer.name}' has several resolutions: add the finest alone, in napari's console by "
                f"viewer.add_image(viewer.layers['{layer.name}'].data[0])"
            )
    return "Open an image first: drop a file on the viewer, or File → Open Sample"


def _comes_with_settings(layer: Image) -> bool:
    """Whether the layer's file says how to deconvolve it; a result, which is handed that on, does not."""
    return "invrecon" not in layer.metadata and bool(
        {"psf", "suggested"} & layer.metadata.get("acquisition", {}).keys()
    )
