"""Where tilt angles come from, and what is said when they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image

from napari_invrecon.plugin.tilt_series import describe_angles, projections, tilt_stacks
from napari_invrecon.plugin.widgets.angles_row import AnglesRow

pytestmark = pytest.mark.gui

ANGLES = np.linspace(-60, 60, 7)


def stack(n_images=7, *, angles=None, name="tilts", **acquisition):
    if angles is not None:
        acquisition |= {"angles_deg": list(angles), "angles_from": "tilts.rawtlt"}
    metadata = {"acquisition": acquisition} if acquisition else {}
    return Image(np.zeros((n_images, 1, 4, 6), np.float32), name=name, metadata=metadata, contrast_limits=(0, 1))


@pytest.fixture
def row(qtbot):
    row = AnglesRow()
    qtbot.addWidget(row)
    return row


def test_those_of_the_layer_are_shown_with_where_they_come_from(row):
    row.offer(stack(angles=ANGLES))
    np.testing.assert_array_equal(row.value, ANGLES)
    assert row.label.text() == "7 angles, −60…60°, from tilts.rawtlt"
    assert not row.file.isVisibleTo(row)
    assert not row.start.isVisibleTo(row)


def test_a_layer_without_angles_starts_with_start_and_step(row):
    row.offer(stack())
    assert row.source.currentText() == "start and step"
    assert "a guess, as the layer has none: type start and step" in row.label.text()
    row.start.setValue(-30)
    row.step.setValue(10)
    np.testing.assert_allclose(row.value, [-30, -20, -10, 0, 10, 20, 30])
    assert row.label.text() == "7 angles, −30…30°, from start and step"
    row.source.setCurrentText("of the layer")
    with pytest.raises(ValueError, match="'tilts' has no tilt angles: choose their file, or type start and step"):
        _ = row.value
    assert "has no tilt angles" in row.label.text()


def test_a_step_of_zero_is_refused(row):
    row.offer(stack())
    row.step.setValue(0)
    with pytest.raises(ValueError, match="a step of 0° gives every image the same angle"):
        _ = row.value


@pytest.mark.parametrize(("n_images", "n_angles"), [(6, 7), (7, 5)])
def test_a_mismatch_names_both_lengths(row, n_images, n_angles):
    row.offer(stack(n_images, angles=np.arange(n_angles)))
    with pytest.raises(ValueError, match=rf"lists {n_angles} angles, but 'tilts' has {n_images} images"):
        _ = row.value
    assert str(n_angles) in row.label.text()
    assert str(n_images) in row.label.text()


def test_a_file_is_read(row, tmp_path, qtbot):
    path = tmp_path / "other.tlt"
    path.write_text("\n".join(str(angle) for angle in ANGLES + 1))
    row.offer(stack(angles=ANGLES))
    row.source.setCurrentText("of a file")
    with pytest.raises(ValueError, match="choose the file of the angles"):
        _ = row.value
    row.file.setText(str(path))
    with qtbot.waitSignal(row.changed):
        row.file.editingFinished.emit()
    np.testing.assert_allclose(row.value, ANGLES + 1)
    assert row.label.text() == "7 angles, −59…61°, from other.tlt"
    path.write_text("1\n2\n")
    with pytest.raises(ValueError, match=r"other\.tlt lists 2 angles, but 'tilts' has 7 images"):
        _ = row.value
    path.write_text("one two")
    with pytest.raises(ValueError, match="found 'one'"):
        _ = row.value
    path.unlink()
    with pytest.raises(ValueError, match="there is no file"):
        _ = row.value


def test_what_was_typed_belongs_to_its_layer_and_survives(row):
    typed, own = stack(name="typed"), stack(angles=ANGLES, name="own")
    row.offer(typed)
    row.start.setValue(-45)
    row.step.setValue(15)
    row.offer(own)
    np.testing.assert_array_equal(row.value, ANGLES)
    row.offer(typed)
    np.testing.assert_allclose(row.value, np.arange(-45, 46, 15))
    row.offer(stack(3))
    np.testing.assert_allclose(row.value, [-45, -30, -15], err_msg="the next one starts from there")


def test_tilt_series_come_first_and_what_is_none_is_not_offered():
    volume = Image(np.zeros((3, 4, 5)), metadata={"acquisition": {"kind": "volume"}}, contrast_limits=(0, 1))
    spectra = Image(
        np.zeros((9, 1, 4, 5)), metadata={"acquisition": {"kind": "spectrum image"}}, contrast_limits=(0, 1)
    )
    image, plain, series = Image(np.eye(4)), stack(name="plain"), stack(angles=ANGLES, name="series")
    assert tilt_stacks([image, volume, plain, spectra, series]) == [series, plain]


@pytest.mark.parametrize(
    ("shape", "seen"),
    [((7, 4, 6), (7, 4, 6)), ((7, 1, 4, 6), (7, 4, 6)), ((2, 7, 4, 6), (2, 7, 4, 6)), ((2, 7, 1, 4, 6), (2, 7, 4, 6)),
     ((7, 1, 1, 4, 6), (7, 4, 6))],
)  # fmt: skip
def test_axes_that_stand_for_z_are_left_out(shape, seen):
    assert projections(Image(np.zeros(shape), contrast_limits=(0, 1))).shape == seen


def test_describe_angles():
    assert describe_angles(np.array([-76.0, 0, 76.0])) == "3 angles, −76…76°"
