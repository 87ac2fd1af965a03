"""Elemental maps of a spectrum image: the counts in a window, less the background that its neighbours tell, and σ².

    x = S − b,    S = Σ_signal y,    b = N · Q,    N = Σ_background y

Q carries the background from where it is seen to where it is not: Σ_signal E^−r / Σ_background E^−r for a power law
(EELS), the line through two windows (EDX). How much background there is, N, is each pixel's own; what shape it has, Q,
may be shared with the pixels around where the counts are few.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from napari_invrecon.recon.carried_background import Carrier, carrier, shared_shape, under
from napari_invrecon.recon.channel_correlation import correlation
from napari_invrecon.recon.channel_noise import ChannelNoise, Gain, channel_noise
from napari_invrecon.recon.element_window import Channels, ElementWindow, channels, from_plain
from napari_invrecon.recon.record import Reconstruction, Stopwatch, describe_source, make_record
from napari_invrecon.recon.settings import check, check_real, takes_settings
from napari_invrecon.recon.solvers import Iterate, Steps, finish
from napari_invrecon.recon.window_sums import window_sums

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Real = NDArray[np.float64]

_UNEVEN = 1e-3  # of a channel's width: how far an energy may lie from an even axis
_SAMPLE_PX = 4096  # pixels from which the noise is told
_BYTES, _BYTES_AT_WORK = 80, 230  # for each pixel of each map, and for each pixel while one map is made


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """Every parameter of elemental maps besides their windows, written once."""

    share_px: Annotated[
        int | None,
        {
            "label": "Shape over",
            "unit": "px",
            "min": 0,
            "max": 4096,
            "help": "The exponent r, or the slope, of a pixel's background is fitted to this many pixels across around "
            "it; 1: to itself, 0: to the whole image. How much background there is remains the pixel's own. Larger: "
            "less noise, but no changes of shape are followed. Automatic: the least at which the shape adds no more "
            "variance than the counts do.",
        },
    ] = None
    gain: Gain = None
    offset: Annotated[
        float,
        {
            "label": "Detector offset",
            "advanced": True,
            "help": "Data units of a channel without any signal; subtracted.",
        },
    ] = 0.0
    read_sigma: Annotated[
        float | None,
        {
            "label": "Read noise σ",
            "min": 0.0,
            "advanced": True,
            "help": "Standard deviation of a channel without any signal, in data units. Automatic: 0 for counts or a "
            "given gain, else estimated with the gain.",
        },
    ] = None

    def __post_init__(self) -> None:
        check(self)
        if self.share_px and self.share_px % 2 == 0:
            raise ValueError(f"share_px={self.share_px}: expected an odd number of pixels across, or 0 for all")


@dataclass(frozen=True)
class ElementalMaps(Reconstruction):
    """A `Reconstruction` with what else is known of the maps, all (element, …) in the units of the data.

    Attributes
    ----------
    variance
        Of ``data``, from counting statistics: that of the window's counts and of the background under them.
    counts
        S, the sum over the window; whole numbers where the data are.
    background
        b; ``data`` is ``counts − background``.
    """

    variance: NDArray[np.float32]
    counts: NDArray[np.float64]
    background: NDArray[np.float32]


@takes_settings(MapSettings)
def elemental_maps(
    spectrum_image: Any, energy_ev: Any, windows: Sequence[ElementWindow], *, settings: MapSettings
) -> ElementalMaps:
    """x = Σ_signal y − N·Q: one map an element, less its background, each with its variance.

    Parameters
    ----------
    spectrum_image : array (energy, …)
        y: (energy, y, x), or one spectrum (energy,); NumPy or dask, any real dtype, not changed. A lazy one is read
        chunk by chunk, and only the channels in the windows. A pixel with NaN in them becomes NaN.
    energy_ev : array (energy,)
        Energy of each channel's centre, ascending in even steps.
    windows : sequence of ElementWindow
        One for each map.
    settings
        The fields of `MapSettings` as keyword arguments.

    Returns
    -------
    ElementalMaps
        ``data`` (element, …) float32; ``variance``, ``counts``, ``background`` alike; ``lam`` is 0: nothing is
        regularised; ``record``, in which ``elements`` has the windows, the exponent and the total of every map.

    Raises
    ------
    ValueError, TypeError
        Windows that are reversed, empty, overlapping or outside the spectrum, energies that do not ascend, values that
        are not real, settings outside their range.

    Notes
    -----
    power-law: the background is A·E^−r with the A and r of greatest Poisson likelihood, which depend on the data
    through N = Σ y and T = Σ y log E alone: r solves Σ E^−r log E / Σ E^−r = T/N. With θ = −r, κ₂ and κ₃ the variance
    and third cumulant of log E over the background window under E^−r, and Poisson counts,

        Var r = 1/(N κ₂),    Var b = Q² N + N² Q′² Var r,    E[N Q(r̂)] − N Q = ½ N (Q″ − Q′ κ₃/κ₂) Var r.

    The last is subtracted, so that maps of few counts are not biased. linear: b = w₁B₁ + w₂B₂ from the counts of two
    windows, Var b = w₁²B₁ + w₂²B₂; of one window alone, w = its share of channels. Var x = S + Var b; detectors with a
    gain and read noise likewise, channel by channel; where neighbouring channels share their noise (ρ₁, ρ₂, …, told
    from the differences of pixels), the variance of every sum over channels is (1 + 2Σρ) times that. Pixels whose
    background is below three standard deviations take the shape of the whole image.

    References
    ----------
    Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed., sec. 4.4 (power law, its
    extrapolation error). Unser, Ellis, Pun & Eden 1987, J. Microsc. 145, 245 (maximum likelihood). Cox & Snell 1968,
    J. R. Stat. Soc. B 30, 248 (bias of such estimates).

    Examples
    --------
    >>> import numpy as np, napari_invrecon as ir
    >>> energy = 400 + 0.5 * np.arange(400)
    >>> y = np.random.default_rng(0).poisson((energy / 400)[:, None, None] ** -3.0 * np.full((1, 8, 8), 50.0))
    >>> ir.elemental_maps(y, energy, [ir.suggest_window("O", "eels", 400, 600)]).data.shape
    (1, 8, 8)
    """
    return finish(mapping(spectrum_image, energy_ev, windows, settings))


def mapping(spectrum_image: Any, energy_ev: Any, windows: Iterable[Any], settings: MapSettings) -> Steps[ElementalMaps]:
    """`elemental_maps` as a generator of `Iterate`, for callers who show progress and may stop it."""
    watch = Stopwatch()
    maps = yield from measure(spectrum_image, energy_ev, windows, settings)
    yield Iterate(1, 1, stage="writing the record")
    energy = np.asarray(energy_ev, np.float64)
    sources = [
        describe_source("spectrum image", spectrum_image),
        {
            "role": "energy",
            "shape": [energy.size],
            "start_ev": float(energy[0]),
            "step_ev": float((energy[-1] - energy[0]) / (energy.size - 1)),
        },
    ]
    data, variance, background = (
        np.stack([getattr(each, name) for each in maps.elements]).astype(np.float32)
        for name in ("net", "variance", "background")
    )
    record = make_record(
        "elemental_maps",
        settings,
        sources,
        watch,
        data,
        lam=0.0,
        lam_rule="none: nothing is regularised",
        n_iter=1,
        stopped="closed form",
        detector=vars(maps.noise),
        elements=[each.summary for each in maps.elements],
    )
    return ElementalMaps(data, 0.0, record, variance, np.stack([each.counts for each in maps.elements]), background)


def recorded_energy(entry: dict[str, Any]) -> Real:
    """The energies of a record's source "energy"."""
    energies: Real = entry["start_ev"] + entry["step_ev"] * np.arange(entry["shape"][0])
    return energies


