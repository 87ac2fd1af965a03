"""Fusion: what is conserved, what is refused, and that the HAADF helps where it can."""

import numpy as np
import pytest
from fusion_phantoms import psnr, rmse, specimen

import napari_invrecon as ir
from napari_invrecon.recon.detector import thin
from napari_invrecon.recon.fusion import FusionSettings, fusion
from napari_invrecon.recon.fusion_choice import level
from napari_invrecon.recon.fusion_scene import prepare
from napari_invrecon.recon.fusion_settings import for_each
from napari_invrecon.recon.fusion_solver import FusionProblem, objective, primal_dual, uncoupled
from napari_invrecon.recon.guided_tv import (
    edge_field,
    gradient,
    guided_gradient,
    guided_gradient_adjoint,
    guided_variation,
)
from napari_invrecon.recon.sampling import Sampling
from napari_invrecon.recon.solvers import finish

SHAPE = (48, 64)
COUPLINGS = ("none", "edges", "intensity", "both", "power")
QUICK = {"lam": 1.0, "coupling": "both", "n_iter": 40}
PLAIN = uncoupled((2, *SHAPE))["follow"], uncoupled((2, *SHAPE))["rise"]


def stated(b, counts=True, background=0.0, precision=1.0, x_shape=None, **fields):
    """A problem of maps (element, y, x) with numbers for background and precision."""
    n = len(b)
    given = {
        "data": b.astype(np.float32),
        "unit": np.sqrt(b.mean((1, 2))).astype(np.float32),
        "counts": counts,
        "background": np.full((n, 1, 1), background, np.float32),
        "nonnegative": True,
        "precision": np.full((n, 1, 1), precision, np.float32),
    }
    return FusionProblem(**(given | uncoupled(x_shape or b.shape) | fields))


@pytest.fixture(scope="module")
def domains():
    return specimen("domains", 10, SHAPE)


def test_guided_gradient_and_its_adjoint(domains):
    rng = np.random.default_rng(0)
    xi = edge_field(domains[2].astype(np.float32)).astype(np.float64)
    x, g = rng.standard_normal(SHAPE), rng.standard_normal((2, *SHAPE))
    assert np.vdot(guided_gradient(x, xi), g) == pytest.approx(np.vdot(x, guided_gradient_adjoint(g, xi)), rel=1e-9)
    assert np.hypot(*xi).max() < 1
    slow = np.hypot(*guided_gradient(x, xi)).sum()
    assert guided_variation(x[None], xi, *PLAIN, 0, SHAPE[0]) == pytest.approx(slow, rel=1e-9)


def test_a_step_across_the_guides_edge_costs_a_fifth_and_one_that_goes_with_it_nothing():
    step = np.zeros(SHAPE, np.float32)
    step[:, 30:] = 1
    free = np.zeros((2, *SHAPE), np.float32)
    plain = guided_variation(step[None], free, *PLAIN, 0, SHAPE[0])
    guide = edge_field(100 * step)
    assert guided_variation(step[None], guide, *PLAIN, 0, SHAPE[0]) < 0.25 * plain
    rise = gradient(100 * step)
    assert guided_variation(step[None], guide, np.full((1, *SHAPE), 0.01, np.float32), rise, 0, SHAPE[0]) < 1e-3 * plain


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_the_objective_falls(domains, coupling):
    _, counts, haadf = domains
    record = ir.fuse(haadf, counts, **(QUICK | {"coupling": coupling})).record
    values = np.array(record["objective"])
    assert len(values) >= 3
    assert np.all(np.diff(values) <= 0)
    assert values[-1] < values[0]


@pytest.mark.parametrize("counts", [True, False])
def test_the_minimiser_is_stationary(counts):
    rng = np.random.default_rng(1)
    b = rng.poisson(8, (2, 24, 24)).astype(np.float32)
    haadf = b.sum(0)
    problem = stated(b, counts, 0.5, slope=np.full_like(b, 0.7), target=0.7 * haadf)
    x = finish(primal_dual(problem, 0.8, b, n_iter=3000, tolerance=0.0)).x
    least = objective(problem, x, 0.8)
    for _ in range(20):
        other = np.maximum(x + 0.05 * rng.standard_normal(x.shape).astype(np.float32), 0)
        assert objective(problem, other, 0.8) > least
    smaller, larger = (objective(problem, x * np.float32(f), 0.8) for f in (0.995, 1.005))
    assert min(smaller, larger) > least


