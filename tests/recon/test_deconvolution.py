"""Deconvolution against the lecture's figures, closed forms, invariances, seams, and every kind of bad input."""

import json
import tracemalloc
import warnings

import dask.array as da
import numpy as np
import pytest
from phantoms import image, rmse
from scipy.ndimage import gaussian_filter

import napari_invrecon as ir
from napari_invrecon.recon import deconvolution as module
from napari_invrecon.recon.deblurring import deblur
from napari_invrecon.recon.deconvolution_scene import prepare
from napari_invrecon.recon.solvers import finish

PSF = ir.gaussian_psf(1.5)
ALL = ("l2", "tikhonov", "tv", "roughness", "l1", "wavelet", "denoiser")


# The lecture's two experiments.

T = np.linspace(0, 64, 64)
PEAKS = sum(h * np.exp(-((T - p) ** 2) / (2 * 1.5**2)) for p, h in [(15, 0.6), (35, 0.9), (50, 1.0)])
KERNEL = np.exp(-(np.linspace(-6, 6, 21) ** 2) / 18)
GRID = np.logspace(-5, 2, 100)


def lecture_image():
    shift = (np.arange(64)[:, None] - np.arange(64) + 10) % 64
    matrix = np.append(KERNEL, np.zeros(64 - 21))[shift]
    return matrix, matrix @ PEAKS + 0.1 * PEAKS.max() * np.random.default_rng(42).standard_normal(64)


def lecture(lam):
    _, y = lecture_image()
    options = {"regulariser": "l2", "boundary": "periodic", "normalise_psf": False}
    return rmse(ir.deconvolve(y, KERNEL, lam=lam, **options).data, PEAKS)


def test_lecture_u_curve():
    errors = [lecture(lam) for lam in GRID]
    assert min(errors) == pytest.approx(0.1402, rel=0.01)
    assert GRID[np.argmin(errors)] == pytest.approx(0.1262, rel=0.01)
    for lam, error in [(1e-5, 0.9668), (5, 0.1884), (100, 0.2450)]:
        assert lecture(lam) == pytest.approx(error, rel=0.01)
    matrix, y = lecture_image()
    assert np.linalg.cond(matrix) == pytest.approx(230.2, rel=0.01)
    assert rmse(np.linalg.solve(matrix, y), PEAKS) == pytest.approx(0.9693, rel=0.01)
    assert lecture(1e-14) == pytest.approx(0.9693, rel=0.01)


def test_lecture_l_curve_corner():
    _, y = lecture_image()
    curve = ir.lambda_curve(y, KERNEL, regulariser="l2", lam=GRID, boundary="periodic", normalise_psf=False)
    assert curve.corner == pytest.approx(0.1748, rel=0.15)
    assert (np.diff(curve.residual_norm) > 0).all()
    assert (np.diff(curve.solution_norm) < 0).all()


