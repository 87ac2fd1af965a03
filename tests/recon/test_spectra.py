"""Elemental maps against spectra of known background and edge: exact ones, and counts drawn many times."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest

import napari_invrecon as ir
from napari_invrecon.io import read
from napari_invrecon.io.elements import SYMBOLS
from napari_invrecon.recon.element_lines import energies_of, line_of, lines_within, suggest_window
from napari_invrecon.recon.element_window import ElementWindow
from napari_invrecon.recon.solvers import finish
from napari_invrecon.recon.spectra import ElementalMaps, MapSettings, elemental_maps, mapping, measure

if TYPE_CHECKING:
    from pathlib import Path

ENERGY = 400 + 0.5 * np.arange(400)
OXYGEN = ElementWindow("O", "K", (532, 580), ((450, 520),), "power-law")
TITANIUM = ElementWindow("Ti", "Ka", (4400, 4620), ((4200, 4350), (4700, 4800)), "linear")
XRAY = 10.0 * np.arange(600)


def edge(level, r=3.3, height=0.3, plane=(1, 1)):
    """(mean spectrum image, counts of the edge in OXYGEN's window): a power law, and an edge at 532 eV."""
    above = ENERGY >= 532
    own = np.where(above, height * level * np.exp(-(ENERGY - 532) / 40), 0)
    mean = level * (ENERGY / 400) ** -r + own
    return mean[:, None, None] * np.ones((1, *plane)), own[above & (ENERGY < 580)].sum()


def drawn(mean, seed=0):
    return np.random.default_rng(seed).poisson(mean)


def test_an_exact_power_law_is_recovered() -> None:
    level, r = np.array([[1e6, 3e7], [2e5, 1e6]]), np.array([[2.0, 3.1], [4.4, 0.0]])
    own = np.where(ENERGY >= 532, 1e4 * np.exp(-(ENERGY - 532) / 40), 0)
    y = level * (ENERGY / 400)[:, None, None] ** -r + own[:, None, None]
    maps = elemental_maps(y, ENERGY, [OXYGEN], share_px=1, gain=1.0)
    # What is left is the bias that the estimate subtracts, a few counts.
    np.testing.assert_allclose(maps.data[0], own[(ENERGY >= 532) & (ENERGY < 580)].sum(), atol=6)
    np.testing.assert_allclose(maps.counts[0] - maps.background[0], maps.data[0], rtol=1e-3, atol=2)
    one = elemental_maps(y[:, 0, 1], ENERGY, [OXYGEN], gain=1.0)
    assert one.data.shape == (1,)
    assert one.record["elements"][0]["exponent"] == pytest.approx(3.1, abs=1e-9)


def test_a_line_and_a_constant_are_recovered_exactly() -> None:
    line = (7 + 0.002 * XRAY)[:, None]
    y = line * np.array([1.0, 2.0]) + 5 * ((XRAY >= 4400) & (XRAY < 4620))[:, None]
    maps = elemental_maps(y, XRAY, [TITANIUM], gain=1.0)
    np.testing.assert_allclose(maps.data[0], 5 * 22, rtol=1e-5)
    alone = ElementWindow("Ti", "", (4400, 4620), ((4200, 4350),), "linear")
    flat = elemental_maps(np.full((600, 3), 4.0), XRAY, [alone], gain=1.0)
    np.testing.assert_allclose(flat.data, 0, atol=1e-4)
    assert maps.record["elements"][0]["exponent"] is None


@pytest.mark.parametrize(("level", "share_px"), [(0.5, None), (0.5, 0), (3, 1), (3, 5), (30, 1), (30, None)])
def test_the_map_of_counts_is_unbiased_and_its_variance_that_of_many_draws(level, share_px) -> None:
    mean, truth = edge(level, plane=(48, 50))
    off, ratio = [], []
    for seed in range(6):
        maps = elemental_maps(drawn(mean, seed), ENERGY, [OXYGEN], share_px=share_px)
        off.append(maps.data[0].astype(float) - truth)
        ratio.append(np.mean(off[-1] ** 2) / maps.variance.mean())
    total_sigma = maps.record["elements"][0]["total_sigma"] / off[0].size
    assert abs(np.mean(off)) < 4 * total_sigma / np.sqrt(6) + 0.01 * truth
    assert np.mean(ratio) == pytest.approx(1, abs=0.08)
    assert maps.record["detector"]["source"] == "the data are counts"


def test_the_total_and_its_error_are_those_of_many_draws() -> None:
    mean, truth = edge(2, plane=(6, 5))
    totals, sigmas = [], []
    for seed in range(200):
        told = elemental_maps(drawn(mean, seed), ENERGY, [OXYGEN]).record["elements"][0]
        totals.append(told["total"])
        sigmas.append(told["total_sigma"])
    assert np.mean(totals) == pytest.approx(30 * truth, abs=4 * np.std(totals) / np.sqrt(200))
    assert np.std(totals) == pytest.approx(np.mean(sigmas), rel=0.15)


def test_the_background_of_an_xray_line_is_unbiased_down_to_a_few_counts() -> None:
    mean = (0.004 + 0.3 * np.exp(-(((XRAY - 4510) / 60) ** 2)))[:, None, None] * np.ones((1, 60, 60))
    truth = (mean[:, 0, 0] - 0.004)[(XRAY >= 4400) & (XRAY < 4620)].sum()
    maps = elemental_maps(drawn(mean), XRAY, [TITANIUM])
    error = maps.data[0] - truth
    assert abs(error.mean()) < 4 * error.std() / 60
    assert np.mean(error**2) == pytest.approx(maps.variance.mean(), rel=0.1)


def test_gain_offset_and_read_noise_are_told_and_carried_into_the_variance() -> None:
    mean, truth = edge(60, plane=(48, 48))
    rng = np.random.default_rng(3)
    y = (8.0 * rng.poisson(mean) + 50 + rng.normal(0, 30, mean.shape)).astype(np.float32)
    maps = elemental_maps(y, ENERGY, [OXYGEN], offset=50.0, share_px=1)
    assert maps.record["detector"]["gain"] == pytest.approx(8, rel=0.1)
    assert maps.record["detector"]["read_sigma"] == pytest.approx(30, rel=0.2)
    error = maps.data[0] - 8 * truth
    assert abs(error.mean()) < 4 * error.std() / 48
    assert error.var() == pytest.approx(maps.variance.mean(), rel=0.1)
    given = elemental_maps(y, ENERGY, [OXYGEN], offset=50.0, gain=8.0, read_sigma=30.0)
    told = {"gain": 8.0, "offset": 50.0, "read_sigma": 30.0, "source": "given", "correlation": []}
    assert given.record["detector"] == told


def test_few_counts_share_the_shape_and_say_so() -> None:
    shares = []
    for level in (100, 0.05, 0.0005):
        told = elemental_maps(drawn(edge(level, plane=(40, 40))[0]), ENERGY, [OXYGEN]).record["elements"][0]
        shares.append(told["share_px"])
    assert shares[0] == 3  # the pixel's own shape would add more variance than its counts, at any level
    assert shares == sorted(shares)
    assert shares[2] > 20
    vacuum = edge(20, plane=(20, 20))[0]
    vacuum[:, :10] = 0
    maps = elemental_maps(drawn(vacuum), ENERGY, [OXYGEN], share_px=1)
    assert maps.record["elements"][0]["pixels_with_shape_of_whole"] == 200
    assert np.all(maps.data[0, :10] == 0)


def test_sums_of_counts_stay_counts() -> None:
    y = drawn(edge(3, plane=(9, 11))[0]).astype(np.uint16)
    plain = ElementWindow("O", "K", (532, 580))
    maps = elemental_maps(y, ENERGY, [plain, OXYGEN])
    inside = (ENERGY >= 532) & (ENERGY < 580)
    np.testing.assert_array_equal(maps.data[0], y[inside].sum(axis=0))
    np.testing.assert_array_equal(maps.variance[0], maps.data[0])
    np.testing.assert_array_equal(maps.counts[1], y[inside].sum(axis=0))


def test_units_of_the_data_scale_the_map() -> None:
    y = drawn(edge(30, plane=(20, 20))[0]).astype(np.float64)
    plain, scaled = (elemental_maps(a, ENERGY, [OXYGEN], gain=g) for a, g in ((y, 1.0), (1000 * y, 1000.0)))
    np.testing.assert_allclose(scaled.data, 1000 * plain.data, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(scaled.variance, 1e6 * plain.variance, rtol=1e-4)


@pytest.mark.parametrize("chunks", [(400, 7, 9), (37, 20, 20), (13, 6, 11)])
def test_a_lazy_image_gives_the_same_bits(chunks) -> None:
    y = drawn(edge(3, plane=(20, 20))[0]).astype(np.float32)
    second = ElementWindow("X", "", (560, 590), ((540, 555),), "power-law")
    eager = elemental_maps(y, ENERGY, [OXYGEN, second])
    lazy = elemental_maps(da.from_array(y, chunks=chunks), ENERGY, [OXYGEN, second])
    for name in ("data", "variance", "counts", "background"):
        np.testing.assert_array_equal(getattr(lazy, name), getattr(eager, name))
    assert lazy.record["sources"] == eager.record["sources"]


def test_a_lazy_image_is_read_only_where_the_windows_are() -> None:
    y = drawn(edge(3, plane=(4, 4))[0])
    asked = []

    def block(block_info=None):
        ((start, stop), *_) = block_info[None]["array-location"]
        asked.append(start)
        return y[start:stop]

    lazy = da.map_blocks(block, chunks=((20,) * 20, (4,), (4,)), dtype=y.dtype, meta=np.empty((0, 0, 0), y.dtype))
    finish(measure(lazy, ENERGY, [OXYGEN], MapSettings(gain=1.0)))
    assert sorted(asked) == [*range(100, 240, 20), *range(260, 360, 20)]


def test_nan_stays_in_its_pixel() -> None:
    y = drawn(edge(20, plane=(12, 12))[0]).astype(np.float32)
    holed = y.copy()
    holed[100, 3, 4] = np.nan  # in the background window
    holed[0, 5, 5] = np.nan  # in none
    whole, maps = (elemental_maps(a, ENERGY, [OXYGEN], share_px=1) for a in (y, holed))
    assert np.argwhere(np.isnan(maps.data[0])).tolist() == [[3, 4]]
    assert np.argwhere(np.isnan(maps.variance[0])).tolist() == [[3, 4]]
    kept = np.isfinite(maps.data)
    np.testing.assert_array_equal(maps.data[kept], whole.data[kept])
    nothing = elemental_maps(np.full((400, 2, 2), np.nan), ENERGY, [OXYGEN])
    assert np.isnan(nothing.data).all()


@pytest.mark.parametrize("plane", [(), (1, 1), (1, 7), (5,), (2, 3, 4)])
def test_any_number_of_pixels(plane) -> None:
    y = drawn(edge(300, plane=(1, 1))[0].reshape(400, *(1,) * len(plane)) * np.ones((400, *plane)))
    maps = elemental_maps(y, ENERGY, [OXYGEN])
    assert maps.data.shape == (1, *plane)
    assert np.isfinite(maps.data).all()
    zero = elemental_maps(np.zeros((400, *plane), np.uint8), ENERGY, [OXYGEN])
    assert not zero.data.any()
    assert not zero.record["elements"][0]["shape_is_known"]


def test_inputs_are_not_changed_and_views_give_the_same() -> None:
    y = drawn(edge(5, plane=(10, 12))[0]).astype(np.int32)
    before = y.copy()
    straight = elemental_maps(y, ENERGY, [OXYGEN])
    turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(y, 0, -1)), -1, 0)
    np.testing.assert_array_equal(elemental_maps(turned, ENERGY, [OXYGEN]).data, straight.data)
    np.testing.assert_array_equal(y, before)


