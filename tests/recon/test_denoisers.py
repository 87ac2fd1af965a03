"""Frozen non-local means is a true prox, converges, and beats Tikhonov at its best λ; the heuristics' contract.

Measured at 256², Gaussian σ = 1.6 px, noise 0.02, best λ each, PSNR in dB, Tikhonov / TV / frozen non-local means:
lattice 25.2 / 25.4 / 28.9, discs 26.9 / 34.3 / 31.7, photograph 26.9 / 28.3 / 29.0. A flat neighbourhood of 5 px loses
0.7 dB on the discs, a Gaussian weight exp(−d²/h²) nothing but time, a second freezing on the first result 0 to 3 dB.
"""

import importlib.util

import numpy as np
import pytest
from phantoms import image, rmse

import napari_invrecon as ir
from napari_invrecon.recon import denoisers, regularisers
from napari_invrecon.recon.denoisers import adaptive_nlm, bayes_shrink, frozen_nlm, noise_left
from napari_invrecon.recon.fidelities import least_squares
from napari_invrecon.recon.operators import convolution, gradient_power, transfer_function
from napari_invrecon.recon.solvers import admm, finish, fista, spectral

G = np.exp(-(np.arange(-7, 8) ** 2) / (2 * 1.6**2))
PSF = (np.outer(G, G) / G.sum() ** 2).astype(np.float32)
NOISE = 0.02
N = 96


def lattice():
    i, j = np.mgrid[-10:20, -10:20] * 9.3
    rows, columns = (i * np.cos(0.2) - j * np.sin(0.2)).ravel(), (i * np.sin(0.2) + j * np.cos(0.2)).ravel()
    t = np.arange(N)[:, None]
    atoms = np.exp(-((t - rows) ** 2) / 3) @ np.exp(-((t - columns) ** 2) / 3).T
    return (0.1 + 0.8 * atoms).astype(np.float32)


def discs():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:N, :N]
    image = np.full((N, N), 0.1)
    for _ in range(9):
        row, column, radius, height = rng.uniform([8, 8, 4, 0.3], [N - 8, N - 8, 15, 0.9])
        image = np.maximum(image, height * np.clip(radius + 0.5 - np.hypot(y - row, x - column), 0, 1))
    return image.astype(np.float32)


def measure(x):
    return convolution(PSF, x.shape)(x) + np.random.default_rng(0).normal(0, NOISE, x.shape).astype(np.float32)


def tikhonov_oracle(x, y):
    """The best Tikhonov result, and the noise left in it."""
    otf, penalty = transfer_function(PSF, y.shape), gradient_power(y.shape)
    lam = min(np.geomspace(1e-3, 1, 30), key=lambda lam: rmse(spectral(y, otf, penalty, lam), x))
    gain = otf.conj() / (np.abs(otf) ** 2 + np.float32(lam) * penalty)
    return spectral(y, otf, penalty, lam), noise_left(gain, y.shape, NOISE)


def dense(regulariser, shape):
    """The matrix of the denoiser, its prox at a step of 1/10."""
    basis = np.eye(int(np.prod(shape)), dtype=np.float32)
    return np.stack([regulariser.prox(e.reshape(shape), 0.1).ravel() for e in basis]).astype(np.float64)


@pytest.fixture(scope="module", params=[lattice, discs])
def scene(request):
    x = request.param()
    y = measure(x)
    return x, y, *tikhonov_oracle(x, y)


