"""The residual in units of the noise, and its verdict."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import image
from scipy.ndimage import zoom

import napari_invrecon as ir
from napari_invrecon.io import read
from napari_invrecon.recon.probe import GaussianPSF
from napari_invrecon.recon.residual import judge, left_by_a_fit, residual_steps, verdict
from napari_invrecon.recon.solvers import finish


@pytest.mark.parametrize(
    ("ratio", "word"), [(0.9, "under-"), (0.951, "well"), (1.049, "well"), (1.1, "over-"), (float("nan"), "unknown")]
)
def test_the_verdict_says_on_which_side_of_the_noise_the_residual_is(ratio, word):
    assert word in verdict(ratio)
    assert verdict(None) == verdict(float("nan"))


def test_noise_in_lines_is_not_answered_with_a_smaller_lam():
    rng = np.random.default_rng(3)
    _, counts = image("particles", 2.0, 400, size=128)
    counts = counts + 0.05 * np.ptp(counts) * rng.standard_normal((128, 1)).astype(np.float32)
    psf = GaussianPSF(2.0)
    chosen = ir.deconvolve(counts, psf, regulariser="tikhonov").record
    assert chosen["lam_rule"] == "l-curve"
    assert chosen["residual_over_noise"] > 1.05
    given = ir.deconvolve(counts, psf, regulariser="tikhonov", lam=1.0).record
    heuristic = chosen | {"lam_rule": "l-curve, of the frozen denoiser", "heuristic": True}
    for record, word in ((chosen, "corner"), (heuristic, "corner"), (given, "says nothing here")):
        said = judge(record)
        assert word in said
        assert "smaller λ." not in said
        assert "runs in lines" in said


@pytest.mark.parametrize("kind", ["particles", "slabs"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_fit_takes_up_some_noise_and_is_not_blamed_for_it(kind, seed):
    counts = image(kind, 1.5, 100, size=128, seed=seed)[1]
    record = ir.deconvolve(counts, GaussianPSF(1.5), regulariser="tikhonov").record
    assert "well regularised" in judge(record)
    smaller = record | {"lam": record["lam"] / 30, "lam_rule": "given"}
    smaller["residual_over_noise"] = 0.8 * record["residual_over_noise"] * left_by_a_fit(smaller)
    assert left_by_a_fit(smaller) < left_by_a_fit(record)
    assert "under-" in judge(smaller)
    assert "σ is estimated too high" in judge(smaller | {"lam_rule": "balanced"}), "a rule's λ is not in doubt"


def test_what_limits_a_verdict_is_said_with_it():
    record = {"residual_over_noise": 1.2, "noise_is": "white", "lam_rule": "balanced", "heuristic": True}
    assert judge(record).splitlines()[:2] == [verdict(1.2), "Noise: white."]
    assert "Heuristic" in judge(record)
    assert "Heuristic" not in judge(record | {"heuristic": False})
    assert "Not converged: …" in judge(record | {"remarks": ["Not converged: …"]})
    assert "flat region" in judge(record | {"lam_rule": "reference"})
    assert "flat region" not in judge(record | {"lam_rule": "reference", "residual_over_noise": 1.0})
    assert judge({"residual_over_noise": 1.0, "lam_rule": "given"}).startswith(verdict(1.0)), "an older record"


def test_the_residual_is_that_of_the_record_and_white():
    counts = image("particles", 1.5, 200, size=128)[1]
    psf = GaussianPSF(1.5)
    result = ir.deconvolve(counts, psf, regulariser="tikhonov")
    residual = finish(residual_steps(counts, result.data, psf, result.record))
    assert residual.dtype == np.float32
    assert np.sqrt(np.mean(residual**2)) == pytest.approx(result.record["residual_over_noise"], rel=0.05)
    assert abs(residual.mean()) < 0.02


def test_counts_are_weighed_by_their_own_variance():
    truth, counts = image("particles", 1.5, 200, size=128)
    psf = GaussianPSF(1.5)
    record = ir.deconvolve(counts, psf, regulariser="tv", noise="poisson", lam=0.01, n_iter=2).record
    stack = np.stack([counts, counts])
    residual = finish(residual_steps(stack, np.stack([truth, truth]), psf, record))
    inner = residual[:, 10:-10, 10:-10]
    assert inner.std() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(residual[0], residual[1])


def test_without_a_noise_level_it_is_refused():
    counts = np.ones((32, 32), np.float32)
    result = ir.deconvolve(counts, GaussianPSF(1.5), regulariser="tikhonov")
    with pytest.raises(ValueError, match="type the noise σ"):
        finish(residual_steps(counts, result.data, GaussianPSF(1.5), result.record))


def test_nothing_is_left_of_a_constant_image():
    record = ir.deconvolve(np.full((32, 32), 7.0), ir.gaussian_psf(1.0)).record
    assert 0 in record["curve"]["gcv"]
    assert left_by_a_fit(record) == 1.0


@pytest.mark.parametrize("regulariser", ["tikhonov", "tv"])
def test_a_resampled_image_is_not_called_well_regularised(regulariser):
    resampled = zoom(image("particles", 1.5, 200, size=96)[1], 1.5, order=3)
    record = ir.deconvolve(resampled, ir.gaussian_psf(1.0), regulariser=regulariser).record
    assert "at the end of the grid" in record["lam_rule"]
    assert judge(record).startswith("λ is the least that was tried")


@pytest.mark.parametrize("regulariser", ["tikhonov", "tv"])
def test_amplified_noise_is_not_called_well_regularised(regulariser, shared_data):
    (micrograph,) = read(shared_data / "tif" / "test_tiff_Zeiss_SEM_512pix.tif")  # the noise of neighbours is alike
    y = np.asarray(micrograph.data)[:192, :192]
    result = ir.deconvolve(y, ir.gaussian_psf(1.0), regulariser=regulariser)
    assert np.ptp(result.data) > 7 * float(np.ptp(y))
    told = judge(result.record)
    assert "The result leaves the data's range" in told
    assert "well regularised" not in told
    narrow = ir.deconvolve(y, ir.gaussian_psf(0.5), regulariser=regulariser)
    assert "range" not in judge(narrow.record)


def test_too_large_a_lam_to_try_is_no_sign_of_resampling():
    noise = np.random.default_rng(0).normal(50, 3, (64, 64))
    record = ir.deconvolve(noise, ir.gaussian_psf(1.5)).record
    assert "at the end of the grid" in record["lam_rule"]
    assert judge(record).startswith("residual/noise")
