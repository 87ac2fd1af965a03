"""A tilt series in, a volume in its units out: what comes is checked, what is left out is said, λ is the data's."""

import tracemalloc

import dask.array as da
import numpy as np
import pytest
from tilt_phantoms import line_integrals, particles, voxels

import napari_invrecon as ir
from napari_invrecon.recon import slabs
from napari_invrecon.recon.solvers import finish
from napari_invrecon.recon.tilt_settings import TomographySettings
from napari_invrecon.recon.tomography import (
    contrast_slices,
    estimate_memory,
    prepare,
    reconstruct_slices,
    tilt_lambda_curve,
    tomography,
)

N = 48
ANGLES = np.arange(-70, 71, 5.0)
SIGMA = 0.3
QUICK = {"algorithm": "sirt", "n_iter": 15}
FEW = {"algorithm": "tv", "n_iter": 25, "tolerance": 3e-3}


@pytest.fixture(scope="module")
def truth():
    return voxels(particles(8), (N, N, N))[:, 16:32]


@pytest.fixture(scope="module")
def clean():
    return line_integrals(particles(8), ANGLES, N, N)[:, 16:32].astype(np.float32)


@pytest.fixture(scope="module")
def stack(clean):
    return clean + SIGMA * np.random.default_rng(1).standard_normal(clean.shape).astype(np.float32)


@pytest.fixture(scope="module")
def usual(stack):
    """What the quick settings make of the undisturbed stack."""
    return ir.reconstruct_tilt_series(stack, ANGLES, **QUICK).data


def error(a, b):
    return float(np.sqrt(np.mean(np.square(a - b))))


def test_a_volume_in_units_a_voxel(clean, truth, usual):
    assert usual.shape == truth.shape
    assert usual.dtype == np.float32
    assert error(usual, truth) < 0.5 * np.std(truth)
    noiseless = ir.reconstruct_tilt_series(clean, ANGLES, algorithm="tv", lam=1e-4, n_iter=60).data
    assert noiseless.sum() == pytest.approx(truth.sum(), rel=0.01)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_scale_the_result_and_nothing_else(stack, factor):
    one, other = (ir.reconstruct_tilt_series(f * stack, ANGLES, lam=1e-3) for f in (1.0, factor))
    assert error(other.data / factor, one.data) < 1e-4 * one.data.max()


def test_the_default_beats_sirt_at_its_best_and_really_uses_tv(stack, truth):
    result = ir.reconstruct_tilt_series(stack, ANGLES, n_iter=40)
    best = min(
        error(ir.reconstruct_tilt_series(stack, ANGLES, algorithm="sirt", n_iter=n, noise_sigma=0.0).data, truth)
        for n in (10, 20, 40)
    )
    assert result.record["settings"]["algorithm"] == "tv-sart"
    assert error(result.data, truth) < 0.75 * best
    none = ir.reconstruct_tilt_series(stack, ANGLES, lam=0.0, n_iter=40)
    roughness = [np.abs(np.diff(r.data, axis=0)).sum() for r in (result, none)]
    assert roughness[0] < 0.7 * roughness[1]


# What may come


def test_the_input_is_not_changed(stack):
    stack, angles = stack.copy(), ANGLES.copy()
    stack[3, 2, 5] = np.nan
    before = stack.copy()
    ir.reconstruct_tilt_series(stack, angles, **QUICK, noise="poisson", background=1.0)
    assert np.array_equal(stack, before, equal_nan=True)
    assert np.array_equal(angles, ANGLES)


@pytest.mark.parametrize("n", [len(ANGLES) - 1, len(ANGLES) + 1, 0])
def test_as_many_angles_as_tilts(stack, n):
    with pytest.raises(ValueError, match=rf"^{n} tilt angles for {len(ANGLES)} tilts: give one for each"):
        ir.reconstruct_tilt_series(stack, np.linspace(-70, 70, n), **QUICK)


