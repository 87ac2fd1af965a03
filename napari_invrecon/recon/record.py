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
    from collections.abc import Sequence

    from numpy.typing import NDArray

SCHEMA = 2  # napari_invrecon.records reads older ones


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


def describe_array(array: Any) -> dict[str, Any]:
    """Shape, dtype and hash, by which a record knows an array again."""
    return {"shape": list(array.shape), "dtype": np.dtype(array.dtype).str, "sha256": array_hash(array)}


def describe_source(role: str, array: Any) -> dict[str, Any]:
    """The entry of one input in ``record["sources"]``."""
    return {"role": role, **describe_array(array)}


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
    method: str,
    settings: Any,
    sources: list[dict[str, Any]],
    watch: Stopwatch,
    result: Any,
    *,
    lam: float,
    lam_rule: str,
    n_iter: int,
    stopped: str,
    curve: dict[str, Any] | None = None,
    data_scale: float | Sequence[float] = 1.0,
    residual: Sequence[float | None] = (),
    objective: Sequence[float | None] = (),
    **facts: Any,
) -> dict[str, Any]:
    """The record of one reconstruction, JSON-plain, as docs/record.md describes it.

    Parameters
    ----------
    method
        Name of the function of the notebook API.
    settings
        As they came: ``settings.lam`` is the λ that was asked for.
    sources
        Of `describe_source`, in the order in which the function takes them.
    watch
        Started when the function was.
    result
        The array; its hash is taken.
    lam, lam_rule
        λ as used, 0 where the method has none, and what chose it.
    n_iter, stopped
        Iterations done, and why no more.
    curve, data_scale, residual, objective
        λ's curve; what the data were divided by; the histories.
    **facts
        The method's own entries.
    """
    record = {
        "schema": SCHEMA,
        "method": method,
        "settings": dataclasses.asdict(settings),
        "sources": sources,
        "lam": lam,
        "lam_rule": lam_rule,
        "curve": curve,
        "data_scale": data_scale,
        **facts,
        "n_iter": n_iter,
        "stopped": stopped,
        "residual": residual,
        "objective": objective,
        "result": describe_array(result),
        "versions": versions(),
        "started": watch.started,
        "seconds": watch.seconds,
    }
    return dict(json.loads(json.dumps(record, default=_plain, allow_nan=False)))


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
