"""Noise that channels share: closed forms, a known blur, and the variance of maps against that of many draws."""

import numpy as np
import pytest
from scipy.ndimage import convolve1d

import napari_invrecon as ir
from napari_invrecon.recon.channel_correlation import correlation, variance_share
from napari_invrecon.recon.detector import FOURTH
from napari_invrecon.recon.element_window import ElementWindow

ENERGY = 400 + 0.5 * np.arange(400)
OXYGEN = ElementWindow("O", "K", (532, 580), ((450, 520),), "power-law")
BESIDE = ElementWindow("O", "K", (532, 580), ((500, 520), (582, 595)), "linear")
BLUR = np.array([0.05, 0.2, 0.5, 0.2, 0.05])
RHO = np.correlate(BLUR, BLUR, "full")[5:] / np.vdot(BLUR, BLUR)


def blurred_noise(shape, seed=0):
    """Independent from pixel to pixel, and blurred along the channels."""
    noise = np.random.default_rng(seed).standard_normal((shape[0] + 8, *shape[1:]))
    return convolve1d(noise, BLUR, axis=0)[4:-4]


def scintillator(mean, gain, read_sigma, seed):
    """Light of ``gain`` units an electron that falls on five channels, and each channel's own read noise."""
    rng = np.random.default_rng(seed)
    light = convolve1d(gain * rng.poisson(mean).astype(float), BLUR, axis=0, mode="nearest")
    return light + rng.normal(0, read_sigma, mean.shape)


def test_the_variance_of_a_weighted_sum():
    rho = (0.4, 0.1)
    assert variance_share(np.ones(10), rho) == pytest.approx(1 + 2 * (0.4 * 9 + 0.1 * 8) / 10)
    assert variance_share(FOURTH, rho) == pytest.approx(1 - 1.6 * 0.4 + 0.8 * 0.1)
    assert variance_share(np.ones(2), rho) == pytest.approx(1.4)
    assert variance_share(FOURTH, ()) == 1


def test_a_known_blur_is_found():
    found = correlation([blurred_noise((60, 20, 30)), blurred_noise((50, 20, 30), seed=1)])
    np.testing.assert_allclose(found, RHO[: len(found)], atol=0.02)
    assert len(found) >= 2


@pytest.mark.parametrize("shape", [(80, 20, 30), (80, 40), (80, 3, 3), (80, 1, 1), (80,), (3, 20, 20)])
def test_white_noise_shares_nothing_and_few_pixels_tell_nothing(shape):
    assert correlation([np.random.default_rng(2).standard_normal(shape)]) == ()
    assert correlation([np.zeros(shape)]) == ()


def test_a_specimen_is_not_taken_for_noise():
    """A wedge with a hole, a step in thickness and a changing edge add what all or many channels share."""
    y, x = np.mgrid[:40, :40] / 40
    thickness = 1 + x + (y > 0.5) - 0.9 * (np.hypot(y - 0.3, x - 0.3) < 0.1)
    spectrum = 30 * np.linspace(2, 1, 80)[:, None, None] + 20 * (np.arange(80) > 40)[:, None, None] * y
    noise = np.random.default_rng(3).standard_normal((80, 40, 40))
    assert correlation([noise + spectrum * thickness]) == ()
    found = correlation([blurred_noise((80, 40, 40)) + spectrum * thickness])
    np.testing.assert_allclose(found, RHO[: len(found)], atol=0.05)
    holed = noise.copy()
    holed[3, 4, 5] = np.nan
    assert correlation([holed]) == ()


@pytest.mark.parametrize(("window", "share_px"), [(OXYGEN, 1), (OXYGEN, 0), (BESIDE, None)])
@pytest.mark.parametrize("read_sigma", [0.0, 15.0])
def test_the_variance_of_maps_is_that_of_many_draws(window, share_px, read_sigma):
    edge = np.where(ENERGY >= 532, 8 * np.exp(-(ENERGY - 532) / 40), 0)
    mean = (40 * (ENERGY / 400) ** -3.3 + edge)[:, None, None] * np.ones((1, 30, 40))
    ratios = []
    for seed in range(4):
        maps = ir.elemental_maps(scintillator(mean, 12.0, read_sigma, seed), ENERGY, [window], share_px=share_px)
        ratios.append(maps.data[0].var() / maps.variance.mean())
    assert np.mean(ratios) == pytest.approx(1, abs=0.12)
    assert maps.record["detector"]["correlation"][0] > 0.3


def test_counts_are_independent():
    mean = np.full((400, 20, 20), 30.0)
    told = ir.elemental_maps(np.random.default_rng(5).poisson(mean), ENERGY, [OXYGEN]).record["detector"]
    assert told["source"] == "the data are counts"
    assert told["correlation"] == []
