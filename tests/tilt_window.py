"""A small tilt series with what is known of it, and the dock "Tomography" as a user has it."""

from __future__ import annotations

import json

import mrcfile
import numpy as np
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from scipy.ndimage import shift as moved
from tilt_phantoms import line_integrals, particles

from napari_invrecon.recon.record import array_hash

PLUGIN = "napari-invrecon"
WAIT_MS = 120_000
ANGLES = np.arange(-70.0, 71.0, 5.0)
SHAPE = (24, 40)  # y, x
PIXEL_NM = 1.5
PLACE_NM = (6.0, 9.0)
OBJECT = particles(12, seed=3)


def clean_series():
    """Projections (tilt, y, x) with 1 % noise; the tilt axis ∥ y through the middle."""
    exact = line_integrals(OBJECT, ANGLES, *SHAPE)
    noise = np.random.default_rng(0).normal(0, 0.01 * exact.max(), exact.shape)
    return (exact + noise).astype(np.float32)


def with_drift(series, largest_px=2.0):
    """The same, each image moved."""
    drift = np.random.default_rng(1).uniform(-largest_px, largest_px, (len(series), 2))
    return np.stack([moved(image, d, order=3, mode="nearest") for image, d in zip(series, drift, strict=True)])


def add(viewer, stack, *, angles=ANGLES, name="HAADF"):
    """A layer as the reader makes it."""
    acquisition = {
        "kind": "tilt series",
        "angles_deg": angles.tolist(),
        "angles_from": f"{name}.rawtlt",
        "axes": [
            {"name": "tilt", "unit": "degree", "scale": 5.0, "offset": -70.0},
            *({"name": axis, "unit": "nm", "scale": PIXEL_NM, "offset": 0.0} for axis in "yx"),
        ],
    }
    return viewer.add_image(
        stack[:, None],
        name=name,
        scale=(5.0, PIXEL_NM, PIXEL_NM, PIXEL_NM),
        translate=(-70.0, 0.0, *PLACE_NM),
        units=("degree", "nm", "nm", "nm"),
        axis_labels=("tilt", "z", "y", "x"),
        metadata={"acquisition": acquisition},
    )


def open_dock(viewer, **settings):
    """The dock as the menu opens it, with a quick algorithm unless told; ``lam`` and the fields of its form."""
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Tomography")
    if "lam" in settings:
        dock.lam.value = settings.pop("lam")
    dock.settings.set_values({"algorithm": "sirt", "n_iter": 5} | settings)
    return dock


def press(qtbot, dock, button):
    """Press a button of the dock, wait for the end; the new layer or None."""
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS) as end:
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    return end.args[0]


def drop(viewer, path):
    """As from a file manager."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    nothing_held = Qt.KeyboardModifier.NoModifier
    viewer.window._qt_viewer.dropEvent(
        QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, nothing_held)
    )


def write(path, stack, angles=ANGLES, pixel_nm=PIXEL_NM):
    """A series as a microscope leaves it: .mrc, angles in .rawtlt."""
    with mrcfile.new(path) as file:
        file.set_data(stack)
        file.voxel_size = 10 * pixel_nm
    path.with_suffix(".rawtlt").write_text("\n".join(f"{angle:.1f}" for angle in angles))


def state(viewer):
    """All that a run that changes nothing must leave as it is."""
    return [
        (each.name, id(each), array_hash(each.data), json.dumps(each.metadata), tuple(each.scale),
         tuple(each.translate), each.units, each.visible, tuple(each.contrast_limits))
        for each in viewer.layers
    ]  # fmt: skip
