"""R: what is believed of the object before it is measured, as a value and a proximal map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from napari_invrecon.recon.gradients import GRADIENT, gradient, shrink_gradient_step, total_variation
from napari_invrecon.recon.operators import IDENTITY, Array, Transform, gradient_power


@dataclass(frozen=True)
class Regulariser:
    """A convex function R(x) = r(Kx), with K such as the identity or the gradient.

    Attributes
    ----------
    K
        What r acts on.
    value
        R(x), of the image itself.
    prox
        (v, step) → argmin_u step · r(u) + ½‖u − v‖², for v = Kx.
    degree
        R(sx) = s^degree R(x) for s > 0: 1 for norms, 2 for quadratic functions, 0 where no R is known. With it
        r(u) = ⟨u, v − u⟩ / (degree · step) for u = prox(v, step), at no cost.
    power
        For a quadratic R = ‖Lx‖², |L|² on the ``rfftn`` grid of a shape: then there is a closed form. Else None.
    fused
        A faster form of the prox inside an alternating direction method, as `gradients.shrink_gradient_step`.
    stiffness
        The weight ρ of the copy of Kx in that method, in units of λ: it decides how fast, not where to.
    """

    K: Transform
    value: Callable[[Array], float]
    prox: Callable[[Array, float], Array]
    degree: int = 2
    power: Callable[[tuple[int, ...]], Array] | None = None
    fused: Callable[[Array, Array, Array, float, float, tuple[int, ...], int], float] | None = None
    stiffness: float = 10.0


def _sum(x: Array) -> float:
    return float(np.sum(x, dtype=np.float64))


def l2() -> Regulariser:
    """R(x) = ‖x‖²: the values are small."""
    return Regulariser(
        IDENTITY,
        lambda x: _sum(np.square(x)),
        lambda v, step: v / np.float32(1 + 2 * step),
        power=IDENTITY.power,
    )


def tikhonov() -> Regulariser:
    """R(x) = ‖∇x‖²: the object varies slowly. Source: Tikhonov & Arsenin 1977."""
    return Regulariser(
        GRADIENT,
        lambda x: _sum(np.square(gradient(x))),
        lambda v, step: v / np.float32(1 + 2 * step),
        power=gradient_power,
    )


def tv() -> Regulariser:
    """R(x) = Σ |∇x|, isotropic: the object is piecewise constant.

    Source: Rudin, Osher & Fatemi 1992, doi:10.1016/0167-2789(92)90242-F.
    """

    def prox(v: Array, step: float) -> Array:
        length = np.sqrt(np.square(v).sum(axis=0))
        shrunk: Array = v * (1 - np.minimum(1, np.float32(step) / np.maximum(length, np.float32(1e-30))))
        return shrunk

    return Regulariser(GRADIENT, total_variation, prox, degree=1, fused=shrink_gradient_step, stiffness=6.0)


def l1() -> Regulariser:
    """R(x) = Σ |x|: the object is zero almost everywhere. Source: Daubechies et al. 2004, doi:10.1002/cpa.20042."""

    def prox(v: Array, step: float) -> Array:
        shrunk: Array = v - np.clip(v, np.float32(-step), np.float32(step))
        return shrunk

    return Regulariser(IDENTITY, lambda x: _sum(np.abs(x)), prox, degree=1)
