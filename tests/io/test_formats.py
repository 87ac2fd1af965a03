"""The one door: extensions, missing files, unknown kinds, and what ``info`` prints."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import mrcfile
import numpy as np
import pytest

from napari_invrecon.io import EXTENSIONS, describe, formats, origin, read

if TYPE_CHECKING:
    from pathlib import Path


def write_mrc(path: Path) -> Path:
    with mrcfile.new(path, np.zeros((2, 3), np.int16)) as mrc:
        mrc.voxel_size = 5.0
    return path


def test_extensions_are_lower_case_and_distinct() -> None:
    assert len(set(EXTENSIONS)) == len(EXTENSIONS)
    assert all(extension == extension.lower() for extension in EXTENSIONS)


def test_extensions_may_be_upper_case(tmp_path: Path) -> None:
    assert read(str(write_mrc(tmp_path / "A.MRC")))[0].name == "A"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.mrc: no such file"):
        read(tmp_path / "a.mrc")


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.jpg: expected one of \.mrc .*: export it as"):
        read(tmp_path / "a.jpg")


def test_any_failure_of_a_parser_is_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise KeyError("lost")

    monkeypatch.setitem(formats._READERS, ".mrc", fail)
    with pytest.raises(ValueError, match=r"a\.mrc could not be read \(KeyError: 'lost'\): it may be damaged"):
        read(write_mrc(tmp_path / "a.mrc"))


def test_fingerprint_of_the_whole_file_and_of_a_large_one_s_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_mrc(tmp_path / "a.mrc")
    content = path.read_bytes()
    assert read(path)[0].metadata["sha256"] == hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(origin, "HASHED_WHOLE_BYTES", 10)
    monkeypatch.setattr(origin, "_HASHED_HEAD_BYTES", 8)
    metadata = read(path)[0].metadata
    assert metadata["sha256_first_64MiB"] == hashlib.sha256(content[:8]).hexdigest()
    assert "sha256" not in metadata


def test_description(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "TS.mrc", np.zeros((3, 4, 5), np.int16)) as mrc:
        mrc.set_image_stack()
        mrc.voxel_size = (33.6, -1.0, 0.0)
    (tmp_path / "TS.rawtlt").write_text("-2\n0\n2\n", encoding="utf-8")
    assert describe(tmp_path / "TS.mrc").splitlines() == [
        "TS.mrc",
        "  TS  [tilt series]  3 × 4 × 5 int16  tilt -2…2° step 2 · y uncalibrated · x 3.36 nm",
        "      angles from TS.rawtlt",
        "      axis y: a step of -1.0 A is no calibration",
    ]


def test_every_real_file_opens_or_says_what_is_missing(shared_data: Path) -> None:
    pytest.importorskip("rsciio")
    paths = [path for path in sorted(shared_data.rglob("*")) if path.is_file() and path.suffix != ".md"]
    lonely = {"test_000.mdoc", "tilt_series.mdoc"}
    for path in paths:
        if path.name in lonely:
            with pytest.raises(ValueError, match="describes images that are not beside it"):
                read(path)
            continue
        for acquisition in read(path):
            json.dumps(acquisition.metadata, allow_nan=False)
            assert acquisition.data.dtype.kind in "iuf"
            assert {axis.unit for axis in acquisition.axes} <= {"nm", "1/nm", "degree", "eV", "s", "pixel"}
            assert all(axis.scale and np.isfinite([axis.scale, axis.offset]).all() for axis in acquisition.axes)
    assert lonely <= {path.name for path in paths}