def test_a_record_gives_the_same_maps_again() -> None:
    y = drawn(edge(5, plane=(10, 12))[0])
    first = elemental_maps(y, ENERGY, [OXYGEN], share_px=3)
    record = json.loads(json.dumps(first.record))
    again = ir.replay(record, [y])
    assert isinstance(again, ElementalMaps)
    for name in ("data", "variance", "counts", "background"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    np.testing.assert_array_equal(ir.replay(record, [y, ENERGY]).data, first.data)
    assert record["elements"][0]["line"] == "K"
    with pytest.warns(UserWarning, match="spectrum image is not the one"):
        ir.replay(record, [y + 1])


def test_a_run_that_is_stopped_leaves_no_thread_at_work(threads_end_after) -> None:
    y = da.from_array(drawn(edge(5, plane=(64, 4))[0]), chunks=(400, 1, 4))
    steps = mapping(y, ENERGY, [OXYGEN], MapSettings())
    next(steps)
    next(steps)
    steps.close()


@pytest.fixture
def threads_end_after():
    import threading

    before = set(threading.enumerate())
    yield
    assert not [each.name for each in set(threading.enumerate()) - before if each.name.startswith("invrecon")]


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (ElementWindow("O", "K", (580, 532), ((450, 520),), "power-law"), "from 580 to 532 eV: expected the lower"),
        (ElementWindow("O", "K", (532, 700), ((450, 520),), "power-law"), "not within the spectrum, 399.75 … 599.75"),
        (ElementWindow("O", "K", (532, 580), ((300, 520),), "power-law"), "background window 300 … 520 eV is not with"),
        (ElementWindow("O", "K", (532, 580), ((450, 540),), "power-law"), "overlaps the integration window"),
        (ElementWindow("O", "K", (532, 580), ((585, 599),), "power-law"), "is above the integration window"),
        (ElementWindow("O", "K", (532, 580), ((519, 520),), "power-law"), "holds 2 channels of 0.5 eV"),
        (ElementWindow("O", "K", (532.1, 532.4), ((450, 520),), "power-law"), "holds no channel"),
        (ElementWindow("O", "K", (532, 580), (), "power-law"), "0 background windows for the model 'power-law'"),
        (ElementWindow("O", "K", (532, 580), ((450, 470), (480, 500)), "linear"), "on one side"),
        (ElementWindow("O", "K", (532, float("nan")), ((450, 520),), "power-law"), "expected two energies in eV"),
        (ElementWindow("O", "K", (532, 580), ((450, 520),), "quadratic"), "'quadratic' is unknown"),
        (ElementWindow("O", "K", (532, 580), ((450, 520),), "none"), "1 background windows for the model 'none'"),
    ],
)
def test_odd_windows_are_refused(window, message) -> None:
    with pytest.raises(ValueError, match=message):
        elemental_maps(np.ones((400, 2, 2)), ENERGY, [window])


