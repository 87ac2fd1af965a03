"""Slabs along the tilt axis: the whole without a seam, in bounded memory, also from a cluster that loses a worker."""

import os
import signal
import weakref

import dask.array as da
import numpy as np
import pytest
from tilt_phantoms import line_integrals, particles

import napari_invrecon as ir
from napari_invrecon.recon import slabs
from napari_invrecon.recon.tilt_series import TiltSeries
from napari_invrecon.recon.tilt_settings import TomographySettings
from napari_invrecon.recon.tomography import tomography

N = 48
ANGLES = np.arange(-70, 71, 5.0)


@pytest.fixture(scope="module")
def stack():
    clean = line_integrals(particles(8), ANGLES, N, N).astype(np.float32)
    return clean + 0.3 * np.random.default_rng(1).standard_normal(clean.shape).astype(np.float32)


@pytest.fixture
def narrow(monkeypatch):
    """Room for a part of the stack only."""

    def limit(megabytes):
        monkeypatch.setattr(slabs, "_SHARE", megabytes / 100)

    return limit


@pytest.mark.parametrize("algorithm", ["fbp", "sirt", "sart", "l1"])
def test_slices_that_are_not_coupled_have_no_seam_at_all(stack, narrow, algorithm):
    settings = {
        "algorithm": algorithm,
        "lam": 3e-3,
        "n_iter": 10,
        "tolerance": 0.0,
        "noise_sigma": 0.0,
        "memory_gb": 0.1,
    }
    whole = ir.reconstruct_tilt_series(stack, ANGLES, **settings)
    narrow(1.5)
    cut = ir.reconstruct_tilt_series(stack, ANGLES, **settings)
    assert cut.record["memory"]["n_slabs"] > 2
    assert cut.record["memory"]["halo_slices"] == 0
    assert np.allclose(cut.data, whole.data, atol=1e-5 * whole.data.max())


@pytest.mark.parametrize("algorithm", ["tv-sart", "tv", "tikhonov"])
def test_a_halo_hides_the_seams_of_what_couples_slices(stack, narrow, algorithm):
    lam, n_iter = (0.1, 120) if algorithm == "tikhonov" else (6e-3, 30)
    settings = {"algorithm": algorithm, "lam": lam, "tolerance": 0.0, "n_iter": n_iter, "memory_gb": 0.1}
    whole = ir.reconstruct_tilt_series(stack, ANGLES, **settings)
    narrow(5.2)
    cut = ir.reconstruct_tilt_series(stack, ANGLES, **settings)
    assert cut.record["memory"]["n_slabs"] > 1
    assert np.abs(cut.data - whole.data).max() < 1e-3 * np.ptp(whole.data)


def test_a_result_larger_than_memory_is_lazy(stack, narrow, monkeypatch):
    settings = {"algorithm": "sirt", "n_iter": 5, "tolerance": 0.0, "noise_sigma": 0.0, "memory_gb": 0.1}
    whole = ir.reconstruct_tilt_series(stack, ANGLES, **settings)
    narrow(2)
    monkeypatch.setattr(slabs, "_ON_DISK_FROM", 0.0)
    cut = ir.reconstruct_tilt_series(da.from_array(stack), ANGLES, **settings)
    assert isinstance(cut.data, da.Array)
    assert cut.record["memory"]["on_disk"]
    assert cut.data.chunksize[0] == 16 < N  # a few planes can be read without all the others
    assert np.allclose(cut.data.compute(), whole.data, atol=1e-5)


def test_a_slab_that_is_stored_is_not_kept(stack, narrow, monkeypatch):
    solved, kept = [], []
    restore = TiltSeries.restore

    def spy(series, x, *how):
        kept.append(sum(each() is not None for each in solved))
        solved.append(weakref.ref(x if x.base is None else x.base))
        return restore(series, x, *how)

    narrow(1)
    monkeypatch.setattr(TiltSeries, "restore", spy)
    settings = {"algorithm": "sirt", "n_iter": 2, "tolerance": 0.0, "noise_sigma": 0.0, "memory_gb": 0.1}
    result = ir.reconstruct_tilt_series(stack, ANGLES, **settings)
    assert len(kept) == result.record["memory"]["n_slabs"] > 4
    assert max(kept) <= 2


def test_the_volume_grows_and_the_work_is_counted(stack, narrow):
    narrow(1.5)
    settings = TomographySettings(algorithm="sirt", n_iter=5, tolerance=0.0, noise_sigma=0.0, memory_gb=0.1)
    filled, done = [], []
    for state in tomography(stack, ANGLES, settings):
        if state.stage.startswith("slab "):
            done.append(state.step / state.n_steps)
            filled += [] if state.x is None else [np.count_nonzero(state.x.any(axis=(0, 2)))]
    assert 0 < filled[0] < N == filled[-1]
    assert filled == sorted(filled)
    assert done == sorted(done)
    assert done[-1] == 1


