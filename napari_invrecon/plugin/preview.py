"""A quick look at what λ, PSF and regulariser do: the middle of the view, deconvolved into one layer "preview"."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, Signal, Slot

from napari_invrecon.plugin.contrast import contrast_limits
from napari_invrecon.plugin.inputs import Inputs
from napari_invrecon.plugin.owned_layer import OwnedLayer
from napari_invrecon.plugin.results import describe_layer
from napari_invrecon.plugin.worker import LatestOnly
from napari_invrecon.recon import blocks
from napari_invrecon.recon.boundary import mirror
from napari_invrecon.recon.closed_form import closed_form
from napari_invrecon.recon.deblurring import deblur, fill_gaps, make_prior
from napari_invrecon.recon.deconvolution_lambda import choose_lambda
from napari_invrecon.recon.deconvolution_scene import Scene, only_the_mean_is_left, prepare
from napari_invrecon.recon.lambda_choice import LambdaCurve
from napari_invrecon.recon.operators import Array, fft_workers, transfer_function
from napari_invrecon.recon.regularisers import Regulariser
from napari_invrecon.recon.solvers import Iterate

if TYPE_CHECKING:
    from napari import Viewer

    from napari_invrecon.recon.deblurring import Blur
    from napari_invrecon.recon.solvers import Steps

_CLOSED_FORM_EDGE, _ITERATIVE_EDGE = 2048, 512  # pixels, for an answer in about a second
_PATIENCE_S = 0.8  # until an iterate is shown, and between one and the next
_NAME = "preview"


@dataclass(frozen=True)
class Looked:
    """The pixels of ``where`` deconvolved, the λ, and the curve where λ was chosen from it.

    ``final``: converged, as far as a run would be. ``bare``: nothing but the mean is left.
    """

    inputs: Inputs
    data: np.ndarray
    where: tuple[slice, ...]
    lam: float
    rule: str
    curve: LambdaCurve | None
    final: bool
    bare: bool


class Preview(OwnedLayer):
    """Keeps one layer up to date while it is on; the newest request replaces an older one. No other layer is touched.

    The scale of the data, the detector and the noise are those of the whole image, so λ means what it means for a run.
    """

    looked = Signal(object)
    """A `Looked` was shown."""
    failed = Signal(object)
    """The exception of the newest request."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(viewer, parent)
        self._source: Image | None = None
        self._asked: tuple[Inputs, tuple[slice, ...]] | None = None
        self._shown: Looked | None = None
        self._known = _Known()
        self._latest = LatestOnly(self)
        self._latest.ready.connect(self._show)
        self._latest.progressed.connect(self._follow)
        self._latest.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether something is being computed, or is about to be."""
        return self._latest.busy

    def request(self, layer: Image, inputs: Inputs) -> None:
        """Show the middle of the view of ``layer``, with the settings' λ or, where it is None, one from the data."""
        where = self._where(layer, inputs)
        if self._asked is not None:
            before, there = self._asked
            if there == where and before.same(inputs) and before.settings.lam == inputs.settings.lam:
                return
        self._asked, self._source = (inputs, where), layer
        known = self._known
        self._latest.request(lambda: _look(inputs, where, known))

    def stop(self) -> None:
        """Drop what runs and remove the layer."""
        self._latest.cancel()
        self._asked, self._source, self._shown, self._known = None, None, None, _Known()
        super().stop()

    def _where(self, layer: Image, inputs: Inputs) -> tuple[slice, ...]:
        """The pixels around the middle of the canvas, of the frame that is shown."""
        world = np.array(self._viewer.dims.point, float)
        shown = list(self._viewer.dims.displayed)
        world[shown] = np.array(self._viewer.scene.camera.center, float)[-len(shown) :]
        at = np.asarray(layer.world_to_data(world), float)
        edge = _CLOSED_FORM_EDGE if inputs.closed_form else _ITERATIVE_EDGE
        where = []
        for axis, n in enumerate(layer.data.shape):
            size = 1 if axis < layer.data.ndim - 2 else min(n, edge)
            start = int(np.clip(round(at[axis] - (size - 1) / 2), 0, n - size))
            where.append(slice(start, start + size))
        return tuple(where)

    def _is_wanted(self, looked: Looked) -> bool:
        """Whether it answers the newest request."""
        return self._asked is not None and looked.inputs is self._asked[0]

    @Slot(object)
    def _follow(self, iterate: Iterate) -> None:
        if isinstance(iterate.x, Looked) and iterate.x is not self._shown:
            self._show(iterate.x)

    @Slot(object)
    def _show(self, looked: Looked) -> None:
        source = self._source
        if source is None or source not in self._viewer.layers or not self._is_wanted(looked):
            return
        self._shown = looked
        offset = np.array([each.start for each in looked.where], float)
        place = np.asarray(source.affine.inverse(np.asarray(source.data_to_world(offset))))
        if self.layer is None:
            display = describe_layer(source).display | {"translate": place}
            limits = contrast_limits(looked.data)
            self._add(Image(looked.data, name=_NAME, contrast_limits=limits, **display))
        else:
            self.layer.data = looked.data
            if not np.array_equal(self.layer.translate, place):
                self.layer.translate = place
            self.show()
        self.looked.emit(looked)


