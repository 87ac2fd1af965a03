"""Run · Cancel · Done · progress: the last row of every dock."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, Qt, Signal, Slot
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_invrecon.plugin.failure import explain, notify_failure
from napari_invrecon.plugin.memory import has_room
from napari_invrecon.plugin.remaining_time import RemainingTime, in_words
from napari_invrecon.plugin.widgets.focus import FOCUS_STYLE
from napari_invrecon.plugin.worker import Run
from napari_invrecon.recon.solvers import finish_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_invrecon.plugin.worker import MakeSteps
    from napari_invrecon.recon.solvers import Iterate

_KEEP = "\u00a0"  # a space at which a line is not broken
_IDLE = "Nothing is running"
_FINISHING = "Finishing with the current iterate"


class RunRow(QWidget):
    """Three buttons, a progress bar and one line of text, driven by a `Run`.

    The dock connects ``run_button.clicked`` to its own method, which calls `start`. Escape, with the focus in the row,
    cancels.

    Parameters
    ----------
    parent
        The dock.
    task
        What the dock does, as napari and the error messages name it: "Deconvolve".
    """

    progressed = Signal(object)
    """The newest `Iterate`, at most 20 a second."""
    finished = Signal(object)
    """The result, or None after a failure or a cancel; the row is ready for another start."""

    def __init__(self, parent: QWidget | None = None, *, task: str = "Reconstruction") -> None:
        super().__init__(parent)
        self._task = task
        self._blocked = ""
        self._finish_next_at: int | None = None
        self._on_result: Callable[[Any], object] | None = None
        self._result: Any = None
        self._settings: Any = None
        self._remaining = RemainingTime()
        self._started = 0.0

        self.run_button = QPushButton("Run", self)
        self.cancel_button = QPushButton("Cancel", self)
        self.done_button = QPushButton("Done", self)
        self.progress_bar = QProgressBar(self)
        self.progress_bar.setTextVisible(False)
        self.progress_bar.setFixedHeight(8)
        self.progress_bar.setAccessibleName("Progress")
        self.status_label = QElidingLabel(self)
        self.status_label.setAccessibleName("Status")
        self.status_label.setWordWrap(True)
        self.status_label.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.setStyleSheet(FOCUS_STYLE)

        buttons = QHBoxLayout()
        for button in (self.run_button, self.cancel_button, self.done_button):
            button.setAutoDefault(True)  # Return presses it, as Space does
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.progress_bar)
        layout.addWidget(self.status_label)

        self.cancel_button.clicked.connect(self._cancel)
        self.done_button.clicked.connect(self._finish_now)
        self._run = Run(self, task=task)
        self._run.progressed.connect(self._show)
        self._run.succeeded.connect(self._succeed)
        self._run.failed.connect(self._fail)
        self._run.cancelled.connect(self._stop)
        self._run.finished.connect(self._end)
        self._rest()

    @property
    def running(self) -> bool:
        """Whether a reconstruction is under way."""
        return self._run.running

    def start(
        self,
        make_steps: MakeSteps,
        on_result: Callable[[Any], object] | None = None,
        settings: Any = None,
        *,
        needed_gb: float = 0.0,
        run_within: Callable[[float], None] | None = None,
    ) -> None:
        """Run the generator that ``make_steps`` gives; its result goes to ``on_result`` in the GUI thread.

        Parameters
        ----------
        make_steps, on_result
            As of `Run.start`; None: the result is dropped.
        settings
            What a bug report says of the run: a dataclass, or None.
        needed_gb, run_within
            Memory that it takes, and what runs it in less. Where more is needed than is free, nothing starts,
            `has_room` tells it and offers the latter, and `finished` comes with None.

        Raises
        ------
        RuntimeError
            If one is already running; the Run button is disabled then.
        """
        last, self._finish_next_at = self._finish_next_at, None
        if full := has_room(self._task, needed_gb, run_within):
            self._rest(full)
            self.finished.emit(None)
            return
        self._run.start(make_steps if last is None else lambda: finish_at(make_steps(), last))
        self._on_result, self._result, self._settings = on_result, None, settings
        self._remaining = RemainingTime()
        self._started = time.monotonic()
        self._set(self.cancel_button, "Stop at the end of this step. Nothing is added or changed")
        if self._holds_focus():
            self.cancel_button.setFocus()
        self._set(self.run_button, why_not=f"{self._task} is running: wait, or press Cancel or Done")
        self._set(self.done_button, why_not="There is no iterate to keep yet")
        self.progress_bar.setRange(0, 0)
        self.status_label.setText("starting…")

    def repeat(self, record: dict[str, Any]) -> None:
        """Press Run; where the record's run was ended by Done, this one ends at the same iteration.

        Raises
        ------
        ValueError
            Run is disabled; the message is its reason.
        """
        if not self.run_button.isEnabled():
            raise ValueError(self.run_button.toolTip())
        self._finish_next_at = record["n_iter"] if record["stopped"] == "asked to finish" else None
        self.run_button.click()

    def block(self, reason: str) -> None:
        """Disable Run and say why, such as "select an image layer first"; an empty reason enables it again."""
        if reason == self._blocked:
            return
        self._blocked = reason
        if not self.running:
            self._rest(reason)

    def changeEvent(self, event: QEvent) -> None:
        """Two lines of the theme's font, always, so that nothing moves below."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self.status_label.ensurePolished()
            self.status_label.setFixedHeight(2 * self.status_label.fontMetrics().lineSpacing() + 12)

    def keyPressEvent(self, event: Any) -> None:
        """Escape cancels."""
        if event.key() == Qt.Key.Key_Escape and self.cancel_button.isEnabled():
            self._cancel()
        else:
            super().keyPressEvent(event)

    def _rest(self, status: str = "") -> None:
        """Nothing runs."""
        self._set(self.run_button, f"{self._task} with the settings above", self._blocked)
        if self._holds_focus():
            self.run_button.setFocus()
        self._set(self.cancel_button, why_not=_IDLE)
        self._set(self.done_button, why_not=_IDLE)
        self.progress_bar.setRange(0, 1)
        self.progress_bar.setValue(0)
        self.status_label.setText(status)
        self.status_label.setToolTip(status)

    def _holds_focus(self) -> bool:
        """Whether the keyboard is here: disabling a button would send it elsewhere."""
        return any(each.hasFocus() for each in (self, self.run_button, self.cancel_button, self.done_button))

    @staticmethod
    def _set(button: QPushButton, tooltip: str = "", why_not: str = "") -> None:
        button.setEnabled(not why_not)
        button.setToolTip(why_not or tooltip)

    @Slot(object)
    def _show(self, iterate: Iterate) -> None:
        left = self._remaining.update(iterate.step, iterate.n_steps, time.monotonic())
        self.progress_bar.setRange(0, iterate.n_steps if iterate.step > 0 else 0)
        self.progress_bar.setValue(iterate.step)
        if self.cancel_button.isEnabled():
            self.status_label.setText(describe(iterate, left))
            self.status_label.setToolTip(_explain_iterate(iterate))
            if self.done_button.toolTip() != _FINISHING:
                self._set(self.done_button, "Finish now and keep the current iterate")
        self.progressed.emit(iterate)

    @Slot()
    def _cancel(self) -> None:
        self._run.cancel()
        if self._holds_focus():
            self.setFocus()
        why = "Stopping at the end of this step"
        self._set(self.cancel_button, why_not=why)
        self._set(self.done_button, why_not=why)
        self.status_label.setText("stopping…")

    @Slot()
    def _finish_now(self) -> None:
        self._run.done()
        if self._holds_focus():
            self.cancel_button.setFocus()
        self._set(self.done_button, why_not=_FINISHING)

    @Slot(object)
    def _succeed(self, result: Any) -> None:
        self._result = result
        status = f"done in {in_words(time.monotonic() - self._started)}"
        try:
            if self._on_result is not None:
                self._on_result(result)
        except Exception as error:  # the dock's own mistake must not leave the row dead
            self._result = None
            status = f"failed: {explain(error)}"
            notify_failure(self._task, error, self._settings)
        self._rest(status)

    @Slot(object)
    def _fail(self, failure: BaseException) -> None:
        self._rest(f"failed: {explain(failure)}")
        notify_failure(self._task, failure, self._settings)

    @Slot()
    def _stop(self) -> None:
        self._rest("cancelled: nothing was changed")

    @Slot()
    def _end(self) -> None:
        result, self._result, self._on_result = self._result, None, None
        self.finished.emit(result)


def describe(iterate: Iterate, seconds_left: float | None) -> str:
    """Say "iteration 12/100 · residual/noise 1.03 · 8 s left", without what is not known."""
    parts = [iterate.stage or f"iteration {iterate.step}/{iterate.n_steps}"]
    if math.isfinite(iterate.residual):
        parts.append(f"residual/noise {iterate.residual:.3g}")
    if seconds_left is not None and iterate.step < iterate.n_steps:
        parts.append(f"{in_words(seconds_left)} left")
    return " · ".join(part.replace(" ", _KEEP) for part in parts)


def _explain_iterate(iterate: Iterate) -> str:
    lines = ["residual/noise: ‖Hx − y‖ over what the noise explains. 1 fits to the noise, less fits the noise itself"]
    if math.isfinite(iterate.objective):
        lines.append(f"objective D + λR: {iterate.objective:.6g}")
    return "\n".join(lines)
