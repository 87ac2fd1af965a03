"""λ: automatic, or a number on a log₁₀ slider with a field that reads and takes 3.2e-05."""

from __future__ import annotations

import math

from qtpy.QtCore import QSignalBlocker, Qt, Signal, Slot
from qtpy.QtWidgets import QCheckBox, QGridLayout, QLabel, QSlider, QWidget

from napari_invrecon.plugin.widgets.focus import FOCUS_STYLE
from napari_invrecon.plugin.widgets.number_field import NumberField

_DECADES = (-8, 3)  # log₁₀ of the slider's ends
_PER_DECADE = 20

_TOOLTIP = (
    "λ, the weight of the regulariser in ‖Hx − y‖² + λR(x). It has no unit: the data are divided by one scale first, "
    "so the same λ means the same at another exposure. Larger: smoother, less noise, more bias. Smaller: sharper, "
    "more noise."
)
_AUTOMATIC = "λ is chosen from the data, and shown here after the run."
_WHY_NOT = "λ is chosen from the data: untick automatic to set it here."


class LambdaControl(QWidget):
    """``value`` is None for automatic, else λ > 0. The slider covers some decades, the field takes any λ above 0.

    Parameters
    ----------
    parent
        The dock.
    tooltip
        What λ is, what a larger one does.
    decades
        log₁₀ of the slider's ends.
    start
        The λ that is shown until one is chosen or set.
    """

    valueChanged = Signal(object)
    """The new value, None or a float."""

    def __init__(
        self,
        parent: QWidget | None = None,
        *,
        tooltip: str = _TOOLTIP,
        decades: tuple[int, int] = _DECADES,
        start: float = 1e-3,
    ) -> None:
        super().__init__(parent)
        self._tooltip = tooltip
        self.label = QLabel("λ", self)
        self.label.setToolTip(tooltip)
        self.automatic_box = QCheckBox("automatic", self)
        self.automatic_box.setChecked(True)
        self.automatic_box.setToolTip(f"{tooltip}\nTicked: {_AUTOMATIC}")
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setRange(*(each * _PER_DECADE for each in decades))
        self.slider.setPageStep(_PER_DECADE)
        self.slider.setAccessibleName("log₁₀ λ")
        self.field = NumberField(self, minimum=1e-300)
        self.field.setAccessibleName("λ")

        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.label, 0, 0)
        layout.addWidget(self.automatic_box, 0, 1, 1, 2)
        layout.addWidget(self.slider, 1, 0, 1, 2)
        layout.addWidget(self.field, 1, 2)
        layout.setColumnStretch(1, 1)
        self.setStyleSheet(FOCUS_STYLE)

        self._show(start)
        self._enable()
        self.automatic_box.toggled.connect(self._toggle)
        self.slider.valueChanged.connect(self._slide)
        self.field.valueChanged.connect(self._type)

    @property
    def value(self) -> float | None:
        """λ, or None for automatic. A number that is still being typed counts."""
        if self.automatic_box.isChecked():
            return None
        self.field.interpretText()
        return self.field.value()

    @value.setter
    def value(self, lam: float | None) -> None:
        """Set λ; ValueError unless it is None or a finite number above 0."""
        if lam is not None and not (math.isfinite(lam) and lam > 0):
            raise ValueError(f"λ = {lam!r}: expected a number above 0, or None to have it chosen from the data")
        before = self.value
        with QSignalBlocker(self.automatic_box):
            self.automatic_box.setChecked(lam is None)
        if lam is not None:
            self._show(lam)
        self._enable()
        if self.value != before:
            self.valueChanged.emit(self.value)

    def show_chosen(self, lam: float, rule: str) -> None:
        """After an automatic run: show "automatic: 3.2e-05 (GCV)"; the slider starts there if automatic is unticked."""
        rounded = float(f"{lam:.3g}")
        short = rule.partition(",")[0].partition(":")[0]  # a dock has no room for the remark after it
        self.automatic_box.setText(f"automatic: {rounded:.3g} ({short})")
        if self.automatic_box.isChecked() and rounded > 0:
            self._show(rounded)

    def forget_chosen(self) -> None:
        """The λ that was chosen is of other data; those of now give none."""
        self.automatic_box.setText("automatic")

    def _show(self, lam: float) -> None:
        with QSignalBlocker(self.field), QSignalBlocker(self.slider):
            self.field.setValue(lam)
            self.slider.setValue(round(math.log10(lam) * _PER_DECADE))

    def _enable(self) -> None:
        automatic = self.automatic_box.isChecked()
        for each in (self.slider, self.field):
            each.setEnabled(not automatic)
            each.setToolTip(f"{self._tooltip}\n{_WHY_NOT}" if automatic else self._tooltip)

    @Slot(bool)
    def _toggle(self, _: bool) -> None:
        self._enable()
        self.valueChanged.emit(self.value)

    @Slot(int)
    def _slide(self, position: int) -> None:
        with QSignalBlocker(self.field):
            self.field.setValue(float(f"{10 ** (position / _PER_DECADE):.3g}"))
        self.valueChanged.emit(self.value)

    @Slot(float)
    def _type(self, lam: float) -> None:
        self._show(lam)
        self.valueChanged.emit(self.value)
