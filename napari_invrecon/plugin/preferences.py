"""What the user has set under Preferences → Inverse reconstruction: docks start with it.

The page and its file are napari's, from the manifest's ``configurations``; ranges are checked there, the rest here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari.settings import get_plugin_settings
from napari.utils.notifications import show_warning

from napari_invrecon.recon import resources

if TYPE_CHECKING:
    from napari_invrecon.plugin.widgets.form import SettingsForm

_PLUGIN = "napari-invrecon"
_ADDRESS = re.compile(r"[a-z][a-z0-9+]*://[^\s/:]+:\d+/?")


@dataclass(frozen=True)
class Preferences:
    """None where the user leaves the choice to the program."""

    threads: int | None = None
    memory_gb: float | None = None
    cluster: str | None = None
    scratch: Path | None = None
    lam_rule: str | None = None


def read() -> tuple[Preferences, list[str]]:
    """The preferences, and what of them cannot be used, with the remedy; that is left out."""
    stored = get_plugin_settings(_PLUGIN)
    computing, rule = stored.computing, stored.choosing_lambda.lam_rule
    complaints = []
    cluster: str | None = computing.cluster.strip() or None
    if cluster is not None and not _ADDRESS.fullmatch(cluster):
        complaints.append(f"dask cluster {cluster!r} is no address: expected one such as tcp://host:8786, or nothing")
        cluster = None
    scratch = Path(computing.scratch_folder.strip()).expanduser() if computing.scratch_folder.strip() else None
    if scratch is not None and not (scratch.is_dir() and os.access(scratch, os.W_OK)):
        complaints.append(
            f"scratch folder {str(scratch)!r} is no folder that can be written to: make it, or choose one"
        )
        scratch = None
    threads = computing.threads or None
    return Preferences(
        threads, computing.memory_gb, cluster, scratch, None if rule == "automatic" else rule
    ), complaints


def start_with(*forms: SettingsForm) -> None:
    """Show in a dock's forms what the user prefers and they offer, and let reconstructions use what they may."""
    found, complaints = read()
    for each in complaints:
        show_warning(f"Preferences → Inverse reconstruction: {each}")
    resources.use(resources.Resources(found.threads, found.scratch))
    preferred = {"memory_gb": found.memory_gb, "cluster": found.cluster, "lam_rule": found.lam_rule}
    wanted = {name: value for name, value in preferred.items() if value is not None}
    for form in forms:
        form.set_values({name: value for name, value in wanted.items() if form.offers(name, value)})
