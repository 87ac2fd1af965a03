"""How the HAADF image depends on the maps: H ≈ h₀ + A Σ a_i x_i^γ, with h₀ and a_i ≥ 0 from the data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import nnls

from napari_invrecon.recon.noise import gaussian_sigma

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array

_SMOOTHED_COUNTS = 150.0  # under the smoothing kernel: the maps' noise then biases a by about a per cent
_SMOOTHING_PX = (1.0, 4.0)
_NOTHING = 1e-30  # norm of a map that is empty
SEEN = 3.0  # standard errors
_RIDGE = 1e-3  # of a map's variance: between maps that depend on each other the smaller slopes are taken
_PARTLY = 0.2  # of the variance beyond noise that a curve explains, for the HAADF to be called curved
_DEPENDENT = 30.0  # how much the variance of a grows by the others being unknown too (variance inflation)


@dataclass(frozen=True)
class Calibration:
    """H ≈ h₀ + A Σ a_i x_i^γ.

    Attributes
    ----------
    offset, slopes, errors
        h₀, a (element,), and one standard deviation of a.
    told
        (element,): whether its a can be told from the others'; not where maps depend on each other, as fractions do.
    bend
        How far H is from proportional to Σ a x^γ where that is largest, relatively: −0.3 if it saturates by 30 %;
        0 unless that is a good part of the misfit.
    noise, misfit
        Of one pixel of H: the standard deviation of its noise, and of what the fit leaves beyond noise.
    gamma, psf_sigma_px
        γ, and A's.
    """

    offset: float
    slopes: NDArray[np.float64]
    errors: NDArray[np.float64]
    told: NDArray[np.bool_]
    noise: float
    misfit: float
    bend: float = 0.0
    gamma: float = 1.0
    psf_sigma_px: float = 0.0

    @property
    def spread(self) -> float:
        """s_H, the standard deviation of H about the fit; 1 where both are nil."""
        return float(np.hypot(self.noise, self.misfit)) or 1.0

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(element,): whether the HAADF sees the element, a above three standard errors; see ``told``."""
        return self.slopes > SEEN * self.errors

    def blurred(self, image: Array) -> Array:
        """A image."""
        if self.psf_sigma_px == 0:
            return image
        return np.asarray(gaussian_filter(image, self.psf_sigma_px, mode="reflect"), np.float32)

    def residual(self, haadf: Array, x: Array) -> Array:
        """H − h₀ − A Σ a_i x_i^γ (y, x), NaN where H is."""
        signal = np.tensordot(self.slopes, np.maximum(x, 0) ** self.gamma if self.gamma != 1 else x, 1)
        return np.asarray(haadf - self.offset - self.blurred(signal.astype(np.float32)), np.float32)


