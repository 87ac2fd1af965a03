"""Mixed runs in one real window: exceptions, threads, layers and widgets left behind, and the memory.

    NAPARI_STRICT_QT=1 QT_API=pyside6 xvfb-run -a -s "-screen 0 1600x1000x24" python tests/benchmarks/window_soak.py
    NAPARI_STRICT_QT=1 QT_API=pyqt6 xvfb-run -a -s "-screen 0 1600x1000x24" python tests/benchmarks/window_soak.py

Goals, for 200 runs: no fault, and less than 50 MB of growth after the first quarter of the runs.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import sys
from pathlib import Path

import napari
import numpy as np
import qtpy
from qtpy.QtWidgets import QApplication

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from soak import PLAYERS, Soak

BAR_MB = 5
WINDOW_SIZE = (900, 700)  # a volume is rendered by the processor here
STEP = 10


def main(arguments: argparse.Namespace) -> int:
    """Soak, print the table; 1 if there was a fault."""
    faulthandler.enable()
    QApplication.instance() or QApplication([])
    before = set(QApplication.topLevelWidgets())
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(*WINDOW_SIZE)
    players = {name: PLAYERS[name] for name in arguments.players or PLAYERS}
    with Soak(viewer, arguments.seed, players) as soak:
        soak.verbose = arguments.verbose
        for number in range(arguments.runs):
            soak.run()
            if arguments.verbose:
                print(f"{number + 1}: {soak.last}", flush=True)
            for fault in soak.told.faults:
                print("FAULT", fault, flush=True)
            if soak.told.faults and arguments.stop:
                break
            if number % STEP == STEP - 1:
                print(f"{number + 1} runs, {soak.told.memory_mb[-1]:.0f} MB", file=sys.stderr, flush=True)
            arguments.faults += soak.told.faults
            soak.told.faults.clear()
        soak.finish()
    viewer.close()
    del viewer, soak.viewer
    QApplication.processEvents()
    gc.collect()
    QApplication.processEvents()
    leaked = [each for each in set(QApplication.topLevelWidgets()) - before if each.objectName() != "handled_widget"]
    leaked = [type(each).__name__ for each in leaked if type(each).__name__ != "CanvasBackendDesktop"]
    if leaked:
        soak.told.faults.append(f"widgets are left after the window was closed: {leaked}")
    arguments.faults += soak.told.faults
    show(soak.told, arguments)
    return bool(arguments.faults)


def show(told, arguments: argparse.Namespace) -> None:
    """Print the table and the memory curve."""
    print(f"\n{sum(told.runs.values())} runs, seed {arguments.seed}, {qtpy.API_NAME}, napari {napari.__version__}")
    for title, counted in (("run of", told.runs), ("gave", told.ended), ("done meanwhile", told.done), ("Qt", told.qt)):
        print(f"  {title}: {', '.join(f'{name} {n}' for name, n in counted.most_common()) or 'nothing'}")
    print(f"  seconds a run, median: {np.median(told.seconds):.2f}; all in all {sum(told.seconds):.0f}")
    curve = np.array(told.memory_mb)
    warm = len(curve) // 4
    last = curve[-max(1, len(curve) // 10) :]
    first = curve[warm : warm + len(last)]
    print("  medians of each quarter:  threads  layers alive  widgets  memory/MB")
    for number, runs in enumerate(np.array_split(np.arange(len(curve)), 4), 1):
        medians = [np.median(np.array(each)[runs]) for each in (told.threads, told.layers, told.widgets, curve)]
        print("  {:25d} {:8.0f} {:13.0f} {:8.0f} {:10.0f}".format(number, *medians))
    print("  memory after each tenth run:")
    low = curve.min() // BAR_MB * BAR_MB
    for number in range(0, len(curve), STEP):
        value = curve[number : number + STEP].mean()
        print(f"  {number:4d}  {value:6.0f} MB  {'█' * int((value - low) / BAR_MB)}")
    growth = np.median(last) - np.median(first)
    print(f"  growth after the first {warm} runs: {growth:+.0f} MB (goal < 50)")
    print(f"  faults: {len(arguments.faults)}")
    for fault in arguments.faults:
        print(f"    {fault}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--players", nargs="*", choices=list(PLAYERS))
    parser.add_argument("--stop", action="store_true", help="at the first fault")
    parser.add_argument("--verbose", action="store_true", help="a line for each run")
    parser.set_defaults(faults=[])
    sys.exit(main(parser.parse_args()))