def test_order_of_the_elements_does_not_matter(domains):
    _, counts, haadf = domains
    order = [2, 0, 1]
    straight = ir.fuse(haadf, counts, **QUICK).data
    turned = ir.fuse(haadf, counts[order], **QUICK).data
    np.testing.assert_allclose(turned, straight[order], rtol=2e-3, atol=2e-3)


def test_units_are_kept_and_inputs_unchanged(domains):
    truth, counts, haadf = domains
    before = counts.copy(), haadf.copy()
    result = ir.fuse(haadf, counts, **QUICK)
    assert np.array_equal(before[0], counts)
    assert np.array_equal(before[1], haadf)
    assert result.data.shape == truth.shape
    assert result.data.dtype == np.float32
    np.testing.assert_allclose(result.data.mean((1, 2)), counts.mean((1, 2)), rtol=0.03)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_values_at_any_scale(domains, factor):
    truth, _, haadf = domains
    values = truth + np.random.default_rng(2).standard_normal(truth.shape)
    one = ir.fuse(haadf, values, **QUICK)
    other = ir.fuse(haadf, values * factor, **QUICK)
    assert one.record["noise"] == "gaussian"
    assert psnr(one.data, truth) > psnr(values, truth) + 5
    np.testing.assert_allclose(other.data / factor, one.data, rtol=5e-3, atol=5e-3)


def test_one_element_and_a_map_of_zeros(domains):
    _, counts, haadf = domains
    single = ir.fuse(haadf, counts[:1], **QUICK)
    assert single.data.shape == (1, *SHAPE)
    empty = counts.copy()
    empty[1] = 0
    result = ir.fuse(haadf, empty, elements="Ce, Co, Ni", **QUICK)
    assert np.all(result.data[1] == 0)
    assert "the HAADF cannot see Co" in result.record["flags"]


@pytest.mark.parametrize(("weight", "said"), [(0.0, ["the HAADF cannot see Ce"]), (0.6, [])])
def test_an_element_that_the_haadf_cannot_see_is_told(weight, said):
    _, counts, haadf = specimen("domains", 10, SHAPE, seed=1, weights=(weight, 0.8, 1.0))
    assert ir.fuse(haadf, counts, elements="Ce, Co, Ni", **QUICK).record["flags"] == said


