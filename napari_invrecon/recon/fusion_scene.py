"""Maps and HAADF as the solver takes them: checked, on one grid, aligned, and the HAADF's dependence on the maps."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from napari_invrecon.recon.couplings import Calibration, atomic_number, calibrate
from napari_invrecon.recon.fusion_guide import denoised, following, with_edges
from napari_invrecon.recon.fusion_scale import rescaled
from napari_invrecon.recon.fusion_settings import FusionSettings, NoiseName, for_each
from napari_invrecon.recon.fusion_solver import FusionProblem, Solution, primal_dual, uncoupled
from napari_invrecon.recon.noise import gaussian_sigma
from napari_invrecon.recon.operators import Array
from napari_invrecon.recon.power_coupling import gauss_newton, linearised
from napari_invrecon.recon.registration import chained_shifts
from napari_invrecon.recon.sampling import Sampling
from napari_invrecon.recon.solvers import Steps, finish

if TYPE_CHECKING:
    from napari_invrecon.recon.fusion_settings import CouplingName

EDGE_PX = (1.0, 2.0)
_PIECE_PX = 192  # edge of the central piece that stands for the field where something is chosen or calibrated
_LEAST_SHIFT_PX = 0.3
_ROUNDS = 3
_SMOOTH_START_PX = 2.0
_ABOUT_PX, _WIDEST_PX = 2.0, 32.0  # σ of the window over which variances and backgrounds are averaged
_LEAST_VARIANCE = 1e-2  # of a map's mean variance
_FIRST_LAMBDA, _FIRST_ITERATIONS = 2.0, 60


@dataclass(frozen=True)
class Scene:
    """One field of view.

    Attributes
    ----------
    haadf, clean
        H (y, x), on the pixels of the result; and without its noise.
    problem
        The maps and their noise, with no coupling.
    linear, power
        How H depends on the maps, for γ = 1 and for the settings'.
    edge_px
        σ of the smoothing before H's edges are taken, px of the result.
    ratios
        Those of a (element,), of which only the scale is fitted; None: each a is.
    """

    haadf: Array
    clean: Array
    problem: FusionProblem
    noise: NoiseName
    linear: Calibration
    power: Calibration
    elements: tuple[str, ...]
    edge_px: float = EDGE_PX[0]
    ratios: NDArray[np.float64] | None = None

    def coupled(self, coupling: CouplingName, x: Array | None = None) -> FusionProblem:
        """The problem with what a coupling takes from the HAADF; "power" has the HAADF's term anew at each step.

        ``x``: maps that tell how they rise with the HAADF; without, those that its edges and intensity give.
        """
        problem, noise = self.problem, self.linear.noise
        if coupling in ("intensity", "both"):
            problem = linearised(problem, self.linear, self.known, np.zeros_like(problem.slope))
        if coupling in ("none", "intensity"):
            return problem
        problem = with_edges(problem, self.haadf, self.edge_px, noise)
        if x is None:
            first = primal_dual(problem, self._weight(_FIRST_LAMBDA), self.start(), n_iter=_FIRST_ITERATIONS)
            x = rescaled(problem, finish(first)).x
        ratio = 1.0 if problem.sampling is None else problem.sampling.ratio
        return following(problem, x, self.clean, self.linear.offset, noise, ratio)

    @property
    def known(self) -> Array:
        """H without its noise, NaN where it is unknown."""
        return np.where(np.isfinite(self.haadf), self.clean, np.nan).astype(np.float32)

    def seen_as(self, haadf: Array) -> Scene:
        """The scene with another HAADF, of the same noise."""
        return dataclasses.replace(self, haadf=haadf, clean=denoised(haadf, self.linear.noise))

    def drawn(self, x: Array, rng: np.random.Generator) -> Scene:
        """Another measurement of the specimen x, calibrated anew where the maps have x's pixels."""
        p = self.problem
        expected = (x if p.sampling is None else p.sampling(x)) + p.background
        if p.counts:
            b = rng.poisson(np.maximum(expected, 0)).astype(np.float32)
        else:
            b = expected + p.sigma * rng.standard_normal(p.data.shape, np.float32)
        data = np.where(np.isfinite(p.data), b, np.nan).astype(np.float32)
        noise = self.linear.noise * rng.standard_normal(self.haadf.shape)
        again = self.seen_as((self.known + noise).astype(np.float32))
        again = dataclasses.replace(again, problem=dataclasses.replace(p, data=data))
        return _recalibrated(again) if p.sampling is None else again

    def solve(
        self, coupling: CouplingName, lam: float, start: Solution | None, n_iter: int, tolerance: float,
        problem: FusionProblem | None = None,
    ) -> Steps[Solution]:  # fmt: skip
        """The solution for one coupling and λ (per pixel of the maps); ``problem``, if at hand, is the coupled one."""
        first = self.start() if start is None else start
        if problem is None:
            problem = self.coupled(coupling, None if start is None or self.problem.sampling is None else start.x)
        weight = self._weight(lam)
        if coupling == "power":
            return gauss_newton(problem, self.power, self.known, weight, first, n_iter=n_iter, tolerance=tolerance)
        return primal_dual(problem, weight, first, n_iter=n_iter, tolerance=tolerance)

    def _weight(self, lam: float) -> float:
        return lam if self.problem.sampling is None else lam / self.problem.sampling.ratio

    def start(self) -> Array:
        """The maps, smoothed, positive."""
        p = self.problem
        known = np.isfinite(p.data)
        sigma = (0, _SMOOTH_START_PX, _SMOOTH_START_PX)
        mass = gaussian_filter(known.astype(np.float32), sigma)
        x = gaussian_filter(np.where(known, p.data - p.background, 0), sigma)
        x /= np.maximum(mass, 1e-3)
        np.maximum(x, 1e-3 * p.unit[:, None, None], out=x)
        return np.asarray(x if p.sampling is None else p.sampling.spread(x), np.float32)

    def part(self, cut: tuple[slice, ...]) -> Scene:
        """A rectangle of a scene whose result has the maps' pixels."""
        within = (slice(None), *cut)
        p = self.problem
        data = np.ascontiguousarray(p.data[within])
        own: dict[str, Any] = {
            name: np.ascontiguousarray(each[within])
            for name, each in (("background", p.background), ("precision", p.precision))
            if each.shape[1:] == p.data.shape[1:]
        }
        problem = dataclasses.replace(p, data=data, **own, **uncoupled(data.shape))
        haadf, clean = (np.ascontiguousarray(each[cut]) for each in (self.haadf, self.clean))
        return dataclasses.replace(self, haadf=haadf, clean=clean, problem=problem)

    @property
    def centre(self) -> tuple[slice, ...]:
        """The piece that stands for the field."""
        return tuple(slice((n - m) // 2, (n - m) // 2 + m) for n in self.haadf.shape for m in [min(n, _PIECE_PX)])

    def scaled(self, share: float) -> tuple[Calibration, Calibration]:
        """The calibrations for maps of a share of the counts."""
        return (
            dataclasses.replace(self.linear, slopes=self.linear.slopes / share),
            dataclasses.replace(self.power, slopes=self.power.slopes / share**self.power.gamma),
        )


@dataclass(frozen=True)
class Input:
    """What was handed in, once checked.

    ``scene`` is on the maps' pixels; ``haadf`` is the image itself, aligned, of which ``sampling`` makes the scene's
    (None where it is the scene's). ``sensitivity`` (element,) divides the result; ``shift_px`` in pixels of the maps.
    """

    scene: Scene
    haadf: Array
    sampling: Sampling | None
    sensitivity: NDArray[np.float64]
    shift_px: tuple[float, float]

    def on_haadf(self) -> Scene:
        """The scene on the HAADF's own pixels, of which the maps see averages.

        What calibration leaves beyond noise is one deviation for all fine pixels of one of the maps, so that it is
        worth one datum.
        """
        if self.sampling is None:
            return self.scene
        ratio, noise = self.sampling.ratio, gaussian_sigma(self.haadf)
        blank = uncoupled((len(self.scene.problem.data), *self.haadf.shape))
        found = [
            dataclasses.replace(each, noise=noise, misfit=each.misfit * ratio)
            for each in (self.scene.linear, self.scene.power)
        ]
        return dataclasses.replace(
            self.scene,
            haadf=self.haadf,
            clean=denoised(self.haadf, noise),
            problem=dataclasses.replace(self.scene.problem, sampling=self.sampling, **blank),
            linear=found[0],
            power=dataclasses.replace(found[1], psf_sigma_px=found[1].psf_sigma_px * ratio),
            edge_px=self.scene.edge_px * ratio,
        )


def prepare(haadf: Any, maps: Any, settings: FusionSettings, backgrounds: Any = None, variances: Any = None) -> Input:
    """Check the arrays, align the HAADF and bring it onto the maps' pixels, and calibrate it on them."""
    b, h = _real("maps", maps), _real("HAADF", haadf)
    if b.ndim != 3 or 0 in b.shape:
        raise ValueError(f"the maps have the shape {b.shape}: expected (element, y, x); stack them along a first axis")
    if h.ndim != 2 or 0 in h.shape:
        raise ValueError(f"the HAADF has the shape {h.shape}: expected (y, x); pick one image")
    sampling = _sampling(h.shape, b.shape[1:], settings.maps_psf_px)
    names = tuple(name.strip() for name in settings.elements.split(",")) if settings.elements.strip() else ()
    if names and len(names) != len(b):
        raise ValueError(f"{len(names)} elements are named but there are {len(b)} maps: name each once, by commas")
    elements = names or tuple(str(i) for i in range(1, len(b) + 1))
    if len(set(elements)) < len(elements):
        raise ValueError(f"elements {settings.elements!r}: each map needs a name of its own")
    if variances is not None:
        b[~np.isfinite(_like("variances", variances, b))] = np.nan
    b, background = _background(b, backgrounds, for_each("background", settings.background, elements, 0.0))
    noise, unit, precision = _noise(b, settings, variances)
    sensitivity = for_each("sensitivity", settings.sensitivity, elements, 1.0)
    if not sensitivity.all():
        raise ValueError("sensitivity: a map of sensitivity 0 holds nothing of its element; leave the map out")
    for_each("k_factors", settings.k_factors, elements, 1.0)
    problem = FusionProblem(
        b, unit, noise == "poisson", background, settings.nonnegative, precision=precision, **uncoupled(b.shape)
    )
    above = b - background
    seen = h if sampling is None else _averaged(h, sampling)
    ratios = None
    if settings.calibration == "Z":
        ratios = np.array([atomic_number(name) for name in elements]) ** settings.gamma / sensitivity
    found = calibrate(seen, above, unit, ratios=ratios)
    moved = (0.0, 0.0)
    if settings.register:
        moved = _shift(seen, above, unit)
        if any(moved):
            h = _moved(h, (moved[0] * h.shape[0] / b.shape[1], moved[1] * h.shape[1] / b.shape[2]))
            seen = h if sampling is None else _averaged(h, sampling)
            found = calibrate(seen, above, unit, ratios=ratios)
    power = dataclasses.replace(found, gamma=settings.gamma, psf_sigma_px=settings.psf_sigma_px)
    scene = Scene(seen, denoised(seen, found.noise), problem, noise, found, power, elements, ratios=ratios)
    return Input(_recalibrated(scene), h, sampling, sensitivity, moved)


def _recalibrated(scene: Scene) -> Scene:
    """Calibrated on maps that are denoised along the HAADF's edges: noise in what explains H makes a too small."""
    piece = scene.part(scene.centre)
    if not np.isfinite(piece.haadf).any() or not np.isfinite(piece.problem.data).any():
        piece = scene
    x = rescaled(piece.problem, finish(piece.solve("edges", _FIRST_LAMBDA, None, _FIRST_ITERATIONS, 2e-3))).x
    unknown = ~np.isfinite(piece.problem.data).all(0)
    x = np.where(unknown, np.nan, x).astype(np.float32)
    gamma, psf = scene.power.gamma, scene.power.psf_sigma_px
    return dataclasses.replace(
        scene,
        linear=calibrate(piece.haadf, x, None, ratios=scene.ratios),
        power=calibrate(piece.haadf, x, None, gamma=gamma, psf_sigma_px=psf, ratios=scene.ratios),
    )


def _real(name: str, array: Any) -> Array:
    values = np.asarray(array)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"the {name}: expected real numbers, but the array's dtype is {values.dtype}")
    if np.isinf(values).any():
        raise ValueError(f"the {name}: infinite values; replace them by NaN to leave them out")
    return np.array(values, np.float32, order="C")


def _like(name: str, array: Any, b: Array) -> Array:
    values = _real(name, array)
    if values.shape != b.shape:
        raise ValueError(f"the {name} have the shape {values.shape}: expected one for each datum, {b.shape}")
    return values


def _background(b: Array, backgrounds: Any, numbers: NDArray[np.float64]) -> tuple[Array, Array]:
    """(maps, g): where a background is unknown, so is the map."""
    if backgrounds is None:
        return b, numbers[:, None, None].astype(np.float32)
    if numbers.any():
        raise ValueError("background and backgrounds are both given: one number for a map, or one for each pixel")
    g = _like("backgrounds", backgrounds, b)
    known = np.isfinite(g)
    mean = np.stack([_about(each, ok, _width_for(each, ok)) for each, ok in zip(g, known, strict=True)])
    return np.where(known, b, np.nan).astype(np.float32), np.where(known, mean, 0).astype(np.float32)


def _noise(b: Array, settings: FusionSettings, variances: Any) -> tuple[NoiseName, Array, Array]:
    """Whether the maps are counts, the typical noise of each, and unit² over the variance of each datum."""
    known = np.isfinite(b)
    whole = bool(np.all(b[known] >= 0) and np.all(b[known] == np.round(b[known])))
    noise: NoiseName = settings.noise or ("poisson" if whole and variances is None else "gaussian")
    if noise == "poisson" and not whole:
        raise ValueError("the maps are no counts (whole numbers from 0 up): use noise='gaussian' for fitted values")
    if variances is not None:
        if noise == "poisson" or settings.noise_sigma is not None:
            raise ValueError("variances are for values whose noise is not given otherwise: leave one of the two out")
        return (noise, *_weights(_like("variances", variances, b)))
    if noise == "poisson":
        unit = np.sqrt([float(each[ok].mean()) if ok.any() else 0.0 for each, ok in zip(b, known, strict=True)])
    elif settings.noise_sigma is not None:
        unit = np.full(len(b), settings.noise_sigma)
    else:
        unit = np.array([gaussian_sigma(each) for each in b])
    size = float(np.max(unit, initial=0)) or 1.0
    return noise, np.where(unit > 0, unit, size).astype(np.float32), np.ones((len(b), 1, 1), np.float32)


def _weights(variances: Array) -> tuple[Array, Array]:
    """(unit, unit² over the variances' means about each datum)."""
    known = np.isfinite(variances)
    if not known.any() or (variances[known] < 0).any() or not (variances[known] > 0).any():
        raise ValueError("the variances: expected numbers from 0 up, not all of them 0 or NaN")
    unit2 = np.array([float(v[ok].mean()) if ok.any() else 0.0 for v, ok in zip(variances, known, strict=True)])
    unit2 = np.where(unit2 > 0, unit2, unit2.max())
    floor = _LEAST_VARIANCE * unit2[:, None, None]
    mean = np.stack([_about(v, ok, _ABOUT_PX) for v, ok in zip(variances, known, strict=True)])
    weight = np.where(known, unit2[:, None, None] / np.maximum(mean, floor), 1)
    return np.sqrt(unit2).astype(np.float32), np.asarray(weight, np.float32)


def _about(values: Array, known: NDArray[np.bool_], width: float) -> Array:
    """The mean about each datum, of one map's variances or background: its own goes with its noise."""
    mass = gaussian_filter(known.astype(np.float32), width)
    return np.asarray(gaussian_filter(np.where(known, values, 0), width) / np.maximum(mass, 1e-3), np.float32)


def _width_for(values: Array, known: NDArray[np.bool_]) -> float:
    """σ of the window in which some fifty pixels tell the mean: with few counts most pixels tell nothing."""
    there = values[known].astype(float)
    mean2 = float(there.mean()) ** 2 if there.size else 0.0
    return min(_ABOUT_PX * float(np.sqrt(np.mean(there**2) / mean2)), _WIDEST_PX) if mean2 > 0 else _ABOUT_PX


def _sampling(fine: tuple[int, ...], coarse: tuple[int, ...], sigma_px: float) -> Sampling | None:
    """What the maps see of the HAADF's pixels; None if the same pixels, equally sharp."""
    ratios = [n_fine / n for n_fine, n in zip(fine, coarse, strict=True)]
    rounded = 1 / coarse[0] + 1 / coarse[1] if fine != coarse else 0.0  # a field is cut to whole pixels on each axis
    if min(ratios) < 1 or abs(ratios[0] - ratios[1]) > rounded:
        raise ValueError(
            f"the HAADF has the shape {fine} and the maps (…, {coarse[0]}, {coarse[1]}): expected the same pixels, or "
            "finer ones of the same field of view, in the same ratio on both axes; crop or resample the HAADF"
        )
    return None if fine == coarse and sigma_px == 0 else Sampling.between(fine, coarse, sigma_px)


def _averaged(haadf: Array, sampling: Sampling) -> Array:
    """The HAADF as the maps see it; unknown where more than half of a pixel is."""
    known = np.isfinite(haadf)
    mass = sampling(known.astype(np.float32))
    mean = sampling(np.where(known, haadf, 0).astype(np.float32)) / np.where(mass > 0.5, mass, 1)
    return np.where(mass > 0.5, mean, np.nan).astype(np.float32)


def _shift(seen: Array, above: Array, unit: Array) -> tuple[float, float]:
    """By how much (dy, dx) the HAADF must move to lie on the maps; 0 where that is less than 0.3 px.

    What the maps let expect of it is calibrated anew each time that it has moved.
    """
    there, moved = np.where(np.isfinite(seen), seen, np.nanmean(seen)), np.zeros(2)
    for _ in range(_ROUNDS):
        expected = np.tensordot(calibrate(there, above, unit).slopes, np.nan_to_num(above), 1)
        pair = np.stack([expected - expected.mean(), there - there.mean()]).astype(np.float32)
        moved = moved + chained_shifts(pair, [0, 1])[1]
        there = _moved(seen, (float(moved[0]), float(moved[1])))
        there = np.where(np.isfinite(there), there, np.nanmean(seen)).astype(np.float32)
    return (float(moved[0]), float(moved[1])) if np.hypot(*moved) >= _LEAST_SHIFT_PX else (0.0, 0.0)


def _moved(haadf: Array, by: tuple[float, float]) -> Array:
    """The HAADF moved by cubic splines; its edges are continued, and what is unknown stays so."""
    known = np.isfinite(haadf)
    filled = haadf if known.all() else np.where(known, haadf, np.nanmean(haadf))
    there = np.asarray(shift(filled, by, order=3, mode="nearest"), np.float32)
    if not known.all():
        there[shift((~known).astype(np.float32), by, order=1, mode="nearest") > 0.01] = np.nan
    return there
