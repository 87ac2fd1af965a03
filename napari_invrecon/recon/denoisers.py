"""R whose prox is a denoiser ("plug and play"): non-local means with frozen weights, and two heuristics.

Frozen non-local means is a linear map W v: each pixel becomes a mean over pixels whose neighbourhoods look alike on a
guide image. Kept symmetric, with rows that sum to 1 and eigenvalues in (0, 1], it is the exact prox of a quadratic R:
there is an objective, it has one minimiser, and λ is its weight.

The weights of a pixel are stored for one half of its search window, the other half follows by symmetry, as 16-bit
integers: 2 bytes × (window² − 1)/2 a pixel of an image. Kernels see every field with three axes (a, b, c), an image as
(1, y, x), and are serial over rows; rows are shared out to threads.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from napari_invrecon.recon.operators import IDENTITY, Array, fft_workers, inverse_fft
from napari_invrecon.recon.regularisers import Regulariser

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_STRENGTH = 5.0  # of R; makes the denoiser itself the prox at a step of 1/(2·5), the one that solvers.admm takes
_FLOOR = 0.01  # least eigenvalue of W, so that R is finite; far above the rounding of the stored weights
_SIMILAR = 2.5  # guide noises by which two like pixels may differ: measured, see tests/recon/test_denoisers.py
_WINDOW = {1: 61, 2: 15, 3: 5}  # pixels: the memory for a pixel is 60, 224 and 124 bytes
_PATCH = np.array([1, 4, 6, 4, 1], np.float32) / 16  # weights of a neighbourhood along each axis
_BALANCING = 12  # Sinkhorn steps
_PRECISION = 1e-5  # of a prox at another step
_ONE = 65535  # the stored weight of a pixel with itself


def frozen_nlm(guide: Array, sigma: float, *, window: int | None = None, threads: int = 1) -> Regulariser:
    """R(x) = 5 xᵀ(W⁻¹ − I)x, W non-local means with weights from the guide: like neighbourhoods hold like objects.

    w_ij = Λ(i − j) · (1 + d_ij²/8h²)⁻⁸ with d² the mean squared difference of the guide's 5-pixel neighbourhoods of i
    and j under binomial weights, h = 2.5 σ and Λ the tent that falls to zero beyond the search window. Both factors are
    positive definite, hence w is; W = DwD has row sums of 1 (Sinkhorn–Knopp), what is missing goes to the diagonal.

    The prox at step 1/10 is W v itself; at any other W((1 − t)W + tI)⁻¹v, t = 10 · step, by Chebyshev's iteration.

    Parameters
    ----------
    guide
        The image that says which neighbourhoods are alike, with one to three axes: a Tikhonov result on the field of
        the unknown, in its units. Not changed, not kept.
    sigma
        Standard deviation of the noise in the guide, see `noise_left`.
    window
        Edge of the search window in pixels, odd: 15 for images, 5 for volumes, 61 for lines if not given.
    threads
        For the kernels.

    Raises
    ------
    ValueError
        A sigma that is not positive, a window that is even or too small, a guide with NaN or with more than three axes.

    Sources: Buades, Coll & Morel 2005, doi:10.1137/040616024; symmetric weights as a prox: Sreehari et al. 2016,
    arXiv:1512.07331; Milanfar 2013, doi:10.1137/120875843.
    """
    guide = np.asarray(guide, np.float32)
    if not 1 <= guide.ndim <= 3:
        raise ValueError(f"the guide has the shape {guide.shape}: expected an image, a line or a volume")
    if not np.isfinite(guide).all():
        raise ValueError("the guide holds NaN or infinite values: expected a smooth first result, such as Tikhonov's")
    if not (np.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma is {sigma}: expected the noise of the guide, above 0; without noise use 'tikhonov'")
    window = _WINDOW[max(1, sum(n > 1 for n in guide.shape))] if window is None else window
    if window < 3 or window % 2 == 0:
        raise ValueError(f"the search window is {window} px: expected an odd number from 3 on, such as 15")
    average = _averaging(guide, _SIMILAR * sigma, window, threads)

    def prox(v: Array, step: float) -> Array:
        t = 2 * _STRENGTH * step
        return average(_solve(lambda z: np.float32(1 - t) * average(z) + np.float32(t) * z, v, t, 1.0) if t != 1 else v)

    def value(x: Array) -> float:
        rough = x - average(x)
        return _STRENGTH * (float(np.vdot(x, rough)) + _inverse_power(average, rough))

    return Regulariser(IDENTITY, value, prox)


def noise_left(gain: NDArray[Any], shape: tuple[int, ...], sigma: float) -> float:
    """Standard deviation of white noise ``sigma`` after a filter, ``gain`` on the ``rfftn`` grid of ``shape``: σ‖g‖₂.

    With gain H̄ / (|H|² + λ|L|²) it is the noise in the closed-form result at λ.
    """
    return sigma * float(np.linalg.norm(inverse_fft(gain, shape)))


def adaptive_nlm(sigma: float) -> Regulariser:
    """Prox by scikit-image's non-local means, weights anew at each call: no R is known, convergence is not assured.

    It removes noise of a standard deviation ``sigma`` at a step of 1/10, and sigma · √(10 step) at another. ``value``
    is NaN. The prox raises ValueError for lines.

    Sources: Buades, Coll & Morel 2005, doi:10.1137/040616024; plug and play: Venkatakrishnan et al. 2013,
    doi:10.1109/GlobalSIP.2013.6737048.
    """
    from skimage.restoration import denoise_nl_means

    def denoise(v: Array, level: float) -> Array:
        if v.ndim == 1:
            raise ValueError("adaptive non-local means takes images and volumes, not a line: use denoiser='frozen'")
        denoised: Array = denoise_nl_means(v, patch_size=5, patch_distance=7, h=0.8 * level, sigma=level)
        return denoised

    return _heuristic(denoise, sigma)


def bayes_shrink(sigma: float) -> Regulariser:
    """Prox by scikit-image's wavelet BayesShrink: thresholds anew at each call: no R is known.

    ``sigma`` and ``value`` as for `adaptive_nlm`. Raises ModuleNotFoundError without PyWavelets.

    Source: Chang, Yu & Vetterli 2000, doi:10.1109/83.862633.
    """
    if find_spec("pywt") is None:
        raise ModuleNotFoundError(
            "BayesShrink needs PyWavelets, which is not installed: run `python -m pip install PyWavelets`, or use the "
            "frozen non-local means",
            name="pywt",
        )
    from skimage.restoration import denoise_wavelet

    def denoise(v: Array, level: float) -> Array:
        denoised: Array = denoise_wavelet(v, sigma=level, wavelet="sym4", method="BayesShrink")
        return denoised

    return _heuristic(denoise, sigma)


def _heuristic(denoise: Callable[[Array, float], Array], sigma: float) -> Regulariser:
    if not (np.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma is {sigma}: expected the noise that the denoiser removes, above 0")

    def prox(v: Array, step: float) -> Array:
        return denoise(v, sigma * float(np.sqrt(2 * _STRENGTH * step))).astype(np.float32, copy=False)

    return Regulariser(IDENTITY, lambda x: float("nan"), prox, degree=0)


def _solve(apply: Callable[[Array], Array], v: Array, low: float, high: float) -> Array:
    """z with A z = v for a symmetric A with eigenvalues between ``low`` and ``high``, by Chebyshev's iteration.

    A fixed polynomial in A: unlike conjugate gradients, a linear and symmetric map of v.
    """
    centre, spread = (low + high) / 2, abs(high - low) / 2
    root = np.sqrt(max(low, high) / min(low, high))
    n_steps = int(np.ceil(np.log(2 / _PRECISION) / -np.log((root - 1) / (root + 1))))
    factor = spread / centre
    change = v / np.float32(centre)
    z, remainder = change.copy(), v
    for _ in range(n_steps):
        remainder = remainder - apply(change)
        following = 1 / (2 * centre / spread - factor)
        change = np.float32(following * factor) * change + np.float32(2 * following / spread) * remainder
        z += change
        factor = following
    return z


def _inverse_power(average: Callable[[Array], Array], d: Array) -> float:
    """dᵀW⁻¹d to 1e-3, by conjugate gradients, whose steps each add a positive part of it."""
    total, left = 0.0, float(np.vdot(d, d))
    remainder, direction = d, d
    while left > 0:
        image = average(direction)
        length = left / float(np.vdot(direction, image))
        total += length * left
        if length * left <= 1e-3 * total / 4:  # the rest falls at least like (9/11)²ᵏ
            break
        remainder = remainder - np.float32(length) * image
        before, left = left, float(np.vdot(remainder, remainder))
        direction = remainder + np.float32(left / before) * direction
    return total


def _averaging(guide: Array, h: float, window: int, threads: int) -> Callable[[Array], Array]:
    """v ↦ W v."""
    ndim, shape = guide.ndim, guide.shape
    field: tuple[int, ...] = (1,) * (3 - ndim) + shape
    reach = [0] * (3 - ndim) + [window // 2] * ndim
    box = itertools.product(*(range(-min(r, n - 1), min(r, n - 1) + 1) for r, n in zip(reach, field, strict=True)))
    offsets = np.array([o for o in box if o > (0, 0, 0)], np.int64).reshape(-1, 3)
    tent = np.prod(1 - np.abs(offsets) / (np.array(reach) + 1), axis=1)
    patches = [_PATCH if axis >= 3 - ndim else np.ones(1, np.float32) for axis in range(3)]
    padded = np.pad(guide.reshape(field), [(len(p) // 2,) * 2 for p in patches], mode="symmetric")
    stored = np.empty((field[0] * field[1], len(offsets), field[2]), np.uint16)
    _in_slabs(
        lambda start, stop: _weigh(
            padded, *patches, offsets, np.float32(_ONE) * tent.astype(np.float32), np.float32(1 / (8 * h * h)), stored,
            start, stop,
        ),
        len(stored), threads,
    )  # fmt: skip

    def weighted(x: Array) -> Array:
        total = np.empty(field, np.float32)
        _in_slabs(lambda start, stop: _sum_rows(stored, offsets, x, total, start, stop), len(stored), threads)
        return total

    scale = np.full(field, 1 / _ONE, np.float32)
    for _ in range(_BALANCING):
        scale = np.sqrt(scale / weighted(scale))
    rows = scale * weighted(scale)
    scale = scale * np.float32(np.sqrt((1 - _FLOOR) / rows.max()))
    rest = 1 - scale * weighted(scale)

    def average(v: Array) -> Array:
        if v.shape != shape:
            raise ValueError(
                f"the weights were frozen on a field of {shape}, the image has {v.shape}: freeze them anew"
            )
        x = v.reshape(field)
        return (scale * weighted(scale * x) + rest * x).reshape(shape)

    return average


def _in_slabs(work: Callable[[int, int], None], n_rows: int, threads: int) -> None:
    """``work(start, stop)`` over all rows, in threads."""
    limits = np.linspace(0, n_rows, min(threads, n_rows) + 1).astype(int).tolist()
    if len(limits) == 2:
        work(*limits)
    else:
        list(_slab_pool().map(work, limits[:-1], limits[1:]))


@lru_cache(maxsize=1)
def _slab_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(fft_workers(), thread_name_prefix="invrecon-nlm")


# Numba vectorises these three, whose arrays start at 0; with an index such as x[c + offset] it does not.


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _add_products(total: Any, w: Any, x: Any) -> None:
    for c in range(total.size):
        total[c] += np.float32(w[c]) * x[c]


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _add_squares(total: Any, weight: Any, one: Any, two: Any) -> None:
    for c in range(total.size):
        difference = one[c] - two[c]
        total[c] += weight * (difference * difference)


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _store(stored: Any, tent: Any, scale: Any, distance: Any) -> None:
    for c in range(stored.size):
        w = np.float32(1) / (np.float32(1) + scale * distance[c])
        w *= w
        w *= w
        stored[c] = np.uint16(tent * (w * w) + np.float32(0.5))


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _weigh(
    padded: Any,
    patch_a: Any,
    patch_b: Any,
    patch_c: Any,
    offsets: Any,
    tent: Any,
    scale: Any,
    stored: Any,
    start: int,
    stop: int,
) -> None:
    """stored[row, k, c] ← the weight of pixel (row, c) with the one ``offsets[k]`` away, 0 beyond the field."""
    na, nb = padded.shape[0] - len(patch_a) + 1, padded.shape[1] - len(patch_b) + 1
    nc, margin = padded.shape[2] - len(patch_c) + 1, len(patch_c) - 1
    columns, distance = np.empty(nc + margin, np.float32), np.empty(nc, np.float32)
    across = np.empty((len(patch_c), nc), np.float32)
    for j in range(len(patch_c)):
        across[j] = patch_c[j]
    for row in range(start, stop):
        a, b = row // nb, row % nb
        for k in range(len(offsets)):
            da, db, dc = offsets[k]
            stored[row, k] = 0
            if not (0 <= a + da < na and 0 <= b + db < nb):
                continue
            low, high = max(0, -dc), min(nc, nc - dc)
            columns[low : high + margin] = 0
            for i in range(len(patch_a)):
                for j in range(len(patch_b)):
                    one, two = padded[a + i, b + j], padded[a + da + i, b + db + j]
                    _add_squares(
                        columns[low : high + margin], patch_a[i] * patch_b[j], one[low : high + margin],
                        two[low + dc : high + dc + margin],
                    )  # fmt: skip
            distance[low:high] = 0
            for j in range(len(patch_c)):
                _add_products(distance[low:high], across[j, low:high], columns[low + j : high + j])
            _store(stored[row, k, low:high], tent[k], scale, distance[low:high])


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _sum_rows(stored: Any, offsets: Any, x: Any, total: Any, start: int, stop: int) -> None:
    """total ← w x on some rows: from a pixel's own half of the window, and from the pixels that store the other."""
    na, nb, nc = x.shape
    for row in range(start, stop):
        a, b = row // nb, row % nb
        here = total[a, b]
        own = x[a, b]
        for c in range(nc):
            here[c] = np.float32(_ONE) * own[c]
        for k in range(len(offsets)):
            da, db, dc = offsets[k]
            low, high = max(0, -dc), min(nc, nc - dc)
            if 0 <= a + da < na and 0 <= b + db < nb:
                _add_products(here[low:high], stored[row, k, low:high], x[a + da, b + db, low + dc : high + dc])
            if 0 <= a - da < na and 0 <= b - db < nb:
                other = (a - da) * nb + b - db
                _add_products(
                    here[low + dc : high + dc], stored[other, k, low:high], x[a - da, b - db, low:high]
                )  # fmt: skip
