"""The projector against its definition, against line integrals in closed form, and against its own transpose."""

import numpy as np
import pytest
from phantoms import rmse
from tilt_phantoms import line_integrals, particles, voxels

from napari_invrecon.recon.projector import (
    Geometry,
    adjoint,
    forward,
    parallel_beam,
    projector_norm,
    slices_innermost,
)

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


def dot(a, b):
    return float(np.sum(a.astype(np.float64) * b))


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("ny", [1, 5, 40])
def test_adjoint_is_the_transpose(name, ny):
    geometry = GEOMETRIES[name]
    rng = np.random.default_rng(2)
    x = rng.random((*geometry.volume, ny), np.float32)
    y = rng.random((len(geometry.angles_deg), geometry.detector, ny), np.float32)
    assert dot(forward(geometry, x), y) == pytest.approx(dot(x, adjoint(geometry, y)), rel=1e-5)


@pytest.mark.parametrize(("volume", "detector"), [((300, 150), 333), ((2, 700), 600), ((150, 300), 20)])
def test_large_and_lopsided_shapes_keep_the_transpose(volume, detector):
    rng = np.random.default_rng(3)
    geometry = Geometry(rng.uniform(-180, 180, 19), volume, detector, rng.uniform(-20, 20, 19))
    x, y = rng.random((*volume, 3), np.float32), rng.random((19, detector, 3), np.float32)
    assert dot(forward(geometry, x), y) == pytest.approx(dot(x, adjoint(geometry, y)), rel=1e-5)


