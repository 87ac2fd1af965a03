"""Damaged and hostile acquisition files, made from whole ones by a seed, and what reading one of them gives.

Run as a program it is a worker: it takes lines "seed source" from its input, and answers each with a line of JSON. It
limits its own memory to 1 GiB more than it has when it starts, and its processor time to 5 s a file, after which the
system ends it: whoever started it sees a hang as SIGPROF, and a crash as any other death.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SECONDS = 5.0
MEMORY_BYTES = 2**30
HEAD_BYTES = 4096

_HDF5 = (".emd", ".hspy", ".h5")
_ZIP = (".npz", ".zspy", ".prz")
_TEXT = (".mdoc", ".rawtlt")
_NUMBERS = (0, 1, -1, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**40, 2**62, -(2**63), 0x7F7F7F7F)
_WORDS = ("nan", "inf", "-1", "1e308", "99999999999999999999", "", "\0", "[" * 500, "λ" * 100, "../../etc/passwd")


class Canary:
    """Writes a file when it is unpickled, as code in a file could do anything."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self._path,)


def damaged(source: Path, folder: Path, seed: int) -> tuple[Path, str]:
    """(a damaged copy of a file or folder, what was done to it); the same for the same seed."""
    rng = np.random.default_rng(seed)
    target = folder / source.name
    if source.is_dir():
        shutil.copytree(source, target)
        members = sorted(path for path in target.rglob("*") if path.is_file())
        victim = members[rng.integers(len(members))]
        return target, f"{victim.name}: {_damage_bytes(victim, rng)}"
    target.write_bytes(source.read_bytes())
    for sidecar in (".rawtlt", ".mdoc"):  # as they stand beside each other, so that each finds the other
        if source.suffix not in _TEXT and (beside := source.with_suffix(sidecar)).is_file():
            (folder / beside.name).write_bytes(beside.read_bytes())
    if source.suffix in _TEXT and (stack := source.with_suffix(".mrc")).is_file():
        (folder / stack.name).write_bytes(stack.read_bytes())
    suffix, special = source.suffix.lower(), rng.random() < 0.5
    if special and suffix in _HDF5:
        return target, _damage_hdf5(target, rng)
    if special and suffix in _ZIP:
        return target, _damage_zip(target, rng, folder / "canary")
    if suffix in _TEXT:
        return target, _damage_text(target, rng)
    return target, _damage_bytes(target, rng)


def _damage_bytes(path: Path, rng: np.random.Generator) -> str:
    content = bytearray(path.read_bytes())
    if not content:
        return "nothing"
    kind = ("cut", "bits of the head", "bits", "numbers of the head", "numbers", "garbage", "moved", "longer")[
        rng.integers(8)
    ]
    head = min(len(content), HEAD_BYTES)
    if kind == "cut":
        keep = int(rng.integers(len(content)) if rng.random() < 0.5 else rng.integers(head))
        content = content[:keep]
    elif kind in ("bits of the head", "bits"):
        limit = head if kind == "bits of the head" else len(content)
        for place in rng.integers(limit, size=int(2 ** rng.integers(7))):
            content[place] ^= 1 << int(rng.integers(8))
    elif kind in ("numbers of the head", "numbers"):
        limit = head if kind == "numbers of the head" else len(content)
        for _ in range(int(rng.integers(1, 5))):
            size = int(rng.choice((2, 4, 8)))
            number = int(_NUMBERS[rng.integers(len(_NUMBERS))]) % 2 ** (8 * size)
            place = int(rng.integers(max(1, limit - size))) // 2 * 2
            content[place : place + size] = number.to_bytes(size, ("little", "big")[rng.integers(2)])
    elif kind == "garbage":
        start = int(rng.integers(len(content)))
        length = int(rng.integers(1, 2**12))
        content[start : start + length] = rng.bytes(length) if rng.random() < 0.5 else bytes(length)
    elif kind == "moved":
        start, stop = sorted(int(i) for i in rng.integers(len(content), size=2))
        del content[start : min(stop, start + 64)]
    else:
        content += rng.bytes(int(rng.integers(1, 2**12)))
    path.write_bytes(content)
    return kind


