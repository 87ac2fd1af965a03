"""``napari-invrecon demo``: every modality on its sample acquisition, in a real napari window, through its own dock.

One function a step, ``(viewer, folder) -> paths``, listed in `STEPS`; each starts from an empty viewer without docks.
A modality's step opens its sample as the menu does, opens the dock by its name, presses Run, and leaves what a user
would save.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import napari
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication

from napari_invrecon.io import write
from napari_invrecon.plugin.layers import layer_acquisition

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari import Viewer
    from napari.layers import Layer

PLUGIN = "napari-invrecon"
SAMPLES = ("core_shell_haadf", "core_shell_eels_maps", "particles_tilt_series")
WINDOW_SIZE = (1500, 950)
PROBE_SIGMA_PX = 3.0
TILT_LAM = 6e-3  # what held-out tilts choose here, which takes longer than the run
SPECTRUM_ELEMENTS = ("Co", "Ce")
TIMEOUT_S = 600


def demo(folder: Path, *, stay: bool) -> Iterator[Path]:
    """Run every step and yield each file as it is left in ``folder``; ``stay`` then hands napari to the user."""
    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(title="napari-invrecon demo")
    viewer.window.resize(*WINDOW_SIZE)
    viewer.canvas.overlays.scale_bar.visible = True
    viewer.canvas.grid.enabled = True
    try:
        for step in STEPS:
            viewer.window.remove_dock_widget("all")
            viewer.layers.clear()
            yield from step(viewer, folder)
    except BaseException:
        close(viewer)
        raise
    if stay:
        napari.run()
    else:
        close(viewer)


def close(viewer: Viewer) -> None:
    """Close the window, and let Qt delete what was closed before, which it cannot when the screen is gone."""
    viewer.close()
    app = QApplication.instance()
    QTimer.singleShot(0, app.quit)
    app.exec()


def acquisitions(viewer: Viewer, folder: Path) -> list[Path]:
    """All sample acquisitions, side by side."""
    for key in SAMPLES:
        viewer.open_sample(PLUGIN, key)
    return [window_picture(viewer, folder / "1_samples.png")]


def deconvolution(viewer: Viewer, folder: Path) -> list[Path]:
    """The HAADF image, as counts, deconvolved with the probe that made it and λ from the data; beside it the result."""
    (image,) = viewer.open_sample(PLUGIN, "core_shell_haadf")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Deconvolve")
    dock.image.value = image
    dock.psf.width.setValue(PROBE_SIGMA_PX)
    dock.settings.set_values({"noise": "poisson"})
    result = press_run(dock)
    picture = window_picture(viewer, folder / "2_haadf_deconvolved.png")
    return [picture, *save(result, folder / "core_shell_haadf_deconvolved.tif")]


def tomography(viewer: Viewer, folder: Path) -> list[Path]:
    """The tilt series, made a volume and rendered; beside it a slice through its middle."""
    viewer.canvas.grid.enabled = False
    viewer.open_sample(PLUGIN, "particles_tilt_series")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Tomography")
    dock.lam.value = TILT_LAM
    result = press_run(dock)
    pictures = [window_picture(viewer, folder / "3_particles_volume.png")]
    dock.report.button.setChecked(False)
    pictures.append(window_picture(viewer, folder / "3_particles_slice.png"))
    return [*pictures, *save(result, folder / "particles_tomogram.tif")]


def elemental_maps(viewer: Viewer, folder: Path) -> list[Path]:
    """The spectrum image, and the maps of its two elements on its pixels."""
    viewer.open_sample(PLUGIN, "core_shell_eels_si")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Spectrum")
    for element in SPECTRUM_ELEMENTS:
        dock.elements.add_element(element)
    press_run(dock)
    return [window_picture(viewer, folder / "4_elemental_maps.png")]


def fusion(viewer: Viewer, folder: Path) -> list[Path]:
    """The EELS maps fused with the HAADF image; as they were measured, and their overlay."""
    viewer.canvas.grid.enabled = False
    for key in ("core_shell_haadf", "core_shell_eels_maps"):
        viewer.open_sample(PLUGIN, key)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    press_run(dock)
    dock.candidates.expand()
    dock.report.buttons["Measured"].click()
    pictures = [window_picture(viewer, folder / "5_eels_maps_measured.png")]
    dock.report.buttons["Fused"].click()
    pictures.append(window_picture(viewer, folder / "5_eels_maps_fused.png"))
    for layer, element in zip(dock.fused.maps, ("ce", "co"), strict=True):
        pictures += save(layer, folder / f"core_shell_{element}_fused.tif")
    return pictures


STEPS = (acquisitions, deconvolution, tomography, elemental_maps, fusion)


def press_run(dock: Any) -> Layer:
    """Press a dock's Run button and wait for its layer, the window alive meanwhile.

    Raises
    ------
    RuntimeError
        When the run ends without a layer, Run is disabled, the dock is closed, or nothing has come after ten minutes.
    """
    if not dock.run_button.isEnabled():
        raise RuntimeError(f"Run is disabled: {dock.run_button.toolTip()}")
    outcome: list[Layer | None] = []
    loop = QEventLoop()

    def end(layer: Layer | None) -> None:
        outcome.append(layer)
        loop.quit()

    dock.finished.connect(end)
    dock.destroyed.connect(loop.quit)
    too_long = QTimer(loop)
    too_long.timeout.connect(loop.quit)
    too_long.start(TIMEOUT_S * 1000)
    dock.run_button.click()
    if not outcome:
        loop.exec()
    if not outcome:
        raise RuntimeError(
            f"no result after {TIMEOUT_S} s, or the dock was closed: the machine may be too busy, run the demo again"
        )
    dock.finished.disconnect(end)
    if outcome[0] is None:
        raise RuntimeError("the run ended without a result: the notification in napari's window says why")
    return outcome[0]


def window_picture(viewer: Viewer, path: Path) -> Path:
    """A PNG of the whole window, with all layers side by side."""
    viewer.reset_view()
    QApplication.processEvents()
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    return path


def save(layer: Layer, path: Path) -> tuple[Path, Path]:
    """The layer as a calibrated .tif, its record in it, and beside it as .json for the eye."""
    write(path, layer_acquisition(*layer.as_layer_data_tuple()[:2]))
    record = path.with_suffix(".json")
    record.write_text(json.dumps(layer.metadata["invrecon"], indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path, record
