"""A real needle, from the drop of its files to its volume, by the buttons of the dock "Tomography"."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tilt_window import drop, open_dock, press, write

from napari_invrecon.io import read

pytestmark = [pytest.mark.gui, pytest.mark.long]

BIN = 4


@pytest.fixture
def needle(shared_data, tmp_path):
    """(path, binned images): every second tilt, 4 × 4 pixels made one."""
    path = shared_data / "tilt" / "HAADF.mrc"
    if not path.is_file():
        pytest.skip(f"{path} not found")
    (series,) = read(path)
    data, angles = np.asarray(series.data[::2], np.float32), series.metadata["angles_deg"][::2]
    n, y, x = data.shape
    data = data.reshape(n, y // BIN, BIN, x // BIN, BIN).mean(axis=(2, 4)).astype(np.float32)
    write(tmp_path / "needle.mrc", data, np.array(angles), BIN * series.axes[-1].scale)
    return tmp_path / "needle.mrc", data


def test_the_needle(qtbot, make_napari_viewer, needle):
    path, data = needle
    viewer = make_napari_viewer(show=True)
    drop(viewer, path)
    (source,) = viewer.layers
    dock = open_dock(viewer, n_iter=20)
    assert dock.angles.label.text() == "39 angles, −76…76°, from needle.rawtlt"
    dock.axis.value = "x"  # the needle lies along x
    aligned = press(qtbot, dock, dock.align_button)
    found = aligned.metadata["invrecon"]["alignment"]
    assert abs(found["axis_rotation_deg"]) < 5
    volume = press(qtbot, dock, dock.run_button)

    record = volume.metadata["invrecon"]
    print(f"\n{json.dumps(record, ensure_ascii=False)}")  # noqa: T201
    ny, nx = data.shape[1:]
    assert volume.data.shape == (ny, ny, nx)
    assert viewer.dims.ndisplay == 3
    np.testing.assert_allclose(volume.translate[2], source.translate[3], atol=1e-6)
    assert record["background"]["subtracted"] < 0, "its vacuum is far below zero"
    assert record["history"][record["sources"][0]["made_by"]]["method"] == "align"
    # A needle is round: its extent across the axis is the same along the beam, up to the missing wedge's elongation.
    section = volume.data[:, :, 5 * nx // 8]
    wide = section.max(axis=0) > 0.4 * np.percentile(section, 99.5)
    deep = section.max(axis=1) > 0.4 * np.percentile(section, 99.5)
    assert 0.7 < deep.sum() / wide.sum() < 1.5
    middle = np.flatnonzero(wide).mean(), np.flatnonzero(deep).mean()
    np.testing.assert_allclose(middle, (ny - 1) / 2, atol=0.15 * ny)
