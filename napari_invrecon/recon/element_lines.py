"""Where an element is seen in a spectrum: onsets of EELS edges, energies of X-ray lines, and windows to start from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_invrecon.recon.element_window import BackgroundModel, ElementWindow, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

SpectrumKind = Literal["eels", "edx"]

# Onsets in eV as they are seen in EELS, of the K, L3 and M5 edges. Ahn & Krivanek 1983, EELS Atlas; they agree within
# 6 eV with the binding energies of Elam et al. 2002, doi:10.1016/S0969-806X(01)00227-4, but for N, O and F, whose
# tables hold free molecules.
_EDGES = {
    "K": "Li 55 Be 111 B 188 C 284 N 401 O 532 F 685 Na 1072 Mg 1305 Al 1560 Si 1839",
    "L": "Al 73 Si 99 P 132 S 165 Cl 200 K 294 Ca 346 Sc 402 Ti 456 V 513 Cr 575 Mn 640 Fe 708 Co 779 Ni 855 Cu 931 "
    "Zn 1020 Ga 1115 Ge 1217 As 1323 Se 1436 Br 1550 Sr 1940 Y 2080 Zr 2222 Nb 2371 Mo 2520",
    "M": "Sr 133 Zr 180 Nb 205 Mo 227 Ru 279 Rh 307 Pd 335 Ag 367 Cd 404 In 443 Sn 485 Sb 528 Te 572 I 619 Cs 726 "
    "Ba 781 La 832 Ce 883 Pr 931 Nd 978 Sm 1080 Eu 1131 Gd 1185 Tb 1241 Dy 1295 Ho 1351 Er 1409 Tm 1468 Yb 1528 "
    "Lu 1588 Hf 1662 Ta 1735 W 1809 Re 1883 Os 1960 Ir 2040 Pt 2122 Au 2206 Pb 2484 Bi 2580 Th 3332 U 3552",
}
# Energies in eV of Kα (the mean of Kα1 and Kα2, 2 : 1), Lα1 and Mα, to 1 eV, from Elam et al. 2002 as above.
_LINES = {
    "Ka": "Be 108 B 183 C 277 N 392 O 525 F 677 Ne 849 Na 1040 Mg 1254 Al 1486 Si 1740 P 2010 S 2309 Cl 2621 Ar 2957 "
    "K 3313 Ca 3691 Sc 4092 Ti 4510 V 4950 Cr 5412 Mn 5897 Fe 6401 Co 6926 Ni 7475 Cu 8040 Zn 8630 Ga 9242 Ge 9876 "
    "As 10532 Se 11211 Br 11909 Kr 12630 Rb 13376 Sr 14143 Y 14933 Zr 15747 Nb 16584 Mo 17445 Tc 18328 Ru 19236 "
    "Rh 20169 Pd 21125 Ag 22105 Cd 23110 In 24141 Sn 25195",
    "La": "Ti 452 V 510 Cr 572 Mn 637 Fe 705 Co 775 Ni 849 Cu 928 Zn 1012 Ga 1098 Ge 1188 As 1282 Se 1379 Br 1481 "
    "Kr 1585 Rb 1692 Sr 1806 Y 1924 Zr 2044 Nb 2169 Mo 2292 Tc 2423 Ru 2558 Rh 2697 Pd 2838 Ag 2983 Cd 3133 In 3286 "
    "Sn 3444 Sb 3604 Te 3768 I 3938 Xe 4110 Cs 4285 Ba 4466 La 4647 Ce 4839 Pr 5035 Nd 5228 Pm 5432 Sm 5633 Eu 5850 "
    "Gd 6053 Tb 6273 Dy 6498 Ho 6720 Er 6949 Tm 7180 Yb 7416 Lu 7655 Hf 7899 Ta 8146 W 8398 Re 8652 Os 8911 Ir 9175 "
    "Pt 9442 Au 9713 Hg 9989 Tl 10269 Pb 10551 Bi 10839 Th 12968 U 13614",
    "Ma": "Cs 727 Ba 780 La 836 Ce 884 Pr 927 Nd 979 Pm 1023 Sm 1078 Eu 1122 Gd 1181 Tb 1233 Dy 1284 Ho 1342 Er 1404 "
    "Tm 1463 Yb 1526 Lu 1580 Hf 1646 Ta 1712 W 1775 Re 1840 Os 1907 Ir 1976 Pt 2048 Au 2118 Hg 2191 Tl 2267 Pb 2342 "
    "Bi 2418 Th 2990 U 3164",
}
# Too weak to map an element, but not to stand in another one's background; to 1 eV, from the same source.
_WEAKER = {
    "Kb": "Mg 1302 Al 1557 Si 1837 P 2140 S 2465 Cl 2812 Ar 3190 K 3590 Ca 4013 Sc 4464 Ti 4933 V 5428 Cr 5947 "
    "Mn 6492 Fe 7059 Co 7649 Ni 8267 Cu 8904 Zn 9570 Ga 10267 Ge 10982 As 11726 Se 12497 Br 13292 Kr 14112 "
    "Rb 14961 Sr 15835 Y 16739 Zr 17668 Nb 18625 Mo 19606 Tc 20626 Ru 21656 Rh 22724 Pd 23818 Ag 24941 Cd 26093 "
    "In 27275 Sn 28485",
    "Ll": "Ti 395 V 446 Cr 500 Mn 556 Fe 616 Co 677 Ni 742 Cu 810 Zn 882 Ga 957 Ge 1037 As 1119 Se 1204 Br 1293 "
    "Kr 1386 Rb 1477 Sr 1581 Y 1688 Zr 1793 Nb 1904 Mo 2014 Tc 2133 Ru 2252 Rh 2376 Pd 2501 Ag 2632 Cd 2766 "
    "In 2903 Sn 3044 Sb 3192 Te 3335 I 3485 Xe 3637 Cs 3801 Ba 3954 La 4121 Ce 4287 Pr 4453 Nd 4633 Pm 4809 "
    "Sm 4993 Eu 5177 Gd 5362 Tb 5546 Dy 5743 Ho 5943 Er 6152 Tm 6341 Yb 6546 Lu 6753 Hf 6960 Ta 7173 W 7387 "
    "Re 7603 Os 7822 Ir 8041 Pt 8268 Au 8494 Hg 8722 Tl 8954 Pb 9184 Bi 9420 Th 11118 U 11618",
    "Lb1": "Zr 2126 Nb 2260 Mo 2394 Tc 2535 Ru 2683 Rh 2834 Pd 2990 Ag 3150 Cd 3315 In 3487 Sn 3663 Sb 3842 "
    "Te 4029 I 4221 Xe 4418 Cs 4618 Ba 4828 La 5038 Ce 5262 Pr 5492 Nd 5719 Pm 5961 Sm 6201 Eu 6458 Gd 6708 "
    "Tb 6975 Dy 7248 Ho 7526 Er 7811 Tm 8102 Yb 8402 Lu 8710 Hf 9023 Ta 9343 W 9672 Re 10010 Os 10354 Ir 10708 "
    "Pt 11071 Au 11443 Hg 11824 Tl 12213 Pb 12614 Bi 13023 Th 16202 U 17220",
    "Lb2": "Rh 3002 Pd 3171 Ag 3347 Cd 3526 In 3712 Sn 3904 Sb 4099 Te 4299 I 4506 Xe 4716 Cs 4932 Ba 5154 "
    "La 5378 Ce 5614 Pr 5849 Nd 6088 Pm 6339 Sm 6587 Eu 6844 Gd 7100 Tb 7364 Dy 7636 Ho 7911 Er 8190 Tm 8472 "
    "Yb 8753 Lu 9038 Hf 9341 Ta 9643 W 9951 Re 10261 Os 10578 Ir 10903 Pt 11232 Au 11566 Hg 11906 Tl 12252 "
    "Pb 12601 Bi 12955 Th 15588 U 16388",
    "Lg1": "Rh 3144 Pd 3328 Ag 3520 Cd 3715 In 3920 Sn 4131 Sb 4347 Te 4570 I 4801 Xe 5038 Cs 5279 Ba 5531 "
    "La 5786 Ce 6055 Pr 6325 Nd 6602 Pm 6893 Sm 7183 Eu 7484 Gd 7787 Tb 8102 Dy 8427 Ho 8758 Er 9096 Tm 9442 "
    "Yb 9787 Lu 10143 Hf 10519 Ta 10898 W 11288 Re 11685 Os 12092 Ir 12512 Pt 12941 Au 13381 Hg 13831 Tl 14292 "
    "Pb 14766 Bi 15247 Th 18981 U 20170",
    "Mg": "Cs 926 Ba 973 La 1026 Ce 1078 Pr 1127 Nd 1176 Pm 1237 Sm 1291 Eu 1353 Gd 1401 Tb 1460 Dy 1522 Ho 1581 "
    "Er 1644 Tm 1710 Yb 1768 Lu 1828 Hf 1896 Ta 1968 W 2038 Re 2106 Os 2178 Ir 2255 Pt 2330 Au 2408 Hg 2488 "
    "Tl 2572 Pb 2654 Bi 2737 Th 3371 U 3567",
}
_MANGANESE_EV, _MANGANESE_FWHM_EV = 5897.0, 130.0  # a silicon detector's resolution at Mn Kα
_PER_PAIR_EV = 2.5  # its square grows by this times the energy
# In full widths at half maximum, of X-ray windows: from the line to its background, how wide that is and at least, and
# how far away at most; and how far a background stays from other lines.
_GAP, _WIDE, _NARROW, _FAR, _OFF = 1.25, 1.25, 0.6, 8.0, 1.5


@dataclass(frozen=True)
class ElementLine:
    """An edge ("Ti L", its onset) or an X-ray line ("Ti Ka")."""

    element: str
    line: str
    energy_ev: float


def _table(text: dict[str, str]) -> tuple[ElementLine, ...]:
    words = {line: row.split() for line, row in text.items()}
    return tuple(
        ElementLine(element, line, float(energy))
        for line, row in words.items()
        for element, energy in zip(row[::2], row[1::2], strict=True)
    )


_TABLES: dict[SpectrumKind, tuple[ElementLine, ...]] = {"eels": _table(_EDGES), "edx": _table(_LINES)}
_WEAK: dict[SpectrumKind, tuple[ElementLine, ...]] = {"eels": (), "edx": _table(_WEAKER)}


def lines_within(kind: SpectrumKind, low_ev: float, high_ev: float) -> list[ElementLine]:
    """The edges or lines between two energies, by energy."""
    found = (each for each in _TABLES[kind] if low_ev < each.energy_ev < high_ev)
    return sorted(found, key=lambda each: each.energy_ev)


def line_of(element: str, kind: SpectrumKind, low_ev: float, high_ev: float) -> ElementLine | None:
    """The edge or line that an element is best mapped with, if it lies between the two energies.

    EELS: the lowest from 100 eV up; EDX: K up to 15 keV, else L, else M.
    """
    own = [each for each in lines_within(kind, low_ev, high_ev) if each.element == element]
    if kind == "edx":
        order = {"Ka": 0, "La": 1, "Ma": 2}
        own.sort(key=lambda each: (each.energy_ev > 15000, order[each.line]))
    else:
        own.sort(key=lambda each: (each.energy_ev < 100, each.energy_ev))
    return own[0] if own else None


def energies_of(element: str, kind: SpectrumKind) -> list[float]:
    """All edges or lines of an element, in eV; also lines that are too weak to map it."""
    return sorted(each.energy_ev for each in (*_TABLES[kind], *_WEAK[kind]) if each.element == element)


def suggest_window(
    element: str,
    kind: SpectrumKind,
    low_ev: float,
    high_ev: float,
    *,
    step_ev: float = 0.0,
    energy_ev: float | None = None,
    line: str = "",
    others: Sequence[float] = (),
) -> ElementWindow:
    """Windows to start from.

    EELS: counts from the onset over a tenth of its energy (30 to 100 eV), the background before it over as much and a
    half, from the last other onset's white lines on. EDX: one width of a silicon detector's peak either side of the
    line (2 × FWHM), no further than half-way to another line unless that cannot be told apart; background windows of
    1.25 FWHM beyond, the nearest that keep 1.5 FWHM off other lines, the element's own too. Where a side has no room
    for one within eight FWHM, the background is told from the other side alone.

    Parameters
    ----------
    element
        A symbol such as "Ti".
    kind
        What loses or has the energy: electrons ("eels") or X-rays ("edx").
    low_ev, high_ev
        The ends of the spectrum; windows are cut there.
    step_ev
        Energy of a channel: no window is narrower than three.
    energy_ev, line
        The onset or line, where it is not the one of `line_of`, and what it is called.
    others
        Onsets of the other edges, or energies of the other lines, in the spectrum: `energies_of` the other elements.

    Raises
    ------
    ValueError
        The kind is none of these; the table has no edge or line of the element in the spectrum, and no energy is given;
        or there is no room for a background before the onset.
    """
    if kind not in _TABLES:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(map(repr, _TABLES))}")
    name = line
    low_ev, high_ev = math.ceil(10 * low_ev) / 10, math.floor(10 * high_ev) / 10
    if energy_ev is None:
        found = line_of(element, kind, low_ev, high_ev)
        if found is None:
            what = "edge" if kind == "eels" else "X-ray line"
            raise ValueError(
                f"no {what} of {element!r} is known between {low_ev:.4g} and {high_ev:.4g} eV: type its energy, or "
                "choose another element"
            )
        name, energy_ev = found.line, found.energy_ev
    if not low_ev < energy_ev < high_ev:
        raise ValueError(
            f"{element} {name} at {energy_ev:g} eV is not within the spectrum, {low_ev:.6g} … {high_ev:.6g} eV: type "
            "an energy that is, or correct the energy axis"
        )
    if kind == "edx":
        near = [*others, *energies_of(element, kind)]
        return _around_line(element, name, energy_ev, (low_ev, high_ev), step_ev, near)
    width = min(max(30.0, 0.1 * energy_ev, 3 * step_ev), 100.0)
    gap = max(0.01 * energy_ev, 2 * step_ev)
    before = max([low_ev, energy_ev - gap - 1.5 * width, *(e + 35 for e in others if e < energy_ev - 40)])
    background = (max(before, min(10.0, energy_ev / 2)), energy_ev - gap)
    if background[1] - background[0] < 3 * max(step_ev, 1e-9):
        raise ValueError(
            f"{element} {name} begins at {energy_ev:g} eV, too near the start of the spectrum, {low_ev:.4g} eV, for a "
            "background before it: type a window, or take another edge"
        )
    signal = (energy_ev, min(high_ev, energy_ev + width))
    return ElementWindow(element, name, _rounded(signal), (_rounded(background),), "power-law")


def _around_line(
    element: str, name: str, energy_ev: float, ends: Window, step_ev: float, others: Sequence[float]
) -> ElementWindow:
    """Windows of an X-ray line among others."""
    width = max(_fwhm_ev(energy_ev), 3 * step_ev)
    apart = [each - energy_ev for each in others if abs(each - energy_ev) >= width]  # what is nearer is in it anyway
    below = min([width, *(-each / 2 for each in apart if each < 0)])
    above = min([width, *(each / 2 for each in apart if each > 0)])
    signal = (max(ends[0], energy_ev - below), min(ends[1], energy_ev + above))
    centres = [0.0, *(each for each in others if each != energy_ev)]  # the electronics' noise stands at 0
    lines = [(e - _OFF * w, e + _OFF * w) for e in centres for w in [max(_fwhm_ev(e), 3 * step_ev)]]
    before = (max(ends[0], energy_ev - _FAR * width), energy_ev - _GAP * width)
    behind = (energy_ev + _GAP * width, min(ends[1], energy_ev + _FAR * width))
    found = []
    if free := [each for each in _free(before, lines) if each[1] - each[0] >= _NARROW * width]:
        low, high = free[-1]
        found.append((max(low, high - _WIDE * width), high))
    if free := [each for each in _free(behind, lines) if each[1] - each[0] >= _NARROW * width]:
        low, high = free[0]
        found.append((low, min(high, low + _WIDE * width)))
    model: BackgroundModel = "linear" if found else "none"
    return ElementWindow(element, name, _rounded(signal), tuple(map(_rounded, found)), model)


def _free(within: Window, taken: Sequence[Window]) -> list[Window]:
    """What is left of an interval, in ascending order."""
    left, (start, end) = [], within
    for low, high in sorted(taken):
        if start < min(low, end):
            left.append((start, min(low, end)))
        start = max(start, high)
    return [*left, (start, end)] if start < end else left


def _fwhm_ev(energy_ev: float) -> float:
    return math.sqrt(max(_MANGANESE_FWHM_EV**2 + _PER_PAIR_EV * (energy_ev - _MANGANESE_EV), 50.0**2))


def _rounded(window: Window) -> Window:
    """Numbers that a user would type."""
    low, high = window
    return round(float(low), 1), round(float(high), 1)
