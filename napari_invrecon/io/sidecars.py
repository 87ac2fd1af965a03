"""Text files beside a stack: tilt angles (.rawtlt, .tlt) and SerialEM's metadata (.mdoc).

A stack ``TS.mrc`` is read together with ``TS.rawtlt``, ``TS.tlt``, ``TS.mrc.mdoc`` or ``TS.mdoc`` in its folder, the
first that is there; for ``.ali``, an aligned stack, ``.tlt`` comes before ``.rawtlt``. A sidecar that is opened by
itself opens the stack that it belongs to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.acquisition import Acquisition, Axis
from napari_invrecon.io.arrange import tilt_axis
from napari_invrecon.io.origin import finite, known, positive
from napari_invrecon.io.units import axis

if TYPE_CHECKING:
    from collections.abc import Sequence

EXTENSIONS = (".rawtlt", ".tlt", ".mdoc")

_STACKS = (".mrc", ".st", ".ali", ".mrcs", ".dm3", ".dm4", ".emd", ".tif", ".tiff", ".h5", ".hdf5")
_E_PER_A2_TO_NM2 = 100.0


@dataclass(frozen=True)
class Sidecar:
    """What a sidecar says of the stack beside it; angles in degree, one for each image."""

    path: Path
    angles_deg: list[float]
    pixel_size_nm: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def beside(stack: Path) -> Path | None:
    """The sidecar that belongs to a stack; None for reconstructions (.rec, .map) and where there is none."""
    if stack.suffix.lower() not in _STACKS:
        return None
    angles = (".tlt", ".rawtlt") if stack.suffix.lower() == ".ali" else (".rawtlt", ".tlt")
    candidates = [stack.with_suffix(suffix) for suffix in angles]
    candidates += [stack.with_name(f"{stack.name}.mdoc"), stack.with_suffix(".mdoc")]
    return next((path for path in candidates if path.is_file()), None)


def stack_of(sidecar: Path) -> Path:
    """The stack that a sidecar describes: the file that an .mdoc names, else one of the same name beside it.

    Raises
    ------
    ValueError
        When neither is in the sidecar's folder.
    """
    named: str | None = None
    if sidecar.suffix.lower() == ".mdoc":
        named = _mdoc(sidecar)[0].get("ImageFile")
        if named:
            # SerialEM runs on Windows and may write a whole path.
            named = re.split(r"[\\/]", named)[-1]
    stem = sidecar.with_suffix("")
    candidates = [sidecar.with_name(named)] if named else []
    candidates += [stem] if stem.suffix.lower() in _STACKS else []
    candidates += [stem.with_name(stem.name + extension) for extension in _STACKS]
    try:
        found = next((path for path in candidates if path.is_file()), None)
    except OSError:  # a name that is none
        found = None
    if found is None:
        wanted = named or f"{stem.name}.mrc"
        raise ValueError(
            f"{sidecar.name} describes images that are not beside it, and holds none itself: put {wanted} into its "
            "folder, then open either of the two"
        )
    return found


def read_sidecar(path: Path) -> Sidecar:
    """Read an .mdoc, or a list of angles in degree, one a line.

    Raises
    ------
    ValueError
        When the file has no angles, or something else in their place.
    """
    if path.suffix.lower() == ".mdoc":
        return _read_mdoc(path)
    words = path.read_text(encoding="utf-8", errors="replace").split()
    angles = [finite(word) for word in words]
    plain = [angle for angle in angles if angle is not None and abs(angle) <= 180]
    if not plain or len(plain) != len(angles):
        wrong = next((word for word, angle in zip(words, angles, strict=True) if angle is None), None)
        problem = f"found {wrong!r}" if wrong else "found no angle between -180 and 180" if words else "it is empty"
        raise ValueError(
            f"{path.name}: expected one tilt angle in degree a line, {problem}: correct or remove the file"
        )
    return Sidecar(path, plain)


def frame_angles(mdoc: Path) -> dict[str, float]:
    """The tilt angle of each image that an .mdoc names as a file of its own (SubFramePath); {} where it names none."""
    found: dict[str, float] = {}
    for section in _mdoc(mdoc)[1]:
        angle = finite(section.get("TiltAngle"))
        if "SubFramePath" in section and angle is not None:
            found[re.split(r"[\\/]", section["SubFramePath"])[-1]] = angle
    return found


def with_sidecar(acquisitions: Sequence[Acquisition], sidecar: Sidecar) -> list[Acquisition]:
    """The acquisitions, with the stack among them made a tilt series; the sidecar's angles replace the header's.

    Raises
    ------
    ValueError
        When the sidecar has not one angle for each image.
    """
    planes = [a for a in acquisitions if a.kind in ("image", "stack", "tilt series", "volume")]
    stacks = [a for a in planes if a.kind != "image"] or planes
    return [_with_angles(a, sidecar) if any(a is stack for stack in stacks) else a for a in acquisitions]


def _with_angles(acquisition: Acquisition, sidecar: Sidecar) -> Acquisition:
    n_images = acquisition.data.shape[0] if len(acquisition.axes) == 3 else 1
    angles = sidecar.angles_deg
    if len(angles) != n_images:
        raise ValueError(
            f"{sidecar.path.name} lists {len(angles)} tilt angles, but '{acquisition.name}' has {n_images} images: "
            f"correct {sidecar.path.name}, or move it to another folder to open the images without it"
        )
    metadata = acquisition.metadata | sidecar.metadata
    *lead, y, x = acquisition.axes
    if sidecar.pixel_size_nm is not None and "pixel" in (y.unit, x.unit):
        y, x = (Axis(name, "nm", sidecar.pixel_size_nm) for name in "yx")
    if np.ptp(angles) == 0:
        metadata["stage_tilt_deg"] = angles[0]
        return replace(acquisition, axes=(*lead, y, x), metadata=metadata)
    metadata.pop("stage_tilt_deg", None)
    metadata |= {"angles_deg": angles, "angles_from": sidecar.path.name}
    return replace(acquisition, axes=(tilt_axis(angles), y, x), kind="tilt series", metadata=metadata)


def _read_mdoc(path: Path) -> Sidecar:
    whole, sections, titles = _mdoc(path)
    angles = [finite(section.get("TiltAngle")) for section in sections]
    plain = [angle for angle in angles if angle is not None]
    if not plain or len(plain) != len(angles):
        raise ValueError(
            f"{path.name}: expected a TiltAngle in each of its {len(sections)} [ZValue] sections, found {len(plain)}: "
            "correct or remove the file"
        )
    doses = [positive(section.get("ExposureDose")) or 0.0 for section in sections]
    tilt_axis_angle = re.search(r"Tilt axis angle = (-?[\d.]+)", " ".join(titles))
    metadata = known(
        voltage_kv=positive(whole.get("Voltage")),
        magnification=positive(sections[0].get("Magnification")),
        dose_e_per_nm2=positive(sum(doses), _E_PER_A2_TO_NM2),
        tilt_axis_angle_deg=finite(tilt_axis_angle[1]) if tilt_axis_angle else None,
    )
    spacing = sections[0].get("PixelSpacing", whole.get("PixelSpacing"))
    pixel, _ = axis("x", "A", spacing)
    return Sidecar(path, plain, pixel.scale if pixel.unit == "nm" else None, metadata)


def _mdoc(path: Path) -> tuple[dict[str, str], list[dict[str, str]], list[str]]:
    """(keys of the whole file, keys of each [ZValue] or [FrameSet] section, [T = …] titles)."""
    whole: dict[str, str] = {}
    sections: list[dict[str, str]] = []
    titles: list[str] = []
    keys = whole
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        head = re.fullmatch(r"\[(\w+) = (.*)\]", line.strip())
        if head and head[1] == "T":
            titles.append(head[2])
        elif head:
            keys = {}
            if head[1] in ("ZValue", "FrameSet"):
                sections.append(keys)
        elif " = " in line:
            key, _, value = line.partition(" = ")
            keys[key.strip()] = value.strip()
    return whole, sections, titles
