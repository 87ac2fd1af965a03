"""How long the rest of an iteration takes."""

from __future__ import annotations

from collections import deque
from statistics import median

_WINDOW = 20


class RemainingTime:
    """Remaining time = steps left × median duration of the last 20 steps.

    The median ignores a step that waited for the disk, the window follows a machine that becomes busy, and the first
    step, which compiles, is not counted. A step number that falls, or another number of steps, is a new stage.
    """

    def __init__(self) -> None:
        self._n_steps = 0
        self._last: tuple[int, float] | None = None
        self._first = True
        self._durations: deque[float] = deque(maxlen=_WINDOW)

    def update(self, step: int, n_steps: int, now: float) -> float | None:
        """Seconds left after ``step`` of ``n_steps`` at the time ``now`` in seconds; None while it is not known."""
        if self._last is None or n_steps != self._n_steps or step < self._last[0]:
            self._n_steps, self._last, self._first = n_steps, (step, now), True
            self._durations.clear()
        before, since = self._last
        if step > before:
            if not self._first:
                self._durations.append((now - since) / (step - before))
            self._last, self._first = (step, now), False
        if not self._durations:
            return None
        return max(0, n_steps - step) * median(self._durations)


def in_words(seconds: float) -> str:
    """A duration as short as it can be read: "8 s", "2 min 10 s", "1 h 5 min"."""
    if seconds < 0.5:
        return "< 1 s"
    if seconds < 59.5:
        return f"{round(seconds)} s"
    if seconds < 595:
        minutes, tens = divmod(round(seconds / 10), 6)
        return f"{minutes} min {tens * 10} s" if tens else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
