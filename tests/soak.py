"""Many runs of every dock in one window, with whatever a user may do meanwhile, and what must not come of it.

A `Soak` does one run after another: it opens what is missing, presses a button of a dock, does something in the middle
(cancel, done, delete, close, rename, 2-D and 3-D), waits for the end, and does something afterwards. All choices come
from one seed. Faults are collected, not raised, so that a long run tells all of them.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import psutil
from fusion_window import ELEMENTS, add_haadf, add_maps, scene
from napari.layers import Layer
from napari.utils.notifications import ErrorNotification, notification_manager
from phantoms import image
from qtpy.QtCore import QEventLoop, QThreadPool, QTimer, qInstallMessageHandler
from qtpy.QtWidgets import QApplication
from superqt import QCollapsible
from tilt_phantoms import line_integrals, particles
from tilt_window import PLUGIN

from napari_invrecon.plugin.shared_axes import keep_units

HANG_S = 240
MOST_LAYERS = 7
LET_GO_S = 20  # napari deletes what it has of a layer bit by bit
LATEST_S = 0.6  # after the start that something is done in the middle
OF_ONE_RUN = ("invrecon", "invrecon-tilts")  # threads of a run's own; other pools stay, with one a core

TILTS = np.arange(-60.0, 61.0, 8.0)
ENERGIES = 400 + 2.0 * np.arange(120)


def by_image(dock, layers):
    """The layer, where the dock has not chosen it by itself."""
    if dock.image.value is not layers[0] and layers[0] in dock.image.choices:
        dock.image.value = layers[0]


def by_spectra(dock, layers):
    """The layer, and an element to map."""
    by_image(dock, layers)
    if not dock.elements.windows:
        dock.elements.add_element("O")


def by_pair(dock, layers):
    """The HAADF image, and its maps."""
    dock.haadf.value = layers[0]
    dock.maps.choose(dict(zip(layers[1:], ELEMENTS, strict=True)))


@dataclass(frozen=True)
class Player:
    """A dock, a button of it, the layers that it needs, and settings with which a run takes half a second or so."""

    dock: str
    button: str
    source: str
    settings: tuple[dict[str, object], ...]
    choose: Callable = by_image


PLAYERS = {
    "deconvolve": Player(
        "Deconvolve",
        "run_button",
        "image",
        (
            {"regulariser": "tikhonov"},
            {"regulariser": "tv"},
            {"regulariser": "l2", "boundary": "masked"},
            {"regulariser": "roughness"},
            {"regulariser": "denoiser", "n_iter": 30},
        ),
    ),
    "align": Player("Tomography", "align_button", "tilts", ({},)),
    "reconstruct": Player(
        "Tomography",
        "run_button",
        "tilts",
        (
            {"algorithm": "fbp"},
            {"algorithm": "sirt", "n_iter": 20},
            {"algorithm": "tv-sart", "n_iter": 10},
            {"algorithm": "tv", "n_iter": 20},
        ),
    ),
    "fuse": Player(
        "Fuse",
        "run_button",
        "pair",
        ({"coupling": "edges", "n_iter": 30}, {"coupling": "none", "n_iter": 30}, {"coupling": "both", "n_iter": 20}),
        by_pair,
    ),
    "map": Player("Spectrum", "run_button", "spectra", ({},), by_spectra),
}


def add_image(viewer):
    """An image as the reader makes it."""
    counts = image("particles", 1.5, 200, size=64)[1]
    return [viewer.add_image(counts, name="image", scale=(0.5, 0.5), units=("nm", "nm"), axis_labels=("y", "x"))]


def add_tilts(viewer):
    """A tilt series as the reader makes it."""
    tilts = line_integrals(particles(8, seed=3), TILTS, 16, 32).astype(np.float32)
    acquisition = {"kind": "tilt series", "angles_deg": TILTS.tolist(), "angles_from": "tilts.rawtlt"}
    return _add(viewer, tilts, "tilt", "degree", 8.0, -60.0, acquisition)


def add_spectra(viewer):
    """An EELS spectrum image as the reader makes it: oxygen in its left half."""
    mean = 40 * (ENERGIES / 400) ** -3.0
    edge = np.where(ENERGIES >= 532, 12 * np.exp(-(ENERGIES - 532) / 40), 0)
    y = mean[:, None, None] + edge[:, None, None] * (np.arange(16) < 8) * np.ones((12, 1))
    axes = [
        {"name": "energy", "unit": "eV", "scale": 2.0, "offset": 400.0},
        *({"name": name, "unit": "nm", "scale": 1.5, "offset": 0.0} for name in "yx"),
    ]
    acquisition = {"kind": "spectrum image", "file_name": "oxide.dm3", "voltage_kv": 200.0, "axes": axes}
    return _add(viewer, np.random.default_rng(0).poisson(y).astype(np.uint16), "energy", "eV", 2.0, 400.0, acquisition)


def add_pair(viewer):
    """An HAADF image and maps of its field."""
    haadf, counts = scene()
    return [add_haadf(viewer, haadf), *add_maps(viewer, counts)]


def _add(viewer, data, label, unit, step, first, acquisition):
    """Planes (y, x) along an axis that is no length, beside whatever is open."""
    keywords = {
        "name": acquisition["kind"],
        "scale": (step, 1.5, 1.5, 1.5),
        "translate": (first, 0.0, 0.0, 0.0),
        "units": (unit, "nm", "nm", "nm"),
        "axis_labels": (label, "z", "y", "x"),
        "metadata": {"acquisition": acquisition},
    }
    (placed,) = keep_units([(data[:, None], keywords, "image")], viewer.layers)
    return [viewer.add_layer(Layer.create(*placed))]


SOURCES = {"image": add_image, "tilts": add_tilts, "spectra": add_spectra, "pair": add_pair}


@dataclass
class Told:
    """What is reported: how often each thing was done, every fault, and what there is after each run.

    ``memory_mb`` and ``threads`` of the process, ``layers`` that are alive, in the viewer or not, and ``widgets``.
    """

    runs: Counter = field(default_factory=Counter)
    ended: Counter = field(default_factory=Counter)
    done: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    qt: Counter = field(default_factory=Counter)
    memory_mb: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    widgets: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Soak:
    """A window in use. As a context manager it listens to everything that may go wrong unseen."""

    def __init__(self, viewer, seed: int = 0, players: dict[str, Player] = PLAYERS) -> None:
        self.viewer = viewer
        self.told = Told()
        self.verbose = False
        self.removed: list[tuple[str, weakref.ref]] = []
        self.closed: list[tuple[str, weakref.ref]] = []
        self._players = players
        self._rng = np.random.default_rng(seed)
        self._docks: dict[str, tuple] = {}
        self._sources: dict[str, list[weakref.ref]] = {}
        self._pools = _pools()
        self._ready = self._action = self.last = ""
        viewer.layers.events.removed.connect(self._note_removed)

    def __enter__(self):
        self._hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        sys.excepthook = lambda kind, error, where: self._fault("".join(traceback.format_exception(error)))
        threading.excepthook = lambda args: self._fault(f"in {args.thread}: {args.exc_value!r}")
        sys.unraisablehook = lambda args: self._fault(f"unraisable in {args.object!r}: {args.exc_value!r}")
        self._handler = qInstallMessageHandler(lambda kind, context, message: self.told.qt.update([message]))
        notification_manager.notification_ready.connect(self._hear)
        return self

    def __exit__(self, *_):
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._hooks
        qInstallMessageHandler(self._handler)
        notification_manager.notification_ready.disconnect(self._hear)

    # ------------------------------------------------------------------------------------------------------ one run

    def run(self, name: str = "") -> None:
        """One run of a player, a random one unless named, with something in the middle and something afterwards."""
        begin = time.monotonic()
        name = name or str(self._rng.choice(list(self._players)))
        player = self._players[name]
        self._ready = name
        layers = self._source(player.source)
        dock = self._dock(player.dock)
        player.choose(dock, layers)
        dock.settings.set_values(dict(player.settings[self._rng.integers(len(player.settings))]))
        given = self._rng.random() < 0.7
        if hasattr(dock, "lam"):
            dock.lam.value = 0.01 if given else None
        self.told.runs[name] += 1
        if self.verbose:
            print(name, dock.settings.values().get("regulariser", dock.settings.values().get("algorithm")), flush=True)  # noqa: T201
        button = getattr(dock, player.button)
        if not button.isEnabled():
            self._fault(f"the button is disabled: {button.toolTip()}")
            return
        results = []
        dock.finished.connect(results.append)
        button.click()
        self._in_the_middle(dock, player)
        self._wait(lambda: not (_alive(dock) and dock.run_row.running), "the run")
        if _alive(dock):
            dock.finished.disconnect(results.append)
        self.told.ended["a layer" if results and results[0] is not None else "nothing"] += 1
        del results, layers, button
        self._afterwards()
        self._settle()
        self.told.seconds.append(time.monotonic() - begin)
        self.last = f"{name}, {self._action}: {self.told.seconds[-1]:.1f} s, {self.told.memory_mb[-1]:.0f} MB"

    def finish(self) -> None:
        """Empty the window, and look for what is left."""
        for title in list(self._docks):
            self._close_dock(title)
        self.viewer.layers.clear()
        self.viewer.dims.ndisplay = 2
        self._settle()
        end = time.monotonic() + LET_GO_S
        while any(ref() is not None for _, ref in self.removed + self.closed) and time.monotonic() < end:
            _events(0.3)
            gc.collect()
        for what, gone in (("layer", self.removed), ("dock", self.closed)):
            for name, ref in gone:
                if ref() is not None:
                    self._fault(f"the {what} {name!r} was removed and is still alive; held by {_holders(ref())}")

    # ---------------------------------------------------------------------------------------------------- what is done

    def _in_the_middle(self, dock, player: Player) -> None:
        actions = {
            "nothing": 8,
            "cancel": 4,
            "done": 4,
            "delete the source": 2,
            "delete all layers": 1,
            "close the dock": 2,
            "rename all layers": 1,
            "2-D/3-D": 3,
            "another theme": 1,
        }
        weights = np.array(list(actions.values()), float)
        action = str(self._rng.choice(list(actions), p=weights / weights.sum()))
        _events(float(self._rng.uniform(0, LATEST_S)))
        self._do(action)
        if action == "cancel":
            dock.run_row.cancel_button.click()
        elif action == "done":
            dock.run_row.done_button.click()
        elif action == "delete the source":
            refs = self._sources[player.source]
            layer = refs[self._rng.integers(len(refs))]()
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        elif action == "delete all layers":
            self.viewer.layers.clear()
        elif action == "close the dock":
            self._close_dock(player.dock)
        elif action == "rename all layers":
            for layer in self.viewer.layers:
                layer.name = f"renamed {self._rng.integers(1000)}"
        elif action == "2-D/3-D":
            self._turn()
        elif action == "another theme":
            self.viewer.theme = "light" if self.viewer.theme == "dark" else "dark"

    def _afterwards(self) -> None:
        for action, chance in (
            ("2-D/3-D", 0.15),
            ("a preview", 0.15),
            ("open a section", 0.15),
            ("compare", 0.2),
            ("delete the newest layer", 0.4),
            ("hide the dock", 0.05),
            ("select another layer", 0.2),
        ):
            if self._rng.random() > chance:
                continue
            self._do(action)
            if action == "2-D/3-D":
                self._turn()
            elif action == "a preview":
                for _, dock in self._docks.values():
                    if hasattr(dock, "preview_box"):
                        dock.preview_box.toggle()
                _events(0.3)
            elif action == "open a section":
                self._toggle_section()
            elif action == "compare" and "Deconvolve" in self._docks:
                buttons = [each for each in self._docks["Deconvolve"][1].compare.buttons.values() if each.isEnabled()]
                if buttons:
                    buttons[self._rng.integers(len(buttons))].click()
                    _events(0.2)
            elif action == "delete the newest layer" and len(self.viewer.layers):
                self.viewer.layers.pop(-1)
            elif action == "hide the dock":
                for docked, _ in self._docks.values():
                    docked.hide()
                    docked.show()
            elif action == "select another layer" and len(self.viewer.layers):
                self.viewer.layers.selection.active = self.viewer.layers[
                    int(self._rng.integers(len(self.viewer.layers)))
                ]
        while len(self.viewer.layers) > MOST_LAYERS:
            self.viewer.layers.pop(int(self._rng.integers(len(self.viewer.layers))))

    def _do(self, action: str) -> None:
        self._action = action
        self.told.done[action] += 1
        if self.verbose:
            print(f"  {action}", flush=True)  # noqa: T201

    def _toggle_section(self) -> None:
        for _, dock in self._docks.values():
            for section in dock.findChildren(QCollapsible):
                if section.isExpanded():
                    section.collapse()
                else:
                    section.expand()

    def _turn(self) -> None:
        self.viewer.dims.ndisplay = 5 - self.viewer.dims.ndisplay

    # ----------------------------------------------------------------------------------------------------- the window

    def _source(self, key: str) -> list:
        """The layers of a kind of data; opened again where one was deleted."""
        known = [ref() for ref in self._sources.get(key, [])]
        there = [each for each in known if each is not None and each in self.viewer.layers]
        if len(there) < max(len(known), 1):
            for each in there:
                self.viewer.layers.remove(each)
            there = SOURCES[key](self.viewer)
            self._sources[key] = [weakref.ref(each) for each in there]
        return there

    def _dock(self, title: str):
        if title not in self._docks:
            self._docks[title] = self.viewer.window.add_plugin_dock_widget(PLUGIN, title)
        return self._docks[title][1]

    def _close_dock(self, title: str) -> None:
        docked, dock = self._docks.pop(title)
        self.closed.append((title, weakref.ref(dock)))
        docked.destroyOnClose()  # what its × does

    def _settle(self) -> None:
        """Wait until nothing is computed any more; note what there is."""
        self._wait(lambda: not any(_busy(dock) for _, dock in self._docks.values()), "a preview or a plot")
        if not QThreadPool.globalInstance().waitForDone(1000 * HANG_S):
            self._fault("a thread of Qt's pool does not end")
        _events(0.05)
        pools = _pools() - self._pools
        left = {name: n for name, n in pools.items() if n > (0 if name in OF_ONE_RUN else os.cpu_count() or 1)}
        if left:
            self._fault(f"threads are left: {left}")
        notification_manager.records.clear()
        gc.collect()
        self.told.memory_mb.append(psutil.Process().memory_info().rss / 2**20)
        self.told.threads.append(psutil.Process().num_threads())
        self.told.layers.append(len(self.viewer.layers) + sum(ref() is not None for _, ref in self.removed))
        self.told.widgets.append(len(QApplication.allWidgets()))

    def _wait(self, until, what: str) -> None:
        end = time.monotonic() + HANG_S
        while not until():
            if time.monotonic() > end:
                self._fault(f"{what} does not end within {HANG_S} s")
                return
            _events(0.02)

    # --------------------------------------------------------------------------------------------------------- faults

    def _note_removed(self, event) -> None:
        self.removed.append((event.value.name, weakref.ref(event.value)))

    def _hear(self, notification) -> None:
        if isinstance(notification, ErrorNotification):
            self._fault(f"an error is shown: {notification.as_text()}\n{notification.message}")

    def _fault(self, text: str) -> None:
        self.told.faults.append(f"{len(self.told.seconds)} ({self._ready}): {text.strip()}")


def _pools() -> Counter:
    """How many threads each pool has."""
    return Counter(each.name.rpartition("_")[0] for each in threading.enumerate() if "_" in each.name)


def _alive(dock) -> bool:
    """Whether Qt's half of a dock is still there."""
    try:
        dock.objectName()
    except RuntimeError:
        return False
    return True


def _busy(dock) -> bool:
    names = ("preview", "why", "lines", "lambda_panel", "compare", "live", "spectrum", "run_row")
    parts = (getattr(dock, name, None) for name in names)
    return any(getattr(each, "busy", False) or getattr(each, "running", False) for each in parts if each is not None)


def _events(seconds: float) -> None:
    """Let the window live for a while: in a loop of its own, without which Qt deletes nothing that is to be deleted."""
    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()


def _holders(layer) -> list[str]:
    """What refers to a layer."""
    found = []
    for each in gc.get_referrers(layer):
        if type(each).__name__ == "frame":
            continue
        owners = [type(owner).__name__ for owner in gc.get_referrers(each) if type(owner).__name__ != "frame"]
        keys = [key for key, value in each.items() if value is layer] if isinstance(each, dict) else []
        found.append(f"{type(each).__name__}{keys} of {owners[:4]}")
    return found
