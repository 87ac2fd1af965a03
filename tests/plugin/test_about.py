"""What a record says to a reader, and the dock that shows it."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import image
from qtpy.QtWidgets import QApplication

import napari_invrecon as ir
from napari_invrecon.plugin.about import describe_record


@pytest.fixture(scope="module")
def result():
    counts = image("particles", 1.5, 200, size=64)[1]
    return ir.deconvolve(counts, ir.gaussian_psf(1.5), regulariser="l1", lam=0.01, n_iter=3)


def test_a_record_in_words(result):
    said = describe_record(result.record)
    for expected in (
        "Method\n  deconvolve\n  λ = 0.01, given",
        "3; stopped: the most iterations allowed",
        "image, 64 × 64, sha256 " + result.record["sources"][0]["sha256"][:12],
        "Not converged: after n_iter=3",
        "• Regulariser: l1",
        "Noise σ: automatic",
        f"numpy {np.__version__}",
    ):
        assert expected in said
    assert said.index("• Iterations at most: 3") < said.index("Noise: gaussian"), "what was changed comes first"


def test_a_tilt_series_and_no_record():
    angles = np.linspace(-60, 60, 9)
    stack = np.ones((9, 4, 32)) + np.random.default_rng(0).normal(0, 0.02, (9, 4, 32))
    said = describe_record(ir.reconstruct_tilt_series(stack, angles, algorithm="sirt", n_iter=2).record)
    assert "reconstruct tilt series" in said
    assert "λ =" not in said
    with pytest.raises(ValueError, match="expected the record of a reconstruction"):
        describe_record({"something": "else"})


@pytest.mark.gui
def test_the_dock_follows_the_selection(make_napari_viewer, result):
    viewer = make_napari_viewer()
    _, about = viewer.window.add_plugin_dock_widget("napari-invrecon", "About this reconstruction")
    assert "Select one layer" in about.text.toPlainText()
    assert not about.copy_button.isEnabled()
    viewer.add_image(result.data, name="result", metadata={"invrecon": result.record})
    assert about.text.toPlainText().startswith("result\n\nMethod\n  deconvolve")
    about.copy_button.click()
    assert QApplication.clipboard().text() == about.text.toPlainText()
    viewer.add_image(np.eye(3), name="other")
    assert "Select one layer" in about.text.toPlainText()
    viewer.add_image(np.eye(3), name="broken", metadata={"invrecon": {"method": "magic"}})
    assert "broken: the record" in about.text.toPlainText()
    assert about.minimumSizeHint().width() <= 320