def calibrate(
    haadf: Array,
    x: Array,
    unit: NDArray[Any] | None,
    *,
    gamma: float = 1.0,
    psf_sigma_px: float = 0.0,
    ratios: NDArray[np.float64] | None = None,
) -> Calibration:
    """Non-negative least squares of the smoothed H on the smoothed maps to the γ, and on a constant.

    ``x`` (element, y, x) are the maps less their background; ``unit`` (element,) is the noise of one pixel of each,
    None for maps without noise to speak of. The kernel is as wide as the noise asks for, 1 to 4 px. ``ratios``
    (element,), if given, are those of a, of which only the scale is fitted. NaN in either is left out.
    """
    known = np.isfinite(haadf) & np.isfinite(x).all(0)
    weight = known.astype(np.float64)
    width = _SMOOTHING_PX[0]
    if unit is not None:
        level = np.array([float(np.mean(np.abs(each[known]))) if known.any() else 0.0 for each in x])
        bright = [(m / s) ** 2 for m, s in zip(level, unit, strict=True) if m > 0]
        wanted = np.sqrt(_SMOOTHED_COUNTS / max(np.median(bright), 1e-9) / (4 * np.pi)) if bright else np.inf
        width = float(np.clip(wanted, *_SMOOTHING_PX))
    mass = gaussian_filter(weight, width, mode="nearest")
    inside = mass > 0.5

    def smooth(image: NDArray[Any]) -> NDArray[np.float64]:
        filled = gaussian_filter(np.where(known, image, 0.0), width, mode="nearest")
        return np.asarray(filled[inside] / mass[inside], np.float64)

    if not inside.any():
        raise ValueError("the HAADF and the maps have no pixel in common that is finite: check their NaN")
    columns = np.stack([np.maximum(smooth(each), 0) ** gamma for each in x], axis=1)
    share = np.ones(len(x)) if ratios is None else ratios
    if ratios is not None:
        columns = (columns @ ratios)[:, None]
    seen = smooth(haadf)
    design, above = columns - columns.mean(0), seen - seen.mean()  # so that the constant is free
    size = np.maximum(np.linalg.norm(design, axis=0), _NOTHING)
    shared = (design / size).T @ (design / size)
    root = np.linalg.cholesky(shared + _RIDGE * np.eye(len(size)))
    slopes = nnls(root.T, np.linalg.solve(root, (design / size).T @ above))[0] / size
    offset = float(seen.mean() - columns.mean(0) @ slopes)

    noise = gaussian_sigma(np.where(known, haadf, np.nan))
    left = above - design @ slopes
    smoothing = 4 * np.pi * width**2  # the variance of white noise is divided by it
    from_maps = float((slopes * share) ** 2 @ unit.astype(float) ** 2) if unit is not None and gamma == 1 else 0.0
    beyond = float(np.mean(left**2)) - (noise**2 + from_maps) / smoothing
    misfit = float(np.sqrt(max(beyond, 0.0)))
    inflation = np.diag(np.linalg.inv(shared + 1e-9 * np.eye(len(size))))
    told = np.broadcast_to((inflation < _DEPENDENT) | (size <= _NOTHING), share.shape)
    scatter = float(np.mean(left**2)) * smoothing  # as many pixels as under the kernel have one error
    errors = np.sqrt(np.maximum(np.diag(np.linalg.inv(shared + _RIDGE * np.eye(len(size)))) * scatter, 0)) / size
    bend, explained = _bend(columns @ slopes, seen)
    bend = bend if explained >= _PARTLY * misfit**2 else 0.0
    return Calibration(offset, slopes * share, errors * share, told, noise, misfit, bend, gamma, psf_sigma_px)


def _bend(signal: NDArray[np.float64], seen: NDArray[np.float64]) -> tuple[float, float]:
    """(c₂ S/c₁ at the largest S but a hundredth, variance that c₂ explains) of seen = c₀ + c₁ S + c₂ S²."""
    largest = float(np.percentile(signal, 99))
    if largest <= 0:
        return 0.0, 0.0
    powers = np.stack([np.ones_like(signal), signal / largest, (signal / largest) ** 2], axis=1)
    line, curve = (np.linalg.lstsq(powers[:, :n], seen, rcond=1e-6)[0] for n in (2, 3))
    explained = float(np.var(seen - powers[:, :2] @ line) - np.var(seen - powers @ curve))
    return (float(curve[2] / curve[1]) if curve[1] > 0 else 0.0), explained


# fmt: off
_SYMBOLS = (
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar",
    "K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr",
    "Rb", "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe",
    "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf",
    "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th",
    "Pa", "U", "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr",
)
# fmt: on


def atomic_number(name: str) -> int:
    """Z of an element by its symbol, with or without a line or edge after it: 58 for Ce, Ce_L, "Ce M5"."""
    symbol = re.match(r"[A-Z][a-z]?", name)
    if symbol is None or symbol[0] not in _SYMBOLS:
        raise ValueError(f"{name!r} is no element's symbol, which a by Z needs: name the maps by symbols, or fit a")
    return _SYMBOLS.index(symbol[0]) + 1