@dataclass
class _Known:
    """What the next preview need not compute again; only the worker's thread, of which there is one, changes it."""

    inputs: Inputs | None = None
    scene: Scene | None = None
    curve: LambdaCurve | None = None
    where: tuple[slice, ...] | None = None
    piece: _Piece | None = None


@dataclass
class _Piece:
    """The data of one place, and what has been made of them."""

    block: blocks.Block
    y: Array
    weights: Array | None
    solve: Callable[[float], Array] | None = None
    prior: Regulariser | None = None
    x: Array | None = None


def _look(inputs: Inputs, where: tuple[slice, ...], known: _Known) -> Steps[Looked]:
    """Deconvolve the pixels of ``where``, with whatever is known from the last time."""
    yield Iterate(0, 1, stage="preview")
    settings = inputs.settings
    if known.inputs is None or not known.inputs.same(inputs) or known.scene is None:
        psf, weights, reference = inputs.arrays()
        scene = prepare(inputs.image, psf, weights, settings, reference)
        known.inputs, known.scene, known.curve, known.piece = inputs, scene, None, None
    scene, lam, rule = known.scene, settings.lam, "given"
    if lam is None:
        if known.curve is None:
            known.curve = yield from dataclasses.replace(
                inputs, settings=dataclasses.replace(settings, lam=None)
            ).curve()
        lam, rule = choose_lambda(known.curve, scene, settings)
    shape = tuple(inputs.image.shape)
    whole = tuple(each.stop - each.start for each in where) == shape
    if scene.blur.boundary == "periodic" and not whole:  # a part has no period
        scene = dataclasses.replace(scene, blur=dataclasses.replace(scene.blur, boundary="reflect"))
    if known.piece is None or known.where != where:
        block = _with_surroundings(where, scene, shape)
        known.where, known.piece = where, _Piece(block, *scene.read(block.read))
    piece = known.piece

    def look(x: Array, *, final: bool) -> Looked:
        bare = only_the_mean_is_left([scene.spans(x, piece.y, piece.block)])
        data = scene.restore(x, piece.y.shape, piece.block)
        return Looked(inputs, data, where, lam, rule, known.curve, final, bare)

    steps = _solve(piece, scene.blur, lam)
    shown, last = None, time.monotonic()
    while True:
        try:
            iterate = next(steps)
        except StopIteration as end:
            return look(end.value, final=True)
        if iterate.x is not None:
            piece.x = iterate.x
            if time.monotonic() - last > _PATIENCE_S:
                shown, last = look(iterate.x, final=False), time.monotonic()
        yield dataclasses.replace(iterate, x=shown)


def _solve(piece: _Piece, blur: Blur, lam: float) -> Steps[Array]:
    """x̂ of a piece: a closed form from its transforms, an iterative one from the last x̂."""
    if blur.has_closed_form(piece.weights is not None):
        if piece.solve is None:
            piece.solve = _closed_form(blur, piece)
        yield Iterate(1, 1)
        return piece.solve(lam)
    if piece.prior is None:
        filled = piece.y if piece.weights is None else fill_gaps(piece.y, piece.weights)
        piece.prior = make_prior(blur, filled, piece.block.missing, fft_workers())
    x: Array = yield from deblur(
        blur,
        piece.y,
        lam,
        piece.weights,
        missing=piece.block.missing,
        start=piece.x,
        prior=piece.prior,
        threads=fft_workers(),
    )
    piece.x = x
    return x


def _closed_form(blur: Blur, piece: _Piece) -> Callable[[float], Array]:
    """λ ↦ x̂ of a piece, on its field."""
    assert blur.power is not None
    frame = blur.frame(piece.y.shape, piece.block.missing)
    return closed_form(mirror(piece.y, frame), transfer_function(blur.kernel, frame.shape), blur.power(frame.shape))


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
