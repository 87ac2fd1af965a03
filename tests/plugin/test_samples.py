"""File → Open Sample, in a real window."""

from __future__ import annotations

import numpy as np
import pytest

from napari_invrecon.sample_data import make_samples

pytestmark = pytest.mark.gui


def test_the_haadf_image_opens_calibrated(make_napari_viewer) -> None:
    viewer = make_napari_viewer()
    (layer,) = viewer.open_sample("napari-invrecon", "core_shell_haadf")
    assert layer.data.shape == make_samples.FIELD_SHAPE
    assert tuple(layer.scale) == pytest.approx((make_samples.FIELD_PIXEL_NM,) * 2)
    assert [str(unit) for unit in layer.units] == ["nanometer", "nanometer"]
    assert layer.metadata["acquisition"]["voltage_kv"] == pytest.approx(200)


def test_the_maps_open_one_layer_an_element_on_the_grid_of_the_image(make_napari_viewer) -> None:
    viewer = make_napari_viewer()
    (image,) = viewer.open_sample("napari-invrecon", "core_shell_haadf")
    maps = viewer.open_sample("napari-invrecon", "core_shell_eels_maps")
    assert {layer.name for layer in maps} == {"Ce M45", "Co L23"}
    for layer in maps:
        assert layer.data.shape == image.data.shape
        np.testing.assert_allclose(layer.scale, image.scale)
        assert layer.units == image.units
        np.testing.assert_allclose(layer.translate, image.translate)


def test_the_tilt_series_opens_with_its_angles(make_napari_viewer) -> None:
    viewer = make_napari_viewer()
    (layer,) = viewer.open_sample("napari-invrecon", "particles_tilt_series")
    assert layer.data.shape == (71, 1, 96, 128)
    assert [str(unit) for unit in layer.units] == ["degree", "nanometer", "nanometer", "nanometer"]
    assert tuple(layer.scale[[0, 2, 3]]) == pytest.approx((2.0, 1.0, 1.0))
    assert layer.translate[0] == pytest.approx(-70.0)
    assert layer.metadata["acquisition"]["angles_deg"] == pytest.approx(make_samples.TILT_ANGLES_DEG)


def test_every_sample_is_in_the_menu(make_napari_viewer) -> None:
    viewer = make_napari_viewer()
    from npe2 import PluginManager

    (samples,) = (found for name, found in PluginManager.instance().iter_sample_data() if name == "napari-invrecon")
    assert [sample.key for sample in samples] == [
        "core_shell_haadf",
        "core_shell_eels_maps",
        "core_shell_eels_si",
        "particles_tilt_series",
        "lecture_grain_boundaries",
        "lecture_deblurring_1d",
    ]
    for sample in samples:
        assert viewer.open_sample("napari-invrecon", sample.key)
    assert {str(unit) for unit in viewer.layers.extent.units} == {"degree", "electron_volt", "nanometer"}


def test_the_lecture_s_grain_boundaries_take_two_clicks(make_napari_viewer, qtbot) -> None:
    viewer = make_napari_viewer()
    truth, _ = viewer.open_sample("napari-invrecon", "lecture_grain_boundaries")
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    assert dock.image.value.name == "grain boundaries"
    error = {}
    for regulariser in ("tv", "tikhonov"):
        dock.settings.set_values({"regulariser": regulariser})
        with qtbot.waitSignal(dock.finished, timeout=120_000) as done:
            dock.run_button.click()
        error[regulariser] = float(np.sqrt(np.mean((done.args[0].data - truth.data) ** 2)))
    assert error["tv"] < 0.032
    assert error["tikhonov"] < 0.057
    assert error["tv"] < 0.7 * error["tikhonov"]


def test_the_lecture_s_1d_deblurring_takes_one_click_and_another_lam_another(make_napari_viewer, qtbot) -> None:
    viewer = make_napari_viewer()
    truth, kernel, measured = viewer.open_sample("napari-invrecon", "lecture_deblurring_1d")
    assert viewer.scene.camera.center[-1] == pytest.approx(31.5), "the whole line is in view"
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    assert dock.image.value is measured
    np.testing.assert_array_equal(dock.psf.value.read(), kernel.data)

    def press() -> float:
        with qtbot.waitSignal(dock.finished, timeout=60_000) as done:
            dock.run_button.click()
        qtbot.waitUntil(lambda: not dock.lines.busy, timeout=60_000)
        return done.args[0]

    def rmse(x: np.ndarray) -> float:
        return float(np.sqrt(np.mean((np.ravel(x) - truth.data.ravel()) ** 2)))

    result = press()
    record = result.metadata["invrecon"]
    assert record["lam_rule"] == "l-curve"
    assert record["lam"] == pytest.approx(0.1748, rel=0.15)
    assert rmse(result.data) == pytest.approx(0.142, rel=0.02)
    assert len(dock.lambda_panel.plot._curve["lam"]) == 200, "the L-curve is shown"
    assert not dock.lines.isHidden()
    lines, y, shown = dock.lines.plot._shown
    np.testing.assert_array_equal(y, measured.data.ravel())
    np.testing.assert_array_equal(shown, truth.data.ravel())
    naive, small, chosen, large = (rmse(line.x) for line in lines)
    assert naive == pytest.approx(0.9693, rel=0.01)
    assert large == pytest.approx(0.1885, rel=0.02)
    assert chosen < large < small < naive

    dock.lam.value = 0.1262
    qtbot.waitUntil(lambda: not dock.lines.busy, timeout=60_000)
    assert rmse(dock.lines.plot._shown[0][2].x) == pytest.approx(0.1402, rel=0.01)

    own = dock.settings.values()
    viewer.add_image(np.eye(64), name="another")
    dock.image.value = viewer.layers["another"]
    assert dock.settings.values()["normalise_psf"], "the sample's settings are for the sample"
    assert dock.lines.isHidden()
    dock.image.value = measured
    assert dock.settings.values() == own
