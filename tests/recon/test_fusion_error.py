"""Errors of fused maps: closed forms for an estimate that is known, and how often the truth lies within them."""

from dataclasses import dataclass

import numpy as np
import pytest
from fusion_phantoms import specimen

import napari_invrecon as ir
from napari_invrecon.recon.fusion_error import bootstrap
from napari_invrecon.recon.solvers import finish

SIGMA, SHARE = 0.5, 0.7


@dataclass(frozen=True)
class Measured:
    """Stands for a scene: values with noise."""

    data: np.ndarray

    def drawn(self, x, rng):
        return Measured((x + SIGMA * rng.standard_normal(x.shape)).astype(np.float32))


def shrunk(scene):
    return np.float32(SHARE) * scene.data


def test_an_estimate_that_shrinks_by_a_known_share():
    """x̂ = c b: from x̂ = 7 the first bias is (c − 1)7, the second (c − 1)c 7, and 2b₁ − b₂ = −2.73; in truth −3."""
    x = np.full((1, 24, 24), 7.0, np.float32)
    found = finish(bootstrap(Measured(x), x, shrunk, 400, 0))
    bias = (SHARE - 1) * 7 * (2 - SHARE)
    np.testing.assert_allclose(found.scatter.mean(), SHARE * SIGMA, rtol=0.02)
    np.testing.assert_allclose(found.expected, np.hypot(found.scatter, bias), rtol=0.02)


def test_an_estimate_without_bias_has_none():
    """What few draws scatter is not taken for bias: it is subtracted before it is averaged over the window."""
    x = np.full((1, 64, 64), 7.0, np.float32)
    found = finish(bootstrap(Measured(x), x, lambda scene: scene.data, 6, 1))
    excess = np.mean(found.expected**2) / np.mean(found.scatter**2)
    assert 1 <= excess < 1.08


def test_fewer_than_two_draws_tell_nothing():
    x = np.ones((1, 4, 4), np.float32)
    assert finish(bootstrap(Measured(x), x, shrunk, 0, 0)) is None
    assert finish(bootstrap(Measured(x), x, shrunk, 1, 0)) is None


@pytest.mark.parametrize("seed", [5, 6])
def test_the_truth_is_within_one_and_two_expected_errors_as_often_as_it_should(seed):
    """68 and 95 % for normal errors; the standard error alone, without the bias of TV, holds far fewer."""
    truth, counts, haadf = specimen("domains", 10, (96, 96), seed=seed)
    result = ir.fuse(haadf, counts, lam=2.0, coupling="both", n_draws=8)
    off = np.abs(result.data - truth)
    within = [np.mean(off <= times * result.expected_error) for times in (1, 2)]
    assert 0.6 < within[0] < 0.85
    assert 0.88 < within[1] < 0.99
    assert np.mean(off <= result.standard_error) < within[0] - 0.1
    assert (result.expected_error >= result.standard_error).all()


@pytest.mark.parametrize(
    "settings",
    [{"noise": "gaussian"}, {"coupling": "power"}, {"grid": "haadf"}, {"calibration": "Z", "elements": "Ti, Fe, Cu"}],
)
def test_every_kind_of_fusion_has_errors(settings):
    finer = 2 if "grid" in settings else 1
    _, counts, haadf = specimen("domains", 10, (32, 32), seed=1, finer=finer)
    counts = counts.astype(np.float32)
    counts[0, 3, 4] = np.nan
    given = {"coupling": "both", "lam": 2.0, "n_draws": 3, "n_iter": 40} | settings
    result = ir.fuse(haadf, counts, **given)
    assert result.expected_error.shape == result.data.shape
    assert np.isfinite(result.expected_error).all()
    assert result.expected_error.max() > 0
