"""What napari calls when it first uses the package."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.gui

SCRIPT = """
import sys, threading
import napari
from npe2 import PluginManager
from qtpy.QtCore import QEventLoop, QTimer

viewer = napari.Viewer(show=False)
PluginManager.instance().activate("napari-invrecon")
assert "napari_invrecon.recon.solvers" not in sys.modules, "nothing is imported while napari waits"
loop = QEventLoop()
asked = QTimer(loop)
docks = ("deconvolution", "tomography", "fusion", "spectrum")
names = [f"napari_invrecon.plugin.widgets.{dock}" for dock in docks]
imported = lambda: not [each for each in threading.enumerate() if each.name == "invrecon imports"]
asked.timeout.connect(lambda: loop.quit() if names[-1] in sys.modules and imported() else None)
asked.start(50)
QTimer.singleShot(60_000, loop.quit)
loop.exec()
asked.stop()
missing = [name for name in names if name not in sys.modules]
assert not missing, missing
_, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
assert type(dock).__name__ == "DeconvolutionDock"
viewer.close()
"""


def test_the_docks_are_imported_beside_the_window(tmp_path):
    """In a process of its own: here they are imported already."""
    asked = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=os.environ | {"NAPARI_CONFIG": str(tmp_path / "settings.yaml")},
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr[-2000:]
