"""argmin_{x ≥ 0} Σ D(x_i, b_i) + ½‖(H − h₀ − A Σ a_i x_i^γ)/s_H‖² + λ Σ w_i TV_ξ(x_i), by Gauss–Newton steps.

At each step the HAADF's term is replaced by one that is linear in x under the square, which `fusion_solver` takes; a
line search on the objective itself makes it fall. A is met by ‖Av − r‖² ≤ ‖v − v₀ − Aᵀ(r − Av₀)‖² + const, ‖A‖ ≤ 1.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from napari_invrecon.recon.fusion_solver import FusionProblem, Solution, objective, primal_dual
from napari_invrecon.recon.solvers import Iterate, Steps, finish

if TYPE_CHECKING:
    from napari_invrecon.recon.couplings import Calibration
    from napari_invrecon.recon.operators import Array

_INNER = 20
_HALVINGS = 8


def linearised(problem: FusionProblem, found: Calibration, haadf: Array, x: Array) -> FusionProblem:
    """The problem with the HAADF's term expanded about x; exact for γ = 1 without a PSF."""
    residual = np.nan_to_num(found.residual(haadf, x))
    weight = np.isfinite(haadf) / found.spread
    rise = found.slopes[:, None, None] * found.gamma * np.maximum(x, 0) ** (found.gamma - 1)
    target = found.blurred(residual) + (rise * x).sum(0)
    return dataclasses.replace(
        problem, slope=(rise * weight).astype(np.float32), target=(target * weight).astype(np.float32)
    )


def power_objective(problem: FusionProblem, found: Calibration, haadf: Array, x: Array, lam: float) -> float:
    """The objective; the HAADF's term of ``problem`` itself is not in it."""
    plain = dataclasses.replace(problem, slope=np.zeros_like(problem.slope), target=np.zeros_like(problem.target))
    off = np.nan_to_num(found.residual(haadf, x).astype(np.float64)) / found.spread
    return objective(plain, x, lam) + 0.5 * float(np.sum(off**2))


def gauss_newton(
    problem: FusionProblem, found: Calibration, haadf: Array, lam: float, start: Solution | Array,
    *, n_iter: int = 200, tolerance: float = 2e-3,
) -> Steps[Solution]:  # fmt: skip
    """A stationary point from a start that is positive: where x is 0, x^γ has no slope and never grows."""
    inner = start
    x = start.x if isinstance(start, Solution) else start
    history, done, converged = [power_objective(problem, found, haadf, x, lam)], 0, False
    while done < n_iter and not converged:
        step = finish(primal_dual(linearised(problem, found, haadf, x), lam, inner, n_iter=_INNER, tolerance=0.0))
        done += step.n_iter
        length = 1.0
        for _ in range(_HALVINGS):
            ahead = (x + np.float32(length) * (step.x - x)).astype(np.float32)
            value = power_objective(problem, found, haadf, ahead, lam)
            if value <= history[-1]:
                break
            length /= 2
        else:
            converged = True
            break
        # An inner solution that is still astray leaves x where it is, which is no minimiser for that.
        converged = float(np.linalg.norm(step.last - x)) <= tolerance * float(np.linalg.norm(x))
        x, inner = ahead, dataclasses.replace(step, x=ahead)
        history.append(value)
        if (yield Iterate(done, n_iter, x, history[-1])):
            break
    if not isinstance(inner, Solution):
        inner = Solution(x, np.zeros((len(x), 2, *x.shape[1:]), np.float32), (), 0, False, x)
    return dataclasses.replace(inner, x=x, objective=tuple(history), n_iter=done, converged=converged)