def _damage_text(path: Path, rng: np.random.Generator) -> str:
    words = re.split(r"(\s+)", path.read_text(encoding="utf-8", errors="replace"))
    for _ in range(int(rng.integers(1, 4))):
        words[rng.integers(len(words))] = _WORDS[rng.integers(len(_WORDS))]
    path.write_text("".join(words), encoding="utf-8")
    return "words"


def _damage_zip(path: Path, rng: np.random.Generator, canary: Path) -> str:
    """Members that are pickles, that unpack to much more than there is memory, or that are damaged inside."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(members)[rng.integers(len(members))]
    kind = ("pickle", "bomb", "shape", "member", "codec", "gone")[rng.integers(6)]
    if kind == "pickle":
        made = io.BytesIO()
        np.lib.format.write_array(made, np.array([Canary(canary)], object), allow_pickle=True)
        members[name] = made.getvalue() if path.suffix != ".zspy" else pickle.dumps(Canary(canary))
    elif kind == "bomb":
        made = io.BytesIO()
        np.lib.format.write_array_header_1_0(made, {"descr": "<f8", "fortran_order": False, "shape": (2**14, 2**14)})
        members[name] = made.getvalue() + bytes(2**24)
    elif kind == "shape":
        shape = f"({2 ** int(rng.integers(20, 50))}, {2 ** int(rng.integers(1, 20))})".encode()
        members[name] = re.sub(rb"\([\d, ]*\)", shape, members[name], count=1)
        members = {each: _huge_zarray(value) if each.endswith(".zarray") else value for each, value in members.items()}
    elif kind == "codec":
        for each, value in members.items():
            if each.endswith(".zarray"):
                changed = json.loads(value) | {"dtype": "|O", "filters": [{"id": "pickle"}], "compressor": None}
                members[each] = json.dumps(changed).encode()
                members[f"{each.removesuffix('.zarray')}0.0"] = pickle.dumps(Canary(canary))
                members[f"{each.removesuffix('.zarray')}0"] = pickle.dumps(Canary(canary))
    elif kind == "member":
        content = bytearray(members[name])
        for place in rng.integers(max(1, len(content)), size=8) if content else ():
            content[place] = int(rng.integers(256))
        members[name] = bytes(content)
    else:
        del members[name]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if kind == "bomb" else zipfile.ZIP_STORED) as archive:
        for each, value in members.items():
            archive.writestr(each, value)
    return f"{name}: {kind}"


def _huge_zarray(content: bytes) -> bytes:
    described = json.loads(content)
    described["shape"] = [2**20 for _ in described["shape"]]
    described["chunks"] = [2**20 for _ in described["shape"]]
    return json.dumps(described).encode()


def _damage_hdf5(path: Path, rng: np.random.Generator) -> str:
    """Links that lead to themselves or away, declared sizes beyond any memory, other types, other attributes."""
    kind = ("soft link", "hard link", "external", "huge", "type", "attribute", "gone", "text")[rng.integers(8)]
    with h5py.File(path, "r+") as file:
        items: list[str] = []
        file.visit(items.append)
        datasets = [name for name in items if isinstance(file[name], h5py.Dataset)]
        groups = [name for name in items if isinstance(file[name], h5py.Group)]
        name = datasets[rng.integers(len(datasets))]
        group = groups[rng.integers(len(groups))]
        shape = file[name].shape
        if kind == "soft link":
            del file[name]
            file[name] = h5py.SoftLink(f"/{name}" if rng.random() < 0.5 else f"/{group}")
        elif kind == "hard link":
            file[f"{group}/again"] = file[("/", group)[rng.integers(2)]]
        elif kind == "external":
            del file[name]
            file[name] = h5py.ExternalLink(("/etc/passwd", path.name, "none.h5")[rng.integers(3)], f"/{name}")
        elif kind == "huge":
            huge = tuple(int(2 ** rng.integers(10, 40)) for _ in shape) or (2**40,)
            if int(np.prod([float(n) for n in huge])) > 2**62:
                huge = (2**50,) + (1,) * (len(huge) - 1)
            attributes = dict(file[name].attrs)
            del file[name]
            file.create_dataset(name, huge, np.uint16, chunks=tuple(min(n, 64) for n in huge)).attrs.update(attributes)
        elif kind == "type":
            dtype = (h5py.string_dtype(), h5py.vlen_dtype(np.int32), h5py.ref_dtype, "S8", "c16", "?", "f2", ">u8")[
                rng.integers(8)
            ]
            attributes = dict(file[name].attrs)
            del file[name]
            file.create_dataset(name, shape, dtype).attrs.update(attributes)
        elif kind == "attribute":
            owner = file[items[rng.integers(len(items))]]
            for key in list(owner.attrs) or ["units"]:
                owner.attrs[key] = _WORDS[rng.integers(len(_WORDS))].replace("\0", "0")
        elif kind == "gone":
            del file[items[rng.integers(len(items))]]
        else:
            texts = [each for each in datasets if file[each].dtype == np.uint8 and file[each].ndim == 2]
            if texts:
                text = file[texts[rng.integers(len(texts))]]
                values = text[()]
                for place in rng.integers(values.shape[0], size=6):
                    values[place] = int(rng.integers(256))
                text[...] = values
    return f"{name}: {kind}"


def outcome(path: Path) -> tuple[str, str]:
    """("layers", how many) | ("error", message) | ("memory" or "fault", what), of reading a file as a drop does."""
    from napari_invrecon.io import MissingReaderError, read
    from napari_invrecon.plugin.layers import layer_data

    try:
        layers = [layer_data(acquisition) for acquisition in read(path)]
        faults = [fault for layer in layers if (fault := _fault(layer))]
    except (ValueError, FileNotFoundError, MissingReaderError) as error:
        message = str(error)
        if "needs more memory than there is" in message:
            return "memory", message
        clear = path.stem in message or message.startswith("'")
        return ("error", message) if clear else ("fault", f"unclear: {type(error).__name__}: {message}")
    except MemoryError as error:
        return "memory", str(error)
    except Exception as error:
        return "fault", f"{type(error).__name__}: {error}"
    return ("fault", faults[0]) if faults else ("layers", str(len(layers)))


def _fault(layer: Any) -> str:
    """What is wrong with a layer that was read without an error; empty where nothing is."""
    data, keywords, _ = layer
    if data.size == 0 or data.dtype.kind not in "iuf" or not data.dtype.isnative:
        return f"a layer of {data.dtype} and shape {data.shape}"
    numbers = [*keywords["scale"], *keywords["translate"], *keywords["contrast_limits"]]
    if not np.isfinite(numbers).all() or 0 in keywords["scale"]:
        return f"a layer with scale {keywords['scale']} and place {keywords['translate']}"
    if isinstance(data, np.ndarray) and np.asarray(data).shape != data.shape:
        return "a layer of another shape than it says"
    json.dumps(keywords["metadata"], allow_nan=False)
    return ""


def work(folder: Path) -> None:
    """Answer the lines of the standard input until it ends."""
    import resource
    import signal

    import napari.layers  # noqa: F401

    import napari_invrecon.io  # noqa: F401
    from napari_invrecon.plugin import layers  # noqa: F401

    warnings.simplefilter("ignore")
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY_BYTES, in_use + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries print
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        seed, source = line.rstrip("\n").split(" ", 1)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            path, done = damaged(Path(source), folder, int(seed))
        except Exception as error:  # h5py refuses some of it
            print(json.dumps(["skipped", str(error), ""]), file=answers, flush=True)
            continue
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        result, detail = outcome(path)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if (folder / "canary").exists():
            result, detail = "fault", "code in the file was run"
        print(json.dumps([result, detail, done]), file=answers, flush=True)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
