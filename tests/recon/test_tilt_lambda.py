"""What a fit leaves of the noise, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from tilt_phantoms import line_integrals, particles

import napari_invrecon as ir
from napari_invrecon.recon.projector import Geometry, projector_norm
from napari_invrecon.recon.solvers import finish
from napari_invrecon.recon.tilt_lambda import left_by_a_fit
from napari_invrecon.recon.tilt_proximal import _curving
from napari_invrecon.recon.tilt_solvers import TiltProblem, solve

N, N_TILTS, SIGMA, COLUMNS = 12, 17, 0.05, 6


@pytest.fixture(scope="module")
def problem():
    geometry = Geometry(np.linspace(-70, 70, N_TILTS), (N, N), N, np.zeros(N_TILTS))
    return TiltProblem(
        geometry,
        "tikhonov",
        projector_norm(geometry),
        nonnegative=False,
        n_iter=200,
        tolerance=1e-6,
        noise_level=SIGMA,
    )


@pytest.mark.parametrize("lam", [1e-3, 1e-2, 0.1])
@pytest.mark.parametrize("hidden", [False, True])
def test_degrees_of_freedom_are_the_trace_of_the_linear_fit(problem, lam, hidden):
    units = np.eye(N * N, dtype=np.float32).reshape(N, N, N * N)  # a slice for each unit vector
    A = problem.predict(units, 1).reshape(-1, N * N).astype(float)
    w = np.ones(N_TILTS)
    w[::4] = 1 - hidden
    each = np.repeat(w, N)
    hat = A @ np.linalg.inv(A.T @ (each[:, None] * A) + lam * sum_of_squares()) @ (A.T * each)
    hat = ((hat + hat.T) / 2)[np.ix_(each > 0, each > 0)]
    apart = hat - np.diag(np.diag(hat))
    spread = np.sqrt(2 * np.sum(apart**2) / COLUMNS) / each.sum()  # of the mean over as many random probes
    data = np.random.default_rng(0).normal(0, SIGMA, (N_TILTS, N, COLUMNS)).astype(np.float32)
    weights = w.astype(np.float32)[:, None, None]
    found = []
    for column in range(COLUMNS):
        y = np.ascontiguousarray(data[:, :, column : column + 1])
        x = finish(solve(problem, y, lam, weights))
        found.append(1 - finish(left_by_a_fit(problem, y, weights, lam, x, seed=column)) ** 2)
    assert np.mean(found) == pytest.approx(np.trace(hat) / each.sum(), abs=3 * spread)


def sum_of_squares():
    """∇ᵀ∇ as a matrix."""
    return np.stack([_curving(e.reshape(N, N, 1)).ravel() for e in np.eye(N * N)])


def test_a_volume_that_fits_its_noise_is_called_so():
    """By TV, with λ from the data: what is left is less than noise, as is expected of a good fit."""
    angles = np.arange(-70, 71, 4.0)
    clean = line_integrals(particles(8), angles, 48, 48)[:, 16:32]
    stack = clean + np.random.default_rng(2).normal(0, 0.3, clean.shape)
    record = ir.reconstruct_tilt_series(stack.astype(np.float32), angles, noise_sigma=0.3).record
    found = record["diagnostics"]
    assert found["expected_over_noise"] < 0.99
    assert record["residual_over_noise"] == pytest.approx(found["expected_over_noise"], rel=0.05)
    assert "well regularised" in found["verdict"]
