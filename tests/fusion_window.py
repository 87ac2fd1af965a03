"""A small HAADF image with its maps, and the dock "Fuse" as a user has it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from tilt_window import PLUGIN

SHAPE = (40, 56)
PIXEL_NM = 0.5
PLACE_NM = (3.0, 8.0)
ELEMENTS = ("Ce", "Co")


def scene(times=1, seed=0):
    """(HAADF, ``times`` finer; counts (2, y, x)): a disc of Ce within a disc of Co, 12 and 8 counts."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[: SHAPE[0] * times, : SHAPE[1] * times] + 0.5) / times
    away = np.hypot(y - 20, x - 26)
    fine = np.stack([away < 9, (away >= 9) & (away < 16)]) * np.array([12.0, 8.0])[:, None, None]
    blurred = np.stack([gaussian_filter(each, 0.8 * times) for each in fine])
    haadf = rng.poisson(50 + 25 * blurred[0] + 12 * blurred[1]).astype(np.float32)
    truth = blurred.reshape(2, SHAPE[0], times, SHAPE[1], times).mean((2, 4))
    return haadf, rng.poisson(truth)


def calibrated(pixel_nm=PIXEL_NM, place_nm=PLACE_NM):
    """Keyword arguments of a layer whose field begins at the same edge whatever its pixels are."""
    first = tuple(at + (pixel_nm - PIXEL_NM) / 2 for at in place_nm)
    return {"scale": (pixel_nm,) * 2, "translate": first, "units": ("nm", "nm"), "axis_labels": ("y", "x")}


def add_haadf(viewer, haadf, name="HAADF", **placed):
    """As the reader makes it."""
    return viewer.add_image(haadf, name=name, metadata={"acquisition": {"kind": "image"}}, **(placed or calibrated()))


def add_maps(viewer, counts, elements=ELEMENTS, **placed):
    """One layer an element, as the reader makes them."""
    return [
        viewer.add_image(
            each,
            name=f"{element} K",
            metadata={"acquisition": {"kind": "map", "element": element, "line": "K"}},
            blending="additive",
            **(placed or calibrated()),
        )
        for element, each in zip(elements, counts, strict=True)
    ]


def open_dock(viewer, lam=1.0, **settings):
    """The dock as the menu opens it, with a quick run unless told; ``lam`` and the fields of its form."""
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    dock.lam.value = lam
    dock.settings.set_values({"coupling": "edges", "n_iter": 30} | settings)
    return dock


def made(viewer):
    """The layers that fusions have added."""
    return [each for each in viewer.layers if each.metadata.get("invrecon", {}).get("method") == "fuse"]