def test_done_fills_the_rest_quickly_and_says_so(stack, narrow):
    narrow(1.5)
    settings = TomographySettings(algorithm="sirt", n_iter=40, tolerance=0.0, noise_sigma=0.0, memory_gb=0.1)
    steps = tomography(stack, ANGLES, settings)
    while not next(steps).stage.startswith("slab 1 "):
        pass
    result = None
    while result is None:
        try:
            steps.send(True)
        except StopIteration as end:
            result = end.value
    assert result.record["stopped"].startswith("asked to finish: ")
    assert result.data.any(axis=(0, 2)).all()
    done = result.record["iterations"]["done"]
    assert done[-1] == 1 < max(done[:2]) == result.record["iterations"]["each"] == 40  # either of the first two
    assert np.array_equal(ir.replay(result.record, [stack]).data, result.data)


@pytest.mark.parametrize("algorithm", ["tv", "tv-sart"])
def test_done_while_iterations_are_counted_gives_every_slab_as_many(stack, narrow, algorithm):
    narrow(5.2)
    settings = TomographySettings(algorithm=algorithm, n_iter=20, tolerance=0.0, memory_gb=0.1, lam=6e-3)
    steps, asked, result = tomography(stack, ANGLES, settings), None, None
    while result is None:
        try:
            state = steps.send(asked)
            asked = asked or (state.stage == "counting iterations" and state.step >= 4)
        except StopIteration as end:
            result = end.value
    assert set(result.record["iterations"]["done"]) == {4}
    assert len(result.record["iterations"]["done"]) > 1
    assert result.record["stopped"] == "asked to finish: 4 iterations in every slab"
    assert np.array_equal(ir.replay(result.record, [stack]).data, result.data)


def test_a_cancelled_run_leaves_no_thread_at_work(stack, narrow):
    import threading

    narrow(1.5)
    before = set(threading.enumerate())  # a generator that another test left suspended keeps its threads
    settings = TomographySettings(algorithm="sirt", n_iter=2000, tolerance=0.0, noise_sigma=0.0, memory_gb=0.1, lam=0.0)
    steps = tomography(stack, ANGLES, settings)
    while not next(steps).stage.startswith("counting"):
        pass
    while not (state := steps.send(True)).stage.startswith("slab"):
        pass
    assert state.n_steps >= 1
    steps.close()
    new = set(threading.enumerate()) - before
    assert not [thread for thread in new if thread.name.startswith("invrecon-slab")]


def test_channels_side_by_side(stack):
    four = np.stack([stack[:, :8], stack[:, 8:16], stack[:, 16:24], stack[:, 24:32]])
    settings = {"algorithm": "sirt", "n_iter": 5, "tolerance": 0.0, "noise_sigma": 0.3}
    result = ir.reconstruct_tilt_series(four, ANGLES, **settings)
    assert result.record["memory"]["n_slabs"] == 4
    for channel in range(4):
        one = ir.reconstruct_tilt_series(four[channel], ANGLES, **settings)
        assert np.allclose(result.data[channel], one.data, atol=1e-5)


@pytest.mark.parametrize("algorithm", ["tv-sart", "sirt", "fbp"])
@pytest.mark.parametrize("n_channels", [1, 5])
@pytest.mark.parametrize("n_workers", [None, 1, 7])
@pytest.mark.parametrize("memory_gb", [0.5, 4.0, 64.0])
def test_the_plan_covers_the_stack_within_its_memory(algorithm, n_channels, n_workers, memory_gb):
    n_slices = 600
    plan = slabs.estimate(
        algorithm, slabs.halo(algorithm, 5e-3), 256 * 256, 71 * 256, n_slices, n_channels, memory_gb, n_workers
    )
    along = plan.n_slabs // n_channels
    assert along * n_channels == plan.n_slabs
    assert (along - 1) * plan.slab_slices < n_slices <= along * plan.slab_slices
    assert plan.peak_gb <= memory_gb + 0.4
    assert plan.on_disk == (plan.result_gb > memory_gb / 4)


def test_a_cluster_that_loses_a_worker_gives_the_same(stack, narrow):
    distributed = pytest.importorskip("distributed")
    settings = {"algorithm": "sirt", "n_iter": 60, "tolerance": 0.0, "noise_sigma": 0.3, "memory_gb": 0.1}
    narrow(3)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        with distributed.Client(cluster, set_as_default=False) as client:
            victim = next(iter(client.run(os.getpid).values()))
        steps = tomography(stack, ANGLES, TomographySettings(**settings, cluster=cluster.scheduler_address))
        killed = False
        while True:
            try:
                state = next(steps)
            except StopIteration as end:
                result = end.value
                break
            if state.stage.startswith("slab 1 ") and not killed:
                os.kill(victim, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
                killed = True
    assert killed
    assert result.record["memory"]["n_slabs"] > 3
    here = ir.reconstruct_tilt_series(stack, ANGLES, **settings)
    assert np.allclose(result.data, here.data, atol=1e-5)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense"])
def test_a_cluster_that_does_not_answer(stack, address, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(slabs, "_CONNECT_SECONDS", 1)
    with pytest.raises(ValueError, match="no dask scheduler answers at cluster="):
        ir.reconstruct_tilt_series(stack, ANGLES, algorithm="fbp", cluster=address)
