"""Fusion: counts that are kept, what the HAADF tells, and what is said where it tells nothing."""

import dataclasses

import numpy as np
import pytest
from fusion_phantoms import psnr, specimen
from scipy.ndimage import gaussian_filter

import napari_invrecon as ir
from napari_invrecon.recon.fusion_guide import denoised, following
from napari_invrecon.recon.fusion_scene import prepare
from napari_invrecon.recon.fusion_settings import FusionSettings
from napari_invrecon.recon.guided_tv import guided_variation
from napari_invrecon.recon.power_coupling import gauss_newton, linearised, power_objective
from napari_invrecon.recon.solvers import finish

SHAPE = (48, 64)
GIVEN = {"lam": 2.0, "coupling": "edges"}


def trace(seed=0):
    """(counts, HAADF): a strong element in a ball, and a faint one of 140 counts in three particles."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    ball = np.sqrt(np.maximum(25**2 - (y - 32) ** 2 - (x - 32) ** 2, 0)) / 25
    particles = sum(np.exp(-((y - r) ** 2 + (x - c) ** 2) / 8) for r, c in ((20, 30), (40, 24), (38, 44)))
    faint = 140 * particles / particles.sum() * 0.8 + 140 * 0.2 / x.size
    maps = rng.poisson(np.stack([3 * ball, faint]))
    return maps, rng.poisson(50 + 600 * ball + 150 * particles)


@pytest.mark.parametrize("coupling", ["none", "edges", "both", "power"])
def test_counts_of_a_trace_element_are_kept(coupling):
    maps, haadf = trace()
    result = ir.fuse(haadf, maps, coupling=coupling)
    np.testing.assert_allclose(result.data.sum((1, 2)), maps.sum((1, 2)), rtol=1e-4)
    assert len(result.record["scale"]) == 2


def test_a_wedge_of_all_elements_costs_nothing():
    wedge = np.tile(np.linspace(1, 2, SHAPE[1], dtype=np.float32), (SHAPE[0], 1))
    x = np.stack([3 * wedge, 5 * wedge])
    problem = prepare(50 + 100 * wedge, np.round(x), FusionSettings()).scene.problem
    there = following(problem, x, 50 + 100 * wedge, 50.0, 1.0)
    scaled = x / problem.unit[:, None, None]
    plain = guided_variation(scaled, problem.guide, problem.follow, problem.rise, 0, SHAPE[0])
    along = guided_variation(scaled, there.guide, there.follow, there.rise, 0, SHAPE[0])
    assert along < 0.1 * plain


def test_maps_may_rise_and_fall_with_the_haadf_but_need_not():
    """β is each element's own, of either sign: one rises with G, one falls, one does not care."""
    rng = np.random.default_rng(0)
    G = gaussian_filter(rng.standard_normal(SHAPE), 4).astype(np.float32) * 100 + 200
    x = np.stack([G / 50, 8 - G / 50, np.full(SHAPE, 3, np.float32)])
    problem = prepare(G, np.round(x), FusionSettings()).scene.problem
    there = following(problem, x, G, 0.0, 0.01)
    inside = (slice(None), slice(8, -8), slice(8, -8))
    beta = (there.follow * problem.unit[:, None, None])[inside]
    np.testing.assert_allclose(np.median(beta, axis=(1, 2)), [1 / 50, -1 / 50, 0], atol=2e-3)


def test_the_haadf_less_its_noise():
    truth, counts, haadf = specimen("domains", 10, (96, 96))
    del truth, counts
    scene = prepare(haadf, haadf[None], FusionSettings()).scene
    clean = specimen("domains", 10, (96, 96), seed=0)[0]
    model = np.tensordot((0.6, 0.8, 1.0), clean / clean.max((1, 2), keepdims=True), 1)
    fit = np.polynomial.Polynomial.fit(model.ravel(), haadf.ravel().astype(float), 1)(model)
    off = [np.sqrt(np.mean((each - fit) ** 2)) for each in (haadf, scene.clean)]
    assert off[1] < 0.5 * off[0]
    holes = haadf.astype(np.float32)
    holes[10:13, 20:23] = np.nan
    assert np.isfinite(denoised(holes, 25.0)).all()
    assert np.array_equal(denoised(np.ones(SHAPE, np.float32), 0.0), np.ones(SHAPE))


