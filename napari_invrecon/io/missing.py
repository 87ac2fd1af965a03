"""Data that are missing (NaN) in a format whose other readers cannot use NaN: a number in their place, and a mask.

Each becomes the nearest datum of its image, as the vacuum and the object go on beyond a field of view. The mask, one
bit a datum, goes into the note (`saved`), so that this package's reader gives NaN again.
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_invrecon.io.pieces import pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def missing_mask(data: Any) -> NDArray[np.uint8] | None:
    """Where a (..., y, x) is NaN, as bits along x; None where it nowhere is. A lazy array is read once."""
    if np.dtype(data.dtype).kind != "f":
        return None
    whole = _whole_images(data)
    packed = [np.packbits(np.isnan(np.asarray(whole[place])), axis=-1) for place in pieces(whole)]
    mask = np.concatenate(packed)
    return mask if mask.any() else None


def share_missing(mask: NDArray[np.uint8], shape: Sequence[int]) -> float:
    """Which share of an array of this shape a mask says is missing."""
    return int(np.bitwise_count(mask).sum()) / int(np.prod(shape))


def filled(data: Any) -> Any:
    """The array with each NaN replaced by the nearest datum of its image (y, x); 0 where the image has none."""
    whole = _whole_images(data)
    return _filled(whole) if isinstance(whole, np.ndarray) else whole.map_blocks(_filled, dtype=whole.dtype)


def mask_text(mask: NDArray[np.uint8]) -> str:
    """A mask as a text, compressed."""
    return base64.b64encode(zlib.compress(mask.tobytes())).decode("ascii")


def with_missing(data: Any, text: str) -> Any:
    """The array with NaN where the text of a mask says so.

    Raises
    ------
    ValueError
        When the text is not that of a mask of this shape.
    """
    packed = (*data.shape[:-1], -(-data.shape[-1] // 8))
    n_bytes = int(np.prod(packed))
    try:
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), n_bytes + 1)
    except (ValueError, TypeError, zlib.error) as error:
        raise ValueError(f"no mask: {error}") from error
    if len(raw) != n_bytes:
        raise ValueError(f"a mask of {len(raw)} bytes, expected {n_bytes}")
    bits = np.frombuffer(raw, np.uint8).reshape(packed)
    mask = np.unpackbits(bits, axis=-1, count=data.shape[-1]).view(bool)
    if isinstance(data, np.ndarray):
        return np.where(mask, data.dtype.type(np.nan), data)
    import dask.array as da  # late: it takes longer than most files

    return da.where(da.from_array(mask, chunks=data.chunks), data.dtype.type(np.nan), data)


def _whole_images(data: Any) -> Any:
    """A lazy array in blocks of whole images."""
    return data if isinstance(data, np.ndarray) else data.rechunk((*("auto" for _ in data.shape[:-2]), -1, -1))


def _filled(data: NDArray[Any]) -> NDArray[Any]:
    from scipy.ndimage import distance_transform_edt  # late, as dask is

    out = np.array(data)
    for image in out.reshape(-1, *out.shape[-2:]):
        missing = np.isnan(image)
        if missing.all():
            image[...] = 0
        elif missing.any():
            nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
            image[...] = image[tuple(nearest)]
    return out