@pytest.mark.parametrize(
    ("angles", "message"),
    [
        (None, r"no tilt angles: open its \.rawtlt or \.mdoc"),
        ([*ANGLES[:-1], np.nan], "hold nan: expected degrees"),
        ([*ANGLES[:-1], 4000], "hold 4000.0: expected degrees"),
        (ANGLES[:, None], r"have the shape \(29, 1\)"),
        (["a"] * len(ANGLES), "type <U1"),
        (np.zeros(len(ANGLES)), "have 1 different angles: expected at least two"),
    ],
)
def test_angles_that_cannot_be(stack, angles, message):
    with pytest.raises(ValueError, match=message):
        ir.reconstruct_tilt_series(stack, angles, **QUICK)


def test_one_tilt_makes_no_volume(stack):
    with pytest.raises(ValueError, match="expected at least two; a volume cannot be told from one view"):
        ir.reconstruct_tilt_series(stack[:1], ANGLES[:1], **QUICK)


def test_repeated_and_unordered_angles_are_as_good(stack, usual):
    order = np.random.default_rng(0).permutation(len(ANGLES))
    shuffled = ir.reconstruct_tilt_series(stack[order], ANGLES[order], **QUICK).data
    assert error(shuffled, usual) < 1e-3
    twice = ir.reconstruct_tilt_series(np.repeat(stack, 2, axis=0), np.repeat(ANGLES, 2), **QUICK).data
    assert error(twice, usual) < 1e-2


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda s: s[0], ValueError, r"has the shape \(16, 48\): expected \(tilt, y, x\).*stack\[:, None, :\]"),
        (lambda s: s[:, :0], ValueError, "expected"),
        (lambda s: s + 1j, TypeError, "take its magnitude or its phase first"),
        (lambda s: s > 1, TypeError, "convert it to numbers first"),
        (lambda s: s.tolist(), TypeError, "the stack is a list"),
        (lambda s: np.full_like(s, np.nan), ValueError, "no finite value"),
        (lambda s: np.zeros_like(s), ValueError, r"0 different angles \(29 of 29 tilts hold no image\)"),
    ],
)
def test_stacks_that_cannot_be(stack, change, kind, message):
    with pytest.raises(kind, match=message):
        ir.reconstruct_tilt_series(change(stack), ANGLES, **QUICK)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_data_that_are_not_finite_are_passed_over(stack, usual, bad):
    holed = stack.copy()
    holed[::4, :, 20:23] = bad
    holed[5, 3] = bad
    result = ir.reconstruct_tilt_series(holed, ANGLES, **QUICK)
    assert result.record["noise"]["missing_data"] == int((~np.isfinite(holed)).sum())
    assert error(result.data, usual) < 0.02


@pytest.mark.parametrize("blank", [0.0, 7.0, np.nan])
def test_a_tilt_without_an_image_is_left_out_and_said(stack, blank):
    gap = stack.copy()
    gap[[4, 9]] = blank
    result = ir.reconstruct_tilt_series(gap, ANGLES, **QUICK)
    kept = np.delete(np.arange(len(ANGLES)), [4, 9])
    alone = ir.reconstruct_tilt_series(stack[kept], ANGLES[kept], **QUICK)
    assert np.array_equal(result.data, alone.data)
    assert result.record["tilts"]["excluded"] == [4, 9]


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [
        ("uint16", 2200, 0),
        ("int16", 2000, -31908),
        ("uint8", 8, 0),
        ("int32", 4e7, 0),
        ("uint64", 1e15, 0),
        (">i2", 1000, 0),
    ],
)
def test_integers_do_not_overflow(stack, dtype, scale, offset):
    whole = np.clip(stack * scale + offset, *(np.iinfo(dtype).min, np.iinfo(dtype).max)).astype(dtype)
    as_float = whole.astype(np.float64)
    settings = {**QUICK, "background": float(offset)}
    result = ir.reconstruct_tilt_series(whole, ANGLES, **settings)
    same = ir.reconstruct_tilt_series(as_float, ANGLES, **settings)
    assert error(result.data, same.data) < 1e-5 * same.data.max()


