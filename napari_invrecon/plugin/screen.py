"""A screen for a machine that has none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def screen(size: tuple[int, int] = (1600, 1000)) -> Iterator[bool]:
    """Yield True where the user can see the windows; otherwise run Xvfb for as long as this lasts, and yield False.

    Raises
    ------
    RuntimeError
        When there is no screen and no Xvfb, or Xvfb does not start.
    """
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        yield True
        return
    if shutil.which("Xvfb") is None:
        raise RuntimeError(
            "no screen: neither DISPLAY nor WAYLAND_DISPLAY is set, and there is no Xvfb to stand in for one; "
            "install it (Debian: apt-get install xvfb libgl1-mesa-dri)"
        )
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", f"{size[0]}x{size[1]}x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL)
    os.close(write_end)
    try:
        with os.fdopen(read_end) as answer:
            number = answer.readline().strip()
        if not number:
            raise RuntimeError(f"Xvfb did not start (exit code {process.wait()}): `Xvfb :99` by hand says why")
        os.environ["DISPLAY"] = f":{number}"
        yield False
    finally:
        os.environ.pop("DISPLAY", None)
        process.terminate()
        process.wait()
