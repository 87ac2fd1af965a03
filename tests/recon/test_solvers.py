"""Different solvers, one minimiser; closed forms; objectives that fall."""

import numpy as np
import pytest

from napari_invrecon.recon import regularisers
from napari_invrecon.recon.boundary import mirror, open_frame
from napari_invrecon.recon.fidelities import least_squares, poisson
from napari_invrecon.recon.gradients import (
    counted,
    gradient,
    gradient_adjoint,
    shrink_gradient_step,
    total_variation,
)
from napari_invrecon.recon.operators import convolution, field_of_view, gradient_power, transfer_function
from napari_invrecon.recon.regularisers import Regulariser
from napari_invrecon.recon.solvers import Window, admm, finish, fista, primal_dual, spectral
from napari_invrecon.recon.wavelets import wavelet_l1

G = np.exp(-(np.arange(-4, 5) ** 2) / 4.5)
PSF = (np.outer(G, G) / G.sum() ** 2).astype(np.float32)
N = np.exp(-(np.arange(-3, 4) ** 2) / 0.9)
NARROW = (np.outer(N, N) / N.sum() ** 2).astype(np.float32)


def scene(shape=(40, 36), seed=0):
    rng = np.random.default_rng(seed)
    x = np.zeros(shape, np.float32)
    x[8:20, 10:30] = 0.7
    x[25:33, 5:15] = 1
    return x, rng


def blurred(shape=(40, 36), noise=0.02, seed=0):
    x, rng = scene(shape, seed)
    return convolution(PSF, shape)(x) + rng.normal(0, noise, shape).astype(np.float32)


def spikes(shape=(40, 36), noise=0.02):
    """What l1 is for: few points, and a blur that leaves the minimiser well determined."""
    rng = np.random.default_rng(3)
    x = np.zeros(shape, np.float32)
    x[4:-4:6, 3:-4:7] = rng.uniform(0.5, 1, x[4:-4:6, 3:-4:7].shape)
    return convolution(NARROW, shape)(x) + rng.normal(0, noise, shape).astype(np.float32)


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize(("name", "power"), [("l2", None), ("tikhonov", gradient_power)])
def test_spectral_solves_the_normal_equations(name, power):
    y = blurred()
    H, lam = convolution(PSF, y.shape), 0.03
    x = spectral(y, transfer_function(PSF, y.shape), getattr(regularisers, name)().power(y.shape), lam)
    prior = gradient_adjoint(gradient(x)) if power else x
    np.testing.assert_allclose(H.T(H(x) - y) + lam * prior, 0, atol=2e-6)


@pytest.mark.parametrize("name", ["l2", "tikhonov"])
def test_admm_agrees_with_the_closed_form(name):
    y = blurred()
    regulariser, otf = getattr(regularisers, name)(), transfer_function(PSF, y.shape)
    x = spectral(y, otf, regulariser.power(y.shape), 0.03)
    assert relative(finish(admm(y, otf, regulariser, 0.03, y, n_steps=1000, tolerance=1e-6)), x) < 1e-3


@pytest.mark.parametrize(
    ("name", "noise", "nonnegative"),
    [("tv", "gaussian", False), ("tv", "gaussian", True), ("tv", "poisson", True), ("l1", "gaussian", False),
     ("l1", "gaussian", True), ("l1", "poisson", True), ("tikhonov", "poisson", True), ("wavelet", "gaussian", False)],
)  # fmt: skip
def test_admm_and_primal_dual_give_the_same_minimiser(name, noise, nonnegative):
    y, psf = (spikes(), NARROW) if name == "l1" else (blurred(), PSF)
    frame = open_frame(y.shape, psf.shape)
    if noise == "poisson":
        y = np.random.default_rng(1).poisson(np.maximum(y, 0) * 100 + 2).astype(np.float32) / 100
    fidelity = least_squares(y) if noise == "gaussian" else poisson(y, 0.02)
    H = field_of_view(convolution(psf, frame.shape), frame.view)
    start = mirror(y, frame)
    prior, otf = (
        wavelet_l1() if name == "wavelet" else getattr(regularisers, name)(),
        transfer_function(psf, frame.shape),
    )
    window = Window(fidelity, frame.view)
    counts = prior.K.counted(frame.shape, window.ends(frame.shape))
    regulariser = Regulariser(prior.K, prior.value, lambda v, s: np.where(counts, prior.prox(v * counts, s), v))
    limits = {"nonnegative": nonnegative, "n_steps": 5000, "tolerance": 1e-6}
    one = frame.crop(finish(admm(window, otf, prior, 0.02, start, **limits)))
    two = frame.crop(finish(primal_dual(H, fidelity, regulariser, 0.02, start, **limits)))
    assert relative(one, two) < 1e-3


