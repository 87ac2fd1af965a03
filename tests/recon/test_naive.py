"""The unregularised inverse: the lecture's figures, against dense linear algebra, and every kind of bad input."""

import dask.array as da
import numpy as np
import pytest
from phantoms import image, rmse

import napari_invrecon as ir
from napari_invrecon.recon.naive import filter_factors, naive
from napari_invrecon.recon.probe import GaussianPSF

# The lecture's 1-D experiment (see test_deconvolution.py).
T = np.linspace(0, 64, 64)
PEAKS = sum(h * np.exp(-((T - p) ** 2) / (2 * 1.5**2)) for p, h in [(15, 0.6), (35, 0.9), (50, 1.0)])
KERNEL = np.exp(-(np.linspace(-6, 6, 21) ** 2) / 18)
MATRIX = np.append(KERNEL, np.zeros(64 - 21))[(np.arange(64)[:, None] - np.arange(64) + 10) % 64]
MEASURED = MATRIX @ PEAKS + 0.1 * PEAKS.max() * np.random.default_rng(42).standard_normal(64)

# The lecture's 2-D experiment: a 7 × 7 Gaussian of σ = 4, zero-padded to the image in the Fourier transform.
t = np.arange(7) - 3
LECTURE_PSF = np.exp(-(t[:, None] ** 2 + t**2) / (2 * 4**2))


def lecture_image(kind, size=250):
    """(object, blurred), brightest pixel 1, blurred as in the lecture but for its shift by three pixels."""
    x = image(kind, 1.5, 1, size=size)[0].astype(float)
    x /= x.max()
    padded = np.pad(LECTURE_PSF / LECTURE_PSF.sum(), (0, size - 7))
    blurred = np.fft.ifft2(np.fft.fft2(x) * np.fft.fft2(padded)).real
    return x, np.roll(blurred, (-3, -3), (0, 1))


def psnr(truth, other):
    return 20 * np.log10(truth.max() / rmse(truth, other))


def test_lecture_in_1d():
    found = naive(MEASURED, KERNEL, normalise_psf=False)
    assert found.condition == pytest.approx(230.2, rel=1e-3)
    assert rmse(found.data, PEAKS) == pytest.approx(0.969, rel=1e-3)
    np.testing.assert_allclose(found.data, np.linalg.solve(MATRIX, MEASURED), atol=1e-10)
    assert found.amplification == pytest.approx(np.linalg.norm(np.linalg.inv(MATRIX)) / 8, rel=1e-9)


def test_singular_values_and_picard_quantities_are_those_of_the_matrix():
    found = naive(MEASURED, KERNEL, normalise_psf=False)
    singular = np.linalg.svd(MATRIX, compute_uv=False)
    assert (found.size, found.lost) == (64, 0)
    assert (np.diff(found.singular) <= 0).all()
    np.testing.assert_allclose(found.singular, [singular[int(np.ceil(r - 0.5))] for r in found.rank], rtol=1e-9)
    # Singular vectors are plane waves, the first of them constant.
    np.testing.assert_allclose(found.ratio * found.singular, found.coefficient, rtol=1e-9)
    assert found.coefficient[0] == pytest.approx(abs(MEASURED.sum()) / 8)


@pytest.mark.parametrize("kind", ["particles", "slabs", "lattice"])
@pytest.mark.parametrize("sigma", [0.05, 0.005])
def test_lecture_in_2d(kind, sigma):
    x, blurred = lecture_image(kind)
    assert psnr(x, naive(blurred, LECTURE_PSF).data) > 50
    assert psnr(x, naive(blurred.astype(np.float32), LECTURE_PSF).data) > 50
    noisy = blurred + sigma * np.random.default_rng(0).standard_normal(blurred.shape)
    found = naive(noisy, LECTURE_PSF)
    assert psnr(x, found.data) < 10
    assert found.noise_sigma == pytest.approx(sigma, rel=0.05)
    regularised = ir.deconvolve(noisy, LECTURE_PSF, regulariser="l2", boundary="periodic", lam=sigma)
    assert psnr(x, regularised.data) > max(psnr(x, noisy), psnr(x, found.data)) + 0.5


def test_the_same_noise_added_before_the_blur_is_harmless():
    """The lecture's third row: H⁻¹ amplifies only what H did not blur."""
    x, _ = lecture_image("slabs")
    noisy = x + 0.05 * np.random.default_rng(0).standard_normal(x.shape)
    padded = np.roll(np.pad(LECTURE_PSF / LECTURE_PSF.sum(), (0, 243)), (-3, -3), (0, 1))
    blurred = np.fft.ifft2(np.fft.fft2(noisy) * np.fft.fft2(padded)).real
    assert psnr(x, naive(blurred, LECTURE_PSF).data) == pytest.approx(psnr(x, noisy), abs=0.01)


