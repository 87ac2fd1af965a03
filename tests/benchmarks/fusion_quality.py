"""How near the truth: fusion with everything from the data, against smoothing alone and the published method's code.

    python tests/benchmarks/fusion_quality.py [--kinds core-shell …] [--laws linear power] [--counts 3 10 30]
        [--seeds 0 1 2] [--cases plain …] [--methods raw Gaussian TV published ours oracle] [--size 256]
        [--save rows.jsonl]
    python tests/benchmarks/fusion_quality.py --table rows.jsonl
    python tests/benchmarks/fusion_quality.py --coverage [--kinds …] [--laws …] [--counts …] [--seeds …]

Prints a row for each specimen and method as it comes, and then the mean and spread over the seeds in markdown. With
--save rows are added to a file, and those that it has already are passed over, so that a table can be made in parts.
Gaussian and TV have, for each element by itself, the width or λ of least error, which nobody knows who has no truth;
"oracle" is ours with the coupling and λ of least error. "published" is multimodal-fusion (PyPI, MIT) at the best of
four settings of its authors' examples. PSNR in dB after an affine fit, mean over the elements; RMSE in counts, without
any fit ("published" has no counts). --coverage: the share of pixels whose truth is within one and two errors, where the
element is (above 2 % of its greatest amount), and of these where it is flat and where it is not.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).parents[1]))
from fusion_phantoms import KINDS, psnr, rmse, specimen

import napari_invrecon as ir
from napari_invrecon.recon.fusion_scale import rescaled
from napari_invrecon.recon.fusion_scene import EDGE_PX, Scene, prepare
from napari_invrecon.recon.fusion_settings import FusionSettings
from napari_invrecon.recon.solvers import finish

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "not square": {"shape": (0.75, 1.25)},
    "background 3": {"background": 3.0},
    "shifted 1.5 px": {"shift": (1.5, -1.5)},
    "one unseen": {"weights": (0.0, 0.8, 1.0)},
    "saturated": {"saturation": 2.0},
}
NAMED = ("case", "kind", "law", "counts", "seed", "method", "size")
METHODS = ("raw", "Gaussian", "TV", "published", "ours", "oracle")
PUBLISHED = ({"lambdaEDS": 0.005, "lambdaTV": 0.1}, {"lambdaEDS": 0.05, "lambdaTV": 0.05, "nIter": 30})
DRAWS = 20
LEAST, FLAT = 0.02, 0.01  # of the greatest amount: what is there; the change from pixel to pixel where it is flat
PUBLISHED_GAMMAS = (1.6, 1.0)


def climb(score: Callable[[float], float], start: float) -> float:
    """The setting of the highest score, by factors of 2 and then √2."""
    seen: dict[float, float] = {}

    def at(setting: float) -> float:
        if setting not in seen:
            seen[setting] = score(setting)
        return seen[setting]

    best = start
    for ratio in (2.0, 2**0.5):
        for factor in (ratio, 1 / ratio):
            while at(best * factor) > at(best) + 1e-3:
                best *= factor
    return best


def solved(scene: Scene, coupling: Any, lam: float, problem: Any = None) -> np.ndarray:
    return rescaled(scene.problem, finish(scene.solve(coupling, lam, None, 200, 2e-3, problem))).x


def gaussian(truth: np.ndarray, above: np.ndarray) -> np.ndarray:
    def smooth(i: int, sigma: float) -> np.ndarray:
        return gaussian_filter(above[i].astype(float), sigma, mode="nearest")

    widths = [
        climb(lambda s, i=i: psnr(smooth(i, s)[None], truth[i][None]), 2.0)  # type: ignore[misc]
        for i in range(len(truth))
    ]
    return np.stack([smooth(i, s) for i, s in enumerate(widths)])


def single_tv(truth: np.ndarray, counts: np.ndarray, haadf: np.ndarray, background: float) -> np.ndarray:
    found = []
    for t, b in zip(truth, counts, strict=True):
        scene = prepare(haadf, b[None], FusionSettings(background=str(background))).scene
        lam = climb(lambda lam: psnr(solved(scene, "none", lam), t[None]), 2.0)  # noqa: B023
        found.append(solved(scene, "none", lam)[0])
    return np.stack(found)


def published(truth: np.ndarray, counts: np.ndarray, haadf: np.ndarray) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from multimodal_fusion.fusion import DataFusion

        names = ["ti", "fe", "cu"][: len(counts)]
        results = []
        for gamma, settings in product(PUBLISHED_GAMMAS, PUBLISHED):
            fusion = DataFusion(names, gamma=gamma)
            fusion.load_chemical_maps({n: b.astype(np.float32) for n, b in zip(names, counts, strict=True)})
            fusion.load_haadf(haadf.astype(np.float32))
            fusion.run(**settings, plot_images=False, plot_convergence=False)
            maps = fusion.get_results()
            results.append(np.stack([maps[n] for n in names]))
    return max(results, key=lambda x: psnr(x, truth))


def oracle(truth: np.ndarray, scene: Scene) -> tuple[np.ndarray, str]:
    tried = []
    for coupling, edge_px in product(("none", "edges", "intensity", "both", "power"), EDGE_PX):
        if coupling in ("none", "intensity") and edge_px != EDGE_PX[0]:
            continue
        with_edges = dataclasses.replace(scene, edge_px=edge_px)
        problem = with_edges.coupled(coupling)
        lam = climb(lambda lam: psnr(solved(with_edges, coupling, lam, problem), truth), 4.0)  # noqa: B023
        x = solved(with_edges, coupling, lam, problem)
        tried.append((psnr(x, truth), x, f"{coupling}, edges {edge_px:g} px, λ {lam:.3g}"))
    _, x, how = max(tried, key=lambda each: each[0])
    return x, how


def estimate(method: str, truth: np.ndarray, counts: np.ndarray, haadf: np.ndarray, case: str) -> tuple[Any, str]:
    background = CASES[case].get("background", 0.0)
    settings = FusionSettings(background=str(background), register="shift" in CASES[case])
    if method == "raw":
        return counts - background, ""
    if method == "Gaussian":
        return gaussian(truth, counts - background), ""
    if method == "TV":
        return single_tv(truth, counts, haadf, background), ""
    if method == "published":
        return published(truth, counts, haadf), ""
    if method == "oracle":
        return oracle(truth, prepare(haadf, counts, settings).scene)
    record = (result := ir.fuse(haadf, counts, **dataclasses.asdict(settings))).record
    how = f"{record['coupling']}, edges {record['edge_px']:g} px, λ {record['lam']:.3g}, gain {record['gain']:.2g}"
    return result.data, how


def covered(truth: np.ndarray, counts: np.ndarray, haadf: np.ndarray) -> tuple[str, np.ndarray]:
    """Shares of pixels within one and two errors, in words; of the standard and of the expected error, (2, 3, 2)."""
    result = ir.fuse(haadf, counts, n_draws=DRAWS)
    off = np.abs(result.data - truth)
    size = truth.max((1, 2), keepdims=True)
    there = truth > LEAST * size
    slope = np.hypot(*np.gradient(gaussian_filter(truth, (0, 1, 1)), axis=(1, 2)))
    places = there, there & (slope < FLAT * size), there & (slope >= FLAT * size)
    errors = result.standard_error, result.expected_error
    shares = np.array([[[np.mean((off <= k * e)[at]) for k in (1, 2)] for at in places] for e in errors])
    return f"{_percent(shares)} ({result.record['coupling']}, λ {result.lam:.3g})", shares


def _percent(shares: np.ndarray) -> str:
    """All, flat, steep: 47/78, 53/82, 46/77 % …"""
    said = [", ".join(f"{100 * one:.0f}/{100 * two:.0f}" for one, two in each) for each in shares]
    return f"standard error {said[0]} %, expected error {said[1]} % of all, of flat, of steep pixels"


def table(rows: list[dict[str, Any]]) -> None:
    found: dict[tuple[str, ...], dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        key = row["case"], row["kind"], row["law"], f"{row['counts']:g}"
        found[key][row["method"]].append((row["psnr"], row["rmse"]))
    methods = [each for each in METHODS if any(each in row for row in found.values())]
    print(f"\n| specimen | HAADF | counts | {' | '.join(methods)} |\n|{'---|' * (len(methods) + 3)}")
    for (case, kind, law, counts), row in found.items():
        cells = []
        for method in methods:
            db, off = np.array(row[method] or [(np.nan, np.nan)], float).T
            spread = f" ± {db.std(ddof=1):.1f}" if len(db) > 1 else ""
            absolute = "" if np.isnan(off).all() else f" ({off.mean():.2f})"
            failed = "error" if row[method] else ""
            cells.append(failed if np.isnan(db).all() else f"{db.mean():.1f}{spread}{absolute}")
        print(f"| {kind}{'' if case == 'plain' else ', ' + case} | {law} | {counts} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--laws", nargs="+", default=("linear", "power"), choices=("linear", "power"))
    parser.add_argument("--counts", nargs="+", type=float, default=(3, 10, 30))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--cases", nargs="+", default=("plain",), choices=CASES)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--coverage", action="store_true")
    asked = parser.parse_args()
    if asked.table:
        table([json.loads(line) for line in asked.table.read_text().splitlines()])
        return
    shares: list[np.ndarray] = []
    rows = []
    if asked.save and asked.save.exists():
        rows = [json.loads(line) for line in asked.save.read_text().splitlines()]
    done = {tuple(row[name] for name in NAMED) for row in rows}
    for case, kind, law, counts, seed in product(asked.cases, asked.kinds, asked.laws, asked.counts, asked.seeds):
        shape = tuple(round(asked.size * share) for share in CASES[case].get("shape", (1, 1)))
        made = {key: value for key, value in CASES[case].items() if key != "shape"}
        truth, maps, haadf = specimen(kind, counts, shape, law, seed=seed, **made)
        if asked.coverage:
            said, share = covered(truth, maps, haadf)
            shares.append(share)
            print(f"{case} {kind} {law} {counts:g} seed {seed}: {said}", flush=True)
            continue
        for method in asked.methods:
            named = case, kind, law, counts, seed, method, asked.size
            if named in done:
                continue
            started = time.process_time()
            try:
                x, how = estimate(method, truth, maps, haadf, case)
                found = psnr(x, truth), None if method == "published" else rmse(x, truth)
            except Exception as error:  # the published code's errors are a result
                found, how = (None, None), f"{type(error).__name__}: {error}"
            seconds = time.process_time() - started
            rows.append(dict(zip(NAMED, named, strict=True)) | {"psnr": found[0], "rmse": found[1], "how": how})
            said = "error" if found[0] is None else f"{found[0]:.2f} dB, RMSE {found[1] or np.nan:.3f}"
            print(
                f"{case} {kind} {law} {counts:g} seed {seed} {method}: {said}, {seconds:.1f} core-s {how}", flush=True
            )
            if asked.save:
                with asked.save.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    if rows:
        table(rows)
    if shares:
        print(f"mean of {len(shares)}: {_percent(np.mean(shares, axis=0))}")


if __name__ == "__main__":
    main()
