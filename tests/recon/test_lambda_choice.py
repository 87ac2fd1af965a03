"""The rules for λ against their definitions, on problems small enough to write as matrices."""

import numpy as np
import pytest
from phantoms import image, rmse
from scipy.ndimage import gaussian_filter

import napari_invrecon as ir
from napari_invrecon.recon import deconvolution, deconvolution_lambda
from napari_invrecon.recon.lambda_choice import DEFAULT_GRID, SOLVED_GRID, Fit, crossing, l_curve_corner, solved_curve
from napari_invrecon.recon.solvers import Iterate, finish

N = 48
KERNEL = np.exp(-(np.linspace(-5, 5, 11) ** 2) / 6)
KERNEL /= KERNEL.sum()
H = np.append(KERNEL, np.zeros(N - 11))[(np.arange(N)[:, None] - np.arange(N) + 5) % N]
L = np.roll(np.eye(N), 1, axis=1) - np.eye(N)
SIGMA = 0.05


def signal(seed=0):
    x = np.zeros(N)
    x[10:20], x[30:34] = 1, 0.6
    return x, H @ x + np.random.default_rng(seed).normal(0, SIGMA, N)


@pytest.mark.parametrize(("regulariser", "penalty"), [("l2", np.eye(N)), ("tikhonov", L.T @ L)])
def test_scores_are_those_of_the_influence_matrix(regulariser, penalty):
    _, y = signal()
    grid = np.logspace(-4, 1, 7)
    curve = ir.lambda_curve(y, KERNEL, regulariser=regulariser, lam=grid, boundary="periodic", noise_sigma=SIGMA)
    for k, lam in enumerate(grid):
        influence = H @ np.linalg.solve(H.T @ H + lam * penalty, H.T)
        residual2 = np.sum((influence @ y - y) ** 2)
        assert curve.residual_norm[k] ** 2 == pytest.approx(residual2, rel=2e-3)
        assert curve.gcv[k] == pytest.approx(N * residual2 / (N - np.trace(influence)) ** 2, rel=2e-3)
        sure = residual2 - N * SIGMA**2 + 2 * SIGMA**2 * np.trace(influence)
        assert curve.sure[k] == pytest.approx(sure, abs=2e-3)


def test_solved_curve_agrees_with_the_exact_one():
    _, y = image("slabs", 1.5, 100, size=96)
    grid = np.logspace(-2, 1, 7)
    psf = ir.gaussian_psf(1.5)
    exact = ir.lambda_curve(y, psf, regulariser="tikhonov", lam=grid, boundary="reflect", noise_sigma=9.0)
    solved = ir.lambda_curve(
        y, psf, regulariser="tikhonov", lam=grid, boundary="masked", noise_sigma=9.0, tolerance=1e-6, n_iter=2000
    )
    np.testing.assert_allclose(solved.residual_norm, exact.residual_norm, rtol=0.03)
    np.testing.assert_allclose(solved.sure, exact.sure, atol=0.03 * y.size * 81)


def test_sure_estimates_the_true_error():
    x, _ = signal()
    errors, estimates = [], []
    for seed in range(40):
        _, y = signal(seed)
        curve = ir.lambda_curve(y, KERNEL, regulariser="tikhonov", lam=[0.05], boundary="periodic", noise_sigma=SIGMA)
        influence = H @ np.linalg.solve(H.T @ H + 0.05 * L.T @ L, H.T)
        estimates.append(curve.sure[0])
        errors.append(np.sum((influence @ y - H @ x) ** 2))
    spread = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - np.mean(errors)) < 4 * spread


def test_gcv_is_near_the_best():
    for seed in range(5):
        x, y = image("particles", 3, 100, seed=seed)
        psf = ir.gaussian_psf(3.0)
        chosen = rmse(ir.deconvolve(y, psf, regulariser="tikhonov", lam_rule="gcv").data, x)
        best = min(
            rmse(ir.deconvolve(y, psf, regulariser="tikhonov", lam=lam).data, x) for lam in np.logspace(-2, 3, 16)
        )
        assert chosen < 1.1 * best