@pytest.mark.parametrize("nonnegative", [False, True])
def test_fista_gives_the_same_minimiser_as_admm(nonnegative):
    y = spikes()
    H, otf = convolution(NARROW, y.shape), transfer_function(NARROW, y.shape)
    limits = {"nonnegative": nonnegative, "n_steps": 5000, "tolerance": 1e-6}
    one = finish(admm(y, otf, regularisers.l1(), 0.1, y, **limits))
    two = finish(fista(H, least_squares(y), regularisers.l1(), 0.1, y, curvature=2.0, **limits))
    assert relative(one, two) < 1e-3


def test_a_window_on_a_whole_period_is_no_window():
    y = blurred()
    prior, otf = regularisers.tv(), transfer_function(PSF, y.shape)
    window = Window(least_squares(y), tuple(slice(0, n) for n in y.shape))
    one, two = (finish(admm(data, otf, prior, 0.02, y, n_steps=2000, tolerance=1e-6)) for data in (y, window))
    assert relative(one, two) < 1e-3


def test_objective_falls():
    y = blurred()
    H, start = convolution(PSF, y.shape), np.zeros_like(y)
    fidelity = least_squares(y)
    for steps, regulariser in (
        (admm(y, transfer_function(PSF, y.shape), regularisers.tv(), 0.02, start, n_steps=60), regularisers.tv()),
        (fista(H, fidelity, regularisers.l1(), 0.02, start, curvature=2.0, n_steps=60), regularisers.l1()),
        (primal_dual(H, fidelity, regularisers.tv(), 0.02, start, n_steps=200), regularisers.tv()),
    ):
        values = [fidelity.value(H(each.x)) + 0.02 * regulariser.value(each.x) for each in steps]
        assert values[-1] < 0.1 * np.sum(y**2)
        late = np.array(values[len(values) // 2 :])
        assert (np.diff(late) <= 1e-4 * late[:-1]).all()


def test_asked_to_finish_it_returns_what_it_has():
    y = blurred()
    steps = admm(y, transfer_function(PSF, y.shape), regularisers.tv(), 0.02, y, n_steps=100)
    next(steps)
    second = next(steps).x.copy()
    with pytest.raises(StopIteration) as end:
        steps.send(True)
    np.testing.assert_array_equal(end.value.value, second)


@pytest.mark.parametrize("shape", [(50,), (31, 40), (1, 7), (7, 1), (8, 9, 10), (3, 2, 5)])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("cut", [-1, 0, 2])
def test_fused_shrinkage_is_the_plain_one(shape, threads, cut):
    rng = np.random.default_rng(6)
    x, state = rng.standard_normal(shape).astype(np.float32), rng.standard_normal((len(shape), *shape))
    state = state.astype(np.float32)
    ends = tuple(max(n - cut, 1) for n in shape)
    counts = counted(shape, ends)

    def prox(v):
        return np.where(counts, regularisers.tv().prox(v * counts, 0.7), v)

    expected = state + 1.8 * (gradient(x) - prox(state))
    pulled = np.empty_like(x)
    value = shrink_gradient_step(x, state, pulled, 0.7, 1.8, ends, threads)
    assert value == pytest.approx(total_variation(x, ends), rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(state, expected, atol=1e-5)
    np.testing.assert_allclose(pulled, gradient_adjoint(2 * prox(expected) - expected), atol=2e-5)


def test_gradient_adjoint():
    rng = np.random.default_rng(7)
    for shape in [(9,), (5, 6), (3, 4, 5)]:
        x, g = rng.standard_normal(shape), rng.standard_normal((len(shape), *shape))
        assert np.sum(gradient(x) * g) == pytest.approx(np.sum(x * gradient_adjoint(g)))
