"""Whether a run fits into the memory that is free; if not, a way to run it in less."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import psutil
from napari.utils.notifications import Notification, NotificationSeverity, notification_manager

if TYPE_CHECKING:
    from collections.abc import Callable

_SHARE = 0.6  # of what is free: the window and other programs need some, too
_LEAST_GB = 0.1


def free_gb() -> float:
    """Memory that can be had without swapping, in GB."""
    return float(psutil.virtual_memory().available) / 1e9


def has_room(task: str, needed_gb: float, run_within: Callable[[float], None] | None = None) -> str:
    """Empty if a run that needs so much may start; else why not, and a notification offers to run it in blocks.

    ``run_within(memory_gb)``, a method of the dock, is what its button calls; the notification does not keep the dock.
    Without it there is no button: the run has no blocks.
    """
    free = free_gb()
    if needed_gb <= free:
        return ""
    why = f"{task} needs about {in_gb(needed_gb)} of memory, and {in_gb(free)} are free"
    remedy = "close other layers or programs, crop or bin the data"
    if run_within is None:
        _warn(f"{why}: {remedy}, or do less at a time")
    else:
        less = max(_LEAST_GB, float(f"{_SHARE * free:.2g}"))
        within = f"run it within {in_gb(less)}, in blocks (Working memory, under Advanced)"
        _warn(f"{why}: {remedy}, or {within}", _offer(less, run_within))
    return f"not started: {why}"


def _offer(less: float, run_within: Callable[[float], None]) -> tuple[str, Callable[[object], None]]:
    """The button: what it says, and what it does."""
    dock = weakref.WeakMethod(run_within)

    def press(_: object) -> None:
        method = dock()
        if method is not None:
            method(less)

    return f"Run within {in_gb(less)}", press


def _warn(message: str, *actions: tuple[str, Callable[[object], None]]) -> None:
    notification_manager.dispatch(Notification(message, NotificationSeverity.WARNING, actions=actions))


def in_gb(gb: float) -> str:
    """ "1.3 GB", "210 MB"."""
    return f"{gb:.2g} GB" if gb >= 0.95 else f"{max(1, round(1000 * gb)):d} MB"