def test_lecture_grain_boundaries():
    n = 200
    x = np.full(n, 0.8)
    x[: n // 3], x[2 * n // 3 :] = 0.2, 0.3
    y = gaussian_filter(x, 4, mode="nearest") + 0.06 * x.max() * np.random.default_rng(42).standard_normal(n)
    psf = ir.gaussian_psf(4.0, ndim=1)
    best = {
        name: min(
            rmse(ir.deconvolve(y, psf, regulariser=name, lam=lam, tolerance=1e-5, n_iter=2000).data, x)
            for lam in np.logspace(-0.5, 1, 16)
        )
        for name in ("tikhonov", "tv")
    }
    assert best["tv"] <= 0.032
    assert best["tikhonov"] <= 0.0575
    assert best["tv"] < 0.75 * best["tikhonov"]


# Invariances.


@pytest.mark.parametrize("name", ALL)
def test_scaling_the_data_scales_the_result_and_leaves_lambda(name):
    _, y = image("particles", 1.5, 100, size=96)
    one = ir.deconvolve(y, PSF, regulariser=name)
    thousand = ir.deconvolve(1000 * y, PSF, regulariser=name)
    assert thousand.lam == pytest.approx(one.lam, rel=2e-3)
    np.testing.assert_allclose(thousand.data / 1000, one.data, atol=2e-3 * np.ptp(y))


@pytest.mark.parametrize("name", ["tikhonov", "tv", "wavelet", "denoiser"])
def test_a_black_level_moves_the_result_and_nothing_else(name):
    _, y = image("particles", 1.5, 100, size=96)
    one = ir.deconvolve(y, PSF, regulariser=name)
    for black in (10000.0, -31908.0):
        moved = ir.deconvolve(y + black, PSF, regulariser=name)
        assert moved.lam == pytest.approx(one.lam, rel=2e-3)
        assert moved.record["n_iter"] == one.record["n_iter"]
        np.testing.assert_allclose(moved.data - black, one.data, atol=2e-3 * np.ptp(y))


def test_a_black_level_is_told_where_it_matters():
    _, y = image("particles", 1.5, 100, size=64)
    plain, moved = (ir.deconvolve(each, PSF, regulariser="l2", lam=0.1).record["remarks"] for each in (y, y + 1e4))
    assert plain == []
    assert "black level" in moved[0]


def test_a_black_level_under_a_constraint_does_not_stop_the_iterations():
    _, y = image("particles", 1.5, 100, size=96)
    options = {"nonnegative": True, "lam": 0.05}
    one, moved = (ir.deconvolve(each, PSF, **options) for each in (y, y + 10000.0))
    assert moved.record["n_iter"] > 0.5 * one.record["n_iter"]


@pytest.mark.parametrize("name", ["tikhonov", "tv"])
def test_data_of_any_size(name):
    _, y = image("particles", 1.5, 100, size=64)
    one, huge = (ir.deconvolve(each, PSF, regulariser=name) for each in (y, y * np.float32(1e15)))
    assert huge.lam == pytest.approx(one.lam, rel=2e-3)
    np.testing.assert_allclose(huge.data / 1e15, one.data, atol=2e-3 * np.ptp(y))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64", ">i2", ">f4"])
def test_every_dtype_gives_the_same_float32(dtype):
    _, y = image("slabs", 1.5, 100, size=64)
    result = ir.deconvolve(y.astype(dtype), PSF, regulariser="tikhonov", lam=0.01)
    assert result.data.dtype == np.float32
    np.testing.assert_allclose(result.data, ir.deconvolve(y, PSF, regulariser="tikhonov", lam=0.01).data, rtol=1e-5)


def test_inputs_are_not_changed_and_need_not_be_contiguous():
    _, y = image("slabs", 1.5, 100, size=64)
    psf = PSF.copy()
    strided = np.repeat(np.asfortranarray(y), 2, axis=1)[:, ::2]
    before = strided.copy()
    for name in ALL:
        a, b = (ir.deconvolve(each, psf, regulariser=name, lam=0.05).data for each in (strided, y))
        np.testing.assert_allclose(a, b, atol=1e-3)
    np.testing.assert_array_equal(strided, before)
    np.testing.assert_array_equal(psf, PSF)


def test_leading_axes_are_frames():
    frames = np.stack([image(kind, 1.5, 100, size=64)[1] for kind in ("slabs", "lattice", "ramps")])[:, None]
    for name in ("tikhonov", "tv"):
        stack = ir.deconvolve(frames, PSF, regulariser=name, lam=0.02, tolerance=0, n_iter=20)
        assert stack.data.shape == frames.shape
        scale = stack.record["data_scale"]
        for k in range(3):
            alone = ir.deconvolve(frames[k, 0], PSF, regulariser=name, lam=0.02, tolerance=0, n_iter=20)
            if name == "tikhonov":
                np.testing.assert_allclose(stack.data[k, 0], alone.data, atol=1e-3 * scale)


@pytest.mark.parametrize("shape", [(5, 5), (6, 6), (3, 8), (1, 7), (7, 1)])
def test_any_psf_shape_keeps_the_place_of_a_point(shape):
    psf = np.random.default_rng(0).random(shape).astype(np.float32)
    psf[shape[0] // 2, shape[1] // 2] += 3
    point = np.zeros((48, 50), np.float32)
    point[20, 30] = 100
    from napari_invrecon.recon.operators import convolution

    blurred = convolution(psf / psf.sum(), point.shape)(point)
    x = ir.deconvolve(blurred, psf, regulariser="l2", lam=1e-4).data
    assert np.unravel_index(np.argmax(x), x.shape) == (20, 30)


def test_three_dimensions():
    psf = ir.gaussian_psf(1.0, ndim=3)
    x = np.zeros((24, 26, 28), np.float32)
    x[8:16, 8:18, 10:20] = 1
    y = gaussian_filter(x, 1.0) + np.random.default_rng(0).normal(0, 0.02, x.shape).astype(np.float32)
    for name in ("tikhonov", "tv"):
        assert rmse(ir.deconvolve(y, psf, regulariser=name).data, x) < rmse(y, x)


# Recovery, from images made by another forward model.


@pytest.mark.parametrize("kind", ["particles", "slabs"])
@pytest.mark.parametrize("seed", [1, 2])
def test_tv_with_lambda_from_the_data_is_near_its_best(kind, seed):
    x, y = image(kind, 3, 200, seed=seed)
    psf = ir.gaussian_psf(3.0)
    chosen = rmse(ir.deconvolve(y, psf).data, x)
    best = min(rmse(ir.deconvolve(y, psf, lam=lam).data, x) for lam in np.logspace(-2.5, -0.5, 9))
    assert chosen < 1.05 * best
    assert chosen < 0.8 * rmse(y, x)


def test_denoiser_with_lambda_from_the_data_is_best_on_a_lattice():
    x, y = image("lattice", 1.5, 200)
    errors = {name: rmse(ir.deconvolve(y, PSF, regulariser=name).data, x) for name in ("tikhonov", "tv", "denoiser")}
    by_gcv = rmse(ir.deconvolve(y, PSF, regulariser="tikhonov", lam_rule="gcv").data, x)
    assert errors["denoiser"] < 0.9 * min(by_gcv, errors["tv"])
    assert errors["denoiser"] < errors["tikhonov"]


@pytest.mark.parametrize("kind", ["particles", "lattice"])
def test_counts(kind):
    x, y = image(kind, 1.5, 30)
    result = ir.deconvolve(y, PSF, noise="poisson")
    assert result.data.min() >= 0
    assert result.record["detector"]["source"] == "the data are counts"
    assert rmse(result.data, x) < 0.85 * rmse(y, x)
    assert result.data.mean() == pytest.approx(y.mean(), rel=0.03)  # TV takes a little contrast, and with it counts


def test_gain_and_offset_of_a_detector_are_taken_off():
    _, y = image("particles", 1.5, 100)
    plain = ir.deconvolve(y, PSF, noise="poisson", lam=0.05)
    scaled = ir.deconvolve(7 * y + 500, PSF, noise="poisson", lam=0.05, gain=7.0, offset=500.0)
    np.testing.assert_allclose(scaled.data / 7, plain.data, atol=0.02 * np.ptp(y))


@pytest.mark.parametrize(("kind", "sigma"), [("particles", 3), ("particles", 1.5), ("lattice", 3)])
def test_rim_is_as_good_as_the_inside(kind, sigma):
    rim = np.ones((256, 256), bool)
    rim[12:-12, 12:-12] = False
    inside, outside = [], []
    for seed in range(4):
        x, y = image(kind, sigma, 500, seed=seed)
        error = (ir.deconvolve(y, ir.gaussian_psf(float(sigma)), lam=0.03).data - x) ** 2
        inside.append(error[~rim].mean())
        outside.append(error[rim].mean())
    assert np.sqrt(np.mean(outside) / np.mean(inside)) < 1.1


def test_masked_pixels_are_not_looked_at():
    x, y = image("slabs", 1.5, 200, size=128)
    rng = np.random.default_rng(0)
    weights = (rng.random(y.shape) > 0.05).astype(np.float32)
    broken = np.where(weights > 0, y, 1e6)
    masked = ir.deconvolve(broken, PSF, weights, lam=0.05, noise_sigma=10.0)
    assert rmse(masked.data, x) < 1.15 * rmse(ir.deconvolve(y, PSF, lam=0.05).data, x)
    missing = ir.deconvolve(np.where(weights > 0, y, np.nan), PSF, lam=0.05)
    assert rmse(missing.data, x) < 1.15 * rmse(ir.deconvolve(y, PSF, lam=0.05).data, x)


@pytest.mark.parametrize("name", ["tv", "roughness"])
def test_residual_over_noise_counts_the_pixels_that_count(name):
    _, y = image("slabs", 1.5, 200, size=96)
    half = np.ones_like(y)
    half[:, ::2] = 0
    options = {"regulariser": name, "lam": 0.02, "noise_sigma": 10.0}
    whole, some = (ir.deconvolve(y, PSF, w, **options).record["residual_over_noise"] for w in (None, half))
    missing = ir.deconvolve(np.where(half > 0, y, np.nan), PSF, **options).record["residual_over_noise"]
    assert some == pytest.approx(whole, rel=0.1)
    assert missing == pytest.approx(some, rel=1e-3)


@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_a_mirrored_boundary_is_the_image_and_its_mirror_images(noise):
    _, y = image("slabs", 1.5, 200, size=40)
    options = {"lam": 0.05, "noise": noise, "noise_sigma": 11.0, "tolerance": 1e-5, "n_iter": 2000}
    found = ir.deconvolve(y, PSF, boundary="reflect", **options)
    tiled = ir.deconvolve(np.pad(y, (0, 40), mode="symmetric"), PSF, boundary="periodic", **options)
    np.testing.assert_allclose(found.data, tiled.data[:40, :40], atol=5e-3 * np.ptp(y))
    masked = ir.deconvolve(y, PSF, boundary="masked", **options)
    assert found.record["residual_over_noise"] == pytest.approx(masked.record["residual_over_noise"], rel=0.05)


def test_a_lower_weight_is_more_noise():
    x = image("particles", 1.5, 1e6, size=96)[0]
    x = x / x.max()
    sigma = np.where(np.arange(96) < 48, 0.01, 0.1)
    y = gaussian_filter(x, 1.5) + sigma * np.random.default_rng(1).standard_normal(x.shape)
    weights = np.broadcast_to((0.01 / sigma) ** 2, x.shape)
    found = ir.deconvolve(y, PSF, weights, regulariser="tikhonov")
    best = min(
        rmse(ir.deconvolve(y, PSF, weights, regulariser="tikhonov", lam=lam).data, x) for lam in (1e-3, 3e-3, 1e-2)
    )
    assert rmse(found.data, x) < 1.1 * best
    assert rmse(found.data, x) < 0.95 * rmse(ir.deconvolve(y, PSF, regulariser="tikhonov").data, x)
    assert found.record["residual_over_noise"] == pytest.approx(1, abs=0.1)


def test_masked_arrays_and_gaps_are_counted():
    _, y = image("slabs", 1.5, 200, size=64)
    mask = np.zeros(y.shape, bool)
    mask[5:9, 5:20] = True
    hidden = ir.deconvolve(np.ma.masked_array(np.where(mask, 1e6, y), mask), PSF, lam=0.05)
    missing = ir.deconvolve(np.where(mask, np.nan, y), PSF, lam=0.05)
    np.testing.assert_allclose(hidden.data, missing.data, atol=1e-3 * np.ptp(y))
    assert hidden.record["masked"] == missing.record["masked"] == 60
    assert ir.deconvolve(y, PSF, lam=0.05).record["masked"] == 0


@pytest.mark.parametrize("name", ["roughness", "l1", "wavelet", "denoiser"])
def test_every_iterative_regulariser_passes_over_missing_pixels(name):
    x, y = image("particles", 1.5, 200, size=96)
    options = {"regulariser": name, "lam": {"roughness": 1.0, "denoiser": 0.5}.get(name, 0.02), "n_iter": 60}
    hole = np.zeros(y.shape, bool)
    hole[40:43, 50:53] = True
    gaps = np.where(hole, np.nan, y)
    gaps[41, 51] = np.inf
    found = ir.deconvolve(gaps, PSF, **options)
    assert found.record["masked"] == 9
    assert rmse(found.data, x) < 1.1 * rmse(ir.deconvolve(y, PSF, **options).data, x)


# Points on nothing.


def test_l1_is_for_points_and_says_where_it_is_not():
    rng = np.random.default_rng(0)
    x = np.zeros((96, 96), np.float32)
    x[tuple(rng.integers(8, 88, (2, 40)))] = rng.uniform(500, 2000, 40)
    y = rng.poisson(gaussian_filter(x, 1.5)).astype(np.float32)
    found = ir.deconvolve(y, PSF, regulariser="l1")
    assert found.record["nonnegative"]
    assert found.record["remarks"] == []
    assert rmse(found.data, x) < 0.4 * rmse(y, x)
    shades = ir.deconvolve(image("ramps", 1.5, 100, size=64)[1], PSF, regulariser="l1", lam=0.1).record
    assert not shades["nonnegative"]
    assert "not dark" in shades["remarks"][0]


def test_iterations_that_end_too_early_are_told():
    _, y = image("slabs", 1.5, 100, size=64)
    record = ir.deconvolve(y, PSF, lam=0.05, n_iter=3).record
    assert record["stopped"] == "the most iterations allowed"
    assert record["remarks"][0].startswith("Not converged")
    assert ir.deconvolve(y, PSF, lam=0.05).record["remarks"] == []


def test_a_result_that_shows_nothing_is_told():
    _, y = image("lattice", 4, 50, size=96)
    gone, there = (ir.deconvolve(y, ir.gaussian_psf(4.0), regulariser="tikhonov", lam=lam).record for lam in (1e3, 0.1))
    assert gone["remarks"][0].startswith("Nothing but the mean is left")
    assert there["remarks"] == []
    assert ir.deconvolve(np.full((32, 32), 7.0), PSF, lam=0.1).record["remarks"] == []


def test_that_nothing_is_left_is_told_of_blocks_and_of_stacks(monkeypatch):
    _, y = image("lattice", 4, 50, size=96)
    stack = np.stack([y, np.full_like(y, 20), y + 500])
    gone = ir.deconvolve(stack, PSF, regulariser="tikhonov", lam=1e4).record
    assert gone["remarks"][0].startswith("Nothing but the mean is left")
    monkeypatch.setattr(module, "_block_edge", lambda *_: 48)
    gone, there = (ir.deconvolve(y, PSF, regulariser="tikhonov", lam=lam).record for lam in (1e4, 0.1))
    assert gone["blocks"]["count"] == 4
    assert gone["remarks"][0].startswith("Nothing but the mean is left")
    assert there["remarks"] == []


def test_a_frame_without_data_does_not_stop_the_others():
    _, y = image("slabs", 1.5, 100, size=64)
    found = ir.deconvolve(np.stack([y, np.full_like(y, np.nan)]), PSF, tolerance=1e-2)
    assert np.isnan(found.data[1]).all()
    assert np.isfinite(found.data[0]).all()
    assert found.record["masked"] == y.size
    assert "no pixel that counts" in found.record["remarks"][0]


# Blocks.


@pytest.mark.parametrize("regulariser", ["tikhonov", "l2", "tv", "l1"])
@pytest.mark.parametrize("lam", [0.3, 0.01])
def test_blocks_meet_without_a_seam(regulariser, lam, monkeypatch):
    _, y = image("particles", 2, 50, size=420, seed=5)
    psf = ir.gaussian_psf(2.0)
    options = {"regulariser": regulariser, "lam": lam}
    if regulariser in ("tv", "l1"):
        options |= {"n_iter": {"tv": 25, "l1": 150}[regulariser], "tolerance": 0.0}
    whole = ir.deconvolve(y, psf, **options)
    for edge, chunks in ((150, (100, 420)), (97, (420, 33))):
        monkeypatch.setattr(module, "_block_edge", lambda *_, edge=edge: edge)
        parts = ir.deconvolve(da.from_array(y, chunks=chunks), psf, **options)
        monkeypatch.undo()
        assert parts.record["blocks"]["count"] > 4
        seam = np.abs(np.asarray(parts.data) - whole.data).max()
        assert seam < 1e-3 * np.ptp(y)


def test_blocks_of_the_roughness_meet_where_the_whole_has_converged(monkeypatch):
    y, psf = image("lattice", 1, 200, size=160, seed=5)[1], ir.gaussian_psf(1.0)
    options = {"regulariser": "roughness", "noise": "poisson", "lam": 0.5}
    whole = ir.deconvolve(y, psf, n_iter=150, tolerance=0.0, **options)
    monkeypatch.setattr(module, "_block_edge", lambda *_: 80)
    parts = ir.deconvolve(y, psf, **options)
    assert parts.record["blocks"]["count"] == 4
    assert np.abs(parts.data - whole.data).max() < 1e-3 * np.ptp(y)


@pytest.mark.parametrize("regulariser", ["tikhonov", "tv", "l1", "wavelet", "roughness", "denoiser"])
def test_memory_is_what_blocks_are_made_for(regulariser):
    _, y = image("particles", 1.5, 200, size=512)
    options = {"regulariser": regulariser, "boundary": "masked", "n_iter": 10, "tolerance": 0.0}
    scene = prepare(y, PSF, None, ir.DeconvolutionSettings(**options))
    tracemalloc.start()
    finish(deblur(scene.blur, scene.read(np.s_[:, :])[0], 0.1))
    per_pixel = tracemalloc.get_traced_memory()[1] / y.size
    tracemalloc.stop()
    counted = module._ITERATIVE_BYTES[regulariser]
    assert 0.6 * counted < per_pixel < 1.1 * counted


def test_larger_than_memory_goes_to_a_store(monkeypatch):
    y = da.from_array(image("ramps", 2, 50, size=600)[1], chunks=(200, 200))
    monkeypatch.setattr(module, "_CLOSED_FORM_BYTES", 40000)
    result = ir.deconvolve(y, ir.gaussian_psf(1.0), regulariser="tikhonov", lam=0.1, memory_gb=4.0)
    monkeypatch.undo()
    assert result.record["blocks"]["count"] > 1
    whole = ir.deconvolve(y, ir.gaussian_psf(1.0), regulariser="tikhonov", lam=0.1)
    np.testing.assert_allclose(np.asarray(result.data), whole.data, atol=1e-3 * 50)


# The record, progress, stopping.


def test_record_is_plain_and_complete():
    _, y = image("slabs", 1.5, 100, size=64)
    record = ir.deconvolve(y, PSF).record
    assert json.loads(json.dumps(record)) == record
    assert record["lam_rule"] == "balanced"
    assert record["settings"]["lam"] is None
    assert {"data_scale", "noise_sigma", "sources", "versions", "started", "seconds", "curve", "stopped"} <= set(record)
    assert [source["role"] for source in record["sources"]] == ["image", "psf"]
    assert 0.8 < record["residual_over_noise"] < 1.2
    assert len(record["objective"]) == record["n_iter"]


def test_same_record_for_numpy_and_dask():
    _, y = image("slabs", 1.5, 100, size=64)
    one, two = (ir.deconvolve(a, PSF, lam=0.1).record["sources"][0] for a in (y, da.from_array(y, chunks=(10, 64))))
    assert one == two


@pytest.mark.parametrize("regulariser", ["tikhonov", "tv", "roughness"])
def test_it_can_be_closed_at_every_step(regulariser):
    _, y = image("slabs", 1.5, 100, size=64)
    settings = ir.DeconvolutionSettings(regulariser=regulariser, n_iter=5, tolerance=0.0)
    total = sum(1 for _ in module.deconvolution(y, PSF, None, settings))
    for stop in range(total):
        steps = module.deconvolution(y, PSF, None, settings)
        for _ in range(stop + 1):
            next(steps)
        steps.close()


def test_done_keeps_the_iterate_that_was_shown():
    _, y = image("slabs", 1.5, 100, size=64)
    steps = module.deconvolution(y, PSF, None, ir.DeconvolutionSettings(lam=0.05, tolerance=0.0))
    for iterate in steps:
        if iterate.x is not None and iterate.step == 7:
            break
    with pytest.raises(StopIteration) as end:
        steps.send(True)
    np.testing.assert_array_equal(end.value.value.data, iterate.x)
    assert end.value.value.record["n_iter"] == 7
    assert "asked" in end.value.value.record["stopped"]


# Odd and bad input.


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0])
@pytest.mark.parametrize("regulariser", ALL)
def test_constant_images_come_back(value, regulariser):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = ir.deconvolve(np.full((40, 40), value), PSF, regulariser=regulariser, lam=None)
    if regulariser in ("tikhonov", "tv", "wavelet", "denoiser") or value == 0:
        np.testing.assert_allclose(result.data, value, atol=1e-3 * max(1, abs(value)))
    elif regulariser == "roughness" and value > 0:
        np.testing.assert_allclose(result.data, value, rtol=0.01)
    elif regulariser == "l2":
        np.testing.assert_allclose(result.data, value, rtol=0.05)
    elif regulariser == "l1":  # |Hᵀ(Hx − y)| ≤ λ/2
        misfit = gaussian_filter(gaussian_filter(result.data, 1.5) - value, 1.5)[12:-12, 12:-12]
        assert np.abs(misfit).max() <= 0.5 * result.lam + 0.01 * abs(value)
    assert np.isfinite(result.data).all()


