"""The ``napari-invrecon`` command; every subcommand is one ``add_…`` function here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def add_demo(commands: argparse._SubParsersAction) -> None:
    """``demo``: the whole program on the sample acquisitions, in a napari window."""
    parser = commands.add_parser("demo", help="open napari on the sample acquisitions and reconstruct them")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("invrecon_demo"), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument("--close", action="store_true", help="close napari at the end, also where there is a screen")
    parser.set_defaults(run=run_demo)


def run_demo(arguments: argparse.Namespace) -> None:
    """Leave results and pictures in a folder; stay open for the user where there is a screen to see it on."""
    from napari_invrecon.plugin.screen import screen

    with screen() as visible:
        from napari_invrecon.plugin.demo import demo

        if not visible:
            print("no screen: napari runs on a virtual one and closes at the end")
        for path in demo(arguments.output, stay=visible and not arguments.close):
            print(path, flush=True)


def add_info(commands: argparse._SubParsersAction) -> None:
    """``info``: what files hold, without a viewer."""
    parser = commands.add_parser("info", help="show what acquisition files hold: shape, calibration, metadata")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.set_defaults(run=run_info)


def run_info(arguments: argparse.Namespace) -> None:
    """Describe each file."""
    from napari_invrecon.io import describe

    for path in arguments.files:
        print(describe(path))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; 0, or 1 after an error that is the user's to mend, which is printed without a traceback."""
    parser = argparse.ArgumentParser(
        prog="napari-invrecon", description="Regularised inverse reconstruction for electron microscopy."
    )
    commands = parser.add_subparsers(title="commands", required=True)
    add_demo(commands)
    add_info(commands)
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"napari-invrecon: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