def test_a_power_law_needs_energies_above_zero() -> None:
    window = ElementWindow("Li", "K", (55, 70), ((-5, 40),), "power-law")
    with pytest.raises(ValueError, match="needs energies above 0; check the energy axis"):
        elemental_maps(np.ones((400, 2)), ENERGY - 410, [window])


@pytest.mark.parametrize(
    ("y", "energy", "error", "message"),
    [
        (np.ones((400, 2), complex), ENERGY, TypeError, "expected real numbers"),
        (np.ones((400, 2)), ENERGY[:-1], ValueError, "one energy for each of the 400 channels"),
        (np.ones((400, 2)), ENERGY[::-1], ValueError, "expected ascending numbers"),
        (np.ones((400, 2)), ENERGY**1.1, ValueError, "not evenly spaced"),
        (np.ones((400, 0)), ENERGY, ValueError, "has the shape"),
        ([1, 2, 3], ENERGY, TypeError, "is a list"),
    ],
)
def test_odd_data_are_refused(y, energy, error, message) -> None:
    with pytest.raises(error, match=message):
        elemental_maps(y, energy, [OXYGEN])


def test_odd_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="an odd number of pixels across"):
        MapSettings(share_px=4)
    with pytest.raises(ValueError, match="no windows"):
        elemental_maps(np.ones((400, 2)), ENERGY, [])
    with pytest.raises(TypeError, match="is no ElementWindow"):
        elemental_maps(np.ones((400, 2)), ENERGY, [{"element": "O"}])


