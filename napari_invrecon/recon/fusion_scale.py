"""s x of greatest likelihood, one s for each map: what the total variation took of its counts, given back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_invrecon.recon.fusion_solver import FusionProblem, Solution
    from napari_invrecon.recon.operators import Array

_ROUNDS, _NEAR = 30, 1e-6
_MOST, _TINY = 100.0, 1e-9


def rescaled(problem: FusionProblem, solution: Solution) -> Solution:
    """The solution with each map times `scales`."""
    factor = scales(problem, solution.x)[:, None, None].astype(np.float32)
    return dataclasses.replace(solution, x=solution.x * factor)


def scales(problem: FusionProblem, x: Array) -> Any:
    """s (element,) with Σ x (1 − b/(s x + g)) = 0 for counts, Σ w x (s x + g − b) = 0 for values; 1 where x is 0.

    At the minimiser TV has taken λTV(x) of the counts, most from what is small or faint. Of counts without a background
    s x has as many as the data. From 0 to 100.
    """
    seen = x if problem.sampling is None else problem.sampling(x)
    found = np.ones(len(x))
    for i, (here, b) in enumerate(zip(seen, problem.data, strict=True)):
        g, w = problem.background[i], problem.precision[i]
        known = np.isfinite(b)
        if not known.all():
            g, w = (np.broadcast_to(each, b.shape)[known] for each in (g, w))
            here, b = here[known], b[known]
        if problem.counts:
            found[i] = _of_counts(here, b, g)
        elif (size := float(np.sum(w * here**2, dtype=float))) > 0:
            found[i] = float(np.sum(w * here * (b - g), dtype=float)) / size
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