@pytest.mark.parametrize("shape", [(24, 19), (60,), (1, 9), (9, 1), (5, 6, 7), (3,), (1,)])
@pytest.mark.parametrize("texture", ["noise", "flat", "one bright pixel"])
def test_symmetric_rows_sum_to_one_eigenvalues_between_0_and_1(shape, texture):
    guide = np.zeros(shape, np.float32)
    if texture == "noise":
        guide = np.random.default_rng(0).random(shape).astype(np.float32)
    elif texture == "one bright pixel":
        guide.flat[guide.size // 2] = 1000
    W = dense(frozen_nlm(guide, 0.1), shape)
    np.testing.assert_allclose(W, W.T, atol=1e-7)
    np.testing.assert_allclose(W.sum(axis=1), 1, atol=2e-6)
    assert W.min() >= 0
    eigenvalues = np.linalg.eigvalsh(W)
    assert eigenvalues[0] >= 0.005
    assert eigenvalues[-1] <= 1 + 1e-6


@pytest.mark.parametrize("shape", [(14, 17), (60,), (5, 6, 7)])
def test_value_and_prox_are_those_of_the_quadratic(shape):
    rng = np.random.default_rng(2)
    regulariser = frozen_nlm(rng.random(shape).astype(np.float32), 0.15)
    penalty = 5 * (np.linalg.inv(dense(regulariser, shape)) - np.eye(int(np.prod(shape))))
    x = rng.random(shape).astype(np.float32)
    assert regulariser.value(x) == pytest.approx(x.ravel() @ penalty @ x.ravel(), rel=2e-3)
    assert regulariser.value(np.full(shape, 3, np.float32)) == pytest.approx(0, abs=1e-3)
    for step in (0.0005, 0.01, 0.1, 0.4, 7.0):
        expected = np.linalg.solve(np.eye(x.size) + 2 * step * penalty, x.ravel()).reshape(shape)
        np.testing.assert_allclose(regulariser.prox(x, step), expected, atol=3e-5)


def test_prox_does_not_expand(scene):
    regulariser = frozen_nlm(*scene[2:])
    rng = np.random.default_rng(3)
    for step in (0.01, 0.1, 1.0):
        a, b = rng.standard_normal((2, N, N)).astype(np.float32)
        assert np.linalg.norm(regulariser.prox(a, step) - regulariser.prox(b, step)) < np.linalg.norm(a - b)


def test_better_than_tikhonov_at_its_best(scene):
    x, y, guide, noise = scene
    regulariser, otf = frozen_nlm(guide, noise), transfer_function(PSF, y.shape)
    errors = [rmse(finish(admm(y, otf, regulariser, lam, guide)), x) for lam in (0.005, 0.01, 0.02)]
    assert min(errors) < 0.75 * rmse(guide, x)
    assert max(errors) < 0.85 * rmse(guide, x)  # λ is not delicate


def test_admm_and_fista_converge_to_the_same_minimiser(scene):
    _, y, guide, noise = scene
    regulariser, H, lam = frozen_nlm(guide, noise), convolution(PSF, y.shape), 0.02
    fidelity, otf = least_squares(y), transfer_function(PSF, y.shape)
    loose = list(admm(y, otf, regulariser, lam, guide, n_steps=150, tolerance=1e-4))
    assert len(loose) < 150
    one = finish(admm(y, otf, regulariser, lam, guide, n_steps=400, tolerance=5e-6))
    two = finish(fista(H, fidelity, regulariser, lam, guide, curvature=2.0, n_steps=300, tolerance=5e-6))
    assert np.linalg.norm(one - two) < 1e-3 * np.linalg.norm(two)
    # A proximal gradient step leaves the minimiser where it is.
    again = regulariser.prox(two - np.float32(0.5) * H.T(fidelity.gradient(H(two))), 0.5 * lam)
    assert np.linalg.norm(again - two) < 1e-4 * np.linalg.norm(two)
    # D + λR is least there, to second order.
    least = fidelity.value(H(two)) + lam * regulariser.value(two)
    for direction in (guide - two, y - two):
        for size in (-0.05, 0.05):
            moved = two + np.float32(size) * direction
            assert fidelity.value(H(moved)) + lam * regulariser.value(moved) > least


def test_larger_lambda_fits_less_and_is_smoother():
    y = measure(lattice())
    regulariser, otf = frozen_nlm(y, NOISE), transfer_function(PSF, y.shape)
    results = [finish(admm(y, otf, regulariser, lam, y, tolerance=1e-4)) for lam in (0.003, 0.03, 0.3)]
    values = [regulariser.value(x) for x in results]
    assert values[0] > values[1] > values[2]
    misfits = [rmse(convolution(PSF, y.shape)(x), y) for x in results]
    assert misfits[0] < misfits[1] < misfits[2]


def test_weights_do_not_depend_on_scale_offset_or_threads():
    rng = np.random.default_rng(4)
    guide, v = rng.random((2, 33, 41)).astype(np.float32)
    one = frozen_nlm(guide, 0.1).prox(v, 0.1)
    np.testing.assert_allclose(frozen_nlm(1000 * guide + 500, 100.0).prox(v, 0.1), one, atol=1e-4)
    np.testing.assert_array_equal(frozen_nlm(guide, 0.1, threads=3).prox(v, 0.1), one)


def test_inputs_stay_as_they_are():
    guide, v = np.random.default_rng(5).random((2, 30, 40))
    guide = guide.astype(np.float32)[:, ::2]  # not contiguous
    v = v.astype(np.float32)[:, ::2]
    guide_before, v_before = guide.copy(), v.copy()
    regulariser = frozen_nlm(guide, 0.1)
    first = regulariser.prox(v, 0.1)
    regulariser.prox(v, 0.3)
    regulariser.value(v)
    np.testing.assert_array_equal(guide, guide_before)
    np.testing.assert_array_equal(v, v_before)
    guide += 1
    np.testing.assert_array_equal(regulariser.prox(v, 0.1), first)


@pytest.mark.parametrize(
    ("guide", "options", "message"),
    [
        (np.zeros((2, 2, 2, 2)), {"sigma": 0.1}, "line or a volume"),
        (np.full((4, 4), np.nan), {"sigma": 0.1}, "NaN"),
        (np.zeros((4, 4)), {"sigma": 0.0}, "above 0"),
        (np.zeros((4, 4)), {"sigma": float("nan")}, "above 0"),
        (np.zeros((4, 4)), {"sigma": 0.1, "window": 4}, "odd"),
    ],
)
def test_what_cannot_be_frozen_is_refused(guide, options, message):
    with pytest.raises(ValueError, match=message):
        frozen_nlm(guide, **options)


def test_an_image_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(8, 9\).*freeze them anew"):
        frozen_nlm(np.zeros((8, 9), np.float32), 0.1).prox(np.zeros((9, 8), np.float32), 0.1)


def test_noise_left_is_what_a_filter_leaves():
    rng = np.random.default_rng(6)
    shape = (63, 64)
    otf, penalty = transfer_function(PSF, shape), regularisers.tikhonov().power(shape)
    gain = otf.conj() / (np.abs(otf) ** 2 + np.float32(0.01) * penalty)
    left = [spectral(rng.normal(0, 0.3, shape).astype(np.float32), otf, penalty, 0.01).std() for _ in range(20)]
    assert noise_left(gain, shape, 0.3) == pytest.approx(np.mean(left), rel=0.05)


@pytest.mark.parametrize("make", [adaptive_nlm, bayes_shrink])
def test_a_heuristic_removes_noise_as_strongly_as_it_is_told(make):
    if make is bayes_shrink:
        pytest.importorskip("pywt")
    rng = np.random.default_rng(7)
    v = (discs() + rng.normal(0, 0.1, (N, N))).astype(np.float32)
    before = v.copy()
    regulariser = make(0.1)
    denoised = regulariser.prox(v, 0.1)
    np.testing.assert_array_equal(v, before)
    assert denoised.dtype == np.float32
    assert rmse(denoised, discs()) < 0.6 * 0.1
    weaker = rmse(regulariser.prox(v, 0.001), v)
    assert weaker < 0.5 * rmse(denoised, v)
    assert np.isnan(regulariser.value(v))


def test_adaptive_nlm_stopped_early_beats_tikhonov(scene):
    x, y, guide, _ = scene
    steps = admm(y, transfer_function(PSF, y.shape), adaptive_nlm(2 * NOISE), 0.05, guide, n_steps=6, tolerance=0)
    assert rmse(finish(steps), x) < rmse(guide, x)


def test_heuristics_refuse_what_they_cannot_do(monkeypatch):
    with pytest.raises(ValueError, match="denoiser='frozen'"):
        adaptive_nlm(0.1).prox(np.zeros(50, np.float32), 0.1)
    with pytest.raises(ValueError, match="above 0"):
        adaptive_nlm(-1.0)
    real = importlib.util.find_spec
    monkeypatch.setattr(denoisers, "find_spec", lambda name: None if name == "pywt" else real(name))
    with pytest.raises(ModuleNotFoundError, match="pip install PyWavelets"):
        bayes_shrink(0.1)


@pytest.mark.parametrize("denoiser", ["nlm (heuristic)", "wavelet (heuristic)"])
def test_heuristics_are_capped_and_say_what_they_are(denoiser):
    if denoiser.startswith("wavelet"):
        pytest.importorskip("pywt")
    x, y = image("lattice", 1.5, 100, size=64)
    options = {"regulariser": "denoiser", "denoiser": denoiser, "lam": 0.2}
    result = ir.deconvolve(y, ir.gaussian_psf(1.5), tolerance=0.0, **options)
    assert result.record["heuristic"]
    assert result.record["n_iter"] == 5
    assert result.record["residual_over_noise"] > 0.5
    assert rmse(result.data, x) < 0.8 * rmse(y, x)
    frozen = ir.deconvolve(y, ir.gaussian_psf(1.5), regulariser="denoiser", lam=0.2)
    assert not frozen.record["heuristic"]
    assert np.abs(frozen.data - result.data).max() > 0


def test_without_pywavelets_the_wavelet_heuristic_says_what_to_do(monkeypatch):
    monkeypatch.setattr(denoisers, "find_spec", lambda name: None)
    options = {"regulariser": "denoiser", "denoiser": "wavelet (heuristic)", "lam": 0.05}
    with pytest.raises(ModuleNotFoundError, match="pip install PyWavelets"):
        ir.deconvolve(image("lattice", 1.5, 100, size=64)[1], ir.gaussian_psf(1.5), **options)
