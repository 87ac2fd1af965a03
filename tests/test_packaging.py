"""What pyproject.toml names is what the folders hold, so that the wheel misses nothing that an editable install has."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

from npe2 import PluginManifest

REPOSITORY = Path(__file__).resolve().parents[1]


def test_every_folder_with_code_is_packaged() -> None:
    named = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    inside = {
        ".".join(init.parent.relative_to(REPOSITORY).parts)
        for init in (REPOSITORY / "napari_invrecon").rglob("__init__.py")
    }
    assert set(named) == inside | {"napari_invrecon.sample_data", "napari_invrecon_manifest"}


def test_the_installed_package_carries_every_sample() -> None:
    shipped = {path.name for path in (REPOSITORY / "sample_data").iterdir() if path.suffix in (".mrc", ".emd")}
    installed = {each.name for each in resources.files("napari_invrecon.sample_data").iterdir()}
    assert shipped
    assert shipped <= installed


def test_the_installed_manifest_is_the_one_at_the_root() -> None:
    installed = PluginManifest.from_distribution("napari-invrecon")
    assert installed.contributions == PluginManifest.from_file(REPOSITORY / "napari.yaml").contributions
