"""The bridge between a reconstruction and Qt: every way in which one can end, and every way in which a window can."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import warnings
import weakref

import numba
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QObject, QThread, QThreadPool, QTimer
from qtpy.QtWidgets import QApplication, QVBoxLayout, QWidget

from napari_invrecon.plugin import worker
from napari_invrecon.plugin.failure import notify_failure
from napari_invrecon.plugin.widgets.run_row import RunRow
from napari_invrecon.plugin.worker import LatestOnly, Run
from napari_invrecon.recon.solvers import Iterate

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("threads_end")]


class NotAnException(BaseException):
    """What `except Exception` does not catch."""


class TakesTwo(Exception):  # noqa: N818
    """What cannot be made again from its own args."""

    def __init__(self, a, b):
        super().__init__()
        self.both = (a, b)


FAILURES = [
    ValueError("layer 'tilts' has no tilt angles: open its .rawtlt"),
    RuntimeError("vanishes in superqt's own worker"),
    TypeError("t"),
    MemoryError(),
    OSError(28, "No space left on device"),
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
    NotAnException("n"),
    TakesTwo(1, 2),
    np.linalg.LinAlgError("singular"),
]


@pytest.fixture
def owner(qtbot):
    """What owns the runs, as a dock would."""
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


def attach(run):
    """What a run says, in the order in which it says it."""
    told = []
    run.progressed.connect(lambda iterate: told.append(("progressed", iterate)))
    run.succeeded.connect(lambda result: told.append(("succeeded", result)))
    run.failed.connect(lambda failure: told.append(("failed", failure)))
    run.cancelled.connect(lambda: told.append(("cancelled", None)))
    run.finished.connect(lambda: told.append(("finished", None)))
    return told


def ends(told):
    return [name for name, _ in told if name != "progressed"]


def finish(qtbot, run, make_steps):
    with qtbot.waitSignal(run.finished, timeout=20000):
        run.start(make_steps)


def endless(gate=None, cleaned=None, x=None):
    """Iterates until it is stopped or told to finish."""
    step = 0
    try:
        while True:
            step += 1
            if gate is not None:
                gate.wait(10)
            else:
                time.sleep(0.001)
            if (yield Iterate(step, 1_000_000, x)):
                return ("kept", step)
    finally:
        if cleaned is not None:
            cleaned.append(threading.get_ident())


def test_result_comes_in_the_gui_thread_from_another(qtbot, owner):
    gui, worked, heard = threading.get_ident(), [], []

    def make():
        worked.append(threading.get_ident())
        return steps()

    def steps():
        worked.append(threading.get_ident())
        yield Iterate(1, 2)
        yield Iterate(2, 2)
        return "result"

    run = Run(owner)
    told = attach(run)
    for signal in (run.progressed, run.succeeded, run.finished):
        signal.connect(lambda *_: heard.append(QThread.currentThread() is QApplication.instance().thread()))
    finish(qtbot, run, make)
    assert ends(told) == ["succeeded", "finished"]
    assert told[-2] == ("succeeded", "result")
    assert told[-3] == ("progressed", Iterate(2, 2)), "the last iterate is shown before the end"
    assert len(set(worked)) == 1
    assert gui not in worked
    assert all(heard)


def test_result_of_none_is_a_success(qtbot, owner):
    run = Run(owner)
    told = attach(run)
    finish(qtbot, run, lambda: (i for i in ()))
    assert told == [("succeeded", None), ("finished", None)]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("where", ["making", "first step", "later", "clean-up after cancel"])
def test_every_failure_is_told_once_and_the_run_can_start_again(qtbot, owner, failure, where):
    def make():
        if where == "making":
            raise failure
        return steps()

    def steps():
        if where == "first step":
            raise failure
        try:
            while True:
                yield Iterate(1, 10)
                if where == "later":
                    raise failure
        finally:
            if where == "clean-up after cancel":
                raise failure

    run = Run(owner)
    told = attach(run)
    if where == "clean-up after cancel":
        run.progressed.connect(lambda _: run.cancel())
    finish(qtbot, run, make)
    if where == "clean-up after cancel" and isinstance(failure, GeneratorExit):
        assert ends(told) == ["cancelled", "finished"], "a generator that ends as it was asked to"
    else:
        assert ends(told) == ["failed", "finished"]
        assert told[-2][1] is failure
    finish(qtbot, run, lambda: (i for i in ()))
    assert ends(told)[-2:] == ["succeeded", "finished"]


def test_stop_iteration_inside_is_a_failure_not_an_end(qtbot, owner):
    def make():
        raise StopIteration("not the end of a generator")

    run = Run(owner)
    told = attach(run)
    finish(qtbot, run, make)
    assert ends(told) == ["failed", "finished"]


def test_numba_failure(qtbot, owner):
    @numba.njit
    def kernel(x):
        return x + "a string"

    def steps():
        yield Iterate(0, 1)
        kernel(np.zeros(3, np.float32))

    run = Run(owner)
    told = attach(run)
    finish(qtbot, run, steps)
    assert ends(told) == ["failed", "finished"]
    assert isinstance(told[-2][1], numba.core.errors.TypingError)


def test_a_function_that_makes_no_generator_is_named(qtbot, owner):
    run = Run(owner, task="Deconvolve")
    told = attach(run)
    finish(qtbot, run, lambda: np.zeros(3))
    assert isinstance(told[0][1], TypeError)
    assert "Deconvolve gave a ndarray: expected a generator of Iterate" in str(told[0][1])


def test_cancel_closes_the_generator_in_its_own_thread(qtbot, owner):
    cleaned = []
    run = Run(owner)
    told = attach(run)
    run.start(lambda: endless(cleaned=cleaned))
    qtbot.waitUntil(lambda: bool(told))
    with qtbot.waitSignal(run.finished):
        run.cancel()
    assert ends(told) == ["cancelled", "finished"]
    assert cleaned
    assert cleaned[0] != threading.get_ident()


def test_cancel_waits_for_the_yield_of_a_long_step(qtbot, owner):
    gate = threading.Event()
    run = Run(owner)
    told = attach(run)
    entered = threading.Event()

    def slow():
        entered.set()
        return (yield from endless(gate))

    run.start(slow)
    qtbot.waitUntil(entered.is_set)
    run.cancel()
    run.cancel()
    qtbot.wait(150)
    assert run.running
    assert not told
    with qtbot.waitSignal(run.finished):
        gate.set()
    assert ends(told) == ["cancelled", "finished"]
    assert not run.running


def test_cancel_drops_a_result_that_is_already_there(qtbot, owner):
    returned = threading.Event()

    def steps():
        yield Iterate(1, 1)
        returned.set()
        return "too late"

    run = Run(owner)
    told = attach(run)
    run.start(steps)
    assert QThreadPool.globalInstance().waitForDone(2000) or returned.wait(2)
    if not returned.wait(0):  # superqt starts the thread from the event loop when one is running
        qtbot.waitUntil(returned.is_set)
    run.cancel()
    qtbot.waitUntil(lambda: "finished" in ends(told))
    assert ends(told) == ["cancelled", "finished"]


def test_done_returns_what_there_is(qtbot, owner):
    run = Run(owner)
    told = attach(run)
    run.start(endless)
    qtbot.waitUntil(lambda: bool(told))
    with qtbot.waitSignal(run.finished):
        run.done()
    assert ends(told) == ["succeeded", "finished"]
    assert told[-2][1][0] == "kept"


def test_done_is_repeated_for_a_generator_with_stages(qtbot, owner):
    def stages():
        yield from endless()
        return (yield from endless())

    run = Run(owner)
    told = attach(run)
    run.start(stages)
    run.done()  # before the first yield
    qtbot.waitUntil(lambda: "finished" in ends(told))
    assert ends(told) == ["succeeded", "finished"]
    assert told[-2][1] == ("kept", 1)


def test_a_flood_of_iterates_leaves_the_gui_free(qtbot, owner):
    seconds = []

    def flood():
        start, step = time.monotonic(), 0
        while step < 20_000 or time.monotonic() - start < 1:
            step += 1
            yield Iterate(step, 10**9)
        seconds.append(time.monotonic() - start)
        yield Iterate(10**9, 10**9)

    ticks = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(10)
    run = Run(owner)
    told = attach(run)
    finish(qtbot, run, flood)
    timer.stop()
    shown = [iterate.step for name, iterate in told if name == "progressed"]
    assert 1 < len(shown) <= 20 * seconds[0] + 3
    assert shown == sorted(set(shown)), "each newer than the one before"
    assert shown[-1] == 10**9, "the last one is not lost"
    assert len(ticks) > 10, "the event loop has gone on"


def test_the_array_of_an_iterate_is_not_copied(qtbot, owner):
    x = np.zeros((64, 64), np.float32)
    run = Run(owner)
    told = attach(run)

    def steps():
        yield Iterate(1, 1, x)

    finish(qtbot, run, steps)
    assert told[0][1].x is x


def test_two_at_once(qtbot, owner):
    first, second = Run(owner), Run(owner)
    told = attach(first), attach(second)
    first.start(endless)
    second.start(endless)
    qtbot.waitUntil(lambda: all(told))
    first.cancel()
    second.done()
    qtbot.waitUntil(lambda: not first.running and not second.running)
    assert ends(told[0]) == ["cancelled", "finished"]
    assert ends(told[1]) == ["succeeded", "finished"]


def test_a_second_start_is_refused_until_the_first_has_finished(qtbot, owner):
    run = Run(owner)
    told = attach(run)
    run.start(endless)
    with pytest.raises(RuntimeError, match="wait for it to finish, or cancel"):
        run.start(endless)
    with qtbot.waitSignal(run.finished):
        run.cancel()
    finish(qtbot, run, lambda: (i for i in ()))
    assert ends(told) == ["cancelled", "finished", "succeeded", "finished"]


def test_start_from_the_slot_of_finished(qtbot, owner):
    run = Run(owner)
    told = attach(run)
    left = [1, 2, 3]

    def again():
        if left:
            left.pop()
            run.start(lambda: (i for i in ()))

    run.finished.connect(again)
    run.start(lambda: (i for i in ()))
    qtbot.waitUntil(lambda: ends(told).count("finished") == 4)
    assert ends(told).count("succeeded") == 4


def test_warnings_reach_napari_and_overlapping_runs_leave_the_hook_alone(qtbot, owner):
    hook, filters = warnings.showwarning, list(warnings.filters)
    first_in, second_in = threading.Event(), threading.Event()

    def early():
        first_in.set()
        second_in.wait(5)
        warnings.warn("odd PSF one", UserWarning, stacklevel=1)
        yield Iterate(1, 1)

    def late():
        first_in.wait(5)
        second_in.set()
        time.sleep(0.1)
        warnings.warn("odd PSF two", UserWarning, stacklevel=1)
        yield Iterate(1, 1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with notification_manager:
            runs = Run(owner), Run(owner)
            told = [attach(run) for run in runs]
            runs[0].start(early)
            runs[1].start(late)
            qtbot.waitUntil(lambda: not any(run.running for run in runs))
    assert [ends(each) for each in told] == [["succeeded", "finished"]] * 2
    said = [str(record.message) for record in notification_manager.records]
    assert {"odd PSF one", "odd PSF two"} <= set(said)
    assert warnings.showwarning is hook
    assert warnings.filters == filters


@pytest.mark.parametrize("end", ["succeeds", "fails", "is cancelled"])
def test_nothing_is_kept_once_it_is_over(qtbot, owner, make_napari_viewer, end):
    """Neither napari's list of tasks nor its list of notifications holds on to an array."""
    viewer = make_napari_viewer()
    alive = []

    def make_one():
        source = np.zeros((8, 8), np.float32)
        alive.append(weakref.ref(source))

        def steps():
            x = source + 1
            alive.append(weakref.ref(x))
            while True:
                yield Iterate(1, 9, x)
                if end == "fails":
                    raise ValueError("no")
                if end == "succeeds":
                    return x

        return steps

    run = Run(owner, task="Deconvolve")
    run.failed.connect(lambda failure: notify_failure("Deconvolve", failure))
    if end == "is cancelled":
        run.progressed.connect(lambda _: run.cancel())
    finish(qtbot, run, make_one())
    qtbot.wait(20)
    gc.collect()
    assert len(alive) == 2
    assert [each() for each in alive] == [None, None]
    assert not viewer.window._task_status_manager.is_busy()
    notification_manager.records.clear()


