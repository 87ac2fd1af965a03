"""Preferences → Inverse reconstruction: napari's page and file, and what docks make of it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from pydantic import ValidationError

from napari_invrecon.plugin import preferences
from napari_invrecon.recon import blocks, resources
from napari_invrecon.recon.operators import fft_workers


def stored(**given):
    computing = {"threads": 0, "memory_gb": 4.0, "cluster": "", "scratch_folder": ""}
    rule = given.pop("lam_rule", "automatic")
    return SimpleNamespace(
        computing=SimpleNamespace(**computing | given), choosing_lambda=SimpleNamespace(lam_rule=rule)
    )


@pytest.fixture
def prefer(monkeypatch):
    """Set what the user prefers; afterwards nothing is limited."""

    def prefer(**given):
        monkeypatch.setattr(preferences, "get_plugin_settings", lambda _: stored(**given))

    yield prefer
    resources.use(resources.Resources())


def test_as_they_come_nothing_is_limited(prefer):
    prefer()
    assert preferences.read() == (preferences.Preferences(memory_gb=4.0), [])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"cluster": "my computer"}, "dask cluster 'my computer' is no address: expected one such as tcp://host:8786"),
        ({"scratch_folder": "/nowhere/at/all"}, "scratch folder '/nowhere/at/all' is no folder that can be written to"),
    ],
)
def test_what_cannot_be_used_is_told_and_left_out(prefer, given, complaint):
    prefer(**given)
    found, complaints = preferences.read()
    assert found == preferences.Preferences(memory_gb=4.0)
    (said,) = complaints
    assert said.startswith(complaint)


def test_threads_and_scratch_folder(prefer, tmp_path):
    before = fft_workers()
    resources.use(resources.Resources(threads=1, scratch=tmp_path))
    assert fft_workers() == 1
    store = blocks.allocate((8, 8), False, 4)
    (folder,) = tmp_path.iterdir()
    lazy = blocks.as_result(store)
    del store
    assert folder.is_dir(), "a layer uses it"
    lazy[:4, :4].compute()
    del lazy
    assert list(tmp_path.iterdir()) == [], "nothing uses it"
    resources.use(resources.Resources(threads=10_000))
    assert fft_workers() == before


@pytest.mark.gui
def test_docks_start_with_them(make_napari_viewer, prefer, tmp_path):
    viewer = make_napari_viewer()
    prefer(memory_gb=1.5, cluster="tcp://host:8786", lam_rule="gcv", threads=1, scratch_folder=str(tmp_path))
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    assert (dock.settings.values()["memory_gb"], dock.settings.values()["lam_rule"]) == (1.5, "gcv")
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Tomography")
    assert (dock.settings.values()["memory_gb"], dock.settings.values()["cluster"]) == (1.5, "tcp://host:8786")
    assert (fft_workers(), resources.scratch()) == (1, tmp_path)
    resources.use(resources.Resources())
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Fuse")
    assert (dock.settings.values()["memory_gb"], resources.scratch()) == (1.5, tmp_path)
    resources.use(resources.Resources())
    prefer(memory_gb=1.5, lam_rule="discrepancy", threads=1)
    _, dock = viewer.window.add_plugin_dock_widget("napari-invrecon", "Spectrum")
    settings = dock.energy.settings.values()
    assert (settings["memory_gb"], settings["lam_rule"], fft_workers()) == (1.5, "discrepancy", 1)


@pytest.mark.gui
def test_a_rule_that_a_dock_does_not_offer_is_not_asked_of_it(make_napari_viewer, prefer):
    prefer(lam_rule="holdout", memory_gb=1.5)
    _, dock = make_napari_viewer().window.add_plugin_dock_widget("napari-invrecon", "Spectrum")
    settings = dock.energy.settings.values()
    assert (settings["lam_rule"], settings["memory_gb"]) == ("gcv", 1.5)


@pytest.mark.gui
def test_napari_shows_checks_and_keeps_them(make_napari_viewer, prefer, tmp_path):
    from napari.settings import get_plugin_settings

    viewer = make_napari_viewer()
    found = get_plugin_settings("napari-invrecon")
    assert (found.computing.memory_gb, found.choosing_lambda.lam_rule) == (4.0, "automatic")
    for section, name, wrong in (
        (found.computing, "memory_gb", 0.0),
        (found.computing, "threads", -1),
        (found.choosing_lambda, "lam_rule", "guess"),
    ):
        with pytest.raises(ValidationError):
            setattr(section, name, wrong)
    prefer(cluster="nonsense")
    notification_manager.records.clear()
    viewer.window.add_plugin_dock_widget("napari-invrecon", "Deconvolve")
    assert "Preferences → Inverse reconstruction: dask cluster 'nonsense'" in notification_manager.records[-1].message


@pytest.mark.gui
def test_a_scratch_folder_goes_with_its_layer(make_napari_viewer, tmp_path, qtbot):
    import gc

    viewer = make_napari_viewer()
    resources.use(resources.Resources(scratch=tmp_path))
    out = blocks.allocate((32, 32), False, 16)
    out[...] = np.ones((32, 32), np.float32)
    viewer.add_image(blocks.as_result(out), name="in a file")
    del out
    gc.collect()
    assert len(list(tmp_path.iterdir())) == 1
    viewer.layers.clear()

    def gone():
        gc.collect()
        return not list(tmp_path.iterdir())

    qtbot.waitUntil(gone, timeout=10_000)
    resources.use(resources.Resources())
