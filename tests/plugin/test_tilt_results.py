"""Where a volume and a tilt axis lie, against the geometry's definition."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image

from napari_invrecon.plugin.tilt_axis import ends
from napari_invrecon.plugin.tilt_results import describe_stack, volume_display, volume_place


def stack(shape=(5, 1, 40, 30), scale=(2.0, 0.5, 0.5, 0.5), translate=(-4.0, 0.0, 10.0, 20.0), **more):
    units = ("degree", "nm", "nm", "nm")
    return Image(np.zeros(shape), scale=scale, translate=translate, units=units, contrast_limits=(0, 1), **more)


def corner(place, scale, index):
    return np.array(place) + np.array(scale) * np.array(index)


@pytest.mark.parametrize("axis", ["y", "x"])
@pytest.mark.parametrize("shift", [0.0, 3.0])
@pytest.mark.parametrize("binning", [1, 2])
@pytest.mark.parametrize("first", [0, 4])
def test_a_volume_lies_where_its_projection_at_zero_tilt_shows_it(axis, shift, binning, first):
    plane = describe_stack(stack()).plane
    ny, nx = plane.shape
    shape = (16, (ny - first) // binning, 24) if axis == "y" else (16, 24, (nx - first) // binning)
    scale, place = volume_place(plane, shape, axis, shift, binning, first)
    assert scale == (0.5 * binning,) * 3
    # The middle of the volume across the axis projects to the middle of the images plus the shift: u = x + shift.
    middle = corner(place, scale, [(n - 1) / 2 for n in shape])
    across, along = (2, 1) if axis == "y" else (1, 2)
    expected = {1: 10.0 + 0.5 * ((ny - 1) / 2), 2: 20.0 + 0.5 * ((nx - 1) / 2)}
    assert middle[across] == pytest.approx(expected[across] + 0.5 * shift)
    assert middle[along] == pytest.approx(expected[along] + 0.5 * first / 2)
    assert middle[0] == pytest.approx(0.0), "z is centred on the plane of the stack"
    # The first voxel along the axis covers the first chosen pixels: their outer edges coincide.
    edge = place[along] - 0.5 * scale[along]
    assert edge == pytest.approx({1: 10.0, 2: 20.0}[along] - 0.25 + 0.5 * first)


def test_other_lengths_become_nm_and_uncalibrated_stays_so():
    layer = Image(
        np.zeros((5, 4, 6)),
        scale=(1, 2, 2),
        translate=(0, 10, 20),
        units=("degree", "pm", "pm"),
        contrast_limits=(0, 1),
    )
    plane = describe_stack(layer).plane
    assert plane.scale == pytest.approx((0.002, 0.002))
    assert plane.origin == pytest.approx((0.01, 0.02))
    assert plane.unit == "nm"
    plain = describe_stack(Image(np.zeros((5, 4, 6)), contrast_limits=(0, 1))).plane
    assert plain.unit == "pixel"
    shown = volume_display((2, 6, 4, 6), {"tilt_axis": "y", "axis_shift_px": 0.0, "bin": 1, "first_slice": 0}, plain)
    assert shown["axis_labels"] == ("channel", "z", "y", "x")
    assert shown["units"] == ("pixel",) * 4
    assert shown["translate"] == (0.0, -2.5, 0.0, 0.0)


def test_the_axis_is_drawn_through_the_middle_and_moves_with_shift_and_rotation():
    (y0, x0), (y1, x1) = ends((40, 30), "y", 0.0, 0.0)
    assert (x0, x1) == (14.5, 14.5)
    assert (y0, y1) == (-0.5, 39.5)
    np.testing.assert_allclose(ends((40, 30), "y", 3.0, 0.0)[:, 1], 17.5)
    np.testing.assert_allclose(ends((40, 30), "x", 3.0, 0.0)[:, 0], 22.5)
    (y0, x0), (y1, x1) = ends((40, 30), "y", 0.0, 5.0)
    assert y1 > y0
    # From +x towards +y: the +y direction (90°) turns to 95°, so its end moves to smaller x.
    assert np.rad2deg(np.arctan2(y1 - y0, x1 - x0)) == pytest.approx(95.0)
    (y0, x0), (y1, x1) = ends((40, 30), "x", 0.0, 5.0)
    assert np.rad2deg(np.arctan2(y1 - y0, x1 - x0)) == pytest.approx(5.0)
