"""Regularised inverse reconstruction for electron microscopy: x̂ = argmin Σ w D(Hx, y) + λR(x).

import napari_invrecon as ir
result = ir.deconvolve(image, ir.gaussian_psf(2.0))
result.data, result.lam, result.record
"""

import logging

import lazy_loader

# What there is stands in __init__.pyi. It is imported when it is first used: the numerics take seconds, and whoever
# drops a file on napari needs its reader only.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

logging.getLogger(__name__).addHandler(logging.NullHandler())  # whoever wants to read the log adds a real one