def test_suggested_windows_suit_their_spectrum() -> None:
    for element in ("O", "Ti", "C", "Fe", "La", "Au"):
        for kind, energy in (("eels", 100 + 0.5 * np.arange(6000)), ("edx", -200 + 10.0 * np.arange(2048))):
            ends = energy[0], energy[-1]
            window = suggest_window(element, kind, *ends)
            elemental_maps(np.ones((energy.size, 2)), energy, [window])
    assert suggest_window("Ti", "edx", 0, 20000).name == "Ti Ka"
    assert suggest_window("Au", "edx", 0, 20000).name == "Au La"
    # The background of O K begins after the white lines of Ti L.
    assert suggest_window("O", "eels", 350, 860, others=[456]).background[0][0] >= 491
    assert suggest_window("Xy", "eels", 350, 860, energy_ev=600).signal[0] == 600
    with pytest.raises(ValueError, match="kind='EDS': expected one of 'eels', 'edx'"):
        suggest_window("U", "EDS", 350, 860)
    with pytest.raises(ValueError, match="no edge of 'U' is known between 350 and 860 eV"):
        suggest_window("U", "eels", 350, 860)
    with pytest.raises(ValueError, match="too near the start of the spectrum"):
        suggest_window("Ti", "eels", 450, 860, step_ev=0.5)


