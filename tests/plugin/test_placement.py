"""Where an image lies on the pixels of another one."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image

from napari_invrecon.plugin.placement import place


def layer(shape, **placed):
    return Image(np.zeros(shape), name=f"{shape}", **placed)


def nm(side, first=(0.0, 0.0), unit="nm"):
    return {"scale": (side, side), "translate": first, "units": (unit, unit)}


def bowl(shape, side, first):
    """y² + 3 y x in nm, at pixel centres."""
    y, x = (at + side * np.arange(n) for n, at in zip(shape, first, strict=True))
    return y[:, None] ** 2 + 3 * y[:, None] * x


def test_same_pixels():
    found = place(layer((6, 8), **nm(0.5)), layer((6, 8), **nm(0.5)))
    assert (found.times, found.start) == (1, (0, 0))
    image = np.arange(48.0).reshape(6, 8)
    np.testing.assert_array_equal(found.read(image), image)
    assert found.describe((6, 8)) == "on the maps' pixels"


def test_a_finer_and_larger_image_is_cut_in_whole_blocks():
    fine = bowl((60, 60), 0.25, (0.0, 0.0))
    # The maps' first pixel covers the image's pixels 8 to 11 and 20 to 23: its centre is at pixel 9.5, 21.5.
    grid = layer((5, 7), **nm(1.0, (9.5 * 0.25, 21.5 * 0.25)))
    found = place(Image(fine, **nm(0.25)), grid)
    assert (found.times, found.start) == (4, (8, 20))
    np.testing.assert_array_equal(found.read(fine), fine[8:28, 20:48])


def test_micrometres_and_nanometres_are_one_length():
    found = place(layer((12, 16), **nm(0.5e-3, (-0.25e-3, -0.25e-3), "um")), layer((6, 8), **nm(1.0)))
    assert (found.times, found.start) == (2, (0, 0))


def test_calibrations_that_differ_a_little_are_one_grid_and_those_that_differ_more_are_not():
    grid = layer((64, 64), **nm(0.771))
    assert place(layer((64, 64), **nm(0.774)), grid).start == (0, 0)
    assert place(layer((64, 64), **nm(0.85)), grid).start is None


def test_other_pixels_are_interpolated_at_their_place():
    first, side, at = (0.0, 0.0), 0.3, (2.0, 3.0)
    image = bowl((40, 50), side, first)
    grid = layer((6, 8), **nm(1.0, at))
    found = place(Image(image, **nm(side)), grid)
    assert (found.times, found.start) == (3, None)
    read = found.read(image)
    assert read.shape == (18, 24)
    wanted = bowl((18, 24), 1 / 3, (at[0] - 1 / 3, at[1] - 1 / 3))
    np.testing.assert_allclose(read, wanted, atol=0.05)  # between pixels 0.3 nm apart: y'' h²/8 = 0.02, and h²/8·6


def test_where_the_image_does_not_reach_it_is_unknown():
    image = np.ones((40, 30), np.float32)
    read = place(Image(image, **nm(0.3)), layer((12, 12), **nm(1.0))).read(image)
    assert np.isfinite(read[6, 6])
    assert np.isnan(read[:, -1]).all()


def test_a_turned_image_is_turned_back():
    side = 0.25
    image = bowl((80, 80), side, (0.0, 0.0))
    turned = Image(image, rotate=30, **nm(side))
    middle = np.asarray(turned.data_to_world((40, 40)))
    grid = layer((4, 4), **nm(1.0, tuple(middle - 1.5)))
    read = place(turned, grid).read(image)
    assert read.shape == (16, 16)
    blocks = read.reshape(4, 4, 4, 4).mean((1, 3))
    for pixel in ((0, 0), (3, 1)):
        y, x = np.asarray(turned.world_to_data(grid.data_to_world(pixel))) * side
        assert blocks[pixel] == pytest.approx(y**2 + 3 * y * x, rel=0.02)


def test_without_calibration_whole_multiples_show_one_field():
    found = place(layer((1568, 192)), layer((49, 6)))
    assert (found.times, found.start) == (32, (0, 0))
    assert found.describe((1568, 192)) == "32 × finer than the maps"


@pytest.mark.parametrize(
    ("image", "grid", "why"),
    [
        (layer((12, 16), **nm(1.0)), layer((13, 16)), "no whole multiple: give both a scale in nm"),
        (layer((12, 16), **nm(1.0)), layer((12, 16), **nm(1.0, (8, 0))), "shows 35 % of the field"),
        (layer((12, 16), **nm(1.0)), layer((12, 16), **nm(1.0, (99, 0))), "shows 0 % of the field"),
    ],
)
def test_images_of_other_fields_are_refused(image, grid, why):
    with pytest.raises(ValueError, match=why):
        place(image, grid)