def test_napari_knows_what_runs_so_that_it_can_ask_before_it_closes(qtbot, owner, make_napari_viewer):
    manager = make_napari_viewer().window._task_status_manager
    named, preview = Run(owner, task="Tomography"), Run(owner)
    preview.start(endless)
    qtbot.wait(50)
    assert manager.get_status() == []
    named.start(endless)
    qtbot.waitUntil(lambda: manager.get_status() == ["napari-worker: Executing Tomography"])
    manager.cancel_all()
    qtbot.waitUntil(lambda: not named.running)
    assert manager.get_status() == []
    preview.cancel()
    qtbot.waitUntil(lambda: not preview.running)


def test_viewer_closed_in_the_middle(qtbot, make_napari_viewer):
    viewer = make_napari_viewer()
    cleaned, results, told = [], [], []
    dock = QWidget()
    row = RunRow(dock, task="Deconvolve")
    QVBoxLayout(dock).addWidget(row)
    viewer.window.add_dock_widget(dock)
    row.progressed.connect(told.append)
    row.start(lambda: endless(cleaned=cleaned), results.append)
    qtbot.waitUntil(lambda: bool(told))
    viewer.close()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    del row, dock, viewer
    assert QThreadPool.globalInstance().waitForDone(5000)
    assert len(cleaned) == 1
    heard = len(told)
    qtbot.wait(200)
    assert len(told) == heard
    assert not results


