"""How long a preview takes to follow λ, in the dock of a real window: from the slider's move to the layer's new data.

    xvfb-run -s "-screen 0 1600x1000x24" python tests/benchmarks/deconvolution_preview.py

Goals: 0.15 s for the closed form of 2048 × 2048 pixels, 1.5 s for total variation on 512 × 512. The pause that gathers
the slider's moves (LatestOnly) is part of it; so is drawing, shown apart as it depends on the graphics card.
"""

from __future__ import annotations

import time

import napari
import numpy as np
from qtpy.QtCore import QEventLoop
from qtpy.QtWidgets import QApplication
from scipy.ndimage import gaussian_filter

REPEATS = 7


def follow(dock, position: int) -> float:
    """Move the slider; seconds to the next look."""
    waiting = QEventLoop()  # as napari waits: a loop that polls would take one of the cores
    dock.preview.looked.connect(waiting.quit)
    start = time.perf_counter()
    dock.lam.slider.setValue(position)
    waiting.exec()
    took = time.perf_counter() - start
    dock.preview.looked.disconnect(waiting.quit)
    settle(dock)
    return took


def settle(dock) -> None:
    """Wait until nothing is computed any more, and what there is is drawn."""
    while dock.preview.busy:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)
        time.sleep(0.01)
    QApplication.processEvents()


def draw(viewer) -> float:
    """Seconds to draw the canvas once."""
    start = time.perf_counter()
    viewer.screenshot(canvas_only=True, flash=False)
    return time.perf_counter() - start


def main() -> None:
    """Print a line for each regulariser."""
    rng = np.random.default_rng(0)
    image = gaussian_filter(np.where(rng.random((2048, 2048)) < 2e-3, 300.0, 0.0), 8) * 50
    image = rng.poisson(gaussian_filter(image, 2.0) + 20).astype(np.float32)
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.add_image(image)
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    dock.lam.value = 0.01
    dock.preview_box.setChecked(True)
    for regulariser, goal in (("tikhonov", 0.15), ("l2", 0.15), ("tv", 1.5), ("l1", 1.5)):
        dock.settings.set_values({"regulariser": regulariser})
        settle(dock)
        first = follow(dock, -45)
        took = [follow(dock, position) for position in np.linspace(-60, -20, REPEATS, dtype=int)]
        edge = dock.preview.layer.data.shape[0]
        print(
            f"{regulariser:9s} {edge}²: first {first:.3f} s, then median {np.median(took):.3f}, "
            f"worst {max(took):.3f} s (goal {goal}); drawing {draw(viewer):.3f} s"
        )
    viewer.close()


if __name__ == "__main__":
    main()
