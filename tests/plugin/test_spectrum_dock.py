"""The dock "Spectrum" in a real window: windows dragged, maps added, and whatever may happen meanwhile."""

from __future__ import annotations

import json
import threading

import dask.array as da
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from notifications import errors
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from spectrum_window import ENERGY, add_spectra, counts

import napari_invrecon as ir
from napari_invrecon.plugin.repeat import repeat
from napari_invrecon.plugin.widgets.spectrum import SpectrumDock
from napari_invrecon.recon.element_window import ElementWindow

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("no_error_is_left", "runs_end")]

WAIT_MS = 60_000


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture(scope="module")
def oxide():
    """Counts (energy, y, x): oxygen in the left half."""
    return counts()


def open_dock(viewer):
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Spectrum")
    return dock


def settle(qtbot, dock):
    qtbot.waitUntil(lambda: not (dock.live.busy or dock.view.spectrum.busy or dock.run_row.running), timeout=WAIT_MS)


def add_maps(qtbot, dock):
    with qtbot.waitSignal(dock.finished, timeout=WAIT_MS):
        dock.run_button.click()
    settle(qtbot, dock)


def at(plot, energy):
    """The widget's position of an energy, half-way up."""
    x, y = plot.axes.transData.transform((energy, np.mean(plot.axes.get_ylim())))
    return QPoint(round(x / plot.device_pixel_ratio), round(plot.height() - y / plot.device_pixel_ratio))


def drag(qtbot, plot, start, stop):
    plot.draw()
    assert plot.axes is not None
    first, last = at(plot, start), at(plot, stop)
    qtbot.mousePress(plot, Qt.MouseButton.LeftButton, pos=first)
    for share in (0.5, 1.0):
        qtbot.mouseMove(plot, first + (last - first) * share)
    qtbot.mouseRelease(plot, Qt.MouseButton.LeftButton, pos=last)


def names(viewer):
    return [layer.name for layer in viewer.layers]


def test_an_element_is_added_mapped_and_recorded(viewer, qtbot, oxide) -> None:
    source = add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    assert isinstance(dock, SpectrumDock)
    assert "Add an element" in dock.run_button.toolTip()
    qtbot.keyClicks(dock.elements.entry.lineEdit(), "O")
    qtbot.keyClick(dock.elements.entry.lineEdit(), Qt.Key.Key_Return)
    settle(qtbot, dock)
    assert names(viewer) == ["EELS", "O K live"]
    assert "r = " in dock.status.text()
    assert "±" in dock.elements.table.item(0, 1).text()
    add_maps(qtbot, dock)
    assert names(viewer) == ["EELS", "O K"]
    layer = viewer.layers["O K"]
    known = layer.metadata["acquisition"]
    assert (known["element"], known["line"], known["file_name"]) == ("O", "K", "oxide.dm3")
    assert known["kind"] == "map"
    assert known["intensity"] == "counts less their background"
    assert layer.data.shape == (12, 16)
    np.testing.assert_allclose(layer.scale, (2, 2))
    np.testing.assert_allclose(layer.translate, (10, 20))
    assert [str(unit) for unit in layer.units] == ["nanometer"] * 2
    assert layer.data[:, :8].mean() > 20 * abs(layer.data[:, 8:].mean())
    expected = ir.elemental_maps(oxide, ENERGY, dock.elements.windows)
    np.testing.assert_array_equal(layer.data, expected.data[0])
    np.testing.assert_array_equal(layer.metadata["variance"], expected.variance[0])
    record = json.loads(json.dumps(layer.metadata["invrecon"]))
    assert record["sources"][0]["layer"] == "EELS"
    np.testing.assert_array_equal(ir.replay(record, [oxide]).data, expected.data)
    assert viewer.layers.extent.units is not None
    np.testing.assert_array_equal(source.data[:, 0], oxide)


def test_a_dragged_window_is_drawn_without_the_spectrum(viewer, qtbot, oxide, monkeypatch) -> None:
    """Nothing but the windows is drawn anew, and the plot shows where they are now."""
    add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    dock.elements.add_element("O")
    settle(qtbot, dock)
    dock.show()
    plot, before = dock.view.plot, dock.elements.current
    plot.draw()
    pictures = [np.array(plot.buffer_rgba())]
    drawn = []
    monkeypatch.setattr(plot.figure, "draw", drawn.append)
    layer = viewer.layers["O K live"]
    first, last = at(plot, before.signal[1]), at(plot, before.signal[1] - 20)
    qtbot.mousePress(plot, Qt.MouseButton.LeftButton, pos=first)
    qtbot.mouseMove(plot, last)
    pictures.append(np.array(plot.buffer_rgba()))
    settle(qtbot, dock)
    qtbot.mouseMove(plot, first)
    qtbot.mouseRelease(plot, Qt.MouseButton.LeftButton, pos=first)
    settle(qtbot, dock)
    pictures.append(np.array(plot.buffer_rgba()))
    assert not drawn
    assert viewer.layers["O K live"] is layer
    row = round(first.y() * plot.device_pixel_ratio)  # above it the element's name moves, too
    changed = np.flatnonzero((pictures[0][row] != pictures[1][row]).any(axis=1)) / plot.device_pixel_ratio
    assert changed.size
    assert last.x() - 3 <= changed.min()
    assert changed.max() <= first.x() + 3
    assert dock.elements.current.signal[1] == pytest.approx(before.signal[1], abs=0.6)


