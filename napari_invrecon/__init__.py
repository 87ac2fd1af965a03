"""Regularised inverse reconstruction for electron microscopy: x̂ = argmin Σ w D(Hx, y) + λR(x).

    import napari_invrecon as ir
    result = ir.deconvolve(image, ir.gaussian_psf(2.0))
    result.data, result.lam, result.record
"""

from napari_invrecon.recon.deconvolution import DeconvolutionSettings, deconvolve, lambda_curve
from napari_invrecon.recon.lambda_choice import LambdaCurve
from napari_invrecon.recon.psf import gaussian_psf
from napari_invrecon.recon.record import Reconstruction

__all__ = ["DeconvolutionSettings", "LambdaCurve", "Reconstruction", "deconvolve", "gaussian_psf", "lambda_curve"]
