"""Totals of fused maps: closed forms, and maps of spectra drawn many times, whose background is counted as well."""

import dataclasses

import numpy as np
import pytest
from fusion_phantoms import specimen

import napari_invrecon as ir
from napari_invrecon.recon.fusion_scale import rescaled, scales
from napari_invrecon.recon.fusion_scene import prepare
from napari_invrecon.recon.fusion_settings import FusionSettings
from napari_invrecon.recon.fusion_solver import Solution

SHAPE = (64, 64)
ABSENT = 3


def problem_of(maps, **given):
    return prepare(np.ones(maps.shape[1:]), maps, FusionSettings(**given)).scene.problem


def solution_of(x):
    return Solution(x, np.zeros(0, np.float32), (), 1, True, x)


def net_maps(background, seed):
    """(truth, HAADF, counts S, background Q·B, variance S + Q²B): two elements all over, a trace in particles, none."""
    rng = np.random.default_rng(seed)
    amounts, _, haadf = specimen("domains", 10, SHAPE, seed=3)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    particles = sum(np.exp(-((y - r) ** 2 + (x - c) ** 2) / 8) for r, c in ((20, 30), (40, 24), (38, 44)))
    truth = np.stack([amounts[0] / 3, amounts[1] / 3, 400 * particles / particles.sum(), np.zeros(SHAPE)])
    signal, beside = rng.poisson(truth + background), rng.poisson(np.full(truth.shape, 2 * background))
    haadf = rng.poisson(haadf + 60 * particles)
    return truth, haadf, signal, beside / 2, signal + beside / 4


def test_without_a_background_the_total_is_that_of_the_counts():
    b = np.random.default_rng(0).poisson(2.0, (2, 12, 10))
    x = np.stack([np.full((12, 10), 0.5), np.full((12, 10), 7.0)])
    np.testing.assert_allclose(scales(problem_of(b), x), b.sum((1, 2)) / x.sum((1, 2)), rtol=1e-6)


def test_what_noise_explains_is_left():
    """Of n values of noise σ the total's is σ√n = 11; d = 100 is taken but for 1.21, d = 10 not at all."""
    values = np.full((3, 11, 11), 2.0) + np.array([100, 10, -400])[:, None, None] / 121
    problem = problem_of(values, noise_sigma=1.0)
    x = np.full(values.shape, 2.0, np.float32)
    np.testing.assert_allclose(scales(problem, x), [1 + (100 - 1.21) / 242, 1, (121 / 242) / 242], rtol=1e-4)
    signed = dataclasses.replace(problem, nonnegative=False)
    assert np.array_equal(scales(signed, x), np.ones(3))
    assert np.array_equal(scales(problem, 0 * x), np.ones(3))


def test_more_is_a_multiple_and_less_is_the_nearest_map_of_that_total():
    rng = np.random.default_rng(1)
    x = np.maximum(rng.standard_normal((2, 30, 20)), 0).astype(np.float32)
    wanted = np.array([2.5, 0.3]) * x.sum((1, 2))
    counts = np.zeros(x.shape)
    counts[:, 0, 0] = np.round(wanted)
    more, less = rescaled(problem_of(counts), solution_of(x)).x
    np.testing.assert_allclose(more, x[0] * counts[0].sum() / x[0].sum(), rtol=1e-5)
    assert less.sum() == pytest.approx(counts[1].sum(), rel=1e-5)
    taken = x[1] - less
    np.testing.assert_allclose(taken[less > 0], taken.max(), atol=1e-6)  # the conditions of the least squares
    assert (x[1][less == 0] <= taken.max() + 1e-6).all()


def test_values_that_may_be_negative_keep_their_total():
    truth, _, haadf = specimen("domains", 10, SHAPE)
    values = truth + np.random.default_rng(6).standard_normal(truth.shape)
    fused = ir.fuse(haadf, values, nonnegative=False, lam=3.0, coupling="edges", n_iter=1000, tolerance=0.0).data
    np.testing.assert_allclose(fused.mean((1, 2)), values.mean((1, 2)), rtol=1e-3)


@pytest.mark.parametrize("background", [0.1, 3.0])
@pytest.mark.parametrize("route", ["counts", "values"])
def test_totals_are_those_of_the_net_data_and_what_is_not_there_stays_so(route, background):
    """Of many draws, with the noise of the background, which no fusion knows; 400 counts or none of an element."""
    totals, errors, left = [], [], []
    for seed in range(6):
        truth, haadf, counts, beside, variance = net_maps(background, seed)
        given = {"maps": counts, "backgrounds": beside}
        if route == "values":
            given = {"maps": counts - beside, "variances": variance}
        fused = ir.fuse(haadf, **given, lam=1.5, coupling="edges").data
        totals.append(fused.sum((1, 2)) - truth.sum((1, 2)))
        errors.append(np.sqrt(variance.sum((1, 2))))
        left.append(np.mean(fused[ABSENT] ** 2) / variance[ABSENT].mean())
    off, error = np.mean(totals, 0), np.mean(errors, 0)
    assert (np.abs(off[:ABSENT]) < 1.3 * error[:ABSENT]).all()
    assert 0 <= off[ABSENT] < 2 * error[ABSENT]  # what is drawn above 0 of a total of 0, and what noise leaves
    assert np.sqrt(np.mean(left)) < 0.1


def test_totals_do_not_depend_on_the_units():
    _, haadf, counts, beside, variance = net_maps(0.1, 9)
    one = ir.fuse(haadf, counts - beside, variances=variance, lam=1.5, coupling="edges")
    other = ir.fuse(haadf, 50 * (counts - beside), variances=2500 * variance, lam=1.5, coupling="edges")
    np.testing.assert_allclose(other.data.sum((1, 2)), 50 * one.data.sum((1, 2)), rtol=1e-3, atol=1e-2)
