"""How near the truth: our algorithms with λ by each rule and at the best λ, beside corrct, ETSpy and scikit-image.

    python tests/benchmarks/tomography_quality.py [--parts slice volume] [--seeds 0 1 2] [--algorithms tv-sart tv]

Prints each figure on stderr as it is there, and in the end markdown. Slice: Shepp–Logan 256², 71 tilts −70…70°,
projected by ASTRA's strips, Gaussian noise of 2 % of the maximum. Volume: ellipsoids whose line integrals are written
down, 71 and 15 tilts, noise of 3 %. No peer that is not installed is shown. "best" takes the setting with the least
error, which nobody knows who has no truth; the last table is the error at the λ of each rule over that at the best.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from skimage.metrics import structural_similarity
from skimage.transform import iradon_sart
from tilt_phantoms import line_integrals, particles, shepp_logan, strip_sinogram, voxels, with_gaussian_noise

import napari_invrecon as ir

RULES = ("holdout", "discrepancy")  # the first is the default
LAMBDA_STEP = 1.15


def rmse(estimate: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(estimate - truth, dtype=float))))


def table(head: list[str], rows: list[list[Any]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join(["---"] + ["---:"] * (len(head) - 1)) + "|")
    for row in rows:
        print("| " + " | ".join(str(each) for each in row) + " |", flush=True)


def volume_of(stack: np.ndarray, angles: np.ndarray, **settings: Any) -> tuple[np.ndarray, float, int]:
    """The volume, λ and the iterations of `reconstruct_tilt_series`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ir.reconstruct_tilt_series(stack, angles, **settings)
    return np.asarray(found.data), found.lam, found.record.get("n_iter", 0)


def best_lambda(error_at: Callable[[float], float], start: float) -> float:
    """The λ of the least error on the grid start · 1.15ᵏ, gone down in steps of four, two and one of it."""
    known: dict[int, float] = {}

    def at(k: int) -> float:
        if k not in known:
            known[k] = error_at(start * LAMBDA_STEP**k)
        return known[k]

    best = 0
    for step in (4, 2, 1):
        while at(better := min(best - step, best + step, key=at)) < at(best):
            best = better
    return start * LAMBDA_STEP**best


class Rules:
    """Errors with λ by each rule over the error at the best λ."""

    def __init__(self) -> None:
        self.ratios: dict[tuple[str, str, str], list[tuple[float, float]]] = {}

    def measure(
        self, what: str, algorithm: str, stack: np.ndarray, angles: np.ndarray, truth: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray, float, str]]:
        """(how λ was chosen, volume, seconds, iterations and λ in words), of each rule and of the best λ."""
        made: dict[str, tuple[float, float]] = {}

        def error_at(lam: float) -> float:
            return rmse(volume_of(stack, angles, algorithm=algorithm, lam=lam)[0], truth)

        for rule in (*RULES, "best"):
            how: dict[str, Any] = {"lam_rule": rule}
            if rule == "best":
                how = {"lam": best_lambda(error_at, made[RULES[0]][0])}
            started = time.perf_counter()
            x, lam, count = volume_of(stack, angles, algorithm=algorithm, **how)
            made[rule] = lam, rmse(x, truth)
            yield rule, x, time.perf_counter() - started, f"{count} it., λ {lam:.2g}"
        lam, error = made.pop("best")
        for rule, (its_lam, its_error) in made.items():
            self.ratios.setdefault((what, algorithm, rule), []).append((its_error / error, its_lam / lam))

    def show(self) -> None:
        print("\nλ by each rule: RMSE over that at the best λ, and λ over the best\n")
        rows = []
        for (what, algorithm, rule), found in self.ratios.items():
            errors, lams = np.array(found).T
            rows.append(
                [
                    f"{what}, {algorithm}, {rule}",
                    f"{errors.mean():.3f}",
                    f"{errors.max():.3f}",
                    f"{lams.min():.2f}–{lams.max():.2f}",
                ]
            )
        table(["object, algorithm, rule", "RMSE, mean", "worst", "λ"], rows)


