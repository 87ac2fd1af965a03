"""What an elemental map amounts to and rests on, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_invrecon.recon.channel_noise import ChannelNoise
    from napari_invrecon.recon.spectra import ElementMap

_SIGNIFICANT = 3.0


def amounts(told: Mapping[str, Any], variance: NDArray[Any]) -> tuple[str, str]:
    """("2.72e3 ± 53", "0.665 ± 0.83"): of all pixels together, and their mean with the error that each has.

    ``told`` is what the record says of the map.
    """
    mean = told["total"] / max(told["pixels"], 1)
    known = variance[np.isfinite(variance)]
    sigma = float(np.sqrt(known.mean())) if known.size else float("nan")
    return f"{short(told['total'])} ± {short(told['total_sigma'], 2)}", f"{short(mean)} ± {short(sigma, 2)}"


def verdict(found: ElementMap, noise: ChannelNoise) -> str:
    """A warning where the map shows nothing but noise or is below its background, and what it rests on."""
    told, name = found.summary, found.window.name
    if not np.isfinite(found.net).any():
        return f"{name}: every pixel holds NaN in these windows"
    parts = []
    if abs(told["total"]) < _SIGNIFICANT * told["total_sigma"] or not told["total"]:
        parts.append(f"No {name} above the noise")
    elif told["total"] < 0:
        parts.append("Less than its background, which is taken too high: move its windows off other edges or lines")
    if told["exponent"] is not None:
        parts.append(f"r = {told['exponent']:.3g}")
    if found.window.model != "none":
        parts.append(_shape(told["share_px"], known=told["shape_is_known"]))
    if noise.source.startswith("estimated"):
        parts.append(f"gain {noise.gain:.3g}, read noise {noise.read_sigma:.3g}, estimated")
    return " · ".join(parts)


def _shape(width: int, *, known: bool) -> str:
    if not known:
        return "too little background to tell its shape: taken as flat"
    if width == 1:
        return "shape of background: each pixel's own"
    return f"shape of background from {'all pixels' if width == 0 else f'{width} × {width} pixels'}"


def short(value: float, digits: int = 3) -> str:
    """A number without padding, such as 120 or 2.9e7."""
    return f"{value:.{digits}g}".replace("e+0", "e").replace("e-0", "e-")
