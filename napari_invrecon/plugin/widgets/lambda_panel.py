"""The collapsed section "λ curve" of a dock: what the data say about λ, to look at and to click on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal, Slot
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_invrecon.plugin.failure import explain, notify_failure
from napari_invrecon.plugin.plots import LambdaPlot, theme_colours
from napari_invrecon.plugin.widgets.advanced_section import AdvancedSection
from napari_invrecon.plugin.worker import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer

    from napari_invrecon.plugin.worker import MakeSteps
    from napari_invrecon.recon.lambda_choice import LambdaCurve
    from napari_invrecon.recon.solvers import Iterate

_TASK = "λ curve"
_COMPUTE = "Compute the curve"
_COMPUTE_TIP = "Solve for many λ and show what each rule makes of it; nothing else is changed"
_HINT = "Shown after a run with an automatic λ, or computed here. Click on a point to set λ."


class LambdaPanel(QWidget):
    """The plot, and a button that computes its curve without a full run.

    Parameters
    ----------
    viewer
        Whose theme the plot follows.
    make_steps
        Gives the function that makes the generator of a `LambdaCurve` for what the dock shows now; None if nothing
        can be computed.
    parent
        The dock.
    """

    picked = Signal(float)
    """The λ that was clicked on."""

    def __init__(
        self, viewer: Viewer, make_steps: Callable[[], MakeSteps | None], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._make_steps = make_steps
        self.plot = LambdaPlot(theme_colours(viewer.theme), self)
        self.plot.hide()
        self.status = QLabel(_HINT, self)
        self.status.setWordWrap(True)
        self.button = QPushButton(_COMPUTE, self)
        self.button.setToolTip(_COMPUTE_TIP)
        self.section = AdvancedSection(self, "λ curve", "L-curve, GCV, SURE and residual over noise, against λ")
        page = QWidget(self)
        inside = QVBoxLayout(page)
        inside.setContentsMargins(0, 0, 0, 0)
        for each in (self.plot, self.status, self.button):
            inside.addWidget(each)
        self.section.addWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.section)

        self._run = Run(self, task=_TASK)
        self._run.progressed.connect(self._progress)
        self._run.succeeded.connect(self._succeed)
        self._run.failed.connect(self._fail)
        self._run.cancelled.connect(self._stop)
        self._run.finished.connect(self._end)
        self.button.clicked.connect(self._press)
        self.plot.picked.connect(self.picked)
        viewer.events.theme.connect(self._follow_theme)

    @property
    def running(self) -> bool:
        """Whether a curve is being computed."""
        return self._run.running

    def show_curve(self, summary: dict[str, Any]) -> None:
        """Show a record's curve, or `LambdaCurve.summary()`.

        One of a single λ, as of a λ that was given, or of a constant image is passed over: the last one stays.
        """
        if len(summary["lam"]) < 2 or "residual_norm" not in summary or not np.isfinite(summary["residual_norm"]).all():
            return
        self.plot.show_curve(summary)
        self.plot.show()
        not_asked = {"holdout", "reference"} - set(summary)
        if "gcv" not in summary:  # the degrees of freedom, which these rules share, were not computed
            not_asked |= {"balanced", "sure", "gcv", "discrepancy"}
        none = [rule for rule, lam in summary["choices"].items() if lam is None and rule not in not_asked]
        self.status.setText(f"No answer from: {', '.join(none)}." if none else "Click on a point to set λ.")

    def show_lam(self, lam: float | None) -> None:
        """Mark the λ in use."""
        self.plot.show_lam(lam)

    def _press(self) -> None:
        if self._run.running:
            self._run.cancel()
            return
        make_steps = self._make_steps()
        if make_steps is None:
            self.status.setText("Nothing to compute yet: choose an image and a PSF that fit.")
            return
        self._run.start(make_steps)
        self.button.setText("Stop")
        self.button.setToolTip("Stop at the end of this step; the plot stays as it is")
        self.status.setText("starting…")

    @Slot(object)
    def _progress(self, iterate: Iterate) -> None:
        self.status.setText(iterate.stage or f"step {iterate.step}")

    @Slot(object)
    def _succeed(self, curve: LambdaCurve) -> None:
        self.show_curve(curve.summary())

    @Slot(object)
    def _fail(self, failure: BaseException) -> None:
        self.status.setText(f"failed: {explain(failure)}")
        notify_failure(_TASK, failure)

    @Slot()
    def _stop(self) -> None:
        self.status.setText("stopped")

    @Slot()
    def _end(self) -> None:
        self.button.setText(_COMPUTE)
        self.button.setToolTip(_COMPUTE_TIP)

    def _follow_theme(self, _: object = None) -> None:
        self.plot.set_colours(theme_colours(self._viewer.theme))
