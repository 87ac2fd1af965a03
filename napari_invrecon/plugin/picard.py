"""Why the image of the dock "Deconvolve" cannot simply be divided by its OTF: in the numbers of `recon.naive`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_invrecon.recon.boundary import mirror, mirror_frame, periodic_frame
from napari_invrecon.recon.deblurring import fill_gaps
from napari_invrecon.recon.deconvolution_lambda import busiest_piece
from napari_invrecon.recon.deconvolution_scene import prepare
from napari_invrecon.recon.naive import FilterFactors, NaiveInverse, filter_factors, naive
from napari_invrecon.recon.solvers import Iterate

if TYPE_CHECKING:
    from napari_invrecon.plugin.inputs import Inputs
    from napari_invrecon.recon.solvers import Steps


@dataclass(frozen=True)
class Picard:
    """The unregularised inverse, and what a λ takes of it.

    Attributes
    ----------
    inverse
        Singular values and Picard quantities, in the image's units.
    factors
        Of the chosen regulariser; None where it is no linear filter.
    exact
        Whether these factors are all that happens: no x ≥ 0, no mask.
    regulariser
        Its name.
    ndim
        Number of axes longer than one.
    """

    inverse: NaiveInverse
    factors: FilterFactors | None
    exact: bool
    regulariser: str
    ndim: int

    @property
    def drowned(self) -> float:
        """The share of the frequencies whose datum lies below the noise, or does not get through at all."""
        found = self.inverse
        if not found.noise_floor:
            return found.lost / found.size
        return 1 - float(found.rank[np.argmax(found.singular <= found.noise_floor)]) / found.size


def picard_steps(inputs: Inputs) -> Steps[Picard]:
    """Invert the piece on which λ is chosen, mirrored at its edges unless the boundary is periodic."""
    yield Iterate(0, 1, stage="dividing by the OTF")
    psf, weights, reference = inputs.arrays()
    settings = dataclasses.replace(inputs.settings, lam=None)
    scene = prepare(inputs.image, psf, weights, settings, reference)
    blur = scene.blur
    y, counted = busiest_piece(scene)
    if counted is not None:
        y = fill_gaps(y, counted)
    whole = [(n, n) for n in y.shape]
    frame = periodic_frame(y.shape) if blur.boundary == "periodic" else mirror_frame(y.shape, whole)
    found = naive(
        mirror(y, frame).astype(np.float64) * scene.scale,
        blur.kernel,
        noise_sigma=scene.sigma or 0.0,
        normalise_psf=False,
    )
    factors = None if blur.power is None else filter_factors(blur.kernel, blur.power(frame.shape), frame.shape)
    return Picard(
        found,
        factors,
        blur.noise == "gaussian" and not blur.nonnegative and weights is None,
        blur.regulariser,
        sum(n > 1 for n in y.shape),
    )


def in_words(found: Picard, lam: float | None) -> str:
    """Say how ill-posed the image is, and what λ makes of it."""
    inverse = found.inverse
    if np.isfinite(inverse.condition):
        first = (
            f"κ(H) = {inverse.condition:.3g}: dividing by the OTF multiplies noise by up to that, "
            f"{inverse.amplification:.3g} on average."
        )
    else:
        first = f"κ(H) is infinite: {_percent(inverse.lost / inverse.size)} of the frequencies do not get through."
    if not inverse.noise_sigma:
        second = "No noise level is known."
    elif found.drowned:
        second = (
            f"{_percent(found.drowned)} of the frequencies lie below the noise (σ = {inverse.noise_sigma:.3g}): "
            "there H⁻¹y is noise, divided by a small σᵢ."
        )
    else:
        second = f"No frequency lies below the noise (σ = {inverse.noise_sigma:.3g})."
    return f"{first} {second} {_of_lam(found, lam)}"


def _of_lam(found: Picard, lam: float | None) -> str:
    if found.factors is None:
        return (
            f"{found.regulariser} is no linear filter and has no factors; what lies below the noise it fills with what "
            "it believes of the object. l2 and tikhonov have factors."
        )
    if lam is None:
        return "Press Run, or set λ, to see how much of this it takes away."
    penalty = "λ" if found.regulariser == "l2" else "λ|L|²"
    more = "" if found.exact else " before x ≥ 0, masks and counts are heeded"
    return (
        f"With λ = {lam:.3g} the factor σ²/(σ² + {penalty}) is below ½ for {_percent(found.factors.filled(lam))} of "
        f"the frequencies{more}: these are filled by the prior rather than the data."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 or share == 1 else "over 99 %"
