"""A write that fails, is killed or fills the disk leaves the old file, and says what to do."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest

from napari_invrecon.io import Acquisition, Axis, read, write

if TYPE_CHECKING:
    from pathlib import Path

EXTENSIONS = (".mrc", ".tif", ".zarr", ".hspy")
AXES = (Axis("z", "nm"), Axis("y", "nm"), Axis("x", "nm"))

# Writes 8 MiB where a file may have 1 MiB, as on a disk that is full; or is killed by SIGKILL in the middle.
CHILD = """
import os, resource, signal, sys
import dask.array as da, numpy as np
from pathlib import Path
from napari_invrecon.io import Acquisition, Axis, write

path, how = Path(sys.argv[1]), sys.argv[2]
volume = da.random.default_rng(0).random((8, 512, 512), chunks=(1, 512, 512), dtype="f4")
if how == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, 2**19))
else:
    def kill(block, block_info=None):
        writing = len(list(path.parent.iterdir())) > 1
        if writing and block_info[0]["chunk-location"][0] == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return block
    volume = volume.map_blocks(kill, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
try:
    write(path, Acquisition(volume, (Axis("z"), Axis("y"), Axis("x")), "new", "volume"))
except OSError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def old(path: Path) -> Acquisition:
    saved = Acquisition(np.ones((2, 3, 4), np.float32), AXES, "old", "volume")
    write(path, saved)
    return saved


@pytest.fixture(params=EXTENSIONS)
def path(request: Any, tmp_path: Path) -> Path:
    if request.param == ".hspy":
        pytest.importorskip("rsciio")
    return tmp_path / f"out{request.param}"


@pytest.mark.skipif(os.name != "posix", reason="limits the size of a file as only POSIX does")
@pytest.mark.parametrize("how", ["full", "killed"])
def test_a_full_disk_and_a_kill_leave_the_old_file(path: Path, how: str) -> None:
    old(path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(CHILD), str(path), how], capture_output=True, text=True
    )
    (found,) = read(path)
    assert (found.name, found.data.shape) == ("old", (2, 3, 4))
    if how == "killed":
        assert done.returncode == -9
        assert len(list(path.parent.iterdir())) == 2  # the rest of the new one, under a name that begins with a dot
        old(path)  # the next one takes its place
    else:
        assert f"{path.name} was not written" in done.stderr
        assert "nothing was replaced: free some space" in done.stderr
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_source_that_fails_leaves_the_old_file_and_no_rest(path: Path) -> None:
    old(path)

    def broken(block: Any) -> Any:
        raise RuntimeError("the disk of the source is gone")

    lazy = da.ones((4, 4, 4), chunks=2).map_blocks(broken, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    with pytest.raises(RuntimeError, match="gone"):
        write(path, Acquisition(lazy, AXES, "new", "volume"))
    assert read(path)[0].name == "old"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_new_one_replaces_the_old_one(path: Path) -> None:
    saved = old(path)
    write(path, Acquisition(saved.data[:1], AXES, "new", "volume"))
    assert read(path)[0].name == "new"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path: Path, monkeypatch: Any) -> None:
    old(tmp_path / "out.zarr")
    replace = type(tmp_path).replace

    def refuse(source: Path, target: Path) -> Path:
        if source.name.endswith(".part"):
            raise OSError(errno.EACCES, "Permission denied")
        return replace(source, target)

    monkeypatch.setattr(type(tmp_path), "replace", refuse)
    with pytest.raises(OSError, match=r"out\.zarr was not written \(Permission denied\).*check that you may write"):
        old(tmp_path / "out.zarr")
    assert read(tmp_path / "out.zarr")[0].name == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["out.zarr"]


def test_a_disk_without_room_is_an_error_before_anything_is_written(path: Path, monkeypatch: Any) -> None:
    old(path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(OSError, match=r"No space left on device\), nothing was replaced: free some space"):
        write(path, Acquisition(np.ones((2, 3, 4), np.float32), AXES, "new", "volume"))
    assert read(path)[0].name == "old"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_link_stays_one_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    old(tmp_path / "real" / "a.mrc")
    (tmp_path / "link.mrc").symlink_to(tmp_path / "real" / "a.mrc")
    write(tmp_path / "link.mrc", Acquisition(np.ones((2, 2), np.float32), AXES[1:], "new", "image"))
    assert (tmp_path / "link.mrc").is_symlink()
    assert read(tmp_path / "real" / "a.mrc")[0].name == "new"


def test_wrong_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.mrc: the folder .*none does not exist: choose another one"):
        old(tmp_path / "none" / "a.mrc")
    (tmp_path / "a.mrc").mkdir()
    with pytest.raises(OSError, match=r"a\.mrc is already there as a folder: choose another name"):
        old(tmp_path / "a.mrc")
    assert [each.name for each in tmp_path.iterdir()] == ["a.mrc"]
