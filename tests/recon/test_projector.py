"""The projector against its definition, against line integrals in closed form, and against its own transpose."""

import numpy as np
import pytest

from napari_invrecon.recon.projector import Geometry, adjoint, forward

GEOMETRIES = {
    "usual": Geometry(np.arange(-70, 71, 20.0), (24, 24), 24, 0.0),
    "right angles": Geometry([-90.0, 0.0, 90.0, 180.0, 45.0, -45.0, 135.0], (17, 21), 19, 0.0),
    "thin": Geometry([-61.3, 3.1, 88.7], (5, 40), 31, 1.37),
    "thick, wide detector": Geometry([-90.0, -33.0, 12.5, 70.0], (37, 6), 64, [0.5, -2.25, 40.0, 1e3]),
    "one row": Geometry([0.0, 30.0, 90.0], (1, 9), 9, 0.25),
    "one column": Geometry([0.0, 30.0, 90.0], (9, 1), 9, -0.25),
    "one pixel": Geometry([12.0, 45.0], (1, 1), 3, 0.1),
    "one tilt": Geometry([23.0], (16, 16), 16, 0.0),
}
SLICES = (1, 2, 7, 16, 33, 70)


def matrix(geometry):
    """H from its definition, in double precision: (n_tilt, n_u, nz, nx)."""
    (nz, nx), n_u = geometry.volume, geometry.detector
    theta = np.deg2rad(geometry.angles_deg)[:, None, None, None]
    z, x = np.arange(nz)[:, None] - (nz - 1) / 2, np.arange(nx) - (nx - 1) / 2
    u = np.arange(n_u)[:, None, None] - (n_u - 1) / 2
    m = np.maximum(abs(np.cos(theta)), abs(np.sin(theta)))
    lands = x * np.cos(theta) + z * np.sin(theta) + geometry.axis_shift_px[:, None, None, None]
    return np.maximum(0, 1 - abs(u - lands) / m) / m


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("ny", SLICES)
def test_forward_and_adjoint_are_the_definition(name, ny):
    geometry = GEOMETRIES[name]
    rng = np.random.default_rng(1)
    H = matrix(geometry)
    x = rng.standard_normal((*geometry.volume, ny)).astype(np.float32)
    y = rng.standard_normal((*H.shape[:2], ny)).astype(np.float32)
    np.testing.assert_allclose(forward(geometry, x), np.einsum("tuzx,zxy->tuy", H, x), atol=2e-5)
    np.testing.assert_allclose(adjoint(geometry, y), np.einsum("tuzx,tuy->zxy", H, y), atol=2e-5)
