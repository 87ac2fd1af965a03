"""Contrast limits of a layer from a sample of its data, so that opening a large file reads little of it."""

from __future__ import annotations

from typing import Any

import numpy as np

_PIXELS = 512  # per axis of a plane
_SAMPLE = 2**20  # values, unless three planes are more
_PERCENTILES = (0.1, 99.9)


def contrast_limits(data: Any) -> tuple[float, float]:
    """The 0.1 and 99.9 percentiles of the finite values in a few planes: a hot pixel does not darken the picture.

    Where these are equal, as in a map of few counts, the sample's extremes; (0, 1) for constant and empty data.
    """
    sample = _sample(data)
    values = sample[np.isfinite(sample)]
    if values.size == 0:
        return (0.0, 1.0)
    low, high = np.percentile(values, _PERCENTILES)
    if not low < high:
        low, high = values.min(), values.max()
    return (float(low), float(high)) if low < high else (float(low), float(low) + 1.0)


def _sample(data: Any) -> np.ndarray:
    """Planes spread over the leading axis, thinned; of a spectrum all of it. float64, one dimension."""
    if data.ndim < 2:
        return np.asarray(data, np.float64)
    thinning = tuple(slice(None, None, max(1, n // _PIXELS)) for n in data.shape[-2:])
    if data.ndim == 2:
        return np.asarray(data[thinning], np.float64).ravel()
    # A block of a lazy array is slow to get, and large; planes of a small image are many in a spectrum image.
    wanted = 3 if not isinstance(data, np.ndarray) else max(3, _SAMPLE // (data.shape[-2] * data.shape[-1]))
    places = np.unique(np.linspace(0, data.shape[0] - 1, min(wanted, 64) + 2).round().astype(int)[1:-1])
    return np.concatenate([np.asarray(data[(place, ..., *thinning)], np.float64).ravel() for place in places])
