"""What tilt steps give, as layers: the aligned stack where the stack is, the volume around its tilt axis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_invrecon.plugin.contrast import contrast_limits
from napari_invrecon.plugin.results import Source, describe_layer, result_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari import Viewer

    from napari_invrecon.recon.alignment import AlignedSeries
    from napari_invrecon.recon.record import Reconstruction

_LENGTH = "nanometer"


@dataclass(frozen=True)
class Plane:
    """Where the images of a stack lie: the pixel (0, 0) and the sides of a pixel, (y, x), and the plane's z.

    ``turn`` (3, 3) acts on (y, x, 1) after that: what the layer's rotate, shear and affine do in the plane.
    """

    scale: tuple[float, float]
    origin: tuple[float, float]
    z: float
    unit: str
    shape: tuple[int, int]
    turn: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))


@dataclass(frozen=True)
class TiltSource:
    """What results take over from a tilt layer, kept so that the layer itself may go meanwhile."""

    source: Source
    plane: Plane
    ndim: int


def describe_stack(layer: Image) -> TiltSource:
    """Name, place, calibration and look of a layer of tilts."""
    unit = layer.units[-1]
    lengths = unit.is_compatible_with(_LENGTH) and layer.units[-2].is_compatible_with(_LENGTH)
    nm = [float((1 * each).to(_LENGTH).magnitude) if lengths else 1.0 for each in layer.units[-2:]]
    scale = tuple(float(s) * f for s, f in zip(layer.scale[-2:], nm, strict=True))
    origin = tuple(float(t) * f for t, f in zip(layer.translate[-2:], nm, strict=True))
    z = float(layer.translate[-3]) * nm[1] if layer.ndim > 3 else 0.0
    to_nm = np.diag([*nm, 1.0])
    turn = to_nm @ image_transform(layer) @ np.linalg.inv(_placed(layer)) @ np.linalg.inv(to_nm)
    plane = Plane(scale, origin, z, "nm" if lengths else str(unit), layer.data.shape[-2:], turn)
    return TiltSource(describe_layer(layer), plane, layer.ndim)


def image_transform(layer: Image) -> NDArray[np.float64]:
    """(3, 3): (y, x, 1) of a pixel to the world's, with all of the layer's transforms."""
    matrix = np.eye(3)
    matrix[:2] = _to_world(layer)[-2:, -3:]
    return matrix


def keeps_its_plane(layer: Image) -> bool:
    """Whether the layer's images stay images: no transform mixes y and x with the axes before them."""
    linear = _to_world(layer)[:, :-1]
    size = np.abs(linear).max()
    return bool(
        np.allclose(linear[-2:, :-2], 0, atol=1e-9 * size) and np.allclose(linear[:-2, -2:], 0, atol=1e-9 * size)
    )


def _to_world(layer: Image) -> NDArray[np.float64]:
    """(ndim, ndim + 1): the matrix of the layer's transforms and what they add."""
    start = np.asarray(layer.data_to_world(np.zeros(layer.ndim)), float)
    columns = [np.asarray(layer.data_to_world(unit), float) - start for unit in np.eye(layer.ndim)]
    return np.stack([*columns, start], axis=1)


def _placed(layer: Image) -> NDArray[np.float64]:
    """The layer's scale and translation alone, as `image_transform`."""
    matrix = np.diag([*np.asarray(layer.scale, float)[-2:], 1.0])
    matrix[:2, 2] = layer.translate[-2:]
    return matrix


def volume_place(
    plane: Plane, shape: Sequence[int], axis: str, axis_shift_px: float, binning: int, first: int
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """(scale, translate) of a volume (z, y, x) such that it lies where its stack's projections show it.

    Along the tilt axis the two coincide from the stack's pixel ``first`` on; across it the volume's centre is the axis,
    which is at the stack's centre plus ``axis_shift_px``; in z it is the plane of the stack. Voxels are as thick as
    they are wide across the axis.
    """
    along, across = (0, 1) if axis == "y" else (1, 0)
    side = [binning * each for each in plane.scale]
    voxel = (side[across], *side)
    translate = [plane.z - (shape[0] - 1) / 2 * voxel[0], 0.0, 0.0]
    translate[1 + along] = plane.origin[along] + (first + (binning - 1) / 2) * plane.scale[along]
    middle = plane.origin[across] + ((plane.shape[across] - 1) / 2 + axis_shift_px) * plane.scale[across]
    translate[1 + across] = middle - (shape[1 + across] - 1) / 2 * side[across]
    return voxel, (translate[0], translate[1], translate[2])


def add_aligned(viewer: Viewer, aligned: AlignedSeries, origin: TiltSource) -> Image:
    """Add an aligned stack as a layer of the source's shape, place and angles, with the record of its shifts."""
    metadata, data = result_metadata(aligned.record, origin.source), aligned.data
    metadata["acquisition"] = {"kind": "tilt series", "angles_from": "the alignment"} | metadata.get("acquisition", {})
    metadata["acquisition"]["angles_deg"] = aligned.angles_deg.tolist()
    data = data.reshape(*data.shape[:-2], *(1,) * (origin.ndim - data.ndim), *data.shape[-2:])
    layer = Image(
        data,
        name=f"{origin.source.name} aligned",
        metadata=metadata,
        contrast_limits=contrast_limits(data),
        **origin.source.display,
    )
    viewer.add_layer(layer)
    return layer


def add_volume(viewer: Viewer, result: Reconstruction, origin: TiltSource) -> Image:
    """Add a volume (z, y, x) or (channel, z, y, x) in nm around the tilt axis, with its record.

    The lower contrast limit lies above what an empty volume holds, so that a projection of it shows the object.
    """
    metadata = result_metadata(result.record, origin.source)
    if "acquisition" in metadata:
        about_tilts = ("angles_deg", "angles_from", "axes")
        metadata["acquisition"] = {k: v for k, v in metadata["acquisition"].items() if k not in about_tilts} | {
            "kind": "volume"
        }
    layer = Image(
        result.data,
        name=f"{origin.source.name} {metadata['invrecon']['settings']['algorithm']}{_lam(result.lam)}",
        metadata=metadata,
        contrast_limits=contrast_limits(result.data),
        colormap=origin.source.display["colormap"],
        blending="translucent_no_depth",
        **volume_display(result.data.shape, result.record["settings"], origin.plane),
    )
    viewer.add_layer(layer)
    return layer


def volume_display(shape: Sequence[int], settings: dict[str, Any], plane: Plane) -> dict[str, Any]:
    """Scale, place, units and labels of a layer that shows a volume of this shape, made with these settings."""
    scale, translate = volume_place(
        plane,
        shape[-3:],
        settings["tilt_axis"],
        settings["axis_shift_px"],
        settings["bin"],
        settings["first_slice"],
    )
    more = len(shape) - 3
    affine = np.eye(len(shape) + 1)
    affine[-3:, -3:] = plane.turn
    return {
        "affine": affine,
        "scale": (*(1.0,) * more, *scale),
        "translate": (*(0.0,) * more, *translate),
        "units": (*("pixel",) * more, *(plane.unit,) * 3),
        "axis_labels": (*("channel",) * more, "z", "y", "x"),
    }


def _lam(lam: float) -> str:
    return f" λ={lam:.3g}" if np.isfinite(lam) and lam > 0 else ""
