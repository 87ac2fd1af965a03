"""Imports run one way: plugin → {recon, io}, and inside recon from a modality down to the operators."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import napari_invrecon

PACKAGE = "napari_invrecon"
# Part of the package → the parts that it may import. "" is the notebook API in napari_invrecon/__init__.py.
PARTS = {
    "": {"records", "recon"},
    "recon": {"recon"},
    "io": {"io"},
    "records": {"records", "recon", "io"},
    "plugin": {"plugin", "records", "recon", "io"},
    "__main__": {"plugin", "records", "recon", "io"},
    "sample_data": set(),
}
# Inside recon a module imports its own layer and those below. A file that is not named here is a modality: above all
# of these, and never importing another modality.
RECON_LAYERS = (
    {"settings", "tilt_settings", "record", "resources", "fusion_settings", "element_window", "power_law"},
    {
        "operators",
        "lanes",
        "projector",
        "boundary",
        "gradients",
        "volume_tv",
        "tilt_images",
        "tilt_axis",
        "alignment_scene",
        "sampling",
        "element_lines",
        "window_sums",
    },
    {
        "fidelities",
        "regularisers",
        "wavelets",
        "denoisers",
        "noise",
        "detector",
        "guided_tv",
        "psf",
        "measured_psf",
        "probe",
        "zero_loss",
        "channel_noise",
        "channel_correlation",
    },
    {
        "solvers",
        "closed_form",
        "roughness",
        "lambda_choice",
        "diagnostics",
        "tilt_series",
        "tilt_transforms",
        "registration",
        "fusion_solver",
        "carried_background",
    },
    {
        "blocks",
        "deblurring",
        "tilt_solvers",
        "tilt_problem",
        "tilt_rows",
        "tilt_sweep",
        "tilt_variation",
        "tilt_proximal",
        "fbp",
        "couplings",
        "fusion_guide",
        "fusion_scale",
        "thinning",
    },
    {
        "slabs",
        "read_once",
        "tilt_lambda",
        "projection_matching",
        "power_coupling",
        "fusion_scene",
        "deconvolution_settings",
        "deconvolution_scene",
        "deconvolution_lambda",
    },
    {"fusion_choice", "fusion_error"},
)
# zarr is recon's array on disc for results larger than memory, not a format that users hand in. scikit-learn, imported
# late, decomposes spectra where it is installed.
RECON_THIRD_PARTY = {"numpy", "scipy", "skimage", "sklearn", "numba", "llvmlite", "dask", "distributed", "zarr"}
SCREEN = {"napari", "npe2", "qtpy", "magicgui", "superqt", "PySide6", "PyQt6", "vispy", "matplotlib"}


def imported_modules(tree: ast.AST, is_module: set[str]) -> list[tuple[int, str]]:
    """(line, dotted name) of every import, late ones and those for type checking too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                member = f"{base}.{alias.name}"
                found.append((node.lineno, member if member in is_module else base))
    return list(dict.fromkeys(found))


def recon_layer(module: str) -> int:
    """0 for the lowest layer, len(RECON_LAYERS) for a modality, one more for recon/__init__.py."""
    if not module:
        return len(RECON_LAYERS) + 1
    name = module.partition(".")[0]
    return next((level for level, names in enumerate(RECON_LAYERS) if name in names), len(RECON_LAYERS))


def complaint(importer: str, imported: str) -> str | None:
    """Why ``importer`` (dotted, without the package's name) may not import ``imported``; None if it may."""
    part, _, inside = importer.partition(".")
    if imported.startswith("."):
        return "a relative import: write the whole name"
    if imported.partition(".")[0] != PACKAGE:
        third_party = imported.partition(".")[0]
        if part in ("", "io", "records") and third_party in SCREEN:
            return "only plugin may import the screen"
        if part == "recon" and third_party not in RECON_THIRD_PARTY | set(sys.stdlib_module_names):
            return f"recon may import only {', '.join(sorted(RECON_THIRD_PARTY))}"
        return None
    target, _, target_inside = imported.removeprefix(PACKAGE).removeprefix(".").partition(".")
    if target not in PARTS[part]:
        return f"{part or PACKAGE} may import only {', '.join(sorted(PARTS[part]))}"
    if part == target == "recon":
        mine, its = recon_layer(inside), recon_layer(target_inside)
        if its > mine:
            return "an import that goes up"
        if its == mine == len(RECON_LAYERS) and inside != target_inside:
            return "modalities never import each other (no modality? name it in RECON_LAYERS)"
    return None


