"""Vendors' unit strings to the package's four: nm, 1/nm, degree, eV (and s for the time of a frame)."""

from __future__ import annotations

import math
import re

from napari_invrecon.io.acquisition import Axis

# What the axes of an `Acquisition` may be in.
UNITS = ("nm", "1/nm", "degree", "eV", "s", "pixel")

_PREFIX = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6}
_LENGTH_NM = {prefix + "m": 1e9 * factor for prefix, factor in _PREFIX.items()} | {"fm": 1e-6, "cm": 1e7, "A": 0.1}
_ANGLE_DEGREE = {"deg": 1.0, "rad": math.degrees(1.0), "mrad": math.degrees(1e-3)}
_ENERGY_EV = {prefix + "eV": factor for prefix, factor in _PREFIX.items()}
_TIME_S = {prefix + "s": factor for prefix, factor in _PREFIX.items()}

_WORDS = {
    "angstrom": "A", "angstroms": "A", "ångström": "A", "å": "A", "\u212b": "A", "Å": "A",
    "picometer": "pm", "nanometer": "nm", "nanometers": "nm", "nanometre": "nm",
    "micron": "um", "microns": "um", "micrometer": "um", "micrometers": "um", "micrometre": "um",
    "millimeter": "mm", "centimeter": "cm", "meter": "m", "metre": "m", "meters": "m",
    "degree": "deg", "degrees": "deg", "°": "deg", "radian": "rad", "radians": "rad", "milliradian": "mrad",
    "electronvolt": "eV", "ev": "eV", "kev": "keV", "second": "s", "seconds": "s", "sec": "s", "millisecond": "ms",
}  # fmt: skip

# What a calibrated axis of an electron microscope can have as its step; anything else is a damaged or default number.
_PLAUSIBLE_STEP = {
    "nm": (1e-6, 1e9),
    "1/nm": (1e-9, 1e6),
    "degree": (1e-6, 360.0),
    "eV": (1e-6, 1e7),
    "s": (1e-12, 1e9),
}


def canonical(unit: object) -> tuple[str, float] | None:
    """The package's unit and the factor to it; None where the string names no unit of length, angle, energy or time.

    Understands what vendors write: ``µm``, ``um``, ``A`` (ångström, never ampere), ``[n_m]``, ``1/nm``, ``nm^-1``,
    ``mrad``, ``keV``. ``""``, ``pixel``, ``px``, ``<undefined>`` and the like give None.
    """
    if not isinstance(unit, str):
        return None
    text = unit.strip().strip("[]()").replace("µ", "u").replace("μ", "u").replace("\\u00B5", "u").replace(" ", "")
    reciprocal = re.fullmatch(r"1/(.+)|(.+?)(?:\^|\*\*)?\(?[-\u2212\u207b][1\u00b9]\)?", text)
    if reciprocal:
        base = canonical(reciprocal[1] or reciprocal[2])
        return ("1/nm", 1 / base[1]) if base and base[0] == "nm" else None
    text = text.replace("_", "")  # EMD sets the prefix apart: n_m
    text = _WORDS.get(text, _WORDS.get(text.lower(), text))
    for name, factors in (("nm", _LENGTH_NM), ("degree", _ANGLE_DEGREE), ("eV", _ENERGY_EV), ("s", _TIME_S)):
        if text in factors:
            return name, factors[text]
    return None


def axis(name: str, unit: object, scale: object, offset: object = 0.0) -> tuple[Axis, str | None]:
    """The calibrated axis, or an uncalibrated one with the reason.

    Parameters
    ----------
    name
        The axis' name in the package: tilt, frame, energy, z, y or x.
    unit
        As the file writes it.
    scale, offset
        Step and coordinate of index 0 in that unit.

    Returns
    -------
    Axis in nm, 1/nm, degree, eV, s or pixel; and None, or a sentence for the user on what the file says and why it
    cannot be a calibration. A file that claims no calibration gets no sentence.
    """
    step, start = _number(scale), _number(offset)
    known = canonical(unit)
    if known is None:
        if step is None or not 1e-6 <= step <= 1e6:
            step = 1.0
        return Axis(name, "pixel", step), _unknown_unit(name, unit)
    target, factor = known
    low, high = _PLAUSIBLE_STEP[target]
    signed = target == "degree"
    if step is None or not low <= (abs(step) if signed else step) * factor <= high:
        return Axis(name, "pixel"), f"axis {name}: a step of {scale} {unit} is no calibration"
    # Steps such as 3.36e-9 m are kept to the digits that they have, without the noise of the conversion.
    step = _round_noise(step * factor)
    start = _round_noise((start or 0.0) * factor)
    if abs(start) > 1e6 * abs(step):
        return Axis(name, target, step), f"axis {name}: its origin {offset} {unit} is left out, too far for the screen"
    return Axis(name, target, step, start), None


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _round_noise(value: float) -> float:
    return float(f"{value:.12g}") + 0.0


def _unknown_unit(name: str, unit: object) -> str | None:
    text = unit.strip() if isinstance(unit, str) else ""
    if text.lower() in {"", "pixel", "pixels", "px", "pix", "<undefined>", "none", "undefined", "dimensionless"}:
        return None
    return f"axis {name}: its unit {text!r} is not a length, angle, energy or time"
