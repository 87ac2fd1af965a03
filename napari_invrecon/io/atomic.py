"""A file or folder that takes its name when it is whole, so that a full disk or a kill leaves what was there before."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole(path: Path, n_bytes: int = 0) -> Iterator[Path]:
    """A temporary name beside ``path`` to write a file or a folder under; at the end of the block it becomes ``path``.

    ``n_bytes`` must be free on the disk before anything is written: HDF5 ends the program when it cannot close a file
    on a full disk. What is written is on the disk before it is renamed. A folder cannot replace another one in a single
    step: the old one is moved aside first, and back where that fails; a kill in between leaves both whole under names
    that begin with a dot.

    Raises
    ------
    OSError
        When the block fails to write, the disk is full, the folder is missing, or ``path`` is of the other kind. What
        was there before is unchanged, and no rest is left.
    """
    path = path.resolve()  # what a link points to is replaced, not the link
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.name}: the folder {path.parent} does not exist: choose another one")
    part, old = (path.with_name(f".{path.name}.{suffix}") for suffix in ("part", "old"))
    try:
        _remove(part)
        if shutil.disk_usage(path.parent).free < n_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield part
        _flush(part)
        if path.exists() and path.is_dir() != part.is_dir():
            what = "a folder" if path.is_dir() else "a file"
            raise FileExistsError(f"{path.name} is already there as {what}: choose another name")
        if path.is_dir():
            _exchange(part, path, old)
        else:
            part.replace(path)
        _flush_entry(path.parent)
    except BaseException as error:
        _remove(part)
        if isinstance(error, OSError) and error.errno is not None:
            raise _explained(path, error) from error
        if isinstance(error, (OSError, RuntimeError)) and "No space left" in str(error):  # HDF5 has no errno
            raise _explained(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
        raise


def _explained(path: Path, error: OSError) -> OSError:
    problem, remedy = error.strerror or str(error), f"check that you may write to {path.parent}"
    if error.errno in _FULL:
        problem = os.strerror(error.errno)  # HDF5 has a paragraph in its place
        remedy = f"free some space on the disk of {path.parent}, or choose another one"
    return OSError(error.errno, f"{path.name} was not written ({problem}), nothing was replaced: {remedy}")


def _exchange(part: Path, path: Path, old: Path) -> None:
    _remove(old)
    path.replace(old)
    try:
        part.replace(path)
    except BaseException:
        old.replace(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(part: Path) -> None:
    for file in [part] if part.is_file() else part.rglob("*"):
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())


def _flush_entry(folder: Path) -> None:
    """The renaming too; Windows opens no folders and needs none of this."""
    if os.name == "posix":
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
