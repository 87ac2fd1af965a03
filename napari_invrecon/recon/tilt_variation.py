"""TV-SART and TV: ‖Ax − y‖² + λ TV(x) by accelerated sweeps over the tilts, and by a convergent primal–dual tail.

Memory in bytes a voxel: x, the extrapolated x and the dual's three components make 20, and "tv" adds 4 for Aᵀp; in
bytes a datum beside the data: 4, and with "tv" 16.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.recon.solvers import Iterate, Steps
from napari_invrecon.recon.tilt_rows import ray_powers
from napari_invrecon.recon.tilt_sweep import sweep
from napari_invrecon.recon.volume_tv import advance, ascend, dual_step, shrink, variation_dual, volume_variation

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array
    from napari_invrecon.recon.tilt_problem import TiltProblem


def tv_sart(
    problem: TiltProblem, data: Array, lam: float, weights: Array | None, x: Array, threads: int
) -> Steps[tuple[Array, Array]]:
    """x ← prox of (τλ/2) TV after one sweep x ← x + τ A_tᵀ w (y_t − A_t x) over all tilts, accelerated, τ falling.

    A sweep goes down Σ w (Ax − y)², tilt by tilt, with steps τ/2 times its slope; the proximal map takes the same step
    for λTV. So the fixed point is the minimiser of Σ w (Ax − y)² + λTV(x), x ≥ 0, up to the order of τ, and τ falls as
    β/(1 + (k/25)³) with iteration k: λ means what it means everywhere, and no TV step has to be set by hand. The
    relaxation falls as in ASD-POCS, whose TV steps are in a ratio to the data's that is found by trial; here it is λ.

    τ = β/max_t ‖A_t‖² is some n_tilt times the step of a gradient method, which is what makes it fast: so it stays
    large while momentum carries the coarse structures, and then falls quickly, for what is left is of the order of τ.

    Returns
    -------
    tuple
        x and the dual p/(τ/2) of the gradient, |p| ≤ λ, for whoever goes on.

    Sources: Sidky & Pan 2008, doi:10.1088/0031-9155/53/17/021 (ASD-POCS); Bertsekas 2011,
    doi:10.1007/s10107-011-0472-0 (incremental proximal methods); Beck & Teboulle 2009, doi:10.1137/080716542.
    """
    largest = float(np.max(ray_powers(problem) * (1 if weights is None else weights)))
    ones = np.ones((len(data), 1, 1), np.float32) if weights is None else weights
    dual, ahead, predicted = variation_dual(x.shape), x.copy(), np.empty_like(data)
    done = 0
    if x.any():
        _aim(dual, x, lam, threads)
        done = _DECAY  # the coarse structures are there: large steps would only undo the fine ones
    t, tau_before, share = 1.0, 2.0, 1.0 if problem.relaxation is None else problem.relaxation
    for step in range(1, problem.n_iter + 1):
        tau = share / largest / (1 + ((done + step - 1) / _DECAY) ** 3)
        sweep(problem, data, np.float32(tau) * ones, ahead, False, threads)
        dual *= np.float32(tau / tau_before)
        shrink(ahead, dual, tau * lam / 2, problem.nonnegative, _DUAL_STEPS, threads)
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        moved, size = advance(ahead, dual, x, (t - 1) / t_next, problem.nonnegative, threads)
        t, tau_before = t_next, tau
        _, misfit, residual = problem.left_over(x, data, weights, threads, predicted)
        objective = misfit + lam * volume_variation(x, threads)
        reason = problem.why_last(step, math.sqrt(moved / max(size, 1e-30)) / _SWEEP_SETTLED)
        if (yield Iterate(step, problem.n_iter, x, objective, residual, reason)) or reason:
            break
    dual *= np.float32(2 / tau)
    return x, dual


def tv(problem: TiltProblem, data: Array, lam: float, weights: Array | None, x: Array, threads: int) -> Steps[Array]:
    """min_x Σ w (Ax − y)² + λTV(x), x ≥ 0: `tv_sart` as far as it gets, then primal–dual steps, which converge.

    x ← [x − τ(Aᵀp + ∇ᵀq)]₊; p ← prox of the data term's conjugate at p + σA x̄; q ← P(q + ς∇x̄), |q| ≤ λ; x̄ = 2x_new − x;
    τ(σ‖A‖² + ς‖∇‖²) = 1. They start at p = 2w(Ax − y) and at the dual that the sweeps leave, so that nothing is undone.

    Source: Chambolle & Pock 2011, doi:10.1007/s10851-010-0251-1.
    """
    first = replace(problem, n_iter=max(1, min(_SWEEPS, problem.n_iter // 2)))
    sweeps = tv_sart(first, data, lam, weights, x, threads)
    done, asked = 0, False
    try:
        while not asked:
            iterate = next(sweeps)
            done = iterate.step
            asked = bool((yield replace(iterate, n_steps=problem.n_iter, stage="")))
        sweeps.send(True)
    except StopIteration as end:
        x, q = end.value
    if asked or done == problem.n_iter:
        return x
    sigma, q_step = np.float32(0.5 / _STEP), dual_step(x.shape) / 2  # ς τ, of the dual τq that the kernels take
    q *= np.float32(_STEP)
    ahead, descent = x.copy(), np.empty_like(x)
    projected = problem.predict(x, threads)
    p, of_ahead, work = 2 * (projected - data), projected.copy(), np.empty_like(data)
    shrinkage: Any = 2 / (2 + sigma)
    if weights is not None:
        p *= weights
        shrinkage = 2 * weights / (2 * weights + sigma)
    for step in range(done + 1, problem.n_iter + 1):
        of_ahead -= data
        of_ahead *= sigma
        p += of_ahead
        p *= shrinkage
        ascend(ahead, q, _STEP * lam, q_step, threads)
        work[:] = p
        problem.back(work, threads, descent)
        descent *= np.float32(-_STEP)
        descent += x
        moved, size = advance(descent, q, x, 1, problem.nonnegative, threads)
        ahead, descent = descent, ahead
        problem.predict(ahead, threads, of_ahead)
        projected += of_ahead  # Ax = (Ax̄ + Ax_before)/2
        projected *= np.float32(0.5)
        misfit = problem.misfit(np.subtract(data, projected, out=work), weights)
        objective = misfit + lam * volume_variation(x, threads)
        residual = problem.over_noise(misfit, weights, data.size)
        reason = problem.why_last(step, math.sqrt(moved / max(size, 1e-30)) / _SETTLED)
        if (yield Iterate(step, problem.n_iter, x, objective, residual, reason)) or reason:
            break
    return x


_SWEEPS = 60  # at most, and at most half of the iterations; the tail has the rest
_SWEEP_SETTLED = 0.5  # of the tolerance: changes get smaller with τ, whether or not the minimum is near
_SETTLED = 0.1  # of the tolerance: a primal–dual step is that much smaller than a sweep's
_STEP = 2.5  # τ: x is larger than its duals, λ and 2wσ; measured on phantoms
_DECAY = 25  # sweeps after which the step has halved
_DUAL_STEPS = 6  # towards the prox, from where the last sweep left its dual


def _aim(dual: Array, x: Array, lam: float, threads: int) -> None:
    """p = λ∇x/|∇x| where x has an edge: the dual at a minimiser, for a start that is near one."""
    ascend(x, dual, lam, 1e3 * lam / max(float(x.max()), 1e-30), threads)
