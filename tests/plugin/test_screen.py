"""A virtual screen exactly where there is none."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from napari_invrecon.plugin.screen import screen

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a screen")


@pytest.fixture
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def test_a_screen_that_is_there_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":7")
    with screen() as visible:
        assert visible
        assert os.environ["DISPLAY"] == ":7"
    assert os.environ["DISPLAY"] == ":7"


@pytest.mark.usefixtures("no_screen")
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed")
def test_without_one_xvfb_runs_for_as_long_as_it_is_needed() -> None:
    with screen() as visible:
        assert not visible
        number = os.environ["DISPLAY"].removeprefix(":")
        socket = Path(f"/tmp/.X11-unix/X{number}")
        assert socket.exists()
    assert "DISPLAY" not in os.environ
    assert not socket.exists()


@pytest.mark.usefixtures("no_screen")
def test_without_screen_and_xvfb_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="apt-get install xvfb"), screen():
        pass
