"""Point-spread functions against closed forms, on pixels of any size, and measured ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import erf, j0, j1

from napari_invrecon.recon.measured_psf import MeasuredPSF, measured_psf
from napari_invrecon.recon.probe import (
    AiryPSF,
    GaussianPSF,
    LorentzianPSF,
    StemProbe,
    describe_psf,
    electron_wavelength_nm,
    psf_from_description,
)
from napari_invrecon.recon.psf import FWHM_PER_SIGMA, check_psf, gaussian_psf, resample_psf

MODELS = [
    GaussianPSF(1.7),
    GaussianPSF(0.08, "nm"),
    LorentzianPSF(2.0),
    LorentzianPSF(0.05, "nm", tail_loss=0.05),
    AiryPSF(200, 20),
    StemProbe(200, 20),
    StemProbe(300, 25, defocus_nm=4, c3_mm=0.01, source_fwhm_nm=0.07),
]


def full_width_at_half_maximum(kernel: np.ndarray, pixel_size_nm: float) -> float:
    row = kernel[len(kernel) // 2, len(kernel) // 2 :].astype(float)
    beyond = int(np.argmax(row < row[0] / 2))
    inside = beyond - 1 + (row[beyond - 1] - row[0] / 2) / (row[beyond - 1] - row[beyond])
    return 2 * pixel_size_nm * inside


def rms_radius(kernel: np.ndarray) -> float:
    t = np.arange(len(kernel)) - len(kernel) // 2
    return float(np.sqrt(np.sum(kernel * (t[:, None] ** 2 + t**2)) / kernel.sum()))


def gaussian_over_pixels(size: int, pixel: float, sigma: float) -> np.ndarray:
    edges = (np.arange(size + 1) - size / 2) * pixel
    line = np.diff(erf(edges / (sigma * np.sqrt(2))))
    return np.outer(line, line) / line.sum() ** 2


@pytest.mark.parametrize("psf", MODELS)
@pytest.mark.parametrize("pixel_size_nm", [0.013, 0.02, 0.1])
def test_a_kernel_is_odd_centred_symmetric_and_sums_to_one(psf: GaussianPSF, pixel_size_nm: float) -> None:
    kernel = psf.kernel(pixel_size_nm, 2)
    assert kernel.dtype == np.float32
    assert all(n % 2 == 1 for n in kernel.shape)
    assert kernel.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    assert kernel.min() >= 0
    assert np.unravel_index(kernel.argmax(), kernel.shape) == tuple(n // 2 for n in kernel.shape)
    for same in (kernel[::-1], kernel[:, ::-1], kernel.T):
        np.testing.assert_allclose(same, kernel, atol=1e-6 * kernel.max())


def test_gaussian_is_the_closed_form_and_loses_nothing_worth_mentioning() -> None:
    kernel = gaussian_psf(2.3)
    t = np.arange(-12, 13)
    expected = np.exp(-(t[:, None] ** 2 + t**2) / (2 * 2.3**2))
    assert kernel.shape == (25, 25)
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-5)
    assert expected.sum() / (2 * np.pi * 2.3**2) > 1 - 1e-4
    assert gaussian_psf((1.0, 2.0, 3.0), 3).shape == (11, 21, 31)
    assert gaussian_psf(1.5, 1).shape == (17,)
    np.testing.assert_array_equal(GaussianPSF(0.06, "nm").kernel(0.03, 2), gaussian_psf(2.0))


@pytest.mark.parametrize("ndim", [1, 2])
def test_lorentzian_has_an_exponential_transfer_function(ndim: int) -> None:
    fwhm = 3.0
    kernel = LorentzianPSF(fwhm, tail_loss=0.005).kernel(None, ndim)
    line = kernel if ndim == 1 else kernel.sum(axis=0)
    f = np.fft.rfftfreq(len(line))
    transfer = np.fft.rfft(np.fft.ifftshift(line)).real
    np.testing.assert_allclose(transfer, np.exp(-np.pi * fwhm * f) * np.sinc(f), atol=0.006)


@pytest.mark.parametrize(
    ("voltage_kv", "picometre"), [(60, 4.86606), (100, 3.70144), (200, 2.50793), (300, 1.96875), (1000, 0.87192)]
)
def test_electron_wavelength_is_relativistic(voltage_kv: float, picometre: float) -> None:
    assert electron_wavelength_nm(voltage_kv) == pytest.approx(picometre * 1e-3, rel=1e-5)


@pytest.mark.parametrize(("voltage_kv", "mrad", "pixel_size_nm"), [(200, 20, 0.01), (300, 30, 0.015), (60, 35, 0.05)])
def test_a_probe_without_aberrations_is_an_airy_disc(voltage_kv: float, mrad: float, pixel_size_nm: float) -> None:
    airy = AiryPSF(voltage_kv, mrad).kernel(pixel_size_nm, 2)
    probe = StemProbe(voltage_kv, mrad).kernel(pixel_size_nm, 2)
    half = min(len(airy), len(probe)) // 2
    cut = [k[(m := len(k) // 2) - half : m + half + 1, m - half : m + half + 1] for k in (airy, probe)]
    np.testing.assert_allclose(cut[0], cut[1], atol=1e-3 * airy.max())
    wavelength = electron_wavelength_nm(voltage_kv)
    fine = StemProbe(voltage_kv, mrad).kernel(0.05 * wavelength / (mrad * 1e-3), 2)
    width = full_width_at_half_maximum(fine, 0.05)
    assert 0.51 < width < 0.53


def test_airy_is_the_closed_form() -> None:
    """Pixels much finer than the disc: the values are I(r), the sums the encircled intensity 1 − J₀² − J₁²."""
    k_max = 20e-3 / electron_wavelength_nm(200)
    kernel = AiryPSF(200, 20).kernel(0.002, 2).astype(np.float64)
    t = (np.arange(len(kernel)) - len(kernel) // 2) * 0.002
    r = np.hypot(t[:, None], t)
    for radius in (0.05, 0.1, 0.3):
        v = 2 * np.pi * k_max * radius
        assert kernel[r <= radius].sum() == pytest.approx((1 - j0(v) ** 2 - j1(v) ** 2) / 0.99, abs=5e-3)
        column = len(kernel) // 2 + round(radius / 0.002)
        assert kernel[len(kernel) // 2, column] / kernel.max() == pytest.approx((2 * j1(v) / v) ** 2, abs=1e-3)


def test_tail_loss_is_what_the_kernel_leaves_out() -> None:
    wide = StemProbe(200, 20, tail_loss=0.003).kernel(0.02, 2)
    narrow = StemProbe(200, 20, tail_loss=0.05).kernel(0.02, 2)
    m, half = len(wide) // 2, len(narrow) // 2
    t = np.arange(len(wide)) - m
    disc = np.hypot(t[:, None], t) <= half
    assert 1 - wide[disc].sum() / (1 / 0.997) == pytest.approx(0.05, abs=0.006)


def test_defocus_c3_and_source_widen_the_probe() -> None:
    widths = [rms_radius(StemProbe(200, 20, defocus_nm=d).kernel(0.02, 2)) for d in (0, 10, 20, 40)]
    assert widths == sorted(widths)
    np.testing.assert_allclose(
        StemProbe(200, 20, defocus_nm=12).kernel(0.02, 2),
        StemProbe(200, 20, defocus_nm=-12).kernel(0.02, 2),
        atol=1e-8,
    )
    sharp, soft = (StemProbe(200, 20, source_fwhm_nm=s).kernel(0.01, 2) for s in (0.0, 0.1))
    width = full_width_at_half_maximum(sharp, 0.01)
    assert full_width_at_half_maximum(soft, 0.01) == pytest.approx(np.hypot(width, 0.1), rel=0.05)


def test_underfocus_is_positive() -> None:
    """With C3, the waist of a 10 mrad probe lies on the side of positive defocus, near ¾ of C3 α²."""
    at = {d: StemProbe(200, 10, defocus_nm=d, c3_mm=1.0).kernel(0.02, 2).max() for d in (-60, 0, 60)}
    assert at[60] > at[0] > at[-60]


def test_pixels_larger_than_the_probe_hold_all_of_it_in_one() -> None:
    np.testing.assert_array_equal(StemProbe(200, 20).kernel(5.0, 2), np.ones((1, 1), np.float32))


@pytest.mark.parametrize(("sigma", "tolerance"), [(3.0, 7e-4), (1.5, 8e-3)])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7, 1.3, 2.0, 2.5, 4.0])
def test_resampling_integrates_over_the_new_pixels(sigma: float, tolerance: float, ratio: float) -> None:
    kernel = gaussian_over_pixels(2 * int(5 * sigma) + 1, 1.0, sigma)
    resampled = resample_psf(kernel, 0.02, 0.02 * ratio)
    expected = gaussian_over_pixels(len(resampled), ratio, sigma)
    assert resampled.dtype == np.float32
    assert resampled.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(resampled, expected, atol=tolerance * expected.max())


def test_resampling_a_single_pixel_makes_nothing_negative() -> None:
    kernel = np.zeros((5, 5))
    kernel[2, 2] = 1
    assert resample_psf(kernel, 1.0, 0.3).min() >= -1e-9


def test_resampling_keeps_a_lopsided_kernel_lopsided() -> None:
    kernel = gaussian_over_pixels(41, 1.0, 3.0)
    kernel = np.roll(kernel, 4, axis=1)
    resampled = resample_psf(kernel, 1.0, 2.0).astype(np.float64)
    t = np.arange(resampled.shape[1]) - resampled.shape[1] // 2
    assert resampled.sum(axis=0) @ t == pytest.approx(2.0, abs=0.01)
    assert np.abs(resampled - resampled[::-1]).max() < 1e-7


@pytest.mark.parametrize("centre", [(20.0, 22.0), (20.3, 22.4), (18.7, 24.49)])
@pytest.mark.parametrize("sigma", [1.5, 3.0])
def test_a_measured_psf_is_centred_and_freed_of_its_background(centre: tuple[float, float], sigma: float) -> None:
    y, x = np.mgrid[:41, :45]
    spot = 100 * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * sigma**2)) + 7
    before = spot.copy()
    psf = measured_psf(spot, pixel_size_nm=0.02)
    np.testing.assert_array_equal(spot, before)
    assert psf.record["background"] == pytest.approx(7, abs=1e-3)
    assert psf.record["centre_px"] == pytest.approx(list(centre), abs=2e-3)
    t = [np.arange(n) - n // 2 for n in psf.array.shape]
    expected = np.exp(-(t[0][:, None] ** 2 + t[1] ** 2) / (2 * sigma**2))
    np.testing.assert_allclose(psf.array, expected / expected.sum(), atol=1e-4 * psf.array.max())
    assert psf.kernel(0.02, 2) is psf.array
    assert psf.kernel(0.04, 2).shape == tuple(2 * round((n - 1) / 4) + 1 for n in psf.array.shape)


def test_a_measured_psf_says_what_was_done_and_clips_only_when_told() -> None:
    y, x = np.mgrid[:33, :33]
    noisy = 50 * np.exp(-((y - 16) ** 2 + (x - 16) ** 2) / 8) + np.random.default_rng(0).standard_normal((33, 33))
    kept, clipped = measured_psf(noisy, 0.0), measured_psf(noisy, 0.0, clip=True)
    assert kept.array.min() < 0
    assert kept.record["negative_values"] == "kept"
    assert kept.record["negative_share"] > 0.05
    assert clipped.array.min() == 0
    assert clipped.record["negative_values"] == "set to zero"
    assert kept.record["background_from"] == "given"
    json.dumps(describe_psf(kept))


def test_a_second_spot_does_not_pull_the_centre() -> None:
    y, x = np.mgrid[:61, :61]
    spot = np.exp(-((y - 30.2) ** 2 + (x - 30) ** 2) / 8) + 0.7 * np.exp(-((y - 30) ** 2 + (x - 45) ** 2) / 8)
    assert measured_psf(spot, 0.0).record["centre_px"] == pytest.approx([30.2, 30.0], abs=0.01)


def test_a_zero_loss_peak_is_a_measured_psf() -> None:
    energy = np.arange(101)
    psf = measured_psf(1000 / (1 + ((energy - 49.6) / 2) ** 2) + 3)
    assert psf.array.ndim == 1
    assert psf.record["centre_px"] == pytest.approx([49.6], abs=0.02)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((9, 9), np.nan), "NaN or infinite"),
        (np.zeros((9, 9)), "zero everywhere"),
        (np.ones((9, 9)), "some empty space around it"),
        (-np.eye(9), "more than 0"),
        (np.ones(()), "the image of a point"),
    ],
)
def test_an_unusable_measured_psf_is_refused_with_the_remedy(array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured_psf(array)


def test_a_spot_at_the_edge_is_refused() -> None:
    y, x = np.mgrid[:33, :33]
    with pytest.raises(ValueError, match="with the spot in its middle"):
        measured_psf(np.exp(-((y - 3) ** 2 + (x - 16) ** 2) / 18), 0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gaussian_psf(0.0), "σ is 0.0 px: expected a number above 0"),
        (lambda: gaussian_psf((1.0, 2.0), 3), "2 σ for 3 axes"),
        (lambda: GaussianPSF(0.1, "nm").kernel(None, 2), "pixel size is unknown: set it in nm, or give σ in px"),
        (lambda: GaussianPSF(0.1, "nm").kernel(-1.0, 2), "pixel size is -1.0 nm"),
        (lambda: GaussianPSF(0.1, "um").kernel(1.0, 2), "expected 'px' or 'nm'"),  # type: ignore[arg-type]
        (lambda: LorentzianPSF(0.1, "nm").kernel(None, 2), "give FWHM in px"),
        (lambda: LorentzianPSF(2.0).kernel(None, 3), "1 or 2 axes"),
        (lambda: LorentzianPSF(2.0, tail_loss=0.0).kernel(None, 2), "tail_loss is 0.0"),
        (lambda: LorentzianPSF(2.0, tail_loss=1e-4).kernel(None, 2), "a larger tail_loss"),
        (lambda: AiryPSF(200, 20).kernel(None, 2), "pixel size is unknown"),
        (lambda: AiryPSF(200, 20).kernel(0.01, 3), "2 axes, asked for 3"),
        (lambda: AiryPSF(-200, 20).kernel(0.01, 2), "voltage is -200 kV"),
        (lambda: StemProbe(200, 0).kernel(0.01, 2), "semi-angle is 0 mrad"),
        (lambda: StemProbe(200, 20, source_fwhm_nm=-1).kernel(0.01, 2), "a source of 0 nm or more"),
        (lambda: StemProbe(200, 20, c3_mm=np.nan).kernel(0.01, 2), "expected finite"),
        (lambda: StemProbe(200, 30, c3_mm=1200).kernel(0.01, 2), "C3 in mm"),
        (lambda: StemProbe(200, 30).kernel(1e-5, 2), "larger tail_loss"),
        (lambda: resample_psf(np.ones((3, 3)), None, 1.0), "PSF's pixel size is unknown: type it"),
        (lambda: resample_psf(np.ones((3, 3)), 1.0, None), "image's pixel size is unknown"),
        (lambda: resample_psf(np.ones((3, 4)), 1.0, 2.0), "every size is odd"),
        (lambda: MeasuredPSF(gaussian_psf(1.0), 0.1, {}).kernel(None, 2), "image's pixel size is unknown"),
        (lambda: MeasuredPSF(gaussian_psf(1.0), 0.1, {}).kernel(0.1, 1), "has 2 axes, expected 1"),
        (lambda: check_psf(gaussian_psf(2.0), (20, 64)), "larger than the image of"),
        (lambda: check_psf(gaussian_psf(2.0), (64,)), "2 axes, the image 1"),
        (lambda: check_psf(np.full((3, 3), np.inf), (64, 64)), "NaN or infinite"),
        (lambda: check_psf(-np.ones((3, 3)), (64, 64)), "sums to -9"),
        (lambda: psf_from_description({"model": "measured"}), "pass its array"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


def test_a_psf_that_fits_passes() -> None:
    check_psf(gaussian_psf(2.0), (5, 21, 64))


@pytest.mark.parametrize("psf", MODELS)
def test_a_model_comes_back_from_its_description(psf: GaussianPSF) -> None:
    description = json.loads(json.dumps(describe_psf(psf) | {"role": "psf", "kernel_shape": [3, 3]}))
    assert psf_from_description(description) == psf


def test_an_array_is_described_by_its_hash() -> None:
    described = describe_psf(gaussian_psf(1.0))
    assert described["model"] == "array"
    assert described["shape"] == [11, 11]
    assert described["sha256"] != describe_psf(gaussian_psf(1.1))["sha256"]


def test_fwhm_per_sigma() -> None:
    assert np.exp(-0.5 * (FWHM_PER_SIGMA / 2) ** 2) == pytest.approx(0.5)
