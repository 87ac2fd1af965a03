"""x = H⁻¹y, the inverse without a regulariser, and what it does to noise: why λ is needed.

For a periodic convolution the singular values of H are |Ĥ|, the optical transfer function, and the singular vectors
are plane waves. So κ(H), the Picard quantities and the inverse itself are read off two Fourier transforms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.noise import gaussian_sigma
from napari_invrecon.recon.operators import forward_fft, inverse_fft, transfer_function
from napari_invrecon.recon.probe import PointSpread
from napari_invrecon.recon.psf import check_psf

_LOST = 1e-14  # of the largest singular value: rounding of the transform, not transfer
_BINS = 256
_IN_A_ROW = 3  # points below the noise before the signal counts as drowned: one alone may be an accident


@dataclass(frozen=True)
class NaiveInverse:
    """The unregularised inverse, and its ill-conditioning in numbers. Curves run from large to small singular values.

    Attributes
    ----------
    data
        H⁻¹y, float64, the image's shape and units; frequencies with σᵢ = 0, which have no inverse, are zero.
    condition
        κ(H) = σ_max/σ_min; infinite where a σᵢ is zero.
    condition_to_noise
        σ_max/σᵢ at the last σᵢ whose datum stands above the noise: what a regularised inverse has to cope with.
    singular
        σᵢ = |Ĥ|, descending; a conjugate pair, whose two are equal, shares a point, and where there are more than 256
        of them so do neighbours, as their geometric mean.
    rank
        How many singular values lie before each point of the curves (the middle of its bin).
    coefficient
        |uᵢᵀy|, root mean square of the bin, in the image's units: Fourier coefficients of the image, scaled such that
        their squares sum to ‖y‖².
    ratio
        |uᵢᵀy|/σᵢ, root mean square of the bin: the coefficients of H⁻¹y. The discrete Picard condition asks that
        ``coefficient`` falls faster than ``singular``; where it levels off at the noise, the ratio climbs.
    noise_sigma
        σ of the noise, image units, and so the level at which ``coefficient`` ends; 0 if there is none.
    noise_floor
        The same level on the axis of ``singular``: the singular value below which data are noise; 0 if there is none.
    amplification
        Root mean square of H⁻¹ε over that of ε, for white noise: (mean 1/σᵢ²)^½.
    size
        N, the number of singular values.
    lost
        How many of them are zero.
    """

    data: NDArray[np.float64]
    condition: float
    condition_to_noise: float
    singular: NDArray[np.float64]
    rank: NDArray[np.float64]
    coefficient: NDArray[np.float64]
    ratio: NDArray[np.float64]
    noise_sigma: float
    noise_floor: float
    amplification: float
    size: int
    lost: int


def naive(
    image: Any,
    psf: Any,
    *,
    noise_sigma: float | None = None,
    normalise_psf: bool = True,
    pixel_size_nm: float | None = None,
) -> NaiveInverse:
    """X = Y/Ĥ for a periodic image, with κ(H), the singular values and the Picard quantities |uᵢᵀy|, |uᵢᵀy|/σᵢ.

    Parameters
    ----------
    image
        y: one image (as many axes as the PSF), finite and real.
    psf
        h: an array, its centre at index n // 2, or a model such as `GaussianPSF`.
    noise_sigma
        σ of the noise in the image's units; estimated from the image if not given.
    normalise_psf
        Divide the PSF by its sum.
    pixel_size_nm
        Needed where a model is given in nm.

    Raises
    ------
    ValueError, TypeError
        A stack, values that are not finite or not real, a PSF that does not fit.

    References
    ----------
    Hansen, The discrete Picard condition for discrete ill-posed problems, 1990, doi:10.1007/BF01933214.
    """
    y = np.asarray(image)
    if y.dtype.kind not in "iuf" or y.ndim == 0 or y.size == 0:
        raise TypeError(f"the image has the shape {y.shape} and type {y.dtype}: expected a real array (y, x)")
    h = np.asarray(psf.kernel(pixel_size_nm, min(2, y.ndim)) if isinstance(psf, PointSpread) else psf)
    if h.dtype.kind not in "iuf" or h.ndim == 0:
        raise TypeError(f"the PSF has the shape {h.shape} and type {h.dtype}: expected a real array")
    if h.ndim != y.ndim:
        raise ValueError(
            f"the image has {y.ndim} axes and the PSF {h.ndim}: expected as many; give one image of a stack"
        )
    if not np.isfinite(y).all():
        raise ValueError(
            f"the image holds {int((~np.isfinite(y)).sum())} NaN or infinite values, which a Fourier transform would "
            "spread over all of it: replace them, or crop"
        )
    h = h.astype(np.float64)
    check_psf(h if normalise_psf else np.abs(h), y.shape)
    if normalise_psf:
        h = h / h.sum()
    if noise_sigma is None:
        noise_sigma = gaussian_sigma(y, spatial_ndim=y.ndim, psf=h)
    elif not (np.isfinite(noise_sigma) and noise_sigma >= 0):
        raise ValueError(f"noise_sigma is {noise_sigma}: expected a number from 0 up, in the image's units")

    otf = transfer_function(h, y.shape, np.complex128)
    transform = forward_fft(y.astype(np.float64), y.ndim)
    singular = np.abs(otf)
    top = float(singular.max())
    there = singular > _LOST * top
    inverse = np.divide(transform, otf, out=np.zeros_like(transform), where=there)

    count = _multiplicity(y.shape)
    lost = int(count[~there].sum())
    order = np.argsort(singular[there])[::-1]
    s, n = singular[there][order], count[there][order].astype(np.float64)
    power = (np.square(np.abs(transform[there])) / y.size)[order]

    before = np.cumsum(n) - n
    bins = max(1.0, y.size / _BINS)
    _, label = np.unique((before / bins).astype(np.intp), return_inverse=True)
    total = np.bincount(label, n)
    curve = np.exp(np.bincount(label, n * np.log(s)) / total)
    coefficient = np.sqrt(np.bincount(label, n * power) / total)
    ratio = np.sqrt(np.bincount(label, n * power / np.square(s)) / total)
    rank = np.cumsum(total) - total / 2
    floor = _noise_floor(curve, coefficient, noise_sigma)
    return NaiveInverse(
        data=inverse_fft(inverse, y.shape),
        condition=float("inf") if lost else float(s[0] / s[-1]),
        condition_to_noise=float(s[0] / (floor or s[-1])),
        singular=curve,
        rank=rank,
        coefficient=coefficient,
        ratio=ratio,
        noise_sigma=float(noise_sigma),
        noise_floor=floor,
        amplification=float(np.sqrt(np.sum(n / np.square(s)) / n.sum())),
        size=y.size,
        lost=lost,
    )


@dataclass(frozen=True)
class FilterFactors:
    """σᵢ²/(σᵢ² + λ|Lᵢ|²), what x̂ = argmin ‖Hx − y‖² + λ‖Lx‖² takes of each coefficient of H⁻¹y, for any λ.

    Attributes
    ----------
    balance
        σᵢ²/|Lᵢ|², the λ at which the factor is ½, ascending; infinite where L sees nothing.
    share
        For each of them, the share of all N frequencies whose ``balance`` is lower or the same.
    """

    balance: NDArray[np.float64]
    share: NDArray[np.float64]

    def filled(self, lam: float) -> float:
        """The share of the frequencies with a factor below ½: they are more the prior's than the data's."""
        below = int(np.searchsorted(self.balance, lam, side="left"))
        return float(self.share[below - 1]) if below else 0.0


def filter_factors(psf: NDArray[Any], penalty: NDArray[Any], shape: tuple[int, ...]) -> FilterFactors:
    """The filter factors of a periodic image.

    Parameters
    ----------
    psf
        h, as it is used: its centre at index n // 2.
    penalty
        |L|² on the ``rfftn`` grid of ``shape``, as `Regulariser.power` gives it.
    shape
        Of the image.

    References
    ----------
    Hansen, Discrete Inverse Problems: Insight and Algorithms, 2010, section 4.2, doi:10.1137/1.9780898718836.
    """
    power = np.square(np.abs(transfer_function(np.asarray(psf, np.float64), shape, np.complex128))).ravel()
    weight = np.asarray(penalty, np.float64).ravel()
    balance = np.divide(power, weight, out=np.full(power.shape, np.inf), where=weight > 0)
    order = np.argsort(balance)
    count = _multiplicity(shape).ravel()[order]
    return FilterFactors(balance[order], np.cumsum(count) / np.prod(shape))


def _multiplicity(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """How many of the N frequencies each point of the ``rfftn`` grid stands for: it stores one of a conjugate pair."""
    twice = np.full(shape[-1] // 2 + 1, 2, np.intp)
    twice[0] = 1
    if shape[-1] % 2 == 0:
        twice[-1] = 1
    return np.broadcast_to(twice, (*shape[:-1], twice.size))


def _noise_floor(singular: NDArray[np.float64], coefficient: NDArray[np.float64], sigma: float) -> float:
    """The singular value at which the signal's power falls below the noise's, |uᵢᵀy|² < 2σ²; 0 if it never does."""
    drowned = coefficient < np.sqrt(2) * sigma
    for start in range(len(drowned)):
        if drowned[start : start + _IN_A_ROW].all():
            return float(singular[start])
    return 0.0
