"""Contrast limits from a small sample."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_invrecon.plugin.contrast import contrast_limits


def test_a_hot_pixel_does_not_darken_the_picture() -> None:
    image = np.random.default_rng(0).normal(100, 10, (300, 300))
    image[5, 5] = 1e6
    low, high = contrast_limits(image)
    assert 60 < low < 80
    assert 120 < high < 140


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (np.full((3, 4), np.nan), (0.0, 1.0)),
        (np.array([[np.nan, np.inf], [1.0, 3.0]]), (1.002, 2.998)),
        (np.full((3, 4), 7, np.uint8), (7.0, 8.0)),
        (np.eye(100, dtype=np.uint8)[:, :50] * 0 + (np.arange(50) == 3) * np.eye(100, 1, dtype=np.uint8), (0.0, 1.0)),
        (np.arange(1001.0), (1.0, 999.0)),
        (np.zeros((4, 0)), (0.0, 1.0)),
    ],
)
def test_awkward_data(data: np.ndarray, limits: tuple[float, float]) -> None:
    assert contrast_limits(data) == pytest.approx(limits)


def test_of_a_lazy_stack_three_planes_are_read() -> None:
    read: list[int] = []

    def plane(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        read.append(block_info[0]["chunk-location"][0])
        return block

    stack = da.ones((100, 64, 64), chunks=(1, -1, -1)).map_blocks(plane, dtype=float, meta=np.empty((0, 0, 0)))
    contrast_limits(stack)
    assert sorted(read) == [25, 50, 74]


def test_of_a_spectrum_image_many_planes_are_looked_at() -> None:
    spectra = np.zeros((1000, 8, 8))
    spectra[400:600] = 50
    assert contrast_limits(spectra) == (0.0, 50.0)
