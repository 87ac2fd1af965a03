"""A recorded reconstruction gives the same array again, bit for bit."""

import json

import dask.array as da
import numpy as np
import pytest
from phantoms import image
from recorded import METHODS, recorded

import napari_invrecon as ir
from napari_invrecon.recon.deconvolution import deconvolution
from napari_invrecon.recon.measured_psf import measured_psf
from napari_invrecon.recon.probe import GaussianPSF
from napari_invrecon.recon.record import array_hash


def test_hash_depends_on_values_shape_and_dtype_not_on_layout():
    a = np.arange(600, dtype=np.float32).reshape(20, 30)
    assert array_hash(a) == array_hash(np.asfortranarray(a)) == array_hash(da.from_array(a, chunks=(7, 11)))
    for other in (a.reshape(30, 20), a.astype(np.float64), np.where(a == 5, 6, a)):
        assert array_hash(other) != array_hash(a)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_replayed_from_its_record_in_a_file(method):
    first, sources = recorded(method)
    again = ir.replay(json.loads(json.dumps(first.record)), sources)
    assert array_hash(again.data) == array_hash(first.data) == first.record["result"]["sha256"]
    assert again.record["sources"] == first.record["sources"]
    assert again.record["result"] == first.record["result"]


@pytest.mark.parametrize("options", [{}, {"regulariser": "tikhonov"}, {"noise": "poisson"}, {"regulariser": "l1"}])
def test_replay_gives_the_same_array(options):
    _, y = image("slabs", 1.5, 50, size=80)
    first = ir.deconvolve(y, ir.gaussian_psf(1.5), **options)
    again = ir.replay(first.record, [y, ir.gaussian_psf(1.5)])
    assert array_hash(again.data) == array_hash(first.data)


def test_replay_makes_the_model_again_and_knows_a_stranger():
    _, y = image("slabs", 1.5, 50, size=64)
    first = ir.deconvolve(y, GaussianPSF(3.0, "nm"), pixel_size_nm=2.0)
    assert array_hash(ir.replay(first.record, [y]).data) == array_hash(first.data)
    with pytest.warns(UserWarning, match="the image is not the one"):
        ir.replay(first.record, [y + 1])


def test_replay_with_weights():
    _, y = image("slabs", 1.5, 50, size=64)
    weights = np.ones(y.shape, np.uint8)
    weights[10:20, 10:20] = 0
    first = ir.deconvolve(y, ir.gaussian_psf(1.5), weights)
    again = ir.replay(first.record, [y, ir.gaussian_psf(1.5), weights])
    assert array_hash(again.data) == array_hash(first.data)


@pytest.mark.parametrize(
    ("change", "sources", "message"),
    [
        ({"method": "guess"}, [], "expected 'align' or 'deconvolve'"),
        ({}, [], "the image is missing: pass image, psf"),
        ({"settings": {"regulariser": "guess"}}, [0], "expected one of"),
    ],
)
def test_replay_refuses_what_it_cannot_run(change, sources, message):
    with pytest.raises(ValueError, match=message):
        ir.replay(recorded("deconvolve")[0].record | change, sources)


def test_weights_may_not_be_left_out():
    _, y = image("slabs", 1.5, 50, size=48)
    first = ir.deconvolve(y, ir.gaussian_psf(1.5), np.ones_like(y), regulariser="tikhonov", n_iter=3)
    with pytest.raises(ValueError, match="the weights is missing"):
        ir.replay(first.record, [y, ir.gaussian_psf(1.5)])


def test_a_measured_psf_is_replayed_from_its_kernel_alone():
    _, y = image("slabs", 1.5, 50, size=48)
    psf = measured_psf(ir.gaussian_psf(3.0), pixel_size_nm=0.5)
    first = ir.deconvolve(y, psf, regulariser="tikhonov", pixel_size_nm=1.0)
    assert np.array_equal(ir.replay(first.record, [y, psf]).data, first.data)
    assert np.array_equal(ir.replay(first.record, [y, psf.array]).data, first.data)


@pytest.mark.parametrize("method", ["fourier-ratio", "richardson-lucy"])
def test_replay_along_the_energy(method):
    rng = np.random.default_rng(0)
    kernel = np.exp(-(np.arange(-20, 80) ** 2) / 18) * 1e4
    spectrum = rng.poisson(np.convolve(np.where(np.arange(200) > 90, 200.0, 20.0), kernel / kernel.sum(), "same"))
    first = ir.deconvolve_energy(spectrum, kernel, method=method)
    again = ir.replay(first.record, [spectrum, kernel])
    assert array_hash(again.data) == array_hash(first.data)


def test_replay_with_a_region_and_no_weights():
    x, y = image("particles", 1.5, 100, size=64)
    region = x == x.min()
    first = ir.deconvolve(y, ir.gaussian_psf(1.5), reference=region)
    again = ir.replay(first.record, [y, ir.gaussian_psf(1.5), region])
    assert np.array_equal(again.data, first.data)
    with pytest.raises(ValueError, match="4 sources for a record of 3: pass image, psf, reference"):
        ir.replay(first.record, [y, ir.gaussian_psf(1.5), None, region])


def test_replay_of_a_run_that_was_asked_to_finish():
    _, y = image("particles", 1.5, 100, size=64)
    psf = ir.gaussian_psf(1.5)
    steps = deconvolution(y, psf, None, ir.DeconvolutionSettings(lam=0.02))
    asked = None
    while True:
        try:
            state = steps.send(asked)
        except StopIteration as end:
            first = end.value
            break
        asked = state.x is not None and state.step >= 5
    assert first.record["stopped"] == "asked to finish"
    assert np.array_equal(ir.replay(first.record, [y, psf]).data, first.data)
