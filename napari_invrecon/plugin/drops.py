"""Files that are dropped together: the single tilts of a series are joined; a stack and its sidecar are one.

napari hands them to the reader one by one. Which others come with a file is known from the progress bar that it shows.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils import progress
from napari.utils.notifications import show_info

from napari_invrecon.io.sidecars import EXTENSIONS as SIDECARS
from napari_invrecon.io.sidecars import stack_of
from napari_invrecon.io.single_tilts import may_be_tilt, numbered_alike, series_name, series_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_invrecon.io import Acquisition

# The stage of a microscope that is not tilted drifts by less.
_LEAST_STEP_DEG = 0.2

# The files that have become a series, for as long as napari opens them.
_joined: tuple[str, ...] = ()


def opened_together(path: str) -> tuple[str, ...]:
    """All files that napari is opening now, of which this is one."""
    for bar in progress._all_instances:
        paths = getattr(bar, "iterable", None)
        if isinstance(paths, list) and path in paths:
            return tuple(each for each in paths if isinstance(each, str))
    return (path,)


def already_open(path: str, together: Sequence[str]) -> bool:
    """Whether the file came in as part of another one: of a series, or as the sidecar of a stack."""
    global _joined
    if path == together[0]:
        _joined = ()
    if path in _joined:
        return True
    if Path(path).suffix.lower() not in SIDECARS or len(together) == 1:
        return False
    try:
        return str(stack_of(Path(path))) in together
    except (ValueError, OSError):
        return len(together) > 1 and any(Path(each).suffix.lower() not in SIDECARS for each in together)


def single_tilts(path: str, together: Sequence[str]) -> list[Acquisition] | None:
    """The series that the files make together, at the first of them; None where they are to be opened one by one.

    They make one without asking where their names differ in numbers only, and those with a tilt angle are single images
    of the same size at different angles; the others are opened beside it. Where only the names speak against it, the
    user is told how to have them joined.
    """
    global _joined
    files = [Path(each) for each in together if Path(each).suffix.lower() not in SIDECARS]
    if len(files) < 2 or path != str(files[0]) or len({each.suffix.lower() for each in files}) > 1:
        return None
    try:
        if not may_be_tilt(files[0]):
            return None
        series = series_of(files, series_name(files))
    except (ValueError, ImportError, OSError):
        return None
    angles = series[0].metadata["angles_deg"]
    if min(after - before for before, after in itertools.pairwise(angles)) < _LEAST_STEP_DEG:
        return None
    if not numbered_alike(files):
        show_info(
            f"{len(files)} images at different tilts are opened one by one, as their names are unlike: to make one "
            "tilt series of them, drop them again with Shift held"
        )
        return None
    joined = series[0].metadata["files"]
    _joined = tuple(each for each in together if Path(each).name in joined and each != path)
    return series
