"""A lazy stack is read once, whatever is asked of it afterwards."""

from __future__ import annotations

import threading
from collections import Counter

import dask.array as da
import numpy as np
import pytest

import napari_invrecon as ir
from napari_invrecon.recon import read_once as module
from napari_invrecon.recon import slabs
from napari_invrecon.recon.read_once import read_once
from napari_invrecon.recon.solvers import finish

SHAPE = 7, 40, 24
ANGLES = np.linspace(-60, 60, SHAPE[0])


class File:
    """Images on a drive, in blocks of three, that counts how often each block is read."""

    def __init__(self, dtype="u2", shape=SHAPE):
        self.values = np.random.default_rng(0).integers(1, 900, shape).astype(dtype)
        self.read = Counter()
        self._lock = threading.Lock()

    def _block(self, block_info=None):
        place = block_info[None]["array-location"]
        with self._lock:
            self.read[tuple(place)] += 1
        return self.values[tuple(slice(start, stop) for start, stop in place)]

    @property
    def lazy(self):
        chunks = da.core.normalize_chunks((*(1 for _ in self.values.shape[:-3]), 3, -1, -1), self.values.shape)
        return da.map_blocks(self._block, chunks=chunks, dtype=self.values.dtype, meta=np.empty(0, self.values.dtype))


@pytest.mark.parametrize("tilt_axis", ["y", "x"])
@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(("dtype", "shape"), [("u2", SHAPE), (">i2", SHAPE), ("f4", (2, *SHAPE))])
def test_the_copy_is_the_stack(monkeypatch, tilt_axis, in_memory, dtype, shape):
    if not in_memory:
        monkeypatch.setattr(module, "_IN_MEMORY", 0.0)
    file = File(dtype, shape)
    copy = finish(read_once(file.lazy, tilt_axis, 0.1))
    assert isinstance(copy, np.ndarray) == in_memory
    assert copy.dtype == file.values.dtype
    assert np.array_equal(np.asarray(copy), file.values)
    assert set(file.read.values()) == {1}


def test_what_is_in_memory_already_is_not_copied():
    values = np.zeros(SHAPE)
    assert finish(read_once(values, "y", 4.0)) is values


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_run_of_many_slabs_reads_each_image_once(monkeypatch, in_memory):
    file = File()
    settings = {"algorithm": "sirt", "n_iter": 3, "memory_gb": 0.1}
    monkeypatch.setattr(slabs, "_SHARE", 0.003)
    if not in_memory:
        monkeypatch.setattr(module, "_IN_MEMORY", 0.0)
    found = ir.reconstruct_tilt_series(file.lazy, ANGLES, **settings)
    assert found.record["memory"]["n_slabs"] > 2
    assert set(file.read.values()) == {1}
    assert np.array_equal(found.data, ir.reconstruct_tilt_series(file.values, ANGLES, **settings).data)


def test_angles_that_do_not_fit_are_told_before_anything_is_read():
    file = File()
    with pytest.raises(ValueError, match="6 tilt angles for 7 tilts"):
        ir.reconstruct_tilt_series(file.lazy, ANGLES[:-1])
    assert not file.read


def test_aligning_reads_each_image_once():
    file = File()
    ir.align(file.lazy, ANGLES, method="cross-correlation")
    assert set(file.read.values()) == {1}
