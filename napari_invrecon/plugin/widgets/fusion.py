"""The dock "Fuse": an HAADF image and the elemental maps of its field; out come denoised maps and their overlay."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari import Viewer  # noqa: TC002 — napari reads this annotation at run time
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel

from napari_invrecon.plugin.fusion_inputs import FusionInputs
from napari_invrecon.plugin.fusion_results import FusedLayers, Overlay, add_fused, describe_sources, overlay_of
from napari_invrecon.plugin.map_layers import likely_haadf, offered_maps, planes, same_grid
from napari_invrecon.plugin.own_noise import own_noise, quantity_of
from napari_invrecon.plugin.placement import place
from napari_invrecon.plugin.preferences import start_with
from napari_invrecon.plugin.regions import Outlines
from napari_invrecon.plugin.widgets.candidates_panel import CandidatesPanel
from napari_invrecon.plugin.widgets.dock import Dock
from napari_invrecon.plugin.widgets.form import SettingsForm
from napari_invrecon.plugin.widgets.fusion_report import FusionReport
from napari_invrecon.plugin.widgets.lambda_control import LambdaControl
from napari_invrecon.plugin.widgets.map_table import MapTable
from napari_invrecon.plugin.widgets.region_row import RegionRow
from napari_invrecon.plugin.widgets.run_row import RunRow
from napari_invrecon.recon.fusion import FusionSettings
from napari_invrecon.records.replay import as_used
from napari_invrecon.records.schema import settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Image

    from napari_invrecon.recon.fusion import FusionResult
    from napari_invrecon.recon.solvers import Steps

_HAADF_TIP = (
    "The HAADF image of the maps' field, H; it is not changed. It may have finer pixels, or show more than the maps: "
    "scale and translate of the layers say where it lies."
)
_LAM_TIP = (
    "λ, the weight of the total variation in Σ D(x, b) + ½‖(H − h₀ − Σ a x)/s‖² + λ Σ TV(x)/noise. In units of each "
    "map's noise, so the same λ means the same at another exposure. Larger: smoother, less noise, more bias. Smaller: "
    "more detail, more noise."
)
_VACUUM_TIP = (
    "A Shapes or Labels layer over vacuum, where there is nothing of any element: λ then is at least such that the "
    "maps come out flat there."
)
_OPEN = "Open an HAADF image and the maps of its field first: drop their files on the viewer, or File → Open Sample"


class FusionDock(Dock):
    """Fuse elemental maps with an HAADF image: tick the maps, press Run.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are offered and which gets the results.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.haadf = ComboBox(choices=self._images, nullable=False)
        self.haadf.native.setToolTip(_HAADF_TIP)
        self.haadf.native.setAccessibleName("HAADF")
        self.haadf.native.setMinimumContentsLength(8)
        self.haadf.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.lies = QLabel(self)
        self.lies.setWordWrap(True)
        self.maps = MapTable(self)
        self.settings = SettingsForm(FusionSettings, skip={"lam", "elements"}, parent=self)
        start_with(self.settings)
        self.vacuum = RegionRow(napari_viewer, self)
        self.settings.insert("noise_sigma", "Vacuum", self.vacuum, _VACUUM_TIP)
        self.lam = LambdaControl(self, tooltip=_LAM_TIP, decades=(-3, 3), start=1.0)
        self.candidates = CandidatesPanel(napari_viewer, self)
        self.run_row = RunRow(self, task="Fuse")
        self.run_button = self.run_row.run_button
        self.report = FusionReport(napari_viewer, self)
        what = QFormLayout()
        what.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        what.addRow("HAADF", self.haadf.native)
        what.addRow(self.lies)
        what.addRow(self.maps)
        self.lay_out((what, self.settings, self.lam, self.candidates), below=(self.run_row, self.report))

        self.haadf.changed.connect(self._offer_maps)
        self.maps.edited.connect(self._explain)
        self.settings.changed.connect(self._explain)
        self.vacuum.changed.connect(self._explain)
        self.candidates.picked.connect(self._pick)
        self.run_button.clicked.connect(self.run)
        self.run_row.finished.connect(self._end)
        self.fused: FusedLayers | None = None
        self._taken: Image | None = self.haadf.value
        self._watched: list[Image] = []
        self._adding = False
        self.reset_choices()

    def run(self) -> None:
        """Start with what the dock shows."""
        if self._why_not():
            return
        haadf, chosen = self.haadf.value, self.maps.chosen()
        self._taken = None
        layers, elements = [layer for layer, _ in chosen], [element for _, element in chosen]
        inputs = self._inputs(self.lam.value)
        vacuum = "" if self.vacuum.layer is None else self.vacuum.layer.name
        source = describe_sources(haadf, layers, elements, inputs.placement, inputs.noise, vacuum)
        self.fused = None

        def steps() -> Steps[tuple[FusionResult, Overlay]]:
            result = yield from inputs.run()
            return result, overlay_of(result.data, elements)

        def keep(found: tuple[FusionResult, Overlay]) -> None:
            result, over = found
            if inputs.settings.lam is None:
                self.lam.show_chosen(result.lam, result.record["lam_rule"])
            self.candidates.show_record(result.record)
            self._adding = True  # layers that are offered once all are there
            try:
                self.fused = add_fused(self.viewer, result, over, source)
            finally:
                self._adding = False
            self.reset_choices()
            self.report.show_result(self.fused, haadf, layers, elements)

        needed = inputs.estimate_memory()
        self.run_row.start(steps, keep, inputs.settings, needed_gb=needed, run_within=self.run_within)

    def fill(self, record: dict[str, Any], layers: Mapping[str, Any]) -> None:
        """As of `Dock`; the roles are haadf, maps (a list) and reference (the vacuum)."""
        strangers = [each.name for each in (layers["haadf"], *layers["maps"]) if each not in self.haadf.choices]
        if strangers:
            raise ValueError(f"'{strangers[0]}' cannot be fused: it is no measured image (y, x)")
        self.haadf.value = layers["haadf"]
        self._taken = None
        self.maps.choose(dict(zip(layers["maps"], record["elements"], strict=True)))
        self.vacuum.choose(layers.get("reference"))
        settings = dataclasses.asdict(settings_of(record)) | as_used(record)
        self.lam.value = settings.pop("lam")
        del settings["elements"]
        self.settings.set_values(settings)

    def stop(self) -> None:
        """Cancel the run."""
        self.run_row.cancel_button.click()

    def reset_choices(self, event: object = None) -> None:
        """Offer the layers that there are now; napari calls this when they change."""
        if self._adding:
            return
        untouched = self.haadf.value == self._taken  # not "is": napari wraps what a plugin gets from its viewer
        self.haadf.reset_choices()
        if untouched and self.haadf.choices:  # a choice of the user's, and the image of a run, stay
            self._taken = self.haadf.value = likely_haadf(self._images())
        self.vacuum.offer()
        self._watch()
        self._offer_maps()

    def _images(self, _: object = None) -> list[Image]:
        return planes(self.viewer.layers)

    def _watch(self) -> None:
        """Scale and translate that the user gives a layer count at once."""
        for connect, layers in (("disconnect", self._watched), ("connect", self.haadf.choices)):
            for layer in layers:
                for event in (layer.events.scale, layer.events.translate, layer.events.units, layer.events.data):
                    getattr(event, connect)(self._offer_maps)
        self._watched = list(self.haadf.choices)

    def _offer_maps(self, _: object = None) -> None:
        self.maps.offer(offered_maps(self._images(), self.haadf.value))

    def _explain(self, _: object = None) -> None:
        """Say how the HAADF lies; disable Run, with the reason, where it could not work."""
        why_not = self._why_not()
        self.run_row.block(why_not)
        haadf = self.haadf.value
        self.lies.setVisible(not why_not)
        if not why_not:
            inputs = self._inputs(None)
            lies = f"HAADF {inputs.placement.describe(haadf.data.shape)}."
            self.lies.setText(f"{lies} {inputs.noise.describe()}".strip())

    def _why_not(self) -> str:
        """Why Run could not work; empty where it could."""
        haadf, chosen = self.haadf.value, self.maps.chosen()
        if haadf is None or len(self.haadf.choices) < 2:
            return _OPEN
        if not chosen:
            return f"Tick the maps to fuse with '{haadf.name}'. {self.maps.why_none()}".strip()
        first = chosen[0][0]
        for layer, _ in chosen[1:]:
            if not same_grid(layer, first):
                shapes = " and ".join(f"'{each.name}' {each.data.shape}" for each in (first, layer))
                return f"{shapes} have different pixels: tick maps of one acquisition only"
        names = [name for _, name in chosen]
        for layer, name in chosen:
            if not name or "," in name:
                return f"'{layer.name}' needs the name of its element, without a comma: type it in the list"
            if names.count(name) > 1:
                return f"Two maps are named {name}: untick one, or give each a name of its own in the list"
        try:
            inputs = self._inputs(None)
        except ValueError as error:
            return str(error)
        region = inputs.vacuum
        if isinstance(region, Outlines) and not region.corners:
            return f"'{region.name}' has no closed shape: draw a rectangle, an ellipse or a polygon in it"
        return ""

    def _inputs(self, lam: float | None) -> FusionInputs:
        """What the dock shows; ValueError where layers do not fit, or a setting is refused."""
        haadf, chosen = self.haadf.value, self.maps.chosen()
        first = chosen[0][0]
        elements = ", ".join(name for _, name in chosen)
        settings = FusionSettings(**self.settings.values(), lam=lam, elements=elements)
        layers = [layer for layer, _ in chosen]
        noise = own_noise(layers, settings)
        stacks = {role: tuple(quantity_of(each, what) for each in layers) for role, what in noise.roles.items()}
        return FusionInputs(haadf.data, place(haadf, first), noise, stacks, self.vacuum.region(first), settings)

    def _pick(self, coupling: str, lam: float) -> None:
        self.settings.set_values({"coupling": coupling})
        self.lam.value = lam

    def _end(self, _: object) -> None:
        self.finished.emit(None if self.fused is None else self.fused.overlay)
