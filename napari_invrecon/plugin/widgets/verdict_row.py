"""After a run: whether λ was right, by the residual over the noise, and the residual as a layer on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Slot
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_invrecon.plugin.failure import notify_failure
from napari_invrecon.plugin.results import Source
from napari_invrecon.plugin.widgets.focus import FOCUS_STYLE
from napari_invrecon.plugin.worker import Run
from napari_invrecon.recon.residual import residual_steps, verdict

if TYPE_CHECKING:
    from napari import Viewer

_TASK = "Residual"
_TIP = (
    "Add a layer (h ⋆ x̂ − y)/σ. It should look like noise between −3 and 3: structure in it is what the result misses."
)
_LIMITS = (-4.0, 4.0)


@dataclass(frozen=True)
class _Compared:
    """What a residual is made from."""

    result: Image
    image: Any
    psf: Any
    source: Source


class VerdictRow(QWidget):
    """Hidden until the first result; forgets it with its layer.

    Parameters
    ----------
    viewer
        Gets the residual.
    parent
        The dock.
    """

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._compared: _Compared | None = None
        self._used: _Compared | None = None
        self.label = QLabel(self)
        self.label.setWordWrap(True)
        self.label.setToolTip(
            "‖Hx̂ − y‖/(σ√N). 1: what the result does not explain is as large as the noise. Judged by a σ that is an "
            "estimate unless it was given."
        )
        self.button = QPushButton("Add the residual", self)
        self.button.setToolTip(_TIP)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.label)
        layout.addWidget(self.button)
        self.setStyleSheet(FOCUS_STYLE)
        self._run = Run(self, task=_TASK)
        self._run.succeeded.connect(self._add)
        self._run.failed.connect(self._fail)
        self._run.finished.connect(self._end)
        self.button.clicked.connect(self._press)
        viewer.layers.events.removed.connect(self._forget)
        self.hide()

    @property
    def running(self) -> bool:
        """Whether a residual is being computed."""
        return self._run.running

    def show_result(self, result: Image, image: Any, psf: Any, source: Source) -> None:
        """Judge a result that was made from ``image`` with ``psf``."""
        self._compared = _Compared(result, image, psf, source)
        self.label.setText(verdict(result.metadata["invrecon"]["residual_over_noise"]))
        self.button.setEnabled(not self._run.running)
        self.show()

    def _press(self) -> None:
        compared = self._used = self._compared
        if compared is None or self._run.running:
            return
        x, record = compared.result.data, compared.result.metadata["invrecon"]
        self._run.start(lambda: residual_steps(compared.image, x, compared.psf, record))
        self.button.setEnabled(False)

    @Slot(object)
    def _add(self, residual: Any) -> None:
        assert self._used is not None
        source = self._used.source
        look = source.display | {"colormap": "PiYG"}
        self._viewer.add_layer(
            Image(residual, name=f"{source.name} residual/σ", contrast_limits=_LIMITS, **look),
        )

    @Slot(object)
    def _fail(self, failure: BaseException) -> None:
        notify_failure(_TASK, failure)

    @Slot()
    def _end(self) -> None:
        self._used = None
        self.button.setEnabled(self._compared is not None)

    def _forget(self, event: Any) -> None:
        if self._compared is not None and event.value is self._compared.result:
            self._compared = None
            self.hide()
