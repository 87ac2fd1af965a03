"""The guides' pictures, each of a real napari window.

xvfb-run -s "-screen 0 1600x1200x24" python docs/make_pictures.py [name …]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import napari
from qtpy.QtWidgets import QApplication

from napari_invrecon.plugin.demo import PLUGIN, PROBE_SIGMA_PX, SPECTRUM_ELEMENTS, press_run

if TYPE_CHECKING:
    from napari import Viewer

FOLDER = Path(__file__).parent
WINDOW_SIZE = (1300, 1180)


def lecture_deblurring_1d(viewer: Viewer) -> None:
    """Open Sample → Lecture: 1-D deblurring; Deconvolve → Run."""
    viewer.open_sample(PLUGIN, "lecture_deblurring_1d")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    press_run(dock)
    wait(lambda: not dock.lines.busy)


def lecture_why_lambda(viewer: Viewer) -> None:
    """The same, with "Why λ is needed" open instead of the λ curve."""
    lecture_deblurring_1d(viewer)
    (dock,) = (each for each in viewer.window.dock_widgets.values() if hasattr(each, "why"))
    dock.lines.hide()
    dock.lambda_panel.section.collapse()
    dock.why.section.expand()
    wait(lambda: not dock.why.busy)


def lecture_grain_boundaries(viewer: Viewer) -> None:
    """Open Sample → Lecture: grain boundaries; Deconvolve → Run with tv, and with tikhonov; side by side."""
    viewer.open_sample(PLUGIN, "lecture_grain_boundaries")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    source = dock.image.value
    for regulariser in ("tv", "tikhonov"):
        dock.settings.set_values({"regulariser": regulariser})
        press_run(dock).contrast_limits = source.contrast_limits
    for layer in viewer.layers:
        layer.visible = True
    dock.lambda_panel.section.expand()
    viewer.canvas.grid.enabled = True


def deconvolution(viewer: Viewer) -> None:
    """Open Sample → HAADF image; Deconvolve: λ on its curve, and the result beside the source."""
    (image,) = viewer.open_sample(PLUGIN, "core_shell_haadf")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    dock.image.value = image
    dock.psf.width.setValue(PROBE_SIGMA_PX)
    dock.settings.set_values({"noise": "poisson"})
    dock.lambda_panel.section.expand()
    press_run(dock)
    viewer.canvas.grid.enabled = True


def tomography(viewer: Viewer) -> None:
    """Open Sample → tilt series; Tomography → Reconstruct: the volume, its report and its rendering."""
    viewer.open_sample(PLUGIN, "particles_tilt_series")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Tomography")
    press_run(dock)


def spectra(viewer: Viewer) -> None:
    """Open Sample → EELS spectrum image; Spectrum: two elements, their windows, and a map of each."""
    viewer.open_sample(PLUGIN, "core_shell_eels_si")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Spectrum")
    for element in SPECTRUM_ELEMENTS:
        dock.elements.add_element(element)
    wait(lambda: not dock.live.busy)
    press_run(dock)


def fusion(viewer: Viewer) -> None:
    """Open Sample → HAADF image and EELS maps; Fuse: the overlay, and which coupling predicts held-out counts best."""
    for key in ("core_shell_haadf", "core_shell_eels_maps"):
        viewer.open_sample(PLUGIN, key)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    press_run(dock)
    dock.candidates.expand()


PICTURES = (
    lecture_deblurring_1d,
    lecture_why_lambda,
    lecture_grain_boundaries,
    deconvolution,
    tomography,
    spectra,
    fusion,
)


def wait(until) -> None:
    """Keep the window alive until something is so."""
    while not until():
        QApplication.processEvents()


def main(names: list[str]) -> None:
    """Make the pictures of these names, or all."""
    for draw in PICTURES:
        if names and draw.__name__ not in names:
            continue
        viewer = napari.Viewer(show_welcome_screen=False)
        viewer.window.resize(*WINDOW_SIZE)
        draw(viewer)
        viewer.reset_view()
        for _ in range(50):
            QApplication.processEvents()
        viewer.screenshot(str(FOLDER / f"{draw.__name__}.png"), canvas_only=False, flash=False)
        viewer.close()
        print(f"docs/{draw.__name__}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
