"""The map of one element while its windows are dragged: one layer, the newest request wins."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal, Slot

from napari_invrecon.plugin.owned_layer import OwnedLayer
from napari_invrecon.plugin.spectrum_maps import map_layer, map_limits, map_place
from napari_invrecon.plugin.worker import LatestOnly
from napari_invrecon.recon.channel_noise import ChannelNoise
from napari_invrecon.recon.solvers import Iterate
from napari_invrecon.recon.spectra import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari import Viewer
    from napari.layers import Image

    from napari_invrecon.plugin.spectrum_source import SpectrumSource
    from napari_invrecon.recon.element_window import ElementWindow
    from napari_invrecon.recon.solvers import Steps
    from napari_invrecon.recon.spectra import MapSettings, Measured

_KEPT_BYTES = 1 << 30  # of a lazy spectrum image, the channels about the windows
_SMALL_PX = 1 << 14
_AROUND = 0.25  # of the windows' range, that is read with it


@dataclass
class _Known:
    """What the next map need not read or estimate again; only the worker's one thread changes it."""

    data: Any = None
    offset: float = 0.0
    noise: ChannelNoise | None = None
    start: int = 0
    held: NDArray[Any] | None = None


class LiveMap(OwnedLayer):
    """Keeps one layer "… live" up to date while it is on. No other layer is touched."""

    told = Signal(object)
    """The `Measured` that is shown."""
    failed = Signal(object)

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(viewer, parent)
        self._of: Image | None = None
        self._source: Image | None = None
        self._known = _Known()
        self._latest = LatestOnly(self, follow=True)
        self._latest.ready.connect(self._show)
        self._latest.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether a map is being made, or is about to be."""
        return self._latest.busy

    def request(
        self, layer: Image, source: SpectrumSource, windows: Sequence[ElementWindow], settings: MapSettings
    ) -> None:
        """Show the map of the first of ``windows`` as soon as it is made; of a small image, tell of the others too."""
        self._source = layer
        known = self._known
        small = isinstance(source.data, np.ndarray) and math.prod(source.data.shape[1:]) <= _SMALL_PX
        wanted = list(windows) if small else list(windows[:1])
        self._latest.request(lambda: _measure(source, wanted, settings, known))

    def stop(self) -> None:
        """Drop what runs, and remove the layer."""
        self._latest.cancel()
        self._source, self._known = None, _Known()
        super().stop()

    @Slot(object)
    def _show(self, measured: Measured) -> None:
        source = self._source
        if source is None or source not in self._viewer.layers:
            return
        found = measured.elements[0]
        data = found.net.astype(np.float32)
        if data.ndim == 2:
            self._put(source, data, found.window)
        self.told.emit(measured)

    def _put(self, source: Image, data: NDArray[np.float32], window: ElementWindow) -> None:
        name = f"{window.name} live"
        if self.layer is not None and (self._of != source or self.layer.data.shape != data.shape):
            super().stop()
        if self.layer is not None and self.layer.name == name:
            limits = map_limits(data)
            self.layer.data = data
            self.layer.contrast_limits_range = limits
            self.layer.contrast_limits = limits
            return
        super().stop()
        fresh = map_layer(map_place(source), data, window.element, window.line, name)
        fresh.metadata = {}  # it is no map yet, and not offered as one
        fresh.blending = "translucent_no_depth"
        self._of = source
        self._add(fresh)


def _measure(
    source: SpectrumSource, windows: list[ElementWindow], settings: MapSettings, known: _Known
) -> Steps[Measured]:
    """The map, with whatever has been read and estimated the last time."""
    yield Iterate(0, 1, stage="map")
    if known.data is not source.data or known.offset != settings.offset:
        known.data, known.offset, known.noise, known.held = source.data, settings.offset, None, None
    noise = known.noise
    if settings.gain is None and noise is not None:
        read = noise.read_sigma if settings.read_sigma is None else settings.read_sigma
        settings = dataclasses.replace(settings, gain=max(noise.gain, 1e-12), read_sigma=read)
    data, energy = source.data, source.energy_ev
    if not isinstance(data, np.ndarray):
        yield from _hold(source, windows, known)
        if known.held is not None:
            data, energy = known.held, energy[known.start : known.start + len(known.held)]
    measured = yield from measure(data, energy, windows, settings)
    if settings.gain is None:
        known.noise = measured.noise
    return measured


def _hold(source: SpectrumSource, windows: list[ElementWindow], known: _Known) -> Steps[None]:
    """Read the channels about the windows into memory, unless they are there, or are too many."""
    ends = [end for window in windows for each in (window.signal, *window.background) for end in each]
    n, step = len(source.energy_ev), source.step_ev
    first, last = (int(np.floor((end - source.energy_ev[0]) / step)) for end in (min(ends), max(ends)))
    first, last = max(0, first - 1), min(n, last + 3)
    if known.held is not None and known.start <= first and last <= known.start + len(known.held):
        return
    around = int(_AROUND * (last - first)) + 1
    start, stop = max(0, first - around), min(n, last + around)
    plane = int(np.prod(source.data.shape[1:])) * source.data.dtype.itemsize
    known.held = None
    if stop - start < 2 or (stop - start) * plane > _KEPT_BYTES:
        return
    held = np.empty((stop - start, *source.data.shape[1:]), source.data.dtype)
    edges = [start, *(int(e) for e in np.cumsum(source.data.chunks[0]) if start < e < stop), stop]
    for a, b in itertools.pairwise(edges):
        held[a - start : b - start] = source.data[a:b].compute(scheduler="threads", num_workers=2)
        yield Iterate(b - start, stop - start, stage="reading channels")
    known.start, known.held = start, held