def test_no_counts_at_all():
    np.testing.assert_allclose(ir.deconvolve(np.zeros((40, 40)), PSF, noise="poisson").data, 0, atol=1e-6)


def test_a_psf_that_sums_to_zero():
    x, _ = image("slabs", 1.5, 100, size=64)
    slope = np.roll(x, 1, 1) - np.roll(x, -1, 1) + np.random.default_rng(0).normal(0, 2, x.shape)
    psf = np.array([[-1, 0, 1]])
    found = ir.deconvolve(slope, psf, regulariser="tikhonov", lam=1e-2, boundary="periodic", normalise_psf=False).data
    again = np.roll(found, 1, 1) - np.roll(found, -1, 1)
    assert rmse(again, slope) < 0.2 * slope.std()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_values_that_are_not_finite_are_masked_or_refused(value):
    x, y = image("slabs", 1.5, 200, size=64)
    y[20:22, 30] = value
    found = ir.deconvolve(y, PSF, lam=0.05)
    assert np.isfinite(found.data).all()
    assert rmse(found.data, x) < 1.1 * rmse(ir.deconvolve(image("slabs", 1.5, 200, size=64)[1], PSF, lam=0.05).data, x)
    with pytest.raises(ValueError, match="2 NaN or infinite"):
        ir.deconvolve(y, PSF, regulariser="tikhonov", lam=0.05)


