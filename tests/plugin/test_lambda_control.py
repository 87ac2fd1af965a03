"""λ: automatic, or a log₁₀ slider with a field that reads 3.2e-05; in every locale."""

from __future__ import annotations

import math

import pytest
from qtpy.QtCore import QLocale, Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_invrecon.plugin.widgets.lambda_control import LambdaControl
from napari_invrecon.plugin.widgets.number_field import NumberField, number_text

pytestmark = pytest.mark.gui


@pytest.fixture(params=["C", "de_DE"], autouse=True)
def locale(request):
    """German writes 3,2·10⁻⁵; the control does not."""
    before = QLocale()
    QLocale.setDefault(QLocale(request.param))
    yield request.param
    QLocale.setDefault(before)


@pytest.fixture
def control(qtbot):
    control = LambdaControl()
    qtbot.addWidget(control)
    control.told = []
    control.valueChanged.connect(control.told.append)
    return control


def enter(qtbot, field, text):
    field.selectAll()
    qtbot.keyClicks(field, text)
    qtbot.keyClick(field, Qt.Key.Key_Return)


def test_automatic_at_first(control):
    assert control.value is None
    assert not control.slider.isEnabled()
    assert not control.field.isEnabled()
    assert "untick automatic to set it here" in control.slider.toolTip()
    assert "untick automatic to set it here" in control.field.toolTip()


def test_tooltips_give_formula_unit_and_what_larger_does(control):
    for each in (control.label, control.automatic_box, control.slider, control.field):
        assert "‖Hx − y‖² + λR(x)" in each.toolTip()
        assert "no unit" in each.toolTip()
        assert "Larger: smoother" in each.toolTip()


@pytest.mark.parametrize(
    ("typed", "value", "shown"),
    [
        ("3.2e-05", 3.2e-5, "3.2e-05"),
        ("3.2E-5", 3.2e-5, "3.2e-05"),
        ("3,2e-5", 3.2e-5, "3.2e-05"),
        ("1e-12", 1e-12, "1e-12"),
        ("25000", 25000.0, "25000"),
        ("1e7", 1e7, "1e+07"),
        (".5", 0.5, "0.5"),
        ("0.123456789", 0.123456789, "0.123456789"),
    ],
)
def test_typed_value_is_read_and_shown(qtbot, control, typed, value, shown):
    control.value = 1.0
    enter(qtbot, control.field, typed)
    assert control.value == value
    assert control.field.text() == shown
    assert control.told[-1] == value
    assert control.slider.value() == round(20 * min(3, max(-8, math.log10(value))))


@pytest.mark.parametrize("typed", ["0", "-3", "0.0", "1e", "e5", "nan", "inf", "", "1.2.3", "abc", "1e999"])
def test_what_is_no_weight_goes_back_to_the_last(qtbot, control, typed):
    control.value = 0.25
    told = len(control.told)
    enter(qtbot, control.field, typed)
    control.field.clearFocus()
    if control.value != 0.25:  # a key that was refused left a number behind, and it is on the screen
        assert typed in ("-3", "e5", "abc", "1.2.3", "nan", "inf")
        assert control.field.text() == number_text(control.value)
    else:
        assert control.field.text() == "0.25"
        assert len(control.told) == told


def test_a_number_that_is_still_being_typed_counts(qtbot, control):
    control.value = 1.0
    control.field.selectAll()
    qtbot.keyClicks(control.field, "4.5e-3")
    assert control.value == 4.5e-3


def test_slider_is_logarithmic_and_what_is_shown_is_what_is_used(control):
    control.value = 1.0
    control.slider.setValue(-160)
    assert control.value == 1e-8
    control.slider.setValue(60)
    assert control.value == 1000.0
    control.slider.setValue(-91)
    assert control.value == float(control.field.text()) == 2.82e-5
    assert control.told[-1] == 2.82e-5
    assert control.slider.minimum() == -160
    assert control.slider.maximum() == 60


def test_keys(qtbot, control):
    control.value = 1e-3
    control.show()
    qtbot.keyClick(control.slider, Qt.Key.Key_PageUp)
    assert control.value == pytest.approx(1e-2)
    qtbot.keyClick(control.slider, Qt.Key.Key_Right)
    assert control.value == pytest.approx(1e-2 * 10**0.05, rel=5e-3)
    control.value = 3.2e-5
    qtbot.keyClick(control.field, Qt.Key.Key_Up)
    assert control.value == 3.3e-5


def test_value_is_set_and_told_once(control):
    control.value = 3.2e-5
    control.value = 3.2e-5
    assert control.told == [3.2e-5]
    assert control.field.text() == "3.2e-05"
    assert control.field.isEnabled()
    control.value = None
    assert control.told == [3.2e-5, None]
    assert control.value is None


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_value_refuses_what_is_no_weight(control, wrong):
    with pytest.raises(ValueError, match="expected a number above 0, or None"):
        control.value = wrong
    assert control.value is None


def test_chosen_value_is_shown_and_is_where_the_slider_starts(control):
    control.show_chosen(3.2178e-5, "GCV")
    assert control.automatic_box.text() == "automatic: 3.22e-05 (GCV)"
    assert control.value is None
    assert control.told == []
    control.automatic_box.click()
    assert control.value == 3.22e-5
    assert control.told == [3.22e-5]
    control.value = 0.5
    control.show_chosen(1e-4, "L-curve")
    assert control.value == 0.5, "a number that was set stays"


def test_fits_a_narrow_dock_in_napari(qtbot, make_napari_viewer, control):
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1100, 800)
    dock = QWidget()
    QVBoxLayout(dock).addWidget(control)
    docked = viewer.window.add_dock_widget(dock, area="right")
    viewer.window._qt_window.resizeDocks([docked], [320], Qt.Orientation.Horizontal)
    qtbot.waitUntil(lambda: docked.width() == 320)
    control.value = 3.217e-5
    edit = control.field.lineEdit()
    for theme in ("light", "dark"):
        viewer.theme = theme
        qtbot.wait(20)
        assert edit.fontMetrics().horizontalAdvance(edit.text()) < edit.width(), "the whole number can be read"
    assert control.slider.width() > 120
    control.setParent(None)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (3.2e-5, "3.2e-05"), (0.0, "0"), (1e6, "1e+06"), (1 / 3, repr(1 / 3)), (-0.5, "-0.5")],
)
def test_number_text_reads_back(value, text):
    assert number_text(value) == text
    assert float(text) == value


def test_number_field_steps_its_second_digit(qtbot):
    field = NumberField(minimum=-1.0, maximum=1.0)
    qtbot.addWidget(field)
    field.stepBy(1)
    assert field.value() == 0.02
    field.setValue(0.5)
    field.stepBy(-3)
    assert field.value() == 0.47
    field.setValue(0.99)
    field.stepBy(10)
    assert field.value() == 1.0
    free = NumberField()
    qtbot.addWidget(free)
    free.stepBy(1)
    assert free.value() == 0.01


def test_number_field_keeps_every_digit(qtbot):
    field = NumberField()
    qtbot.addWidget(field)
    for value in (0.1, 1 / 3, 3.2e-5, 1e-300, 123456789.123):
        field.setValue(value)
        assert field.value() == value
        assert float(field.text()) == value


def test_a_long_rule_does_not_widen_the_dock(qtbot):
    control = LambdaControl()
    qtbot.addWidget(control)
    control.show_chosen(0.0464, "l-curve, of the frozen denoiser")
    assert control.automatic_box.text() == "automatic: 0.0464 (l-curve)"
    control.show_chosen(1e3, "the image is constant: any λ gives it back")
    assert control.minimumSizeHint().width() < 300
