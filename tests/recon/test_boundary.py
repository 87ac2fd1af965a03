"""Frames: sizes, places, and continuation without jumps."""

import numpy as np
import pytest

from napari_invrecon.recon.boundary import mirror, mirror_frame, open_frame, periodic_frame


@pytest.mark.parametrize("shape", [(64,), (50, 61), (7, 1), (12, 13, 14)])
@pytest.mark.parametrize("margin", [0, 3, 40])
def test_mirror_keeps_the_image_and_reflects_it(shape, margin):
    y = np.random.default_rng(0).random(shape).astype(np.float32)
    frame = mirror_frame(shape, ((margin, margin),) * len(shape))
    field = mirror(y, frame)
    assert field.shape == frame.shape
    np.testing.assert_array_equal(frame.crop(field), y)
    low = min(margin, frame.before[0])
    if low and len(shape) == 1:
        np.testing.assert_array_equal(field[frame.before[0] - low : frame.before[0]], y[:low][::-1])


def test_the_ends_meet_without_a_jump():
    y = np.linspace(0, 1, 200, dtype=np.float32)
    for margin in (10, 60, 150):
        field = mirror(y, mirror_frame((200,), ((margin, margin),)))
        assert np.abs(np.diff(np.append(field, field[0]))).max() < 0.15


def test_leading_axes_are_kept():
    y = np.random.default_rng(0).random((3, 2, 20, 30)).astype(np.float32)
    frame = mirror_frame((20, 30), ((4, 4), (4, 4)))
    for k in range(3):
        np.testing.assert_array_equal(mirror(y, frame)[k, 1], mirror(y[k, 1], frame))


@pytest.mark.parametrize("psf_shape", [(9, 9), (4, 7), (1, 3)])
def test_open_frame_has_room_for_the_psf_on_both_sides(psf_shape):
    frame = open_frame((30, 40), psf_shape)
    for p, n, size, before in zip(psf_shape, frame.inner, frame.shape, frame.before, strict=True):
        assert before == max(p // 2, 3)
        assert size - n - before >= before + 8


def test_an_axis_of_one_pixel_needs_no_room():
    frame = open_frame((1, 40), (1, 9))
    assert (frame.shape[0], frame.before) == (1, (0, 4))


def test_periodic_frame_changes_nothing():
    y = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    np.testing.assert_array_equal(mirror(y, periodic_frame(y.shape)), y)
