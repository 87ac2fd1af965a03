"""A spin box that shows and takes 3.2e-05, in every locale. Qt's own shows 0.00."""

from __future__ import annotations

import math
import re
from typing import Any

from qtpy.QtCore import QLocale
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import QDoubleSpinBox, QWidget

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_TYPING = re.compile(r"[+-]?\d*\.?\d*(e[+-]?\d*)?", re.IGNORECASE)
_LARGEST = 1e300


def number_text(value: float) -> str:
    """The shortest text of at most six digits, or as many as it takes to read the same number back."""
    text = f"{value:.6g}"
    return text if float(text) == value else repr(value)


class NumberField(QDoubleSpinBox):
    """A float of any magnitude. ``valueChanged`` comes when the typing is finished, by Return or by leaving the field.

    The arrow keys change the second digit. A comma becomes a point as it is typed. Text that is no number, or one
    outside the range, goes back to the last good value.

    Parameters
    ----------
    parent
        The owner.
    minimum, maximum
        The range, both ends included; None for none.
    """

    def __init__(self, parent: QWidget | None = None, *, minimum: float | None = None, maximum: float | None = None):
        super().__init__(parent)
        self.setLocale(QLocale.c())
        self.setDecimals(323)  # what Qt rounds values to: down to the smallest float
        self.setRange(-_LARGEST if minimum is None else minimum, _LARGEST if maximum is None else maximum)
        self.setKeyboardTracking(False)

    def textFromValue(self, value: float) -> str:
        """Overrides Qt's fixed number of decimals."""
        return number_text(value)

    def valueFromText(self, text: str) -> float:
        """Overrides Qt's reading by the locale."""
        return float(text) if _NUMBER.fullmatch(text.strip()) else self.minimum()

    def validate(self, text: str, position: int) -> Any:
        """Whether the text is a number in the range, could become one, or can not."""
        text = text.replace(",", ".")
        if _NUMBER.fullmatch(text.strip()) and self.minimum() <= float(text) <= self.maximum():
            return QValidator.State.Acceptable, text, position
        typing = _TYPING.fullmatch(text.strip()) or _NUMBER.fullmatch(text.strip())
        return QValidator.State.Intermediate if typing else QValidator.State.Invalid, text, position

    def stepBy(self, steps: int) -> None:
        """Change the second digit, or from zero by a hundredth of the range (0.01 if it has no end)."""
        value = self.value()
        span = self.maximum() - self.minimum()
        zero_step = span / 100 if span < _LARGEST else 0.01
        digit = 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else zero_step
        self.setValue(float(f"{value + steps * digit:.12g}"))

    def minimumSizeHint(self) -> Any:
        """Room for 3.217e-05, not for the 300 digits that the range could need."""
        hint = super().minimumSizeHint()
        hint.setWidth(self.fontMetrics().horizontalAdvance("3.217e-05") + 64)
        return hint

    def sizeHint(self) -> Any:
        """As `minimumSizeHint`."""
        hint = super().sizeHint()
        hint.setWidth(self.minimumSizeHint().width())
        return hint