def test_an_axis_along_x_is_the_same_turned(stack, usual):
    turned = ir.reconstruct_tilt_series(np.swapaxes(stack, 1, 2), ANGLES, **QUICK, tilt_axis="x")
    assert np.array_equal(np.swapaxes(turned.data, 1, 2), usual)


@pytest.mark.parametrize("width", [47, 48])
@pytest.mark.parametrize("thickness", [None, 31, 60])
def test_odd_and_even_sizes(clean, truth, width, thickness):
    # A window without its first column has its middle half a pixel farther; the axis stays where it is.
    first = N - width
    shift = -first / 2
    result = ir.reconstruct_tilt_series(
        clean[:, :, first:], ANGLES, **QUICK, axis_shift_px=shift, thickness_px=thickness, tolerance=0.0
    )
    nz = thickness or width
    assert result.data.shape == (nz, 16, width)
    whole = ir.reconstruct_tilt_series(clean, ANGLES, **QUICK, thickness_px=nz, tolerance=0.0)
    # Half a pixel along x turns the grid of rays by as much as interpolation: compare what both show of the object.
    same = 0.5 * (whole.data[:, :, :-1] + whole.data[:, :, 1:]) if first else whole.data
    assert error(result.data[:, :, : same.shape[2]], same) < 0.05


@pytest.mark.parametrize(("tilt_axis", "shape"), [("y", (23, 8, 23)), ("x", (23, 23, 8))])
def test_binning_keeps_the_axis_in_its_place(clean, truth, tilt_axis, shape):
    odd = clean[:, :, :47]  # the axis is half a pixel to the right of the middle
    odd = odd if tilt_axis == "y" else np.swapaxes(odd, 1, 2)
    result = ir.reconstruct_tilt_series(odd, ANGLES, **QUICK, bin=2, axis_shift_px=0.5, tilt_axis=tilt_axis)
    assert result.data.shape == shape
    found = result.data if tilt_axis == "y" else np.swapaxes(result.data, 1, 2)
    coarse = truth[1:47, :, :46].reshape(23, 2, 8, 2, 23, 2).mean(axis=(1, 3, 5))
    moved = truth[1:47, :, 2:48].reshape(23, 2, 8, 2, 23, 2).mean(axis=(1, 3, 5))
    assert error(found / 2, coarse) < 0.6 * np.std(coarse)  # /2: a binned pixel's path is two pixels long
    assert error(found / 2, coarse) < error(found / 2, moved)


@pytest.mark.parametrize("tilt_axis", ["y", "x"])
def test_a_part_along_the_axis_is_that_part_of_the_stack(stack, tilt_axis):
    turned = stack if tilt_axis == "y" else np.swapaxes(stack, 1, 2)
    settings = {**QUICK, "tilt_axis": tilt_axis, "noise_sigma": SIGMA, "bin": 2}
    part = ir.reconstruct_tilt_series(turned, ANGLES, **settings, first_slice=5, n_slices=7)
    cut = ir.reconstruct_tilt_series(turned[:, 5:12] if tilt_axis == "y" else turned[:, :, 5:12], ANGLES, **settings)
    assert np.array_equal(part.data, cut.data)
    assert part.data.shape[1 if tilt_axis == "y" else 2] == 3
    assert part.record["sources"][0]["shape"] == list(turned.shape)
    assert np.array_equal(ir.replay(part.record, [turned]).data, part.data)
    needed = [
        estimate_memory(turned.shape, TomographySettings(tilt_axis=tilt_axis, n_slices=n)).result_gb for n in (None, 8)
    ]
    assert needed[1] == needed[0] / 2


