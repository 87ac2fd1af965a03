"""The dock "Tomography": a tilt series, its angles, a step that aligns it and one that makes a volume of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari import Viewer  # noqa: TC002 — napari reads this annotation at run time
from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QCheckBox, QFormLayout, QHBoxLayout, QLabel, QSpinBox, QVBoxLayout, QWidget

from napari_invrecon.plugin.live_volume import LiveVolume
from napari_invrecon.plugin.memory import in_gb
from napari_invrecon.plugin.preferences import start_with
from napari_invrecon.plugin.tilt_axis import TiltAxisLine
from napari_invrecon.plugin.tilt_preview import LookedSlice, TiltPreview
from napari_invrecon.plugin.tilt_results import (
    TiltSource,
    add_volume,
    describe_stack,
    keeps_its_plane,
    volume_display,
)
from napari_invrecon.plugin.tilt_series import TiltInput, projections, shown_channel, tilt_stacks
from napari_invrecon.plugin.widgets.advanced_section import AdvancedSection
from napari_invrecon.plugin.widgets.alignment_section import AlignmentSection, found_alignment
from napari_invrecon.plugin.widgets.angles_row import AnglesRow
from napari_invrecon.plugin.widgets.dock import Dock
from napari_invrecon.plugin.widgets.form import SettingsForm
from napari_invrecon.plugin.widgets.lambda_control import LambdaControl
from napari_invrecon.plugin.widgets.lambda_panel import LambdaPanel
from napari_invrecon.plugin.widgets.preview_status import PreviewStatus
from napari_invrecon.plugin.widgets.run_row import RunRow
from napari_invrecon.plugin.widgets.tilt_axis_row import TiltAxisRow
from napari_invrecon.plugin.widgets.tilt_report import TiltReport
from napari_invrecon.recon.alignment import Alignment
from napari_invrecon.recon.tilt_settings import WITHOUT_LAMBDA, TomographySettings
from napari_invrecon.recon.tomography import (
    chosen_slices,
    estimate_memory,
    prepare,
    tilt_lambda_curve,
    tomography,
)
from napari_invrecon.records.replay import as_used, iterations_of_slabs
from napari_invrecon.records.schema import settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Image, Layer

    from napari_invrecon.plugin.worker import MakeSteps
    from napari_invrecon.recon.lambda_choice import LambdaCurve
    from napari_invrecon.recon.record import Reconstruction
    from napari_invrecon.recon.slabs import MemoryEstimate
    from napari_invrecon.recon.solvers import Iterate, Steps

_STACK_TIP = (
    "The tilt series: images (tilt, y, x), or maps (channel, tilt, y, x). Layers whose angles are known come first."
)
_PREVIEW_TIP = (
    "Reconstruct one slice across the tilt axis whenever λ or a setting changes, as a layer 'preview' beside the "
    "stack: below it with z downwards for an axis along y, right of it for one along x. Of maps, of the channel on the "
    "screen. Untick to remove it."
)
_WATCHED = ("data", "scale", "translate", "rotate", "shear", "affine")  # of the chosen layer
_SLICE_TIP = "Which slice along the tilt axis, counted in pixels of the (binned) images from the top (left)."
_LIVE_TIP = "Show the volume while it grows, at most three times a second. Untick for the last bit of speed."


class TomographyDock(Dock):
    """Reconstruct a tilt series: select it, press Run; align it first if it is not aligned.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and which gets the results.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.preview = TiltPreview(napari_viewer, self)
        self.live = LiveVolume(napari_viewer, self)
        self.axis_line = TiltAxisLine(napari_viewer, self)
        self.image = ComboBox(choices=self._stacks, nullable=False)
        self.image.native.setToolTip(_STACK_TIP)
        self.image.native.setAccessibleName("Tilt series")
        self.angles = AnglesRow(self)
        self.axis = TiltAxisRow(self)
        self.run_row = RunRow(self, task="Tomography")
        self.run_button = self.run_row.run_button
        self.run_button.setText("Reconstruct")
        self.alignment = AlignmentSection(napari_viewer, self.run_row, self._chosen, self)
        self.align_button = self.alignment.align_button
        self.settings = SettingsForm(TomographySettings, skip={"lam", "tilt_axis"}, parent=self)
        start_with(self.settings)
        self.lam = LambdaControl(self)
        self.lambda_panel = LambdaPanel(napari_viewer, self._curve, self)
        self.preview_box = QCheckBox("Preview of slice", self)
        self.preview_box.setToolTip(_PREVIEW_TIP)
        self.preview_status = PreviewStatus(self)
        self.slice = QSpinBox(self)
        self.slice.setToolTip(_SLICE_TIP)
        self.slice.setAccessibleName("Slice of the preview")
        self.live_box = QCheckBox("Watch the volume grow", self)
        self.live_box.setToolTip(_LIVE_TIP)
        self.live_box.setChecked(True)
        self.memory = QLabel(self)
        self.memory.setWordWrap(True)
        self.memory.setToolTip("Peak memory of the reconstruction, estimated before it starts; see Working memory.")
        self.report = TiltReport(napari_viewer, self)
        self._layer: Image | None = None
        self._grows: tuple[TiltSource, TomographySettings] | None = None
        self._watched: Image | None = None
        self._slice: int | None = None
        self._iterations: dict[str, Any] | None = None  # of a run of slabs that is repeated as far as it went
        self._lay_out()
        self._connect()
        self.reset_choices()
        active = self.viewer.layers.selection.active
        if active in self.image.choices:
            self.image.value = active

    def run(self) -> None:
        """Reconstruct with what the dock shows."""
        given = self._chosen()
        if given is None:
            return
        origin, settings = describe_stack(given.layer), self._settings(self.lam.value)
        self._grows = (origin, settings)

        def keep(result: Reconstruction) -> None:
            self.live.stop()
            if settings.lam is None and settings.algorithm not in WITHOUT_LAMBDA:
                self.lam.show_chosen(result.lam, result.record["lam_rule"])
            if result.record.get("curve"):
                self.lambda_panel.show_curve(result.record["curve"])
                self.lambda_panel.show_lam(result.lam)
            alone = all(self._is_tomography(each) for each in self.viewer.layers if each.visible)
            self._layer = add_volume(self.viewer, result, origin)
            self.report.show_result(self._layer, render=alone and result.data.ndim == 3)

        iterations = self._iterations
        self.run_row.start(
            lambda: tomography(given.stack, given.angles_deg, settings, iterations),
            keep,
            settings,
            needed_gb=_needed_gb(given.stack, settings),
            run_within=self.run_within,
        )
        self._explain()

    def fill(self, record: dict[str, Any], layers: Mapping[str, Any]) -> None:
        """As of `Dock`, for a volume or an alignment of the layer in the role stack."""
        layer = layers["stack"]
        if layer not in self.image.choices:
            raise ValueError(f"'{layer.name}' is no tilt series: its images are not (tilt, y, x)")
        self.image.value = layer
        self.angles.fill(record["sources"][1]["angles_deg"])
        settings = dataclasses.asdict(settings_of(record)) | as_used(record)
        self.axis.value = settings.pop("tilt_axis")
        if record["method"] == "align":
            self.alignment.settings.set_values(settings)
            return
        self.lam.value = settings.pop("lam")
        self.settings.set_values(settings)

    def repeat(self, record: dict[str, Any], layers: Mapping[str, Any]) -> None:
        """As of `Dock`; an alignment is repeated with the shifts that it found, slabs with the iterations they had."""
        if record["method"] != "align":
            self._iterations = iterations_of_slabs(record)
            try:
                super().repeat(record, layers)
            finally:
                self._iterations = None
            return
        self.fill(record, layers)
        self.alignment.apply_again(layers["stack"], Alignment.from_summary(record["alignment"]), maps=record["maps"])

    def stop(self) -> None:
        """Cancel what runs; remove the preview, the axis and the growing volume."""
        self.run_row.cancel_button.click()
        self.preview_box.setChecked(False)
        self.axis.show_box.setChecked(False)
        self.live.stop()

    def reset_choices(self, event: object = None) -> None:
        """Offer the layers that there are now; napari calls this when they change."""
        self.image.reset_choices()
        if self.image.value is not self._watched:  # the last one has gone, of which magicgui says nothing
            self._take()
        self._explain()

    def _lay_out(self) -> None:
        what = QFormLayout()
        what.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        what.addRow("Tilts", self.image.native)
        what.addRow("Angles", self.angles)
        what.addRow("Tilt axis", self.axis)
        look = QHBoxLayout()
        look.addWidget(self.preview_box)
        look.addWidget(self.slice, 1)
        how = QWidget(self)
        rows = QVBoxLayout(how)
        rows.setContentsMargins(0, 0, 0, 0)
        for each in (self.settings, self.lam, self.lambda_panel):
            rows.addWidget(each)
        rows.addLayout(look)
        rows.addWidget(self.preview_status)
        rows.addWidget(self.live_box)
        rows.addWidget(self.memory)
        step = AdvancedSection(self, "2 · Reconstruct", "Step 2: make a volume of the chosen series")
        step.addWidget(how)
        step.expand()
        self.alignment.section.expand()
        self.lay_out((what, self.alignment, step, self.report.section), below=(self.run_row, self.report))

    def _connect(self) -> None:
        self.image.changed.connect(self._take)
        self.angles.changed.connect(self._explain)
        self.axis.changed.connect(self._explain)
        self.settings.changed.connect(self._explain)
        self.alignment.settings.changed.connect(self._draw_axis)
        self.alignment.started.connect(self._explain)
        self.alignment.added.connect(self._use_aligned)
        self.lam.valueChanged.connect(self._look)
        self.lam.valueChanged.connect(self.lambda_panel.show_lam)
        self.lambda_panel.picked.connect(self._pick)
        self.preview_box.toggled.connect(self._look)
        self.viewer.dims.events.point.connect(self._follow_channel)
        self.slice.valueChanged.connect(self._choose_slice)
        self.preview.looked.connect(self._show_looked)
        self.preview.progressed.connect(self._show_preview_stage)
        self.preview.failed.connect(self._show_why_no_preview)
        self.preview.removed.connect(self._switch_preview_off)
        self.axis_line.removed.connect(self._switch_axis_off)
        self.live.removed.connect(self._switch_live_off)
        self.live_box.toggled.connect(self._stop_watching)
        self.run_button.clicked.connect(self.run)
        self.run_row.progressed.connect(self._watch)
        self.run_row.finished.connect(self._end)

    def _stacks(self, _: object = None) -> list[Image]:
        return [layer for layer in tilt_stacks(self.viewer.layers) if not self._is_ours(layer)]

    def _is_ours(self, layer: Layer) -> bool:
        """Whether a layer only shows what the dock does, and is no data."""
        return layer is not None and layer in (self.preview.layer, self.live.layer, self.axis_line.layer)

    def _is_tomography(self, layer: Layer) -> bool:
        """Whether a layer belongs to this job, so that hiding it for a rendering hides nothing else of the user's."""
        made = layer.metadata.get("invrecon", {}).get("method") == "reconstruct_tilt_series"
        return made or self._is_ours(layer) or layer in self.image.choices

    def _take(self, _: object = None) -> None:
        """Another layer was chosen: its angles, and where it was aligned its axis."""
        if self._watched is not None:
            for name in _WATCHED:
                self._watched.events[name].disconnect(self._explain)
        layer = self._watched = self.image.value
        self._slice = None
        found = None
        if layer is not None:
            for name in _WATCHED:
                layer.events[name].connect(self._explain)
            found = found_alignment(layer)
            self.settings.set_values({"axis_shift_px": 0.0 if found is None else found.axis_shift_px})
        if found is not None:
            self.axis.value = found.tilt_axis
        self.angles.offer(layer)

    def _chosen(self) -> TiltInput | None:
        """The layer and what is said about it; None where something is missing."""
        if self._why_not():
            return None
        layer = self.image.value
        channel = shown_channel(layer, self.viewer.dims.point)
        return TiltInput(layer, projections(layer), self.angles.value, self.axis.value, channel)

    def _why_not(self) -> str:
        """Why neither step could work; empty where both could."""
        if self.image.value is None:
            return "Open a tilt series first: drop a file on the viewer, or File → Open Sample"
        if not keeps_its_plane(self.image.value):
            return (
                f"'{self.image.value.name}' is turned out of its image plane: its volume would have no place. Reset "
                "the layer's rotate, shear and affine, or turn it in the plane of the images only"
            )
        try:
            _ = self.angles.value
        except (ValueError, OSError) as error:
            return str(error)
        return ""

    def _explain(self, _: object = None) -> None:
        """Show what can be done, and why the rest can not."""
        why_not, layer = self._why_not(), self.image.value
        self.run_row.block(why_not)
        self.alignment.offer(layer, self.image.choices, why_not)
        settings = self._settings(None)
        has_lam = settings.algorithm not in WITHOUT_LAMBDA
        for each in (self.lam, self.lambda_panel):
            each.setVisible(has_lam)
        self.memory.setVisible(layer is not None)
        if layer is not None:
            stack = projections(layer)
            try:
                part = chosen_slices(stack.shape, settings)
                self.memory.setText(describe_memory(estimate_memory(stack.shape, settings, stack.dtype)))
            except ValueError as error:
                self.memory.setText(str(error))
            else:
                n_slices = max(1, (part.stop - part.start) // settings.bin)
                with QSignalBlocker(self.slice):
                    self.slice.setRange(0, n_slices - 1)
                    if self._slice is None:
                        self.slice.setValue(n_slices // 2)
        self._draw_axis()
        self._look()

    def _settings(self, lam: float | None) -> TomographySettings:
        return TomographySettings(**self.settings.values(), lam=lam, tilt_axis=self.axis.value)

    def _curve(self) -> MakeSteps | None:
        """The computation of the λ curve of what the dock shows."""
        given = self._chosen()
        if given is None:
            return None
        settings = self._settings(None)

        def steps() -> Steps[LambdaCurve]:
            scene = yield from prepare(given.stack, given.angles_deg, settings)
            return (yield from tilt_lambda_curve(scene, settings))

        return steps

    def _look(self, _: object = None) -> None:
        """Ask for a preview of what the dock shows, or remove it."""
        if not self.preview_box.isChecked():
            self.preview.stop()
            self.preview_status.say("")
            return
        given = self._chosen()
        if given is not None:
            plane = describe_stack(given.layer).plane
            self.preview.request(given, self._settings(self.lam.value), self._slice, plane)

    def _follow_channel(self, _: object = None) -> None:
        """Another channel of maps is on the screen."""
        layer = self.image.value
        if self.preview_box.isChecked() and layer is not None and projections(layer).ndim > 3:
            self._look()

    def _choose_slice(self, index: int) -> None:
        self._slice = index
        self._look()

    def _show_preview_stage(self, iterate: Iterate) -> None:
        self.preview_status.say(iterate.stage or f"iteration {iterate.step} of at most {iterate.n_steps}")

    def _show_looked(self, looked: LookedSlice) -> None:
        self.preview_status.say("" if not self.preview.busy else self.preview_status.text())
        with QSignalBlocker(self.slice):
            self.slice.setValue(looked.index)
        if looked.curve is not None:
            self.lam.show_chosen(looked.lam, looked.rule)
            self.lambda_panel.show_curve(looked.curve.summary())
        self.lambda_panel.show_lam(looked.lam)

    def _show_why_no_preview(self, failure: BaseException) -> None:
        self.preview.hide()
        self.lam.forget_chosen()
        self.lambda_panel.show_lam(self.lam.value)
        self.preview_status.say_why_none(failure)

    def _draw_axis(self, _: object = None) -> None:
        """Draw the tilt axis on the chosen stack, or remove it."""
        layer = self.image.value
        if layer is None or not self.axis.show_box.isChecked():
            self.axis_line.stop()
            return
        rotation = None if self.alignment.found is not None else self.alignment.settings.values()["axis_rotation_deg"]
        self.axis_line.show(layer, self.axis.value, self._settings(None).axis_shift_px, rotation or 0.0)

    def _use_aligned(self, layer: Image, chosen: bool) -> None:
        self._layer = layer
        if chosen:
            self.image.value = layer

    def _watch(self, iterate: Iterate) -> None:
        if self._grows is not None and self.live_box.isChecked() and getattr(iterate.x, "ndim", 0) == 3:
            origin, settings = self._grows
            display = volume_display(iterate.x.shape, dataclasses.asdict(settings), origin.plane)
            self.live.show(iterate.x, f"{origin.source.name} (growing)", display)

    def _stop_watching(self, on: bool) -> None:
        if not on:
            self.live.stop()

    def _switch_live_off(self) -> None:
        self.live_box.setChecked(False)

    def _switch_preview_off(self) -> None:
        self.preview_box.setChecked(False)

    def _switch_axis_off(self) -> None:
        self.axis.show_box.setChecked(False)

    def _pick(self, lam: float) -> None:
        self.lam.value = lam

    def _end(self, _: object) -> None:
        self.live.stop()
        self._grows = None
        layer, self._layer = self._layer, None
        self._explain()
        self.finished.emit(layer)


def _needed_gb(stack: Any, settings: TomographySettings) -> float:
    """Memory that a run takes here; none on a cluster, nor where no memory is enough, which the run says."""
    if settings.cluster is not None:
        return 0.0
    try:
        return estimate_memory(stack.shape, settings, stack.dtype).peak_gb
    except ValueError:
        return 0.0


def describe_memory(needed: MemoryEstimate) -> str:
    """ "Needs about 1.3 GB of memory; the volume is 210 MB, in a file; 3 slabs of 40 slices"."""
    where = ", in a file" if needed.on_disk else ""
    slabs = f"; {needed.n_slabs} slabs of {needed.slab_slices} slices" if needed.n_slabs > 1 else ""
    return f"Needs about {in_gb(needed.peak_gb)} of memory; the volume is {in_gb(needed.result_gb)}{where}{slabs}."