def test_discrepancy_meets_the_noise():
    _, y = signal()
    curve = ir.lambda_curve(y, KERNEL, boundary="periodic", noise_sigma=SIGMA)
    assert curve.residual_over_noise(curve.discrepancy) == pytest.approx(1, abs=0.01)


def test_crossing_says_none_where_there_is_none():
    grid, residual2 = np.array([1.0, 10.0]), np.array([2.0, 8.0])
    assert crossing(grid, residual2, 4.0) == pytest.approx(10**0.5)
    assert crossing(grid, residual2, 1.0) is None
    assert crossing(grid, residual2, 9.0) is None


def test_a_flat_curve_has_no_corner():
    assert l_curve_corner(DEFAULT_GRID, np.full(len(DEFAULT_GRID), 0.01)) is None
    assert l_curve_corner(DEFAULT_GRID, np.full(len(DEFAULT_GRID), np.nan)) is None
    with pytest.raises(ValueError, match="no corner"):
        ir.deconvolve(np.full((64, 64), 1e6), ir.gaussian_psf(1.0), regulariser="tikhonov", lam_rule="l-curve")


def test_residual_over_noise_is_that_of_the_lambda_used():
    _, y = image("slabs", 1.5, 100, size=64)
    psf = ir.gaussian_psf(1.5)
    for lam in (1e-10, 0.0123, 1e5):
        result = ir.deconvolve(y, psf, regulariser="tikhonov", lam=lam, boundary="periodic", noise_sigma=8.0)
        blurred = np.fft.ifftn(np.fft.fftn(result.data) * transfer(psf, y.shape)).real
        expected = np.sqrt(np.mean((blurred - y) ** 2)) / 8.0
        assert result.record["residual_over_noise"] == pytest.approx(expected, rel=2e-3)
    curve = ir.lambda_curve(y, psf, lam=[0.1, 1.0], noise_sigma=8.0)
    assert np.isnan(curve.residual_over_noise(10.0))


