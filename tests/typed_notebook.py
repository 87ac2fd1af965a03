"""The API as the notebook of a user who checks types: mypy, strict, finds no fault with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import napari_invrecon as ir

if TYPE_CHECKING:
    import numpy as np


def sharpened(image: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> ir.Reconstruction:
    """With settings as keyword arguments."""
    curve = ir.lambda_curve(image, ir.gaussian_psf(sigma_px=3.0), regulariser="tikhonov")
    assert_type(curve, ir.LambdaCurve)
    return ir.deconvolve(image, ir.gaussian_psf(sigma_px=3.0), regulariser="tv", lam=0.1, noise="poisson")


def volume(stack: object, angles_deg: object) -> ir.Reconstruction:
    """Aligned first."""
    found = ir.align(stack, angles_deg, tilt_axis="y")
    assert_type(found, ir.Alignment)
    result = ir.reconstruct_tilt_series(ir.apply_alignment(stack, found), angles_deg, algorithm="tv-sart", lam=None)
    assert_type(result.lam, float)
    return ir.replay(result.record, [stack, angles_deg])


def fused(haadf: object, maps: object) -> str:
    """And told."""
    result = ir.fuse(haadf, maps, coupling="edges", lam=1.0)
    assert_type(result, ir.FusionResult)
    return ir.methods_paragraph(result.record)
