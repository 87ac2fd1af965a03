"""h from a few numbers: models of the point-spread function, among them the probe of a STEM."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.constants import c, e, h, m_e
from scipy.interpolate import CubicSpline
from scipy.special import j0, j1

from napari_invrecon.recon.measured_psf import MeasuredPSF
from napari_invrecon.recon.psf import (
    FWHM_PER_SIGMA,
    check_tail_loss,
    gaussian_psf,
    lorentzian_psf,
    need_pixel_size,
    round_psf,
)
from napari_invrecon.recon.record import describe_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Unit = Literal["px", "nm"]


@dataclass(frozen=True)
class GaussianPSF:
    """h(r) ∝ exp(−r²/2σ²), sampled at the pixels (`gaussian_psf`). FWHM = `FWHM_PER_SIGMA` · σ.

    Attributes
    ----------
    sigma
        Standard deviation, in ``unit``.
    unit
        "px" or "nm".
    """

    sigma: float
    unit: Unit = "px"

    def kernel(self, pixel_size_nm: float | None, ndim: int) -> NDArray[np.float32]:
        """Odd array of sum 1 on pixels of this size."""
        return gaussian_psf(_in_pixels(self.sigma, self.unit, pixel_size_nm, "σ"), ndim)


@dataclass(frozen=True)
class LorentzianPSF:
    """ĥ(q) = exp(−π · FWHM · |q|): the image of a line is a Lorentzian of this FWHM (`lorentzian_psf`).

    Attributes
    ----------
    fwhm
        Full width at half maximum, in ``unit``.
    unit
        "px" or "nm".
    tail_loss
        Share of the intensity beyond the kernel's edge; the radius is FWHM/(2 · tail_loss) in 2-D.
    """

    fwhm: float
    unit: Unit = "px"
    tail_loss: float = 0.01

    def kernel(self, pixel_size_nm: float | None, ndim: int) -> NDArray[np.float32]:
        """Odd array of sum 1 on pixels of this size, 1 or 2 axes."""
        return lorentzian_psf(_in_pixels(self.fwhm, self.unit, pixel_size_nm, "FWHM"), ndim, self.tail_loss)


@dataclass(frozen=True)
class AiryPSF:
    """h(r) ∝ (2 J₁(v)/v)², v = 2π α r/λ: the probe or image of a perfect lens with semi-angle α. FWHM = 0.515 λ/α.

    Attributes
    ----------
    voltage_kv, convergence_mrad
        Acceleration voltage, which gives λ, and the semi-angle α.
    tail_loss
        Share of the intensity beyond the kernel's edge. The encircled intensity 1 − J₀² − J₁² reaches 0.99 at
        10 λ/α, and 0.9999 only at 1000 λ/α.
    """

    voltage_kv: float
    convergence_mrad: float
    tail_loss: float = 0.01

    def kernel(self, pixel_size_nm: float | None, ndim: int) -> NDArray[np.float32]:
        """Odd array of sum 1 on pixels of this size, 2 axes."""
        pixel = _optics(self, pixel_size_nm, ndim)
        k_max = _aperture(self.voltage_kv, self.convergence_mrad)

        def profile(r: NDArray[np.float64]) -> NDArray[np.float64]:
            v = np.maximum(2 * np.pi * k_max * r, 1e-6)
            return np.asarray((2 * j1(v) / v) ** 2)

        # 1 − encircled → 2/πv
        return round_psf(profile, 1 / (np.pi**2 * k_max * self.tail_loss), 0.025 / k_max, pixel)


@dataclass(frozen=True)
class StemProbe:
    """h = |𝓕[A(k) exp(−iχ(k))]|² ⋆ source, χ(k) = π λ k² (½ C3 λ² k² − Δf), A = 1 for k < α/λ.

    Wave-optical: the aperture's Fourier transform (a Hankel transform, as A and χ are round), its intensity convolved
    with a Gaussian source and integrated over the pixels. Underfocus is positive: Δf = √(C3 λ) is Scherzer's focus.

    Attributes
    ----------
    voltage_kv, convergence_mrad
        Acceleration voltage and convergence semi-angle α.
    defocus_nm, c3_mm
        Δf and spherical aberration.
    source_fwhm_nm
        Full width at half maximum of the source's image in the specimen.
    tail_loss
        Share of the intensity beyond the kernel's edge; an aperture's tail falls as slowly as `AiryPSF`'s.

    References
    ----------
    Kirkland, Advanced Computing in Electron Microscopy, doi:10.1007/978-1-4419-6533-2, chapter 3.
    """

    voltage_kv: float
    convergence_mrad: float
    defocus_nm: float = 0.0
    c3_mm: float = 0.0
    source_fwhm_nm: float = 0.0
    tail_loss: float = 0.01

    def kernel(self, pixel_size_nm: float | None, ndim: int) -> NDArray[np.float32]:
        """Odd array of sum 1 on pixels of this size, 2 axes."""
        pixel = _optics(self, pixel_size_nm, ndim)
        if not (np.isfinite([self.defocus_nm, self.c3_mm]).all() and 0 <= self.source_fwhm_nm < np.inf):
            raise ValueError(
                f"defocus {self.defocus_nm} nm, C3 {self.c3_mm} mm, source {self.source_fwhm_nm} nm: expected finite "
                "numbers, and a source of 0 nm or more"
            )
        k_max = _aperture(self.voltage_kv, self.convergence_mrad)
        radius, profile = _round_probe(
            k_max, electron_wavelength_nm(self.voltage_kv), self.defocus_nm, self.c3_mm * 1e6, self.tail_loss
        )
        return round_psf(profile, radius, 0.025 / k_max, pixel, self.source_fwhm_nm / FWHM_PER_SIGMA)


PointSpread = GaussianPSF | LorentzianPSF | AiryPSF | StemProbe | MeasuredPSF
MODELS: dict[str, type[Any]] = {
    "gaussian": GaussianPSF,
    "lorentzian": LorentzianPSF,
    "airy": AiryPSF,
    "stem probe": StemProbe,
}


def electron_wavelength_nm(voltage_kv: float) -> float:
    """λ = h/√(2 m e U (1 + e U/2mc²)) in nm, relativistic: 2.508 pm at 200 kV."""
    if not (np.isfinite(voltage_kv) and voltage_kv > 0):
        raise ValueError(f"the acceleration voltage is {voltage_kv} kV: expected a number above 0, such as 200")
    energy = e * voltage_kv * 1e3
    return float(1e9 * h / np.sqrt(2 * m_e * energy * (1 + energy / (2 * m_e * c**2))))


def describe_psf(psf: PointSpread | NDArray[Any]) -> dict[str, Any]:
    """A JSON-plain description for records; from a model's, `psf_from_description` makes the model again."""
    for name, model in MODELS.items():
        if isinstance(psf, model):
            return {"model": name, **asdict(psf)}
    if isinstance(psf, MeasuredPSF):
        return {"model": "measured", "pixel_size_nm": psf.pixel_size_nm, **psf.record, **describe_array(psf.array)}
    return {"model": "array", **describe_array(np.asarray(psf))}


