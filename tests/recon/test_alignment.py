import json
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from drifting_series import drift, drifting_series, needle, rms, shift_errors
from scipy import ndimage
from tilt_phantoms import Ellipsoid

from napari_invrecon.recon.alignment import Alignment, AlignmentSettings, align, alignment, apply_alignment

ANGLES = np.arange(-68.0, 69.0, 4.0)
SIZE = 48
ROTATION = 2.5
DRIFT = drift(len(ANGLES), 3.0, seed=1)


@pytest.fixture(scope="module")
def series():
    return drifting_series(needle(1), ANGLES, SIZE, DRIFT, ROTATION, noise=0.02)


@pytest.fixture(scope="module")
def found(series):
    return align(series, ANGLES)


def along_across(found, true=DRIFT, angles=ANGLES):
    return rms(shift_errors(found.shifts_px[found.used], true[found.used], angles[found.used]))


def asked_to_finish(steps):
    """(the last iterate's x, the result), asking at every yield."""
    last = None
    while True:
        try:
            last = steps.send(True).x
        except StopIteration as end:
            return last, end.value


def no_alignment(shape=(9, 20, 24), **changes):
    n = shape[0]
    nothing = Alignment(
        shifts_px=np.zeros((n, 2)),
        axis_rotation_deg=0.0,
        axis_shift_px=0.0,
        intensity=np.ones(n),
        used=np.ones(n, bool),
        angles_deg=np.linspace(-40, 40, n),
        tilt_axis="y",
        shape=shape[1:],
        background=0.0,
        residual=np.full(n, np.nan),
    )
    return replace(nothing, **changes)


def test_drift_and_axis_are_found(found):
    along, across = along_across(found)
    assert across < 0.1
    assert along < 0.15
    assert found.axis_rotation_deg == pytest.approx(ROTATION, abs=0.3)
    assert found.used.all()
    assert np.array_equal(found.angles_deg, ANGLES)
    assert [stage["stage"] for stage in found.stages][:2] == ["cross-correlation", "centre of mass and common line"]


@pytest.mark.parametrize(("method", "limit_px"), [("cross-correlation", 1.0), ("centre-of-mass", 0.3)])
def test_every_stage_comes_nearer(series, found, method, limit_px):
    errors = along_across(align(series, ANGLES, method=method))
    assert max(errors) < limit_px
    assert np.all(errors > along_across(found))


def test_pedestal_scale_and_order_do_not_matter(series, found):
    order = np.random.default_rng(3).permutation(len(ANGLES))
    counts = np.round(series * 400 - 31908).astype(np.int16)
    before = counts.copy()
    again = align(counts[order], ANGLES[order])
    assert again.background == pytest.approx(-31908, abs=float(400 * 0.02 * series.max()))
    assert np.array_equal(again.angles_deg, ANGLES[order])
    assert np.abs(again.shifts_px - found.shifts_px[order]).max() < 0.05
    assert again.axis_rotation_deg == pytest.approx(found.axis_rotation_deg, abs=0.05)
    assert np.array_equal(counts, before)


def test_axis_along_x_is_the_transposed_problem(series, found):
    turned = align(series.swapaxes(1, 2), ANGLES, tilt_axis="x")
    assert np.abs(turned.shifts_px[:, ::-1] - found.shifts_px).max() < 0.02
    assert turned.axis_rotation_deg == pytest.approx(-found.axis_rotation_deg, abs=0.02)


def test_what_is_aligned_stays(series, found):
    again = align(apply_alignment(series, found), ANGLES)
    assert rms(again.shifts_px).max() < 0.1
    assert abs(again.axis_rotation_deg) < 0.2


def test_an_axis_beside_the_centre_is_centred_or_said():
    angles = np.arange(-76.0, 77.0, 4.0)
    true = np.full((len(angles), 2), [0.0, -3.0])
    stack = drifting_series(needle(2), angles, SIZE, true)
    centred = align(stack, angles)
    assert centred.axis_shift_px == 0
    assert along_across(centred, true, angles)[1] < 0.15
    left = align(stack, angles, centre_axis=False)
    assert left.axis_shift_px == pytest.approx(3.0, abs=0.3)
    assert np.abs(left.shifts_px).max() < 0.3