def test_dock_closed_in_the_middle_of_a_long_step(qtbot, make_napari_viewer):
    viewer = make_napari_viewer()
    gate, cleaned = threading.Event(), []
    row = RunRow(task="Deconvolve")
    docked = viewer.window.add_dock_widget(row)
    row.start(lambda: endless(gate, cleaned))
    qtbot.wait(50)
    viewer.window.remove_dock_widget(docked)
    row.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gate.set()
    qtbot.waitUntil(lambda: bool(cleaned))
    qtbot.wait(50)
    assert not viewer.window._task_status_manager.is_busy()


@pytest.mark.parametrize("how", ["itself", "its owner"])
def test_deleted_run_cancels_its_generator(qtbot, how):
    cleaned, told = [], []
    parent = QObject()
    run = Run(parent)
    run.progressed.connect(told.append)
    run.start(lambda: endless(cleaned=cleaned))
    qtbot.waitUntil(lambda: bool(told))
    (run if how == "itself" else parent).deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    qtbot.waitUntil(lambda: bool(cleaned))


CLOSE_IN_THE_MIDDLE = """
import sys, time
import napari
from qtpy.QtCore import QTimer
from napari_invrecon.plugin.widgets.run_row import RunRow
from napari_invrecon.recon.solvers import Iterate

viewer = napari.Viewer(show_welcome_screen=False)
row = RunRow(task="Deconvolve")
viewer.window.add_dock_widget(row)

def steps():
    try:
        while True:
            time.sleep(0.2)
            yield Iterate(1, 10)
    finally:
        sys.stderr.write("cleaned up\\n")

row.progressed.connect(lambda _: QTimer.singleShot(0, viewer.close if sys.argv[1] == "close" else quit_napari))

def quit_napari():
    from napari._qt.qt_event_loop import quit_app
    quit_app()

QTimer.singleShot(100, lambda: row.start(steps))
napari.run()
sys.stderr.write("ended\\n")
"""