@pytest.mark.parametrize("volume", [(18, 400), (400, 18)])
@pytest.mark.parametrize("angles", [[-90, -46, -44, 0], [-70, -20, 3, 31, 44.9, 45.1, 60, 88]])
def test_wide_shapes_are_the_definition(volume, angles):
    geometry = Geometry(angles, volume, 411, 0.4)
    x = np.random.default_rng(3).random((*volume, 2), np.float32)
    H = matrix(geometry).reshape(-1, np.prod(volume))
    np.testing.assert_allclose(forward(geometry, x).reshape(-1, 2), H @ x.reshape(-1, 2), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("ny", [1, 8, 45])
def test_threads_and_a_given_array_change_nothing(ny):
    geometry = GEOMETRIES["usual"]
    x = np.random.default_rng(4).random((24, 24, ny), np.float32)
    one = forward(geometry, x)
    out = np.full_like(one, np.nan)
    assert forward(geometry, x, out, threads=3) is out
    np.testing.assert_array_equal(out, one)
    back = np.full_like(x, np.nan)
    assert adjoint(geometry, one, back, threads=2) is back
    np.testing.assert_allclose(back, adjoint(geometry, one), rtol=1e-6)


def test_a_slice_does_not_depend_on_the_others():
    geometry = GEOMETRIES["usual"]
    x = np.random.default_rng(5).random((24, 24, 50), np.float32)
    np.testing.assert_allclose(forward(geometry, x)[..., 41:42], forward(geometry, x[..., 41:42].copy()), rtol=1e-5)


@pytest.mark.parametrize("tilts", [[3], [6, 0, 2], np.arange(8) % 2 == 0])
def test_a_subset_gives_the_same_projections(tilts):
    geometry = GEOMETRIES["usual"]
    x = np.random.default_rng(6).random((24, 24, 32), np.float32)
    np.testing.assert_allclose(forward(geometry.subset(tilts), x), forward(geometry, x)[tilts], rtol=1e-5, atol=1e-5)


def test_handedness():
    """A point lands at u = x cos θ + z sin θ + shift: one at +z moves to +u as the tilt grows."""
    angles, shifts = [-90.0, -30.0, 0.0, 30.0, 90.0], np.array([0, 0, 0, 0, 2.0])
    H = parallel_beam(angles, (41, 1, 41), shifts)
    at_x, at_z = np.zeros((41, 1, 41), np.float32), np.zeros((41, 1, 41), np.float32)
    at_x[20, 0, 30] = at_z[30, 0, 20] = 1
    u = np.arange(41) - 20
    cos, sin = np.cos(np.deg2rad(angles)), np.sin(np.deg2rad(angles))
    for point, expected in [(at_x, 10 * cos), (at_z, 10 * sin)]:
        image = H(point)[:, 0]
        np.testing.assert_allclose((image * u).sum(axis=1) / image.sum(axis=1), expected + shifts, atol=0.1)


def test_mass_is_kept():
    """Each projection of a smooth object that stays on the detector holds its whole mass."""
    z, x = np.mgrid[:40, :40] - 19.5
    blob = np.exp(-((z - 2) ** 2 + (x + 3) ** 2) / (2 * 3.0**2)).astype(np.float32)[:, None]
    mass = parallel_beam(np.arange(-90, 91, 7.5), (40, 1, 40))(blob).sum(axis=2)
    np.testing.assert_allclose(mass, np.full_like(mass, blob.sum()), rtol=1e-3)


def test_line_integrals_of_ellipsoids():
    """Against closed forms: the error falls with the sampling, and is small."""
    angles = np.array([-90, -67.5, -45, -20, 0, 33, 45, 71, 90])
    errors = []
    for n in (32, 64, 128):
        objects = particles(8)
        exact = line_integrals(objects, angles, 5, n, axis_shift_px=0.3 * n / 32)
        projected = parallel_beam(angles, (n, 5, n), 0.3 * n / 32)(voxels(objects, (n, 5, n)))
        errors.append(rmse(projected, exact) / exact.max())
    assert errors[0] > 1.6 * errors[1] > 1.6**2 * errors[2]
    assert errors[2] < 0.003


@pytest.mark.parametrize("name", ["usual", "right angles", "thin", "one row", "one tilt"])
def test_norm_is_the_largest_singular_value(name):
    geometry = GEOMETRIES[name]
    H = matrix(geometry).reshape(-1, np.prod(geometry.volume))
    assert projector_norm(geometry) == pytest.approx(np.linalg.norm(H, 2), rel=1e-4)


def test_norm_of_a_projector_that_sees_nothing():
    assert projector_norm(Geometry([0.0], (8, 8), 8, 1e6)) == 0


def test_parallel_beam_is_an_operator_on_public_axes():
    H = parallel_beam([-40.0, 0.0, 35.0], (6, 4, 9), detector_width=11)
    assert (H.domain_shape, H.range_shape) == ((6, 4, 9), (3, 4, 11))
    rng = np.random.default_rng(8)
    x, y = rng.random(H.domain_shape, np.float32), rng.random(H.range_shape, np.float32)
    before = x.copy()
    assert dot(H(x), y) == pytest.approx(dot(x, H.T(y)), rel=1e-5)
    np.testing.assert_array_equal(x, before)


def test_slices_innermost_and_back():
    x = np.random.default_rng(9).random((3, 70, 130), np.float32)
    turned = slices_innermost(x)
    np.testing.assert_array_equal(turned, x.swapaxes(1, 2))
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(slices_innermost(turned), x)
    np.testing.assert_array_equal(slices_innermost(x.astype(np.uint16)), np.swapaxes(x.astype(np.uint16), 1, 2))
    np.testing.assert_array_equal(slices_innermost(x[:, ::2, ::-1]), x[:, ::2, ::-1].swapaxes(1, 2))


def test_errors_name_what_was_expected():
    geometry = GEOMETRIES["usual"]
    with pytest.raises(ValueError, match=r"volume \(z, x, y\) of shape \(24, 24, 2\), not float32 \(24, 25, 2\)"):
        forward(geometry, np.zeros((24, 25, 2), np.float32))
    with pytest.raises(ValueError, match="not float64"):
        adjoint(geometry, np.zeros((8, 24, 2)))
    with pytest.raises(ValueError, match="each of the 3 tilts, not 2"):
        Geometry([1.0, 2.0, 3.0], (4, 4), 4, [0.0, 1.0])
    with pytest.raises(ValueError, match="not a finite number"):
        Geometry([1.0, np.nan], (4, 4), 4, 0.0)
    with pytest.raises(ValueError, match="list of tilt angles"):
        Geometry([], (4, 4), 4, 0.0)
    with pytest.raises(ValueError, match="expected at least one"):
        Geometry([1.0], (0, 4), 4, 0.0)
