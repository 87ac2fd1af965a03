"""After a fusion: what was chosen and what it gained, and each map measured, fused and with its error at one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_invrecon.plugin.widgets.segments import Segments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari import Viewer

    from napari_invrecon.plugin.fusion_results import FusedLayers

_ALL = "All elements"
_UNSEEN = "the HAADF cannot see "
_TIPS = {
    "Measured": "Show what went in, alone: the maps, added in their colours, or one of them, or the HAADF image.",
    "Fused": "Show the fused maps alone: their overlay, or one of them.",
    "Error": "Show, alone, the expected error of one fused map, noise and bias (Draws for the error, under Advanced), "
    "or what the fused maps leave of the HAADF image, H − h₀ − Σ a x: structure in it is what they do not explain.",
}
_WORTH = 1.05  # times the dose: less is not told from nothing
_COUPLINGS = {
    "none": "no coupling to the HAADF",
    "edges": "coupled by edges",
    "intensity": "coupled by intensity",
    "both": "coupled by edges and intensity",
    "power": "coupled by H ∝ Σ a x^γ",
}


class FusionReport(QWidget):
    """A verdict, and which of the layers are seen; hidden until the first result, and again when that is deleted.

    Nothing but the visibility of images is changed, and nothing before a button is pressed.
    """

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._views: dict[str, dict[str, list[Image]]] = {}
        self.label = QLabel(self)
        self.label.setWordWrap(True)
        self.what = QComboBox(self)
        self.what.setAccessibleName("What to show")
        self.what.setToolTip("What the buttons below show: all elements in their colours, one of them, or the HAADF.")
        self.what.setMinimumContentsLength(5)
        self.what.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.segments = Segments(_TIPS, self._press, self)
        self.buttons = self.segments.buttons
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.label)
        layout.addWidget(self.what)
        layout.addWidget(self.segments)
        self.what.activated.connect(self._press)
        viewer.layers.events.removed.connect(self._follow)
        self.hide()

    def show_result(self, fused: FusedLayers, haadf: Image, maps: Sequence[Image], elements: Sequence[str]) -> None:
        """Report on a fusion; its overlay is what is seen now."""
        self.label.setText(verdict(fused.overlay.metadata["invrecon"]))
        self._views = {_ALL: {"Measured": list(maps), "Fused": [fused.overlay], "Error": []}}
        for number, element in enumerate(elements):
            errors = list(fused.errors[number : number + 1])
            self._views[element] = {"Measured": [maps[number]], "Fused": [fused.maps[number]], "Error": errors}
        self._views["HAADF"] = {"Measured": [haadf], "Fused": [], "Error": [fused.residual]}
        self.what.clear()
        self.what.addItems(list(self._views))
        self.buttons["Fused"].setChecked(True)
        self._follow()
        self.show()

    def _press(self, _: object = None) -> None:
        """Show what is asked for alone: maps add up with whatever image lies at their place."""
        views = self._views[self.what.currentText()]
        name = self.segments.chosen
        if not self._there(views[name]):
            name = next((each for each in ("Fused", "Measured", "Error") if self._there(views[each])), name)
            self.buttons[name].setChecked(True)
        for layer in self._viewer.layers:
            if isinstance(layer, Image):
                layer.visible = layer in views[name]
        self._follow()

    def _there(self, layers: list[Image]) -> list[Image]:
        return [layer for layer in layers if layer in self._viewer.layers]

    def _follow(self, _: object = None) -> None:
        """Offer what there is to be seen."""
        if not any(self._there(view["Fused"]) for view in self._views.values()):
            self._views = {}
            self.hide()
            return
        for name, layers in self._views[self.what.currentText()].items():
            there = bool(self._there(layers))
            self.buttons[name].setEnabled(there)
            self.buttons[name].setToolTip(_TIPS[name] if there else _why_not(name, bool(layers)))


def verdict(record: dict[str, Any]) -> str:
    """What was chosen, by what, and what the HAADF was good for."""
    counts = "Counts" if record["noise"] == "poisson" else "Values"
    chosen = f"{counts}, {_COUPLINGS[record['coupling']]}, λ {record['lam']:.3g}"
    automatic = [name for name in ("coupling", "lam") if record["settings"][name] is None]
    if automatic and record["candidates"]:
        words = " and ".join({"coupling": "coupling", "lam": "λ"}[each] for each in automatic)
        chosen += f" ({words} by held-out data)"
    said = [chosen]
    if record["gain"] is not None and record["coupling"] != "none":
        worth = f"is worth {record['gain']:.2g} times the dose, against smoothing the maps alone"
        nothing = "saves no dose here: smoothing the maps alone (none) predicts as well, and is the safer choice"
        said.append(f"The HAADF {worth if record['gain'] >= _WORTH else nothing}")
    if any(record["shift_px"]):
        said.append("HAADF moved by {:.2f}, {:.2f} px (y, x)".format(*record["shift_px"]))
    unseen = [each.removeprefix(_UNSEEN) for each in record["flags"] if each.startswith(_UNSEEN)]
    said += [f"The HAADF cannot see {', '.join(unseen)}"] if unseen else []
    said += [each[:1].upper() + each[1:] for each in record["flags"] if not each.startswith(_UNSEEN)]
    return ".\n".join(said) + "."


def _why_not(name: str, made: bool) -> str:
    if made:
        return "Its layer was deleted"
    return "There is none: set Draws for the error, under Advanced" if name == "Error" else "There is none"