def psf_from_description(description: dict[str, Any]) -> GaussianPSF | LorentzianPSF | AiryPSF | StemProbe:
    """The model that `describe_psf` described; entries that are not the model's are passed over.

    Raises
    ------
    ValueError
        The description is not a model's: a measured PSF must come as an array.
    """
    model = MODELS.get(str(description.get("model")))
    if model is None:
        raise ValueError(
            f"a PSF of the kind {description.get('model')!r} cannot be made from its description, only "
            f"{', '.join(map(repr, MODELS))}: pass its array"
        )
    names = {field.name for field in fields(model)}
    made: GaussianPSF | LorentzianPSF | AiryPSF | StemProbe = model(
        **{name: value for name, value in description.items() if name in names}
    )
    return made


@lru_cache(maxsize=8)
def _round_probe(
    k_max: float, wavelength_nm: float, defocus_nm: float, c3_nm: float, tail_loss: float
) -> tuple[float, Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
    """(radius that holds 1 − tail_loss of the intensity, I(r)) of a probe; lengths in nm, k in 1/nm.

    ψ(r) = 2π ∫ J₀(2πkr) exp(−iχ(k)) k dk, by Gauss–Legendre quadrature over panels of at most about one period; the
    whole intensity is Parseval's π k_max².
    """
    k = np.linspace(0, k_max, 1000)
    slope = np.abs(2 * np.pi * wavelength_nm * k * (c3_nm * wavelength_nm**2 * k**2 - defocus_nm))
    rays = float(slope.max()) / (2 * np.pi)  # a ray at k lands at χ'(k)/2π
    turns = float(np.trapezoid(slope, k)) / (2 * np.pi)
    reach = rays + 1.5 / (np.pi**2 * k_max * tail_loss) + 2 / k_max
    nodes, weights = np.polynomial.legendre.leggauss(16)
    while True:
        r = np.arange(0, reach, 0.025 / k_max)
        if len(r) > 8192:
            raise ValueError(
                f"the probe would spread over {2 * reach:.3g} nm: check the units (defocus in nm, C3 in mm, semi-angle "
                "in mrad), or raise tail_loss"
            )
        panels = int(np.ceil(k_max * reach + turns)) + 2
        edges = np.linspace(0, k_max, panels + 1)
        k = (edges[:-1, None] + (nodes + 1) / 2 * np.diff(edges)[:, None]).ravel()
        chi = np.pi * wavelength_nm * k**2 * (0.5 * c3_nm * wavelength_nm**2 * k**2 - defocus_nm)
        wave = 2 * np.pi * k * np.exp(-1j * chi) * np.tile(weights, panels) * (k_max / panels / 2)
        parts = np.array_split(r, len(r) * len(k) // 2_000_000 + 1)
        psi = np.concatenate([j0(2 * np.pi * np.outer(part, k)) @ wave for part in parts])
        intensity = np.abs(psi) ** 2
        inside = CubicSpline(r, 2 * np.pi * r * intensity).antiderivative()(r) / (np.pi * k_max**2)
        if inside[-1] >= 1 - tail_loss:
            break
        reach *= 1.5
    radius = float(r[np.searchsorted(inside, 1 - tail_loss)])
    spline = CubicSpline(r, intensity)

    def profile(distance: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(distance <= r[-1], np.maximum(spline(np.minimum(distance, r[-1])), 0), 0)

    return radius, profile


def _aperture(voltage_kv: float, convergence_mrad: float) -> float:
    """α/λ in 1/nm."""
    if not 0 < convergence_mrad < 500:
        raise ValueError(
            f"the semi-angle is {convergence_mrad} mrad: expected more than 0 and less than 500, such as 20"
        )
    return convergence_mrad * 1e-3 / electron_wavelength_nm(voltage_kv)


def _optics(psf: AiryPSF | StemProbe, pixel_size_nm: float | None, ndim: int) -> float:
    """The pixel size, after what every optical model needs."""
    if ndim != 2:
        raise ValueError(f"a {type(psf).__name__} blurs images, 2 axes, asked for {ndim}: use a GaussianPSF")
    check_tail_loss(psf.tail_loss)
    return need_pixel_size(pixel_size_nm, "a PSF from microscope parameters is in nm", "use a Gaussian with σ in px")


def _in_pixels(width: float, unit: Unit, pixel_size_nm: float | None, name: str) -> float:
    if unit == "px":
        return width
    if unit == "nm":
        return width / need_pixel_size(pixel_size_nm, f"the PSF's {name} is in nm", f"give {name} in px")
    raise ValueError(f"the unit of {name} is {unit!r}: expected 'px' or 'nm'")
