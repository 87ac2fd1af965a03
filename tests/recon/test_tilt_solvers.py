"""Every algorithm for tilt series: it goes down, it converges to what it says, and it bears what may come."""

from dataclasses import replace

import numpy as np
import pytest
from tilt_phantoms import ball, line_integrals, voxels

from napari_invrecon.recon.fbp import angular_weights, filter_response
from napari_invrecon.recon.fidelities import least_squares
from napari_invrecon.recon.gradients import counted, total_variation
from napari_invrecon.recon.operators import LinearOperator
from napari_invrecon.recon.projector import Geometry, projector_norm
from napari_invrecon.recon.regularisers import tv
from napari_invrecon.recon.solvers import finish, primal_dual
from napari_invrecon.recon.tilt_problem import TiltProblem
from napari_invrecon.recon.tilt_solvers import solve
from napari_invrecon.recon.tilt_sweep import far_apart

ITERATIVE = ["sirt", "sart", "tv-sart", "tv", "l1", "tikhonov"]
ANGLES = np.linspace(-70, 70, 29)
LAM = {"tv-sart": 2e-3, "tv": 2e-3, "l1": 1e-3, "tikhonov": 1e-2}


def problem(algorithm, angles=ANGLES, volume=(24, 24), detector=24, shift=0.0, **how):
    geometry = Geometry(np.asarray(angles, float), volume, detector, shift)
    return TiltProblem(geometry, algorithm, projector_norm(geometry), **how)


def balls(angles=ANGLES, n=24, ny=6, noise=0.02, seed=0):
    """(tilt, u, y) scaled to one, of two balls with line integrals in closed form."""
    objects = [ball(1.0, [0.1, 0, -0.2], 0.5), ball(0.7, [-0.5, 0, 0.4], 0.2)]
    y = line_integrals(objects, angles, ny, n).swapaxes(1, 2)
    y = y / y.max() + noise * np.random.default_rng(seed).standard_normal(y.shape)
    return np.ascontiguousarray(y, np.float32)


def run(asked, y, lam=None, weights=None, **how):
    return finish(solve(asked, y, LAM.get(asked.algorithm, 0.0) if lam is None else lam, weights, **how)).copy()


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.fixture(scope="module")
def y():
    return balls()


@pytest.mark.parametrize("algorithm", ITERATIVE)
def test_the_objective_falls_and_the_data_stay_as_they_were(algorithm, y):
    kept = y.copy()
    values = [it.objective for it in solve(problem(algorithm, n_iter=25, tolerance=0), y, LAM.get(algorithm, 0.0))]
    assert len(values) == 25
    assert values[-1] < values[5] < values[0]
    assert np.array_equal(y, kept)


@pytest.mark.parametrize("algorithm", ["fbp", *ITERATIVE])
def test_the_objects_come_back_in_place_and_in_size(algorithm):
    n, angles = 48, np.linspace(-88, 88, 89)
    objects = [ball(1.0, [0.1, 0, -0.2], 0.5), ball(0.7, [-0.5, 0, 0.4], 0.2)]
    truth = voxels(objects, (n, 3, n)).swapaxes(1, 2)
    y = np.ascontiguousarray(line_integrals(objects, angles, 3, n).swapaxes(1, 2), np.float32)
    scale = float(y.max())
    asked = problem(algorithm, angles, (n, n), n, n_iter=60)
    x = run(asked, y / scale, lam=1e-4) * scale / asked.norm
    assert np.sqrt(np.mean(np.square(x - truth))) < 0.08
    assert x[truth == 1].mean() == pytest.approx(1, abs=0.03)


def test_an_axis_off_the_middle_moves_nothing():
    shifts = np.linspace(-1.5, 2, len(ANGLES))
    objects = [ball(1.0, [0.2, 0, -0.1], 0.4)]
    x = []
    for shift in (0.0, shifts):
        y = np.ascontiguousarray(line_integrals(objects, ANGLES, 2, 32, shift).swapaxes(1, 2) / 12, np.float32)
        x.append(run(problem("tv-sart", volume=(24, 32), detector=32, shift=shift, n_iter=30), y, 1e-3))
    assert distance(x[1], x[0]) < 0.08


@pytest.mark.parametrize("algorithm", ["fbp", *ITERATIVE])
def test_positivity_is_kept_and_can_be_left(algorithm, y):
    asked = problem(algorithm, n_iter=5)
    assert run(asked, y).min() >= 0
    assert run(replace(asked, nonnegative=False), y).min() < 0


