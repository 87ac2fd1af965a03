"""What a reconstruction returns, and the record that lets it be run again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA = 1


@dataclass(frozen=True)
class Reconstruction:
    """The result of every modality.

    Attributes
    ----------
    data
        The estimate in the units of the data; a NumPy array, or a dask array where it is larger than memory.
    lam
        λ as used, in the units of the scaled data (see ``record["data_scale"]``).
    record
        JSON-plain: method, settings, λ and how it was chosen, sources and their hashes, history, versions, time.
    """

    data: Any
    lam: float
    record: dict[str, Any]


def array_hash(array: Any) -> str:
    """SHA-256 over dtype, shape and the values in C order; a lazy array is read in slabs, so chunks do not matter."""
    digest = hashlib.sha256(f"{np.dtype(array.dtype).str}{tuple(array.shape)}".encode())
    if array.ndim == 0:
        digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
    row_bytes = max(1, int(np.prod(array.shape[1:])) * np.dtype(array.dtype).itemsize)
    rows = max(1, (64 << 20) // row_bytes)
    for start in range(0, array.shape[0], rows):
        slab = np.ascontiguousarray(np.asarray(array[start : start + rows]))
        digest.update(slab.data if slab.size else b"")
    return digest.hexdigest()


def describe_source(role: str, array: Any) -> dict[str, Any]:
    """The entry of one input in ``record["sources"]``."""
    return {
        "role": role,
        "shape": list(array.shape),
        "dtype": np.dtype(array.dtype).str,
        "sha256": array_hash(array),
    }


def versions() -> dict[str, str]:
    """Versions of this package and of those whose arithmetic the result depends on."""
    found = {}
    for name in ("napari-invrecon", "numpy", "scipy", "scikit-image", "numba", "dask"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@dataclass(frozen=True)
class Stopwatch:
    """When a reconstruction started."""

    started: str = dataclasses.field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    clock: float = dataclasses.field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since then."""
        return round(time.perf_counter() - self.clock, 4)


def make_record(
    method: str, settings: Any, sources: list[dict[str, Any]], watch: Stopwatch, **facts: Any
) -> dict[str, Any]:
    """The record of one reconstruction, JSON-plain; ``facts`` are the method's own entries."""
    record = {
        "schema": SCHEMA,
        "method": method,
        "settings": dataclasses.asdict(settings),
        "sources": sources,
        **facts,
        "versions": versions(),
        "started": watch.started,
        "seconds": watch.seconds,
    }
    return dict(json.loads(json.dumps(record, default=_plain)))


def _plain(value: Any) -> Any:
    """NumPy values as JSON knows them."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot stand in a record")


def significant(values: NDArray[Any], digits: int = 6) -> list[float]:
    """A curve as a list with as many digits as it is worth storing."""
    return [float(f"{v:.{digits}g}") for v in np.asarray(values, float)]