@pytest.mark.parametrize("how", ["close", "quit"])
def test_a_program_whose_window_is_closed_in_the_middle_ends_by_itself(how):
    ended = subprocess.run(
        [sys.executable, "-c", CLOSE_IN_THE_MIDDLE, how], capture_output=True, text=True, timeout=90, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "cleaned up" in ended.stderr
    assert "ended" in ended.stderr
    assert "Error" not in ended.stderr
    assert "QThread" not in ended.stderr


def test_latest_only_computes_the_last_of_a_burst(qtbot, owner):
    made, ready = [], []
    preview = LatestOnly(owner)
    preview.ready.connect(ready.append)

    def request(number):
        def steps():
            made.append(number)
            yield Iterate(1, 1)
            return number

        preview.request(steps)

    for number in range(50):
        request(number)
    assert preview.busy
    qtbot.waitUntil(lambda: bool(ready))
    qtbot.wait(300)
    assert made == [49]
    assert ready == [49]
    assert not preview.busy


def test_latest_only_replaces_the_running_one_and_never_runs_two(qtbot, owner):
    at_work, most, ready, failed = [], [], [], []
    preview = LatestOnly(owner)
    preview.ready.connect(ready.append)
    preview.failed.connect(failed.append)

    def request(number, fails=False):
        def steps():
            at_work.append(number)
            most.append(len(at_work))
            try:
                for step in range(200):
                    time.sleep(0.002)
                    yield Iterate(step, 200)
                return number
            finally:
                at_work.remove(number)
                if fails:
                    raise ValueError("of a request that has been replaced")

        preview.request(steps)

    for number in range(4):
        request(number, fails=number < 3)
        qtbot.wait(220)
    qtbot.waitUntil(lambda: bool(ready), timeout=10000)
    assert max(most) == 1
    assert len(most) > 1, "the earlier ones have been started"
    assert ready == [3]
    assert not failed


def test_latest_only_that_follows_shows_some_on_the_way_and_always_the_last(qtbot, owner):
    at_work, most, ready = [], [], []
    preview = LatestOnly(owner, follow=True)
    preview.ready.connect(ready.append)

    def request(number):
        def steps():
            at_work.append(number)
            most.append(len(at_work))
            time.sleep(0.03)
            yield Iterate(1, 1)
            at_work.remove(number)
            return number

        preview.request(steps)

    for number in range(60):  # closer together than one takes, and than the pause of one that does not follow
        request(number)
        qtbot.wait(10)
    qtbot.waitUntil(lambda: not preview.busy, timeout=10_000)
    assert max(most) == 1
    assert ready[-1] == 59
    assert 2 < len(ready) < 60
    assert ready == sorted(ready)


def test_latest_only_that_follows_stops_what_takes_long(qtbot, owner, monkeypatch):
    monkeypatch.setattr(worker, "_PATIENCE_S", 0.2)
    started, ready = [], []
    preview = LatestOnly(owner, follow=True)
    preview.ready.connect(ready.append)

    def request(number, n_steps):
        def steps():
            started.append(number)
            for step in range(n_steps):
                time.sleep(0.005)
                yield Iterate(step, n_steps)
            return number

        preview.request(steps)

    request(0, 100_000)
    qtbot.wait(500)
    request(1, 2)
    qtbot.waitUntil(lambda: bool(ready), timeout=10_000)
    assert (started, ready) == ([0, 1], [1])


def test_latest_only_waits_for_a_long_step_and_keeps_only_the_newest(qtbot, owner):
    gate, made, ready = threading.Event(), [], []
    preview = LatestOnly(owner)
    preview.ready.connect(ready.append)

    def request(number):
        def steps():
            made.append(number)
            gate.wait(5)
            yield Iterate(1, 1)
            return number

        preview.request(steps)

    request(0)
    qtbot.waitUntil(lambda: made == [0])
    for number in (1, 2, 3):
        request(number)
        qtbot.wait(200)
    assert made == [0]
    gate.set()
    qtbot.waitUntil(lambda: bool(ready))
    assert made == [0, 3]
    assert ready == [3]


def test_latest_only_tells_the_failure_of_the_newest_and_nothing_after_cancel(qtbot, owner):
    failed, ready = [], []
    preview = LatestOnly(owner)
    preview.failed.connect(failed.append)
    preview.ready.connect(ready.append)

    def bad():
        yield Iterate(1, 1)
        raise RuntimeError("r")

    preview.request(bad)
    qtbot.waitUntil(lambda: len(failed) == 1)
    preview.request(endless)
    preview.cancel()
    qtbot.wait(250)
    preview.request(endless)
    qtbot.waitUntil(lambda: preview._run.running)
    preview.cancel()
    qtbot.waitUntil(lambda: not preview.busy)
    assert len(failed) == 1
    assert not ready


def test_latest_only_deleted_in_the_middle(qtbot):
    cleaned = []
    owner = QWidget()
    preview = LatestOnly(owner)
    preview.request(lambda: endless(cleaned=cleaned))
    qtbot.wait(300)
    owner.deleteLater()
    del owner, preview
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    qtbot.waitUntil(lambda: bool(cleaned))


def test_start_and_end_are_logged(qtbot, owner, caplog):
    def steps(error=None):
        yield Iterate(1, 2)
        if error is not None:
            raise error

    with caplog.at_level("DEBUG", logger="napari_invrecon"):
        for task, error in (("Deconvolve", None), ("Deconvolve", ValueError("no")), ("", None)):
            run = Run(owner, task=task)
            with qtbot.waitSignal(run.finished):
                run.start(lambda error=error: steps(error))
    said = [(each.levelname, each.getMessage().partition(" after")[0]) for each in caplog.records]
    assert said == [
        ("INFO", "Deconvolve: started"),
        ("INFO", "Deconvolve: done"),
        ("INFO", "Deconvolve: started"),
        ("INFO", "Deconvolve: failed with ValueError: no"),
        ("DEBUG", "preview: started"),
        ("DEBUG", "preview: done"),
    ]
    assert not any(each.exc_info for each in caplog.records), "a log that keeps its records keeps no arrays"
