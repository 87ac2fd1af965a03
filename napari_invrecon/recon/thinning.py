"""λ and the coupling by thinning: solve from a part of the counts, and predict the independent rest."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from napari_invrecon.recon.detector import thin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.fusion_solver import FusionProblem
    from napari_invrecon.recon.operators import Array


def split(problem: FusionProblem, held_out: float, rng: np.random.Generator) -> tuple[FusionProblem, Array]:
    """(the problem for a share 1 − f of the data, the rest): two data sets with independent noise.

    Counts are drawn binomially. Values with noise σ go as (1 − f)b + √(f(1 − f)) σ N(0, 1), and the rest is what b has
    beyond it. λ, in units of the noise, keeps its meaning; the HAADF's term is the caller's.

    Source: Neufeld et al. 2024, J. Mach. Learn. Res. 25 (57), Data thinning for convolution-closed distributions.
    """
    b, share = problem.data, 1 - held_out
    known = np.isfinite(b)
    if problem.counts:
        kept = thin(np.where(known, b, 0), share, rng)[0].astype(np.float32)
    else:
        noise = rng.standard_normal(b.shape, np.float32) * problem.sigma
        kept = (share * b + np.sqrt(held_out * share) * noise).astype(np.float32)
    kept[~known] = np.nan
    part = dataclasses.replace(
        problem,
        data=kept,
        unit=(problem.unit * np.sqrt(share)).astype(np.float32),
        background=(problem.background * share).astype(np.float32),
    )
    return part, b - kept


def excess_errors(problem: FusionProblem, x: Array, rest: Array, held_out: float) -> NDArray[np.float64]:
    """((rest/f − x − g)² − variance)/unit² (element, y, x): of each datum an unbiased estimate of x's squared error.

    ``x`` solves the part, in units of the whole; in units of the noise variance of one datum of the whole. All data
    weigh alike: variances that are told from few counts would weigh most where nothing happened to be counted.
    """
    off = (rest / held_out - x - problem.background).astype(np.float64)
    unit2 = np.square(problem.unit[:, None, None], dtype=np.float64)
    variance = rest / held_out**2 if problem.counts else np.square(problem.sigma) / held_out
    return np.asarray((off**2 - variance) / unit2)
