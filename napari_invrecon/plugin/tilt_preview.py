"""A quick look at what the algorithm and λ do: one slice across the tilt axis, beside the stack."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, Signal, Slot

from napari_invrecon.plugin.contrast import contrast_limits
from napari_invrecon.plugin.owned_layer import OwnedLayer
from napari_invrecon.plugin.tilt_results import volume_place
from napari_invrecon.plugin.tilt_series import TiltInput
from napari_invrecon.plugin.worker import LatestOnly
from napari_invrecon.recon.lambda_choice import LambdaCurve
from napari_invrecon.recon.solvers import Iterate, Steps
from napari_invrecon.recon.tilt_settings import WITHOUT_LAMBDA, TomographySettings
from napari_invrecon.recon.tomography import (
    choose_lambda,
    contrast_slices,
    prepare,
    reconstruct_slices,
    tilt_lambda_curve,
)

if TYPE_CHECKING:
    from napari import Viewer

from napari_invrecon.plugin.tilt_results import Plane

_GAP = 0.03  # of the stack's height, between it and the slice
# What `prepare` depends on.
_OF_SCENE = (
    "tilt_axis", "first_slice", "n_slices", "bin", "background", "noise", "noise_sigma", "thickness_px",
    "axis_shift_px",
)  # fmt: skip


@dataclass(frozen=True)
class LookedSlice:
    """Slice ``index`` of the (binned) stack along the tilt axis, (z, across); λ, and the curve it was chosen from.

    ``asked`` is the request that it answers.
    """

    asked: Any
    data: np.ndarray
    index: int
    lam: float
    rule: str
    curve: LambdaCurve | None


@dataclass(frozen=True)
class _Asked:
    """One request. What its parts depend on is compared, the data by identity."""

    given: TiltInput
    data: Any  # the layer's own array; its projections are another view at each look
    settings: TomographySettings
    index: int | None

    def scene(self) -> tuple[Any, ...]:
        """What the checked and scaled stack depends on."""
        angles = tuple(self.given.angles_deg.tolist())
        return (id(self.data), angles, *(getattr(self.settings, name) for name in _OF_SCENE))

    def curve(self) -> tuple[Any, ...]:
        """What the λ curve depends on."""
        return (*self.scene(), dataclasses.replace(self.settings, lam=None))

    def whole(self) -> tuple[Any, ...]:
        """What the slice depends on."""
        return (*self.scene(), self.settings, self.index, self.given.channel)


class _Known:
    """What requests have in common, kept from one to the next."""

    def __init__(self) -> None:
        self.data: Any = None  # keeps its id from being given to another
        self.scene: tuple[Any, Any] = (None, None)
        self.curve: tuple[Any, LambdaCurve | None] = (None, None)


class TiltPreview(OwnedLayer):
    """Keeps one layer up to date while it is on; the newest request replaces an older one. No other layer is touched.

    Scale, background and noise are those of the whole stack, so λ means what it means for a run.
    """

    looked = Signal(object)
    """A `LookedSlice` was shown."""
    progressed = Signal(object)
    """The newest `Iterate`: choosing λ takes a while."""
    failed = Signal(object)
    """The exception of the newest request."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(viewer, parent)
        self._asked: _Asked | None = None
        self._plane: Plane | None = None
        self._shown: LookedSlice | None = None
        self._limits: tuple[float, ...] = ()
        self._known = _Known()
        self._latest = LatestOnly(self)
        self._latest.ready.connect(self._show)
        self._latest.failed.connect(self._fail)
        self._latest.progressed.connect(self._follow)

    @property
    def busy(self) -> bool:
        """Whether something is being computed, or is about to be."""
        return self._latest.busy

    def request(self, given: TiltInput, settings: TomographySettings, index: int | None, plane: Plane) -> None:
        """Show slice ``index`` of a stack (tilt, y, x), or of one of its maps, None: the one with the most contrast.

        With ``settings.lam`` or, where it is None, a λ from the data.
        """
        asked = _Asked(given, given.layer.data, settings, index)
        if self._asked is not None and asked.whole() == self._asked.whole():
            return
        self._asked, self._plane = asked, plane
        known = self._known
        self._latest.request(lambda: _look(asked, known))

    def stop(self) -> None:
        """Drop what runs and remove the layer."""
        self._latest.cancel()
        self._asked, self._plane, self._shown, self._known = None, None, None, _Known()
        super().stop()

    @Slot(object)
    def _follow(self, iterate: Iterate) -> None:
        if isinstance(iterate.x, LookedSlice) and iterate.x is not self._shown:
            self._show(iterate.x)
        self.progressed.emit(iterate)

    @Slot(object)
    def _show(self, looked: LookedSlice) -> None:
        asked, plane = self._asked, self._plane
        if asked is None or plane is None or looked.asked is not asked:
            return
        self._shown = looked
        settings = asked.settings
        data, scale, translate = beside(looked.data, settings, plane)
        along = (
            plane.origin[settings.tilt_axis == "x"]
            + (settings.first_slice + (looked.index + 0.5) * settings.bin - 0.5)
            * plane.scale[settings.tilt_axis == "x"]
        )
        channel = "" if asked.given.channel is None else f" of channel {asked.given.channel}"
        name = f"preview: slice{channel} at {settings.tilt_axis} = {along:.4g} {plane.unit}"
        limits, untouched = contrast_limits(data), True
        if self.layer is None:
            layer = Image(
                data,
                name=name,
                scale=scale,
                translate=translate,
                units=(plane.unit,) * 2,
                axis_labels=("y", "x"),
                affine=plane.turn,
                contrast_limits=limits,
            )
            self._add(layer)
            self._viewer.reset_view()
        else:
            untouched = tuple(self.layer.contrast_limits) == self._limits
            self.layer.data, self.layer.name = data, name
            if untouched:
                self.layer.contrast_limits = limits
            self.layer.scale, self.layer.translate, self.layer.affine = scale, translate, plane.turn
            self.show()
        if untouched:
            self._limits = tuple(self.layer.contrast_limits)
        self.looked.emit(looked)

    def _fail(self, failure: BaseException) -> None:
        self._asked = None  # the same may be asked again
        self.failed.emit(failure)


