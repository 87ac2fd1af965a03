"""A small spectrum image and a low-loss spectrum, as layers that the dock "Spectrum" takes."""

from __future__ import annotations

import numpy as np

STEP_EV = 0.5
ENERGY = 400 + STEP_EV * np.arange(400)


def counts(seed=0):
    """(energy, y, x): oxygen in the left half."""
    mean = 40 * (ENERGY / 400) ** -3.0
    edge = np.where(ENERGY >= 532, 12 * np.exp(-(ENERGY - 532) / 40), 0)
    where = np.arange(16) < 8
    y = mean[:, None, None] + edge[:, None, None] * where * np.ones((12, 1))
    return np.random.default_rng(seed).poisson(y).astype(np.uint16)


def low_loss(seed=1):
    """(energy, 1, 1): a zero-loss peak at channel 20 and a plasmon 30 channels behind it."""
    channel = np.arange(400.0)
    mean = 1e5 * np.exp(-((channel - 20) ** 2) / 18) + 1e4 * np.exp(-((channel - 50) ** 2) / 200) + 1
    return np.random.default_rng(seed).poisson(mean).astype(np.uint32)[:, None, None]


def add_spectra(viewer, y, name="EELS", start_ev=400.0, **keywords):
    """A calibrated spectrum image (energy, y, x), as a reader adds one."""
    axes = [
        {"name": "energy", "unit": "eV", "scale": STEP_EV, "offset": start_ev},
        {"name": "y", "unit": "nm", "scale": 2.0, "offset": 10.0},
        {"name": "x", "unit": "nm", "scale": 2.0, "offset": 20.0},
    ]
    known = {"kind": "spectrum image", "file_name": "oxide.dm3", "voltage_kv": 200.0, "axes": axes}
    placed = {
        "scale": (STEP_EV, 2.0, 2.0, 2.0),
        "translate": (start_ev, 0, 10, 20),
        "units": ("eV", "nm", "nm", "nm"),
        "axis_labels": ("energy", "z", "y", "x"),
    }
    return viewer.add_image(y[:, None], name=name, **({"metadata": {"acquisition": known}} | placed | keywords))
