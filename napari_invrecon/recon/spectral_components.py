"""Spectra from their principal components: X̂ = W ∘ Σ_{k ≤ n} s_k u_k v_kᵀ, of the weighted spectra Z = Y / W.

W_ji = √(y_j· y_·i / y_··), means over the pixels, the channels and both, is the standard deviation that counts would
have if every pixel had the same spectrum; so the noise of Z is about √gain in bright and in dark channels alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from napari_invrecon.recon.channel_noise import Gain, channel_noise
from napari_invrecon.recon.record import Reconstruction, Stopwatch, describe_source, make_record, significant
from napari_invrecon.recon.settings import check, check_real, takes_settings
from napari_invrecon.recon.solvers import Iterate, Steps, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_invrecon.recon.operators import Array

_MOST = 64  # components that are looked at
_FEWEST_COUNTS = 10.0  # of a channel or a pixel, below which its weight is that of so many
_SLACK = 1.02  # times the noise's largest singular value, about which that of few counts scatters
_BYTES, _BYTES_SAMPLE = 6, 48  # for each datum; for each of the sample from which the noise is told
_BYTES_COMPONENT = 1500  # for each channel and pixel: some twenty numbers of each component
_SAMPLE_PX = 4096
_LAGS, _ROUNDS = 16, 4  # channels over which noise may be alike; of components and noise told in turn
_LEAST_GAIN = 1e-12


@dataclass(frozen=True, kw_only=True)
class ComponentSettings:
    """Every parameter of a denoising by principal components."""

    n_components: Annotated[
        int | None,
        {
            "label": "Components",
            "min": 1,
            "max": 4096,
            "help": "So many different spectra are kept; what is not a mixture of them is lost, noise and rare things "
            "alike. Automatic: those whose singular value noise alone would not reach.",
        },
    ] = None
    gain: Gain = None
    offset: Annotated[
        float,
        {
            "label": "Detector offset",
            "advanced": True,
            "help": "Data units of a channel without any signal; taken off for the weights, and put back.",
        },
    ] = 0.0
    seed: Annotated[
        int,
        {"label": "Seed", "min": 0, "max": 2**31 - 1, "advanced": True, "help": "Of the randomised decomposition."},
    ] = 0

    def __post_init__(self) -> None:
        check(self)


@takes_settings(ComponentSettings)
def denoise_spectra(spectrum_image: Any, *, settings: ComponentSettings) -> Reconstruction:
    """X̂ = W ∘ Σ_{k ≤ n} s_k u_k v_kᵀ: a spectrum image from its first principal components, weighted for counts.

    The decomposition is scikit-learn's (``pip install 'napari-invrecon[pca]'``).

    Parameters
    ----------
    spectrum_image : array (energy, …)
        Y ≥ 0 on average, real and finite; NumPy or dask, not changed. All of it has to fit into memory.
    settings
        The fields of `ComponentSettings` as keyword arguments.

    Returns
    -------
    Reconstruction
        ``data`` (energy, …) float32 in the units of the spectra; ``lam`` is 0; ``record``, with the singular values,
        the value that noise reaches, and how many components were kept.

    Raises
    ------
    ImportError
        scikit-learn is not installed.
    ValueError, TypeError
        One spectrum alone, values that are not real or not finite, nothing but zeros, more components than channels or
        pixels.

    Notes
    -----
    The values are not centred: the mean spectrum is the first component. A matrix of independent noise of variance
    g (the gain, or what the components so far leave, if that is more) has no singular value above √g (√channels +
    √pixels), so what is above it is signal; noise that neighbouring channels share may reach further, which its
    spectrum tells. Kept components hold some noise, too, and it is no longer independent: standard deviations of
    maps that are made of denoised spectra do not hold, and what a few pixels alone show is lost.

    References
    ----------
    Keenan & Kotula 2004, doi:10.1002/sia.1657 (weights). Landa, Zhang & Kluger 2022, doi:10.1137/21M1456807 (rank of
    a matrix of counts). Kritchman & Nadler 2008, doi:10.1016/j.chemolab.2008.06.002 (noise from what is left). Halko,
    Martinsson & Tropp 2011, doi:10.1137/090771806 (randomised decomposition).
    """
    return finish(component_steps(spectrum_image, settings))


def component_steps(spectrum_image: Any, settings: ComponentSettings) -> Steps[Reconstruction]:
    """`denoise_spectra` as a generator of `Iterate`, for callers who show progress and may stop it."""
    watch = Stopwatch()
    yield Iterate(0, 3, stage="reading")
    decompose = _truncated_svd()
    rows = _rows(spectrum_image, settings.offset)
    if settings.n_components is not None and settings.n_components > min(rows.shape):
        raise ValueError(
            f"n_components={settings.n_components}: there are {rows.shape[0]} channels and {rows.shape[1]} pixels, and "
            "no more components than the fewer of them; keep fewer"
        )
    gain, source = _gain(rows, settings)
    weights = _weights(rows, gain)
    rows /= weights[0][:, None]
    rows /= weights[1]
    power = sum(float(np.vdot(row, row)) for row in rows)
    yield Iterate(1, 3, stage="principal components")
    most = min(*rows.shape, settings.n_components or _MOST)
    found = decompose(most, n_iter=7, random_state=settings.seed)
    loadings = found.fit_transform(rows)
    values = found.singular_values_
    kept, edge = _above_noise(values, loadings, found.components_, rows, power, gain)
    kept = settings.n_components or max(1, kept)
    yield Iterate(2, 3, stage="putting spectra together")
    np.matmul(loadings[:, :kept], found.components_[:kept], out=rows)
    rows *= weights[0][:, None]
    rows *= weights[1]
    rows += np.float32(settings.offset)
    data = rows.reshape(spectrum_image.shape)
    record = make_record(
        "denoise_spectra",
        settings,
        [describe_source("spectrum image", spectrum_image)],
        watch,
        data,
        lam=0.0,
        lam_rule="none: the number of components regularises",
        n_iter=1,
        stopped="closed form",
        components=kept,
        singular_values=significant(values),
        noise_edge=edge,
        detector={"gain": gain, "source": source},
    )
    record["versions"]["scikit-learn"] = version("scikit-learn")
    return Reconstruction(data, 0.0, record)


def _above_noise(
    values: Any, loadings: Array, components: Array, rows: Array, power: float, gain: float
) -> tuple[int, float]:
    """(components above the noise, the largest singular value of the noise that is left of so many).

    Its variance g is the gain, or what is left of the power if that is more. Where noise runs through neighbouring
    channels, their differences show too little of it, and its largest singular value is √g (√channels + √(κ pixels)),
    κ being the largest value of its spectrum over the mean, told from what the components leave.
    """
    kept, edge, spread = len(values) + 1, 0.0, 1.0
    some = slice(None, None, max(1, rows.shape[1] // _SAMPLE_PX))
    for _ in range(_ROUNDS):
        before = kept
        for kept in range(len(values) + 1):
            n, m = (max(1, each - kept) for each in rows.shape)
            left = max(power - float(np.sum(np.square(values[:kept], dtype=np.float64))), 0.0)
            edge = float(np.sqrt(max(gain, left / (n * m))) * (np.sqrt(n) + np.sqrt(spread * m)))
            if kept == len(values) or values[kept] <= _SLACK * edge:
                break
        if kept >= before:
            break
        spread = _spread(rows[:, some] - loadings[:, :kept] @ components[:kept, some])
    return kept, edge


def _spread(noise: Array) -> float:
    """The largest value of the power spectrum along the channels over its mean, from the first autocorrelations.

    Source: Blackman & Tukey 1958, with Bartlett's window.
    """
    lags = np.arange(1, min(_LAGS, len(noise) - 1) + 1)
    whole = float(np.vdot(noise, noise))
    if whole <= 0 or not lags.size:
        return 1.0
    alike = np.array([float(np.vdot(noise[lag:], noise[:-lag])) / whole for lag in lags])
    waves = np.cos(np.outer(np.linspace(0, np.pi, 4 * _LAGS), lags))
    return max(1.0, float(np.max(1 + 2 * waves @ (alike * (1 - lags / (lags.size + 1))))))


def estimate_memory(shape: Sequence[int]) -> float:
    """Peak memory in GB of `denoise_spectra` on a spectrum image of this shape."""
    n, m = shape[0], float(np.prod(shape[1:]))
    sample = n * m / max(1, m // _SAMPLE_PX)
    return 1e-9 * (_BYTES * n * m + max(_BYTES_SAMPLE * sample, _BYTES_COMPONENT * (n + m)))


def _truncated_svd() -> Any:
    try:
        from sklearn.decomposition import TruncatedSVD
    except ImportError as error:
        raise ImportError(
            "principal components are computed by scikit-learn, which is not installed: "
            "pip install 'napari-invrecon[pca]', and start again"
        ) from error
    return TruncatedSVD


def _rows(image: Any, offset: float) -> Array:
    """(energy, pixels) less the detector's offset, a copy."""
    check_real(image, "spectrum image", "(energy, y, x)")
    if image.ndim < 2 or min(image.shape) == 0 or min(image.shape[0], np.prod(image.shape[1:])) < 2:
        raise ValueError(
            f"the spectrum image has the shape {tuple(image.shape)}: expected (energy, y, x) with several channels and "
            "pixels; one spectrum has no components"
        )
    rows = np.array(image, np.float32).reshape(image.shape[0], -1)
    rows -= np.float32(offset)
    if not np.isfinite(rows).all():
        raise ValueError(
            f"the spectrum image holds {int((~np.isfinite(rows)).sum())} NaN or infinite values: replace them, or crop"
        )
    if not rows.sum(dtype=np.float64) > 0:
        raise ValueError(
            "the spectra sum to nothing above 0: expected counts; add back what was subtracted, or give offset"
        )
    return rows


def _gain(rows: Array, settings: ComponentSettings) -> tuple[float, str]:
    """Data units a count, from pixels at even distances."""
    if settings.gain is not None:
        return settings.gain, "given"
    some = rows[:, :: max(1, rows.shape[1] // _SAMPLE_PX)].T.astype(np.float64)
    found = channel_noise([some], 0.0)
    return max(found.gain, _LEAST_GAIN), found.source


def _weights(rows: Array, gain: float) -> tuple[Array, Array]:
    """√ of the mean of each channel, and of each pixel over that of all."""
    n, m = rows.shape
    channels, pixels = rows.mean(axis=1, dtype=np.float64), rows.mean(axis=0, dtype=np.float64)
    mean = pixels.mean()
    channels = np.maximum(channels, _FEWEST_COUNTS * gain / m)
    pixels = np.maximum(pixels, _FEWEST_COUNTS * gain / n)
    return np.sqrt(channels).astype(np.float32), np.sqrt(pixels / mean).astype(np.float32)
