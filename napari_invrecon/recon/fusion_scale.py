"""Fused maps with the total of their data: what TV took of it given back, what x ≥ 0 added to it taken off."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.fusion_solver import FusionProblem, Solution
    from napari_invrecon.recon.operators import Array

_TINY = 1e-6  # of a map's noise in one pixel: less in all of them is nothing


def rescaled(problem: FusionProblem, solution: Solution) -> Solution:
    """The solution whose totals are `scales` times as large.

    TV takes contrast, a share of what is there: to have more, x is multiplied. x ≥ 0 adds the noise above 0, which is
    everywhere: to have less, one number is taken off all pixels, as far as they hold it, which is the nearest map ≥ 0
    of that total.
    """
    x = solution.x.copy()
    for each, scale in zip(x, scales(problem, x), strict=True):
        if scale >= 1 or not problem.nonnegative:
            each *= np.float32(scale)
        else:
            each[...] = _lowered(each, scale * float(each.sum(dtype=float)))
    return dataclasses.replace(solution, x=x)


def scales(problem: FusionProblem, x: Array) -> NDArray[np.float64]:
    """(element,): by what the totals of x are to be multiplied; 1 for values that may be negative.

    With T = max(Σ b − g, 0) and d = T − Σ x, the new total is Σ x + d max(0, 1 − noise²/d²): the data's, as far as its
    own noise does not explain what they differ by. noise² is Σ g for counts, beyond their own noise, so that without a
    background the total is T; and Σ σ² for values. Their total is not in the minimiser: pixels where there is much
    vary more and weigh less, so that TV takes more from them than it gives to others.

    Source: Green & Strawderman 1991, J. Am. Stat. Assoc. 86, 1001 (of a biased and an unbiased estimate).
    """
    found = np.ones(len(x))
    if not (problem.counts or problem.nonnegative):
        return found
    seen = x if problem.sampling is None else problem.sampling(x)
    noise2 = np.broadcast_to(problem.background if problem.counts else problem.sigma**2, problem.data.shape)
    net = problem.data - problem.background
    for i, (here, b, v) in enumerate(zip(seen, net, noise2, strict=True)):
        known = np.isfinite(b)
        own, measured, noise = (float(each[known].sum(dtype=float)) for each in (here, b, v))
        off = max(measured, 0.0) - own
        if own > _TINY * problem.unit[i] and off**2 > noise:
            found[i] = 1 + off * (1 - noise / off**2) / own
    return found


def _lowered(x: Array, total: float) -> Array:
    """max(x − c, 0) of this total, which is less than that of x ≥ 0.

    Source: Michelot 1986, doi:10.1007/BF00938486 (projection on a simplex).
    """
    above, c = x[x > 0], np.float32(0)
    while above.size:
        c = np.float32((above.sum(dtype=float) - total) / above.size)
        still = above[above > c]
        if still.size == above.size:
            break
        above = still
    return np.asarray(np.maximum(x - c, 0), np.float32)
