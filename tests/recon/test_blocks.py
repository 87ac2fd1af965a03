"""Cutting, order, cancelling and memory of the blocked solver."""

import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pytest
from phantoms import image

import napari_invrecon as ir
from napari_invrecon.recon import deconvolution
from napari_invrecon.recon.blocks import allocate, as_result, cut, sample, solve_blocks


@pytest.mark.parametrize("edge", [None, 7, 16, 100])
def test_cores_tile_the_image_exactly_once(edge):
    shape = (2, 33, 41)
    hits = np.zeros(shape, int)
    for block in cut(shape, 2, edge, (5, 3)):
        hits[block.core] += 1
        for core, read in zip(block.core, block.read, strict=True):
            assert read.start <= core.start < core.stop <= read.stop
    assert (hits == 1).all()


def test_halo_and_what_is_missing_of_it_add_up():
    for block in cut((50, 60), 2, 20, (8, 11)):
        for core, read, missing, reach in zip(block.core, block.read, block.missing, (8, 11), strict=True):
            assert core.start - read.start + missing[0] == reach
            assert read.stop - core.stop + missing[1] == reach


def test_blocks_put_the_image_back_together():
    image = np.random.default_rng(0).random((3, 40, 50)).astype(np.float32)
    out = np.empty_like(image)
    with ThreadPoolExecutor(2) as pool:
        blocks = cut(image.shape, 2, 16, (4, 4))
        lazy = da.from_array(image, chunks=(1, 13, 50))
        steps = list(solve_blocks(blocks, lambda b: np.asarray(lazy[b.read])[b.inside], out, pool, 2))
    assert steps[-1] == len(blocks)
    np.testing.assert_array_equal(out, image)


def test_closing_stops_the_blocks_that_have_not_started():
    ran = []
    lock = threading.Lock()

    def solve(block):
        with lock:
            ran.append(block)
        return image[block.core]

    image = np.zeros((64, 64), np.float32)
    blocks = cut(image.shape, 2, 4, (0, 0))
    with ThreadPoolExecutor(2) as pool:
        steps = solve_blocks(blocks, solve, np.empty_like(image), pool, 2)
        next(steps)
        steps.close()
        count = len(ran)
    assert count == len(ran) <= 5 < len(blocks)


def test_an_error_in_a_block_reaches_the_caller():
    def solve(block):
        raise ZeroDivisionError("in a block")

    image = np.zeros((8, 8), np.float32)
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError, match="in a block"):
        list(solve_blocks(cut(image.shape, 2, 4, (0, 0)), solve, np.empty_like(image), pool, 2))


def test_sample_depends_on_the_shape_not_on_the_chunks():
    image = np.arange(300 * 200, dtype=np.float32).reshape(300, 200)
    one = sample(image, 2, edge=32, whole_up_to=100)
    two = sample(da.from_array(image, chunks=(17, 90)), 2, edge=32, whole_up_to=100)
    assert len(one) == 16
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_large_results_go_to_a_store_that_reads_back():
    out = allocate((30, 40), in_memory=False, edge=16)
    out[5:9, 3:8] = np.float32(2)
    result = as_result(out)
    assert isinstance(result, da.Array)
    assert float(result.sum().compute()) == 40


def test_the_store_is_removed_with_the_last_that_refers_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = as_result(allocate((30, 40), in_memory=False, edge=16))
    gc.collect()
    assert len(list(tmp_path.iterdir())) == 1
    part = result[3:5] + 1
    del result
    gc.collect()
    assert (part.compute() == 1).all()
    del part
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("regulariser", ["l1", "wavelet", "denoiser"])
def test_blocks_meet_without_a_seam(regulariser, monkeypatch):
    _, y = image("particles", 1.5, 50, size=260, seed=5)
    options = {"regulariser": regulariser, "lam": 0.05, "n_iter": 30, "tolerance": 0.0}
    whole = ir.deconvolve(y, ir.gaussian_psf(1.5), **options)
    monkeypatch.setattr(deconvolution, "_block_edge", lambda *_: 130)
    parts = ir.deconvolve(y, ir.gaussian_psf(1.5), **options)
    assert parts.record["blocks"]["count"] == 4
    assert np.abs(parts.data - whole.data).max() < 1e-3 * np.ptp(y)


LEFT_WITH_A_STORE = """
import sys
from pathlib import Path
from napari_invrecon.recon import blocks, resources

resources.use(resources.Resources(scratch=Path(sys.argv[1])))
kept = blocks.as_result(blocks.allocate((8, 8), False, 4))
print(len(list(Path(sys.argv[1]).iterdir())))
exec(sys.argv[2])
"""


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "raise RuntimeError"])
def test_scratch_files_go_when_the_program_ends(tmp_path, end):
    ended = subprocess.run(
        [sys.executable, "-c", LEFT_WITH_A_STORE, str(tmp_path), end],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.stdout == "1\n", ended.stderr
    assert list(tmp_path.iterdir()) == []