@dataclass(frozen=True, eq=False)
class ElementMap:
    """One map in double precision, (…), and what the record says of it."""

    window: ElementWindow
    net: Real
    variance: Real
    counts: Real
    background: Real
    summary: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Measured:
    """The maps of all windows."""

    elements: tuple[ElementMap, ...]
    noise: ChannelNoise


def measure(spectrum_image: Any, energy_ev: Any, windows: Iterable[Any], settings: MapSettings) -> Steps[Measured]:
    """The maps without a record, for which every value of the spectrum image would be read."""
    yield Iterate(0, 1, stage="reading")
    image, energy = checked(spectrum_image, energy_ev)
    wanted = [from_plain(each) for each in windows]
    if not wanted:
        raise ValueError("no windows: give one ElementWindow for each map")
    places = [channels(each, energy) for each in wanted]
    noise = tell_noise(image, places, settings)
    carriers = [carrier(each, place, energy, noise.of_sums) for each, place in zip(wanted, places, strict=True)]
    recipes = [_weights(place, each, energy.size) for place, each in zip(places, carriers, strict=True)]
    counting = window_sums(image, np.concatenate(recipes))
    while True:
        try:
            done, pieces = next(counting)
        except StopIteration as end:
            sums: Real = end.value
            break
        yield Iterate(done, pieces, stage=f"piece {done} of {pieces}")
    parts = np.split(sums, np.cumsum([len(each) for each in recipes])[:-1])
    found = []
    for window, each, weights, part in zip(wanted, carriers, recipes, parts, strict=True):
        part -= noise.offset * weights.sum(axis=1).reshape(-1, *(1,) * (part.ndim - 1))
        part[:, ~np.isfinite(part).all(axis=0)] = np.nan
        found.append(_element_map(window, each, part, settings.share_px))
    return Measured(tuple(found), noise)


