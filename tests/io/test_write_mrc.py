"""Volumes written as MRC are read back by mrcfile and by this package."""

import dask.array as da
import mrcfile
import numpy as np
import pytest

from napari_invrecon.io import read
from napari_invrecon.io.write_mrc import write_mrc


def test_a_volume_comes_back_with_its_voxels_and_labels(tmp_path):
    volume = np.random.default_rng(0).normal(3, 2, (5, 6, 7)).astype(np.float32)
    path = tmp_path / "out.mrc"
    write_mrc(path, volume, 0.336, ["tomogram by napari-invrecon", "λ = 0.1" + "x" * 200])
    with mrcfile.open(path) as mrc:
        assert mrc.is_volume()
        assert np.array_equal(mrc.data, volume)
        assert mrc.voxel_size.x == pytest.approx(3.36)
        assert mrc.header.rms == pytest.approx(volume.std(), rel=1e-5)
        assert mrc.header.dmean == pytest.approx(volume.mean(), rel=1e-5)
        assert (mrc.header.dmin, mrc.header.dmax) == (volume.min(), volume.max())
        assert "tomogram by napari-invrecon" in mrc.get_labels()
    assert mrcfile.validate(str(path))
    (found,) = read(path)
    assert found.kind == "volume"
    assert [axis.scale for axis in found.axes] == pytest.approx([0.336] * 3)


@pytest.mark.parametrize("dtype", ["int16", "float64", "bool"])
def test_other_types_become_float32(tmp_path, dtype):
    volume = np.arange(24).reshape(2, 3, 4).astype(dtype)
    write_mrc(tmp_path / "out.mrc", volume)
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        assert mrc.data.dtype == np.float32
        assert np.array_equal(mrc.data, volume)
        assert mrc.voxel_size.x == 0


def test_a_lazy_volume_is_written_chunk_by_chunk(tmp_path):
    volume = np.random.default_rng(0).random((6, 10, 8)).astype(np.float32)
    write_mrc(tmp_path / "out.mrc", da.from_array(volume, chunks=(6, 3, 8)), 1.0)
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        assert np.array_equal(mrc.data, volume)


def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "out.mrc"
    write_mrc(path, np.ones((2, 2, 2)))
    before = path.read_bytes()

    def broken(block):
        raise RuntimeError("the disk of the source is gone")

    lazy = da.ones((4, 4, 4), chunks=2).map_blocks(broken, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    with pytest.raises(RuntimeError, match="gone"):
        write_mrc(path, lazy)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["out.mrc"]


@pytest.mark.parametrize("volume", [np.ones((2, 2)), np.ones((2, 2, 2, 2)), np.ones((2, 2, 2), complex)])
def test_what_is_no_real_volume_is_refused(tmp_path, volume):
    with pytest.raises(ValueError, match=r"out\.mrc: expected a real volume"):
        write_mrc(tmp_path / "out.mrc", volume)
    assert not list(tmp_path.iterdir())
