"""s x of greatest likelihood, one s for each map: what the total variation took of its counts, given back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.fusion_solver import FusionProblem, Solution
    from napari_invrecon.recon.operators import Array

_ROUNDS, _NEAR = 30, 1e-6
_MOST, _TINY = 100.0, 1e-9


def rescaled(problem: FusionProblem, solution: Solution) -> Solution:
    """The solution with each map times `scales`."""
    factor = scales(problem, solution.x)[:, None, None].astype(np.float32)
    return dataclasses.replace(solution, x=solution.x * factor)


def scales(problem: FusionProblem, x: Array) -> NDArray[np.float64]:
    """s (element,) with Σ x (1 − b/(s x + g)) = 0, from 0 to 100; 1 for values.

    At the minimiser TV has taken λTV(x) of the counts, most from what is small or faint: without a background, s x has
    as many as the data. From values it takes contrast, and nothing in total.
    """
    found = np.ones(len(x))
    if not problem.counts:
        return found
    seen = x if problem.sampling is None else problem.sampling(x)
    for i, (here, b) in enumerate(zip(seen, problem.data, strict=True)):
        g, known = problem.background[i], np.isfinite(b)
        if known.all():
            found[i] = _of_counts(here, b, g)
        else:
            found[i] = _of_counts(here[known], b[known], np.broadcast_to(g, b.shape)[known])
    return np.clip(found, 0, _MOST)


def _of_counts(x: Any, b: Any, g: Any) -> float:
    """The root in s, by Newton's steps on a likelihood that is concave in it."""
    total, s = float(x.sum(dtype=float)), 1.0
    if total <= 0:
        return s
    if not g.any():
        return float(b.sum(dtype=float)) / total
    lit = (b > 0) & (x > 0)
    there, counted, beside = (np.broadcast_to(each, b.shape)[lit].astype(np.float64) for each in (x, b, g))
    for _ in range(_ROUNDS):
        share = there / np.maximum(s * there + beside, _TINY)
        slope, bend = float(counted @ share) - total, float(counted @ share**2)
        before, s = s, max(s + slope / bend, s / 2) if bend > 0 else s
        if abs(s - before) <= _NEAR * s:
            break
    return s