def beside(
    data: np.ndarray, settings: TomographySettings, plane: Plane
) -> tuple[np.ndarray, tuple[float, float], tuple[float, float]]:
    """(image, scale, translate) of a slice (z, across), drawn below its stack with z downwards.

    For a tilt axis along x, right of it with z to the right. Across the axis it is where its volume will be.
    """
    shape = (data.shape[0], data.shape[1], data.shape[1])
    voxel, place = volume_place(plane, shape, settings.tilt_axis, settings.axis_shift_px, settings.bin, 0)
    end = [o + (n - 0.5) * s for o, n, s in zip(plane.origin, plane.shape, plane.scale, strict=True)]
    gap = _GAP * max(n * s for n, s in zip(plane.shape, plane.scale, strict=True))
    if settings.tilt_axis == "y":
        return data, (voxel[0], voxel[2]), (end[0] + gap + voxel[0] / 2, place[2])
    return data.T, (voxel[1], voxel[0]), (place[1], end[1] + gap + voxel[0] / 2)


def _look(asked: _Asked, known: _Known) -> Steps[LookedSlice]:
    """Reconstruct one slice, shown as it gets better; ``known`` keeps what does not depend on λ for the next time."""
    yield Iterate(0, 1, stage="preview")
    settings, key = asked.settings, asked.scene()
    if known.scene[0] != key:
        known.scene = (key, (yield from prepare(asked.given.stack, asked.given.angles_deg, settings)))
        known.data = asked.data
    scene, curve = known.scene[1], None
    lam, rule = settings.lam or 0.0, "given"
    if settings.lam is None and settings.algorithm not in WITHOUT_LAMBDA:
        if known.curve[0] != asked.curve():
            known.curve = (asked.curve(), (yield from tilt_lambda_curve(scene, settings)))
        curve = known.curve[1]
        assert curve is not None
        lam, rule = choose_lambda(curve, settings)
    index = asked.index if asked.index is not None else contrast_slices(scene)[0]
    steps = reconstruct_slices(scene, settings, lam, [index], asked.given.channel)
    answer, looked = None, None
    while True:
        try:
            iterate = steps.send(answer)
        except StopIteration as end:
            return LookedSlice(asked, _plane(end.value, settings), index, lam, rule, curve)
        if iterate.x is not None:
            looked = LookedSlice(asked, _plane(iterate.x, settings), index, lam, rule, curve)
        answer = yield dataclasses.replace(iterate, x=looked)


def _plane(volume: np.ndarray, settings: TomographySettings) -> np.ndarray:
    """(z, across) of a volume of one slice."""
    return np.ascontiguousarray(volume[:, 0] if settings.tilt_axis == "y" else volume[:, :, 0])
