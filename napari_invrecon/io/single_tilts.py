"""A tilt series that is stored as a file for each tilt: joined, sorted by angle, and what is missing of it said."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.acquisition import Acquisition
from napari_invrecon.io.arrange import tilt_axis
from napari_invrecon.io.formats import EXTENSIONS, read
from napari_invrecon.io.sidecars import EXTENSIONS as SIDECARS
from napari_invrecon.io.sidecars import frame_angles

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_SAME_STEP = 1e-3  # relative, of pixel sizes
_GAP = 1.5  # steps between neighbours that leave out at least one image
_COPIED_BYTES = 2**29  # larger series stay the single images that they were read as
_OWN = ("stage_tilt_deg", "sha256", "sha256_first_64MiB", "title", "file_name", "notes", "reader_warnings")


def series_of(paths: Sequence[Path], name: str) -> list[Acquisition]:
    """The images of several files, one tilt each, as one tilt series; one a detector where each file has the same few.

    Images without a tilt angle, files that cannot be read, gaps in the angles and angles that occur twice are told in
    ``metadata["notes"]``; the files in their new order are ``metadata["files"]``.

    Parameters
    ----------
    paths
        At least two.
    name
        Of the series, where the files' signals have names of their own.

    Raises
    ------
    ValueError
        When fewer than two images have a tilt angle, or the images differ in size.
    """
    tilts: list[tuple[Path, list[Acquisition]]] = []
    left_out: list[str] = []
    spectra = 0
    frames = _frame_angles(paths)
    for path in paths:
        try:
            found = read(path)
        except (ValueError, ImportError, OSError) as error:
            left_out.append(str(error) if path.name in str(error) else f"{path.name} ({error})")
            continue
        images = [_placed(each, frames.get(path.name)) for each in found if each.kind in ("image", "map")]
        images = [each for each in images if "stage_tilt_deg" in each.metadata]
        spectra += any(each.kind.startswith("spectrum") for each in found)
        if images:
            tilts.append((path, images))
        else:
            left_out.append(f"{path.name} (no single image with a tilt angle)")
    if len(tilts) < 2:
        reasons = f": {'; '.join(left_out[:3])}" if left_out else ""
        raise ValueError(
            f"'{name}': expected two or more images with a tilt angle each, found {len(tilts)} in {len(paths)} files"
            f"{reasons}: put an .mdoc beside each image, or open the files one by one"
        )
    notes = [f"left out: {', '.join(left_out)}"] if left_out else []
    notes += [f"the spectra of {spectra} files are not part of the series: open such a file alone"] if spectra else []
    return [_joined(files, images, title, notes) for title, files, images in _by_detector(tilts, name)]


def numbered_alike(paths: Iterable[Path]) -> bool:
    """Whether the names are the same but for their numbers, as those of one acquisition are."""
    return len({(re.sub(r"[-+]?\d+(\.\d+)?", "#", path.stem), path.suffix.lower(), path.parent) for path in paths}) == 1


def may_be_tilt(path: Path) -> bool:
    """Whether a file holds an image whose tilt is known; raises what `read` raises."""
    images = [each for each in read(path) if each.kind in ("image", "map")]
    angles = _frame_angles([path])
    return any("stage_tilt_deg" in each.metadata or path.name in angles for each in images)


def series_name(paths: Sequence[Path]) -> str:
    """What the names begin with in common, without the beginning of a number; else the folder's name."""
    columns = itertools.takewhile(
        lambda column: len(set(column)) == 1, zip(*(path.stem for path in paths), strict=False)
    )
    common = "".join(column[0] for column in columns)
    return re.sub(r"[-+\d.]*$", "", common).strip(" _-.") or paths[0].parent.name


def acquisitions_in(folder: Path) -> list[Path]:
    """The files of a folder that can be read, sidecars apart, in the order of their names."""
    readable = set(EXTENSIONS) - set(SIDECARS)
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in readable and path.is_file())


