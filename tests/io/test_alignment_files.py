import numpy as np
import pytest

from napari_invrecon.io.alignment_files import read_alignment, read_xf, write_alignment, write_tlt, write_xf
from napari_invrecon.io.sidecars import read_sidecar

SUMMARY = {
    "shifts_px": [[1.5, -2.25], [0.1, 1 / 3]],
    "axis_rotation_deg": -2.8,
    "residual": [None, 0.1],
    "tilt_axis": "y",
}


def test_json_comes_back_digit_for_digit(tmp_path):
    path = tmp_path / "a.json"
    write_alignment(path, SUMMARY)
    assert read_alignment(path) == SUMMARY


def test_transforms_and_angles_come_back(tmp_path):
    rows = np.random.default_rng(0).uniform(-30, 30, (5, 6))
    rows[:, :4] /= 30
    write_xf(tmp_path / "a.xf", rows)
    np.testing.assert_allclose(read_xf(tmp_path / "a.xf"), rows, atol=6e-4)
    write_tlt(tmp_path / "a.tlt", [-70.0, -68.25, 0.125])
    assert read_sidecar(tmp_path / "a.tlt").angles_deg == [-70.0, -68.25, 0.125]


def test_a_file_as_imod_writes_it(tmp_path):
    (tmp_path / "a.xf").write_text("   0.9987462  -0.0500593   0.0500593   0.9987462      12.345     -67.890\n\n")
    np.testing.assert_array_equal(
        read_xf(tmp_path / "a.xf"), [[0.9987462, -0.0500593, 0.0500593, 0.9987462, 12.345, -67.89]]
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 0 0 1 2\n", "line 1: expected a11"),
        ("1 0 0 1 2 3\n1 0 0 1 2 x\n", "line 2: expected a11"),
        ("1 0 0 1 nan 3\n", "line 1"),
        ("", "is empty"),
    ],
)
def test_another_file_is_no_xf(tmp_path, text, said):
    (tmp_path / "a.xf").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_xf(tmp_path / "a.xf")


@pytest.mark.parametrize(
    ("text", "said"), [("{", "not JSON"), ("[1]", "no alignment"), ('{"method": "tv"}', "no alignment")]
)
def test_another_file_is_no_alignment(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_alignment(tmp_path / "a.json")


def test_what_fails_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "a.json"
    write_alignment(path, SUMMARY)
    with pytest.raises(ValueError, match="NaN"):
        write_alignment(path, {"shifts_px": [[float("nan"), 0.0]]})
    with pytest.raises(ValueError, match="six finite numbers"):
        write_xf(path, np.zeros((3, 5)))
    with pytest.raises(TypeError):
        write_tlt(path, [1.0, None])
    assert read_alignment(path) == SUMMARY
    assert list(tmp_path.iterdir()) == [path]
