"""For how long the window stands still, and in whose code: xvfb-run -a python tests/benchmarks/window_pauses.py [CASE].

Real napari windows, one process a case, real acquisitions. A timer of the event loop ticks every 10 ms; a thread looks
every 5 ms at what the window's thread is doing and how much processor time it has had. A line for each step:

    longest  the longest time without a tick, and the processor time of the window's thread in it: much less means that
             it waited, for the renderer's threads, for Python's lock, or for a processor
    ours     the most processor time between two ticks within this package, the plots that it draws (matplotlib), and
             what it imports; the rest is napari's (vispy, Qt), which draws in software where there is no graphics card
    below    whose code either was in, and the functions with the most; "garbage" is Python's collector

The goal is 200 ms of ours. The load is printed: other programs make every wall time longer.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import itertools
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import napari
from qtpy.QtCore import QEventLoop, QMimeData, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QApplication, QScrollArea

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TICK_MS, LOOK_S = 10, 0.005
READ_S = 4.0  # that a user takes to look at a file and find the dock in the menu
OURS = ("matplotlib", "ours", "import")
THEIRS = ("napari", "vispy", "magicgui", "superqt", "npe2", "app_model", "OpenGL", "psygnal", "pint")
WATCHED = threading.get_ident()


@dataclass(frozen=True)
class Look:
    """At a time: from when to when of its processor time the window's thread was in whose code, and where."""

    at: float
    start: float
    stop: float
    whose: str
    where: str

    @property
    def cpu(self) -> float:
        """Seconds."""
        return self.stop - self.start


def place() -> tuple[str, str]:
    """Whose code the window's thread is in, and the innermost function of theirs and of ours."""
    frame = sys._current_frames().get(WATCHED)
    whose, found, own, importing = "Qt", "", "", False
    while frame is not None:
        parts = Path(frame.f_code.co_filename).parts
        name = f"{'/'.join(parts[-2:])}:{frame.f_code.co_name}"
        importing |= frame.f_code.co_filename.startswith("<frozen importlib")
        here = "matplotlib" if "matplotlib" in parts else "napari" if set(THEIRS) & set(parts) else ""
        if "napari_invrecon" in parts:
            own = own or name
            here = "ours"
        if here and not found:
            whose, found = here, name
        frame = frame.f_back
    whose = "import" if importing and whose in OURS else whose
    return whose, found + (f" < {own}" if own not in ("", found) else "")