@pytest.mark.parametrize("algorithm", ["fbp", *ITERATIVE])
def test_a_tilt_of_weight_zero_is_left_out(algorithm, y):
    keep = np.arange(len(ANGLES)) % 5 != 2
    weights = keep.astype(np.float32)[:, None, None]
    spoilt = np.where(keep[:, None, None], y, np.float32(50))
    n_iter = {"tv": 1200, "tv-sart": 60}.get(algorithm, 40)
    asked = problem(algorithm, n_iter=n_iter, tolerance=1e-5)
    without = replace(asked, geometry=asked.geometry.subset(keep))
    # The order of the remaining tilts differs: so does a row action that is not run to its limit.
    limit = {"sart": 0.15, "tv-sart": 0.03, "tv": 5e-3}.get(algorithm, 1e-3)
    assert distance(run(asked, spoilt, weights=weights), run(without, np.ascontiguousarray(y[keep]))) < limit


@pytest.mark.parametrize("algorithm", ["fbp", "sirt", "sart"])
def test_a_thousand_times_the_data_give_a_thousand_times_the_volume(algorithm, y):
    asked = problem(algorithm, n_iter=10, tolerance=0)
    assert distance(run(asked, 1000 * y), 1000 * run(asked, y)) < 1e-5


@pytest.mark.parametrize("algorithm", ["tv-sart", "tv", "l1"])
def test_norms_grow_with_the_data_so_lam_does(algorithm, y):
    asked = problem(algorithm, n_iter=10, tolerance=0)
    assert distance(run(asked, 1000 * y, 1000 * LAM[algorithm]), 1000 * run(asked, y)) < 1e-3


@pytest.mark.parametrize("algorithm", ["tv-sart", "tv", "l1", "tikhonov"])
def test_the_solution_as_a_start_stays(algorithm, y):
    asked = problem(algorithm, n_iter=600, tolerance=1e-5)
    x = run(asked, y)
    again = run(replace(asked, n_iter=20), y, start=x)
    assert distance(again, x) < 0.02
    kept = x.copy()
    run(replace(asked, n_iter=1), y, start=x)
    assert np.array_equal(x, kept)


@pytest.mark.parametrize("algorithm", ["fbp", *ITERATIVE])
@pytest.mark.parametrize("after", [1, 3, 7])
def test_done_keeps_the_iterate_at_hand(algorithm, after, y):
    steps = solve(problem(algorithm, n_iter=8, tolerance=0), y, LAM.get(algorithm, 0.0))
    shown = next(steps)
    while shown.step < min(after, shown.n_steps):
        shown = next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(True)
    assert np.array_equal(end.value.value, shown.x)


@pytest.mark.parametrize("algorithm", ITERATIVE)
def test_the_last_iterate_says_why(algorithm, y):
    def last(**how):
        *before, end = solve(problem(algorithm, **how), y, LAM.get(algorithm, 0.0))
        assert all(it.stage == "" for it in before)
        return end

    assert last(n_iter=3, tolerance=0).stage == "all iterations done"
    assert last(n_iter=300, tolerance=0.05).stage == "settled"


@pytest.mark.parametrize("algorithm", ["sirt", "sart"])
def test_sirt_and_sart_stop_at_the_noise(algorithm):
    y = balls(noise=0.05)
    asked = problem(algorithm, n_iter=300, tolerance=0, noise_level=0.05)
    *_, before, last = solve(asked, y, 0.0)
    assert before.residual > 1 >= last.residual
    assert last.stage == "fits to the noise"
    gap = asked.predict(last.x, 1) - y
    assert np.sqrt(np.mean(np.square(gap))) / 0.05 == pytest.approx(last.residual, rel=1e-3)


@pytest.mark.parametrize("algorithm", ["fbp", *ITERATIVE])
@pytest.mark.parametrize("angles", [[12.0], [0, 0, 30, 30, 30, -40], [-90, 90, 0]])
def test_one_tilt_and_repeated_ones(algorithm, angles):
    y = balls(angles)
    asked = problem(algorithm, angles, n_iter=30)
    x = run(asked, y)
    assert np.isfinite(x).all()
    if algorithm != "fbp":
        assert np.linalg.norm(asked.predict(x, 1) - y) < 0.35 * np.linalg.norm(y)


def walled(shape):
    """`regularisers.tv` without the differences that wrap around."""
    inside = counted(shape, shape)

    def prox(v, step):
        return np.where(inside, tv().prox(v * inside, step), v)

    return replace(tv(), value=lambda x: total_variation(x, shape), prox=prox)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ny", [1, 4])
