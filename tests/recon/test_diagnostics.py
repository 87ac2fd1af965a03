"""Diagnostics of a tilt series: closed forms, limits, and bad tilts that stand out."""

import json
import math

import numpy as np
import pytest

from napari_invrecon.recon.diagnostics import (
    BETWEEN,
    SAMPLED,
    WEDGE,
    diagnose,
    elongation,
    fourier_coverage,
    missing_wedge_fraction,
    tilt_residuals,
)

ANGLES = np.arange(-70, 71, 2.0)


def test_elongation_is_radermachers():
    assert elongation(90) == pytest.approx(1)
    assert elongation(45) == pytest.approx(math.sqrt((math.pi + 2) / (math.pi - 2)))
    assert elongation(60) == pytest.approx(math.sqrt((4 * math.pi + 3**1.5) / (4 * math.pi - 3**1.5)))
    assert elongation(0) == math.inf


@pytest.mark.parametrize(
    ("angles", "fraction"),
    [
        (ANGLES, 40 / 180),
        (ANGLES[::-1], 40 / 180),
        (np.arange(-60, 71, 5), 50 / 180),
        (np.arange(-90, 90, 2.5), 0),
        (np.arange(0, 360, 3), 0),
        ([12.0], 1),
    ],
)
def test_missing_wedge(angles, fraction):
    assert missing_wedge_fraction(angles) == pytest.approx(fraction)


def test_plain_numbers():
    found = diagnose(ANGLES, diameter_px=200)
    assert found.range_deg == (-70, 70)
    assert (found.step_deg, found.largest_gap_deg) == (2, 2)
    assert found.crowther_px == pytest.approx(math.pi * 200 / 71)
    assert found.elongation == pytest.approx(elongation(70))
    assert found.residual_per_tilt is None
    assert "unknown" in found.verdict
    assert not found.bad_tilts.any()
    assert found.warnings == ()


def test_a_tilt_taken_twice_is_one_direction():
    assert diagnose([*ANGLES, 0.0], diameter_px=71).crowther_px == pytest.approx(math.pi)


def test_a_gap_is_found_and_said():
    found = diagnose(np.delete(ANGLES, [30, 31, 32]), diameter_px=10)
    assert (found.step_deg, found.largest_gap_deg) == (2, 8)
    assert "8° after -12°" in found.warnings[0]


