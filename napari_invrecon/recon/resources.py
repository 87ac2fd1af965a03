"""What of this computer a reconstruction may use: threads, and a folder for results larger than memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Resources:
    """``threads``: at most so many, None: one for each core; ``scratch``: None: the system's temporary folder."""

    threads: int | None = None
    scratch: Path | None = None


_in_use = Resources()


def use(resources: Resources) -> None:
    """Set what runs that start from now on may use; a pool of threads that exists keeps its size."""
    global _in_use
    _in_use = resources


def threads() -> int:
    """How many threads a kernel or a transform may use: the cores of this process, or fewer if so limited."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if _in_use.threads is None else max(1, min(cores, _in_use.threads))


def scratch() -> Path | None:
    """Where results larger than memory go; None: the system's temporary folder."""
    return _in_use.scratch