class Watch:
    """Ticks of the event loop and looks at it, kept from `start` to `tell`."""

    def __init__(self, viewer) -> None:
        self._ticks: list[tuple[float, float]] = []
        self._looks: list[Look] = []
        self._garbage: list[list[float]] = []  # from when to when of the thread's processor time it was collected
        gc.callbacks.append(self._collect)
        self._timer = QTimer(viewer.window._qt_window)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(lambda: self._ticks.append((time.perf_counter(), time.thread_time())))
        self._timer.start(TICK_MS)
        threading.Thread(target=self._look, daemon=True).start()

    def _collect(self, phase: str, _: object) -> None:
        if threading.get_ident() == WATCHED:
            if phase == "start":
                self._garbage.append([])
            self._garbage[-1].append(time.thread_time())

    def _look(self) -> None:
        clock = time.pthread_getcpuclockid(WATCHED)
        before = time.clock_gettime(clock)
        while True:
            time.sleep(LOOK_S)
            now, at = time.clock_gettime(clock), time.perf_counter()
            self._looks.append(Look(at, before, now, *place()))
            before = now

    def start(self) -> None:
        """Forget what was."""
        wait(0.3)
        self._ticks, self._looks, self._garbage = self._ticks[-1:], [], []

    def tell(self, step: str) -> None:
        """A line."""
        wait(0.5)
        ticks, looks = self._ticks, [part for each in self._looks for part in apart(each, self._garbage)]
        gaps = [(b[0] - a[0], b[1] - a[1], a[0], b[0]) for a, b in itertools.pairwise(ticks)]
        longest, cpu, start, stop = max(gaps)
        within = [[each for each in looks if a < each.at <= b] for _, _, a, b in gaps]
        most = max(within, key=ours)
        print(
            f"{step:34s} longest {1e3 * longest:5.0f} ms (cpu {1e3 * cpu:5.0f}) · ours {1e3 * ours(most):4.0f} ms · "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        print(f"    longest: {spent([each for each in looks if start < each.at <= stop])}")
        print(f"    ours:    {spent([each for each in most if each.whose in OURS])}", flush=True)


def apart(look: Look, garbage: list[list[float]]) -> list[Look]:
    """What was spent on garbage, which the thread that looks sees too late, and the rest."""
    parts, start = [], look.start
    for each in garbage:
        begin, end = max(each[0], start), min(each[-1], look.stop)
        if begin < end:
            parts += [dataclasses.replace(look, start=start, stop=begin)]
            parts += [dataclasses.replace(look, start=begin, stop=end, whose="garbage", where="garbage")]
            start = end
    return [*parts, dataclasses.replace(look, start=start)]


def ours(looks: list[Look]) -> float:
    """Seconds."""
    return sum(each.cpu for each in looks if each.whose in OURS)


def spent(looks: list[Look]) -> str:
    """Whose code, and the three places with the most."""
    whose: Counter[str] = Counter()
    where: Counter[str] = Counter()
    for each in looks:
        whose[each.whose] += each.cpu
        where[each.where] += each.cpu
    shares = ", ".join(f"{name} {1e3 * s:.0f}" for name, s in whose.most_common() if s > 0.005)
    places = ", ".join(f"{name or 'Qt'} {1e3 * s:.0f}" for name, s in where.most_common(3) if s > 0.005)
    return f"{shares} ms: {places}" if shares else "nothing"


def wait(seconds: float) -> None:
    """Let the window work."""
    loop = QEventLoop()
    QTimer.singleShot(int(1000 * seconds), loop.quit)
    loop.exec()


def rest(busy) -> None:
    """Until something has come to its end."""
    wait(0.1)
    while busy():
        wait(0.1)


def press(dock, button=None) -> None:
    """Press Run and wait for its layer."""
    loop, found = QEventLoop(), []
    dock.finished.connect(found.append)
    dock.finished.connect(loop.quit)
    button = button or dock.run_button
    if not button.isEnabled():
        raise RuntimeError(button.toolTip())
    button.click()
    if not found:
        loop.exec()
    dock.finished.disconnect(loop.quit)
    if found[0] is None:
        raise RuntimeError("the run ended without a layer")


def unfold(section, plot) -> None:
    """Expand a section of a dock and scroll to its plot: what is not seen is not drawn."""
    section.expand()
    wait(0.3)
    area = plot
    while not isinstance(area, QScrollArea):
        area = area.parentWidget()
    area.ensureWidgetVisible(plot)


def drop(viewer, name: str) -> None:
    """A file, as from a file manager."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(DATA / name))])
    event = QDropEvent(
        QPointF(5, 5), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    viewer.window._qt_viewer.dropEvent(event)


class Steps:
    """What a user does in one window; each is watched."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer(show_welcome_screen=False)
        self.viewer.window.resize(1400, 900)
        wait(1.0)
        self.watch = Watch(self.viewer)

    def do(self, name: str, what) -> object:
        """A step, and its line."""
        self.watch.start()
        found = what()
        self.watch.tell(name)
        return found

    def open_file(self, name: str) -> None:
        self.do(f"drop {Path(name).name}", lambda: drop(self.viewer, name))

    def open_dock(self, name: str):
        wait(READ_S)
        return self.do(f"open {name}", lambda: self.viewer.window.add_plugin_dock_widget("napari-invrecon", name)[1])

    def deconvolution(self) -> None:
        self.open_file("ser/16_STOimage_1.ser")
        dock = self.open_dock("Deconvolve")
        self.do("run", lambda: press(dock))
        self.do("expand λ curve", lambda: unfold(dock.lambda_panel.section, dock.lambda_panel.plot))
        self.do(
            "first look at a residual",
            lambda: (dock.compare.buttons["Residual"].click(), rest(lambda: dock.compare.running)),
        )
        self.do("second run, λ curve open", lambda: press(dock))
        self.do(
            "expand why λ is needed", lambda: (unfold(dock.why.section, dock.why.plot), rest(lambda: dock.why.busy))
        )
        self.do("first preview", lambda: (dock.preview_box.click(), rest(lambda: dock.preview.busy)))
        self.do("another λ", lambda: (setattr(dock.lam, "value", 0.01), rest(lambda: dock.preview.busy)))
        self.do("theme", lambda: setattr(self.viewer, "theme", "light"))

    def tomography(self, binning: int = 2) -> None:
        self.open_file("tilt/HAADF.mrc")
        dock = self.open_dock("Tomography")
        self.do("align", lambda: press(dock, dock.align_button))
        dock.settings.set_values({"bin": binning})
        self.do("first preview", lambda: (dock.preview_box.click(), rest(lambda: dock.preview.busy)))
        dock.preview_box.setChecked(False)
        self.do(f"reconstruct, bin {binning}", lambda: press(dock))
        self.do("expand diagnostics", lambda: unfold(dock.report.section, dock.report.plot))

    def full_size(self) -> None:
        self.tomography(1)

    def fusion(self) -> None:
        self.open_file("bruker/test_TEM.bcf")
        dock = self.open_dock("Spectrum")
        self.do("live map", lambda: rest(lambda: dock.live.busy))
        self.do("energy maps", lambda: press(dock))
        dock = self.open_dock("Fuse")
        self.do("fuse", lambda: press(dock))
        self.do("expand λ and coupling", lambda: unfold(dock.candidates, dock.candidates.plot))
        self.do("fuse again", lambda: press(dock))

    def components(self) -> None:
        self.open_file("dm_eels/DMReader_SpectrumImage_SI-EELS.dm3")
        dock = self.open_dock("Spectrum")
        self.do("first element", lambda: (dock.elements.add_element("O"), rest(lambda: dock.live.busy)))
        dock.components.section.expand()
        self.do("PCA", lambda: press(dock, dock.components.run_row.run_button))


CASES = ("deconvolution", "tomography", "fusion", "components")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES, choices=(*CASES, "full_size"))
    asked = parser.parse_args().cases
    if len(asked) > 1:
        for case in asked:
            subprocess.run([sys.executable, __file__, case], check=True)
        return
    QApplication.instance() or QApplication([])
    print(f"{asked[0]}:", flush=True)
    steps = Steps()
    getattr(steps, asked[0])()
    steps.viewer.close()


if __name__ == "__main__":
    main()