def test_a_width_from_nm_that_is_whole_but_for_rounding_gives_the_same_array():
    assert ir.gaussian_psf(3.0000000001).shape == ir.gaussian_psf(3.0).shape == (31, 31)


def test_one_pixel_wide():
    column = np.random.default_rng(0).poisson(50, (64, 1))
    assert ir.deconvolve(column, ir.gaussian_psf(2.0, ndim=1)[:, None]).data.shape == (64, 1)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("axis", [0, 1])
def test_an_image_one_pixel_wide_is_a_line(name, axis):
    line = np.random.default_rng(0).poisson(np.repeat([20, 80, 50, 10], 16)).astype(np.float32)
    psf = ir.gaussian_psf(2.0, ndim=1)
    options = {"regulariser": name, "lam": 0.1, "tolerance": 1e-6, "n_iter": 1000}
    thin = ir.deconvolve(np.expand_dims(line, axis), np.expand_dims(psf, axis), **options).data
    within = 5e-3 if name == "roughness" else 2e-3  # its minimum is so flat at the ends that rounding stops it sooner
    np.testing.assert_allclose(np.squeeze(thin, axis), ir.deconvolve(line, psf, **options).data, atol=within * 80)


@pytest.mark.parametrize("rows", [2, 3, 6])
def test_wavelets_of_an_image_of_few_rows(rows):
    x, y = (each[20 : 20 + rows] for each in image("slabs", 1.5, 100, size=64))
    found = ir.deconvolve(y, ir.gaussian_psf(1.5, ndim=1)[None], regulariser="wavelet", lam=0.05)
    assert rmse(found.data, x) < rmse(y, x)