def test_picard_plot_shows_where_the_data_drown():
    _, blurred = lecture_image("slabs")
    sigma = 0.01
    noisy = blurred + sigma * np.random.default_rng(1).standard_normal(blurred.shape)
    found = naive(noisy, LECTURE_PSF, noise_sigma=sigma)
    assert len(found.singular) <= 256
    assert (np.diff(found.singular) <= 0).all()
    drowned = found.singular < found.noise_floor
    assert 0.2 < drowned.mean() < 1
    assert np.median(found.coefficient[drowned]) == pytest.approx(sigma, rel=0.1)
    assert found.coefficient[~drowned].min() > sigma
    assert found.ratio[-1] > 100 * found.ratio[1]
    assert found.condition_to_noise == pytest.approx(1 / found.noise_floor, rel=1e-6)
    assert found.condition_to_noise < found.condition / 100
    more = naive(noisy, LECTURE_PSF, noise_sigma=10 * sigma)
    assert more.condition_to_noise < found.condition_to_noise


def test_noise_is_amplified_as_foretold():
    _, blurred = lecture_image("ramps")
    noise = np.random.default_rng(2).standard_normal(blurred.shape)
    found = naive(noise, LECTURE_PSF, noise_sigma=1.0)
    assert rmse(found.data, 0) == pytest.approx(found.amplification, rel=0.5)
    assert naive(blurred, LECTURE_PSF, noise_sigma=0.0).noise_floor == 0


def test_frequencies_that_the_blur_removes_are_left_out():
    x = image("slabs", 1.5, 1, size=64)[0]
    found = naive(x, np.ones((2, 2)))
    assert found.condition == np.inf
    assert found.lost == 64 + 64 - 1
    assert np.isfinite(found.data).all()


def test_models_lazy_and_integer_images():
    counts = image("particles", 1.5, 50, size=64)[1]
    plain = naive(counts, ir.gaussian_psf(1.0))
    np.testing.assert_allclose(naive(da.from_array(counts, 16), ir.gaussian_psf(1.0)).data, plain.data)
    np.testing.assert_allclose(naive(counts.astype(np.uint16), ir.gaussian_psf(1.0)).data, plain.data)
    assert np.isfinite(naive(counts, GaussianPSF(1.0, "px")).condition)


@pytest.mark.parametrize(
    ("picture", "psf", "options", "words"),
    [
        (np.ones((3, 8, 8)), np.ones((3, 3)), {}, "one image of a stack"),
        (np.full((8, 8), np.nan), np.ones((3, 3)), {}, "64 NaN"),
        (np.ones((8, 8)), np.ones((9, 9)), {}, "larger than the image"),
        (np.ones((8, 8)), np.zeros((3, 3)), {}, "sums to 0"),
        (np.ones((8, 8)), np.ones((3, 3)), {"noise_sigma": -1.0}, "noise_sigma"),
    ],
)
def test_bad_values(picture, psf, options, words):
    with pytest.raises(ValueError, match=words):
        naive(picture, psf, **options)


@pytest.mark.parametrize(
    ("picture", "psf"),
    [(np.ones((8, 8), complex), np.ones((3, 3))), (np.ones(()), np.ones(3)), (np.ones((8, 8)), np.array("psf"))],
)
def test_bad_types(picture, psf):
    with pytest.raises(TypeError, match="expected a real array"):
        naive(picture, psf)


@pytest.mark.parametrize("prior", ["l2", "gradient"])
def test_filter_factors_are_those_of_the_regularised_inverse(prior):
    """H_λ⁻¹H = V diag(factor) Vᵀ: its eigenvalues, from dense linear algebra."""
    gradient = np.roll(np.eye(64), 1, axis=1) - np.eye(64)
    penalty = np.eye(64) if prior == "l2" else gradient.T @ gradient
    power = np.ones(33) if prior == "l2" else np.abs(np.fft.rfft(gradient[:, 0])) ** 2
    found = filter_factors(KERNEL, power, (64,))
    for lam in (1e-4, 0.01, 0.126, 5.0):
        factors = np.linalg.eigvals(np.linalg.solve(MATRIX.T @ MATRIX + lam * penalty, MATRIX.T @ MATRIX)).real
        assert found.filled(lam) == pytest.approx(np.count_nonzero(factors < 0.5) / 64)
    assert found.filled(1e-12) == 0
    assert found.filled(1e9) == pytest.approx(1.0 if prior == "l2" else 63 / 64), "a gradient never sees the mean"


def test_filter_factors_count_each_frequency_of_a_plane_once():
    for shape in ((6, 7), (5, 8), (1, 64)):
        found = filter_factors(np.ones((1, 1)), np.ones((*shape[:-1], shape[-1] // 2 + 1)), shape)
        assert (found.filled(0.99), found.filled(1.01)) == (0, 1)
