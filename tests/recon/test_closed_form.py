"""One division in Fourier space, for one λ after another."""

from __future__ import annotations

import numpy as np
import pytest

from napari_invrecon.recon.closed_form import closed_form
from napari_invrecon.recon.operators import gradient_power, transfer_function
from napari_invrecon.recon.psf import gaussian_psf
from napari_invrecon.recon.solvers import spectral


@pytest.mark.parametrize("shape", [(64, 50), (33, 41), (57,), (12, 20, 16)])
def test_it_is_the_minimiser_for_every_lam_in_any_order(shape):
    y = np.random.default_rng(0).normal(1, 0.2, shape).astype(np.float32)
    given = y.copy()
    otf, penalty = transfer_function(gaussian_psf(1.2, ndim=len(shape)), shape), gradient_power(shape)
    solve = closed_form(y, otf, penalty)
    first = solve(1e-2)
    kept = first.copy()
    for lam in (1.0, 1e-4, 1e-2):
        expected = spectral(y.astype(np.float64), otf.astype(np.complex128), penalty, lam)
        np.testing.assert_allclose(solve(lam), expected, atol=2e-4 * np.ptp(expected))
    np.testing.assert_array_equal(first, kept, err_msg="what was returned is the caller's")
    np.testing.assert_array_equal(y, given)


def test_what_nobody_sees_is_zero():
    y = np.ones((16, 16), np.float32)
    blind = np.zeros((16, 9), np.complex64)
    np.testing.assert_array_equal(closed_form(y, blind, gradient_power((16, 16)))(0.1), np.zeros((16, 16)))