def estimate_memory(shape: Sequence[int], n_maps: int) -> float:
    """Peak memory in GB of `elemental_maps` of a spectrum image (energy, …) of this shape, before it starts."""
    return 1e-9 * (_BYTES * n_maps + _BYTES_AT_WORK) * math.prod(shape[1:])


def checked(spectrum_image: Any, energy_ev: Any) -> tuple[Any, Real]:
    """(NumPy or dask array, energies); refuses what is no spectrum image with an even energy axis."""
    check_real(spectrum_image, "spectrum image", "(energy, y, x)")
    if spectrum_image.ndim == 0 or 0 in spectrum_image.shape or spectrum_image.shape[0] < 2:
        raise ValueError(
            f"the spectrum image has the shape {tuple(spectrum_image.shape)}: expected (energy, y, x) with at least "
            "two channels; the energy is the first axis"
        )
    energy = np.asarray(energy_ev, np.float64)
    n = spectrum_image.shape[0]
    if energy.shape != (n,):
        raise ValueError(f"energy_ev has the shape {energy.shape}: expected one energy for each of the {n} channels")
    step = (energy[-1] - energy[0]) / (n - 1)
    if not (np.isfinite(energy).all() and step > 0):
        raise ValueError(
            f"the energies run from {energy[0]:g} to {energy[-1]:g} eV: expected ascending numbers; flip the spectrum "
            "image and its axis, or type the axis"
        )
    if np.abs(energy - energy[0] - step * np.arange(n)).max() > _UNEVEN * step:
        raise ValueError("the energies are not evenly spaced: resample the spectra to channels of one width")
    if isinstance(spectrum_image, np.ndarray):
        return np.asarray(spectrum_image), energy
    import dask.array as da  # late: it takes longer than a dock

    return da.asarray(spectrum_image), energy


def background_curve(spectrum: Real, energy_ev: Real, window: ElementWindow) -> tuple[Real, Real] | None:
    """(energies, background in each channel) that a spectrum (energy,) has by itself under a window, for a plot.

    None where there is no background, or too little to tell its shape.
    """
    place = channels(window, energy_ev)
    each = carrier(window, place, energy_ev, ChannelNoise(1.0, 0.0, 0.0, "given"))
    if not place.background:
        return None
    sums = _weights(place, each, energy_ev.size) @ spectrum
    ends = [end for run in (place.signal, *place.background) for end in run]
    energies = energy_ev[min(ends) : max(ends)]
    curve = each.curve(sums, energy_ev, energies)
    return None if curve is None else (energies, curve)


def tell_noise(image: Any, places: Sequence[Channels], settings: MapSettings) -> ChannelNoise:
    """Of the detector, from the windows' channels of pixels in the middle; only what is not given is estimated."""
    if settings.gain is not None:
        return ChannelNoise(settings.gain, settings.offset, settings.read_sigma or 0.0, "given")
    plane = image.shape[1:]
    edge = round(_SAMPLE_PX ** (1 / max(len(plane), 1)))
    middle = tuple(slice(max(0, (n - edge) // 2), (n + edge) // 2 + 1) for n in plane)
    runs = dict.fromkeys(run for place in places for run in (place.signal, *place.background))
    blocks = [np.asarray(image[(slice(*run), *middle)], np.float64) for run in runs]
    found = channel_noise([block.reshape(len(block), -1).T for block in blocks], settings.offset)
    if found.is_estimated:
        found = found.correlated(correlation(blocks))
    if settings.read_sigma is None:
        return found
    return dataclasses.replace(found, read_sigma=settings.read_sigma)


def _weights(place: Channels, each: Carrier, n_channels: int) -> Real:
    """Rows of weights over the channels: the signal's, then those from which the background is told."""
    signal = np.zeros((1, n_channels))
    signal[0, slice(*place.signal)] = 1
    return np.concatenate([signal, each.weights(n_channels)])


def _element_map(window: ElementWindow, each: Carrier, sums: Real, share_px: int | None) -> ElementMap:
    counts = sums[0]
    known = np.isfinite(counts)
    whole = np.nansum(sums.reshape(len(sums), -1), axis=1)
    pooled = each.shape(whole, known.sum())
    width_px, shape = shared_shape(each, sums, pooled, share_px)
    background, variance = under(each, sums, shape)
    total, total_variance = under(each, whole, pooled, known.sum())
    summary = dataclasses.asdict(window) | {
        "total": float(whole[0] - total),
        "total_sigma": float(np.sqrt(total_variance)),
        "exponent": float(pooled.exponent) if np.isfinite(pooled.exponent) else None,
        "share_px": width_px,
        "pixels": int(known.sum()),
        "pixels_with_shape_of_whole": int(np.sum(known & ~shape.known)),
        "shape_is_known": bool(pooled.known),
    }
    return ElementMap(window, counts - background, np.where(known, variance, np.nan), counts, background, summary)