def test_a_part_that_is_not_there(stack):
    with pytest.raises(ValueError, match="first_slice=16, but there are 16 along the tilt axis: give one from 0 to 15"):
        ir.reconstruct_tilt_series(stack, ANGLES, **QUICK, first_slice=16)


# Background and noise


def test_data_below_zero_have_an_offset_which_is_subtracted_and_told(stack, usual):
    raw = (stack * 3300 - 31908).clip(-32768, 32767).astype(np.int16)
    before = raw.copy()
    stages = [state.stage for state in tomography(raw, ANGLES, TomographySettings(**QUICK))]
    assert np.array_equal(raw, before)
    (said,) = [text for text in stages if "the data go to" in text]
    assert "is subtracted" in said
    result = ir.reconstruct_tilt_series(raw, ANGLES, **QUICK)
    background = result.record["background"]
    assert background["source"] == "automatic"
    assert background["subtracted"] == pytest.approx(-31908, abs=0.5 * 3300)
    assert background["advice"] == said
    assert error(result.data / 3300, usual) < 0.1
    given = ir.reconstruct_tilt_series(raw, ANGLES, **QUICK, background=background["subtracted"])
    assert np.array_equal(given.data, result.data)
    assert given.record["background"]["source"] == "given"
    assert given.record["background"]["advice"] == ""
    with pytest.raises(ValueError, match=r"not above the background of 0 .*background=-1000.* would suit"):
        ir.reconstruct_tilt_series(stack - 1000, ANGLES, **QUICK, background=0.0)


def test_noise_around_zero_is_no_offset(clean):
    noisy = clean + np.random.default_rng(0).normal(0, 0.1 * clean.max(), clean.shape).astype(np.float32)
    assert ir.reconstruct_tilt_series(noisy, ANGLES, **QUICK).record["background"]["subtracted"] == 0


def test_an_offset_above_zero_may_be_object_and_is_only_suggested(stack):
    record = ir.reconstruct_tilt_series(stack + 5 * stack.max(), ANGLES, **QUICK).record
    assert record["background"]["subtracted"] == 0
    assert "is suggested" in record["background"]["advice"]


def test_counts_are_weighted_by_their_variance(clean, truth):
    counts = np.random.default_rng(0).poisson(1.5 * clean).astype(np.uint16)
    plain, weighted = (ir.reconstruct_tilt_series(counts, ANGLES, lam=3e-3, noise=n) for n in ("gaussian", "poisson"))
    assert weighted.record["noise"]["gain"] == 1.0
    assert weighted.record["residual_over_noise"] == pytest.approx(1, abs=0.3)
    assert np.isfinite(weighted.data).all()
    assert error(weighted.data / 1.5, truth) < 1.2 * error(plain.data / 1.5, truth)


def test_sigma_is_found(stack):
    scene = finish(prepare(stack, ANGLES, TomographySettings()))
    assert scene.series.sigma[0] == pytest.approx(SIGMA, rel=0.15)
    one = finish(prepare(stack[:, 3:4], ANGLES, TomographySettings()))
    assert one.series.sigma[0] == pytest.approx(SIGMA, rel=0.25)


# λ


@pytest.mark.parametrize("rule", ["holdout", "discrepancy", "gcv", "sure", "balanced", "l-curve"])
def test_every_rule_gives_a_number_and_says_which_it_was(stack, rule):
    result = ir.reconstruct_tilt_series(stack[:, 6:9], ANGLES, **FEW, lam_rule=rule)
    assert 1e-5 < result.lam < 0.1
    assert result.record["lam_rule"].startswith((rule, "holdout", "gcv", "discrepancy"))
    assert result.record["curve"]["choices"]


@pytest.fixture(scope="module")
def least_error(stack, truth):
    """By TV-SART at the best of a few λ."""
    return min(error(ir.reconstruct_tilt_series(stack, ANGLES, lam=1e-3 * k).data, truth) for k in (2, 3, 4, 6, 9))


