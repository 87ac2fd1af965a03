"""Noise estimators on phantoms of known noise, and on real images to which known noise is added."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from phantoms import image
from scipy.ndimage import gaussian_filter

from napari_invrecon.recon.detector import looks_like_counts, poisson_gain_offset, thin
from napari_invrecon.recon.noise import estimate_noise, gaussian_sigma
from napari_invrecon.recon.psf import gaussian_psf

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = range(4)
RNG = np.random.default_rng


def phantom(kind: str, size: int, blur: float, seed: int) -> np.ndarray:
    """An object of contrast 1, blurred on a larger field and cropped."""
    n = size + 64
    rng = RNG(seed)
    y, x = np.mgrid[:n, :n].astype(float)
    image = np.zeros((n, n))
    turn = rng.uniform(0.2, 1.3)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if kind == "particles":
        for _ in range(round(60 * (n / 320) ** 2)):
            centre, radius = rng.uniform(0, n, 2), rng.uniform(4, 20)
            image[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2] = rng.uniform(0.3, 1)
    elif kind == "slabs":
        image = rng.uniform(0, 1, 15)[np.searchsorted(np.sort(rng.uniform(u.min(), u.max(), 14)), u)]
    elif kind.startswith("lattice"):
        period = float(kind.split()[1])
        image = (0.5 + 0.25 * np.cos(2 * np.pi * u / period) + 0.25 * np.cos(2 * np.pi * v / period)) ** 2
    elif kind == "chequered":
        image = 0.5 + 0.5 * np.cos(0.97 * np.pi * (x + y))
    elif kind == "ramp":
        image = (x + 0.5 * y) / n * 2
    elif kind == "steep":
        image = 1000 * ((x / n) ** 2 + y / n)
    image = gaussian_filter(image, blur) if blur else image
    return image[32 : 32 + size, 32 : 32 + size]


def ratios(kind: str, size: int, blur: float, sigma: float, with_psf: bool = False) -> np.ndarray:
    found = []
    for seed in SEEDS:
        y = phantom(kind, size, blur, seed) + sigma * RNG(seed + 100).standard_normal((size, size))
        found.append(gaussian_sigma(y, psf=gaussian_psf(blur) if with_psf else None) / sigma)
    return np.array(found)


@pytest.mark.parametrize("kind", ["particles", "slabs", "lattice 4.3", "lattice 12", "ramp", "steep"])
@pytest.mark.parametrize("blur", [1.5, 3, 5])
@pytest.mark.parametrize("sigma", [0.005, 0.1])
def test_sigma_of_a_blurred_image(kind: str, blur: float, sigma: float) -> None:
    assert np.abs(ratios(kind, 256, blur, sigma) - 1).max() < 0.04
    assert np.abs(ratios(kind, 256, blur, sigma, with_psf=True) - 1).max() < 0.025


@pytest.mark.parametrize("kind", ["particles", "slabs", "lattice 12", "ramp"])
def test_sigma_of_a_small_image(kind: str) -> None:
    found = ratios(kind, 64, 1.5, 0.02)
    assert abs(found.mean() - 1) < 0.05
    assert np.abs(found - 1).max() < 0.15


@pytest.mark.parametrize(
    ("kind", "most"),
    [("lattice 4.3", 1.05), ("lattice 2.6", 1.05), ("chequered", 1.03), ("particles", 1.15), ("slabs", 1.35)],
)
def test_sharp_structure_is_not_taken_for_noise(kind: str, most: float) -> None:
    found = ratios(kind, 256, 0, 0.02)
    assert found.min() > 0.97
    assert found.max() < most


@pytest.mark.parametrize("counts", [20, 200])
@pytest.mark.parametrize("kind", ["slabs", "lattice 12", "ramp"])
def test_of_counts_it_is_the_root_of_the_mean_variance(kind: str, counts: float) -> None:
    for seed in SEEDS:
        mean = (phantom(kind, 256, 3, seed) + 0.05) * counts
        assert gaussian_sigma(RNG(seed).poisson(mean)) == pytest.approx(np.sqrt(mean.mean()), rel=0.05)


def test_offsets_between_scan_lines_are_not_pixel_noise() -> None:
    for seed in SEEDS:
        y = phantom("particles", 256, 3, seed) + 0.02 * RNG(seed).standard_normal((256, 256))
        y += 0.05 * RNG(seed + 1).standard_normal((256, 1))
        assert gaussian_sigma(y) == pytest.approx(0.02, rel=0.04)


def test_sigma_scales_and_does_not_depend_on_an_offset() -> None:
    y = phantom("particles", 128, 2, 0) + 0.02 * RNG(0).standard_normal((128, 128))
    sigma = gaussian_sigma(y)
    assert gaussian_sigma(1000 * y) == pytest.approx(1000 * sigma)
    assert gaussian_sigma(y + 30000) == pytest.approx(sigma, rel=1e-6)
    assert gaussian_sigma(y.T[::-1]) == pytest.approx(sigma, rel=0.02)
    assert gaussian_sigma(np.asfortranarray(y)[::1, :]) == pytest.approx(sigma)


def test_integers_stacks_volumes_and_profiles() -> None:
    rng = RNG(3)
    assert gaussian_sigma(np.rint(1000 + 40 * rng.standard_normal((128, 128))).astype(np.int16)) == pytest.approx(
        40, rel=0.03
    )
    assert gaussian_sigma(3 * rng.standard_normal((5, 2, 64, 64)) + 7) == pytest.approx(3, rel=0.03)
    assert gaussian_sigma(3 * rng.standard_normal((48, 40, 44)), spatial_ndim=3) == pytest.approx(3, rel=0.05)
    assert gaussian_sigma(3 * rng.standard_normal(4096) + np.linspace(0, 900, 4096)) == pytest.approx(3, rel=0.05)
    assert gaussian_sigma(3 * rng.standard_normal((5, 2048))) == pytest.approx(3, rel=0.05)
    assert gaussian_sigma(3 * rng.standard_normal((2048, 1))) == pytest.approx(3, rel=0.08)
    assert gaussian_sigma(3 * rng.standard_normal((6, 7))) == pytest.approx(3, rel=0.6)
    energy = 3 * rng.standard_normal((1024, 4, 4))
    assert gaussian_sigma(np.moveaxis(energy, 0, -1), spatial_ndim=1) == pytest.approx(3, rel=0.03)


def test_missing_and_constant_parts_are_left_out() -> None:
    y = phantom("particles", 256, 2, 1) + 0.02 * RNG(1).standard_normal((256, 256))
    holes = y.copy()
    holes[RNG(2).random(y.shape) < 0.01] = np.nan
    assert gaussian_sigma(holes) == pytest.approx(0.02, rel=0.04)
    half = y.copy()
    half[:, :128] = np.nan
    assert gaussian_sigma(half) == pytest.approx(0.02, rel=0.06)
    half[:, :128] = 0
    assert gaussian_sigma(half) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64)),
        np.full((64, 64), 7, np.uint16),
        np.zeros((1, 1)),
        np.zeros((1, 300)),
        np.full((40, 40), np.nan),
        np.full((3, 3), np.nan),
        np.zeros((3, 2)),
        np.zeros(1),
        np.full((64, 64), 0.1, np.float32),
    ],
)
def test_without_noise_sigma_is_zero(image: np.ndarray) -> None:
    assert gaussian_sigma(image) == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gaussian_sigma(np.zeros((9, 9)), spatial_ndim=3), "the image has 2 axes: give 1 … 2"),
        (lambda: gaussian_sigma(np.zeros((9, 9)), psf=np.ones(3)), "PSF has 1 axes and the image 2"),
        (lambda: gaussian_sigma(np.full((9, 9), np.inf)), "replace them by NaN"),
        (lambda: poisson_gain_offset(np.zeros(100)), "expected|needs an image"),
        (lambda: poisson_gain_offset(np.zeros((256, 256))), "fewer than 64 patches"),
        (lambda: poisson_gain_offset(np.zeros((9, 9)), offset=1, read_sigma=1), "leave the other out"),
        (lambda: poisson_gain_offset(50 + RNG(0).standard_normal((256, 256))), "too narrow a range of intensities"),
        (
            lambda: poisson_gain_offset(gaussian_filter(RNG(0).standard_normal((256, 256)), 0.7)),
            "smeared over pixels",
        ),
        (
            lambda: poisson_gain_offset(RNG(0).poisson(200 * phantom("particles", 256, 0, 0) + 10)),
            "edges as sharp as a pixel",
        ),
        (lambda: thin(np.array([1.5, 2]), 0.8, RNG(0)), "whole numbers from 0 up"),
        (lambda: thin(np.array([-1, 2]), 0.8, RNG(0)), "whole numbers from 0 up"),
        (lambda: thin(np.array([1.0, np.nan]), 0.8, RNG(0)), "whole numbers from 0 up"),
        (lambda: thin(np.array([1, 2]), 1.0, RNG(0)), "between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", ["particles", "slabs", "ramp"])
@pytest.mark.parametrize("counts", [10, 100])
@pytest.mark.parametrize("blur", [1.5, 3])
def test_gain_and_offset(kind: str, counts: float, blur: float) -> None:
    """y = 3 · Poisson + 50 + N(0, 5²): within four of the errors that are reported, and these are small."""
    for seed in SEEDS:
        mean = (phantom(kind, 256, blur, seed) + 0.05) * counts
        y = 3.0 * RNG(seed).poisson(mean) + 50 + 5 * RNG(seed + 10).standard_normal(mean.shape)
        found = poisson_gain_offset(y, read_sigma=5)
        assert found.gain == pytest.approx(3, abs=4 * found.gain_error)
        assert found.gain_error < 0.25
        assert found.offset == pytest.approx(50, abs=4 * found.offset_error)
        assert (found.read_sigma, found.read_sigma_error) == (5, 0)
        known = poisson_gain_offset(y, offset=50)
        assert known.gain == found.gain
        assert known.read_sigma == pytest.approx(5, abs=4 * known.read_sigma_error)
        law = poisson_gain_offset(y)
        assert law.read_sigma == 0
        assert law.gain * (law.offset - 50) == pytest.approx(-25, abs=4 * found.gain * found.offset_error)


def test_an_offset_that_the_noise_rules_out_is_refused() -> None:
    y = 3.0 * RNG(0).poisson((phantom("particles", 256, 2, 0) + 0.5) * 100)
    with pytest.raises(ValueError, match="the offset is above -100"):
        poisson_gain_offset(y, offset=-100)


def test_saturated_and_missing_patches_do_not_move_the_line() -> None:
    y = 3.0 * RNG(0).poisson((phantom("ramp", 256, 2, 0) + 0.2) * 100)
    y[:40] = np.nan
    y[210:, :60] = 65535
    found = poisson_gain_offset(np.stack([y, y[::-1]]))
    assert found.gain == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("counts", [0.05, 1, 20, 500])
@pytest.mark.parametrize("kind", ["particles", "slabs", "lattice 12"])
def test_counts_are_recognised(counts: float, kind: str) -> None:
    for seed in SEEDS:
        n = RNG(seed).poisson((phantom(kind, 256, 1.5, seed) + 0.05) * counts)
        assert looks_like_counts(n)
        assert looks_like_counts(n.astype(np.float32))


def test_other_images_are_not_counts() -> None:
    n = RNG(0).poisson((phantom("particles", 256, 2, 0) + 0.05) * 100)
    assert not looks_like_counts(5 * n)
    assert not looks_like_counts(n - 3)
    assert not looks_like_counts(n + 0.5)
    assert not looks_like_counts(n + 10000)
    assert not looks_like_counts(np.zeros((64, 64)))
    assert not looks_like_counts(np.full((4, 4), np.nan))
    assert looks_like_counts(np.array([0, 3, 1, 2]))
    assert not looks_like_counts(np.array([0, 30000, 1, 2]))


@pytest.mark.parametrize("counts", [20, 200])
@pytest.mark.parametrize("kind", ["particles", "lattice", "ramps"])
def test_camera_units_are_not_counts(counts: float, kind: str) -> None:
    n = image(kind, 1.5, counts, size=128)[1]
    assert looks_like_counts(n)
    for gain, offset in ((7, 500), (2, 100), (1, max(100, counts)), (2.5, 0)):
        assert not looks_like_counts(np.round(gain * n + offset).astype(np.uint16))


def test_thinning_splits_counts_into_independent_poisson_images() -> None:
    counts = RNG(0).poisson(40, (300, 300)).astype(np.float32)
    kept, rest = thin(counts, 0.8, RNG(1))
    np.testing.assert_array_equal(kept + rest, counts)
    for part, mean in ((kept, 32), (rest, 8)):
        assert part.dtype == np.int64
        assert part.mean() == pytest.approx(mean, rel=0.01)
        assert part.var() == pytest.approx(mean, rel=0.03)
    assert abs(np.corrcoef(kept.ravel(), rest.ravel())[0, 1]) < 0.015
    np.testing.assert_array_equal(thin(counts, 0.8, RNG(1))[0], kept)


def test_noise_added_to_a_real_image_is_found_again(shared_data: Path) -> None:
    with h5py.File(shared_data / "berkeley_emd" / "Acquisition_18.emd") as file:
        image = file["data/single/data"][...].astype(np.float64)
    before = gaussian_sigma(image)
    for added in (before, 3 * before):
        y = image + added * RNG(0).standard_normal(image.shape)
        assert np.sqrt(gaussian_sigma(y) ** 2 - before**2) == pytest.approx(added, rel=0.05)


@pytest.mark.parametrize("sigma", [1.5, 3.0])
def test_noise_in_lines_is_told_from_white_noise(sigma):
    psf, rng = gaussian_psf(sigma), np.random.default_rng(0)
    for kind in ("particles", "slabs", "lattice", "ramps"):
        for size in (64, 256):
            _, y = image(kind, sigma, 200, size=size)
            assert estimate_noise(y, psf=psf).white
    jumps = rng.normal(0, 10, (256, 1)).astype(np.float32)
    assert not estimate_noise(y + jumps, psf=psf).white
    assert not estimate_noise(y + jumps.T, psf=psf).white
    assert estimate_noise(y + jumps, psf=psf).sigma == pytest.approx(estimate_noise(y, psf=psf).sigma, rel=0.05)


def test_without_noise_no_lines_are_seen():
    stripes = gaussian_filter(np.where(np.arange(128) // 16 % 2, 100.0, 30.0)[:, None] * np.ones(128), 1.5)
    for dtype in (np.float64, np.float32):
        assert estimate_noise(stripes.astype(dtype), psf=gaussian_psf(1.5)).white


@pytest.mark.parametrize("shape", [(12, 16), (16, 32), (24, 24), (32, 32), (48, 48)])
def test_small_images_of_white_noise_show_no_lines(shape):
    """They have too few frequencies near an axis for one to tell."""
    for seed in range(20):
        assert estimate_noise(RNG(seed).poisson(30, shape).astype(np.float32), psf=gaussian_psf(2.0)).white