def test_a_window_is_dragged_and_the_map_follows(viewer, qtbot, oxide) -> None:
    add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    dock.elements.add_element("O")
    settle(qtbot, dock)
    dock.show()
    before = dock.elements.current
    drag(qtbot, dock.view.plot, before.signal[1], 570.0)
    assert dock.elements.current.signal[1] == pytest.approx(570, abs=1.0)
    assert dock.elements.current.signal[0] == before.signal[0]
    assert dock.fields.fields[0][1].value() == dock.elements.current.signal[1]
    low, high = before.background[0]
    drag(qtbot, dock.view.plot, (low + high) / 2, (low + high) / 2 - 10)
    moved = dock.elements.current.background[0]
    assert moved[1] - moved[0] == pytest.approx(high - low, abs=0.2)
    assert moved[0] == pytest.approx(low - 10, abs=1.0)
    settle(qtbot, dock)
    expected = ir.elemental_maps(oxide, ENERGY, [dock.elements.current], gain=1.0)
    np.testing.assert_array_equal(viewer.layers["O K live"].data, expected.data[0])
    # Typed numbers do the same.
    dock.fields.fields[0][0].setValue(540.0)
    settle(qtbot, dock)
    assert dock.elements.current.signal[0] == 540
    assert viewer.layers["O K live"].data.mean() < expected.data.mean()


def test_an_odd_window_is_said_and_blocks_the_button(viewer, qtbot, oxide) -> None:
    add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    dock.elements.add_element("O")
    settle(qtbot, dock)
    shown = viewer.layers["O K live"].data.copy()
    dock.fields.fields[1][1].setValue(560.0)
    settle(qtbot, dock)
    assert "overlaps the integration window" in dock.status.text()
    assert not dock.run_button.isEnabled()
    assert "overlaps the integration window" in dock.run_button.toolTip()
    np.testing.assert_array_equal(viewer.layers["O K live"].data, shown)
    dock.fields.fields[1][1].setValue(520.0)
    settle(qtbot, dock)
    assert dock.run_button.isEnabled()


def test_an_unknown_element_is_refused_with_the_remedy(viewer, qtbot, oxide) -> None:
    add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    for text, message in (
        ("U", "no edge of 'U' is known"),
        ("o", "'o' is no element"),
        ("Ti K", "type its energy too"),
    ):
        dock.elements.entry.setEditText(text)
        dock.elements.add_button.click()
        assert message in errors()[0]
    assert not dock.elements.windows
    dock.elements.add_element("Xx 480")
    assert dock.elements.current.signal[0] == 480
    settle(qtbot, dock)


def test_spectra_of_a_pixel_and_of_a_region(viewer, qtbot, oxide) -> None:
    add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    settle(qtbot, dock)
    np.testing.assert_array_equal(dock.view._shown, oxide.sum(axis=(1, 2)))
    dock.view.pixel_box.setChecked(True)
    settle(qtbot, dock)
    np.testing.assert_array_equal(dock.view._shown, oxide[:, 6, 8])
    assert viewer.layers.extent.units is not None
    viewer.layers["picked pixel"].data = [[10 + 2.0 * 3, 20 + 2.0 * 5]]
    settle(qtbot, dock)
    np.testing.assert_array_equal(dock.view._shown, oxide[:, 3, 5])
    dock.view.pixel_box.setChecked(False)
    assert "picked pixel" not in viewer.layers
    shapes = viewer.add_shapes([[[10, 20], [10, 29], [17, 29], [17, 20]]], name="grain", units=("nm", "nm"))
    dock.view.region.choose(shapes)
    settle(qtbot, dock)
    assert dock.view.plot._title.startswith("grain: sum of ")
    inside = shapes_sum(oxide)
    np.testing.assert_array_equal(dock.view._shown, inside)
    viewer.layers.remove(shapes)
    settle(qtbot, dock)
    np.testing.assert_array_equal(dock.view._shown, oxide.sum(axis=(1, 2)))