@pytest.mark.parametrize(
    ("image", "psf", "options", "message"),
    [
        (np.ones((8, 8)), np.ones((9, 3)), {}, "larger than the image"),
        (np.ones(8), np.ones((3, 3)), {}, "2 axes"),
        (np.ones((8, 8), complex), np.ones((3, 3)), {}, "complex"),
        (np.ones((8, 8), bool), np.ones((3, 3)), {}, "bool"),
        (np.ones((0, 8)), np.ones((3, 3)), {}, "empty"),
        (np.full((8, 8), np.nan), np.ones((3, 3)), {}, "no finite value"),
        (np.where(np.eye(8) > 0, np.nan, 1), np.ones((3, 3)), {"regulariser": "tikhonov"}, "8 NaN or infinite"),
        (np.ones((8, 8)), np.zeros((3, 3)), {}, "sums to 0"),
        (np.ones((8, 8)), np.full((3, 3), np.nan), {}, "NaN"),
        (np.ones((8, 8)), np.ones((3, 3)), {"lam": -1}, "lam=-1"),
        (np.ones((8, 8)), np.ones((3, 3)), {"background": 2.0}, "noise='poisson', or subtract"),
        (np.ones((8, 8)), np.ones((3, 3)), {"lam": 0}, "lam=0 is for a closed form"),
        (np.ones((8, 8)), np.ones((3, 3)), {"lam": "0.1"}, "lam='0.1': expected a number"),
        (np.ones((8, 8)), np.ones((3, 3)), {"lam": True}, "lam=True: expected a number"),
        (np.ones((8, 8)), np.ones((3, 3)), {"n_iter": 10.0}, "n_iter=10.0: expected a whole number, 10"),
        (np.ones((8, 8)), np.ones((3, 3)), {"noise_sigma": 0}, "noise_sigma=0: expected a noise above 0"),
        (np.ones((8, 8)), np.ones((3, 3)), {"regulariser": "tvv"}, "'l2', 'tikhonov', 'tv'"),
        (np.ones((8, 8)), np.ones((3, 3)), {"lamda": 1}, "no parameter 'lamda'"),
        (np.ones((8, 8)), np.ones((3, 3)), {"weights": np.ones(5)}, r"shape \(5,\)"),
        ("image.tif", np.ones((3, 3)), {}, "expected an array"),
        (np.ones((8, 8)), "gauss", {}, "PSF"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(image, psf, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ir.deconvolve(image, psf, **options)


def test_signature_shows_the_settings():
    import inspect

    assert inspect.signature(ir.deconvolve).parameters["regulariser"].default == "tv"


def test_lambda_curve_of_the_iterative_solution_is_a_generator_too():
    _, y = image("slabs", 1.5, 100, size=64)
    settings = ir.DeconvolutionSettings()
    curve = finish(module.curve_steps(y, PSF, None, settings))
    assert (np.diff(curve.lam) > 0).all()
    assert curve.choices["gcv"] is not None
    assert curve.choices["gcv"] <= curve.choices["balanced"] <= 2 * curve.choices["gcv"]
