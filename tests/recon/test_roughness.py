"""‖Δ√x‖²: its value, a minimum that is one, columns on a dark ground, shades, and what it must refuse."""

import numpy as np
import pytest
from phantoms import image, rmse
from skimage.restoration import richardson_lucy, wiener

import napari_invrecon as ir
from napari_invrecon.recon.boundary import periodic_frame
from napari_invrecon.recon.fidelities import poisson
from napari_invrecon.recon.operators import transfer_function
from napari_invrecon.recon.roughness import bending, roughness, smooth_amplitude
from napari_invrecon.recon.solvers import Window

PSF = ir.gaussian_psf(1.5)


def test_value_is_that_of_the_definition():
    q = np.random.default_rng(0).random((12, 15)).astype(np.float32)
    bent = sum(np.roll(q, 1, axis) + np.roll(q, -1, axis) - 2 * q for axis in (0, 1))
    assert roughness(q * q) == pytest.approx(float(np.sum(bent**2)), rel=1e-5)
    assert roughness(np.full((8, 9), 3.0, np.float32)) == pytest.approx(0, abs=1e-6)
    wide = np.pad(q, 1, mode="edge")  # no slope across the edges, so that two ends of a field do not know of each other
    bent = sum(np.roll(wide, 1, axis) + np.roll(wide, -1, axis) - 2 * wide for axis in (0, 1))[1:-1, 1:-1]
    assert roughness(q * q, q.shape) == pytest.approx(float(np.sum(bent**2)), rel=1e-5)


def test_bending_is_its_own_adjoint_and_sees_nothing_beyond_the_ends():
    rng = np.random.default_rng(0)
    for shape, ends in (((9, 12), (7, 13)), ((6, 7, 8), (6, 5, 9)), ((20,), (20,))):
        p, q = rng.standard_normal((2, *shape)).astype(np.float32)
        assert np.vdot(bending(p, ends), q) == pytest.approx(float(np.vdot(p, bending(q, ends))), rel=1e-4, abs=1e-4)
        outside = np.ones(shape, bool)
        outside[tuple(slice(0, end) for end in ends)] = False
        assert not bending(p, ends)[outside].any()
        np.testing.assert_array_equal(bending(np.where(outside, 9, p), ends), bending(p, ends))


def test_no_nearby_image_has_a_smaller_objective():
    _, y = image("lattice", 1.5, 100, size=48)
    y = y / 100
    otf, lam = transfer_function(PSF, y.shape), 0.3
    window = Window(poisson(y), periodic_frame(y.shape).view)
    iterates = list(smooth_amplitude(window, otf, lam, np.ones_like(y), n_steps=400, tolerance=1e-6))
    objectives = [each.objective for each in iterates]
    assert (np.diff(objectives) <= 1e-3).all()
    x = iterates[-1].x

    def objective(x):
        blurred = np.fft.irfft2(np.fft.rfft2(x) * otf, s=x.shape)
        return window.fidelity.value(blurred) + lam * roughness(x)

    rng = np.random.default_rng(1)
    for size in (1e-3, 1e-2):
        for _ in range(5):
            near = np.square(np.sqrt(x) * (1 + size * rng.standard_normal(x.shape)))
            assert objective(x) < objective(near)
    assert objective(x) < min(objective(0.99 * x), objective(1.01 * x))


@pytest.mark.parametrize(("kind", "seed"), [("lattice", 1), ("ramps", 2)])
def test_ahead_of_wiener_and_richardson_lucy_at_their_best(kind, seed):
    x, y = image(kind, 1.5, 200, size=128, seed=seed)
    top = float(y.max())
    peers = [rmse(wiener(y / top, PSF, balance=b, clip=False) * top, x) for b in np.logspace(-3, 1, 17)]
    peers += [rmse(richardson_lucy(y / top, PSF, num_iter=n, clip=False) * top, x) for n in (2, 4, 8, 12, 16, 24, 32)]
    found = ir.deconvolve(y, PSF, regulariser="roughness", noise="poisson")
    assert rmse(found.data, x) < min(peers)
    assert found.data.min() >= 0
    assert found.record["nonnegative"]


def test_it_does_not_stop_before_the_rim_has_settled():
    x, y = image("ramps", 3, 1000, size=96)
    options = {"regulariser": "roughness", "lam": 400.0}
    found, settled = (
        ir.deconvolve(y, ir.gaussian_psf(3.0), **options, **more).data for more in ({}, {"tolerance": 1e-5})
    )
    rim = np.ones(x.shape, bool)
    rim[8:-8, 8:-8] = False
    assert rmse(found[rim], x[rim]) < 1.1 * rmse(settled[rim], x[rim])


def test_exposure_does_not_change_lambda():
    x, y = image("lattice", 1.5, 400, size=96)
    one = ir.deconvolve(y, PSF, regulariser="roughness", noise="poisson", lam=0.2, gain=1.0, offset=0.0)
    many = ir.deconvolve(50 * y, PSF, regulariser="roughness", noise="poisson", lam=0.2, gain=50.0, offset=0.0)
    np.testing.assert_allclose(many.data / 50, one.data, atol=2e-3 * x.max())


def test_done_keeps_what_was_shown():
    _, y = image("lattice", 1.5, 100, size=48)
    steps = smooth_amplitude(
        Window(poisson(y / 100), periodic_frame(y.shape).view), transfer_function(PSF, y.shape), 0.3, y / 100
    )
    shown = [next(steps) for _ in range(4)][-1]
    with pytest.raises(StopIteration) as end:
        steps.send(True)
    np.testing.assert_array_equal(end.value.value, shown.x)


def test_a_result_below_zero_is_not_on_offer():
    with pytest.raises(ValueError, match="nonnegative"):
        ir.deconvolve(np.ones((32, 32)), PSF, regulariser="roughness", nonnegative=False)
