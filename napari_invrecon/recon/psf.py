"""h as an array: closed forms, integrals over pixels, other pixels.

A kernel has an odd size, its centre in the middle element, type float32 and sum 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

FWHM_PER_SIGMA = float(2 * np.sqrt(2 * np.log(2)))
MAX_SIZE = 4096


def gaussian_psf(sigma_px: float | tuple[float, ...], ndim: int = 2) -> NDArray[np.float32]:
    """h(r) ∝ exp(−r²/2σ²), sampled at the pixel centres out to 5σ (in 2-D 4e-6 of it lies beyond).

    Parameters
    ----------
    sigma_px
        Standard deviation in pixels, one for all axes or one per axis.
    ndim
        Number of axes.

    Raises
    ------
    ValueError
        σ is not positive and finite, or there is not one for each axis.
    """
    sigmas = sigma_px if isinstance(sigma_px, tuple) else (sigma_px,) * ndim
    if len(sigmas) != ndim:
        raise ValueError(f"{len(sigmas)} σ for {ndim} axes: give one σ, or one per axis and ndim={len(sigmas)}")
    kernel = np.ones(())
    for sigma in sigmas:
        _positive(sigma, "σ", "px")
        reach = int(np.ceil(5 * sigma - 1e-6))  # σ = 3.0000000001, as from a width in nm, is 3
        t = np.arange(-reach, reach + 1)
        kernel = np.multiply.outer(kernel, np.exp(-0.5 * (t / sigma) ** 2))
    return normalised(kernel)


def lorentzian_psf(fwhm_px: float, ndim: int = 2, tail_loss: float = 0.01) -> NDArray[np.float32]:
    """ĥ(q) = exp(−2πγ|q|), γ = FWHM/2 of a line's image: the Lorentzian γ/π(x² + γ²) and its 2-D counterpart.

    In 2-D h(r) = γ/2π(r² + γ²)^(3/2), whose image of a line is the Lorentzian (γ/(r² + γ²) itself has no finite
    integral). Integrated over each pixel in closed form. Its tails fall so slowly that 1e-4 of it lies beyond 5000
    FWHM: ``tail_loss`` says which share is cut off.

    Parameters
    ----------
    fwhm_px
        Full width at half maximum in pixels, of the image of a line (in 2-D a point's is 0.77 of it).
    ndim
        1 or 2.
    tail_loss
        Share of the intensity beyond the kernel's edge, cut off before normalising.
    """
    if ndim not in (1, 2):
        raise ValueError(f"a Lorentzian has 1 or 2 axes here, asked for {ndim}: use a Gaussian or a measured PSF")
    gamma = _positive(fwhm_px, "FWHM", "px") / 2
    check_tail_loss(tail_loss)
    reach = gamma / np.tan(np.pi * tail_loss / 2) if ndim == 1 else gamma * np.sqrt(tail_loss**-2 - 1)
    n = int(np.ceil(reach - 0.5))
    _check_size(2 * n + 1, "Lorentzian", "a larger tail_loss or a smaller FWHM")
    edge = np.arange(-n - 0.5, n + 1)
    if ndim == 1:
        return normalised(np.diff(np.arctan(edge / gamma)))
    y, x = edge[:, None], edge[None, :]
    corner = np.arctan(x * y / (gamma * np.sqrt(x**2 + y**2 + gamma**2)))
    return normalised(np.diff(np.diff(corner, axis=0), axis=1))


def round_psf(
    profile: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    radius_nm: float,
    step_nm: float,
    pixel_size_nm: float,
    blur_sigma_nm: float = 0.0,
) -> NDArray[np.float32]:
    """∬ over each pixel of I(r) ⋆ Gaussian, from a radial intensity profile I.

    I is sampled on an odd number of points per pixel and axis, no farther apart than ``step_nm``; the Gaussian acts on
    its Fourier transform.

    Parameters
    ----------
    profile
        I(r), r in nm; any scale.
    radius_nm
        The kernel holds at least this disc, and the Gaussian's 4σ around it.
    step_nm, pixel_size_nm
        Largest distance between samples; the image's pixel.
    blur_sigma_nm
        Standard deviation of the Gaussian (incoherent source), 0 for none.
    """
    n = int(np.ceil((radius_nm + 4 * blur_sigma_nm) / pixel_size_nm - 0.5))
    oversampling = int(np.ceil(pixel_size_nm / step_nm)) // 2 * 2 + 1
    size = (2 * n + 1) * oversampling
    _check_size(
        size,
        f"PSF of {2 * (radius_nm + 4 * blur_sigma_nm):.3g} nm on pixels of {pixel_size_nm:.3g} nm",
        "other values (defocus and source size are in nm, C3 in mm, the semi-angle in mrad) or a larger tail_loss",
    )
    t = (np.arange(size) - (size - 1) / 2) * (pixel_size_nm / oversampling)
    fine = profile(np.hypot(t[:, None], t[None, :]))
    if blur_sigma_nm > 0:
        f = np.fft.fftfreq(size, pixel_size_nm / oversampling)
        q2 = f[:, None] ** 2 + f[None, : size // 2 + 1] ** 2
        fine = np.fft.irfft2(np.fft.rfft2(fine) * np.exp(-2 * (np.pi * blur_sigma_nm) ** 2 * q2), s=fine.shape)
    pixels = size // oversampling
    return normalised(fine.reshape(pixels, oversampling, pixels, oversampling).sum(axis=(1, 3)))


def resample_psf(kernel: NDArray[Any], from_pixel_nm: float | None, to_pixel_nm: float | None) -> NDArray[np.float32]:
    """h on pixels of another size: the integral of h up to each new pixel's edges, differenced, axis by axis.

    Each value counts as the integral over its pixel. Between edges the integral is interpolated by cubic splines, or
    by monotone cubics where splines would ring below zero (a kernel about as narrow as an old pixel). Nothing is lost
    and the centre stays the centre. Measured for new pixels of 0.3 to 4 old ones: a Gaussian of σ = 3 (1.5) old pixels
    comes out within 7e-4 (8e-3) of its maximum.

    Parameters
    ----------
    kernel
        Odd size on every axis.
    from_pixel_nm, to_pixel_nm
        Pixel size of the kernel and of the image, nm.

    Raises
    ------
    ValueError
        A pixel size is unknown or not positive; an even size.
    """
    if from_pixel_nm is None:
        raise ValueError("the PSF's pixel size is unknown: type it, or give the PSF on the image's own pixels")
    to_pixel = need_pixel_size(to_pixel_nm, "the PSF has a pixel size of its own", "give the PSF on the image's pixels")
    ratio = to_pixel / _positive(from_pixel_nm, "the PSF's pixel size", "nm")
    out = np.asarray(kernel, np.float64)
    if any(n % 2 == 0 for n in out.shape):
        raise ValueError(f"the PSF has the shape {out.shape}: its centre is a pixel only if every size is odd; crop it")
    for axis, size in enumerate(out.shape):
        half = int(np.ceil(size / 2 / ratio - 0.5))
        _check_size(2 * half + 1, f"PSF on pixels of {to_pixel:.3g} nm", "the PSF's pixel size in nm, or crop it")
        old_edges = np.arange(size + 1) - size / 2
        new_edges = np.clip((np.arange(2 * half + 2) - half - 0.5) * ratio, -size / 2, size / 2)
        cumulative = np.insert(np.cumsum(out, axis=axis), 0, 0.0, axis=axis)
        new = np.diff(CubicSpline(old_edges, cumulative, axis=axis, bc_type="clamped")(new_edges), axis=axis)
        if new.min() < min(out.min(), 0.0) - 1e-3 * new.max():
            new = np.diff(PchipInterpolator(old_edges, cumulative, axis=axis)(new_edges), axis=axis)
        out = new
    return normalised(out)


def check_psf(kernel: NDArray[Any], image_shape: tuple[int, ...]) -> None:
    """Refuse a kernel that cannot blur an image of this shape (its last axes are the kernel's).

    Raises
    ------
    ValueError
        More axes or pixels than the image; values that are not finite; a sum that is not positive.
    """
    if kernel.ndim > len(image_shape):
        raise ValueError(
            f"the PSF has {kernel.ndim} axes, the image {len(image_shape)}: give a PSF with as many or fewer"
        )
    last = tuple(image_shape[len(image_shape) - kernel.ndim :])
    if any(k > n for k, n in zip(kernel.shape, last, strict=True)):
        raise ValueError(
            f"the PSF of {kernel.shape} px is larger than the image of {last} px: check its width and the pixel size, "
            "crop it, raise its tail_loss, or use a larger image"
        )
    if not np.isfinite(kernel).all():
        raise ValueError("the PSF holds NaN or infinite values: measure it again, or replace them by zero")
    total = float(kernel.sum(dtype=np.float64))
    if not total > 0:
        raise ValueError(f"the PSF sums to {total:.4g}, expected more than 0: take off its background")


def need_pixel_size(pixel_size_nm: float | None, why: str, otherwise: str) -> float:
    """The pixel size, or an error that says why it is needed and what to do instead."""
    if pixel_size_nm is None:
        raise ValueError(f"{why}, but the image's pixel size is unknown: set it in nm, or {otherwise}")
    return _positive(pixel_size_nm, "the pixel size", "nm")


def check_tail_loss(tail_loss: float) -> None:
    """Refuse a share that is not between 1e-5 and 0.5."""
    if not 1e-5 <= tail_loss <= 0.5:
        raise ValueError(f"tail_loss is {tail_loss}: give the share of the intensity to cut off, from 1e-5 to 0.5")


def _positive(value: float, name: str, unit: str) -> float:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value} {unit}: expected a number above 0")
    return float(value)


def _check_size(size: int, what: str, remedy: str) -> None:
    if size > MAX_SIZE:
        raise ValueError(f"the {what} needs {size} samples along an axis, more than {MAX_SIZE}: give {remedy}")


def normalised(kernel: NDArray[Any]) -> NDArray[np.float32]:
    """The kernel over its sum, float32."""
    return np.asarray(kernel / kernel.sum(dtype=np.float64), np.float32)