def test_bad_and_blank_tilts_are_left_out_and_the_others_do_not_suffer(series):
    stack = series.copy()
    stack[5] = stack[5, ::-1]
    stack[12] = 0
    stack[20] = np.nan
    stack[25, 4:7, 30:34] = np.nan
    found = align(stack, ANGLES)
    assert np.flatnonzero(~found.used).tolist() == [5, 12, 20]
    assert max(along_across(found)) < 0.15
    assert np.isfinite(found.shifts_px).all()
    holes = np.isnan(apply_alignment(stack, found)[:, 16:-16, 16:-16])
    assert holes[20].all()
    assert np.flatnonzero(holes.any(axis=(1, 2))).tolist() in ([20], [20, 25])
    assert align(stack, ANGLES, exclude_bad=False).used.sum() == len(ANGLES) - 2


def test_a_drifting_beam_current_is_taken_out(series):
    current = np.random.default_rng(4).uniform(0.7, 1.3, len(ANGLES))
    stack = series * current[:, None, None].astype(np.float32) + np.float32(50)
    found = align(stack, ANGLES, normalise=True)
    assert np.std(found.intensity / current) / np.mean(found.intensity / current) < 0.03
    mass = np.nansum((apply_alignment(stack, found) - found.background)[:, 20:-8], axis=(1, 2))
    assert mass.std() / mass.mean() < 0.03
    assert (align(stack, ANGLES, method="centre-of-mass").intensity == 1).all()


def test_an_object_that_fills_the_field_has_no_centre_of_mass():
    rng = np.random.default_rng(5)
    slab = [Ellipsoid(0.1, np.zeros(3), np.array([6.0, 6.0, 0.15]), np.eye(3))]
    for _ in range(60):
        centre = rng.uniform(-1, 1, 3) * [1.3, 1.0, 0.12]
        slab.append(Ellipsoid(rng.uniform(0.5, 1), centre, rng.uniform(0.04, 0.09, 3), np.eye(3)))
    angles = np.arange(-50.0, 51.0, 4.0)
    true = drift(len(angles), 3.0, seed=6)
    found = align(drifting_series(slab, angles, SIZE, true), angles, axis_rotation_deg=0.0)
    assert not found.stages[1]["centre_of_mass"]
    assert max(along_across(found, true, angles)) < 1.0


def test_images_of_nothing_are_aligned_without_a_warning():
    noise = np.random.default_rng(0).poisson(50, (21, 16, 32))
    assert np.isfinite(align(noise, np.linspace(-60, 60, 21)).intensity).all()


def test_large_images_are_binned_about_their_middle():
    angles = ANGLES[::3]
    small = drifting_series(needle(1), angles, SIZE, DRIFT[::3])
    large = ndimage.zoom(small, (1, 11, 11), order=1)[:, :, :512]
    settings = {"method": "centre-of-mass", "centre_axis": False, "axis_rotation_deg": 0.0}
    whole = align(da.from_array(large, chunks=(1, -1, -1)), angles, **settings)
    cropped = align(large[:, :, :511], angles, **settings)
    assert cropped.axis_shift_px == pytest.approx(whole.axis_shift_px + 0.5, abs=0.2)
    along, _ = along_across(whole, 527 / 47 * DRIFT[::3], angles)
    assert along < 0.5


def test_a_rotation_that_is_given_is_kept(series):
    given = align(series, ANGLES, axis_rotation_deg=ROTATION)
    assert given.axis_rotation_deg == ROTATION
    assert max(along_across(given)) < 0.15


def test_every_step_can_be_followed_and_stopped(series):
    steps = alignment(series, ANGLES, AlignmentSettings())
    stages = [next(steps).stage for _ in range(11)]
    assert [stage.split(" 1 ")[0] for stage in (stages[0], stages[1], stages[3], stages[6], stages[9])] == [
        "reading",
        "cross-correlation",
        "centre of mass",
        "centre of mass of the object",
        "projection matching",
    ]
    so_far, ended = asked_to_finish(steps)
    assert isinstance(so_far, Alignment)
    assert max(along_across(ended)) < 0.3


