"""Fixtures for tests in a real window."""

from __future__ import annotations

import gc
import threading
from importlib import import_module

import pytest
from held_runs import Held, with_an_image
from napari.settings import get_settings
from notifications import errors
from npe2 import PluginManager
from npe2.manifest.schema import discovery_blocked

from napari_invrecon.plugin.activation import SLOW


@pytest.fixture(scope="session", autouse=True)
def nothing_is_looked_for_or_saved_again():
    """Every window would look for plugins and write napari's settings: a fifth of a short test, on the user's file."""
    get_settings()._save_on_change = False
    PluginManager.instance().discover(include_npe1=True)
    with discovery_blocked():
        yield


@pytest.fixture(scope="module", autouse=True)
def what_stays_is_no_garbage(request):
    """napari collects garbage several times a window, and need not search all that is imported, or will be."""
    if request.node.get_closest_marker("gui") is not None:
        for name in SLOW:
            import_module(name)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def threads_end(qtbot):
    """Afterwards, no thread of Qt's pool is at work and none of Python's has been left behind."""
    from qtpy.QtCore import QThreadPool
    from superqt.utils import WorkerBase

    def own_threads():
        return {each for each in threading.enumerate() if not isinstance(each, threading._DummyThread)}

    before = own_threads()
    yield
    assert QThreadPool.globalInstance().waitForDone(5000), "a worker is still running"
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=5000)
    assert own_threads() <= before


@pytest.fixture
def runs_end(qtbot):
    """No run is at work afterwards, nor the threads that it had for itself. (dask and the solvers keep theirs.)"""
    from qtpy.QtCore import QThreadPool
    from superqt.utils import WorkerBase

    yield
    assert QThreadPool.globalInstance().waitForDone(5000), "a worker is still running"
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=5000)
    assert [each.name for each in threading.enumerate() if each.name.startswith("invrecon_")] == []


@pytest.fixture
def no_error_is_left():
    """Every error that napari shows is one that the test has asked for with `errors`."""
    errors()
    yield
    assert errors() == []


@pytest.fixture
def hold(monkeypatch):
    """``hold(module, name)`` holds every run of the reconstruction that a dock takes from there; see `Held`."""
    made = []

    def hold(module, name, middle=with_an_image):
        held = Held(getattr(module, name), middle)
        monkeypatch.setattr(module, name, held)
        made.append(held)
        return held

    yield hold
    for each in made:
        each.opened.set()
