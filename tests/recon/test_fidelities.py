"""Gradients against finite differences, proximal maps against their definition."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from napari_invrecon.recon.fidelities import least_squares, poisson

RNG = np.random.default_rng(5)
Y = RNG.poisson(3, 40).astype(np.float32)
WEIGHTS = (RNG.random(40) > 0.2).astype(np.float32)


@pytest.mark.parametrize(
    "fidelity", [least_squares(Y), least_squares(Y, WEIGHTS), poisson(Y), poisson(Y, 0.7), poisson(Y, 0.7, WEIGHTS)]
)
def test_gradient(fidelity):
    v = RNG.uniform(1, 5, 40)
    direction = RNG.standard_normal(40)
    h = 1e-5
    slope = (fidelity.value(v + h * direction) - fidelity.value(v - h * direction)) / (2 * h)
    assert np.dot(fidelity.gradient(v), direction) == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (least_squares, lambda u, y: (u - y) ** 2),
        (poisson, lambda u, y: 2 * (u - (y * np.log(u) if y else 0))),
    ],
)
@pytest.mark.parametrize("step", [0.01, 1.0, 50.0])
def test_prox_is_the_argmin(make, value, step):
    y, v = np.float32([0, 1, 7]), np.float32([0.5, 4.0, 2.0])
    got = make(y).prox(v, step)
    for i in range(3):
        best = minimize_scalar(
            lambda u, i=i: step * value(u, y[i]) + 0.5 * (u - v[i]) ** 2,
            bounds=(1e-9, 20),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert got[i] == pytest.approx(best.x, abs=2e-3)


def test_poisson_prox_never_gives_a_negative_mean():
    v = np.float32([-100, -1, 0, 1e-20])
    mean = poisson(np.float32([0, 1, 0, 5]), 0.5).prox(v, 0.3) + 0.5
    assert (mean >= 0).all()


def test_poisson_value_is_the_deviance():
    assert poisson(Y).value(np.maximum(Y, 1e-12)) == pytest.approx(0, abs=1e-6)
    assert poisson(Y).value(np.full(40, -1.0)) == float("inf")


def test_ignored_pixels_do_not_move():
    v = RNG.uniform(1, 5, 40).astype(np.float32)
    for make in (lambda: least_squares(Y, WEIGHTS), lambda: poisson(Y, 0.0, WEIGHTS)):
        np.testing.assert_array_equal(make().prox(v, 2.0)[WEIGHTS == 0], v[WEIGHTS == 0])


@pytest.mark.parametrize("shape", [(30,), (9, 12), (4, 6, 7)])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("make", [least_squares, lambda y, w=None: poisson(y, 0.3, w)])
@pytest.mark.parametrize("weighted", [False, True])
def test_fused_step_is_the_plain_one(shape, threads, make, weighted):
    rng = np.random.default_rng(2)
    view = tuple(slice(1, n - 1) for n in shape)
    y = rng.poisson(2, [n - 2 for n in shape]).astype(np.float32)
    fidelity = make(y, (rng.random(y.shape) > 0.3).astype(np.float32) if weighted else None)
    v, state = (rng.uniform(0, 4, shape).astype(np.float32) for _ in range(2))

    def prox(t):
        fitted = t.copy()
        fitted[view] = fidelity.prox(t[view], 4.0)
        return fitted

    expected = state + 1.8 * (v - prox(state))
    value, copy = fidelity.value(v[view]), v.copy()
    assert fidelity.fused(copy, state, view, 4.0, 1.8, threads) == pytest.approx(value, rel=1e-4)
    np.testing.assert_allclose(state, expected, atol=1e-5)
    np.testing.assert_allclose(copy, 2 * prox(expected.astype(np.float32)) - expected, atol=2e-5)
