"""What other programs find in an MRC file of this package."""

import base64
import zlib
from dataclasses import replace

import dask.array as da
import mrcfile
import numpy as np
import pytest

from napari_invrecon.io import raw
from napari_invrecon.io.acquisition import Acquisition, Axis
from napari_invrecon.io.formats import read
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


def test_what_is_infinite_is_kept_and_left_out_of_the_statistics(tmp_path):
    image = np.array([[1, 2], [np.inf, 3]], np.float32)
    write_mrc(tmp_path / "out.mrc", of(image))
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, image)
        assert (mrc.header.dmin, mrc.header.dmax, mrc.header.dmean) == (1, 3, 2)


def aligned():
    """A tilt series as an alignment leaves it: NaN beyond the field, at other edges in each image, and one without."""
    stack = np.random.default_rng(0).normal(-31884, 20, (4, 9, 13)).astype(np.float32)
    stack[0, :3], stack[1, :, 10:], stack[2, 4, 5] = np.nan, np.nan, np.nan
    axes = (Axis("tilt", "degree", 2.0, -3.0), *(Axis(name, "nm", 0.5) for name in "yx"))
    return Acquisition(stack, axes, "aligned", "tilt series", {"angles_deg": [-3.0, -1.0, 1.0, 3.0]})


@pytest.mark.parametrize("chunks", [None, (2, 4, 5)])
def test_missing_data_are_the_nearest_for_other_programs_and_missing_again_here(tmp_path, chunks):
    acquisition = aligned()
    stack = acquisition.data
    if chunks:
        acquisition = replace(acquisition, data=da.from_array(stack, chunks=chunks))
    path = tmp_path / "out.mrc"
    write_mrc(path, acquisition)
    with mrcfile.open(path) as mrc:
        assert np.isfinite(mrc.data).all()
        assert np.array_equal(mrc.data[0, :3], np.broadcast_to(stack[0, 3], (3, 13)))
        assert np.array_equal(mrc.data[1, :, 10:], np.broadcast_to(stack[1, :, 9:10], (9, 3)))
        assert np.array_equal(mrc.data[3], stack[3])
        assert mrc.header.dmin == mrc.data.min()
        share = 100 * np.isnan(stack).mean()
        said = f"{share:.2g} % of the data are missing: the nearest datum is in their place"
        assert mrc.get_labels() == ["napari-invrecon", said]
        assert np.array_equal(mrc.indexed_extended_header["Alpha tilt"], [-3, -1, 1, 3])
    assert mrcfile.validate(str(path))
    np.testing.assert_array_equal(stack, aligned().data, err_msg="the input is not changed")
    (again,) = read(path)
    np.testing.assert_array_equal(again.data, stack)


def test_missing_data_of_a_large_file_come_back_lazily(tmp_path, monkeypatch):
    acquisition = aligned()
    write_mrc(tmp_path / "out.mrc", acquisition)
    monkeypatch.setattr(raw, "EAGER_BYTES", 0)
    (again,) = read(tmp_path / "out.mrc")
    assert isinstance(again.data, da.Array)
    np.testing.assert_array_equal(again.data.compute(), acquisition.data)


def test_an_image_without_any_datum_is_zero(tmp_path):
    write_mrc(tmp_path / "out.mrc", of(np.full((3, 4), np.nan, np.float32)))
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        assert not mrc.data.any()
    assert np.isnan(read(tmp_path / "out.mrc")[0].data).all()


@pytest.mark.parametrize("mask", ["", "no base64", base64.b64encode(zlib.compress(bytes(10**7))).decode()])
def test_a_damaged_mask_is_no_note(tmp_path, monkeypatch, mask):
    monkeypatch.setattr("napari_invrecon.io.write_mrc.mask_text", lambda _: mask)
    write_mrc(tmp_path / "out.mrc", aligned())
    (found,) = read(tmp_path / "out.mrc")
    assert np.isfinite(found.data).all()
    assert found.name == "out"


@pytest.mark.parametrize("volume", [np.ones(2), np.ones((2, 2, 2, 2)), np.ones((2, 2, 2), complex)])
def test_what_is_no_real_volume_is_refused(tmp_path, volume):
    axes = tuple(Axis("x") for _ in volume.shape)
    with pytest.raises(ValueError, match=r"out\.mrc: expected a real image or volume"):
        write_mrc(tmp_path / "out.mrc", Acquisition(volume, axes, "a", "volume"))
    assert not list(tmp_path.iterdir())
