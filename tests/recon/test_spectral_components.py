"""Spectra from principal components: mixtures of known spectra under counting noise."""

from __future__ import annotations

import sys

import dask.array as da
import numpy as np
import pytest

import napari_invrecon as ir

pytest.importorskip("sklearn")
CHANNEL = np.arange(300.0)
PLACE = np.indices((24, 30))


def mixture(level, n=3):
    """(energy, y, x), the mean of ``n`` different spectra, the first ``level`` counts at its brightest channel."""
    spectra = [np.exp(-CHANNEL / 80), np.exp(-(((CHANNEL - 150) / 8) ** 2)), np.exp(-(((CHANNEL - 220) / 8) ** 2))]
    amounts = [1 + 0.5 * np.sin(PLACE[1] / 9), PLACE[1] > 12, PLACE[0] > 11]
    return level * sum(s[:, None, None] * a for s, a in zip(spectra[:n], amounts[:n], strict=True))


def rmse(x, truth):
    return np.sqrt(np.mean((x - truth) ** 2))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("level", [1.0, 20.0])
def test_as_many_components_are_kept_as_there_are_spectra(level, n):
    mean = mixture(level, n)
    for seed in range(2):
        counts = np.random.default_rng(seed).poisson(mean)
        found = ir.denoise_spectra(counts)
        assert found.record["components"] == n
        assert found.data.shape == counts.shape
        assert rmse(found.data, mean) < 0.2 * rmse(counts, mean)
        assert found.data.sum() == pytest.approx(counts.sum(), rel=0.01)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_that_runs_through_neighbouring_channels_is_not_taken_for_spectra(seed):
    """Behind a scintillator their differences show a small part of it, so that the gain from them is far too small."""
    mean = 200 + mixture(200)  # a flat spectrum and three others
    noise = np.random.default_rng(seed).normal(0, 1, mean.shape)
    spread = 4 * (np.roll(noise, 1, 0) + 2 * noise + np.roll(noise, -1, 0))
    found = ir.denoise_spectra(mean + spread)
    assert found.record["components"] == 4
    assert rmse(found.data, mean) < 0.3 * rmse(spread, 0)


def test_all_components_give_the_data_back():
    counts = np.random.default_rng(0).poisson(mixture(5.0)[:30, :4, :5])
    found = ir.denoise_spectra(counts, n_components=20)
    np.testing.assert_allclose(found.data, counts, atol=1e-3)


def test_the_weights_find_what_is_weak_beside_bright_channels():
    """A line of 0.7 counts below a background of 400: without weights its component drowns in the bright noise."""
    bright = 400 * np.exp(-CHANNEL / 20)[:, None, None] * np.ones((1, 24, 30))
    line = 0.7 * np.exp(-(((CHANNEL - 220) / 8) ** 2))[:, None, None] * (PLACE[1] > 15)
    counts = np.random.default_rng(0).poisson(bright + line + 0.05)
    found = ir.denoise_spectra(counts)
    assert found.record["components"] == 2
    seen = found.data[205:236].sum(0)
    assert seen[:, 16:].mean() - seen[:, :15].mean() == pytest.approx(line[205:236].sum(0).max(), rel=0.15)


def test_gain_and_offset_do_not_change_what_is_kept():
    counts = np.random.default_rng(0).poisson(mixture(20.0))
    plain, scaled = ir.denoise_spectra(counts), ir.denoise_spectra(7.0 * counts + 100, offset=100.0)
    assert scaled.record["components"] == plain.record["components"]
    assert scaled.record["detector"]["gain"] == pytest.approx(7, rel=0.1)
    np.testing.assert_allclose((scaled.data - 100) / 7, plain.data, atol=0.02)


def test_counts_are_not_changed_and_a_lazy_image_gives_the_same():
    counts = np.random.default_rng(0).poisson(mixture(2.0)).astype(np.uint16)
    before = counts.copy()
    found = ir.denoise_spectra(counts)
    np.testing.assert_array_equal(counts, before)
    np.testing.assert_array_equal(ir.denoise_spectra(da.from_array(counts, (50, 24, 30))).data, found.data)
    np.testing.assert_array_equal(ir.replay(found.record, [counts]).data, found.data)
    assert found.record["versions"]["scikit-learn"]


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(ImportError, match=r"pip install 'napari-invrecon\[pca\]'"):
        ir.denoise_spectra(np.ones((8, 3, 3)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.ones(9), "one spectrum has no components"),
        (np.ones((9, 1, 1)), "several channels and pixels"),
        (np.zeros((9, 3, 3)), "sum to nothing above 0"),
        (np.full((9, 3, 3), np.nan), "81 NaN"),
    ],
)
def test_what_has_no_components_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        ir.denoise_spectra(given)


def test_more_components_than_there_can_be():
    with pytest.raises(ValueError, match="n_components=10: there are 9 channels and 6 pixels"):
        ir.denoise_spectra(np.ones((9, 2, 3)), n_components=10)
