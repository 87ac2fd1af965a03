"""The peak resident memory of this process since it was last reset."""

import platform
import resource
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Forget the peak so far, where the system can (Linux)."""
    if CLEAR.exists():
        CLEAR.write_text("5")


def peak_bytes() -> int:
    """Peak resident size in bytes.

    Linux's ru_maxrss of a new process starts at that of its parent, so the process's own high-water mark is read.
    """
    if STATUS.exists():
        return 1024 * read_status("VmHWM")
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def read_status(key: str) -> int:
    """A field of /proc/self/status in KiB."""
    line = next(each for each in STATUS.read_text().splitlines() if each.startswith(key + ":"))
    return int(line.split()[1])
