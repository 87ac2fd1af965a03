"""Run · Cancel · Done · progress, in a real window."""

from __future__ import annotations

import threading
import time

import pytest
from napari.utils.notifications import ErrorNotification, notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDialog, QLineEdit, QVBoxLayout, QWidget

from napari_invrecon.plugin.widgets.run_row import RunRow, describe
from napari_invrecon.recon.solvers import Iterate

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("threads_end")]


def plain(text):
    return text.replace("\u00a0", " ")


@pytest.fixture
def row(qtbot):
    notification_manager.records.clear()  # of other tests
    row = RunRow(task="Deconvolve")
    qtbot.addWidget(row)
    row.results = []
    row.finished.connect(row.results.append)
    return row


@pytest.fixture
def steps():
    """A reconstruction that goes on while ``steps.gate`` is open."""

    class Steps:
        def __init__(self):
            self.gate = threading.Event()
            self.gate.set()

        def __call__(self):
            for step in range(1, 100_000):
                self.gate.wait(10)
                time.sleep(0.002)
                if (yield Iterate(step, 100_000, residual=1.034, objective=3.25)):
                    return f"kept at {step}"

    return Steps()


def states(row):
    return [button.isEnabled() for button in (row.run_button, row.cancel_button, row.done_button)]


def wait_idle(qtbot, row):
    qtbot.waitUntil(lambda: not row.running)


def notified():
    records = [each for each in notification_manager.records if isinstance(each, ErrorNotification)]
    notification_manager.records.clear()
    return [each.message for each in records]


def test_at_rest_each_disabled_button_says_why(row):
    assert states(row) == [True, False, False]
    assert row.run_button.toolTip() == "Deconvolve with the settings above"
    assert row.cancel_button.toolTip() == row.done_button.toolTip() == "Nothing is running"


def test_run_to_the_end(qtbot, row):
    got = []

    def short():
        yield Iterate(0, 2, stage="choosing λ")
        yield Iterate(2, 2)
        return "result"

    with qtbot.waitSignal(row.finished):
        row.start(short, got.append)
    assert got == row.results == ["result"]
    assert states(row) == [True, False, False]
    assert row.status_label.text().startswith("done in")


def test_while_it_runs(qtbot, row, steps):
    steps.gate.clear()
    row.start(steps)
    assert states(row) == [False, True, False]
    assert "is running: wait, or press Cancel or Done" in row.run_button.toolTip()
    assert row.done_button.toolTip() == "There is no iterate to keep yet"
    assert (row.progress_bar.minimum(), row.progress_bar.maximum()) == (0, 0), "busy until the first step is done"
    steps.gate.set()
    qtbot.waitUntil(row.done_button.isEnabled)
    qtbot.waitUntil(lambda: row.status_label.text().endswith("left"))
    assert row.progress_bar.maximum() == 100_000
    assert row.progress_bar.value() > 0
    text = plain(row.status_label.text())
    assert text.startswith(f"iteration {row.progress_bar.value()}/100000 · residual/noise 1.03 · ")
    assert "objective D + λR: 3.25" in row.status_label.toolTip()
    row.cancel_button.click()
    wait_idle(qtbot, row)


def test_cancel_changes_nothing(qtbot, row, steps):
    got = []
    row.start(steps, got.append)
    qtbot.waitUntil(row.done_button.isEnabled)
    steps.gate.clear()
    qtbot.wait(30)
    row.cancel_button.click()
    assert row.status_label.text() == "stopping…"
    assert states(row) == [False, False, False]
    assert row.cancel_button.toolTip() == "Stopping at the end of this step"
    qtbot.wait(120)
    assert row.status_label.text() == "stopping…", "progress that is still on its way does not write over it"
    steps.gate.set()
    wait_idle(qtbot, row)
    assert row.status_label.text() == "cancelled: nothing was changed"
    assert not got
    assert row.results == [None]
    assert notified() == []