@pytest.mark.parametrize("gamma", [0.7, 1.0, 1.7])
@pytest.mark.parametrize("psf_sigma_px", [0.0, 1.2])
def test_the_slope_of_the_power_coupling(gamma, psf_sigma_px):
    """Of ½‖(H − h₀ − A Σ a x^γ)/s‖², against differences; with a PSF, −Aᵀ stands in where it is symmetric."""
    maps, haadf = trace()
    settings = FusionSettings(gamma=gamma, psf_sigma_px=psf_sigma_px)
    scene = prepare(haadf, maps, settings).scene
    x = scene.start() + 0.5
    none = dataclasses.replace(scene.problem, data=np.full_like(scene.problem.data, np.nan))
    rng = np.random.default_rng(1)
    step = gaussian_filter(rng.standard_normal(x.shape), (0, 2, 2)).astype(np.float32)
    step[:, :8] = step[:, -8:] = step[:, :, :8] = step[:, :, -8:] = 0  # where A at the edge is not symmetric

    def value(t):
        return power_objective(none, scene.power, scene.known, x + np.float32(t) * step, 0.0)

    measured = (value(0.05) - value(-0.05)) / 0.1
    about = linearised(none, scene.power, scene.known, x)
    off = about.target - (about.slope * x).sum(0)
    slope = -(off * (about.slope * step).sum(0)).sum(dtype=float)
    assert slope == pytest.approx(measured, rel=2e-2)


@pytest.mark.parametrize("coupling", ["both", "power"])
def test_a_solution_for_another_lam_is_a_good_start(coupling):
    """What λ = 8 has smoothed away comes back for λ = 4: the first steps lead astray, which is no end of them."""
    _, maps, haadf = specimen("domains", 10, (64, 64), "power", seed=7)
    scene = prepare(haadf, maps, FusionSettings()).scene
    problem = scene.coupled(coupling)

    def solved(lam, start, n_iter):
        return finish(scene.solve(coupling, lam, start, n_iter, 1e-3, problem))

    smooth = solved(8.0, None, 100)
    near, far = solved(4.0, smooth, 40), solved(4.0, None, 400)
    off = [np.linalg.norm(each.x - far.x) for each in (near, smooth)]
    assert off[0] < 0.5 * off[1]


def test_the_published_objective():
    """½‖b_H − Σ (Z x)^γ‖² + λ₁ Σ (x − b log x) + λ₂ TV(x) is λ₁ of ours with s_H² = λ₁, λ = λ₂ u/λ₁, and is minimised.

    Schwartz et al. 2022, doi:10.1038/s41524-021-00692-5.
    """
    maps, _ = trace()
    gamma, lam_1, lam_2, z = 1.6, 0.05, 0.02, np.array([1.0, 1.3])
    x0 = gaussian_filter(maps.astype(np.float32), (0, 2, 2)) + 0.1
    haadf = (np.tensordot(z**gamma, x0**gamma, 1) + 0.05).astype(np.float32)
    scene = prepare(haadf, maps, FusionSettings(gamma=gamma)).scene
    found = dataclasses.replace(scene.power, offset=0.0, slopes=z**gamma, noise=np.sqrt(lam_1), misfit=0.0)
    problem = dataclasses.replace(scene.problem, unit=np.ones(2, np.float32))

    def published(x):
        dy, dx = np.diff(x, axis=1, append=x[:, -1:]), np.diff(x, axis=2, append=x[:, :, -1:])
        variation = np.sqrt((dy**2 + dx**2).sum(0)).sum()
        tie = ((haadf - np.tensordot(z**gamma, x**gamma, 1)) ** 2).sum() / 2
        return tie + lam_1 * (x - maps * np.log(np.maximum(x, 1e-30))).sum() + lam_2 * variation

    def ours(x):
        return lam_1 * power_objective(problem, found, haadf, x.astype(np.float32), lam_2 / lam_1)

    solution = finish(gauss_newton(problem, found, haadf, lam_2 / lam_1, x0, n_iter=300, tolerance=1e-4))
    rng = np.random.default_rng(0)
    other = x0 * rng.uniform(0.8, 1.2, x0.shape)
    assert ours(other) - ours(x0) == pytest.approx(published(other) - published(x0), rel=1e-3)
    assert published(solution.x) < published(x0)
    for factor in (0.98, 1.02):
        assert published(factor * solution.x) > published(solution.x)


