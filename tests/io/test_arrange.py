"""What axes mean, from their units; arrays that are not plain real numbers."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_invrecon.io.acquisition import Acquisition, Axis
from napari_invrecon.io.arrange import acquisitions, tilt_axis

NM = [Axis("b", "nm", 0.5), Axis("a", "nm", 0.25)]


def one(data: object, axes: list[Axis], spectral: int | None = None, **metadata: object) -> Acquisition:
    (found,) = acquisitions(data, axes, name="signal", metadata=dict(metadata), spectral=spectral)
    return found


@pytest.mark.parametrize(
    ("shape", "axes", "kind", "names"),
    [
        ((2, 3), NM, "image", "y x"),
        ((2, 3), [Axis("v", "1/nm"), Axis("u", "1/nm")], "diffraction", "y x"),
        ((4, 2, 3), [Axis("t", "degree", 2.0, -4.0), *NM], "tilt series", "tilt y x"),
        ((4, 2, 3), [Axis("d", "nm"), *NM], "volume", "z y x"),
        ((4, 2, 3), [Axis("t", "s"), *NM], "stack", "frame y x"),
        ((4, 2, 3), [Axis("n"), *NM], "stack", "frame y x"),
        ((4, 2, 3), [Axis("d", "nm"), Axis("v", "1/nm"), Axis("u", "1/nm")], "stack", "frame y x"),
        ((1, 2, 3), [Axis("d", "nm"), *NM], "image", "y x"),
        ((5,), [Axis("e", "eV")], "spectrum", "energy"),
        ((5,), [Axis("e")], "spectrum", "energy"),
        ((5,), [Axis("profile", "nm")], "image", "y x"),
        ((5, 2, 3), [Axis("e", "eV"), *NM], "spectrum image", "energy y x"),
        ((2, 3, 5), [*NM, Axis("e", "eV")], "spectrum image", "energy y x"),
        ((3, 5), [NM[1], Axis("e", "eV")], "spectrum image", "energy y x"),
        ((1, 2, 3, 5), [Axis("n"), *NM, Axis("e", "eV")], "spectrum image", "energy y x"),
    ],
)
def test_kind_and_order_from_units(shape: tuple[int, ...], axes: list[Axis], kind: str, names: str) -> None:
    found = one(np.zeros(shape), axes)
    assert found.kind == kind
    assert [axis.name for axis in found.axes] == names.split()
    assert len(found.axes) == found.data.ndim


def test_energy_moves_to_the_front_with_its_values() -> None:
    data = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    found = one(data, [*NM, Axis("e", "eV", 0.5, 100.0)])
    np.testing.assert_array_equal(found.data, np.moveaxis(data, -1, 0))
    assert found.axes == (Axis("energy", "eV", 0.5, 100.0), Axis("y", "nm", 0.5), Axis("x", "nm", 0.25))


def test_a_spectrum_without_a_unit_is_told_by_the_caller() -> None:
    assert one(np.zeros((2, 3, 5)), [Axis("a"), Axis("b"), Axis("c")], spectral=2).data.shape == (5, 2, 3)


def test_an_element_makes_a_map() -> None:
    assert one(np.zeros((2, 3)), NM, element="Fe").kind == "map"


def test_a_tilt_series_has_its_angles_and_no_single_tilt() -> None:
    found = one(np.zeros((3, 2, 3)), [Axis("t", "degree", 2.0, -2.0), *NM], stage_tilt_deg=90.0)
    assert found.metadata["angles_deg"] == [-2.0, 0.0, 2.0]
    assert "stage_tilt_deg" not in found.metadata


def test_more_leading_axes_run_together() -> None:
    found = one(np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5), [Axis("r"), Axis("q"), *NM])
    assert found.data.shape == (6, 4, 5)
    assert found.metadata["frames_shape"] == [2, 3]


def test_complex_numbers_become_amplitude_and_phase() -> None:
    values = np.array([[3 + 4j, -1j]], np.complex64)
    amplitude, phase = acquisitions(values, NM, name="DPC", metadata={})
    assert (amplitude.name, phase.name) == ("DPC amplitude", "DPC phase")
    np.testing.assert_allclose(amplitude.data, [[5, 1]])
    np.testing.assert_allclose(phase.data, [[np.arctan2(4, 3), -np.pi / 2]], rtol=1e-6)


def test_complex_numbers_in_two_fields() -> None:
    pair = np.array([[(3, 4)]], [("realFloat", "f4"), ("imagFloat", "f4")])
    assert acquisitions(pair, NM, name="DPC", metadata={})[0].data == 5


def test_lazy_complex_numbers_stay_lazy() -> None:
    amplitude, phase = acquisitions(da.ones((2, 3), dtype=np.complex64), NM, name="a", metadata={})
    assert isinstance(amplitude.data, da.Array)
    assert isinstance(phase.data, da.Array)


def test_colours_become_luminance() -> None:
    colours = np.array([[(255, 255, 255), (0, 255, 0)]], [("R", "u1"), ("G", "u1"), ("B", "u1")])
    found = one(colours, NM)
    assert found.name == "signal luminance"
    np.testing.assert_allclose(found.data, [[255, 0.7152 * 255]], rtol=1e-6)


@pytest.mark.parametrize(
    ("stored", "shown"), [("?", "u1"), ("f2", "f4"), (">i2", "i2"), ("longdouble", "f8"), ("i8", "i8"), ("i2", "i2")]
)
def test_types_are_native_numbers_of_the_same_value(stored: str, shown: str) -> None:
    data = np.array([[0, 1]], stored)
    found = one(data, NM).data
    assert found.dtype == np.dtype(shown)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, [[0, 1]])


@pytest.mark.parametrize(
    "data", [np.array([[None, {}]], object), np.array([["a"]]), np.array([["2020-01-01"]], "M8[D]")]
)
def test_no_numbers_are_refused(data: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected numbers: export it"):
        one(data, NM)


def test_an_empty_array_is_refused() -> None:
    with pytest.raises(ValueError, match="is empty"):
        one(np.zeros((0, 3)), NM)


def test_spectra_on_three_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one or two axes beside energy"):
        one(np.zeros((2, 2, 3, 5)), [Axis("t"), *NM, Axis("e", "eV")])


@pytest.mark.parametrize(
    ("angles", "start", "step"),
    [([-4, -2, 0, 2], -4, 2), ([60, 57, 54], 60, -3), ([0, 3, -3, 6, -6], -6, 3), ([-60, -59, -55], -60, 2.5)],
)
def test_tilt_axis(angles: list[float], start: float, step: float) -> None:
    assert tilt_axis(angles) == Axis("tilt", "degree", step, start)