def best_iterate(stack: np.ndarray, angles: np.ndarray, truth: np.ndarray, algorithm: str, most: int) -> Any:
    """(RMSE, iteration, volume) of the iterate with the least error."""
    best = (np.inf, 0, truth)
    for count in sorted({round(most * 0.82**k) for k in range(14)} - {0}):
        x, _, _ = volume_of(stack, angles, algorithm=algorithm, n_iter=count, tolerance=0.0, noise_sigma=1e-9)
        best = min(best, (rmse(x, truth), count, x), key=lambda each: each[0])
    return best


def peers(sinogram: np.ndarray, angles: np.ndarray, slow: bool) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """(name, reconstruct) of what is installed; slices come in our orientation."""
    n = sinogram.shape[1]

    def sart() -> np.ndarray:
        x = None
        for _ in range(3):
            x = iradon_sart(np.ascontiguousarray(sinogram.T, float), theta=angles, image=x)
        return np.asarray(x)

    yield "scikit-image iradon_sart, 3 sweeps", sart
    try:
        import astra
    except ImportError:
        return

    def by_astra(name: str, count: int) -> np.ndarray:
        volume = astra.create_vol_geom(n, n)
        beams = astra.create_proj_geom("parallel", 1.0, n, -np.deg2rad(angles))
        projector = astra.create_projector("linear", beams, volume)
        data, out = astra.data2d.create("-sino", beams, sinogram), astra.data2d.create("-vol", volume)
        config = astra.astra_dict(name)
        config.update(ProjectorId=projector, ProjectionDataId=data, ReconstructionDataId=out)
        config["option"] = {"MinConstraint": 0} if name != "FBP" else {}
        number = astra.algorithm.create(config)
        astra.algorithm.run(number, count)
        x = astra.data2d.get(out)
        for delete, each in ((astra.algorithm.delete, number), (astra.data2d.delete, [data, out])):
            delete(each)
        astra.projector.delete(projector)
        return np.asarray(x)

    # ETSpy's own reconstructions are these calls of ASTRA.
    yield "ETSpy (ASTRA) FBP", lambda: by_astra("FBP", 1)
    yield "ETSpy (ASTRA) SIRT 5, its default", lambda: by_astra("SIRT", 5)
    yield "ETSpy (ASTRA) SIRT 20", lambda: by_astra("SIRT", 20)
    yield "ETSpy (ASTRA) SIRT 100", lambda: by_astra("SIRT", 100)
    yield "ETSpy (ASTRA) SART 355 (5 sweeps)", lambda: by_astra("SART", 355)
    if not slow:
        return
    try:
        import corrct
    except ImportError:
        return

    def by_corrct(weight: float) -> np.ndarray:
        solver = corrct.solvers.PDHG(
            data_term="l2", regularizer=corrct.regularizers.Regularizer_TV2D(weight), verbose=False
        )
        with corrct.projectors.ProjectorUncorrected([n, n], np.deg2rad(angles), backend="astra") as A:
            x, _ = solver(A, sinogram, iterations=100, lower_limit=0)
        return np.asarray(x)

    for weight in (1.0, 3.0, 10.0):
        yield f"corrct PDHG-TV 100, weight {weight:g}", lambda weight=weight: by_corrct(weight)


