"""Which module reads which file, and the sidecars that are read with a stack."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from napari_invrecon.io import emd, mrc, npz, rosetta, sidecars, tif

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_invrecon.io.acquisition import Acquisition

_FAMILIES = (mrc, emd, tif, rosetta, npz)
_READERS: dict[str, Callable[[Path], list[Acquisition]]] = {
    extension: family.read for family in _FAMILIES for extension in family.EXTENSIONS
}

# Every extension that `read` knows, sidecars included.
EXTENSIONS = (*_READERS, *sidecars.EXTENSIONS)


def read(path: str | PathLike[str]) -> list[Acquisition]:
    """Every signal of an acquisition file, with the sidecar beside it; a sidecar opens the stack that it belongs to.

    Raises
    ------
    ValueError
        When the file is of no known kind, damaged, or at odds with its sidecar; the message has the remedy.
    FileNotFoundError
        When there is no such file.
    MissingReaderError
        When the format needs the extra ``em``.
    """
    path = Path(fspath(path))
    if not path.is_file():
        raise FileNotFoundError(f"{path.name}: no such file in {path.parent}")
    if path.suffix.lower() in sidecars.EXTENSIONS:
        stack = sidecars.stack_of(path)
        return sidecars.with_sidecar(_read_alone(stack), sidecars.read_sidecar(path))
    found = _read_alone(path)
    sidecar = sidecars.beside(path)
    return sidecars.with_sidecar(found, sidecars.read_sidecar(sidecar)) if sidecar else found


def _read_alone(path: Path) -> list[Acquisition]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path.name}: expected one of {' '.join(EXTENSIONS)}: export it as .mrc, .emd or .tif")
    try:
        return reader(path)
    except (ValueError, ImportError, MemoryError):
        raise
    except Exception as error:  # a damaged file makes a parser fail in any way
        raise ValueError(
            f"{path.name} could not be read ({type(error).__name__}: {error}): it may be damaged, copy it again"
        ) from error