def violations(package: Path) -> list[str]:
    """One line for each forbidden import below a folder that holds napari_invrecon's parts."""
    files = {
        ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__").removesuffix("."): path
        for path in sorted(package.rglob("*.py"))
    }
    is_module = {f"{PACKAGE}.{name}".removesuffix(".") for name in files}
    found = []
    for importer, path in files.items():
        for line, imported in imported_modules(ast.parse(path.read_text(encoding="utf-8")), is_module):
            if reason := complaint(importer, imported):
                found.append(f"{path.relative_to(package).as_posix()}:{line}: imports {imported}: {reason}")
    return found


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """A package with the parts and a few empty modules, to put one import into."""
    for name in ("recon/__init__", "recon/blocks", "recon/solvers", "recon/lambda_choice", "recon/tomography"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for folder in ("io", "plugin"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    return tmp_path


def test_imports_run_one_way() -> None:
    assert violations(Path(napari_invrecon.__file__).parent) == []


@pytest.mark.parametrize(
    ("file", "line", "reason"),
    [
        ("recon/deconvolution.py", "import napari", "recon may import only"),
        ("recon/deconvolution.py", "def late():\n    import mrcfile", "recon may import only"),
        ("recon/deconvolution.py", "from napari_invrecon.plugin import worker", "recon may import only"),
        ("recon/deconvolution.py", "from napari_invrecon.io import read", "recon may import only"),
        (
            "recon/deconvolution.py",
            "from napari_invrecon.recon import tomography",
            "modalities never import each other",
        ),
        ("recon/deconvolution.py", "from napari_invrecon.recon import nothing", "an import that goes up"),
        ("recon/deconvolution.py", "from . import solvers", "a relative import"),
        ("recon/operators.py", "from napari_invrecon.recon.solvers import admm", "an import that goes up"),
        ("recon/solvers.py", "import napari_invrecon.recon.blocks", "an import that goes up"),
        ("io/mrc.py", "from napari_invrecon.recon.noise import sigma", "io may import only"),
        ("io/mrc.py", "if 0:\n    from qtpy import QtCore", "only plugin may import the screen"),
        ("__init__.py", "from napari_invrecon.io import read", "napari_invrecon may import only"),
        ("plugin/worker.py", "from napari_invrecon.__main__ import main", "plugin may import only"),
    ],
)
def test_a_forbidden_import_is_found(skeleton: Path, file: str, line: str, reason: str) -> None:
    (skeleton / file).write_text(f"import numpy\n{line}\n", encoding="utf-8")
    (complained,) = violations(skeleton)
    assert complained.startswith(f"{file}:")
    assert reason in complained


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("recon/deconvolution.py", "from napari_invrecon.recon import blocks, solvers"),
        ("recon/blocks.py", "from napari_invrecon.recon.operators import Array"),
        ("recon/solvers.py", "from napari_invrecon.recon import lambda_choice"),
        ("recon/__init__.py", "from napari_invrecon.recon.deconvolution import deconvolve"),
        ("__init__.py", "from napari_invrecon.recon.deconvolution import deconvolve"),
        ("io/mrc.py", "import mrcfile\nfrom napari_invrecon.io.acquisition import Axis"),
        ("plugin/worker.py", "import napari\nfrom napari_invrecon.recon import blocks\nimport napari_invrecon.io"),
    ],
)
def test_an_import_that_goes_down_is_allowed(skeleton: Path, file: str, line: str) -> None:
    (skeleton / file).write_text(f"{line}\n", encoding="utf-8")
    assert violations(skeleton) == []


@pytest.mark.parametrize("folder", ["recon", "io", "records"])
def test_the_screen_is_not_loaded_without_the_plugin(folder: str) -> None:
    """The whole folder, and all that the package offers, as both are imported when they are asked for."""
    code = (
        "import importlib, pkgutil, sys, napari_invrecon as ir; [getattr(ir, name) for name in ir.__all__]; "
        f"name = 'napari_invrecon.{folder}'; found = pkgutil.iter_modules(importlib.import_module(name).__path__); "
        "[importlib.import_module(f'{name}.{each.name}') for each in found]; "
        "print('napari' in sys.modules, 'qtpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_what_is_imported_late_is_there_when_it_is_asked_for() -> None:
    code = "import napari_invrecon as ir; print(ir.recon.projector.__name__, ir.records.schema.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["napari_invrecon.recon.projector", "napari_invrecon.records.schema"]