def shapes_sum(y):
    """Rows 0 to 3, columns 0 to 4: the pixels whose centres the rectangle holds."""
    return y[:, :4, :5].sum(axis=(1, 2))


def test_raw_counts_stay_whole_and_sigma_layers_are_hidden(viewer, qtbot, oxide) -> None:
    add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    dock.elements.add_element("O")
    dock.raw_box.setChecked(True)
    dock.sigma_box.setChecked(True)
    add_maps(qtbot, dock)
    data = viewer.layers["O K"].data
    np.testing.assert_array_equal(data, oxide[(ENERGY >= 532) & (ENERGY < 585.2)].sum(axis=0))
    assert viewer.layers["O K"].metadata["acquisition"]["intensity"] == "counts"
    assert not viewer.layers["O K σ"].visible
    np.testing.assert_allclose(viewer.layers["O K σ"].data, np.sqrt(data), rtol=1e-6)


def test_maps_that_are_added_before_the_live_map_is_there_are_in_the_table(viewer, qtbot, oxide) -> None:
    add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    for element in ("O", "Sn"):
        dock.elements.add_element(element)
    dock.live.stop()
    add_maps(qtbot, dock)
    expected = ir.elemental_maps(oxide, ENERGY, dock.elements.windows).record["elements"]
    for row, told in enumerate(expected):
        assert dock.elements.table.item(row, 1).text().startswith(f"{told['total']:.3g}".replace("e+0", "e"))
        assert "±" in dock.elements.table.item(row, 2).text()


def test_several_elements_a_second_run_and_removal(viewer, qtbot, oxide) -> None:
    add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    for element in ("O", "Sn", "Sb"):
        dock.elements.add_element(element)
    settle(qtbot, dock)
    assert all("±" in dock.elements.table.item(row, 1).text() for row in range(3))
    add_maps(qtbot, dock)
    assert names(viewer) == ["EELS", "O K", "Sn M", "Sb M"]
    dock.elements.table.setCurrentCell(1, 0)
    dock.elements.remove_button.click()
    assert [each.element for each in dock.elements.windows] == ["O", "Sb"]
    add_maps(qtbot, dock)
    assert names(viewer) == ["EELS", "O K", "Sn M", "Sb M", "O K [1]", "Sb M [1]"]


def test_a_typed_energy_axis_is_the_layers(viewer, qtbot, oxide) -> None:
    layer = viewer.add_image(oxide, name="stack")
    dock = open_dock(viewer)
    assert dock.axis_section.isExpanded()
    dock.axis_section.first.setValue(400.0)
    dock.axis_section.step.setValue(0.5)
    np.testing.assert_allclose((layer.translate[0], layer.scale[0]), (400, 0.5))
    dock.elements.add_element("O")
    add_maps(qtbot, dock)
    np.testing.assert_array_equal(
        viewer.layers["O K"].data, ir.elemental_maps(oxide, ENERGY, dock.elements.windows).data[0]
    )
    assert dock.source.kind == "eels"


def test_what_is_deleted_or_closed_meanwhile(viewer, qtbot, oxide) -> None:
    source = add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    dock.elements.add_element("O")
    settle(qtbot, dock)
    viewer.layers.remove("O K live")
    assert not dock.live_box.isChecked()
    dock.live_box.setChecked(True)
    settle(qtbot, dock)
    assert "O K live" in viewer.layers
    viewer.layers.remove(source)
    settle(qtbot, dock)
    assert names(viewer) == []
    assert "Open a spectrum image first" in dock.run_button.toolTip()
    add_spectra(viewer, oxide, "again")
    settle(qtbot, dock)
    assert dock.run_button.isEnabled()
    dock.view.pixel_box.setChecked(True)
    settle(qtbot, dock)
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: names(viewer) == ["again"], timeout=5000)


def test_cancel_in_the_middle_adds_nothing(viewer, qtbot, oxide) -> None:
    gate, entered = threading.Event(), threading.Event()

    def block(block_info=None):
        place = tuple(slice(*each) for each in block_info[None]["array-location"])
        if held[0]:
            entered.set()
            assert gate.wait(20)
        return oxide[place]

    held = [False]
    lazy = da.map_blocks(block, chunks=((100,) * 4, (3,) * 4, (16,)), dtype=oxide.dtype, meta=np.empty((0, 0, 0), "u2"))
    add_spectra(viewer, lazy)
    dock = open_dock(viewer)
    dock.live_box.setChecked(False)
    dock.elements.add_element("O")
    settle(qtbot, dock)
    held[0] = True
    dock.run_button.click()
    qtbot.waitUntil(entered.is_set, timeout=10_000)
    dock.run_row.cancel_button.click()
    gate.set()
    settle(qtbot, dock)
    assert names(viewer) == ["EELS"]
    assert "cancelled" in dock.run_row.status_label.text()
    add_maps(qtbot, dock)
    np.testing.assert_array_equal(
        viewer.layers["O K"].data, ir.elemental_maps(oxide, ENERGY, dock.elements.windows).data[0]
    )


