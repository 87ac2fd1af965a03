"""The one bridge between a reconstruction, which is a generator of `Iterate`, and Qt.

    run = Run(parent, task="Deconvolve")
    run.progressed.connect(show)          # Iterate, at most 20 a second, the newest one
    run.succeeded.connect(add_layer)      # Reconstruction
    run.failed.connect(notify)            # BaseException of any type
    run.start(lambda: deconvolution(image, psf, settings))

The generator is made, advanced, closed and freed in a thread of Qt's global pool; every signal comes in the GUI thread.
Nothing that crosses the threads is a Qt signal with a payload: an outcome waits on the worker until the GUI fetches it,
so a closed window, an exception that Qt cannot carry, and 10,000 iterates a second are all harmless.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from napari.qt.threading import WorkerBase, WorkerBaseSignals, create_worker
from qtpy.QtCore import QObject, QTimer, Signal, Slot

from napari_invrecon.recon.solvers import Iterate, Steps

logger = logging.getLogger(__name__)

MakeSteps = Callable[[], Steps[Any]]

_PROGRESS_MS = 50
_DEBOUNCE_MS = 40
_PATIENCE_S = 2.0


class _Signals(WorkerBaseSignals):
    """A worker's half in the GUI thread, with a slot for the end of the `Run` that owns the worker.

    A slot of a living QObject, not a function: PyQt6 calls a function that is connected to ``destroyed`` even after
    the garbage collector has emptied it, and the process ends.
    """

    owner_is_gone = False

    @Slot()
    def release(self) -> None:
        self.owner_is_gone = True


class _Worker(WorkerBase):
    """One generator in one thread of the pool. Being a `WorkerBase`, napari asks it to quit, and waits, at its exit."""

    signals: _Signals

    def __init__(self, task: str) -> None:
        super().__init__(SignalsClass=_Signals)
        self.task = task
        self.make_steps: MakeSteps | None = None
        self.newest: Iterate | None = None
        self.result: Any = None
        self.failure: BaseException | None = None
        self.finish_requested = False

    @property
    def abort_requested(self) -> bool:
        """Whether anyone, or the lack of an owner, asks to stop."""
        return self._abort_requested or self.signals.owner_is_gone

    def run(self) -> None:
        """Overrides all of superqt's run.

        That one drops a RuntimeError without any signal, cannot carry some exceptions on PySide6, lets anything that
        is not an Exception through (which aborts the process on PyQt6), and wraps the work in
        ``warnings.catch_warnings``, which leaves the process with a dead warning hook when two workers overlap.
        """
        self._running = True
        # A signal has lost its source only when the application is gone; then nobody waits for it either.
        with suppress(RuntimeError):
            self.started.emit()
        try:
            self._work()
        except BaseException as error:
            self.failure = error
        self._running = False
        with suppress(RuntimeError):
            self.finished.emit()
            self._finished.emit(self)

    def _work(self) -> None:
        """Advance the generator to its end or to a request to stop; its clean-up runs here, in the same thread."""
        make_steps, self.make_steps = self.make_steps, None
        if make_steps is None or self.abort_requested:
            return
        steps = make_steps()
        if not (hasattr(steps, "send") and hasattr(steps, "close")):
            raise TypeError(
                f"{self.task} gave a {type(steps).__name__}: expected a generator of Iterate; "
                "pass a function that makes the generator, such as lambda: deconvolution(image, psf, settings)"
            )
        try:
            answer: bool | None = None
            while not self.abort_requested:
                try:
                    self.newest = steps.send(answer)
                except StopIteration as end:
                    self.result = end.value
                    return
                answer = True if self.finish_requested else None
        finally:
            steps.close()


class Run(QObject):
    """Runs one reconstruction at a time and reports in the GUI thread; may be started again after it has finished.

    Exactly one of ``succeeded(result)``, ``failed(exception)`` and ``cancelled()`` comes, and then ``finished()``.
    ``progressed(Iterate)`` comes at most 20 times a second with the newest iterate, and with the last one before the
    end. Its ``x`` is the solver's own array, not a copy: the solver may write on.

    Deleting the object (its window is closed) cancels the generator and silences all signals.

    Parameters
    ----------
    parent
        The widget that owns the run. Without one the garbage collector would own it, which deletes it in whichever
        thread it happens to work, and on PySide6 the process ends.
    task
        Its name, with which napari asks before it closes a window in the middle of it. Empty: napari does not ask.
    """

    progressed = Signal(object)
    succeeded = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    finished = Signal()

    def __init__(self, parent: QObject, *, task: str = "") -> None:
        super().__init__(parent)
        self._task = task
        # Previews are many and of no consequence.
        self._named, self._level = (task, logging.INFO) if task else ("preview", logging.DEBUG)
        self._started = 0.0
        self._shown: Iterate | None = None
        self._worker: _Worker | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_PROGRESS_MS)
        self._timer.timeout.connect(self._show_newest)

    @property
    def running(self) -> bool:
        """Whether a generator is at work, or waits for its thread."""
        return self._worker is not None

    @property
    def seconds(self) -> float:
        """Since the last start."""
        return time.monotonic() - self._started

    def start(self, make_steps: MakeSteps) -> None:
        """Call ``make_steps`` in a thread and run the generator that it gives.

        Raises
        ------
        RuntimeError
            If the last one has not finished.
        """
        if self._worker is not None:
            raise RuntimeError("a reconstruction is running here: wait for it to finish, or cancel it first")
        worker = self._new_worker()
        worker.make_steps = make_steps
        worker.finished.connect(self._finish)
        self.destroyed.connect(worker.signals.release)
        self._worker, self._shown, self._started = worker, None, time.monotonic()
        logger.log(self._level, "%s: started", self._named)
        self._timer.start()
        worker.start()

    def cancel(self) -> None:
        """Stop at the next yield and drop the result, even one that has come in the meantime."""
        if self._worker is not None:
            self._worker.quit()

    def done(self) -> None:
        """Ask the generator, at its next yield and each one after it, to return with what it has."""
        if self._worker is not None:
            self._worker.finish_requested = True

    def _new_worker(self) -> _Worker:
        if not self._task:
            return _Worker("preview")
        # napari lists the worker among the tasks of its window, for good: so the worker keeps nothing once it is done.
        return create_worker(self._task, _worker_class=_Worker, _start_thread=False, _ignore_errors=True)

    @Slot()
    def _show_newest(self) -> None:
        newest = None if self._worker is None else self._worker.newest
        if newest is not None and newest is not self._shown:
            self._shown = newest
            self.progressed.emit(newest)

    @Slot()
    def _finish(self) -> None:
        self._timer.stop()
        self._show_newest()
        worker, self._worker = self._worker, None
        assert worker is not None
        self.destroyed.disconnect(worker.signals.release)
        result, failure, stopped = worker.result, worker.failure, worker.abort_requested
        worker.result = worker.failure = worker.newest = self._shown = None
        outcome = "stopped" if stopped else "done"
        if failure is not None:
            outcome = f"failed with {type(failure).__name__}: {failure}"
        logger.log(self._level, "%s: %s after %.1f s", self._named, outcome, self.seconds)
        if failure is not None:
            self.failed.emit(failure)
        elif stopped:
            self.cancelled.emit()
        else:
            self.succeeded.emit(result)
        self.finished.emit()


class LatestOnly(QObject):
    """Previews: the newest request wins. It cancels the one that runs, and starts when that one has stopped.

    Requests within 40 ms of each other count as one. Never more than one generator runs, never more than one waits,
    and nothing comes of a request that has been replaced, not even its error.

    With ``follow`` a request starts at once, and one that comes while another runs lets it finish if it has begun less
    than 2 s ago: what is quick enough is shown on the way, however fast requests come.
    """

    ready = Signal(object)
    failed = Signal(object)
    progressed = Signal(object)
    """As of `Run`."""

    def __init__(self, parent: QObject, *, follow: bool = False) -> None:
        super().__init__(parent)
        self._follow = follow
        self._waiting: MakeSteps | None = None
        self._replaced = False
        self._run = Run(self)
        self._run.progressed.connect(self.progressed)
        self._run.succeeded.connect(self.ready)
        self._run.failed.connect(self._fail)
        self._run.finished.connect(self._start)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_DEBOUNCE_MS)
        self._pause.timeout.connect(self._start)

    @property
    def busy(self) -> bool:
        """Whether a preview is being computed, or is about to be."""
        return self._run.running or self._waiting is not None

    def request(self, make_steps: MakeSteps) -> None:
        """Replace whatever runs or waits by this."""
        if not (self._follow and self._run.running and self._run.seconds < _PATIENCE_S):
            self.cancel()
        self._waiting = make_steps
        if self._follow:
            self._start()  # before the window is drawn again
        else:
            self._pause.start()

    def cancel(self) -> None:
        """Drop what waits and stop what runs; nothing comes of it."""
        self._waiting = None
        self._pause.stop()
        self._replaced = self._run.running
        self._run.cancel()

    @Slot()
    def _start(self) -> None:
        if self._waiting is None or self._run.running or self._pause.isActive():
            return
        make_steps, self._waiting, self._replaced = self._waiting, None, False
        self._run.start(make_steps)

    @Slot(object)
    def _fail(self, failure: BaseException) -> None:
        if not self._replaced:
            self.failed.emit(failure)
