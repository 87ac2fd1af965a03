"""The collapsed section "Why λ is needed": what dividing by the OTF would do to this image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Slot
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_invrecon.plugin.failure import explain, notify_failure
from napari_invrecon.plugin.picard import Picard, in_words, picard_steps
from napari_invrecon.plugin.picard_plot import PicardPlot
from napari_invrecon.plugin.plots import theme_colours
from napari_invrecon.plugin.widgets.advanced_section import AdvancedSection
from napari_invrecon.plugin.worker import LatestOnly

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer

    from napari_invrecon.plugin.inputs import Inputs

_TITLE = "Why λ is needed"
_TIP = (
    "The inverse without a regulariser, of the piece of the image with the most contrast: the singular values σᵢ of "
    "the blur, which for a convolution are its OTF, and the discrete Picard plot, |uᵢᵀy| and |uᵢᵀy|/σᵢ with the noise. "
    "Where the data level off at the noise while σᵢ falls on, H⁻¹y is amplified noise."
)


class WhyLambda(QWidget):
    """The section; computed while it is open, anew whenever the image, the PSF or a setting changes.

    Parameters
    ----------
    viewer
        Whose theme the plot follows.
    make_inputs
        What the dock shows now; None if nothing can be computed.
    parent
        The dock.
    """

    def __init__(self, viewer: Viewer, make_inputs: Callable[[], Inputs | None], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._make_inputs = make_inputs
        self._found: Picard | None = None
        self._lam: float | None = None
        self.plot = PicardPlot(theme_colours(viewer.theme), self)
        self.plot.hide()
        self.label = QLabel(self)
        self.label.setWordWrap(True)
        self.section = AdvancedSection(self, _TITLE, _TIP)
        page = QWidget(self)
        inside = QVBoxLayout(page)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.plot)
        inside.addWidget(self.label)
        self.section.addWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.section)
        self._latest = LatestOnly(self)
        self._latest.ready.connect(self._show)
        self._latest.failed.connect(self._fail)
        self.section.toggled.connect(self.refresh)
        viewer.events.theme.connect(self._follow_theme)

    @property
    def busy(self) -> bool:
        """Whether it is being computed."""
        return self._latest.busy

    def refresh(self, _: object = None) -> None:
        """Compute it for what the dock shows, if the section is open."""
        inputs = self._make_inputs() if self.section.isExpanded() else None
        if inputs is not None:
            self._latest.request(lambda: picard_steps(inputs))
            return
        self.stop()
        self._found = None
        self.plot.hide()
        self.label.setText("Choose an image and a PSF that fit.")

    def show_lam(self, lam: float | None) -> None:
        """Mark the λ in use; None: it is not known yet."""
        self._lam = lam
        self.plot.show_lam(lam)
        if self._found is not None:
            self.label.setText(in_words(self._found, lam))

    def stop(self) -> None:
        """Drop what runs."""
        self._latest.cancel()

    @Slot(object)
    def _show(self, found: Picard) -> None:
        self._found = found
        self.plot.show_found(found)
        self.plot.show()
        self.label.setText(in_words(found, self._lam))

    @Slot(object)
    def _fail(self, failure: BaseException) -> None:
        self._found = None
        self.plot.hide()
        self.label.setText(f"failed: {explain(failure)}")
        if not isinstance(failure, ValueError):  # data that do not fit are no fault: another layer may have been chosen
            notify_failure(_TITLE, failure)

    def _follow_theme(self, _: object = None) -> None:
        self.plot.set_colours(theme_colours(self._viewer.theme))
