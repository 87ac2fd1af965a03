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


def has_room(task: str, needed_gb: float, run_within: Callable[[float], None]) -> str:
    """Empty if a run that needs so much may start; else why not, and a notification offers to run it in blocks.

    ``run_within(memory_gb)``, a method of the dock, is what its button calls; the notification does not keep the dock.
    """
    free = free_gb()
    if needed_gb <= free:
        return ""
    less = max(_LEAST_GB, float(f"{_SHARE * free:.2g}"))
    dock = weakref.WeakMethod(run_within)

    def press(_: object) -> None:
        method = dock()
        if method is not None:
            method(less)

    why = f"{task} needs about {in_gb(needed_gb)} of memory, and {in_gb(free)} are free"
    notification_manager.dispatch(
        Notification(
            f"{why}: close other layers or programs, crop or bin the data, or run it within {in_gb(less)}, in blocks, "
            "the result in a file if it is large (Working memory, under Advanced)",
            NotificationSeverity.WARNING,
            actions=((f"Run within {in_gb(less)}", press),),
        )
    )
    return f"not started: {why}"


def in_gb(gb: float) -> str:
    """ "1.3 GB", "210 MB"."""
    return f"{gb:.2g} GB" if gb >= 0.95 else f"{max(1, round(1000 * gb)):d} MB"
