"""Vendors' unit strings, and steps that are no calibration."""

from __future__ import annotations

import pytest

from napari_invrecon.io.acquisition import Axis
from napari_invrecon.io.units import axis, canonical


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("nm", ("nm", 1.0)),
        ("[n_m]", ("nm", 1.0)),
        ("n_m", ("nm", 1.0)),
        ("µm", ("nm", 1e3)),
        ("\u03bcm", ("nm", 1e3)),
        ("um", ("nm", 1e3)),
        ("micron", ("nm", 1e3)),
        ("A", ("nm", 0.1)),
        ("Å", ("nm", 0.1)),
        ("\u212b", ("nm", 0.1)),
        ("angstrom", ("nm", 0.1)),
        ("pm", ("nm", 1e-3)),
        ("m", ("nm", 1e9)),
        ("mm", ("nm", 1e6)),
        ("cm", ("nm", 1e7)),
        ("1/nm", ("1/nm", 1.0)),
        ("1 / nm", ("1/nm", 1.0)),
        ("nm^-1", ("1/nm", 1.0)),
        ("1/A", ("1/nm", 10.0)),
        ("1/m", ("1/nm", 1e-9)),
        ("deg", ("degree", 1.0)),
        ("°", ("degree", 1.0)),
        ("rad", ("degree", 57.29577951308232)),
        ("mrad", ("degree", 0.05729577951308232)),
        ("eV", ("eV", 1.0)),
        ("keV", ("eV", 1e3)),
        ("k_eV", ("eV", 1e3)),
        ("s", ("s", 1.0)),
        ("ms", ("s", 1e-3)),
    ],
)
def test_what_vendors_write(unit: str, expected: tuple[str, float]) -> None:
    found = canonical(unit)
    assert found is not None
    assert found[0] == expected[0]
    assert found[1] == pytest.approx(expected[1], rel=1e-12)


@pytest.mark.parametrize("unit", ["", " ", "pixel", "pix", "px", "[]", "<undefined>", None, 3, "counts", "1/s", "K"])
def test_no_unit_of_an_axis(unit: object) -> None:
    assert canonical(unit) is None


@pytest.mark.parametrize(
    ("unit", "scale"),
    [
        ("nm", 0.0),
        ("nm", -1.0),
        ("nm", float("nan")),
        ("nm", float("inf")),
        ("nm", 1e17),
        ("m", 1e-17),
        ("nm", None),
        ("nm", "wide"),
        ("1/nm", 0.0),
        ("eV", -0.5),
    ],
)
def test_an_absurd_step_is_no_calibration_and_is_reported(unit: str, scale: object) -> None:
    found, note = axis("x", unit, scale)
    assert found == Axis("x", "pixel")
    assert note is not None
    assert str(scale) in note


@pytest.mark.parametrize(("scale", "kept"), [(0.03125, 0.03125), (1e-9, 1.0), (1e17, 1.0), (None, 1.0)])
def test_a_step_without_a_unit_is_kept_as_a_ratio_if_sane_and_not_reported(scale: object, kept: float) -> None:
    assert axis("x", "", scale) == (Axis("x", "pixel", kept), None)


def test_an_unknown_unit_is_reported() -> None:
    found, note = axis("x", "furlong", 2.0)
    assert found.unit == "pixel"
    assert note is not None
    assert "furlong" in note


def test_tilts_may_fall() -> None:
    assert axis("tilt", "deg", -2.0, 60.0) == (Axis("tilt", "degree", -2.0, 60.0), None)


def test_conversion_leaves_no_noise_in_the_digits() -> None:
    found, _ = axis("x", "m", 3.36e-9, -1e-8)
    assert (found.scale, found.offset) == (3.36, -10.0)


def test_an_origin_too_far_for_the_screen_is_left_out_and_reported() -> None:
    found, note = axis("x", "nm", 0.01, 5e5)
    assert found == Axis("x", "nm", 0.01)
    assert note is not None
    assert "origin" in note