def test_tv_reaches_the_minimiser_of_the_plain_primal_dual_method(weighted, ny):
    angles = np.linspace(-60, 60, 9)
    y = balls(angles, n=12, ny=ny, noise=0.05)
    asked = problem("tv", angles, (10, 12), 12, n_iter=1500, tolerance=0)
    weights = np.random.default_rng(5).uniform(0.2, 1, y.shape).astype(np.float32) if weighted else None
    H = LinearOperator((10, 12, ny), y.shape, lambda x: asked.predict(x, 1), lambda s: asked.back(s.copy(), 1))
    lam, start = 5e-3, np.zeros((10, 12, ny), np.float32)
    fidelity = least_squares(y, weights)
    other = finish(
        primal_dual(H, fidelity, walled(start.shape), lam, start, nonnegative=True, n_steps=1500, tolerance=0)
    )
    x = run(asked, y, lam, weights)

    def value(x):
        return fidelity.value(H(x)) + lam * total_variation(x, start.shape)

    assert value(x) == pytest.approx(value(other), rel=1e-4)
    assert distance(x, other) < 1e-3
    near = run(replace(asked, algorithm="tv-sart", n_iter=60), y, lam, weights)
    assert value(near) < 1.03 * value(other)


def test_tikhonov_and_its_closed_form():
    angles = np.linspace(-60, 60, 7)
    y = balls(angles, n=8, ny=1)
    asked = problem("tikhonov", angles, (8, 8), 8, nonnegative=False, n_iter=3000, tolerance=0)
    unit = np.eye(64, dtype=np.float32).reshape(64, 8, 8, 1)
    A = np.stack([asked.predict(e, 1).ravel() for e in unit], axis=1).astype(float)
    difference = np.diff(np.eye(8), axis=0)
    L = np.concatenate([np.kron(difference, np.eye(8)), np.kron(np.eye(8), difference)])
    exact = np.linalg.solve(A.T @ A + 0.01 * L.T @ L, A.T @ y.ravel())
    assert distance(run(asked, y, 0.01).ravel(), exact) < 1e-3


def test_l1_meets_its_conditions_of_optimality(y):
    lam = 5e-2
    asked = problem("l1", n_iter=3000, tolerance=1e-7)
    x = run(asked, y, lam)
    slope = 2 * asked.back(asked.predict(x, 1) - y, 1) + lam
    assert abs(slope[x > 1e-3]).max() < 1e-3
    assert slope[x == 0].min() > -1e-3
    assert (x == 0).mean() > 0.2


@pytest.mark.parametrize("name", ["ramp", "shepp-logan", "cosine", "hamming", "hann"])
def test_filters_start_as_a_ramp(name):
    gain, nu = filter_response(name, 512), np.arange(257) / 512
    assert gain[2:26] == pytest.approx(nu[2:26], rel=0.03)
    assert 0 < gain[0] < 2e-3
    assert gain.max() <= 0.5


def test_an_unknown_filter_or_algorithm_is_refused(y):
    with pytest.raises(ValueError, match="expected one of ramp"):
        run(problem("fbp", filter="boxcar"), y)
    with pytest.raises(ValueError, match="expected one of fbp, sirt"):
        run(problem("art"), y)
    with pytest.raises(ValueError, match="crop or rebin"):
        run(problem("sirt"), y, start=np.zeros((3, 3, 3), np.float32))


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        (np.arange(-90, 90, 2.0), np.full(90, 2.0)),
        ([-70, -68, -66, -60], [2, 2, 4, 6]),
        ([10, 10, 0], [5, 5, 10]),
        ([30], [180]),
    ],
)
def test_angular_weights(angles, expected):
    assert np.rad2deg(angular_weights(np.asarray(angles, float))) == pytest.approx(np.asarray(expected), rel=1e-6)


def test_fbp_bears_uneven_steps():
    angles = np.concatenate([np.arange(-90, 0, 1.0), np.arange(0, 90, 3.0)])
    y = np.ascontiguousarray(line_integrals([ball(1.0, [0.2, 0, -0.2], 0.5)], angles, 1, 64).swapaxes(1, 2), np.float32)
    asked = problem("fbp", angles, (64, 64), 64)
    x = run(asked, y) / asked.norm
    assert x[voxels([ball(1.0, [0.2, 0, -0.2], 0.4)], (64, 1, 64)).swapaxes(1, 2) == 1].mean() == pytest.approx(
        1, abs=0.02
    )


@pytest.mark.parametrize("n", [1, 2, 9, 71])
def test_the_order_of_a_sweep_takes_all_and_jumps_far(n):
    order = far_apart(n)
    assert sorted(order) == list(range(n))
    if n > 5:
        assert abs(np.diff(order)).min() > n / 5
