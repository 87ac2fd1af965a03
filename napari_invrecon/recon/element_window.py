"""The windows of one elemental map: where its counts are taken, and where the background under them is seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Window = tuple[float, float]
BackgroundModel = Literal["power-law", "linear", "none"]


@dataclass(frozen=True)
class ElementWindow:
    """What one map is made from.

    Attributes
    ----------
    element, line
        Such as "Ti" and "L"; the map is called by both. ``line`` may be empty.
    signal
        (from, to) in eV: the channels whose centres lie in [from, to) are summed.
    background
        Windows in which there is background only. power-law: one, below ``signal``. linear: one on either side, or one
        alone (a constant). none: empty.
    model
        Of the background: A·E^−r (EELS), a line through two windows (EDX), or none: the map is the sum itself.
    """

    element: str
    line: str
    signal: Window
    background: tuple[Window, ...] = ()
    model: BackgroundModel = "none"

    @property
    def name(self) -> str:
        """Element and line, as a map is called."""
        return f"{self.element} {self.line}".strip()


def from_plain(entry: Any) -> ElementWindow:
    """An `ElementWindow`, or what a record holds of it."""
    if isinstance(entry, ElementWindow):
        return entry
    try:
        return ElementWindow(
            entry["element"],
            entry.get("line", ""),
            _pair(entry["signal"]),
            tuple(_pair(each) for each in entry.get("background", ())),
            entry.get("model", "none"),
        )
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise TypeError(f"{entry!r} is no ElementWindow, nor a dict of its fields") from error


def _pair(window: Any) -> Window:
    low, high = window
    return float(low), float(high)


@dataclass(frozen=True)
class Channels:
    """An `ElementWindow` in channels: [start, stop) of the signal and of each background window, in ascending order."""

    signal: tuple[int, int]
    background: tuple[tuple[int, int], ...]


def channels(window: ElementWindow, energy_ev: NDArray[np.float64]) -> Channels:
    """Which channels the windows take.

    Raises
    ------
    ValueError
        A window that is reversed, empty, outside the spectrum, or that does not suit the model; each says which, and
        what to do.
    """
    name = window.name or "the window"
    step = float(energy_ev[1] - energy_ev[0])
    ends = float(energy_ev[0] - step / 2), float(energy_ev[-1] + step / 2)
    expected = {"power-law": (1,), "linear": (1, 2), "none": (0,)}
    if window.model not in expected:
        raise ValueError(f"{name}: the background {window.model!r} is unknown: expected {', '.join(expected)}")
    if len(window.background) not in expected[window.model]:
        many = " or ".join(map(str, expected[window.model]))
        raise ValueError(
            f"{name}: {len(window.background)} background windows for the model {window.model!r}: expected {many}"
        )
    signal = _range("integration window", window.signal, name, energy_ev, step, ends)
    below = sorted(window.background)
    background = tuple(_range("background window", each, name, energy_ev, step, ends) for each in below)
    for each, (start, stop) in zip(below, background, strict=True):
        if start < signal[1] and signal[0] < stop:
            raise ValueError(
                f"{name}: the background window {_text(each)} overlaps the integration window {_text(window.signal)}: "
                "move it off"
            )
    if window.model == "power-law":
        (start, stop), (low, _) = background[0], below[0]
        if start > signal[0]:
            raise ValueError(
                f"{name}: the background window {_text(below[0])} is above the integration window "
                f"{_text(window.signal)}: a power law is fitted before the edge and carried on under it"
            )
        if stop - start < 3:
            raise ValueError(
                f"{name}: the background window {_text(below[0])} holds {stop - start} channels of {step:.4g} eV: a "
                "power law needs at least 3"
            )
        if not energy_ev[start] > 0:
            raise ValueError(
                f"{name}: the background window begins at {low:.4g} eV: a power law A·E^−r needs energies above 0; "
                "check the energy axis"
            )
    if len(background) == 2 and not background[0][1] <= signal[0] < signal[1] <= background[1][0]:
        raise ValueError(
            f"{name}: both background windows are on one side of the integration window {_text(window.signal)}: put "
            "one on either side"
        )
    return Channels(signal, background)


def _range(
    what: str, window: Window, name: str, energy_ev: NDArray[np.float64], step: float, ends: Window
) -> tuple[int, int]:
    low, high = window
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name}: the {what} is {_text(window)}: expected two energies in eV")
    if not low < high:
        raise ValueError(f"{name}: the {what} runs from {low:g} to {high:g} eV: expected the lower energy first")
    slack = 1e-6 * step
    if low < ends[0] - slack or high > ends[1] + slack:
        raise ValueError(
            f"{name}: the {what} {_text(window)} is not within the spectrum, {ends[0]:.6g} … {ends[1]:.6g} eV: move "
            "it, or correct the energy axis"
        )
    start, stop = (int(np.searchsorted(energy_ev, each - slack)) for each in window)
    if start == stop:
        raise ValueError(f"{name}: the {what} {_text(window)} holds no channel: they are {step:.4g} eV apart; widen it")
    return start, stop


def _text(window: Window) -> str:
    return f"{window[0]:g} … {window[1]:g} eV"
