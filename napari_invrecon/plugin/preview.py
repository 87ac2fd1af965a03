"""A quick look at what λ, PSF and regulariser do: the middle of the view, deconvolved into one layer "preview"."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, Signal, Slot

from napari_invrecon.plugin.contrast import contrast_limits
from napari_invrecon.plugin.results import describe_layer
from napari_invrecon.plugin.worker import LatestOnly
from napari_invrecon.recon import blocks
from napari_invrecon.recon.deblurring import deblur
from napari_invrecon.recon.deconvolution import DeconvolutionSettings, Scene, curve_steps, prepare
from napari_invrecon.recon.lambda_choice import LambdaCurve
from napari_invrecon.recon.operators import fft_workers
from napari_invrecon.recon.solvers import Iterate, Steps

if TYPE_CHECKING:
    from napari import Viewer

_CLOSED_FORM_EDGE, _ITERATIVE_EDGE = 2048, 512  # pixels, for an answer in about a second
_NAME = "preview"


@dataclass(frozen=True)
class Looked:
    """The pixels of ``where`` deconvolved, the λ, and the curve where λ was chosen from it."""

    data: np.ndarray
    where: tuple[slice, ...]
    lam: float
    rule: str
    curve: LambdaCurve | None


class Preview(QObject):
    """Keeps one layer up to date while it is on; the newest request replaces an older one. No other layer is touched.

    The scale of the data, the detector and the noise are those of the whole image, so λ means what it means for a run.
    """

    looked = Signal(object)
    """A `Looked` was shown."""
    failed = Signal(object)
    """The exception of the newest request."""
    removed = Signal()
    """The user deleted the layer; the preview is off now."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.layer: Image | None = None
        self._source: Image | None = None
        self._asked: tuple[Any, ...] | None = None
        self._known: list[Any] = []  # [key, Scene, LambdaCurve | None] of the last image, PSF and settings
        self._latest = LatestOnly(self)
        self._latest.ready.connect(self._show)
        self._latest.failed.connect(self.failed)
        viewer.layers.events.removed.connect(self._forget)

    @property
    def busy(self) -> bool:
        """Whether something is being computed, or is about to be."""
        return self._latest.busy

    def request(self, layer: Image, psf: Any, settings: DeconvolutionSettings) -> None:
        """Show the middle of the view of ``layer``, with ``settings.lam`` or, where it is None, a λ from the data."""
        where = self._where(layer, settings)
        key = (layer.data, psf, dataclasses.replace(settings, lam=None))
        asked = (*key, settings.lam, where)
        if self._asked is not None and _same(asked, self._asked):
            return
        self._asked, self._source = asked, layer
        image, known, lam = layer.data, self._known, settings.lam
        self._latest.request(lambda: _look(image, psf, settings, lam, where, key, known))

    def stop(self) -> None:
        """Drop what runs and remove the layer."""
        self._latest.cancel()
        self._asked, self._source, self._known = None, None, []
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _where(self, layer: Image, settings: DeconvolutionSettings) -> tuple[slice, ...]:
        """The pixels around the middle of the canvas, of the frame that is shown."""
        world = np.array(self._viewer.dims.point, float)
        shown = list(self._viewer.dims.displayed)
        world[shown] = np.array(self._viewer.scene.camera.center, float)[-len(shown) :]
        at = np.asarray(layer.world_to_data(world), float)
        closed = settings.regulariser in ("l2", "tikhonov") and settings.noise == "gaussian"
        edge = _CLOSED_FORM_EDGE if closed else _ITERATIVE_EDGE
        where = []
        for axis, n in enumerate(layer.data.shape):
            size = 1 if axis < layer.data.ndim - 2 else min(n, edge)
            start = int(np.clip(round(at[axis] - (size - 1) / 2), 0, n - size))
            where.append(slice(start, start + size))
        return tuple(where)

    @Slot(object)
    def _show(self, looked: Looked) -> None:
        source = self._source
        if source is None or source not in self._viewer.layers:
            return
        offset = np.array([each.start for each in looked.where], float)
        place = np.asarray(source.affine.inverse(np.asarray(source.data_to_world(offset))))
        if self.layer is None:
            display = describe_layer(source).display | {"translate": place}
            limits = contrast_limits(looked.data)
            self.layer = Image(looked.data, name=_NAME, contrast_limits=limits, **display)
            selected = set(self._viewer.layers.selection)
            self._viewer.add_layer(self.layer)
            self._viewer.layers.selection = selected
        else:
            self.layer.data = looked.data
            self.layer.translate = place
        self.looked.emit(looked)

    def _forget(self, event: Any) -> None:
        if event.value is self.layer and self.layer is not None:
            self.layer = None
            self.stop()
            self.removed.emit()


def _look(
    image: Any,
    psf: Any,
    settings: DeconvolutionSettings,
    lam: float | None,
    where: tuple[slice, ...],
    key: tuple[Any, ...],
    known: list[Any],
) -> Steps[Looked]:
    """Deconvolve the pixels of ``where``; ``known`` keeps what depends on the whole image for the next time."""
    yield Iterate(0, 1, stage="preview")
    if not known or not _same(known[0], key):
        known[:] = [key, prepare(image, psf, None, settings), None]
    scene: Scene = known[1]
    rule = "given"
    if lam is None:
        if known[2] is None:
            known[2] = yield from curve_steps(image, psf, None, settings)
        rule = settings.lam_rule or ("gcv" if scene.closed_form else "balanced")
        lam = known[2].choices[rule]
        if lam is None:
            raise ValueError(f"the rule {rule!r} finds no λ on this image: choose another, or set λ")
    whole = tuple(each.stop - each.start for each in where) == tuple(image.shape)
    if scene.blur.boundary == "periodic" and not whole:  # a part has no period
        scene = dataclasses.replace(scene, blur=dataclasses.replace(scene.blur, boundary="reflect"))
    block = _with_surroundings(where, scene, tuple(image.shape))
    y, weights = scene.read(block.read)
    x = yield from deblur(scene.blur, y, lam, weights, missing=block.missing, threads=fft_workers())
    return Looked(scene.restore(x, y.shape, block), where, lam, rule, known[2])


def _with_surroundings(where: tuple[slice, ...], scene: Scene, shape: tuple[int, ...]) -> blocks.Block:
    """The piece, read with as much around it as the PSF is wide; what is farther away changes it little."""
    ndim = scene.blur.kernel.ndim
    read, missing = list(where), []
    for axis in range(len(shape) - ndim, len(shape)):
        reach = 0 if scene.blur.boundary == "periodic" else scene.blur.kernel.shape[axis - len(shape)]
        start, stop = where[axis].start, where[axis].stop
        low, high = max(0, start - reach), min(shape[axis], stop + reach)
        read[axis] = slice(low, high)
        missing.append((reach - (start - low), reach - (high - stop)))
    return blocks.Block(where, tuple(read), tuple(missing))


def _same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """Equal, arrays by identity."""
    return all(p is q or (not hasattr(p, "shape") and p == q) for p, q in zip(a, b, strict=True))