def test_done_keeps_the_iterate(qtbot, row, steps):
    got = []
    row.start(steps, got.append)
    qtbot.waitUntil(row.done_button.isEnabled)
    steps.gate.clear()
    row.done_button.click()
    assert states(row) == [False, True, False]
    assert row.done_button.toolTip() == "Finishing with the current iterate"
    steps.gate.set()
    wait_idle(qtbot, row)
    assert got == row.results
    assert got[0].startswith("kept at")


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (ValueError("no tilt angles: open its .rawtlt"), "Deconvolve failed: no tilt angles: open its .rawtlt"),
        (RuntimeError("boom"), "Deconvolve failed: unexpected RuntimeError: boom."),
        (MemoryError(), "Deconvolve failed: not enough memory: crop the data"),
        (KeyboardInterrupt(), "Deconvolve failed: unexpected KeyboardInterrupt."),
        (SystemExit(1), "Deconvolve failed: unexpected SystemExit: 1."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_failure_is_a_notification_and_the_window_lives(qtbot, make_napari_viewer, failure, said):
    viewer = make_napari_viewer(show=True)
    row = RunRow(task="Deconvolve")
    viewer.window.add_dock_widget(row)

    def bad():
        yield Iterate(0, 1)
        raise failure

    notified()
    got = []
    with qtbot.waitSignal(row.finished):
        row.start(bad, got.append)
    messages = notified()
    assert len(messages) == 1
    assert messages[0].startswith(said)
    assert not got
    assert row.status_label.text() == messages[0].removeprefix("Deconvolve ")
    assert row.status_label.toolTip() == row.status_label.text(), "the whole of it, where the line is cut"
    assert not [each for each in QApplication.topLevelWidgets() if isinstance(each, QDialog) and each.isModal()]
    assert states(row) == [True, False, False]
    assert viewer.window._qt_window.isVisible()


def test_mistake_in_the_docks_own_code_is_a_failure_too(qtbot, row):
    def on_result(result):
        raise KeyError("the layer was deleted")

    notified()
    with qtbot.waitSignal(row.finished):
        row.start(lambda: (each for each in ()), on_result)
    assert "the layer was deleted" in notified()[0]
    assert row.results == [None]
    assert states(row) == [True, False, False]


def test_run_again_after_each_end(qtbot, row, steps):
    for end in (row.cancel_button, row.done_button) * 2:
        row.start(steps)
        qtbot.waitUntil(row.done_button.isEnabled)
        end.click()
        wait_idle(qtbot, row)
    assert [result is None for result in row.results] == [True, False, True, False]


def test_start_while_running_is_refused_and_changes_nothing(qtbot, row, steps):
    row.start(steps)
    qtbot.waitUntil(row.done_button.isEnabled)
    with pytest.raises(RuntimeError, match="cancel it first"):
        row.start(steps)
    assert states(row) == [False, True, True]
    row.cancel_button.click()
    wait_idle(qtbot, row)


def test_block_says_why_run_is_disabled(qtbot, row, steps):
    row.block("Select an image layer first")
    assert states(row) == [False, False, False]
    assert row.run_button.toolTip() == row.status_label.text() == "Select an image layer first"
    row.block("")
    assert states(row) == [True, False, False]
    row.start(steps)
    qtbot.waitUntil(row.done_button.isEnabled)
    row.block("The layer was deleted")
    assert states(row) == [False, True, True], "what runs goes on"
    row.done_button.click()
    wait_idle(qtbot, row)
    assert states(row) == [False, False, False]
    assert row.run_button.toolTip() == "The layer was deleted"
    row.block("")
    row.start(steps)
    qtbot.waitUntil(row.done_button.isEnabled)
    row.cancel_button.click()
    wait_idle(qtbot, row)
    row.block("")
    assert row.status_label.text().startswith("cancelled"), "a block that was not there leaves the text alone"


def test_keyboard_alone(qtbot, steps):
    dock = QWidget()
    row, field = RunRow(dock), QLineEdit(dock)
    layout = QVBoxLayout(dock)
    layout.addWidget(field)
    layout.addWidget(row)
    row.run_button.clicked.connect(lambda: row.start(steps))
    qtbot.addWidget(dock)
    dock.show()
    dock.activateWindow()
    qtbot.waitUntil(dock.isActiveWindow)
    field.setFocus()
    qtbot.keyClick(field, Qt.Key.Key_Tab)
    assert row.run_button.hasFocus()

    qtbot.keyClick(row.run_button, Qt.Key.Key_Return)
    assert row.running
    assert row.cancel_button.hasFocus(), "the focus goes on to what can be pressed"
    qtbot.waitUntil(row.done_button.isEnabled)
    qtbot.keyClick(row.cancel_button, Qt.Key.Key_Tab)
    assert row.done_button.hasFocus()
    qtbot.keyClick(row.done_button, Qt.Key.Key_Space)
    wait_idle(qtbot, row)
    assert row.run_button.hasFocus()

    qtbot.keyClick(row.run_button, Qt.Key.Key_Space)
    qtbot.waitUntil(row.done_button.isEnabled)
    qtbot.keyClick(row.cancel_button, Qt.Key.Key_Escape)
    wait_idle(qtbot, row)
    assert row.status_label.text().startswith("cancelled")
    assert row.run_button.hasFocus()

    row.start(steps)
    field.setFocus()
    row.cancel_button.click()
    wait_idle(qtbot, row)
    assert field.hasFocus(), "the focus is not taken from elsewhere"


def test_fits_a_narrow_dock_and_keeps_its_height(qtbot, make_napari_viewer, steps):
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1100, 800)
    row = RunRow(task="Deconvolve")
    docked = viewer.window.add_dock_widget(row, area="right")
    viewer.window._qt_window.resizeDocks([docked], [320], Qt.Orientation.Horizontal)
    qtbot.waitUntil(lambda: docked.width() == 320)
    height = row.status_label.height()
    row.start(steps)
    qtbot.waitUntil(lambda: row.status_label.text().endswith("left"))
    qtbot.wait(50)
    for theme in ("light", "dark"):
        viewer.theme = theme
        qtbot.wait(50)
        metrics = row.status_label.fontMetrics()
        assert metrics.horizontalAdvance("iteration 100/100 · residual/noise 1.034 · ") <= row.status_label.width()
        assert row.status_label.height() == height >= 2 * metrics.lineSpacing()
    assert docked.width() == 320
    row.cancel_button.click()
    wait_idle(qtbot, row)


@pytest.mark.parametrize(
    ("iterate", "left", "text"),
    [
        (Iterate(12, 100, residual=1.034), 8.2, "iteration 12/100 · residual/noise 1.03 · 8 s left"),
        (Iterate(12, 100), None, "iteration 12/100"),
        (Iterate(100, 100, residual=0.9999), 0.0, "iteration 100/100 · residual/noise 1"),
        (Iterate(3, 9, stage="block 3 of 9"), 70, "block 3 of 9 · 1 min 10 s left"),
        (Iterate(0, 1, stage="choosing λ"), None, "choosing λ"),
    ],
)
def test_describe(iterate, left, text):
    assert plain(describe(iterate, left)) == text