def _frame_angles(paths: Sequence[Path]) -> dict[str, float]:
    """Angles that an .mdoc in a folder of the images gives by their names."""
    folders = {path.parent for path in paths}
    angles: dict[str, float] = {}
    for mdoc in sorted(each for folder in folders for each in folder.glob("*.mdoc")):
        angles |= frame_angles(mdoc)
    return angles


def _placed(image: Acquisition, angle: float | None) -> Acquisition:
    if angle is not None:
        image.metadata["stage_tilt_deg"] = angle
    return image


def _by_detector(
    tilts: Sequence[tuple[Path, list[Acquisition]]], name: str
) -> list[tuple[str, list[Path], list[Acquisition]]]:
    """(name, files, images) of each series; in files with several images these are told apart by name."""
    files = [path for path, _ in tilts]
    if all(len(images) == 1 for _, images in tilts):
        return [(name, files, [images[0] for _, images in tilts])]
    titles = [[image.name for image in images] for _, images in tilts]
    if any(sorted(each) != sorted(titles[0]) or len(set(each)) < len(each) for each in titles):
        raise ValueError(f"'{name}': the files have different images in them: open them one by one")
    return [
        (f"{name} {title}", files, [next(image for image in images if image.name == title) for _, images in tilts])
        for title in titles[0]
    ]


def _joined(files: Sequence[Path], images: Sequence[Acquisition], name: str, notes: list[str]) -> Acquisition:
    shapes = Counter(image.data.shape for image in images)
    if len(shapes) > 1:
        counted = " and ".join(f"{n} of {' × '.join(map(str, shape))}" for shape, n in shapes.most_common())
        raise ValueError(f"'{name}': the images differ in size, {counted}: open those of one size together")
    order = sorted(range(len(images)), key=lambda i: (images[i].metadata["stage_tilt_deg"], files[i].name))
    files, images = [files[i] for i in order], [images[i] for i in order]
    steps = [[axis.scale for axis in image.axes] for image in images]
    if not np.allclose(steps, steps[0], rtol=_SAME_STEP, atol=0) or len({image.axes[0].unit for image in images}) > 1:
        raise ValueError(f"'{name}': the images differ in pixel size: open those of one magnification together")
    angles = [float(image.metadata["stage_tilt_deg"]) for image in images]
    metadata = {key: value for key, value in images[0].metadata.items() if key not in _OWN}
    own = [note for image in images for note in image.metadata.get("notes", [])]
    metadata |= {
        "file_name": files[0].parent.name,
        "files": [path.name for path in files],
        "angles_deg": angles,
        "angles_from": "the images",
        "notes": list(dict.fromkeys([*notes, *_missing(name, angles), *own])),
    }
    return Acquisition(_stack(images), (tilt_axis(angles), *images[0].axes), name, "tilt series", metadata)


def _stack(images: Sequence[Acquisition]) -> Any:
    dtype = np.result_type(*(image.data.dtype for image in images))
    eager = all(isinstance(image.data, np.ndarray) for image in images)
    if eager and len(images) * math.prod(images[0].data.shape) * dtype.itemsize <= _COPIED_BYTES:
        return np.stack([image.data.astype(dtype, copy=False) for image in images])
    import dask.array as da  # late: it takes longer than most files

    return da.stack([da.asarray(image.data).astype(dtype) for image in images])


def _missing(name: str, angles: Sequence[float]) -> list[str]:
    """Sentences on angles that occur twice, and on gaps in steps that are otherwise even."""
    said = []
    twice = [angle for angle, n in Counter(round(angle, 2) for angle in angles).items() if n > 1]
    if twice:
        said.append(f"{name}: more than one image at {', '.join(f'{angle:.4g}°' for angle in twice)}")
    steps = [after - before for before, after in itertools.pairwise(angles)]
    usual = float(np.median([step for step in steps if step > 0.01] or [0.0]))
    lost = [
        f"{before + usual * (i + 1):.4g}°"
        for (before, after), step in zip(itertools.pairwise(angles), steps, strict=True)
        if usual > 0 and step > _GAP * usual
        for i in range(min(round(step / usual) - 1, 99))
    ]
    if len(steps) > 2 and lost:
        said.append(f"{name}: no image at {', '.join(lost)} (the step is {usual:.3g}°)")
    return said
