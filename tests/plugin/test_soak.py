"""A few mixed runs of every dock in one window; ``tests/benchmarks/window_soak.py`` does hundreds."""

from __future__ import annotations

import pytest
from soak import PLAYERS, Soak

pytestmark = [pytest.mark.gui, pytest.mark.long]


def test_mixed_runs_leave_nothing_behind(make_napari_viewer):
    viewer = make_napari_viewer(strict_qt=True)
    with Soak(viewer, seed=1) as soak:
        for name in PLAYERS:
            soak.run(name)
        soak.finish()
    assert soak.told.faults == []
    assert soak.told.ended.total() == len(PLAYERS)
