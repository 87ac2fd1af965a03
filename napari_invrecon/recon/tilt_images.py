"""The images of a tilt series as alignment needs them: above vacuum, binned, turned and moved in one interpolation.

Inside, an image is (u, v): u across the tilt axis, v along it, pixels from the centre (n − 1)/2. An alignment takes the
point p to p′ = R(−ψ)p + d, with (sin ψ, cos ψ) the direction of the tilt axis before.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_invrecon.recon.operators import Array, fft_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray


def over_tilts(work: Callable[[int], Any], count: int) -> list[Any]:
    """``work(i)`` for every tilt, on all cores that the process may use."""
    with ThreadPoolExecutor(fft_workers(), thread_name_prefix="invrecon-tilts") as pool:
        return list(pool.map(work, range(count)))


def taper(n: int, share: float) -> NDArray[np.float64]:
    """Tukey's window (n,): 1, but for cosines down to 0 over ``share`` of it."""
    from scipy.signal.windows import tukey  # late: of all that is imported this takes the longest

    window: NDArray[np.float64] = tukey(n, share)
    return window


def each_image(stack: Any) -> Iterator[NDArray[Any]]:
    """The images of a stack (tilt, y, x), one by one; of a lazy stack each block is read once."""
    together = stack.chunks[0] if hasattr(stack, "chunks") else (1,) * len(stack)
    for start, count in zip(np.cumsum([0, *together]), together, strict=False):
        yield from np.asarray(stack[start : start + count])


def vacuum_level(images: Iterable[NDArray[Any]]) -> float:
    """The commonest value among the darker half of the pixels: what the detector shows where there is nothing.

    The shortest interval that holds half of the values is halved again and again (half-sample mode); the mean of what
    lies within two standard deviations of it, measured on its dark side, is the level.

    Source: Robertson & Cryer 1974, doi:10.1080/01621459.1974.10480225.
    """
    parts = [np.asarray(image, np.float64).ravel() for image in images]
    stride = max(1, sum(part.size for part in parts) // _SAMPLES)
    values = np.sort(np.concatenate([part[::stride] for part in parts]))
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0
    half = values[: max(1, values.size // 2)]
    while half.size > 3:
        width = (half.size + 1) // 2
        start = int(np.argmin(half[width - 1 :] - half[: half.size - width + 1]))
        half = half[start : start + width]
    level = float(half.mean())
    for _ in range(5):
        below = level - values[values < level]
        spread = 1.4826 * float(np.median(below)) if below.size else 0.0
        near = values[np.abs(values - level) <= 2 * spread]
        if near.size == 0:
            break
        level = float(near.mean())
    return level


_SAMPLES = 1 << 18


def turned(rotation_deg: float) -> NDArray[np.float64]:
    """R(−ψ) in (u, v): it turns (sin ψ, cos ψ) into (0, 1)."""
    cos, sin = np.cos(np.deg2rad(rotation_deg)), np.sin(np.deg2rad(rotation_deg))
    return np.array([[cos, -sin], [sin, cos]])


def moved(
    images: NDArray[Any], turn: NDArray[np.float64], shifts: NDArray[np.float64], fill: float = 0.0, out: Any = None
) -> Array:
    """p′ = Tp + d for every image, by one cubic-spline interpolation; ``fill`` where p lies outside.

    ``turn`` T is (2, 2) and ``shifts`` d (tilt, 2), in the order of the image's axes.
    """
    centre = (np.array(images.shape[1:]) - 1) / 2
    back = np.linalg.inv(turn)
    aligned: Array = np.empty(images.shape, np.float32) if out is None else out

    def move(i: int) -> None:
        offset = centre - back @ (centre + shifts[i])
        ndimage.affine_transform(images[i], back, offset, output=aligned[i], order=3, mode="constant", cval=fill)

    over_tilts(move, len(images))
    return aligned


def in_view(
    shape: tuple[int, ...], turn: NDArray[np.float64], shifts: NDArray[np.float64], margin: float = 1.0
) -> Array:
    """1 where `moved` has the image's own pixels, ``margin`` from its edge at least, 0 where it had to fill in."""
    n, n_u, n_v = shape
    margin -= 1e-6
    u, v = np.arange(n_u)[:, None] - (n_u - 1) / 2, np.arange(n_v)[None] - (n_v - 1) / 2
    back = np.linalg.inv(turn)
    view: Array = np.empty(shape, np.float32)
    for i in range(n):
        u_there, v_there = u - shifts[i, 0], v - shifts[i, 1]
        inside = np.abs(back[0, 0] * u_there + back[0, 1] * v_there) <= (n_u - 1) / 2 - margin
        view[i] = inside & (np.abs(back[1, 0] * u_there + back[1, 1] * v_there) <= (n_v - 1) / 2 - margin)
    return view


def binned(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Means of size × size pixels over the last two axes, whose lengths are multiples of it."""
    if size == 1:
        return image
    *lead, n_u, n_v = image.shape
    means: NDArray[Any] = image.reshape(*lead, n_u // size, size, n_v // size, size).mean((-3, -1), dtype=np.float32)
    return means
