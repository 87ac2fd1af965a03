"""After a run: whether λ was right, by the residual over the noise; and source | result | residual at one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Signal, Slot
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_invrecon.plugin.failure import notify_failure
from napari_invrecon.plugin.results import Source
from napari_invrecon.plugin.widgets.segments import Segments
from napari_invrecon.plugin.worker import MakeSteps, Run
from napari_invrecon.recon.residual import judge

if TYPE_CHECKING:
    from napari import Viewer


_TASK = "Residual"
_LIMITS = (-3.0, 3.0)
_TIPS = {
    "Source": "Show the image that was deconvolved, in the same view.",
    "Result": "Show the result, in the same view.",
    "Residual": "Show (h ⋆ x̂ − y)/σ from −3 (blue) to 3 (red), computed at the first press. It should look like "
    "noise: structure in it is what the result misses.",
}


@dataclass(frozen=True)
class Compared:
    """A result, the layer that it was made of and how to compute what it leaves unexplained."""

    result: Image
    source_layer: Image
    source: Source
    residual_steps: MakeSteps


class CompareRow(QWidget):
    """The verdict, and three buttons of which one is down: the layer of the three that is seen.

    Nothing but the layers' visibility is changed, so the view stays. Hidden until the first result, and again when the
    result is deleted.

    Parameters
    ----------
    viewer
        Gets the residual.
    parent
        The dock.
    """

    switched = Signal()
    """One of the three was chosen here."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._compared: Compared | None = None
        self._used: Compared | None = None
        self._residual: Image | None = None
        self._made: list[Image] = []  # results and residuals, the older ones too: they lie at the same place
        self.label = QLabel(self)
        self.label.setWordWrap(True)
        self.label.setToolTip(
            "‖Hx̂ − y‖/(σ√N). 1: what the result does not explain is as large as the noise. Judged by a σ that is an "
            "estimate unless it was given."
        )
        self.segments = Segments(_TIPS, self._press, self)
        self.buttons = self.segments.buttons
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.label)
        layout.addWidget(self.segments)
        self._run = Run(self, task=_TASK)
        self._run.succeeded.connect(self._add)
        self._run.failed.connect(self._fail)
        self._run.finished.connect(self._end)
        viewer.layers.events.removed.connect(self._forget)
        viewer.layers.events.reordered.connect(self._follow)
        self.hide()

    @property
    def running(self) -> bool:
        """Whether a residual is being computed."""
        return self._run.running

    def show_result(self, compared: Compared) -> None:
        """Judge a new result, and compare with it from now on."""
        self._run.cancel()
        self._compared, self._residual = compared, None
        self._made.append(compared.result)
        for layer in (compared.result, compared.source_layer):
            layer.events.visible.connect(self._follow)
        self.label.setText(judge(compared.result.metadata["invrecon"]))
        self._follow()
        self.show()

    def _layers(self) -> dict[str, Image | None]:
        """The three, None where one is not in the viewer."""
        compared = self._compared
        if compared is None:
            return dict.fromkeys(self.buttons)
        found = (compared.source_layer, compared.result, self._residual)
        return {
            name: layer if layer is not None and layer in self._viewer.layers else None
            for name, layer in zip(self.buttons, found, strict=True)
        }

    def _press(self) -> None:
        name = self.segments.chosen
        layer = self._layers()[name]
        if layer is not None:
            self._show(layer)
        elif self._compared is not None and not self._run.running:
            self._used = self._compared
            self._run.start(self._used.residual_steps)
            self.buttons[name].setText(f"{name}…")

    def _show(self, chosen: Image) -> None:
        chosen.visible = True
        for layer in (self._layers()["Source"], *self._made):
            if layer is not None and layer is not chosen:
                layer.visible = False
        self.switched.emit()

    @Slot(object)
    def _add(self, residual: Any) -> None:
        if self._used is None or self._used is not self._compared:
            return  # another result has come, or this one has gone
        source = self._used.source
        look = source.display | {"colormap": "RdBu_r", "contrast_limits": _LIMITS}
        self._residual = Image(residual, name=f"{source.name} residual/σ", **look)
        self._made.append(self._residual)
        self._viewer.add_layer(self._residual)
        self._residual.events.visible.connect(self._follow)
        self._show(self._residual)

    @Slot(object)
    def _fail(self, failure: BaseException) -> None:
        notify_failure(_TASK, failure)

    @Slot()
    def _end(self) -> None:
        self._used = None
        self.buttons["Residual"].setText("Residual")
        self._follow()

    def _follow(self, _: object = None) -> None:
        """The button of the topmost layer that is seen is down, whoever has shown or hidden it."""
        layers = self._layers()
        seen = [layer for layer in layers.values() if layer is not None and layer.visible]
        top = max(seen, key=self._viewer.layers.index, default=None)
        self.segments.group.setExclusive(False)
        for name, button in self.buttons.items():
            button.setChecked(top is not None and layers[name] is top)
        self.segments.group.setExclusive(True)
        gone = layers["Source"] is None
        self.buttons["Source"].setEnabled(not gone)
        self.buttons["Source"].setToolTip("The source layer was deleted." if gone else _TIPS["Source"])

    def _forget(self, event: Any) -> None:
        """Let go of a deleted layer; where it was the one that was seen, show the next."""
        layer, compared = event.value, self._compared
        if layer in self._made:
            self._made.remove(layer)
        if compared is None or layer not in (compared.source_layer, compared.result, self._residual):
            return
        left = self._layers()
        if layer is self._residual:
            self._residual = None
        next_one = left["Result"] or left["Source"]
        if next_one is not None and not any(each.visible for each in left.values() if each is not None):
            next_one.visible = True
        if layer is compared.result:
            self._run.cancel()
            self._compared = None
            self.hide()
        self._follow()