@pytest.mark.parametrize("rule", ["holdout", "discrepancy"])
def test_a_rule_comes_near_the_best_lambda(stack, truth, least_error, rule):
    result = ir.reconstruct_tilt_series(stack, ANGLES, lam_rule=rule)
    assert result.record["lam_rule"] == rule
    assert error(result.data, truth) < 1.1 * least_error


def test_a_sigma_that_is_never_met_falls_back_to_the_held_out_tilts(stack):
    result = ir.reconstruct_tilt_series(stack[:, 6:9], ANGLES, **FEW, lam_rule="discrepancy", noise_sigma=1e-4 * SIGMA)
    assert result.record["lam_rule"] == "holdout (discrepancy has no answer)"
    assert 1e-4 < result.lam < 0.05


def test_a_curve_on_given_lambdas(stack):
    scene = finish(prepare(stack[:, 6:9], ANGLES, TomographySettings(**FEW)))
    grid = np.array([1e-3, 1e-2, 1e-1])
    curve = finish(tilt_lambda_curve(scene, TomographySettings(**FEW), grid))
    assert np.array_equal(curve.lam, grid)
    assert (np.diff(curve.residual_norm) > 0).all()
    assert (np.diff(curve.solution_norm) < 0).all()


# Channels


def test_channels_are_reconstructed_each_with_its_own_scale_and_one_lambda(stack, clean, truth):
    rng = np.random.default_rng(3)
    weak = 0.05 * clean[:, ::-1] + 0.05 * SIGMA * rng.standard_normal(clean.shape).astype(np.float32)
    both = np.stack([stack, weak])
    result = ir.reconstruct_tilt_series(both, ANGLES, lam=3e-3)
    assert result.data.shape == (2, *truth.shape)
    alone = ir.reconstruct_tilt_series(stack, ANGLES, lam=3e-3)
    assert error(result.data[0], alone.data) < 0.02
    assert error(result.data[1] / 0.05, truth[:, ::-1]) < 1.3 * error(alone.data, truth)
    assert len(result.record["data_scale"]) == 2


# Running it


def test_lazy_and_mapped_stacks_give_the_same(stack, usual, tmp_path):
    lazy = ir.reconstruct_tilt_series(da.from_array(stack, chunks=(7, 5, 20)), ANGLES, **QUICK)
    assert np.array_equal(lazy.data, usual)
    np.save(tmp_path / "stack.npy", stack)
    mapped = ir.reconstruct_tilt_series(np.load(tmp_path / "stack.npy", mmap_mode="r"), ANGLES, **QUICK)
    assert np.array_equal(mapped.data, usual)


@pytest.mark.parametrize("settings", [{"n_iter": 10}, {"algorithm": "sirt"}, {"algorithm": "fbp", "filter": "hann"}])
def test_replay_gives_the_same_array(stack, settings):
    result = ir.reconstruct_tilt_series(stack, ANGLES, **settings)
    again = ir.replay(result.record, [stack])
    assert np.array_equal(again.data, result.data)
    assert again.record["settings"] == result.record["settings"] | {"lam": result.lam or None}  # 0: without a λ
    with pytest.warns(UserWarning, match="not the one that was recorded"):
        ir.replay(result.record, [stack + 1, ANGLES])


def test_done_finishes_with_what_there_is(stack):
    steps = tomography(stack, ANGLES, TomographySettings(algorithm="tv", lam=1e-3, tolerance=0.0))
    while next(steps).step < 5:
        pass
    with pytest.raises(StopIteration) as end:
        steps.send(True)
    result = end.value.value
    assert result.record["n_iter"] == 5
    assert result.record["stopped"] == "asked to finish"
    assert np.array_equal(ir.replay(result.record, [stack]).data, result.data)
    assert result.data.max() > 0