def test_of_a_haadf_that_saturates_it_is_not_said_that_it_cannot_see():
    """Both elements are in it alike, but the one that is where most is seems to be worth nothing."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    particle = np.exp(-((y - 20) ** 2 + (x - 40) ** 2) / 300)
    amounts = np.stack([particle**2, particle])
    rng = np.random.default_rng(0)
    haadf = rng.normal(1000 * -np.expm1(-2 * amounts.sum(0)), 10)
    record = ir.fuse(haadf, rng.poisson(10 * amounts + 0.2), elements="Cu, Zn", **QUICK).record
    assert record["calibration"]["slopes"][0] == 0
    assert record["flags"][0] == "whether the HAADF sees Cu cannot be told"
    assert "saturates" in record["flags"][1]


def test_unknown_pixels_are_filled(domains):
    truth, counts, haadf = domains
    holes, dark = counts.astype(float), haadf.astype(float)
    holes[:, 10:14, 20:24] = np.nan
    dark[30, 30] = np.nan
    result = ir.fuse(dark, holes, **QUICK).data
    assert np.isfinite(result).all()
    assert np.abs(result - truth)[:, 10:14, 20:24].mean() < 2


def test_background_is_no_element():
    truth, counts, haadf = specimen("core-shell", 10, SHAPE, background=3.0)
    data = ir.fuse(haadf, counts, background=3.0, **QUICK).data
    np.testing.assert_allclose(data.mean((1, 2)), truth.mean((1, 2)), atol=0.3)
    assert data.min() >= 0


@pytest.mark.parametrize(
    ("haadf", "maps", "keywords", "message"),
    [
        ((48, 64), (3, 40, 64), {}, "expected the same pixels"),
        ((48, 64), (48, 64), {}, r"expected \(element, y, x\)"),
        ((2, 48, 64), (3, 48, 64), {}, r"expected \(y, x\)"),
        ((48, 64), (3, 48, 64), {"elements": "Ce, Co"}, "2 elements are named but there are 3 maps"),
    ],
)
def test_shapes_that_do_not_fit(haadf, maps, keywords, message):
    with pytest.raises(ValueError, match=message):
        ir.fuse(np.ones(haadf), np.ones(maps), **keywords)


def test_values_that_are_no_counts(domains):
    with pytest.raises(ValueError, match="no counts"):
        ir.fuse(domains[2], domains[1] + 0.5, noise="poisson")


def test_a_finer_haadf_is_binned(domains):
    _, counts, haadf = domains
    finer = ir.fuse(np.kron(haadf, np.ones((4, 4))), counts, **QUICK)
    assert finer.record["haadf_binning"] == 4
    np.testing.assert_allclose(finer.data, ir.fuse(haadf, counts, **QUICK).data, rtol=1e-4)


def test_a_shift_is_found():
    _, counts, haadf = specimen("core-shell", 30, (96, 96), shift=(2, -3))
    record = ir.fuse(haadf, counts, register=True, **QUICK).record
    assert record["shift_px"] == pytest.approx([-2, 3], abs=0.4)


def test_the_calibration_finds_what_made_the_haadf():
    truth, counts, _ = specimen("domains", 30, (96, 96))
    haadf = 50 + np.tensordot((2.0, 5.0, 9.0), truth, 1)
    haadf += np.random.default_rng(3).standard_normal(haadf.shape)
    found = prepare(haadf, counts, FusionSettings()).scene.linear
    assert found.slopes == pytest.approx([2, 5, 9], rel=0.1)
    assert found.offset == pytest.approx(50, abs=15)
    assert found.seen.all()


def test_thinned_counts_are_the_whole(domains):
    kept, rest = thin(domains[1], 0.8, np.random.default_rng(0))
    assert np.array_equal(kept + rest, domains[1])


def test_cancel_and_done_at_any_iterate(domains):
    _, counts, haadf = domains
    for stop in range(8):
        steps = fusion(haadf, counts, FusionSettings())
        for _ in range(stop + 1):
            next(steps)
        steps.close()
    assert done_at_once(fusion(haadf, counts, FusionSettings())).data.shape == counts.shape


def done_at_once(steps):
    next(steps)
    try:
        while True:
            steps.send(True)
    except StopIteration as end:
        return end.value


def test_replay(domains):
    _, counts, haadf = domains
    first = ir.fuse(haadf, counts, n_draws=3, seed=4)
    again = ir.replay(first.record, [haadf, counts])
    assert np.array_equal(first.data, again.data)
    assert first.standard_error.shape == counts.shape
    assert np.all(first.standard_error >= 0)
    assert 0 < first.standard_error.mean() < np.sqrt(counts.mean())


@pytest.mark.parametrize("law", ["linear", "power"])
@pytest.mark.parametrize(("kind", "gained_db"), [("core-shell", 12), ("domains", 9)])
def test_everything_from_the_data_beats_maps_alone(kind, gained_db, law):
    truth, counts, haadf = specimen(kind, 10, (96, 96), law, seed=3)
    result = ir.fuse(haadf, counts)
    alone = ir.fuse(haadf, counts, coupling="none")
    assert result.record["coupling"] != "none"
    assert psnr(result.data, truth) > psnr(alone.data, truth) - 0.2
    assert psnr(result.data, truth) > psnr(counts, truth) + gained_db
    assert set(result.record["candidates"]) - {"power"} == {"none", "edges", "intensity", "both"}
    assert result.record["gain"] >= 1


def test_none_is_preferred_within_one_standard_error():
    """Of 400 differences of standard deviation 2 the mean's is 0.1: one of 0.09 is level, one of 0.11 is not."""
    spread = np.where(np.arange(400).reshape(20, 20) % 2, 2.0, -2.0)
    for more, told in ((0.09, True), (0.11, False)):
        assert level(spread + more, np.zeros(spread.shape)) == told


def test_a_haadf_of_another_specimen_is_not_used():
    used = []
    for seed in range(1, 6):
        _, counts, _ = specimen("domains", 3, (64, 64), seed=seed)
        _, _, other = specimen("domains", 3, (64, 64), seed=seed + 50)
        record = ir.fuse(other, counts).record
        scores = {name: min(each["score"]) for name, each in record["candidates"].items()}
        said = any("the HAADF is not used" in flag for flag in record["flags"])
        assert said == (record["coupling"] == "none" and min(scores, key=scores.get) != "none")
        used.append(record["coupling"] != "none")
    assert sum(used) <= 1


