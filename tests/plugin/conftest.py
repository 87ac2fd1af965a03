"""Fixtures for tests in a real window."""

from __future__ import annotations

import threading

import pytest


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
