"""NumPy archives: maps by their names, and no Python objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_invrecon.io.formats import read

if TYPE_CHECKING:
    from pathlib import Path


def test_arrays_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", HAADF=np.ones((2, 3)), Cu=np.ones((2, 3)), Cu_raw=np.ones((2, 3)), n=np.array(4))
    assert [(a.name, a.kind, a.metadata.get("element")) for a in read(tmp_path / "a.npz")] == [
        ("HAADF", "image", None),
        ("Cu", "map", "Cu"),
        ("Cu_raw", "image", None),
    ]


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([{}], object))
    with pytest.raises(ValueError, match="holds Python objects, which are never unpickled"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"PK\3\4 and no more", b"text"])
def test_a_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz"):
        read(tmp_path / "a.npz")


def test_an_archive_without_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", n=np.array(4))
    with pytest.raises(ValueError, match="holds no array"):
        read(tmp_path / "a.npz")
