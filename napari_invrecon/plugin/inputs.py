"""What a deconvolution is made of, as the dock shows it: taken in the GUI's thread, read in the worker's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_invrecon.plugin.psf_layer import PsfLayer
from napari_invrecon.plugin.regions import Region
from napari_invrecon.recon.deconvolution import curve_steps, deconvolution
from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
from napari_invrecon.recon.residual import residual_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.lambda_choice import LambdaCurve
    from napari_invrecon.recon.record import Reconstruction
    from napari_invrecon.recon.solvers import Steps


@dataclass(frozen=True, eq=False)
class Inputs:
    """The image's data (…, y, x), a PSF model or layer, the pixels to ignore and those of a flat object, and settings.

    The methods that give steps, and `arrays`, are for the worker's thread: they read layers.
    """

    image: Any
    psf: Any
    ignored: Region | None
    flat: Region | None
    settings: DeconvolutionSettings

    @property
    def closed_form(self) -> bool:
        """Whether one division in Fourier space solves it."""
        settings = self.settings
        quadratic = settings.regulariser in ("l2", "tikhonov") and settings.noise == "gaussian"
        return quadratic and not (settings.nonnegative or settings.boundary == "masked" or self.ignored is not None)

    def same(self, other: Inputs) -> bool:
        """Equal but for λ, the image by identity."""
        mine, its = (dataclasses.replace(each.settings, lam=None) for each in (self, other))
        return self.image is other.image and (self.psf, self.ignored, self.flat, mine) == (
            other.psf,
            other.ignored,
            other.flat,
            its,
        )

    def arrays(self) -> tuple[Any, NDArray[Any] | None, NDArray[Any] | None]:
        """(PSF, weights, reference) as `deconvolve` takes them."""
        psf = self.psf.read() if isinstance(self.psf, PsfLayer) else self.psf
        weights = None if self.ignored is None else ~self.ignored.mask()
        return psf, weights, None if self.flat is None else self.flat.mask()

    def run(self) -> Steps[Reconstruction]:
        """The whole image."""
        psf, weights, reference = self.arrays()
        return deconvolution(self.image, psf, weights, self.settings, reference)

    def curve(self) -> Steps[LambdaCurve]:
        """The λ curve only."""
        psf, weights, reference = self.arrays()
        return curve_steps(self.image, psf, weights, self.settings, reference=reference)

    def residual(self, x: Any, record: dict[str, Any]) -> Steps[NDArray[Any]]:
        """What a result leaves unexplained."""
        return residual_steps(self.image, x, self.arrays()[0], record)
