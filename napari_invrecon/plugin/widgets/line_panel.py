"""For data of one line, which are hard to see as an image: a plot of x̂ at λ, far below and far above it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Slot
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_invrecon.plugin.failure import notify_failure
from napari_invrecon.plugin.line_plot import Line, LinePlot
from napari_invrecon.plugin.plots import theme_colours
from napari_invrecon.plugin.worker import LatestOnly

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image

    from napari_invrecon.plugin.inputs import Inputs
    from napari_invrecon.recon.solvers import Steps

_FACTOR = 30.0  # from λ to one that is plainly too small or too large
_NAIVE_LAM = 1e-10
_NAIVE = {"regulariser": "l2", "noise": "gaussian", "nonnegative": False, "lam_rule": None}


def is_line(layer: Image) -> bool:
    """Whether only the last axis is longer than one."""
    return layer.data.shape[-1] == layer.data.size > 1


class LinePanel(QWidget):
    """Hidden until the first line; the newest request replaces an older one."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._asked: tuple[Inputs, str] | None = None
        self.plot = LinePlot(theme_colours(viewer.theme), self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.plot)
        self._latest = LatestOnly(self)
        self._latest.ready.connect(self._show)
        self._latest.failed.connect(self._fail)
        viewer.events.theme.connect(self._follow_theme)
        self.hide()

    @property
    def busy(self) -> bool:
        """Whether lines are being computed."""
        return self._latest.busy

    def request(self, inputs: Inputs, lam: float, truth: str) -> None:
        """Show the line for this λ and others; ``truth`` is the name of a layer that holds the object, or empty."""
        self._asked = (inputs, truth)
        self._latest.request(lambda: _lines(inputs, lam))

    def stop(self) -> None:
        """Drop what runs, show nothing."""
        self._latest.cancel()
        self._asked = None
        self.hide()

    @Slot(object)
    def _show(self, lines: list[Line]) -> None:
        if self._asked is None:
            return
        inputs, name = self._asked
        y = np.asarray(inputs.image, float).ravel()
        truth = self._viewer.layers[name].data if name in self._viewer.layers else None
        self.plot.show_lines(lines, y, None if truth is None or truth.size != y.size else np.ravel(truth).astype(float))
        self.show()

    @Slot(object)
    def _fail(self, failure: BaseException) -> None:
        notify_failure("Lines for several λ", failure)

    def _follow_theme(self, _: object = None) -> None:
        self.plot.set_colours(theme_colours(self._viewer.theme))


def _lines(inputs: Inputs, lam: float) -> Steps[list[Line]]:
    """The naive inverse and x̂ for three λ."""
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("naive inverse, λ → 0", {**_NAIVE, "lam": _NAIVE_LAM}),
        (f"λ = {lam / _FACTOR:.2g}, too small", {"lam": lam / _FACTOR}),
        (f"λ = {lam:.3g}", {"lam": lam}),
        (f"λ = {lam * _FACTOR:.2g}, too large", {"lam": lam * _FACTOR}),
    ]
    lines = []
    for title, changed in wanted:
        settings = dataclasses.replace(inputs.settings, **changed)
        result = yield from dataclasses.replace(inputs, settings=settings).run()
        lines.append(Line(title, np.asarray(result.data, np.float32).ravel()))
    return lines
