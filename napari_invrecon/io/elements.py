"""Which chemical element, and which line or edge, a map's name means."""

from __future__ import annotations

import re

# In the order of the atomic number, from 1.
SYMBOLS = tuple(
    re.findall(
        "[A-Z][a-z]?",
        "HHeLiBeBCNOFNeNaMgAlSiPSClArKCaScTiVCrMnFeCoNiCuZnGaGeAsSeBrKrRbSrYZrNbMoTcRuRhPdAgCdInSnSbTeIXe"
        "CsBaLaCePrNdPmSmEuGdTbDyHoErTmYbLuHfTaWReOsIrPtAuHgTlPbBiPoAtRnFrRaAcThPaUNpPuAmCmBkCfEsFmMdNoLr",
    )
)
_NAME = re.compile(r"([A-Z][a-z]?)(?:[ _-]+([KLMN][A-Za-z0-9α-ω,]{0,4}|EELS|EDS|EDX))?")


def element_and_line(name: str) -> dict[str, str]:
    """``{"element": "Ce", "line": "M45"}`` of "Ce M45"; without a line of "Ce" and "Ce-EELS"; {} of "HAADF"."""
    match = _NAME.fullmatch(name.strip())
    if match is None or match[1] not in SYMBOLS:
        return {}
    line = match[2] if match[2] and match[2] not in ("EELS", "EDS", "EDX") else None
    return {"element": match[1]} | ({"line": line} if line else {})
