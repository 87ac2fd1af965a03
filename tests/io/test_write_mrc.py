"""What other programs find in an MRC file of this package."""

import dask.array as da
import mrcfile
import numpy as np
import pytest

from napari_invrecon.io.acquisition import Acquisition, Axis
from napari_invrecon.io.write_mrc import write_mrc


def of(volume, side_nm=0.336):
    axes = tuple(Axis(name, "nm" if side_nm else "pixel", side_nm or 1.0) for name in "zyx")
    return Acquisition(volume, axes[-volume.ndim :], "a", "volume" if volume.ndim == 3 else "image")


def test_a_volume_has_its_voxels_labels_and_statistics(tmp_path):
    volume = np.random.default_rng(0).normal(3, 2, (5, 6, 7)).astype(np.float32)
    path = tmp_path / "out.mrc"
    write_mrc(path, of(volume), ["tomogram by napari-invrecon", "λ = 0.1" + "x" * 200])
    with mrcfile.open(path) as mrc:
        assert mrc.is_volume()
        assert np.array_equal(mrc.data, volume)
        assert mrc.voxel_size.x == pytest.approx(3.36)
        assert mrc.header.rms == pytest.approx(volume.std(), rel=1e-5)
        assert mrc.header.dmean == pytest.approx(volume.mean(), rel=1e-5)
        assert (mrc.header.dmin, mrc.header.dmax) == (volume.min(), volume.max())
        assert mrc.get_labels() == ["tomogram by napari-invrecon", "? = 0.1" + "x" * 73]
    assert mrcfile.validate(str(path))


@pytest.mark.parametrize("dtype", ["int16", "float64", "bool"])
def test_other_types_become_float32(tmp_path, dtype):
    volume = np.arange(24).reshape(2, 3, 4).astype(dtype)
    write_mrc(tmp_path / "out.mrc", of(volume, None))
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        assert mrc.data.dtype == np.float32
        assert np.array_equal(mrc.data, volume)
        assert mrc.voxel_size.x == 0


@pytest.mark.parametrize("chunks", [(6, 3, 8), (4, 3, 3), (1, 10, 8)])
def test_a_lazy_volume_is_written_chunk_by_chunk(tmp_path, chunks):
    volume = np.random.default_rng(0).random((6, 10, 8)).astype(np.float32)
    write_mrc(tmp_path / "out.mrc", of(da.from_array(volume, chunks=chunks)))
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        assert np.array_equal(mrc.data, volume)


def test_what_is_not_finite_is_kept_and_left_out_of_the_statistics(tmp_path):
    image = np.array([[1, np.nan], [np.inf, 3]], np.float32)
    write_mrc(tmp_path / "out.mrc", of(image))
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, image)
        assert (mrc.header.dmin, mrc.header.dmax, mrc.header.dmean) == (1, 3, 2)


@pytest.mark.parametrize("volume", [np.ones(2), np.ones((2, 2, 2, 2)), np.ones((2, 2, 2), complex)])
def test_what_is_no_real_volume_is_refused(tmp_path, volume):
    axes = tuple(Axis("x") for _ in volume.shape)
    with pytest.raises(ValueError, match=r"out\.mrc: expected a real image or volume"):
        write_mrc(tmp_path / "out.mrc", Acquisition(volume, axes, "a", "volume"))
    assert not list(tmp_path.iterdir())
