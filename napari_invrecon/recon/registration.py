"""Where an image lies against another one: cross-correlation for pixels, least squares for hundredths of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_invrecon.recon.operators import fft_workers
from napari_invrecon.recon.tilt_images import over_tilts, taper

if TYPE_CHECKING:
    from napari_invrecon.recon.operators import Array


def chained_shifts(images: Array, order: list[int]) -> NDArray[np.float64]:
    """Shifts (tilt, 2) that put each image onto its neighbour, summed from the first one of ``order`` outwards.

    The images are windowed and band-passed; the peak of the cross-correlation is a parabola's. ``order`` are tilts in
    the order of their angles; a tilt that is not in it gets the shift between its neighbours in the stack.

    Source: Guckenberger 1982, doi:10.1016/0304-3991(82)90280-7.
    """
    n, n_u, n_v = images.shape
    window = (taper(n_u, 0.3)[:, None] * taper(n_v, 0.3)).astype(np.float32)
    radius = np.hypot(np.fft.fftfreq(n_u)[:, None], np.fft.rfftfreq(n_v))
    band = np.exp(-((radius / _HIGHEST) ** 2)) * -np.expm1(-((radius * min(n_u, n_v) / _LOWEST_CYCLES) ** 2))
    spectra = {i: fft.rfft2(window * images[i], workers=fft_workers()) * band for i in order}

    def to_neighbour(k: int) -> NDArray[np.float64]:
        cross = spectra[order[k]] * spectra[order[k + 1]].conj()
        return _peak(fft.irfft2(cross, s=(n_u, n_v)))

    steps = np.array([[0.0, 0.0], *over_tilts(to_neighbour, len(order) - 1)])
    shifts = np.full((n, 2), np.nan)
    shifts[order] = np.cumsum(steps, axis=0)
    return filled(shifts)


_HIGHEST = 0.15  # cycles a pixel: finer detail is noise, or differs between neighbouring tilts
_LOWEST_CYCLES = 3.0  # cycles over the image: coarser is uneven background


def filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(tilt, 2) with NaN rows replaced by what lies between their neighbours in the stack."""
    known = np.flatnonzero(np.isfinite(values[:, 0]))
    columns = [np.interp(np.arange(len(values)), known, values[known, axis]) for axis in range(values.shape[1])]
    return np.stack(columns, axis=1)


def _peak(correlation: NDArray[Any]) -> NDArray[np.float64]:
    """Where the maximum of a periodic correlation lies, to a fraction of a pixel."""
    place = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
    found = []
    for axis, index in enumerate(place):
        n = correlation.shape[axis]
        row = np.take(correlation, [(index - 1) % n, index, (index + 1) % n], axis)[
            tuple(slice(None) if a == axis else place[a] for a in range(2))
        ].astype(float)
        curvature = row[0] - 2 * row[1] + row[2]
        fraction = 0.5 * (row[0] - row[2]) / curvature if curvature < 0 else 0.0
        found.append((index + n // 2) % n - n // 2 + fraction)
    return np.array(found)


def common_line_shifts(
    profiles: NDArray[np.float64], used: NDArray[np.bool_], start: NDArray[np.float64], n_rounds: int = 8
) -> NDArray[np.float64]:
    """Shifts (tilt,) along the axis that make the profiles (tilt, v), each a sum across the axis, one and the same.

    From ``start`` on, each is fitted as a · mean(v + s), by least squares with the mean's derivative, under a taper;
    the mean is that of the profiles where they have been put so far.

    Source: Scott et al. 2012, doi:10.1038/nature10934 (common line).
    """
    n, n_v = profiles.shape
    window = taper(n_v, 0.3)
    scaled = profiles / np.maximum(np.abs(profiles).mean(1, keepdims=True), 1e-30)
    shifts = start.copy()
    for _ in range(n_rounds):
        there = np.stack(
            [ndimage.shift(row, s, order=3, mode="nearest") for row, s in zip(scaled, shifts, strict=True)]
        )
        mean = there[used].mean(0)
        basis = np.stack([mean, np.gradient(mean), np.ones(n_v)])
        a, slope, _ = np.linalg.lstsq((basis * window).T, (there * window).T, rcond=None)[0]
        step = np.clip(np.divide(slope, a, out=np.zeros(n), where=a != 0), -3, 3)
        step[~used] = 0
        shifts += step - step[used].mean()
        if np.abs(step).max() < 1e-3:
            break
    return shifts


@dataclass(frozen=True)
class Fit:
    """images ≈ a · references(p − s − δψ × p): what least squares finds.

    ``shifts`` s (tilt, 2); ``rotation_deg`` δψ common to all tilts; ``residual`` (tilt,) ‖image − fit‖/‖image‖.
    """

    shifts: NDArray[np.float64]
    rotation_deg: float
    residual: NDArray[np.float64]


def fit_to(images: Array, references: Array, weights: Array) -> Fit:
    """How far each image lies from its reference: weighted least squares in the reference's value and derivatives.

    Right to first order in the shift, so it is to be repeated; for white noise no estimate has less variance.
    """
    n, n_u, n_v = images.shape
    u, v = np.arange(n_u, dtype=np.float32)[:, None] - (n_u - 1) / 2, np.arange(n_v, dtype=np.float32) - (n_v - 1) / 2

    def fit(i: int) -> tuple[NDArray[np.float64], float, float, float]:
        along_u, along_v = np.gradient(references[i])
        turn = v * along_u - u * along_v
        basis = np.stack([references[i], along_u, along_v, turn.astype(np.float32)]).reshape(4, -1)
        weighted = basis * weights[i].ravel()
        gram, seen = (weighted @ basis.T).astype(np.float64), (weighted @ images[i].ravel()).astype(np.float64)
        size = float(np.vdot(weights[i] * images[i], images[i]))
        if size <= 0 or np.linalg.cond(gram[:3, :3]) > 1e12:
            return np.zeros(2), 0.0, 0.0, np.nan
        solved = np.linalg.solve(gram[:3, :3], np.stack([seen[:3], gram[:3, 3]], axis=1))
        a, residual = solved[0, 0], np.sqrt(max(size - solved[:, 0] @ seen[:3], 0.0) / size)
        free = (gram[3, 3] - gram[3, :3] @ solved[:, 1]) * a * a
        torque = (seen[3] - gram[3, :3] @ solved[:, 0]) * a
        return -solved[1:, 0] / a if a > 0 else np.zeros(2), free, torque, residual

    shifts, free, torque, residual = zip(*over_tilts(fit, n), strict=True)
    rotation = sum(torque) / sum(free) if sum(free) > 0 else 0.0
    return Fit(np.array(shifts), float(np.rad2deg(rotation)), np.array(residual))