def test_fractions_leave_the_calibration_open():
    truth, _, haadf = specimen("domains", 10, SHAPE)
    fractions = truth / truth.sum(0) + 0.01 * np.random.default_rng(0).standard_normal(truth.shape)
    fractions /= fractions.sum(0)
    record = ir.fuse(haadf, fractions, elements="Sc, Dy, O", **GIVEN).record
    assert not any(flag.startswith("the HAADF cannot see") for flag in record["flags"])
    assert any("Sc, Dy, O depend on each other" in flag for flag in record["flags"])
    assert np.abs(record["calibration"]["slopes"]).max() < 1e3 * np.ptp(haadf)
    independent = ir.fuse(haadf, truth + 1, elements="Sc, Dy, O", **GIVEN).record
    assert not any("depend on each other" in flag for flag in independent["flags"])


def test_a_background_of_its_own_in_each_pixel():
    truth, counts, haadf = specimen("core-shell", 10, SHAPE)
    rng = np.random.default_rng(3)
    background = np.broadcast_to(np.linspace(1, 9, SHAPE[1]), truth.shape)
    counts = counts + rng.poisson(background)
    result = ir.fuse(haadf, counts, backgrounds=background, **GIVEN)
    flat = ir.fuse(haadf, counts, background="5", **GIVEN)
    assert psnr(result.data, truth) > psnr(flat.data, truth) + 3
    constant = ir.fuse(haadf, counts, backgrounds=np.full(truth.shape, 5.0), **GIVEN)
    np.testing.assert_allclose(constant.data, flat.data, rtol=1e-4, atol=1e-4)
    again = ir.replay(result.record, [haadf, counts, background])
    assert np.array_equal(again.data, result.data)
    with pytest.raises(ValueError, match="one number for a map, or one for each pixel"):
        ir.fuse(haadf, counts, background="5", backgrounds=background, **GIVEN)
    with pytest.raises(ValueError, match="expected one for each datum"):
        ir.fuse(haadf, counts, backgrounds=background[0], **GIVEN)


def test_values_of_unequal_variance():
    truth, _, haadf = specimen("core-shell", 10, SHAPE)
    sigma = np.broadcast_to(np.where(np.arange(SHAPE[1]) % 16 < 8, 0.3, 6.0), truth.shape)
    values = truth + sigma * np.random.default_rng(4).standard_normal(truth.shape)
    told = ir.fuse(haadf, values, variances=sigma**2, coupling="none")
    alike = ir.fuse(haadf, values, coupling="none")
    assert told.record["noise"] == "gaussian"
    assert psnr(told.data, truth) > psnr(alike.data, truth) + 1.5
    unknown = np.where(np.arange(SHAPE[1]) == 20, np.nan, sigma**2)
    assert np.isfinite(ir.fuse(haadf, values, variances=unknown, **GIVEN).data).all()
    with pytest.raises(ValueError, match="leave one of the two out"):
        ir.fuse(haadf, values, variances=sigma**2, noise_sigma=1.0, **GIVEN)
    with pytest.raises(ValueError, match="numbers from 0 up"):
        ir.fuse(haadf, values, variances=-np.ones(truth.shape), **GIVEN)


def test_maps_of_a_spectrum_image_are_fused_with_their_background_and_variance():
    rng = np.random.default_rng(5)
    truth, _, haadf = specimen("core-shell", 20, SHAPE)
    energy = 400 + 2.0 * np.arange(150)
    y = np.tile(4 * (energy / 400)[:, None, None] ** -3.0, (1, *SHAPE))
    y[80:110] += truth[0] / 30
    maps = ir.elemental_maps(rng.poisson(y), energy, [ir.suggest_window("O", "eels", 400, 690)])
    as_counts = ir.fuse(haadf, maps.counts, backgrounds=maps.background, **GIVEN)
    as_values = ir.fuse(haadf, maps.data, variances=maps.variance, **GIVEN)
    for result in (as_counts, as_values):
        assert psnr(result.data, truth[:1]) > psnr(maps.data, truth[:1]) + 4


@pytest.mark.parametrize("kind", ["core-shell", "domains"])
def test_an_haadf_that_saturates_is_told(kind):
    for saturation, told in ((0.0, False), (2.0, True)):
        _, counts, haadf = specimen(kind, 10, (96, 96), saturation=saturation, seed=7)
        flags = ir.fuse(haadf, counts, **GIVEN).record["flags"]
        assert any("saturates" in flag for flag in flags) == told