def test_a_reference_region_comes_out_flat():
    _, counts, haadf = specimen("core-shell", 10, (64, 64))
    vacuum = np.zeros((64, 64), bool)
    vacuum[:, :4] = True
    flat = ir.fuse(haadf, counts, vacuum, coupling="edges")
    assert flat.lam >= ir.fuse(haadf, counts, coupling="edges").lam * 0.999
    with pytest.raises(ValueError, match="array of bool"):
        ir.fuse(haadf, counts, vacuum[:10], **QUICK)


def test_sampling_and_its_adjoint():
    rng = np.random.default_rng(0)
    for fine, sigma in (((23, 40), 0.0), ((23, 40), 0.8), ((30, 30), 0.0)):
        P = Sampling.between(fine, (10, 15), sigma)
        x, y = rng.random((2, *fine)).astype(np.float32), rng.random((2, 10, 15)).astype(np.float32)
        assert np.vdot(P(x), y) == pytest.approx(float(np.vdot(x, P.adjoint(y))), rel=1e-5)
        np.testing.assert_allclose(P(np.ones(fine, np.float32)), 1, rtol=1e-5)
        if sigma == 0:
            np.testing.assert_allclose(P(x).mean((1, 2)), x.mean((1, 2)), rtol=1e-5)
    whole = Sampling.between((20, 30), (10, 15))
    x = rng.random((20, 30)).astype(np.float32)
    np.testing.assert_allclose(whole(x), x.reshape(10, 2, 15, 2).mean((1, 3)), rtol=1e-5)


def test_a_haadf_in_another_ratio_is_averaged_by_area(domains):
    _, counts, haadf = domains
    finer = np.kron(haadf, np.ones((3, 3)))
    odd = finer.reshape(72, 2, 96, 2).mean((1, 3))  # 1.5 pixels for one
    result = ir.fuse(odd, counts, **QUICK)
    assert result.record["haadf_binning"] == pytest.approx(1.5)
    other = ir.fuse(haadf, counts, **QUICK).data
    assert np.corrcoef(result.data.ravel(), other.ravel())[0, 1] > 0.97


def test_the_result_on_the_haadfs_pixels():
    truth, counts, haadf = specimen("core-shell", 10, (24, 32), finer=4)
    coarse = ir.fuse(haadf, counts, coupling="edges", lam=4.0)
    result = ir.fuse(haadf, counts, coupling="edges", lam=4.0, grid="haadf")
    assert result.data.shape == (3, 96, 128)
    assert result.haadf_residual.shape == (96, 128)
    objective = np.array(result.record["objective"])
    assert np.all(np.diff(objective) <= 0)
    assert objective[-1] < objective[0]
    seen = Sampling.between((96, 128), (24, 32))(result.data)
    assert seen.sum() == pytest.approx(counts.sum(), rel=0.06)
    assert psnr(seen, truth) > psnr(coarse.data, truth) - 2


def test_the_data_seen_through_averages_have_the_right_minimiser():
    rng = np.random.default_rng(2)
    b = rng.poisson(20, (2, 8, 10)).astype(np.float32)
    P = Sampling.between((16, 20), (8, 10))
    problem = stated(b, x_shape=(2, 16, 20), sampling=P)
    x = finish(primal_dual(problem, 0.3, P.spread(b), n_iter=3000, tolerance=0.0)).x
    least = objective(problem, x, 0.3)
    for _ in range(20):
        other = np.maximum(x + 0.3 * rng.standard_normal(x.shape).astype(np.float32), 0)
        assert objective(problem, other, 0.3) > least
    for factor in (0.98, 1.02):
        assert objective(problem, x * np.float32(factor), 0.3) > least


def test_blocks_meet_without_a_seam(domains, monkeypatch):
    monkeypatch.setattr("napari_invrecon.recon.fusion._edge", lambda scene, settings: 60)
    _, counts, haadf = specimen("domains", 10, (64, 160))
    blocks = ir.fuse(haadf, counts, coupling="both", lam=1.0, tolerance=0.0, n_iter=300)
    monkeypatch.undo()
    whole = ir.fuse(haadf, counts, coupling="both", lam=1.0, tolerance=0.0, n_iter=300)
    assert blocks.record["blocks"]["edge_px"] == 60
    off = np.abs(blocks.data - whole.data)
    assert off.max() < 0.15
    assert np.sqrt(np.mean(off**2)) < 0.01