def test_a_lazy_image_is_read_once_while_a_window_is_moved(viewer, qtbot, oxide) -> None:
    read = []

    def block(block_info=None):
        place = tuple(slice(*each) for each in block_info[None]["array-location"])
        read.append(place[0].start)
        return oxide[place]

    lazy = da.map_blocks(block, chunks=((20,) * 20, (12,), (16,)), dtype=oxide.dtype, meta=np.empty((0, 0, 0), "u2"))
    add_spectra(viewer, lazy)
    dock = open_dock(viewer)
    dock.elements.add_element("O")
    settle(qtbot, dock)
    read.clear()
    for end in (570.0, 560.0, 575.0):
        dock.fields.fields[0][1].setValue(end)
        settle(qtbot, dock)
    assert read == []
    expected = ir.elemental_maps(oxide, ENERGY, [dock.elements.current], gain=1.0)
    np.testing.assert_array_equal(viewer.layers["O K live"].data, expected.data[0])


def test_the_model_of_the_background_is_changed_by_hand(viewer, qtbot, oxide) -> None:
    add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    dock.elements.add(ElementWindow("O", "K", (532, 560), ((500, 525),), "power-law"))
    dock.fields.model.setCurrentIndex(1)
    assert dock.elements.current.model == "linear"
    assert len(dock.elements.current.background) == 2
    dock.fields.model.setCurrentIndex(2)
    assert dock.elements.current.background == ()
    dock.fields.model.setCurrentIndex(0)
    assert dock.elements.current.model == "power-law"
    settle(qtbot, dock)
    assert dock.run_button.isEnabled()


def test_it_fits_a_narrow_dock_and_follows_the_theme(make_napari_viewer, qtbot, oxide) -> None:
    viewer = make_napari_viewer(show=True)
    add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    dock.elements.add_element("O")
    settle(qtbot, dock)
    assert dock.minimumSizeHint().width() <= 320
    dock.view.plot.draw()
    before = dock.view.plot.figure.get_facecolor()
    viewer.theme = "light"
    dock.view.plot.draw()
    assert dock.view.plot.figure.get_facecolor() != before
    dock.view.log_box.setChecked(True)
    dock.view.all_button.click()
    assert dock.view.plot.view is None
    dock.view.element_button.click()
    assert dock.view.plot.view is not None


def test_a_dropped_edx_file_is_mapped_with_the_elements_that_it_names(viewer, qtbot, shared_data) -> None:
    pytest.importorskip("rsciio")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(shared_data / "bruker/test_TEM.bcf"))])
    event = QDropEvent(
        QPointF(100, 100), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    viewer.window._qt_viewer.dropEvent(event)
    dock = open_dock(viewer)
    settle(qtbot, dock)
    assert [each.name for each in dock.elements.windows] == ["Cu Ka", "O Ka", "Pd La", "Ti Ka"]
    add_maps(qtbot, dock)
    assert names(viewer)[-4:] == ["Cu Ka", "O Ka", "Pd La", "Ti Ka"]
    titanium = viewer.layers["Ti Ka"]
    np.testing.assert_allclose(titanium.scale, viewer.layers["HAADF"].scale)
    assert titanium.data.sum() == pytest.approx(2724, rel=0.01)
    assert titanium.contrast_limits[0] == 0
    assert len({viewer.layers[name].colormap.name for name in names(viewer)[-4:]}) == 4
    viewer.layers.clear()
    add_spectra(viewer, np.ones((400, 4, 4), np.uint8))
    settle(qtbot, dock)
    assert not dock.elements.windows  # X-ray lines are nothing to an EELS spectrum image


def test_a_map_is_repeated_from_its_record(viewer, qtbot, oxide) -> None:
    add_spectra(viewer, oxide)
    dock = open_dock(viewer)
    dock.elements.add_element("O")
    dock.elements.add_element("Sn")
    dock.settings.set_values({"share_px": 3})
    add_maps(qtbot, dock)
    dock.elements.clear()
    dock.settings.set_values({"share_px": None})
    notification_manager.records.clear()
    repeat(viewer, viewer.layers["O K"])
    qtbot.waitUntil(lambda: "Sn M [1]" in viewer.layers, timeout=WAIT_MS)
    settle(qtbot, dock)
    np.testing.assert_array_equal(viewer.layers["O K [1]"].data, viewer.layers["O K"].data)
    assert any("bit for bit" in each.message for each in notification_manager.records)
