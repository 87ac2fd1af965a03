"""Shapes and labels as masks of an image's pixels, wherever the layers lie."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels, Shapes

from napari_invrecon.plugin.regions import region

RECTANGLE = np.array([[10, 20], [10, 40], [30, 40], [30, 20]], float)


def lies(mask):
    """Rows and columns of the smallest box around what is True."""
    rows, columns = np.nonzero(mask)
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_a_rectangle_on_an_image_of_the_same_grid():
    mask = region(Shapes([RECTANGLE], shape_type="rectangle"), Image(np.zeros((64, 80)))).mask()
    assert mask.shape == (64, 80)
    assert lies(mask) == pytest.approx((10, 30, 20, 40), abs=1)
    assert mask.sum() == pytest.approx(400, rel=0.12)


def test_a_shape_drawn_in_nm_on_an_image_of_other_pixels_that_lies_elsewhere():
    image = Image(np.zeros((3, 1, 64, 80)), scale=(1, 1, 0.5, 0.5), translate=(0, 0, 5, 10))
    shapes = Shapes([RECTANGLE / 2 + (5, 10)], shape_type="rectangle", scale=(2, 2), translate=(-5, -10))
    # In the world: 2·(v/2 + (5, 10)) + (−5, −10) = v + (5, 10); in pixels of 0.5 from (5, 10): 2·v.
    assert lies(region(shapes, image).mask()) == pytest.approx((20, 60, 40, 79), abs=1)


def test_an_ellipse_and_a_polygon_and_no_line():
    box = np.array([[10, 10], [10, 50], [30, 50], [30, 10]], float)
    shapes = Shapes([box], shape_type="ellipse")
    assert region(shapes, Image(np.zeros((64, 64)))).mask().sum() == pytest.approx(np.pi * 10 * 20, rel=0.03)
    shapes.add([np.array([[40, 40], [60, 40], [60, 60]])], shape_type="polygon")
    shapes.add([np.array([[0, 0], [5, 60]])], shape_type="line")
    mask = region(shapes, Image(np.zeros((64, 64)))).mask()
    assert mask.sum() == pytest.approx(np.pi * 10 * 20 + 200, rel=0.05)
    assert not mask[:5].any()


def test_a_turned_image():
    angle = np.deg2rad(90)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    image = Image(np.zeros((64, 80)), rotate=turn)
    shapes = Shapes([RECTANGLE @ turn.T], shape_type="polygon")
    assert lies(region(shapes, image).mask()) == pytest.approx((10, 30, 20, 40), abs=1)


def test_labels_of_another_pixel_size():
    labels = np.zeros((16, 20), int)
    labels[2:4, 5:10] = 3
    mask = region(Labels(labels, scale=(4, 4), translate=(1.5, 1.5)), Image(np.zeros((64, 80)))).mask()
    expected = np.repeat(np.repeat(labels > 0, 4, axis=0), 4, axis=1)
    np.testing.assert_array_equal(mask, expected)


def test_labels_of_one_plane_and_of_several():
    labels = np.zeros((1, 32, 32), int)
    labels[0, 4, 5] = 1
    assert np.argwhere(region(Labels(labels), Image(np.zeros((1, 32, 32)))).mask()).tolist() == [[4, 5]]
    with pytest.raises(ValueError, match="expected one plane"):
        region(Labels(np.zeros((2, 32, 32), int)), Image(np.zeros((32, 32))))


@pytest.mark.parametrize(
    "layer",
    [
        Shapes(name="vacuum"),
        Shapes([RECTANGLE + 500], shape_type="rectangle", name="vacuum"),
        Shapes([RECTANGLE[:2]], shape_type="line", name="vacuum"),
        Labels(np.zeros((8, 8), int), name="vacuum"),
    ],
)
def test_nothing_over_the_image(layer):
    with pytest.raises(ValueError, match=r"'vacuum' has .* over the image: draw"):
        region(layer, Image(np.zeros((64, 64)))).mask()


def test_equal_outlines_are_equal():
    image, layer = Image(np.zeros((64, 64))), Shapes([RECTANGLE], shape_type="rectangle")
    assert region(layer, image) == region(layer, image)
    layer.data = [RECTANGLE + 1]
    assert region(layer, image) != region(Shapes([RECTANGLE], shape_type="rectangle"), image)
