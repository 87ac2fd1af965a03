"""The form of a settings dataclass, in a real window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QComboBox, QLabel, QVBoxLayout, QWidget

from napari_invrecon.plugin.widgets.form import SettingsForm
from napari_invrecon.recon.settings import parameters

pytestmark = pytest.mark.gui


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One field of each kind."""

    method: Annotated[Literal["tv", "l1"], {"label": "Method", "help": "What is believed."}] = "l1"
    sigma: Annotated[float, {"label": "σ", "unit": "px", "min": 0.0, "max": 50.0, "help": "Width."}] = 2.0
    lam: Annotated[float | None, {"label": "λ"}] = None
    n_iter: Annotated[int, {"label": "Iterations", "min": 1, "max": 100_000}] = 500
    tolerance: Annotated[float, {"label": "Tolerance", "min": 0.0, "advanced": True}] = 3.2e-5
    noise: Annotated[float | None, {"label": "Noise σ", "min": 0.0, "unit": "counts", "advanced": True}] = None
    seed: Annotated[int | None, {"label": "Seed", "min": 0, "advanced": True}] = 3
    coupling: Annotated[Literal["edges", "power"] | None, {"label": "Coupling", "advanced": True}] = None
    nonnegative: Annotated[bool | None, {"label": "x ≥ 0 only", "advanced": True}] = None
    positive: Annotated[bool, {"label": "x ≥ 0", "help": "Where physics says so.", "advanced": True}] = True
    name: Annotated[str, {"label": "Name", "advanced": True}] = "x"


@pytest.fixture
def form(qtbot):
    form = SettingsForm(Settings, skip={"lam"})
    qtbot.addWidget(form)
    form.told = []
    form.changed.connect(lambda: form.told.append(form.values()))
    return form


def test_defaults(form):
    values = form.values()
    assert "lam" not in values
    assert Settings(**values) == Settings()
    assert {name: type(value) for name, value in values.items()}["n_iter"] is int
    assert type(values["seed"]) is int
    assert form.told == []


def test_round_trip_is_told_once(form):
    wanted = {
        "method": "tv",
        "sigma": 1.25,
        "n_iter": 70_000,
        "tolerance": 1e-9,
        "noise": 0.03,
        "seed": None,
        "coupling": "power",
        "nonnegative": False,
        "positive": False,
        "name": "y",
    }
    form.set_values(wanted)
    assert form.values() == wanted
    assert form.told == [wanted]
    form.set_values(wanted)
    assert len(form.told) == 1
    form.set_values({"noise": None})
    assert form.values() == wanted | {"noise": None}


def test_small_numbers_are_shown(qtbot, form):
    field = form.row("tolerance").field
    assert field.text() == "3.2e-05"
    field.selectAll()
    qtbot.keyClicks(field, "4.1e-7")
    assert form.values()["tolerance"] == 4.1e-7, "counts while it is being typed"
    assert form.told[-1]["tolerance"] == 4.1e-7


def test_optional_numbers_offer_automatic(qtbot, form):
    control = form.row("noise")
    assert control.automatic.isChecked()
    assert control.field.isHidden()
    control.automatic.click()
    assert not control.field.isHidden()
    assert form.values()["noise"] == 1.0
    control.automatic.click()
    assert form.values()["noise"] is None
    assert [each["noise"] for each in form.told] == [1.0, None]


def test_optional_choice_offers_automatic(form):
    combo = form.row("coupling")
    assert isinstance(combo, QComboBox)
    assert [combo.itemText(i) for i in range(combo.count())] == ["automatic", "edges", "power"]


def test_optional_yes_or_no_offers_automatic(form):
    combo = form.row("nonnegative")
    assert [combo.itemText(i) for i in range(combo.count())] == ["automatic", "yes", "no"]
    for value in (True, False, None):
        form.set_values({"nonnegative": value})
        assert form.values()["nonnegative"] is value


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"sigmaa": 1.0}, KeyError, "no row for 'sigmaa': this form has method, sigma"),
        ({"lam": 1.0}, KeyError, "no row for 'lam'"),
        ({"sigma": 51.0}, ValueError, "sigma = 51.0: expected a number from 0 to 50 px"),
        ({"sigma": None}, ValueError, "sigma = None"),
        ({"sigma": float("nan")}, ValueError, "sigma = nan"),
        ({"seed": -1}, ValueError, "seed = -1"),
        ({"n_iter": 0}, ValueError, "0"),
        ({"method": "sirt"}, ValueError, "sirt"),
    ],
)
def test_refused(form, values, error, said):
    with pytest.raises(error, match=said.replace("(", r"\(")):
        form.set_values(values)
    assert Settings(**form.values()) == Settings()
    form.set_values({"sigma": 3.0})
    assert len(form.told) == 1, "the form still tells"


