"""What a file holds: an array, its calibrated axes, and the metadata that matters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["image", "map", "stack", "tilt series", "volume", "spectrum", "spectrum image", "diffraction"]


@dataclass(frozen=True)
class Axis:
    """One array axis; the coordinate of index i is ``offset + i · scale`` in ``unit``.

    Lengths are in nm, angles in degree, energies in eV, reciprocal lengths in 1/nm, the times of frames in s.
    ``unit="pixel"`` means that the file holds no calibration; ``scale`` then is the ratio that the file may have.
    """

    name: str
    unit: str = "pixel"
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Acquisition:
    """One signal of a file.

    Attributes
    ----------
    data
        NumPy or dask array, real, of an ordinary numeric dtype, axes as in ``axes``.
    axes
        One `Axis` per array axis. Order by kind: image, map, diffraction (y, x); stack (frame, y, x);
        tilt series (tilt, y, x) in the order of the file; volume (z, y, x); spectrum (energy,);
        spectrum image (energy, y, x).
    name
        The signal's title, as the vendor's software shows it.
    kind
        What the axes mean.
    metadata
        JSON-plain. Keys, present where the file tells them: ``file_name``, ``sha256``, ``format``, ``title``,
        ``voltage_kv``, ``convergence_mrad``, ``collection_mrad``, ``camera_length_mm``, ``magnification``,
        ``dwell_time_us``, ``exposure_time_s``, ``dose_e_per_nm2``, ``stage_tilt_deg``, ``angles_deg`` (one per tilt),
        ``angles_from`` (the sidecar), ``tilt_axis_angle_deg``, ``detector``, ``element``, ``line``, ``elements``;
        ``intensity_scale`` and ``intensity_offset``, by which the stored values become counts or currents;
        ``frames_averaged``; ``frames_shape`` where several axes became frames; ``labels`` of an MRC file; ``notes``,
        sentences for the user on what of the file could not be believed; ``reader_warnings``; ``saved_from``, of a
        file that this package wrote: name and fingerprint of the one that its data came from.
    record
        How the data were reconstructed, where they were: what stands in ``layer.metadata["invrecon"]``.
    """

    data: Any
    axes: tuple[Axis, ...]
    name: str
    kind: Kind
    metadata: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if len(self.axes) != self.data.ndim:
            raise ValueError(f"'{self.name}': {self.data.ndim} array axes, but {len(self.axes)} axes described")
