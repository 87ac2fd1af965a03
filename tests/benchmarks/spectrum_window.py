"""How soon the map follows a dragged window: xvfb-run -a python tests/benchmarks/spectrum_window.py [FILE …].

A real napari window, the dock "Spectrum", and the end of an integration window dragged by the mouse to and fro for 3 s,
30 times a second or as often as the window takes it: where the hand is goes with the clock, as with a real one. Without
files: a drawn spectrum image of 256 × 256 × 2048 in a zarr store, read lazily. Of every map that comes: its age (ms
since the mouse was where its window is), when it is the layer's data and when it has been drawn on the canvas; median
and worst. The first map of a lazy image, for which channels are read, apart. The goal is 200 ms. Without a graphics
card most of it is the drawing of the window; other programs (the load is printed) make it slower, too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import dask.array as da
import napari
import numpy as np
import zarr
from qtpy.QtCore import QEvent, QEventLoop, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

DRAG_S, PERIOD_S, REACH_PX = 3.0, 1 / 30, 25
POLL_MS = 4
CHANNELS, EDGE, STEP_EV = 2048, 256, 0.5
ENERGY = 300 + STEP_EV * np.arange(CHANNELS)


def drawn(folder: str):
    """An EELS spectrum image with oxygen in stripes, in chunks of 64 channels."""
    rng = np.random.default_rng(0)
    store = zarr.create_array(
        store=str(Path(folder) / "si.zarr"), shape=(CHANNELS, EDGE, EDGE), chunks=(64, EDGE, EDGE), dtype="uint16"
    )
    edge = np.where(ENERGY >= 532, 8 * np.exp(-(ENERGY - 532) / 40), 0)
    stripes = (np.arange(64) // 16) % 2
    for start in range(0, CHANNELS, 64):
        part = slice(start, start + 64)
        mean = 40 * (ENERGY[part] / 300) ** -3.0
        tile = rng.poisson(mean[:, None, None] + edge[part, None, None] * stripes * np.ones((64, 1)))
        store[part] = np.tile(tile, (1, EDGE // 64, EDGE // 64))
    return da.from_zarr(store)


def wait(until, timeout_s: float = 120.0) -> None:
    """Let the window work, as napari does: a loop that asks for events would take a core from what makes the map."""
    loop, asked, end = QEventLoop(), QTimer(), time.monotonic() + timeout_s
    asked.timeout.connect(lambda: loop.quit() if until() or time.monotonic() > end else None)
    asked.start(POLL_MS)
    loop.exec()
    asked.stop()
    asked.timeout.disconnect()  # else the garbage collector deletes it, in whichever thread it works
    if not until():
        raise TimeoutError("the window did not come to rest")


def mouse(plot, kind, x: float, y: float) -> None:
    """What the mouse does over a plot."""
    held = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseButtonRelease else Qt.MouseButton.LeftButton
    button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else Qt.MouseButton.LeftButton
    at = QPointF(x, y)
    event = QMouseEvent(kind, at, QPointF(plot.mapToGlobal(at.toPoint())), button, held, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(plot, event)


def drag(viewer, dock) -> dict[str, np.ndarray]:
    """Ages of maps (s) as data and on the canvas, and how long a mouse event kept the window."""
    plot, layer = dock.view.plot, dock.live.layer
    asked: dict[object, float] = {}
    found: dict[str, list[float]] = {"data": [], "canvas": [], "event": []}
    told: list[object] = []
    waiting: list[float] = []

    def shown(measured) -> None:
        told.append(measured.elements[0].window)
        if told[-1] in asked:
            waiting.append(asked[told[-1]])
            found["data"].append(time.perf_counter() - asked[told[-1]])

    def painted(_: object = None) -> None:
        found["canvas"].extend(time.perf_counter() - each for each in waiting)
        waiting.clear()

    dock.live.told.connect(shown)
    canvas = viewer.window._qt_viewer.canvas._scene_canvas
    canvas.events.draw.connect(painted, position="last")
    low, x = (
        plot.axes.transData.transform((end, 0))[0] / plot.device_pixel_ratio for end in dock.elements.current.signal
    )
    reach, y = min(REACH_PX, (x - low) / 2), plot.height() / 2  # inwards: further out may be a background's window
    mouse(plot, QEvent.Type.MouseButtonPress, x, y)
    began = time.perf_counter()
    while (start := time.perf_counter()) < began + DRAG_S:
        mouse(plot, QEvent.Type.MouseMove, x - reach * np.sin(np.pi * (start - began) / DRAG_S) ** 2, y)
        asked[dock.elements.current] = start
        found["event"].append(time.perf_counter() - start)
        wait(lambda until=start + PERIOD_S: time.perf_counter() >= until)
    mouse(plot, QEvent.Type.MouseButtonRelease, x, y)
    wait(lambda: not (dock.live.busy or waiting))
    dock.live.told.disconnect(shown)
    canvas.events.draw.disconnect(painted)
    ends = [window.signal[1] for window in asked]
    if np.ptp(ends) == 0 or dock.live.layer is not layer or told[-1] != dock.elements.current:
        raise RuntimeError("the mouse did not move the end of the window, or the layer is not the map of the last one")
    return {name: np.array(ages) for name, ages in found.items()}


def measure(viewer, name: str) -> None:
    """One line for the spectrum image that the dock shows."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Spectrum")
    dock.live_box.setChecked(True)
    wait(lambda: not dock.view.spectrum.busy)
    if not dock.elements.windows:
        dock.elements.add_element("O")
    start = time.perf_counter()
    wait(lambda: not dock.live.busy)
    first = time.perf_counter() - start
    dock.view.plot.draw()
    drag(viewer, dock)
    cpu = time.process_time()
    found = drag(viewer, dock)
    cpu = time.process_time() - cpu
    data, canvas, event = (1e3 * found[each] for each in ("data", "canvas", "event"))
    shape = " × ".join(map(str, dock.source.data.shape))
    print(
        f"{name} {shape}: first {first:.2f} s; {event.size} mouse moves, {data.size} maps; age as data "
        f"{np.median(data):.0f} ms (worst {data.max():.0f}), on the canvas {np.median(canvas):.0f} ms "
        f"({canvas.max():.0f}); mouse event {np.median(event):.1f} ms; {1e3 * cpu / event.size:.0f} core-ms a move; "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    viewer.window.remove_dock_widget(dock)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    files = parser.parse_args().files
    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    for file in files:
        viewer.layers.clear()
        viewer.open(str(file), plugin="napari-invrecon")
        measure(viewer, file.name)
    if not files:
        with tempfile.TemporaryDirectory() as folder:
            units = ("eV", "nm", "nm", "nm")
            about = {"acquisition": {"kind": "spectrum image"}}
            viewer.add_image(
                drawn(folder)[:, None],
                name="EELS",
                scale=(STEP_EV, 1, 1, 1),
                translate=(300, 0, 0, 0),
                units=units,
                axis_labels=("energy", "z", "y", "x"),
                contrast_limits=(0, 100),
                metadata=about,
            )
            measure(viewer, "drawn, zarr, lazy")
            viewer.layers.clear()
    viewer.close()


if __name__ == "__main__":
    sys.exit(main())
