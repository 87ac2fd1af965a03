"""Ten thousand damaged files through the readers: layers or a clear error, never a crash, a hang or a full memory.

    nice python tests/benchmarks/reader_fuzz.py --cases 10000 --workers 2 --data ../shared/data

Each mutation is made from its number alone; ``--only 4711`` repeats one. Reads on Linux, where memory can be limited.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TESTS = Path(__file__).resolve().parents[1]
WORKER = TESTS / "hostile_files.py"
WALL_S = 120.0  # for a worker that waits rather than works; its processor time is limited to 5 s


def sources(data: Path, folder: Path) -> list[Path]:
    """All files of the folder of real acquisitions, and one of each format that this package writes."""
    from napari_invrecon.io import Acquisition, Axis, write

    stack = np.random.default_rng(0).normal(size=(3, 16, 17)).astype(np.float32)
    axes = (Axis("tilt", "degree", 2.0, -2.0), Axis("y", "nm", 0.5), Axis("x", "nm", 0.5))
    saved = Acquisition(stack, axes, "saved", "tilt series", {"angles_deg": [-2.0, 0.0, 2.0]}, {"method": "fbp"})
    ours = [folder / f"saved{extension}" for extension in (".mrc", ".tif", ".zarr", ".hspy")]
    for path in ours:
        write(path, saved)
    real = [path for path in sorted(data.rglob("*")) if path.is_file() and path.suffix not in (".md", ".py")]
    return [*real, *ours]


class Worker:
    """A process that reads damaged files until it dies of one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        limits = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "DASK_NUM_WORKERS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **limits, "QT_QPA_PLATFORM": "offscreen"},
        )
        self._answer()

    def _answer(self) -> str:
        out = self._process.stdout
        assert out is not None
        return out.readline() if select.select([out], [], [], WALL_S)[0] else ""

    def read(self, seed: int, source: Path) -> tuple[str, str, str]:
        """(outcome, detail, mutation) of one mutation; a new process takes the place of one that died."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seed} {source}\n")
        self._process.stdin.flush()
        answer = self._answer()
        if answer:
            result, detail, done = json.loads(answer)
            return result, detail, done
        self._process.kill()
        with self._process:  # closes its pipes
            code = self._process.wait()
        self._start()
        if code in (-signal.SIGPROF, -signal.SIGKILL):
            return "hang", "no answer", ""
        return "crash", f"exit {code}", ""

    def close(self) -> None:
        with self._process:  # the end of its input is the end of it
            pass


def run(
    files: Sequence[Path], seeds: Sequence[int], workers: int, folder: Path
) -> Iterator[tuple[int, Path, str, str, str]]:
    """(seed, source, outcome, detail, mutation) of each seed, as they are done."""
    results: list[Any] = []
    waiting, lock = iter(seeds), threading.Lock()

    def serve(number: int) -> None:
        worker = Worker(folder / f"worker{number}")
        while True:
            with lock:
                seed = next(waiting, None)
            if seed is None:
                worker.close()
                return
            source = files[seed % len(files)]
            results.append((seed, source, *worker.read(seed, source)))

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    yielded = 0
    while yielded < len(results) or any(thread.is_alive() for thread in threads):
        time.sleep(0.01)
        while yielded < len(results):
            yield results[yielded]
            yielded += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", type=Path, default=TESTS.parents[1] / "shared" / "data")
    parser.add_argument("--log", type=Path, help="a line a case")
    arguments = parser.parse_args()
    seeds = arguments.only or range(arguments.first, arguments.first + arguments.cases)
    table: dict[str, Counter[str]] = {}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        files = sources(arguments.data, Path(scratch))
        log = arguments.log.open("a", encoding="utf-8") if arguments.log else None
        for seed, source, result, detail, done in run(files, seeds, arguments.workers, Path(scratch)):
            table.setdefault(source.suffix.lower(), Counter())[result] += 1
            line = f"{seed}\t{source.name}\t{result}\t{done}\t{detail[:300]!r}"
            if log:
                print(line, file=log, flush=True)
            if arguments.only or result not in ("layers", "error", "skipped"):
                print(line, flush=True)
    columns = ("layers", "error", "fault", "crash", "hang", "memory", "skipped")
    print(f"\n{'format':8}{'mutations':>11}" + "".join(f"{column:>9}" for column in columns))
    total: Counter[str] = Counter()
    for suffix, counted in [*sorted(table.items()), ("all", total)]:
        total += counted if suffix != "all" else Counter()
        print(f"{suffix:8}{counted.total():>11}" + "".join(f"{counted[column]:>9}" for column in columns))
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
