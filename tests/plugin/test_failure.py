"""What the user reads when a reconstruction fails."""

from __future__ import annotations

import pytest
from napari.utils.notifications import ErrorNotification, notification_manager
from numba.core.errors import TypingError

from napari_invrecon.plugin.failure import explain, notify_failure


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("layer 'tilts' has no tilt angles: open its .rawtlt"), "layer 'tilts' has no tilt angles: open"),
        (MemoryError(), "not enough memory: crop the data"),
        (MemoryError("Unable to allocate 7 GiB"), "not enough memory (Unable to allocate 7 GiB): crop"),
        (TypingError("\nFailed in nopython mode\nlong story"), "compile a kernel: Failed in nopython mode. Update it"),
        (RuntimeError("boom"), "unexpected RuntimeError: boom. View Traceback"),
        (ValueError(), "unexpected ValueError. View Traceback"),
        (KeyboardInterrupt(), "unexpected KeyboardInterrupt. View"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_explain_says_what_and_what_to_do(error, expected):
    assert expected in explain(error)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_notification_keeps_the_text_of_the_traceback_and_no_frame(kind, capsys):
    def fails():
        try:
            raise OSError("the file is gone")
        except OSError as cause:
            raise kind("no") from cause

    with pytest.raises(kind) as caught:
        fails()
    error = caught.value
    notify_failure("Fuse", error)
    told = notification_manager.records.pop()
    assert isinstance(told, ErrorNotification)
    assert told.message == f"Fuse failed: {explain(error)}"
    for text in (told.as_text(), told.as_html(), str(told)):
        assert "the file is gone" in text
        assert "in fails" in text
    assert error.__traceback__ is None
    assert error.__cause__.__traceback__ is None


@pytest.mark.gui
def test_a_bug_report_is_one_press_away(qapp, caplog):
    from qtpy.QtWidgets import QApplication

    from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings

    notify_failure("Deconvolve", ValueError("no luck"), DeconvolutionSettings(lam=0.125))
    told = notification_manager.records.pop()
    ((label, press),) = told.actions
    assert label == "Copy bug report"
    press(None)
    report = QApplication.clipboard().text()
    for expected in ("Deconvolve failed: no luck", "napari-invrecon 0", "Qt (", '"lam": 0.125', "ValueError: no luck"):
        assert expected in report
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("napari_invrecon.plugin.failure", "ERROR")
    assert "ValueError: no luck" in record.getMessage()


def test_the_library_has_no_handler_of_its_own():
    import logging

    import napari_invrecon  # noqa: F401

    assert [type(each) for each in logging.getLogger("napari_invrecon").handlers] == [logging.NullHandler]
