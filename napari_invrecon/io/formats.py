"""Which module reads and which writes a file, and the sidecars that are read with a stack."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from napari_invrecon.io import emd, mrc, npz, ome_zarr, rosetta, sidecars, tif
from napari_invrecon.io.write_hspy import write_hspy
from napari_invrecon.io.write_mrc import write_mrc
from napari_invrecon.io.write_tif import write_tif
from napari_invrecon.io.write_zarr import write_zarr

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_invrecon.io.acquisition import Acquisition

_FAMILIES = (mrc, emd, tif, rosetta, npz, ome_zarr)
_READERS: dict[str, Callable[[Path], list[Acquisition]]] = {
    extension: family.read for family in _FAMILIES for extension in family.EXTENSIONS
}

_WRITERS: dict[str, Callable[[Path, Acquisition], None]] = {
    ".tif": write_tif,
    ".tiff": write_tif,
    ".mrc": write_mrc,
    ".rec": write_mrc,
    ".zarr": write_zarr,
    ".hspy": write_hspy,
}

# Every extension that `write` knows.
WRITABLE = tuple(_WRITERS)

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
    if not (path.is_dir() if path.suffix.lower() in ome_zarr.EXTENSIONS else path.is_file()):
        raise FileNotFoundError(f"{path.name}: no such file in {path.parent}")
    if path.suffix.lower() in sidecars.EXTENSIONS:
        stack = sidecars.stack_of(path)
        return sidecars.with_sidecar(_read_alone(stack), sidecars.read_sidecar(path))
    found = _read_alone(path)
    sidecar = sidecars.beside(path)
    return sidecars.with_sidecar(found, sidecars.read_sidecar(sidecar)) if sidecar else found


def write(path: str | PathLike[str], acquisition: Acquisition) -> None:
    """Write an acquisition in the format of the name's extension; `read` gives it back, with its record.

    The file takes its name when it is whole; one of that name is replaced then, and stays where writing fails.

    Raises
    ------
    ValueError
        When the extension is none of `WRITABLE`, or the format cannot hold the array.
    MissingReaderError
        When the format needs the extra ``em``.
    OSError
        When it cannot be written.
    """
    path = Path(fspath(path))
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ValueError(f"'{path.name}': expected a name that ends in {' '.join(WRITABLE)}")
    writer(path, acquisition)


def _read_alone(path: Path) -> list[Acquisition]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path.name}: expected one of {' '.join(EXTENSIONS)}: export it as .mrc, .emd or .tif")
    try:
        return reader(path)
    except ImportError:
        raise
    except MemoryError as error:
        size = f" ({error})" if str(error) else ""
        raise ValueError(
            f"{path.name} needs more memory than there is{size}: close other programs, or copy the file again"
        ) from error
    except Exception as error:  # a damaged file makes a parser fail in any way
        if type(error) is ValueError and (path.name in str(error) or str(error).startswith("'")):
            raise  # it names what it is about
        raise ValueError(
            f"{path.name} could not be read ({type(error).__name__}: {error}): it may be damaged, copy it again"
        ) from error