def test_labels_have_units_and_tooltips_everything(form):
    labels = {each.text(): each.toolTip() for each in form.findChildren(QLabel)}
    assert labels["σ (px)"] == "Width. Unit: px. At least 0. At most 50."
    assert labels["Noise σ (counts)"] == "Unit: counts. At least 0."
    assert form.row("sigma").toolTip() == labels["σ (px)"]
    assert form.row("positive").toolTip() == "Where physics says so."
    assert form.row("positive").text() == "x ≥ 0"


def test_a_row_can_be_disabled_with_a_reason(form):
    form.row("tolerance").setEnabled(False)
    form.row("tolerance").setToolTip("Needs an iterative regulariser")
    assert not form.row("tolerance").field.isEnabled()


def test_unknown_type_is_refused():
    @dataclass(frozen=True)
    class Odd:
        when: complex = 1j

    with pytest.raises(TypeError, match="when: there is no row for values of type complex"):
        SettingsForm(Odd)


def test_nothing_advanced_nothing_to_expand(qtbot):
    @dataclass(frozen=True)
    class Plain:
        sigma: float = 1.0

    form = SettingsForm(Plain)
    qtbot.addWidget(form)
    assert form.advanced is None
    only = SettingsForm(Settings, skip={"method", "sigma", "lam", "n_iter"})
    qtbot.addWidget(only)
    assert only.advanced is not None


@pytest.fixture
def docked(qtbot, make_napari_viewer):
    """A form at the width of a narrow dock in napari."""
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1100, 800)
    dock = QWidget()
    layout = QVBoxLayout(dock)
    form = SettingsForm(Settings)
    layout.addWidget(form)
    layout.addStretch(1)
    added = viewer.window.add_dock_widget(dock, area="right")
    viewer.window._qt_window.resizeDocks([added], [320], Qt.Orientation.Horizontal)
    qtbot.waitUntil(lambda: added.width() == 320)
    viewer.window._qt_window.activateWindow()
    qtbot.waitUntil(viewer.window._qt_window.isActiveWindow)
    form.viewer = viewer
    yield form
    assert added.width() == 320, "nothing has pushed the dock wider"
    del form.viewer


def test_advanced_rows_are_hidden_until_they_are_asked_for(qtbot, docked):
    form = docked
    assert form.row("sigma").isVisible()
    assert not form.row("tolerance").isVisible()
    form.set_values({"noise": 0.5})
    form.advanced.toggleButton().click()
    qtbot.wait(50)
    for each in parameters(Settings):
        control = form.row(each.name)
        assert control.isVisible()
        assert control.height() >= control.minimumSizeHint().height(), f"{each.name} is squashed"
        right = control.mapTo(form, control.rect().topRight()).x()
        assert right <= form.width()
    form.advanced.toggleButton().click()
    assert not form.row("tolerance").isVisible()


def test_tab_skips_what_is_collapsed(qtbot, docked):
    def tour():
        seen = []
        form.row("name").window().setFocus()
        form.row("method").setFocus()
        for _ in range(40):
            seen.append(QApplication.focusWidget())
            qtbot.keyClick(seen[-1], Qt.Key.Key_Tab)
            if QApplication.focusWidget() in seen or not form.isAncestorOf(QApplication.focusWidget()):
                break
        return seen

    form = docked
    collapsed = tour()
    assert form.advanced.toggleButton() in collapsed
    assert all(each.isVisible() for each in collapsed)
    qtbot.keyClick(form.advanced.toggleButton(), Qt.Key.Key_Space)
    expanded = tour()
    assert len(expanded) > len(collapsed)
    assert form.row("name") in expanded


def test_the_arrow_of_advanced_follows_the_theme(qtbot, docked):
    def colour():
        picture = docked.advanced.toggleButton().icon().pixmap(16).toImage()
        return max(
            (picture.pixelColor(x, y) for x in range(picture.width()) for y in range(picture.height())),
            key=lambda pixel: pixel.alpha(),
        ).lightness()

    docked.viewer.theme = "dark"
    qtbot.wait(50)
    assert colour() > 150
    docked.viewer.theme = "light"
    qtbot.wait(50)
    assert colour() < 100


def test_the_form_of_deconvolution(qtbot):
    from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings

    form = SettingsForm(DeconvolutionSettings, skip={"lam"})
    qtbot.addWidget(form)
    assert DeconvolutionSettings(**form.values()) == DeconvolutionSettings()