def test_done_while_lam_is_chosen_ends_the_choice_and_solves_in_full(stack):
    steps = tomography(stack, ANGLES, TomographySettings(n_iter=12))
    asked, result, stages = None, None, []
    while result is None:
        try:
            state = steps.send(asked)
            stages.append(state.stage)
            asked = asked or state.stage.startswith("choosing λ (3 ")
        except StopIteration as end:
            result = end.value
    assert len(result.record["curve"]["lam"]) == 3
    assert not any(stage.startswith("choosing λ (4 ") for stage in stages)
    assert result.record["lam_rule"] == "holdout, ended early"
    assert result.record["n_iter"] == 12
    assert np.array_equal(ir.replay(result.record, [stack]).data, result.data)


def test_a_cancelled_run_ends_at_once(stack):
    steps = tomography(stack, ANGLES, TomographySettings())
    for _ in range(6):
        next(steps)
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


def test_the_record_is_plain_and_whole(stack):
    import json

    record = ir.reconstruct_tilt_series(stack, ANGLES, n_iter=40).record
    assert json.loads(json.dumps(record)) == record
    assert record["lam"] > 0
    assert record["curve"]["lam"] == sorted(record["curve"]["lam"])
    assert record["diagnostics"]["range_deg"] == [-70, 70]
    assert record["sources"][1]["angles_deg"] == ANGLES.tolist()
    assert record["residual_over_noise"] == pytest.approx(1, abs=0.15)
    assert len(record["diagnostics"]["residual_per_tilt"]) == len(ANGLES)
    assert record["memory"]["n_slabs"] == 1
    assert record["stopped"]


def test_a_preview_is_a_part_of_the_whole(stack):
    settings = TomographySettings(algorithm="sirt", n_iter=15, tolerance=0.0, noise_sigma=0.0)
    scene = finish(prepare(stack, ANGLES, settings))
    at = contrast_slices(scene, 3)
    assert len(at) == 3
    part = finish(reconstruct_slices(scene, settings, 0.0, at))
    whole = ir.reconstruct_tilt_series(stack, ANGLES, algorithm="sirt", n_iter=15, tolerance=0.0, noise_sigma=0.0)
    assert np.allclose(part, whole.data[:, at], atol=1e-5)


@pytest.mark.parametrize("algorithm", ["fbp", "sirt", "sart", "tv-sart", "tv", "l1", "tikhonov"])
def test_memory_counts_the_weights_of_missing_data(algorithm):
    angles = np.arange(-60, 61, 3.0)
    stack = line_integrals(particles(8), angles, 48, 40).astype(np.float32)
    stack[0, :5] = np.nan
    settings = {"algorithm": algorithm, "lam": 3e-3, "n_iter": 2, "noise_sigma": 0.01}
    ir.reconstruct_tilt_series(stack, angles, **settings)  # numba compiles, modules are imported
    tracemalloc.start()
    try:
        record = ir.reconstruct_tilt_series(stack, angles, **settings).record
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    plan = estimate_memory(stack.shape, TomographySettings(**settings))
    assert peak <= 1e9 * (plan.peak_gb - slabs._FIXED_GB)
    assert record["memory"]["peak_gb"] == plan.peak_gb, "the run counts them as well"
    assert estimate_memory(stack.shape, TomographySettings(**settings), np.int16).peak_gb < plan.peak_gb


def test_memory_is_estimated_from_the_shape():
    small = estimate_memory((71, 64, 64), TomographySettings())
    large = estimate_memory((71, 1024, 1024), TomographySettings(memory_gb=4.0))
    assert small.n_slabs == 1
    assert large.on_disk
    assert large.n_slabs > 1
    assert large.peak_gb < 4.0
    assert estimate_memory((71, 1024, 1024), TomographySettings(bin=4)).result_gb == pytest.approx(large.result_gb / 64)
    with pytest.raises(ValueError, match="allow more, bin the stack"):
        estimate_memory((71, 4096, 4096), TomographySettings(memory_gb=0.5))