def test_xray_windows_keep_off_the_lines_of_the_elements_asked_for() -> None:
    alone = suggest_window("O", "edx", 0, 20000)
    assert alone.background[0][1] > 395, "nobody has asked for titanium, whose Ll is there"
    elements = ("O", "Ti", "Cu", "Pd", "Au", "Pb", "V", "Cr")
    for element in elements:
        others = [energy for each in elements if each != element for energy in energies_of(each, "edx")]
        window = suggest_window(element, "edx", 0, 20000, others=others)
        lines = [*others, *energies_of(element, "edx")]
        assert window.background, element
        for low, high in window.background:
            assert not [each for each in lines if low - 30 < each < high + 30], window
        own = line_of(element, "edx", 0, 20000).energy_ev
        assert not [each for each in others if window.signal[0] < each < window.signal[1] and abs(each - own) > 130]
    titanium = [each for each in energies_of("Ti", "edx") if each < 1000]
    beside = suggest_window("O", "edx", 0, 20000, others=titanium)
    assert beside.background[0][1] < 340
    assert beside.signal[0] == pytest.approx((452 + 525) / 2, abs=1), "half-way to Ti La"
    crowded = suggest_window("O", "edx", 0, 20000, others=range(100, 2000, 20))
    assert (crowded.model, crowded.background) == ("none", ())


def test_the_tables_are_in_the_order_of_moseley() -> None:
    for kind in ("eels", "edx"):
        by_line: dict[str, list[float]] = {}
        for each in sorted(lines_within(kind, 0, 1e6), key=lambda one: SYMBOLS.index(one.element)):
            by_line.setdefault(each.line, []).append(each.energy_ev)
        for energies in by_line.values():
            assert (np.diff(energies) > 0).all()
    assert line_of("Ti", "eels", 0, 2000).energy_ev == 456


@pytest.mark.parametrize(("element", "least"), [("Ti", 40), ("O", 25), ("Cu", 2.5), ("Pd", 2)])
def test_a_real_edx_image_shows_its_elements(shared_data: Path, element: str, least: float) -> None:
    pytest.importorskip("rsciio")
    image = next(each for each in read(shared_data / "bruker/test_TEM.bcf") if each.kind == "spectrum image")
    energy = image.axes[0].offset + image.axes[0].scale * np.arange(image.data.shape[0])
    told = elemental_maps(image.data, energy, [suggest_window(element, "edx", energy[0], energy[-1])]).record
    (found,) = told["elements"]
    assert found["total"] > least * found["total_sigma"]
    assert told["detector"]["source"] == "the data are counts"
