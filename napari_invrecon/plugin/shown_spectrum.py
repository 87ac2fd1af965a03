"""The spectrum that is plotted, of all pixels, one, or a region's: summed in a thread, the newest request wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal, Slot

from napari_invrecon.plugin.spectrum_source import SpectrumSource
from napari_invrecon.plugin.worker import LatestOnly
from napari_invrecon.recon.solvers import Iterate
from napari_invrecon.recon.window_sums import region_spectrum

if TYPE_CHECKING:
    from napari_invrecon.recon.solvers import Steps

MakeMask = Callable[[], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class PlottedSpectrum:
    """(energy,) counts of ``source``, summed over the pixels that ``title`` names, less the detector's offset."""

    source: SpectrumSource
    counts: NDArray[np.float64]
    title: str
    offset: float


class ShownSpectrum(QObject):
    """Asked for a spectrum, gives it once it is there; that of the whole image is kept."""

    ready = Signal(object)
    """A `PlottedSpectrum`."""
    failed = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._whole: PlottedSpectrum | None = None
        self._latest = LatestOnly(self)
        self._latest.ready.connect(self._show)
        self._latest.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether a spectrum is being summed, or is about to be."""
        return self._latest.busy

    def request(self, source: SpectrumSource, offset: float, title: str = "", mask: MakeMask | None = None) -> None:
        """Sum the pixels of ``mask()``, made in the worker's thread; without one, all of them."""
        whole = self._whole
        if mask is None and whole is not None and whole.source.data is source.data and whole.offset == offset:
            self._latest.cancel()
            self.ready.emit(PlottedSpectrum(source, whole.counts, whole.title, offset))
            return
        self._latest.request(lambda: _sum(source, offset, title, mask))

    def stop(self) -> None:
        """Drop what runs and what is kept."""
        self._latest.cancel()
        self._whole = None

    @Slot(object)
    def _show(self, found: PlottedSpectrum) -> None:
        if found.title.startswith("whole"):
            self._whole = found
        self.ready.emit(found)


def sum_steps(data: Any, mask: NDArray[np.bool_] | None = None) -> Steps[NDArray[np.float64]]:
    """Σ over the pixels of a mask, or all, of a spectrum image (energy, …)."""
    yield Iterate(0, 1, stage="summing spectra")
    steps = region_spectrum(data, mask)
    while True:
        try:
            done, n = next(steps)
        except StopIteration as end:
            counts: NDArray[np.float64] = end.value
            return counts
        yield Iterate(done, n, stage="summing spectra")


def _sum(source: SpectrumSource, offset: float, title: str, mask: MakeMask | None) -> Steps[PlottedSpectrum]:
    chosen = None if mask is None else mask()
    counts = yield from sum_steps(source.data, chosen)
    n_pixels = int(np.prod(source.data.shape[1:])) if chosen is None else int(chosen.sum())
    if chosen is None:
        title = f"whole image: sum of {' × '.join(map(str, source.data.shape[1:])) or 1} pixels"
    elif n_pixels > 1:
        title = f"{title}: sum of {n_pixels} pixels"
    return PlottedSpectrum(source, counts - offset * n_pixels, title, offset)
