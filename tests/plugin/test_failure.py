"""What the user reads when a reconstruction fails."""

from __future__ import annotations

import pytest
from fusion_window import add_haadf, add_maps, scene
from fusion_window import open_dock as open_fusion
from napari.utils.notifications import ErrorNotification, notification_manager
from numba.core.errors import TypingError
from spectrum_window import add_spectra, counts, low_loss

from napari_invrecon.plugin import fusion_inputs
from napari_invrecon.plugin.failure import explain, notify_failure
from napari_invrecon.plugin.widgets import energy_section, spectrum


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


@pytest.mark.gui
@pytest.mark.parametrize("which", ["Fuse", "Elemental maps", "Energy deconvolution"])
def test_the_report_of_a_failed_run_holds_its_settings(make_napari_viewer, qtbot, monkeypatch, which):
    from qtpy.QtWidgets import QApplication

    def fail(*_):
        raise RuntimeError("boom")
        yield

    viewer = make_napari_viewer()
    if which == "Fuse":
        haadf, maps = scene()
        add_haadf(viewer, haadf)
        add_maps(viewer, maps)
        monkeypatch.setattr(fusion_inputs, "fusion", fail)
        dock, expected = open_fusion(viewer), ("FusionSettings", '"coupling": "edges"', '"elements": "Ce, Co"')
        row = dock.run_row
    else:
        add_spectra(viewer, counts())
        add_spectra(viewer, low_loss(), name="low loss", start_ev=-10.0)
        viewer.layers.selection.active = viewer.layers["EELS"]
        _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Spectrum")
        dock.elements.add_element("O")
        monkeypatch.setattr(spectrum, "mapping", fail)
        monkeypatch.setattr(energy_section, "energy_deconvolution", fail)
        maps = which == "Elemental maps"
        row = dock.run_row if maps else dock.energy.run_row
        expected = ("MapRequest", '"signal"', "532") if maps else ("EnergySettings", '"method": "fourier-ratio"')
    with qtbot.waitSignal(dock.finished, timeout=60_000):
        row.run_button.click()
    told = next(each for each in reversed(notification_manager.records) if isinstance(each, ErrorNotification))
    notification_manager.records.clear()
    assert told.message.startswith(f"{which} failed: unexpected RuntimeError: boom")
    ((_, press),) = told.actions
    press(None)
    report = QApplication.clipboard().text()
    assert all(each in report for each in expected)
    qtbot.waitUntil(lambda: which == "Fuse" or not (dock.live.busy or dock.view.spectrum.busy), timeout=60_000)
