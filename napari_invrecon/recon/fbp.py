"""Filtered back-projection: the direct inverse of a tilt series with many tilts and little noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from napari_invrecon.recon.operators import fft_workers
from napari_invrecon.recon.projector import adjoint
from napari_invrecon.recon.solvers import Iterate, Steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_invrecon.recon.operators import Array
    from napari_invrecon.recon.tilt_problem import FilterName, TiltProblem


def fbp(problem: TiltProblem, data: Array, weights: Array | None, threads: int) -> Steps[Array]:
    """x = Σ_t Δθ_t (k ⋆ y_t)(u_t(x, z)): each tilt is filtered with the ramp |ν|, windowed, and smeared back.

    Tilts of weight 0 are left out; other weights do not count. The smear is `projector.adjoint`, whose weights sum to
    one over u, but for the discretisation.

    Source: Kak & Slaney, Principles of Computerized Tomographic Imaging, 1988, doi:10.1137/1.9780898719277, ch. 3.
    """
    used = np.arange(len(data))
    if weights is not None:
        used = np.flatnonzero(np.broadcast_to(weights, data.shape).any(axis=(1, 2)))
    geometry = problem.geometry.subset(used)
    n = fft.next_fast_len(2 * geometry.detector, real=True)
    gain = filter_response(problem.filter, n)
    filtered = fft.rfft(data[used], n, axis=1, workers=min(threads, fft_workers()))
    filtered *= (angular_weights(geometry.angles_deg)[:, None] * gain).astype(np.float32)[:, :, None]
    filtered = fft.irfft(filtered, n, axis=1, workers=min(threads, fft_workers()))[:, : geometry.detector]
    x = adjoint(geometry, np.ascontiguousarray(filtered), threads=threads)
    x *= np.float32(problem.norm)  # data are those of A = H/‖H‖
    if problem.nonnegative:
        np.maximum(x, 0, out=x)
    difference = problem.predict(x, threads)
    difference -= data
    misfit = problem.misfit(difference, weights)
    yield Iterate(1, 1, x, misfit, problem.over_noise(misfit, weights, data.size), "a direct method")
    return x


def angular_weights(angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Δθ of each tilt in radians: half the way to the neighbours on either side, modulo 180°.

    Equal angles share one weight. A gap of more than 1.5 times the largest step between its neighbours, such as a
    missing wedge, is not filled: the tilts at its rim get half their inner step beyond them.
    """
    folded, place, count = np.unique(np.round(angles_deg % 180, 6), return_inverse=True, return_counts=True)
    if len(folded) == 1:
        return np.full(len(angles_deg), np.pi / len(angles_deg))
    steps = np.diff(np.append(folded, folded[0] + 180))  # from each tilt to the next
    widest = int(np.argmax(steps))
    others = np.delete(steps, widest)
    if steps[widest] > 1.5 * others.max():
        # The rim's tilts take as much on the outside as on the inside.
        before, after = np.roll(steps, 1), steps.copy()
        after[widest] = before[widest]
        before[(widest + 1) % len(steps)] = steps[(widest + 1) % len(steps)]
    else:
        before, after = np.roll(steps, 1), steps
    share = np.deg2rad((before + after) / 2) / count
    weights: NDArray[np.float64] = share[place]
    return weights


def filter_response(name: FilterName, n: int) -> NDArray[np.float64]:
    """|ν| times a window W(ν/ν_Nyquist) on the ``rfft`` grid of n samples.

    The ramp is the transform of the band-limited kernel in space, ¼ at 0, −1/(πj)² at odd j, 0 at even j: so its mean
    is right where one sampled in frequency is 0. Windows: "shepp-logan" sinc(ν/2), "cosine" cos(πν/2), "hamming"
    .54 + .46 cos πν, "hann" (1 + cos πν)/2.
    """
    j = np.minimum(np.arange(n), n - np.arange(n))
    odd = j % 2 == 1
    kernel = np.zeros(n)
    kernel[0] = 0.25
    kernel[odd] = -1 / (np.pi * j[odd]) ** 2
    nu = np.arange(n // 2 + 1) / (n / 2)
    windows = {
        "ramp": np.ones_like(nu),
        "shepp-logan": np.sinc(nu / 2),
        "cosine": np.cos(np.pi * nu / 2),
        "hamming": 0.54 + 0.46 * np.cos(np.pi * nu),
        "hann": (1 + np.cos(np.pi * nu)) / 2,
    }
    if name not in windows:
        raise ValueError(f"unknown filter {name!r}: expected one of {', '.join(windows)}")
    response: NDArray[np.float64] = fft.rfft(kernel).real * windows[name]
    return response
