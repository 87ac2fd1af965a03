"""RosettaSciIO's readers in a process of their own, which a damaged file may crash, fill or keep busy.

Its compiled decoder of .bcf leaves its arrays on damaged data, and its parser of .dm3 believes counts of 2³¹: here the
first ends the other process, and the second its time. The process is kept for the next file, and ends with this one.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

_KEPT = ("data", "axes", "metadata", "original_metadata")

# (signals, what the reader warned of)
Signals = tuple[list[dict[str, Any]], list[str]]

_SECONDS, _SECONDS_A_MIB = 4.0, 0.5  # of the processor
_WALL = 15  # times as much, for a busy machine or a slow drive
_DEATH_SECONDS = 1.0
_START_SECONDS = 60.0  # more where the process has to start, which loads its libraries
_MEMORY, _MEMORY_A_BYTE = 768 * 2**20, 64

_lock = threading.Lock()
_child: subprocess.Popen[bytes] | None = None


def signals(module: str, path: Path) -> Signals:
    """What a reader of RosettaSciIO makes of a file, eagerly.

    Raises
    ------
    ValueError
        When the reader crashed, needed more than 4 s and 0.5 s a MiB of the processor once it was loaded, or 15 times
        as long by the clock, or more than 768 MiB and 64 times the file's size of memory, or failed in any other way.
        The message says which.
    ImportError
        When the reader is not there, or needs a package that is not.
    """
    with _lock:
        error, found = _ask(module, path)
    if error is not None:
        raise error
    return found


def read_signals(module: str, path: Path, lazy: bool = False) -> Signals:
    """The same in this process, for lazy arrays, which cannot leave it."""
    reader = importlib.import_module(f"rsciio.{module}").file_reader
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = reader(str(path), lazy=lazy)
    # The rest is functions for HyperSpy, which cannot be handed on.
    kept = [{key: each.get(key) for key in _KEPT} for each in found]
    return kept, [str(each.message) for each in caught if issubclass(each.category, UserWarning)]


def _ask(module: str, path: Path) -> tuple[Exception | None, Signals]:
    """The process's answer; where there is none, what became of it, and the next file gets a new one."""
    global _child
    if _child is not None and _child.poll() is not None:
        _stop()
    seconds = _SECONDS + _SECONDS_A_MIB * path.stat().st_size / 2**20
    patience = _WALL * seconds
    if _child is None:
        _child = _start()
        patience += _START_SECONDS
    child = _child
    answers: list[tuple[Exception | None, Signals]] = []
    assert child.stdin is not None

    def receive() -> None:
        try:
            answers.append(pickle.load(child.stdout))  # type: ignore[arg-type]
        except MemoryError as error:  # there is no room for it beside what is here
            answers.append((error, ([], [])))
        except (EOFError, pickle.UnpicklingError):
            pass  # it has died

    with contextlib.suppress(BrokenPipeError):
        pickle.dump((module, str(path), seconds), child.stdin)
        child.stdin.flush()
        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        receiver.join(patience)
    if answers:
        if isinstance(answers[0][0], MemoryError):
            _stop()  # the rest of its answer is still in the pipe
        return answers[0]
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_DEATH_SECONDS)  # its pipe closes a moment before
    ended = child.returncode
    _stop()
    return ValueError(f"{path.name} could not be read: {_what_happened(ended, seconds, patience)}"), ([], [])


def _what_happened(ended: int | None, seconds: float, patience: float) -> str:
    """Why the process gave no answer, and the remedy; ``ended`` is its exit status, None where it still ran."""
    if ended is None:
        return (
            f"its reader was not done after {patience:.0f} s and was stopped. This computer or its drive is very busy, "
            "or the file is damaged: open it again when less is running; if that fails too, copy it again"
        )
    how = signal.Signals(-ended).name if ended < 0 else f"exit status {ended}"
    if how == "SIGPROF":
        return (
            f"its reader was stopped after {seconds:.1f} s of the processor, many times what an intact file of this "
            "size takes. It is damaged, or this computer very busy: open it once more; if that fails too, copy it again"
        )
    if how == "SIGKILL":
        return (
            "the system ended its reader, as it does where memory runs out: close other programs and open it again; if "
            "that fails too, copy it again"
        )
    return f"its reader crashed ({how}). It is damaged: copy it again"


def _start() -> subprocess.Popen[bytes]:
    # Modules come from where this process has them, whatever its working folder.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, "-m", "napari_invrecon.io.rosetta_apart"]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )


@atexit.register
def _stop() -> None:
    global _child
    if _child is not None:
        _child.kill()
        _child.wait()
        for pipe in (_child.stdin, _child.stdout):
            # What it had not taken yet cannot be delivered any more.
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        _child = None


def _serve() -> None:
    """Answer requests from the standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries print
    while True:
        try:
            module, name, seconds = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        path = Path(name)
        with contextlib.suppress(Exception):  # told below
            importlib.import_module(f"rsciio.{module}")  # loads for longer than it reads
        _limit(seconds, _MEMORY + _MEMORY_A_BYTE * path.stat().st_size)
        error: Exception | None = None
        found: Signals = ([], [])
        try:
            found = read_signals(module, path)
        except ImportError as caught:
            error = ImportError(str(caught))
        except MemoryError:
            error = ValueError(f"{path.name} declares more than a file of its size can hold: copy it again")
        except Exception as caught:  # a damaged file makes a parser fail in any way
            error = ValueError(
                f"{path.name} could not be read ({type(caught).__name__}: {caught}): it may be damaged, copy it again"
            )
        _limit(0.0, None)
        try:
            whole = pickle.dumps((error, found), protocol=5)
        except Exception as caught:
            whole = pickle.dumps((ValueError(f"what was read cannot be handed on ({caught})"), ([], [])))
        answers.write(whole)
        answers.flush()


def _limit(seconds: float, more_bytes: int | None) -> None:
    """Let the system end this process after a time, and refuse it memory; on POSIX systems."""
    try:
        import resource
    except ImportError:
        return
    signal.setitimer(signal.ITIMER_PROF, seconds)
    statm = Path("/proc/self/statm")
    if statm.exists():
        in_use = int(statm.read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most if more_bytes is None else in_use + more_bytes, most))


if __name__ == "__main__":
    _serve()
