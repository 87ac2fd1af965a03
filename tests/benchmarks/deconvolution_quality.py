"""How near the truth: λ by each rule against the best λ there is, and the best setting of scikit-image's methods.

    python tests/benchmarks/deconvolution_quality.py [--seeds 1 2 3] [--size 512] [--jobs 2] [--keep cases.jsonl]
        [--kinds lattice …] [--sigmas 1.5 3] [--counts 50 1000] [--methods TV …] [--rules balanced …] [--best TV …]

Prints a line as soon as an image is measured, then markdown. An image of 256² with all methods and rules costs about
150 core-seconds; with ``--rules balanced --best TV`` about 40. Every
number is an RMSE over the whole image, in percent of the object's peak, unless it says otherwise. "best" is the setting
with the least error, which nobody knows who has no truth: scikit-image gets it, so that no choice of ours makes it look
worse than it can be. "mirrored": the image was continued by reflection before, and cropped after, as scikit-image's
methods take what lies beyond the edge for zero or for the opposite edge.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from phantoms import KINDS, image, rmse
from skimage.restoration import richardson_lucy, wiener

import napari_invrecon as ir
from napari_invrecon.recon import blocks
from napari_invrecon.recon.deblurring import deblur
from napari_invrecon.recon.deconvolution_scene import prepare
from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
from napari_invrecon.recon.solvers import finish

SIGMAS = (1.5, 3.0, 5.0)
COUNTS = (50, 200, 1000)
RULES = ("balanced", "sure", "gcv", "discrepancy", "l-curve", "holdout")
PROBLEMS = {
    "l2": {"regulariser": "l2"},
    "Tikhonov": {"regulariser": "tikhonov"},
    "TV": {"regulariser": "tv"},
    "TV, counts": {"regulariser": "tv", "noise": "poisson"},
    "roughness": {"regulariser": "roughness"},
    "roughness, counts": {"regulariser": "roughness", "noise": "poisson"},
    "l1": {"regulariser": "l1"},
    "wavelet": {"regulariser": "wavelet"},
    "denoiser": {"regulariser": "denoiser"},
}
DEFAULT = "balanced"
PEERS = ("Wiener", "RL")
MIRRORED = ("Wiener mirrored", "RL mirrored")
CLOSED = ("l2", "Tikhonov")  # the rules on its curve cost nothing; held-out pixels would need iterations

Case = tuple[str, float, int, int, int]  # kind, σ in px, counts, seed, size
Errors = dict[str, dict[str, float]]  # method: whole, interior, setting


def descend(score: Callable[[float], float], start: float, *, first: float = 4.0, whole_numbers: bool = False) -> float:
    """The setting of least score: steps by 4, 2, √2 and 2^¼ up and down from ``start`` for as long as it falls.

    ``first`` is the longest step.
    """
    seen: dict[float, float] = {}

    def at(setting: float) -> float:
        if setting not in seen:
            seen[setting] = score(setting)
        return seen[setting]

    best = start
    for ratio in (r for r in (4, 2, 2**0.5, 2**0.25) if r <= first):
        for factor in (ratio, 1 / ratio):
            while True:
                tried = max(1, round(best * factor)) if whole_numbers else best * factor
                if tried == best or at(tried) >= at(best):
                    break
                best = tried
    return best


def solver(y: np.ndarray, psf: np.ndarray, problem: dict[str, Any]) -> Callable[[float], np.ndarray]:
    """λ ↦ what `deconvolve` gives for it, without the record, whose residual would cost another solution."""
    scene = prepare(y, psf, None, DeconvolutionSettings(**problem))
    whole = blocks.cut(y.shape, 2, None, tuple(2 * n for n in psf.shape))[0]
    scaled, _ = scene.read(whole.read)

    def solve(lam: float) -> np.ndarray:
        x = finish(deblur(scene.blur, scaled, lam, missing=whole.missing))
        return scene.restore(x, scaled.shape, whole)

    return solve


def measure(case: Case, methods: list[str], rules: list[str], searched: list[str]) -> Errors:
    """Every method on one image; closed forms with λ by all rules, which cost nothing.

    The best λ is looked for of the methods ``searched``.
    """
    kind, sigma, counts, seed, size = case
    x, y = image(kind, sigma, counts, size, seed)
    psf, peak, top = ir.gaussian_psf(sigma), float(x.max()), float(y.max())
    rim = int(np.ceil(4 * sigma))
    inside = np.s_[rim:-rim, rim:-rim]

    def errors(estimate: np.ndarray, setting: float) -> dict[str, float]:
        whole, interior = rmse(estimate, x) / peak, rmse(estimate[inside], x[inside]) / peak
        return {"whole": whole, "interior": interior, "setting": float(setting)}

    def best(solve: Callable[[float], np.ndarray], start: float, **how: Any) -> dict[str, float]:
        setting = descend(lambda s: rmse(solve(s), x), start, **how)
        return errors(solve(setting), setting)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {"blurred": errors(y, 0)}
        wide = np.pad(y, rim, mode="symmetric")
        for title, given, back in (("", y, np.s_[:, :]), (" mirrored", wide, inside)):
            found[f"Wiener{title} best"] = best(
                lambda s, given=given, back=back: wiener(given / top, psf, balance=s, clip=False)[back] * top, 0.1
            )
            found[f"RL{title} best"] = best(
                lambda n, given=given, back=back: (
                    richardson_lucy(given / top, psf, num_iter=int(n), clip=False)[back] * top
                ),
                8,
                whole_numbers=True,
            )
    for name in methods:
        problem = PROBLEMS[name]
        solve = solver(y, psf, problem)
        hold_out = {"lam_rule": "holdout"} if "holdout" in rules and name not in CLOSED else {}
        choices = ir.lambda_curve(y, psf, **problem, **hold_out).choices
        for rule in RULES if name in CLOSED else rules:
            lam = choices[rule]
            if lam is not None:
                found[f"{name} {rule}"] = errors(solve(lam), lam)
        if name in searched:
            nearest = min((found[key] for key in found if key.startswith(f"{name} ")), key=lambda e: e["whole"])
            start = nearest["setting"]
            if name in CLOSED:  # a rule may lie on a plateau, where every λ gives the mean
                start = min(np.logspace(-5, 2, 8), key=lambda lam: rmse(solve(lam), x))
            searched_for = best(solve, start, first=2.0 if name in CLOSED else 2**0.5)
            found[f"{name} best"] = min(nearest, searched_for, key=lambda e: e["whole"])
    return found


def run(cases: list[Case], asked: argparse.Namespace) -> dict[Case, Errors]:
    """All cases, those in ``keep`` from there."""
    done: dict[Case, Errors] = {}
    keep: Path | None = asked.keep
    if keep is not None and keep.exists():
        for line in keep.read_text().splitlines():
            case, errors = json.loads(line)
            done[tuple(case)] = errors
    missing = [case for case in cases if case not in done]
    with ProcessPoolExecutor(asked.jobs) as pool:
        running = {pool.submit(measure, case, asked.methods, asked.rules, asked.best): case for case in missing}
        for count, future in enumerate(as_completed(running), start=1):
            case = running[future]
            done[case] = future.result()
            if keep is not None:
                with keep.open("a") as file:
                    file.write(json.dumps([case, done[case]]) + "\n")
            shown = (key for key in done[case] if key.endswith((" best", f" {DEFAULT}")) or key == "blurred")
            row = "  ".join(f"{key} {100 * done[case][key]['whole']:.2f}" for key in shown)
            print(f"{count} of {len(missing)}: {case[0]}, {case[1]:g} px, {case[2]}, seed {case[3]}: {row}", flush=True)
    return {case: done[case] for case in cases}


def table(head: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join(["---"] + ["---:"] * (len(head) - 1)) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def ratios(done: dict[Case, Errors], top: str, bottom: str, area: str = "whole") -> np.ndarray:
    """Error of one method over that of another, wherever both have an answer."""
    pairs = ((e[top][area], e[bottom][area]) for e in done.values() if top in e and bottom in e)
    return np.array([a / b for a, b in pairs])


def spread(values: np.ndarray, n: int) -> str:
    """Mean (worst), and how often there was no answer."""
    if not values.size:
        return "–"
    none = f", none {n - values.size}×" if values.size < n else ""
    return f"{values.mean():.2f} ({values.max():.2f}{none})"


def print_errors(done: dict[Case, Errors], methods: list[str], rules: list[str]) -> None:
    """RMSE of each method on each image, the mean over seeds."""
    columns = ["blurred", *(f"{name} best" for name in PEERS + MIRRORED)]
    for name in methods:
        columns += [*(f"{name} {rule}" for rule in rules), f"{name} best"]
    columns = [key for key in columns if any(key in e for e in done.values())]
    rows = []
    for kind, sigma, counts in sorted({case[:3] for case in done}, key=lambda c: (KINDS.index(c[0]), *c[1:])):
        of = [e for case, e in done.items() if case[:3] == (kind, sigma, counts)]
        cells = []
        for key in columns:
            values = [e[key]["whole"] for e in of if key in e]
            cells.append(f"{100 * np.mean(values):.2f}" if values else "–")
        rows.append([f"{kind}, {sigma:g} px, {counts}", *cells])
    table(["object, σ, counts", *columns], rows)


def print_summary(done: dict[Case, Errors], methods: list[str], rules: list[str], searched: list[str]) -> None:
    """Each rule against the best λ, and ours against the peers, by kind of object."""
    groups = [(kind, {c: e for c, e in done.items() if c[0] == kind}) for kind in KINDS]
    groups = [group for group in groups if group[1]] + [("all", done)]
    for name in searched:
        print(f"### {name}: error with λ by each rule / error at the best λ; mean (worst)\n")
        shown = [rule for rule in RULES if rule != "holdout"] if name in CLOSED else rules
        rows = [
            [label, *(spread(ratios(of, f"{name} {rule}", f"{name} best"), len(of)) for rule in shown)]
            for label, of in groups
        ]
        table(["object", *shown], rows)
    for area, where in (("whole", "whole image"), ("interior", "without a rim of 4σ")):
        print(f"### Ours, λ from the data, over the better of the peers at their best; mean (worst); {where}\n")
        head, rows = [], []
        for label, of in groups:

            def least(names: list[str], of: dict[Case, Errors] = of, area: str = area) -> np.ndarray:
                return np.array([min(e[name][area] for name in names) for e in of.values()])

            shipped = least([f"{name} best" for name in PEERS])
            mirrored = least([f"{name} best" for name in PEERS + MIRRORED])
            chosen = {name: least([f"{name} {DEFAULT}"]) for name in methods}
            cells = {"TV / Wiener": chosen["TV"] / least(["Wiener best"])} if "TV" in methods else {}
            cells |= {f"{name} / peers": values / shipped for name, values in chosen.items()}
            ours = np.minimum.reduce(list(chosen.values()))
            cells["best of ours / peers"] = ours / shipped
            cells["best of ours / peers, mirrored too"] = ours / mirrored
            if searched == methods:
                cells["the same at the best λ"] = least([f"{name} best" for name in methods]) / mirrored
            head = list(cells)
            rows.append([label, *(spread(values, len(of)) for values in cells.values())])
        table(["object", *head], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--sigmas", type=float, nargs="+", default=list(SIGMAS), help="of the blur, px")
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--methods", nargs="+", default=list(PROBLEMS), choices=PROBLEMS)
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES, help="of the iterative methods")
    parser.add_argument("--best", nargs="*", choices=PROBLEMS, help="methods whose best λ is looked for; all")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, help="a file of measured cases: read, and added to")
    asked = parser.parse_args()
    asked.best = asked.methods if asked.best is None else [name for name in asked.methods if name in asked.best]
    cases = list(product(asked.kinds, asked.sigmas, asked.counts, asked.seeds, [asked.size]))
    cases.sort(key=lambda case: case[3])  # a whole table first, then the next seed
    done = run(cases, asked)
    print(f"# Deconvolution: quality, {asked.size}², {len(asked.seeds)} seed(s), {len(done)} images\n")
    print("## RMSE in percent of the object's peak\n")
    print_errors(done, asked.methods, asked.rules)
    print("## Summary\n")
    print_summary(done, asked.methods, asked.rules, asked.best)


if __name__ == "__main__":
    main()