def transfer(psf, shape):
    field = np.zeros(shape)
    field[: psf.shape[0], : psf.shape[1]] = psf
    return np.fft.fftn(np.roll(field, [-(n // 2) for n in psf.shape], (0, 1)))


def test_a_choice_at_the_end_of_the_grid_is_told():
    x, _ = image("ramps", 1.5, 1e6, size=64)
    smooth = gaussian_filter(x, 1.5)
    result = ir.deconvolve(smooth, ir.gaussian_psf(1.5), lam_rule="sure", noise_sigma=1e-6 * np.ptp(x))
    assert result.record["lam_rule"] == "sure, at the end of the grid"


@pytest.mark.parametrize("lam", [[], [-1, 1], [0, 1], [np.nan, 1], [[1, 2]]])
def test_a_grid_that_is_no_grid_is_refused(lam):
    with pytest.raises(ValueError, match="list of weights above 0"):
        ir.lambda_curve(np.ones((16, 16)), ir.gaussian_psf(1.0), lam=lam)


def test_a_given_lambda_costs_one_solution(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the curve is not needed")

    monkeypatch.setattr(deconvolution, "lambda_steps", refuse)
    _, y = image("slabs", 1.5, 100, size=64)
    record = ir.deconvolve(y, ir.gaussian_psf(1.5), lam=0.05, noise_sigma=8.0).record
    assert 0.8 < record["residual_over_noise"] < 1.5


@pytest.mark.parametrize("rule", ["balanced", "sure", "gcv", "discrepancy", "l-curve", "holdout"])
@pytest.mark.parametrize("regulariser", ["tikhonov", "tv"])
def test_every_rule_gives_a_better_image(rule, regulariser):
    x, y = image("slabs", 1.5, 100, size=128)
    options = {"regulariser": regulariser, "lam_rule": rule, "noise_sigma": 8.5}
    if (regulariser, rule) == ("tv", "l-curve"):  # this one has none, and says so
        with pytest.raises(ValueError, match="no corner"):
            ir.deconvolve(y, ir.gaussian_psf(1.5), **options)
        return
    result = ir.deconvolve(y, ir.gaussian_psf(1.5), **options)
    assert result.record["lam_rule"] == rule
    assert rmse(result.data, x) < 0.95 * rmse(y, x)


@pytest.mark.parametrize("object_name", ["particles", "slabs"])
def test_a_wide_psf_is_chosen_for_by_its_core(object_name, monkeypatch):
    psf = ir.gaussian_psf(1.5)
    wide = 0.03 * ir.gaussian_psf(9.0)
    middle, n = len(wide) // 2, len(psf) // 2
    wide[middle - n : middle + n + 1, middle - n : middle + n + 1] += 0.97 * psf
    _, y = image(object_name, 1.5, 200, size=128)  # its tails are not in the data, and are 3 % of the PSF
    shapes = []
    fit = deconvolution_lambda.fit
    monkeypatch.setattr(deconvolution_lambda, "fit", lambda blur, *args: shapes.append(blur.kernel) or fit(blur, *args))
    of_core = ir.lambda_curve(y, wide, regulariser="tv")
    assert max(shapes[0].shape) < 24
    assert shapes[0].sum() == pytest.approx(1, abs=1e-5)
    monkeypatch.setattr(deconvolution_lambda, "_WIDE", 1000)
    of_all = ir.lambda_curve(y, wide, regulariser="tv")
    assert shapes[-1].shape == wide.shape
    assert of_core.choices["balanced"] == pytest.approx(of_all.choices["balanced"], rel=0.3)


def test_rules_that_never_settle_do_not_hold_up_the_others():
    lams = []

    def fit(y, weights, lam, state):  # GCV is least at 0.1, the residual never meets a σ that is far too small
        lams.append(lam)
        yield Iterate(1, 1)
        kept = np.float32(0.5 / (1 + 10 * lam) if lam > 0.1 else 0.5 + 0.05 * np.log10(0.1 / lam))
        return Fit(None, y * kept, 1.0)

    y = np.random.default_rng(0).normal(0, 1, (40, 40)).astype(np.float32)
    curve = finish(solved_curve(fit, y, 1e-3, np.ones_like(y)))
    assert np.isfinite(curve.gcv).all()
    assert len(curve.lam) < len(SOLVED_GRID)


def test_held_out_data_are_not_fitted():
    seen = []

    def fit(y, weights, lam, state):
        seen.append(weights.copy())
        yield Iterate(1, 1)
        return Fit(None, np.full_like(y, np.sum(y * weights) / np.sum(weights)), 0.0)

    y = np.random.default_rng(0).normal(5, 1, (40, 40)).astype(np.float32)
    curve = finish(solved_curve(fit, y, 1.0, np.ones_like(y), grid=np.array([0.1, 1.0]), complete=True, hold_out=True))
    hidden = seen[2] == 0
    assert 0.05 < hidden.mean() < 0.15
    assert curve.holdout[0] == pytest.approx(np.mean((y[hidden] - y[~hidden].mean()) ** 2), rel=1e-4)


def counting_fit(taken):
    """A solution of ten steps that counts them, and says whether it was asked to finish."""

    def fit(y, weights, lam, state):
        for step in range(10):
            taken.append(lam)
            if (yield Iterate(step, 10)):
                break
        return Fit(None, y * np.float32(1 / (1 + lam)), 0.0)

    return fit


def test_the_choice_can_be_stopped_within_a_solution():
    y, taken = np.random.default_rng(0).normal(5, 1, 100).astype(np.float32), []
    steps = solved_curve(counting_fit(taken), y, 1.0, np.ones_like(y), complete=True)
    for count in range(1, 15):
        next(steps)
        assert len(taken) == count
    steps.close()
    assert len(taken) == 14


def test_asked_to_finish_the_choice_takes_what_it_has():
    y, taken = np.random.default_rng(0).normal(5, 1, 100).astype(np.float32), []
    grid = np.array([0.01, 0.1, 1.0])
    steps = solved_curve(counting_fit(taken), y, 1.0, np.ones_like(y), grid=grid, complete=True)
    for _ in range(23):
        next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(True)
    assert len(taken) == 24  # the third step of the second λ, and one of its nudged solution
    np.testing.assert_array_equal(end.value.value.lam, [0.1, 1.0])
    assert np.isfinite(end.value.value.gcv).all()


def test_summary_is_json():
    import json

    _, y = signal()
    summary = ir.lambda_curve(y, KERNEL, boundary="periodic").summary()
    assert json.loads(json.dumps(summary)) == summary
    assert "holdout" not in summary


def region_and_image(pedestal, seed=3):
    """Particles beside an empty strip of known brightness, and the strip."""
    x, y = image("particles", 1.5, 200, size=128, seed=seed)
    rng = np.random.default_rng(seed)
    x[:, :48] = pedestal * 200
    y = rng.poisson(gaussian_filter(x, 1.5)).astype(np.float32)
    region = np.zeros(x.shape, bool)
    region[10:-10, 8:40] = True
    return x, y, region


@pytest.mark.parametrize("regulariser", ["tikhonov", "tv"])
@pytest.mark.parametrize("pedestal", [0.3, 0.0])
def test_a_flat_region_chooses_lambda(regulariser, pedestal):
    x, y, region = region_and_image(pedestal)
    psf = ir.gaussian_psf(1.5)
    result = ir.deconvolve(y, psf, reference=region, regulariser=regulariser)
    assert result.record["lam_rule"] == "reference"
    assert result.record["sources"][-1]["role"] == "reference"
    curve = ir.lambda_curve(y, psf, reference=region, regulariser=regulariser)
    assert curve.choices["reference"] == pytest.approx(result.lam)
    assert result.lam >= 0.999 * curve.choices["gcv"]
    best = min(rmse(ir.deconvolve(y, psf, regulariser=regulariser, lam=lam).data, x) for lam in np.logspace(-3, 1, 9))
    assert rmse(result.data, x) < (1.15 if pedestal else 1.4) * best  # a strip without counts has no noise to tell of
    assert result.data[region].std() < 0.02 * result.record["data_scale"]


def test_a_reference_that_does_not_fit_is_refused():
    y, psf = np.ones((40, 40)), ir.gaussian_psf(1.0)
    for reference, message in [
        (np.ones((40, 41), bool), r"\(40, 41\)"),
        (np.ones((40, 40)), "float64"),
        (np.zeros((40, 40), bool), "0 pixels"),
    ]:
        with pytest.raises(ValueError, match=message):
            ir.deconvolve(y, psf, reference=reference)
    with pytest.raises(ValueError, match="needs a region"):
        ir.deconvolve(y, psf, lam_rule="reference")


def test_where_scan_lines_jump_the_corner_is_the_default():
    x, y = image("particles", 2, 200, size=192)
    y = y + np.random.default_rng(1).normal(0, 15, (192, 1)).astype(np.float32)
    psf = ir.gaussian_psf(2.0)
    result = ir.deconvolve(y, psf, regulariser="tikhonov")
    assert result.record["lam_rule"] == "l-curve"
    assert "not white" in result.record["noise_is"]
    balanced = ir.deconvolve(y, psf, regulariser="tikhonov", lam_rule="balanced")
    assert rmse(result.data, x) < 0.8 * rmse(balanced.data, x)
    assert (
        ir.deconvolve(image("particles", 2, 200, size=192)[1], psf, regulariser="tikhonov").record["noise_is"]
        == "white"
    )
    y = image("lattice", 2, 200, size=192)[1] + np.random.default_rng(1).normal(0, 15, (192, 1)).astype(np.float32)
    with pytest.raises(ValueError, match="no corner"):  # rather than a λ that fits the lines
        ir.deconvolve(y, psf, regulariser="tikhonov")


def test_without_an_answer_the_default_says_why_it_is_asked_and_what_to_do():
    smooth = gaussian_filter(np.random.default_rng(0).normal(0, 1, (64, 64)), 1.5)
    with pytest.raises(
        ValueError, match=r"'l-curve', taken as the noise is not white, .*give λ \(lam\), choose another"
    ):
        ir.deconvolve(smooth, ir.gaussian_psf(1.5), regulariser="tikhonov")
