"""H and K: linear operators with their exact adjoints, and the Fourier pictures of a convolution and of a gradient."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_invrecon.recon import resources

Array = NDArray[np.float32]


@dataclass(frozen=True)
class LinearOperator:
    """y = H x, with the adjoint defined by ⟨H x, y⟩ = ⟨x, Hᵀ y⟩.

    ``H(x)`` applies it to an array of ``domain_shape`` and gives one of ``range_shape``; ``H.T`` is the adjoint.
    """

    domain_shape: tuple[int, ...]
    range_shape: tuple[int, ...]
    forward: Callable[[Array], Array]
    adjoint: Callable[[Array], Array]

    def __call__(self, x: Array) -> Array:
        if x.shape != self.domain_shape:
            raise ValueError(f"the operator takes an array of shape {self.domain_shape}, not {x.shape}")
        return self.forward(x)

    @property
    def T(self) -> LinearOperator:
        return LinearOperator(self.range_shape, self.domain_shape, self.adjoint, self.forward)


@dataclass(frozen=True)
class Transform:
    """K of a regulariser R(x) = r(Kx), a set of convolutions: what it looks at, for fields of any shape.

    Attributes
    ----------
    forward, adjoint
        x ↦ Kx, of the shape of x or with one more axis before it, and its adjoint.
    power
        KᵀK on the ``rfftn`` grid of a shape.
    counted
        (shape, ends) → which entries of Kx look only at pixels before ``ends`` on every axis; n + 1 there counts all.
    """

    forward: Callable[[Array], Array]
    adjoint: Callable[[Array], Array]
    power: Callable[[tuple[int, ...]], Array]
    counted: Callable[[tuple[int, ...], tuple[int, ...]], NDArray[np.bool_]]


IDENTITY = Transform(
    lambda x: x,
    lambda q: q,
    lambda shape: np.ones((*shape[:-1], shape[-1] // 2 + 1), np.float32),
    lambda shape, ends: np.ones((1,) * len(shape), bool),
)


def fft_workers() -> int:
    """Threads for one Fourier transform: the cores that this process may use."""
    return resources.threads()


def in_slabs(work: Callable[[int, int], float], n_rows: int, threads: int) -> float:
    """The sum of ``work(start, stop)`` over all rows, shared out to threads; the work must release the GIL."""
    count = max(min(threads, n_rows), 1)
    limits = [n_rows * number // count for number in range(count + 1)]
    if len(limits) == 2:
        return work(*limits)
    return sum(_slab_pool().map(work, limits[:-1], limits[1:]))


@lru_cache(maxsize=1)
def _slab_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(fft_workers(), thread_name_prefix="invrecon-slab")


def _workers_for(size: int) -> int:
    """One thread for a transform so small that handing it out costs more than it takes."""
    return fft_workers() if size > 1 << 18 else 1


def forward_fft(x: NDArray[Any], ndim: int) -> NDArray[Any]:
    """The real-input Fourier transform over the last ``ndim`` axes, in the precision of ``x``."""
    transformed: NDArray[Any] = fft.rfftn(x, axes=range(-ndim, 0), workers=_workers_for(x.size))
    return transformed


def inverse_fft(spectrum: NDArray[Any], shape: tuple[int, ...], *, overwrite: bool = False) -> NDArray[Any]:
    """The inverse of `forward_fft` for an array whose last axes have ``shape``; faster where it may be overwritten."""
    ndim, workers = len(shape), _workers_for(2 * spectrum.size)
    if ndim > 1:
        spectrum = fft.ifftn(spectrum, axes=range(-ndim, -1), overwrite_x=overwrite, workers=workers)
    x: NDArray[Any] = fft.irfft(spectrum, n=shape[-1], workers=workers)
    return x


def transfer_function(
    psf: NDArray[Any], shape: tuple[int, ...], dtype: type[np.complexfloating[Any, Any]] = np.complex64
) -> NDArray[Any]:
    """The optical transfer function: the Fourier transform of the PSF with its centre (index n // 2) at the origin.

    ``psf`` has as many axes as ``shape`` and is nowhere longer; the result has the shape of ``rfftn`` on ``shape``. It
    is computed in double precision: an inverse with a small λ would amplify the rounding of a single one.
    """
    ndim = len(shape)
    transform = _centred(np.asarray(psf, np.float64), ndim - 1, shape[-1])
    transform = fft.rfft(transform, axis=-1, workers=_workers_for(transform.size))
    for axis in reversed(range(1, ndim - 1)):
        transform = fft.fft(_centred(transform, axis, shape[axis]), axis=axis, workers=_workers_for(transform.size))
    otf: NDArray[Any]
    if ndim == 1:
        otf = transform.astype(dtype)
        return otf
    otf = np.empty((shape[0], *transform.shape[1:]), dtype)
    for start in range(0, otf.shape[-1], _COLUMNS):  # the whole in double precision would be the peak of memory
        part = _centred(transform[..., start : start + _COLUMNS], 0, shape[0])
        otf[..., start : start + _COLUMNS] = fft.fft(part, axis=0, overwrite_x=True, workers=_workers_for(part.size))
    return otf


_COLUMNS = 128  # of an optical transfer function at a time


def _centred(x: NDArray[Any], axis: int, n: int) -> NDArray[Any]:
    """Padded with zeros to n along an axis, with what is at the middle, index size // 2, brought to the origin."""
    size = x.shape[axis]
    half = size // 2
    padded = np.zeros((*x.shape[:axis], n, *x.shape[axis + 1 :]), x.dtype)
    target, source = np.moveaxis(padded, axis, 0), np.moveaxis(x, axis, 0)
    target[: size - half] = source[half:]
    target[n - half :] = source[:half]
    return padded


def gradient_power(shape: tuple[int, ...]) -> Array:
    """|L|² of the forward-difference gradient, Σ_d 4 sin²(π k_d / n_d), on the ``rfftn`` grid of ``shape``."""
    total = np.zeros((*shape[:-1], shape[-1] // 2 + 1), np.float32)
    for axis, n in enumerate(shape):
        k = np.arange(total.shape[axis])
        power = (4 * np.sin(np.pi * k / n) ** 2).astype(np.float32)
        total += power.reshape([-1 if d == axis else 1 for d in range(len(shape))])
    return total


def convolution(psf: Array, shape: tuple[int, ...]) -> LinearOperator:
    """Periodic convolution with the PSF, ``shape`` → ``shape``."""
    otf = transfer_function(psf, shape)
    ndim = len(shape)
    return LinearOperator(
        shape,
        shape,
        forward=lambda x: inverse_fft(forward_fft(x, ndim) * otf, shape, overwrite=True),
        adjoint=lambda y: inverse_fft(forward_fft(y, ndim) * otf.conj(), shape, overwrite=True),
    )


def field_of_view(operator: LinearOperator, view: tuple[slice, ...]) -> LinearOperator:
    """The operator seen only through a window: y = (H x)[view]; x keeps its larger field, so no edge is invented."""
    full = operator.range_shape
    seen = tuple(len(range(*s.indices(n))) for s, n in zip(view, full, strict=True))

    def adjoint(y: Array) -> Array:
        embedded = np.zeros(full, np.float32)
        embedded[view] = y
        return operator.adjoint(embedded)

    return LinearOperator(operator.domain_shape, seen, lambda x: operator.forward(x)[view], adjoint)