def oriented(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A peer's slice turned to our axes, whichever of its mirror images is nearest the truth."""
    return min((x, x[::-1], x[:, ::-1], x[::-1, ::-1]), key=lambda each: rmse(each, truth))


def slice_table(seeds: list[int], slow: bool, algorithms: list[str], rules: Rules) -> None:
    truth, angles = shepp_logan(256), np.linspace(-70, 70, 71)
    clean = strip_sinogram(truth, angles)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    notes: dict[str, list[str]] = {}

    def note(name: str, x: np.ndarray, seconds: float, text: str = "") -> None:
        error = rmse(x, truth)
        rows.setdefault(name, []).append((error, structural_similarity(truth, x, data_range=1.0), seconds))
        notes.setdefault(name, []).append(text)
        print(
            f"seed {seed}: {name}: RMSE {error:.4f}, SSIM {rows[name][-1][1]:.3f} {text}", file=sys.stderr, flush=True
        )

    for seed in seeds:
        sinogram, sigma = with_gaussian_noise(clean, 0.02, seed)
        for name, reconstruct in peers(sinogram, angles, slow):
            started = time.perf_counter()
            x = oriented(reconstruct(), truth)
            note(name, x.astype(np.float32), time.perf_counter() - started)
        stack = sinogram[:, None]

        def ours(name: str, stack: np.ndarray = stack, **settings: Any) -> None:
            started = time.perf_counter()
            x, lam, count = volume_of(stack, angles, **settings)
            text = f"{count} it." + (f", λ {lam:.2g}" if lam else "")
            note(name, x[:, 0], time.perf_counter() - started, text)

        for window in ("ramp", "hann"):
            ours(f"ours: fbp, {window}", algorithm="fbp", filter=window)
        for algorithm in ("sirt", "sart"):
            ours(f"ours: {algorithm}, stopped at the noise", algorithm=algorithm, noise_sigma=sigma)
        ours("ours: tikhonov, λ by holdout", algorithm="tikhonov")
        for algorithm in algorithms:
            for rule, x, seconds, text in rules.measure("slice", algorithm, stack, angles, truth[:, None]):
                note(f"ours: {algorithm}, {by(rule)}", x[:, 0], seconds, text)
    print(f"\nShepp–Logan 256², 71 tilts ±70°, ASTRA strips, 2 % noise, mean of {len(seeds)} seeds\n")
    table(
        ["method", "RMSE", "SSIM", "s", "first seed"],
        [
            [name, *(f"{v:.{d}f}" for v, d in zip(np.mean(found, axis=0), (4, 3, 2), strict=True)), notes[name][0]]
            for name, found in rows.items()
        ],
    )


def by(rule: str) -> str:
    return "best λ" if rule == "best" else f"λ by {rule}"


def volume_table(seeds: list[int], size: int, algorithms: list[str], rules: Rules) -> None:
    objects = particles()
    shape = (size, size // 2, size)
    truth = voxels(objects, shape)
    print(f"\nEllipsoids {shape} (z, y, x), analytic line integrals, 3 % noise, mean of {len(seeds)} seeds: RMSE\n")
    rows: dict[str, dict[int, list[float]]] = {}
    for count in (71, 15):
        angles = np.linspace(-70, 70, count)
        clean = line_integrals(objects, angles, shape[1], size)
        for seed in seeds:
            stack, _ = with_gaussian_noise(clean, 0.03, seed)

            def note(name: str, error: float, text: str = "", count: int = count, seed: int = seed) -> None:
                rows.setdefault(name, {}).setdefault(count, []).append(error)
                print(f"seed {seed}, {count} tilts: {name}: {error:.4f} {text}", file=sys.stderr, flush=True)

            note("fbp, hann", rmse(volume_of(stack, angles, algorithm="fbp", filter="hann")[0], truth))
            error, _, _ = best_iterate(stack, angles, truth, "sirt", 60)
            note("sirt, best iteration", error)
            for algorithm in algorithms:
                what = f"ellipsoids, {count} tilts"
                for rule, x, _, text in rules.measure(what, algorithm, stack, angles, truth):
                    note(f"{algorithm}, {by(rule)}", rmse(x, truth), text)
    table(
        ["method", "71 tilts", "15 tilts", "71: of SIRT's best"],
        [
            [
                name,
                f"{np.mean(found[71]):.4f}",
                f"{np.mean(found[15]):.4f}",
                f"{np.mean(found[71]) / np.mean(rows['sirt, best iteration'][71]):.2f}",
            ]
            for name, found in rows.items()
        ],
    )


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--parts", nargs="+", default=["slice", "volume"], choices=["slice", "volume"])
    asked.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    asked.add_argument("--size", type=int, default=96)
    asked.add_argument("--algorithms", nargs="+", default=["tv-sart", "tv"], choices=["tv-sart", "tv"])
    asked.add_argument("--slow-peers", action="store_true", help="corrct too: minutes, where it has no CUDA")
    options = asked.parse_args()
    rules = Rules()
    if "slice" in options.parts:
        slice_table(options.seeds, options.slow_peers, options.algorithms, rules)
    if "volume" in options.parts:
        volume_table(options.seeds, options.size, options.algorithms, rules)
    rules.show()
