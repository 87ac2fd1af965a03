"""Energy deconvolution of core-loss spectra whose plural scattering and noise are made by a forward model of their own:
multiple losses weighted by Poisson's law, convolved on a grid four times as fine, from far below the window."""

import contextlib
import json
import math

import dask.array as da
import numpy as np
import pytest
from phantoms import rmse

from napari_invrecon.io import read
from napari_invrecon.recon import energy
from napari_invrecon.recon.energy import EnergySettings, deconvolve_energy, energy_deconvolution
from napari_invrecon.recon.solvers import Iterate, finish

FINE = 4
BELOW = 400
CHANNELS = 512
ZERO = 40


def scattered(thickness, fwhm, offset):
    """(edge, plural scattering of it, low loss, zero-loss peak) in channels; the last two with their zero at 40."""
    n = 2 * (CHANNELS + 2 * BELOW) * FINE
    loss = np.arange(n) / FINE
    plasmon = loss / ((loss**2 - 20.0**2) ** 2 + (5 * loss) ** 2)
    single = np.fft.rfft(plasmon / plasmon.sum())
    inelastic = sum(math.exp(-thickness) * thickness**m / math.factorial(m) * single**m for m in range(25))
    around = np.minimum(np.abs(loss - offset), np.abs(loss - offset - n / FINE))
    zero_loss = np.exp(-4 * np.log(2) * (around / fwhm) ** 2)
    zero_loss = np.fft.rfft(zero_loss / zero_loss.sum())

    above = loss - BELOW - 150
    lines = sum(h * np.exp(-(((above - at) / 2.8) ** 2)) for h, at in ((1.5, 6), (1.1, 16)))
    edge = 20 * ((loss + 50) / BELOW) ** -3.0 + (above >= 0) * (0.6 * np.exp(-above / 250) + lines)

    def channels(fine, first, count):
        return np.roll(fine, -first * FINE)[: count * FINE].reshape(count, FINE).mean(axis=1)

    plural = np.fft.irfft(np.fft.rfft(edge) * inelastic * zero_loss, n)
    low = np.fft.irfft(inelastic * zero_loss, n)
    return (
        math.exp(-thickness) * channels(edge, BELOW, CHANNELS),
        channels(plural, BELOW, CHANNELS),
        channels(low, -ZERO, 256),
        channels(np.fft.irfft(zero_loss, n), -ZERO, 256),
    )


def spectra(counts, thickness=0.8, fwhm=3.0, offset=0.3, seed=0, shape=()):
    """(single scattering, counted spectrum (energy, …), low loss, zero-loss peak)."""
    rng = np.random.default_rng(seed)
    truth, plural, low, zero_loss = scattered(thickness, fwhm, offset)
    scale = counts / plural.max()
    expected = np.broadcast_to((scale * plural).reshape(-1, *(1,) * len(shape)), (CHANNELS, *shape))
    kernels = [rng.poisson(1e6 * k / k.max() + 20).astype(float) for k in (low, zero_loss)]
    return (scale * truth, rng.poisson(expected).astype(np.float32), *kernels)


# Against the truth.


@pytest.mark.parametrize(("counts", "factor"), [(1e3, 2.0), (1e4, 2.5), (1e5, 3.0), (1e6, 3.5)])
@pytest.mark.parametrize("thickness", [0.3, 0.8])
@pytest.mark.parametrize("method", ["fourier-ratio", "richardson-lucy"])
def test_plural_scattering_is_removed(counts, factor, thickness, method):
    x, y, low, _ = spectra(counts, thickness)
    found = deconvolve_energy(y, low, method=method)
    total = found.record["response"]["total_over_zero_loss"]
    assert total == pytest.approx(math.exp(thickness), rel=0.01)
    assert rmse(found.data, x) < rmse(y / total, x) / factor  # better than the best that a factor could do
    assert rmse(found.data, x) < rmse(y, x) / 10
    assert found.data.sum() == pytest.approx(x.sum(), rel=0.03)  # the low loss ends at 216 channels


