"""A seeded sample of the damaged files of ``tests/benchmarks/reader_fuzz.py``, and what is never believed."""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from hostile_files import Canary

from napari_invrecon.io import Acquisition, Axis, read, write

FUZZ = Path(__file__).resolve().parents[1] / "benchmarks" / "reader_fuzz.py"


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited on Linux only")
def test_damaged_files_give_layers_or_a_clear_error(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("rsciio")
    spec = importlib.util.spec_from_file_location("reader_fuzz", FUZZ)
    assert spec is not None
    assert spec.loader is not None
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    files = fuzz.sources(shared_data, tmp_path)
    done = list(fuzz.run(files, range(20_000, 20_060), 1, tmp_path))
    counted = Counter(result for _, _, result, _, _ in done)
    assert counted.total() == 60
    assert set(counted) <= {"layers", "error", "skipped"}, [each for each in done if each[2] not in ("layers", "error")]
    assert counted["layers"] > 20
    assert counted["error"] > 20


def saved(path: Path) -> Path:
    write(path, Acquisition(np.ones((4, 5), np.float32), (Axis("y"), Axis("x")), "a", "image"))
    return path


@pytest.mark.parametrize("dtype", ["|O", "<f4"])
def test_code_in_a_zarr_is_not_run(tmp_path: Path, dtype: str) -> None:
    path = saved(tmp_path / "a.zarr")
    described = json.loads((path / "0" / ".zarray").read_text(encoding="utf-8"))
    described |= {"dtype": dtype, "filters": [{"id": "pickle"}], "compressor": None}
    (path / "0" / ".zarray").write_text(json.dumps(described), encoding="utf-8")
    (path / "0" / "0" / "0").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.raises(
        ValueError, match=r"a\.zarr (holds Python objects, which are never unpickled|could not be read)"
    ):
        read(path)
    assert not (tmp_path / "canary").exists()


def test_code_in_archives_is_not_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([Canary(tmp_path / "canary")], object))
    with pytest.raises(ValueError, match=r"a\.npz holds Python objects, which are never unpickled"):
        read(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.zspy", "w") as archive:
        archive.writestr("0/.zarray", json.dumps({"shape": [1], "chunks": [1], "filters": [{"id": "pickle"}]}))
    with pytest.raises(ValueError, match=r"a\.zspy holds Python objects, which are never unpickled"):
        read(tmp_path / "a.zspy")
    assert not (tmp_path / "canary").exists()


def test_sizes_beyond_what_is_stored_are_not_believed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.emd", "w") as file:
        group = file.create_group("data/a")
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", (2**40, 64), "f4", chunks=(64, 64))
        file["again"] = h5py.SoftLink("/again")
        group["loop"] = file["data"]
    with pytest.raises(ValueError, match=r"a\.emd declares 2\.62e\+05 GiB for 'data/a/data', but holds 0 bytes of it"):
        read(tmp_path / "a.emd")
    np.savez(tmp_path / "a.npz", a=np.ones((3, 4)))
    content = (tmp_path / "a.npz").read_bytes().replace(b"(3, 4)", b"(3,10)")
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz"):
        read(tmp_path / "a.npz")
    path = saved(tmp_path / "a.zarr")
    zarr.open_array(path, path="0", mode="r+").resize((2**30, 2**30))
    with pytest.raises(ValueError, match=r"a\.zarr declares .* GiB for '0', but holds"):
        read(path)