@pytest.mark.parametrize("asked_after", [1, 2, 4])
def test_stopping_early_gives_what_there_is(series, asked_after):
    steps = alignment(series, ANGLES, AlignmentSettings())
    for _ in range(asked_after):
        next(steps)
    _, ended = asked_to_finish(steps)
    assert ended.shifts_px.shape == DRIFT.shape


def test_an_image_moves_by_dy_dx_and_turns_from_y_towards_x():
    image = np.zeros((1, 21, 31), np.float32)
    image[0, 10, 15] = 1
    shifted = apply_alignment(image, no_alignment((1, 21, 31), shifts_px=np.array([[2.0, -3.0]])))
    assert np.unravel_index(np.nanargmax(shifted[0]), (21, 31)) == (12, 12)
    # A point on an axis that is turned by +30° from y, away from +x: in the middle column once it is straight.
    image = np.zeros((1, 41, 41), np.float32)
    phi = np.deg2rad(30)
    image[0, 20 + round(14 * np.cos(phi)), 20 - round(14 * np.sin(phi))] = 1
    straight = apply_alignment(image, no_alignment((1, 41, 41), axis_rotation_deg=30.0))
    assert np.unravel_index(np.nanargmax(straight[0]), (41, 41)) == (34, 20)


def test_transforms_say_where_points_go():
    found = no_alignment((1, 41, 41), axis_rotation_deg=20.0, shifts_px=np.array([[3.0, -2.0]]))
    a11, a12, a21, a22, dx, dy = found.transforms()[0]
    x, y = 8, -6
    image = np.zeros((1, 41, 41), np.float32)
    image[0, 20 + y, 20 + x] = 1
    moved = np.nan_to_num(apply_alignment(image, found)[0])
    rows, columns = np.mgrid[:41, :41] - 20
    assert (moved * columns).sum() / moved.sum() == pytest.approx(a11 * x + a12 * y + dx, abs=0.1)
    assert (moved * rows).sum() / moved.sum() == pytest.approx(a21 * x + a22 * y + dy, abs=0.1)


def test_maps_in_larger_pixels_are_moved_by_as_much_of_the_field():
    angles = np.linspace(-40, 40, 5)
    true = drift(5, 4.0, seed=7)
    fine = drifting_series(needle(1), angles, 96, true, 3.0)
    maps = fine.reshape(5, 48, 2, 48, 2).mean(axis=(2, 4))
    found = no_alignment(fine.shape, shifts_px=true, axis_rotation_deg=3.0, background=7.0, intensity=np.full(5, 2.0))
    expected = apply_alignment(fine, replace(found, background=0.0), normalise=False)
    expected = expected.reshape(5, 48, 2, 48, 2).mean(axis=(2, 4))
    aligned = apply_alignment(np.stack([maps, 3 * maps]), found, normalise=False)
    assert aligned.shape == (2, 5, 48, 48)
    assert aligned.dtype == np.float32
    assert rms((aligned[0] - expected)[:, 4:-4, 4:-4].ravel()) < 0.01 * np.nanmax(expected)
    np.testing.assert_allclose(aligned[1], 3 * aligned[0], atol=1e-4 * np.nanmax(expected))


@pytest.mark.parametrize("lead", [(), (2,)])
def test_a_lazy_stack_stays_lazy_and_comes_out_the_same(series, found, lead):
    stack = np.broadcast_to(series, (*lead, *series.shape))
    lazy = apply_alignment(da.from_array(stack, chunks=(*(1,) * len(lead), 8, 20, 30)), found)
    assert isinstance(lazy, da.Array)
    assert lazy.dtype == np.float32
    np.testing.assert_array_equal(lazy.compute(), apply_alignment(stack, found))


