"""The zero-loss peak found, centred and measured; every kind of bad kernel."""

import numpy as np
import pytest

from napari_invrecon.recon.zero_loss import energy_response

CHANNEL = np.arange(200.0)


def low_loss(position=40.0, fwhm=4.0, plasmon=0.3, background=0.0):
    """A Gaussian zero-loss peak of area 1e6, and a plasmon of ``plasmon`` times it."""
    peak = np.exp(-4 * np.log(2) * ((CHANNEL - position) / fwhm) ** 2)
    loss = np.exp(-(((CHANNEL - position - 60) / 10) ** 2))
    return 1e6 * (peak / peak.sum() + plasmon * loss / loss.sum()) + background


@pytest.mark.parametrize("fraction", [-0.45, -0.2, 0.0, 0.3, 0.5])
@pytest.mark.parametrize("fwhm", [2.5, 4.0, 9.0])
def test_peak_is_found_and_centred_to_a_fraction_of_a_channel(fraction, fwhm):
    found = energy_response(low_loss(40 + fraction, fwhm), 500)
    assert found.position == pytest.approx(40 + fraction, abs=0.01)
    assert found.fwhm == pytest.approx(fwhm, rel=0.1)
    middle = found.kernel.size // 2
    around = found.kernel[middle - 12 : middle + 13]
    assert np.dot(np.arange(-12, 13), around) == pytest.approx(0, abs=0.03)
    np.testing.assert_allclose(around, around[::-1], atol=0.01 * around.max())


def test_areas():
    found = energy_response(low_loss(), 500)
    assert 46 < found.zero_loss_end < 80
    assert found.total == pytest.approx(1.3, rel=1e-3)
    alone = energy_response(low_loss(plasmon=0), 500)
    assert alone.zero_loss_end is None
    assert alone.total == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_plasmon_and_hides_none(seed):
    rng = np.random.default_rng(seed)
    alone = rng.poisson(low_loss(plasmon=0, background=30)).astype(float)
    assert energy_response(alone, 500).total == pytest.approx(1, rel=0.01)
    both = rng.poisson(low_loss(plasmon=0.1, background=30)).astype(float)
    assert energy_response(both, 500).total == pytest.approx(1.1, rel=0.01)


def test_background_is_taken_off_openly():
    found = energy_response(low_loss(background=500.0), 500)
    assert found.background == pytest.approx(500, rel=1e-3)
    assert found.background_from == "median of 23 channels before the peak"
    assert found.summary()["background"] == found.background
    np.testing.assert_allclose(found.kernel, energy_response(low_loss(), 500).kernel, atol=1e-7)
    assert energy_response(low_loss(8), 500).background_from.startswith("too few")
    given = energy_response(low_loss(background=500.0), 500, background=0.0)
    assert (given.background, given.background_from) == (0.0, "given")
    assert given.total > 1.3


def test_a_peak_of_one_channel_does_not_ring():
    narrow = np.zeros(64)
    narrow[20:23] = 30, 100, 10
    assert energy_response(narrow, 100).kernel.min() >= 0
    assert energy_response(narrow, 100).kernel.sum() == pytest.approx(1)


def test_losses_beyond_the_spectrum_are_cut_off():
    assert energy_response(low_loss(), 50).kernel.size == 99


@pytest.mark.parametrize(
    ("kernel", "options", "words"),
    [
        (np.ones((4, 4)), {}, "one spectrum"),
        (np.array([1.0, np.nan, 2.0, 1.0]), {}, "1 NaN"),
        (np.arange(9.0), {}, "channel 8 of 9"),
        (np.zeros(9), {}, "maximum"),
        (np.array([]), {}, "maximum"),
        (low_loss(), {"background": 1e9}, "above the zero-loss peak"),
        (low_loss(), {"background": 1e5}, "has the area"),
    ],
)
def test_bad_kernels(kernel, options, words):
    with pytest.raises(ValueError, match=words):
        energy_response(kernel, 100, **options)


@pytest.mark.parametrize("mean", [0.02, 1.0, 30.0, 1e4])
def test_noise_alone_is_refused(mean):
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        counts = rng.poisson(mean, 500)
        try:
            energy_response(counts, 100)
        except ValueError as error:
            refused += any(each in str(error) for each in ("looks like noise", "kernel's maximum is at"))
    assert refused == 200
    smeared = np.convolve(rng.normal(size=500), np.ones(5), "same")
    with pytest.raises(ValueError, match="looks like noise"):
        energy_response(smeared, 100)


@pytest.mark.parametrize("counts", [30, 300, 1e5])
def test_a_weak_peak_among_noise_is_taken_and_so_is_a_thick_specimens(counts):
    rng = np.random.default_rng(1)
    peak = np.exp(-(((CHANNEL - 40) / 3) ** 2)) * counts
    assert abs(energy_response(rng.poisson(peak + 1), 100).position - 40) < 2
    thick = rng.poisson(low_loss(plasmon=2.5) / 1e5 * counts)  # more electrons lose energy than do not
    assert abs(energy_response(thick, 100).position - 40) < 2
    assert energy_response(low_loss(1.4, 5.0), 100).position == pytest.approx(1.4, abs=0.01), "cut off at the start"


def test_bad_type():
    with pytest.raises(TypeError, match="complex128"):
        energy_response(np.ones(9, complex), 100)