def test_coverage_is_the_share_of_the_plane():
    n = 401
    picture = fourier_coverage(ANGLES, n)
    kz, kx = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n), indexing="ij")
    disc = (kz**2 + kx**2 < 1) & (kz**2 + kx**2 > 0.01)
    assert np.mean(picture[disc] == WEDGE) == pytest.approx(missing_wedge_fraction(ANGLES), abs=0.01)
    assert picture[n // 2, -1] == SAMPLED  # θ = 0 measures the kx axis
    assert picture[0, n // 2] == WEDGE  # and the kz axis lies in the wedge
    assert picture[n // 2 + 3, -1] == BETWEEN


def test_coverage_leans_as_the_tilts_do():
    picture = fourier_coverage([30.0, 40.0], 101)
    assert picture[50 + 20, 50 + 29] != WEDGE  # kz/kx = tan 34.6°
    assert picture[50 - 20, 50 + 29] == WEDGE


@pytest.mark.parametrize("bad", [[0], [35], [70], [20, 21], [5, 33, 60]])
def test_bad_tilts_stand_out_of_a_trend(bad):
    rng = np.random.default_rng(3)
    residuals = (1 + 0.8 * (ANGLES / 70) ** 2) * (1 + 0.02 * rng.standard_normal(71))
    residuals[bad] *= 1.4
    order = rng.permutation(71)
    found = diagnose(ANGLES[order], diameter_px=1, residual_per_tilt=residuals[order])
    assert sorted(np.flatnonzero(found.bad_tilts)) == sorted(np.flatnonzero(np.isin(order, bad)))
    assert f"{np.flatnonzero(found.bad_tilts)[0]} (" in found.warnings[-1]


def test_no_tilt_is_bad_among_good_ones():
    rng = np.random.default_rng(4)
    for _ in range(50):
        residuals = 1 + 0.01 * rng.standard_normal(71)
        assert not diagnose(ANGLES, diameter_px=1, residual_per_tilt=residuals).bad_tilts.any()


@pytest.mark.parametrize(
    ("ratio", "word"), [(0.8, "noise is fitted"), (1.0, "well"), (1.3, "smaller λ"), (9, "do not agree")]
)
def test_verdict(ratio, word):
    found = diagnose(ANGLES, diameter_px=1, residual_per_tilt=np.full(71, 3 * ratio), noise_sigma=3.0)
    assert found.residual_over_noise == pytest.approx(ratio)
    assert word in found.verdict


@pytest.mark.parametrize(
    ("ratio", "facts", "words"),
    [
        (0.9, {"expected": 0.9}, ["0.9 expected of such a fit", "well regularised"]),
        (0.8, {"expected": 0.9}, ["a larger λ would be smoother"]),
        (0.8, {"expected": 0.9, "lam_from_data": True}, ["σ is estimated too high"]),
        (1.0, {"expected": 0.9}, ["well regularised"]),
        (1.3, {"expected": 0.9, "data_range": 30.0}, ["13 % of the data's range", "a smaller λ"]),
        (1.3, {"lam_from_data": True}, ["no λ mends", "drifts"]),
        (9, {"data_range": 3000.0, "lam_from_data": True}, ["0.9 % of the data's range", "drifts"]),
        (9, {"data_range": 3000.0}, ["no λ mends"]),
        (9, {"data_range": 100.0, "lam_from_data": True}, ["27 % of the data's range", "do not agree"]),
    ],
)
def test_the_verdict_knows_what_a_fit_leaves_and_how_much_the_misfit_matters(ratio, facts, words):
    found = diagnose(ANGLES, diameter_px=1, residual_per_tilt=np.full(71, 3 * ratio), noise_sigma=3.0, **facts)
    for each in words:
        assert each in found.verdict
    assert found.summary()["expected_over_noise"] == facts.get("expected", 1.0)
    share = found.summary()["misfit_share"]
    assert share == (pytest.approx(3 * ratio / facts["data_range"]) if "data_range" in facts else None)


def test_the_verdict_names_what_the_algorithm_has_to_turn():
    def told(algorithm):
        residuals = np.full(71, 0.5)
        return diagnose(
            ANGLES, diameter_px=1, residual_per_tilt=residuals, noise_sigma=1.0, algorithm=algorithm
        ).verdict

    assert "fewer iterations" in told("sirt")
    assert "smoother filter" in told("fbp")
    assert "larger λ" in told("tv")


@pytest.mark.parametrize(
    ("algorithm", "half", "warned"), [("tv", 75, 1), ("tv-sart", 60, 1), ("l1", 70, 1), ("sirt", 60, 0), ("tv", 80, 0)]
)
def test_tv_at_a_limited_range_is_warned_of(algorithm, half, warned):
    found = diagnose(np.arange(-half, half + 1, 5), diameter_px=1, algorithm=algorithm)
    assert len(found.warnings) == warned
    assert all("1904.02614" in w for w in found.warnings)


def test_residuals_of_each_tilt():
    measured = np.zeros((3, 4, 5), np.float32)
    predicted = measured + np.array([0, 1, -2], np.float32)[:, None, None]
    np.testing.assert_allclose(tilt_residuals(predicted, measured), [0, 1, 2])


@pytest.mark.parametrize("angles", [ANGLES, [5.0]])
def test_summary_is_json(angles):
    residuals = np.ones(len(angles))
    residuals[0] = 9
    found = diagnose(angles, diameter_px=64, residual_per_tilt=residuals, noise_sigma=1.0, algorithm="tv")
    plain = found.summary()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["n_tilts"] == len(angles)


def test_errors_name_both_counts():
    with pytest.raises(ValueError, match=r"each of the 71 tilts, not \(70,\)"):
        diagnose(ANGLES, diameter_px=1, residual_per_tilt=np.ones(70))
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        diagnose([], diameter_px=1)