def test_too_little_memory_says_so(domains):
    with pytest.raises(ValueError, match=r"memory_gb=0\.1"):
        ir.fuse(np.ones((384, 512)), np.ones((8, 48, 64)), memory_gb=0.1, grid="haadf", lam=1.0, coupling="none")


def test_values_for_each_element():
    names = ("Ce", "Co")
    assert for_each("x", "", names, 1.0).tolist() == [1, 1]
    assert for_each("x", "3", names, 1.0).tolist() == [3, 3]
    assert for_each("x", "3, 2", names, 1.0).tolist() == [3, 2]
    assert for_each("x", "Co=2,Ce=3", names, 1.0).tolist() == [3, 2]
    for text, message in (
        ("1, 2, 3", "3 numbers for 2 elements"),
        ("Ni=2", "no element is named 'Ni'"),
        ("Ce=2, 3", "name every element"),
        ("-1", "numbers from 0 up"),
        ("much", "numbers from 0 up"),
    ):
        with pytest.raises(ValueError, match=message):
            for_each("x", text, names, 1.0)


def test_sensitivity_and_fractions(domains):
    _, counts, haadf = domains
    plain = ir.fuse(haadf, counts, elements="Ce, Co, O", **QUICK)
    result = ir.fuse(haadf, counts, elements="Ce, Co, O", sensitivity="Co=2, Ce=1, O=4", k_factors="1, 1, 2", **QUICK)
    np.testing.assert_allclose(result.data * np.array([1, 2, 4])[:, None, None], plain.data, rtol=1e-5)
    weighted = result.data * np.array([1, 1, 2])[:, None, None]
    np.testing.assert_allclose(result.composition, weighted / weighted.sum(0), rtol=1e-5)
    assert plain.composition is None


def test_a_background_for_each_element():
    truth, counts, haadf = specimen("core-shell", 10, SHAPE)
    background = np.array([1.0, 4.0, 2.0])
    counts = counts + np.random.default_rng(5).poisson(background[:, None, None] * np.ones((3, *SHAPE)))
    data = ir.fuse(haadf, counts, background="1, 4, 2", **QUICK).data
    np.testing.assert_allclose(data.mean((1, 2)), truth.mean((1, 2)), atol=0.3)


def test_the_haadfs_slopes_by_atomic_number(domains):
    _, counts, haadf = domains
    record = ir.fuse(haadf, counts, elements="Ti_K, Fe, Cu", calibration="Z", gamma=2.0, **QUICK).record
    slopes = np.array(record["calibration"]["slopes"])
    np.testing.assert_allclose(slopes / slopes[0], np.array([22, 26, 29]) ** 2 / 22**2, rtol=1e-4)
    with pytest.raises(ValueError, match="no element's symbol"):
        ir.fuse(haadf, counts, elements="Ti, Fe, Xx", calibration="Z", **QUICK)


def test_half_a_pixels_shift_is_found():
    truth, counts, haadf = specimen("domains", 10, (96, 96), shift=(1.5, -1.5), seed=2)
    result = ir.fuse(haadf, counts, register=True, **QUICK)
    assert result.record["shift_px"] == pytest.approx([-1.5, 1.5], abs=0.4)
    assert psnr(result.data, truth) > psnr(ir.fuse(haadf, counts, **QUICK).data, truth)


def test_the_gain_is_a_saving_of_dose():
    """Fusion of 1/gain of the counts is about as near the truth as the maps by themselves are from all."""
    truth, counts, haadf = specimen("lattice", 10, (128, 128), seed=4)
    result = ir.fuse(haadf, counts)
    gain = result.record["gain"]
    assert gain > 2
    alone = ir.fuse(haadf, counts, coupling="none").data
    less = np.random.default_rng(0).binomial(counts, 1 / gain)
    used = {"coupling": result.record["coupling"], "lam": result.lam, "edge_px": result.record["edge_px"]}
    fused = ir.fuse(haadf, less, **used).data * gain
    assert rmse(fused, truth) == pytest.approx(rmse(alone, truth), rel=0.3)