@pytest.mark.parametrize("counts", [1e2, 1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("thickness", [0.3, 0.8])
def test_lambda_is_near_the_oracle(counts, thickness):
    x, y, low, _ = spectra(counts, thickness)
    best = min(rmse(deconvolve_energy(y, low, lam=lam).data, x) for lam in np.logspace(-4, 4, 33))
    assert rmse(deconvolve_energy(y, low).data, x) < 1.1 * best


@pytest.mark.parametrize("counts", [1e3, 1e5])
def test_richardson_lucy_stops_near_its_best_iterate(counts):
    x, y, low, _ = spectra(counts)
    kernel = np.maximum(energy.energy_response(low, CHANNELS).kernel, 0)
    errors = [rmse(i.x[0], x) for i in energy.richardson_lucy(y[None].astype(float), kernel, 1.0, 60, 0.0)]
    long_run = rmse(finish(energy.richardson_lucy(y[None].astype(float), kernel, 1.0, 60, None))[0], x)
    stopped = rmse(deconvolve_energy(y, low, method="richardson-lucy").data, x)
    assert stopped < 1.1 * min(*errors, long_run)


def test_a_zero_loss_peak_sharpens():
    """Two lines 10 channels apart, blurred by 8: the dip between them comes back."""
    x, y, _, zero_loss = spectra(1e6, thickness=1e-6, fwhm=8.0)
    blurred_dip = y[161] / y[156]
    assert (x[161] / x[156], blurred_dip) == pytest.approx((0.81, 0.95), abs=0.01)
    for method in ("fourier-ratio", "richardson-lucy"):
        found = deconvolve_energy(y, zero_loss, method=method).data
        assert found[161] / found[156] < 0.95 * blurred_dip
        assert abs(int(np.argmax(found[150:162])) - int(np.argmax(x[150:162]))) <= 1
        assert rmse(found, x) < 0.7 * rmse(y, x)


@pytest.mark.parametrize("method", ["fourier-ratio", "richardson-lucy"])
def test_the_ends_of_the_window_do_not_ring(method):
    """Relative to the intensity there, the first and last 16 channels are as good as the smooth part between."""
    x, y, low, _ = spectra(1e6)
    error = np.abs(deconvolve_energy(y, low, method=method).data / x - 1)
    inside = np.sqrt(np.mean(error[40:120] ** 2))
    for end in (error[:16], error[-16:]):
        assert np.sqrt(np.mean(end**2)) < 2 * inside


def test_a_straight_line_is_solved_exactly():
    line = 500 - 0.5 * np.arange(300)
    _, _, low, _ = spectra(1e3)
    kernel = energy.energy_response(low, 300).kernel
    lag = np.arange(kernel.size) - kernel.size // 2
    blurred = kernel.sum() * line + 0.5 * np.dot(lag, kernel)
    np.testing.assert_allclose(deconvolve_energy(blurred, low, lam=1.0).data, line, rtol=1e-5)


# Counts.


@pytest.mark.parametrize("counts", [1, 10, 100])
def test_counts_stay_non_negative(counts):
    x, y, low, _ = spectra(counts, shape=(4, 4))
    found = deconvolve_energy(y, low, method="richardson-lucy")
    assert found.data.min() >= 0
    total = found.record["response"]["total_over_zero_loss"]
    assert rmse(found.data, x[:, None, None]) < rmse(y / total, x[:, None, None])
    assert found.record["detector"]["gain"] == 1
    assert found.lam == 0


def test_zeros_give_zeros():
    _, _, low, _ = spectra(100)
    for method in ("fourier-ratio", "richardson-lucy"):
        found = deconvolve_energy(np.zeros((64, 2)), low, method=method).data
        np.testing.assert_allclose(found, 0, atol=1e-6)


def test_gain_is_found():
    _, y, low, _ = spectra(1e4, shape=(3, 3))
    found = deconvolve_energy(7 * y, low, method="richardson-lucy").record
    assert found["detector"]["gain"] == pytest.approx(7, rel=0.15)
    assert found["residual_over_noise"] < 1.2


# Invariances.


def test_scaling_the_data_scales_the_result_and_leaves_lambda():
    _, y, low, _ = spectra(1e4)
    one, thousand = deconvolve_energy(y, low), deconvolve_energy(1000 * y, 5 * low)
    assert thousand.lam == pytest.approx(one.lam, rel=1e-6)
    np.testing.assert_allclose(thousand.data / 1000, one.data, rtol=1e-4)
    one, thousand = (
        deconvolve_energy(s * y, low, method="richardson-lucy", gain=s, n_iter=5, tolerance=0.0) for s in (1.0, 1e3)
    )
    np.testing.assert_allclose(thousand.data / 1000, one.data, rtol=1e-4)


@pytest.mark.parametrize("method", ["fourier-ratio", "richardson-lucy"])
def test_pixels_are_independent(method):
    _, y, low, _ = spectra(200, shape=(5, 7))
    # Three iterations do not reach a noise of a millionth.
    options = {"lam": 50.0} if method == "fourier-ratio" else {"n_iter": 3, "tolerance": 0.0, "gain": 1e-6}
    whole = deconvolve_energy(y, low, method=method, **options)
    assert whole.data.shape == y.shape
    alone = deconvolve_energy(y[:, 2, 3], low, method=method, **options)
    np.testing.assert_allclose(whole.data[:, 2, 3], alone.data, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("method", ["fourier-ratio", "richardson-lucy"])
def test_a_lazy_spectrum_image_larger_than_memory(method, monkeypatch):
    _, y, low, _ = spectra(200, shape=(12, 10))
    whole = deconvolve_energy(y, low, method=method)
    monkeypatch.setattr(energy, "_BYTES", 200 * 100_000)
    blocks = deconvolve_energy(da.from_array(y, (100, 5, 5)), low, method=method, memory_gb=4.0)
    assert blocks.record["blocks"]["count"] > 4
    assert blocks.lam == pytest.approx(whole.lam, rel=1e-6)
    np.testing.assert_allclose(np.asarray(blocks.data), whole.data, rtol=1e-4, atol=1e-3)
    small = deconvolve_energy(da.from_array(y, (100, 5, 5)), low, method=method, memory_gb=0.1)
    assert small.record["blocks"]["count"] == 120


@pytest.mark.parametrize("dtype", ["uint16", "int32", ">f4", "float64"])
def test_dtypes_and_order_of_memory(dtype):
    _, y, low, _ = spectra(200, shape=(3, 2))
    given = np.asfortranarray(y.astype(dtype))
    before = given.copy()
    found = deconvolve_energy(given, low.astype(np.float32), lam=10.0)
    assert found.data.dtype == np.float32
    np.testing.assert_allclose(found.data, deconvolve_energy(y, low, lam=10.0).data, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(given, before)


# Iterates and the record.


def test_iterates_can_be_watched_and_stopped():
    _, y, low, _ = spectra(1e6, shape=(2, 2))
    steps = energy_deconvolution(y, low, EnergySettings(method="richardson-lucy"))
    seen = []

    def watch():
        result = yield from steps
        seen.append(result)

    watched = watch()
    seen.append(next(watched))
    while isinstance(seen[-1], Iterate):
        with contextlib.suppress(StopIteration):
            seen.append(watched.send(seen[-1].step == 3))
    result = seen.pop()
    shown = [i for i in seen if i.x is not None]
    assert [i.step for i in shown] == [1, 2, 3]
    assert shown[-1].x.shape == y.shape
    assert shown[0].objective > shown[1].objective > shown[2].objective
    assert shown[0].residual > shown[1].residual > shown[2].residual > 1
    np.testing.assert_array_equal(result.data, shown[-1].x)
    assert result.record["stopped"] == "asked to finish"
    assert len(result.record["residual"]) == 3


@pytest.mark.parametrize("method", ["fourier-ratio", "richardson-lucy"])
def test_record(method):
    _, y, low, _ = spectra(1e4)
    record = deconvolve_energy(y, low, method=method).record
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["method"] == "deconvolve_energy"
    assert [each["role"] for each in record["sources"]] == ["spectrum", "kernel"]
    assert record["response"]["position_px"] == pytest.approx(ZERO + 0.3 - 0.375, abs=0.02)
    assert 0.7 < record["residual_over_noise"] < 1.3
    assert record["stopped"] == ("closed form" if method == "fourier-ratio" else "the residual meets the noise")


@pytest.mark.parametrize("rule", ["balanced", "sure", "discrepancy", "l-curve"])
def test_other_rules(rule):
    x, y, low, _ = spectra(1e5)
    found = deconvolve_energy(y, low, lam_rule=rule)
    assert found.record["lam_rule"] == rule
    assert rmse(found.data, x) < 1.5 * rmse(deconvolve_energy(y, low).data, x)


# Bad input.


@pytest.mark.parametrize(
    ("spectrum", "options", "words"),
    [
        (np.full(64, np.nan), {}, "64 NaN"),
        (np.ones((3, 8, 8)), {}, "at least four channels"),
        (np.ones((64, 0)), {}, "expected"),
        (-np.ones(64), {"method": "richardson-lucy"}, "from 0 up"),
        (np.ones(64), {"method": "richardson-lucy", "lam": 1.0}, "no λ"),
        (np.ones(64), {"lam": -1.0}, "lam"),
        (np.ones(64), {"method": "wiener"}, "expected one of"),
        (np.ones(64), {"kernel_background": 1e9}, "above the zero-loss peak"),
    ],
)
def test_bad_values(spectrum, options, words):
    low = spectra(100)[2]
    with pytest.raises(ValueError, match=words):
        deconvolve_energy(spectrum, low, **options)


@pytest.mark.parametrize("spectrum", [[1, 2, 3], np.ones(64, complex), np.array(["a"] * 8)])
def test_bad_types(spectrum):
    with pytest.raises(TypeError, match="expected"):
        deconvolve_energy(spectrum, spectra(100)[2])


def test_a_constant_spectrum_is_given_back():
    _, _, _, zero_loss = spectra(100)
    np.testing.assert_allclose(deconvolve_energy(np.full(128, 7.0), zero_loss).data, 7, rtol=1e-3)


# Real spectra.


def gaussian(fwhm_px):
    return np.exp(-4 * np.log(2) * ((np.arange(41) - 20) / fwhm_px) ** 2)


@pytest.mark.parametrize("method", ["fourier-ratio", "richardson-lucy"])
def test_strontium_titanate(shared_data, method):
    """The Ti L lines near 460 eV come out higher above the dip between them, and in their places."""
    (acquisition,) = read(shared_data / "dm_eels" / "DMReader_EELS_STO.dm3")
    y = np.asarray(acquisition.data)
    found = deconvolve_energy(y, gaussian(4.0), method=method)
    assert found.data.shape == y.shape
    assert np.isfinite(found.data).all()
    assert found.data.sum() == pytest.approx(y.sum(), rel=1e-3)
    peak = int(np.argmax(y[400:500]))
    assert abs(int(np.argmax(found.data[400:500])) - peak) <= 2
    assert np.ptp(found.data[400:500]) > 1.02 * np.ptp(y[400:500])
    assert found.data.min() > 0


@pytest.mark.parametrize("method", ["fourier-ratio", "richardson-lucy"])
def test_spectrum_image(shared_data, method):
    (acquisition,) = read(shared_data / "dm_eels" / "DMReader_SpectrumImage_SI-EELS.dm3")
    found = deconvolve_energy(acquisition.data, gaussian(3.0), method=method)
    assert found.data.shape == (1024, 49, 6)
    assert np.isfinite(found.data).all()
    assert found.data.sum() == pytest.approx(float(np.asarray(acquisition.data).sum()), rel=0.01)
