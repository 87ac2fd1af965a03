"""What the user reads when a reconstruction fails: a napari notification with the remedy. Never a dialog."""

from __future__ import annotations

import html
import logging
import traceback
from typing import Any

from napari.utils.notifications import ErrorNotification, notification_manager

from napari_invrecon.plugin.bug_report import bug_report, copy_text

logger = logging.getLogger(__name__)


def explain(error: BaseException) -> str:
    """One sentence on what went wrong and one on what to do; an error that already says both is left as it is."""
    said = str(error).strip()
    if isinstance(error, MemoryError):
        return f"not enough memory{f' ({said})' if said else ''}: crop the data, bin them, or close other layers"
    if type(error).__module__.partition(".")[0] in ("numba", "llvmlite"):
        return f"numba could not compile a kernel: {_first_line(said)}. Update it with pip install -U numba"
    if isinstance(error, (ValueError, TypeError, OSError, ImportError)) and said:
        return said
    name = type(error).__name__
    return f"unexpected {name}{f': {said}' if said else ''}. View Traceback shows where; please report it with the data"


def notify_failure(task: str, error: BaseException, settings: Any = None) -> None:
    """Show "<task> failed: …" in napari and log it, with the traceback and a bug report one click away.

    ``settings`` of the run, a dataclass, go into the bug report. Not through ``notification_manager.receive_error``,
    which ends the program on a KeyboardInterrupt.
    """
    failure = _Failure(f"{task} failed: {explain(error)}", error, settings)
    logger.error("%s\n%s", failure.message, failure.as_text())
    notification_manager.dispatch(failure)


class _Failure(ErrorNotification):
    """Keeps the text of the traceback and takes the traceback off the error.

    napari stores every notification for the session; a traceback would keep the arrays of the failed run with it.
    """

    def __init__(self, message: str, error: BaseException, settings: Any) -> None:
        super().__init__(error)
        self.message = message
        self._text = "".join(traceback.format_exception(error))
        report = bug_report(message, self._text, settings)
        self.actions = (("Copy bug report", lambda _: copy_text(report)),)
        chain: list[BaseException | None] = [error]
        while chain:
            link = chain.pop()
            if link is not None and link.__traceback__ is not None:
                link.__traceback__ = None
                chain += [link.__cause__, link.__context__]

    def as_text(self) -> str:
        """What "View Traceback" shows."""
        return self._text

    def as_html(self) -> str:
        """The same for HTML."""
        return f"<pre>{html.escape(self._text)}</pre>"

    def __str__(self) -> str:
        """What is printed to the console."""
        return f"{self._text}{self.message}"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given").rstrip(".")
