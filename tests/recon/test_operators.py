"""Adjoints, closed forms and conventions of the operators."""

import numpy as np
import pytest

from napari_invrecon.recon.operators import (
    convolution,
    field_of_view,
    forward_fft,
    gradient_power,
    transfer_function,
)

CASES = [((64,), (21,)), ((63,), (8,)), ((32, 45), (7, 4)), ((33, 20), (1, 9)), ((12, 15, 10), (3, 4, 5))]


def dot(a, b):
    return float(np.sum(a.astype(np.float64) * b))


@pytest.mark.parametrize(("shape", "psf_shape"), CASES)
def test_convolution_adjoint(shape, psf_shape):
    rng = np.random.default_rng(1)
    psf = rng.random(psf_shape).astype(np.float32)  # asymmetric on purpose
    H = convolution(psf / psf.sum(), shape)
    x, y = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    assert dot(H(x), y) == pytest.approx(dot(x, H.T(y)), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("shape", "psf_shape"), CASES)
def test_field_of_view_adjoint(shape, psf_shape):
    rng = np.random.default_rng(2)
    psf = rng.random(psf_shape).astype(np.float32)
    view = tuple(slice(1, n - 2) for n in shape)
    H = field_of_view(convolution(psf / psf.sum(), shape), view)
    x = rng.standard_normal(H.domain_shape).astype(np.float32)
    y = rng.standard_normal(H.range_shape).astype(np.float32)
    assert H.range_shape == tuple(n - 3 for n in shape)
    assert dot(H(x), y) == pytest.approx(dot(x, H.T(y)), rel=1e-5, abs=1e-5)


def test_psf_centre_is_index_n_over_2():
    for size in (5, 6):
        psf = np.zeros(size, np.float32)
        psf[size // 2] = 1
        x = np.arange(20, dtype=np.float32)
        np.testing.assert_allclose(convolution(psf, (20,))(x), x, atol=1e-5)


def test_convolution_is_a_convolution_not_a_correlation():
    psf = np.zeros(5, np.float32)
    psf[3] = 1  # one pixel after the centre
    x = np.zeros(11, np.float32)
    x[4] = 1
    assert np.argmax(convolution(psf, (11,))(x)) == 5


def test_gradient_power_is_that_of_forward_differences():
    rng = np.random.default_rng(3)
    for shape in [(16,), (9, 14), (4, 5, 6)]:
        x = rng.standard_normal(shape)
        squares = sum(np.sum((np.roll(x, -1, axis) - x) ** 2) for axis in range(len(shape)))
        power = np.abs(np.fft.fftn(x)) ** 2 / x.size
        full = sum(
            (4 * np.sin(np.pi * np.fft.fftfreq(n)) ** 2).reshape([-1 if d == axis else 1 for d in range(len(shape))])
            for axis, n in enumerate(shape)
        )
        assert np.sum(power * full) == pytest.approx(squares)
        np.testing.assert_allclose(gradient_power(shape), full[..., : shape[-1] // 2 + 1], atol=1e-6)


def test_transfer_function_at_zero_is_the_sum():
    psf = np.random.default_rng(4).random((4, 7)).astype(np.float32)
    assert transfer_function(psf, (16, 18))[0, 0].real == pytest.approx(psf.sum(), rel=1e-6)


def test_wrong_shape_names_both_shapes():
    H = convolution(np.ones((3, 3), np.float32) / 9, (8, 8))
    with pytest.raises(ValueError, match=r"\(8, 8\), not \(8, 9\)"):
        H(np.zeros((8, 9), np.float32))


def test_single_precision_stays_single():
    assert forward_fft(np.zeros((8, 8), np.float32), 2).dtype == np.complex64
    assert convolution(np.ones((3, 3), np.float32), (8, 8))(np.zeros((8, 8), np.float32)).dtype == np.float32


@pytest.mark.parametrize(("shape", "psf_shape"), [*CASES, ((300, 270), (300, 270)), ((1, 9), (1, 4)), ((600,), (600,))])
def test_transfer_function_is_the_transform_of_the_centred_psf(shape, psf_shape):
    psf = np.random.default_rng(5).standard_normal(psf_shape).astype(np.float32)
    padded = np.zeros(shape)
    padded[tuple(slice(n) for n in psf_shape)] = psf
    padded = np.roll(padded, [-(n // 2) for n in psf_shape], axis=range(len(shape)))
    otf = transfer_function(psf, shape, np.complex128)
    assert otf.dtype == np.complex128
    np.testing.assert_allclose(otf, np.fft.rfftn(padded), atol=1e-10)
    assert transfer_function(psf, shape).dtype == np.complex64