def test_what_was_not_measured_is_nan():
    stack = np.full((3, 20, 24), -31900, np.float32)
    stack[:, 8:12, 10:14] = 100
    stack[1, 2, 3] = np.nan
    shifts = np.array([[6.0, 6.0], [-4.0, 0.0], [0.0, 0.0]])
    for background in (-31900.0, None):
        found = no_alignment(stack.shape, shifts_px=shifts, background=background)
        aligned = apply_alignment(stack, found)
        assert aligned[0, 15, 17] == pytest.approx(100, rel=0.1)
        holes = np.isnan(aligned)
        assert np.array_equal(holes[0], (np.arange(20)[:, None] < 6) | (np.arange(24) < 6))
        assert holes[1, 16:].all()
        assert not holes[1, 1:16].any(), "the pixel that was not finite has left the field"
        assert not holes[2].any()
    stack[1, 12, 3] = np.inf
    holes = np.isnan(apply_alignment(stack, found)[1, :16])
    assert holes[8, 3]
    assert holes.sum() < 40


def test_a_summary_is_json_and_comes_back(found):
    back = Alignment.from_summary(json.loads(json.dumps(found.summary(), allow_nan=False)))
    assert back.summary() == found.summary()
    assert np.array_equal(back.shifts_px, found.shifts_px)
    unknown = no_alignment()
    assert np.isnan(Alignment.from_summary(unknown.summary()).residual).all()
    with pytest.raises(ValueError, match="no entry 'used'"):
        Alignment.from_summary({name: value for name, value in found.summary().items() if name != "used"})
    with pytest.raises(ValueError, match="entries"):
        Alignment.from_summary(found.summary() | {"used": [True]})


def test_transforms_come_back(found):
    back = Alignment.from_transforms(found.transforms(), ANGLES, found.shape)
    np.testing.assert_allclose(back.shifts_px, found.shifts_px)
    assert back.axis_rotation_deg == pytest.approx(found.axis_rotation_deg)
    stretched = found.transforms()
    stretched[3, 0] *= 1.02
    with pytest.raises(ValueError, match="magnification"):
        Alignment.from_transforms(stretched, ANGLES, found.shape)
    with pytest.raises(ValueError, match="34 tilt angles"):
        Alignment.from_transforms(found.transforms(), ANGLES[:-1], found.shape)


@pytest.mark.parametrize(
    ("stack", "angles", "said"),
    [
        (np.ones((5, 32, 32)), np.arange(4), "4 tilt angles, but 5 images"),
        (np.ones((5, 32, 32)), np.arange(5) * 10, "0 of 5 tilts have anything"),
        (np.random.default_rng(0).random((1, 32, 32)), [0.0], "1 of 1 tilts have anything"),
        (np.random.default_rng(0).random((2, 32, 32)), [0.0, 5.0], "at least three"),
        (np.random.default_rng(0).random((5, 32, 32)), [3.0] * 5, "over 0°"),
        (np.random.default_rng(0).random((5, 32, 32)), [0, 1, 2, 3, np.nan], "not a finite number"),
        (np.random.default_rng(0).random((5, 32, 9)), np.arange(5) * 10, "at least 16"),
        (np.ones((5, 32, 32), complex), np.arange(5) * 10, "real stack"),
        (np.ones((32, 32)), np.arange(32), "real stack"),
        (np.full((5, 32, 32), np.nan), np.arange(5) * 10, "0 of 5 tilts"),
    ],
)
def test_what_cannot_be_aligned_is_refused(stack, angles, said):
    with pytest.raises(ValueError, match=said):
        align(stack, angles)


def test_three_noisy_tilts_and_odd_sizes_get_through():
    stack = np.random.default_rng(8).random((3, 33, 47)).astype(np.float32)
    found = align(stack, [-30.0, 0.0, 30.0], n_iter=2)
    assert np.isfinite(found.shifts_px).all()
    assert apply_alignment(stack, found).shape == stack.shape


def test_another_number_of_tilts_is_refused(found):
    with pytest.raises(ValueError, match=f"{len(ANGLES)} tilts"):
        apply_alignment(np.zeros((4, SIZE, SIZE)), found)
