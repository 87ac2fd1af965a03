"""Total variation of a volume: its value, its proximal map, and slabs that give what one piece gives."""

import numpy as np
import pytest
from skimage.restoration import denoise_tv_chambolle

from napari_invrecon.recon.gradients import total_variation
from napari_invrecon.recon.volume_tv import advance, ascend, dual_step, shrink, variation_dual, volume_variation

SHAPES = [(9, 7, 6), (8, 9, 1), (1, 6, 5), (6, 1, 4), (5, 1, 1)]


def blocks(shape, seed=0):
    rng = np.random.default_rng(seed)
    x = np.zeros(shape, np.float32)
    x[tuple(slice(n // 3, n) for n in shape)] = 1
    return x + 0.2 * rng.standard_normal(shape).astype(np.float32)


def prox(v, radius, nonnegative=False, n_steps=600, threads=1):
    dual, x, ahead = variation_dual(v.shape), v.copy(), v.copy()
    shrink(v, dual, radius, nonnegative, n_steps, threads)
    advance(ahead, dual, x, 0, nonnegative, threads)
    return x


@pytest.mark.parametrize("shape", SHAPES)
def test_the_variation_is_that_of_differences_that_end_at_the_border(shape):
    x = blocks(shape)
    assert volume_variation(x, threads=3) == pytest.approx(total_variation(x, shape), rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("nonnegative", [False, True])
def test_the_prox_lies_below_its_neighbours(shape, nonnegative):
    v, radius = blocks(shape), 0.15
    x = prox(v, radius, nonnegative)

    def value(u):
        return 0.5 * np.sum(np.square(u - v), dtype=float) + radius * total_variation(u, shape)

    rng = np.random.default_rng(1)
    for size in (1e-1, 1e-2, 1e-3):
        other = x + np.float32(size) * rng.standard_normal(shape).astype(np.float32)
        assert value(x) < value(np.maximum(other, 0) if nonnegative else other) + 1e-6
    assert x.min() >= 0 or not nonnegative


def test_a_large_radius_leaves_the_mean_and_none_leaves_the_volume():
    v = blocks((6, 5, 4))
    assert prox(v, 1e3) == pytest.approx(np.full(v.shape, v.mean()), abs=1e-3)
    assert np.array_equal(prox(v, 0.0), v)


def test_the_prox_agrees_with_chambolle_s_method_on_an_image():
    v = blocks((24, 24, 1))
    other = denoise_tv_chambolle(v[:, :, 0].astype(float), weight=0.1, eps=1e-9, max_num_iter=3000)
    # Chambolle's weight multiplies TV in ½‖u − v‖² + weight · TV.
    assert prox(v, 0.1, n_steps=3000)[:, :, 0] == pytest.approx(other, abs=2e-3)


@pytest.mark.parametrize("threads", [2, 3, 20])
def test_slabs_in_threads_give_the_same(threads):
    v = blocks((11, 6, 5))
    assert np.array_equal(prox(v, 0.1, n_steps=30), prox(v, 0.1, n_steps=30, threads=threads))
    one, many = variation_dual(v.shape), variation_dual(v.shape)
    ascend(v, one, 0.1, dual_step(v.shape), 1)
    ascend(v, many, 0.1, dual_step(v.shape), threads)
    assert np.array_equal(one, many)


def test_the_dual_stays_in_its_ball():
    v, dual = blocks((7, 6, 5)), variation_dual((7, 6, 5))
    shrink(v, dual, 0.05, True, 20, 1)
    assert np.sqrt(np.square(dual).sum(axis=0)).max() == pytest.approx(0.05, rel=1e-4)


def test_advance_extrapolates_and_measures_the_step():
    v, x = blocks((4, 5, 6), 1), blocks((4, 5, 6), 2)
    ahead, new = v.copy(), x.copy()
    moved, size = advance(ahead, variation_dual(v.shape), new, 0.5, False, 2)
    assert np.array_equal(new, v)
    assert ahead == pytest.approx(v + 0.5 * (v - x), abs=1e-6)
    assert moved == pytest.approx(np.sum(np.square(v - x)), rel=1e-5)
    assert size == pytest.approx(np.sum(np.square(v)), rel=1e-5)
