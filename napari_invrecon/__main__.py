"""The ``napari-invrecon`` command; every subcommand is one ``add_…`` function here."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_invrecon.io import Acquisition
    from napari_invrecon.recon.solvers import Result, Steps


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


def add_deconvolve(commands: argparse._SubParsersAction) -> None:
    """``deconvolve``: what the dock does, on a file, without a viewer."""
    from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings

    parser = commands.add_parser("deconvolve", help="deconvolve an acquisition file with a Gaussian blur")
    parser.add_argument("file", type=Path, metavar="FILE")
    add_output(parser, "OUT.tif")
    parser.add_argument("--signal", metavar="NAME", help="which signal of a file with several; info lists them")
    parser.add_argument("--psf-sigma", type=float, required=True, metavar="σ", help="standard deviation of the blur")
    parser.add_argument("--psf-unit", choices=("px", "nm"), default="px", help="default: %(default)s")
    add_settings(parser, DeconvolutionSettings)
    parser.set_defaults(run=run_deconvolve)


def run_deconvolve(arguments: argparse.Namespace) -> None:
    """Leave the result with its record in it, and the record as JSON beside it."""
    from dataclasses import replace

    from napari_invrecon.io import read
    from napari_invrecon.recon.deconvolution import deconvolve
    from napari_invrecon.recon.deconvolution_settings import DeconvolutionSettings
    from napari_invrecon.recon.probe import GaussianPSF
    from napari_invrecon.records.history import file_origin, with_origins

    check_output(arguments.output)
    found = read(arguments.file)
    chosen = [each for each in found if arguments.signal in (None, each.name)]
    if len(chosen) != 1:
        names = ", ".join(repr(each.name) for each in found)
        raise ValueError(f"'{arguments.file.name}' holds {names}: choose one with --signal")
    settings = settings_from(arguments, DeconvolutionSettings)
    sides = {axis.scale for axis in chosen[0].axes[-2:] if axis.unit == "nm"}
    if settings["pixel_size_nm"] is None and len(sides) == 1:
        settings["pixel_size_nm"] = sides.pop()
    result = deconvolve(chosen[0].data, GaussianPSF(arguments.psf_sigma, arguments.psf_unit), **settings)
    print(f"λ = {result.lam:.3g} ({result.record['lam_rule']})")
    record = with_origins(result.record, {"image": file_origin(arguments.file, chosen[0])})
    leave(arguments.output, replace(chosen[0], data=result.data, record=record))


def add_output(parser: argparse.ArgumentParser, example: str) -> None:
    """``--output``, of any format that can be written."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar=example,
        help=".tif .mrc .zarr or .hspy; its record is in it, and as .json beside it",
    )


def check_output(path: Path) -> None:
    """Refuse, before the work is done, a name that `leave` could not write to."""
    from napari_invrecon.io import WRITABLE

    if path.suffix.lower() not in WRITABLE:
        raise ValueError(f"'{path}': expected a name that ends in {' '.join(WRITABLE)}")
    if not path.parent.is_dir():
        raise ValueError(f"{path.name}: the folder {path.parent} does not exist: choose another one")


def make_folder(path: Path) -> None:
    """Make the folder of the results, before the work is done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"{path} is a file: expected a folder to write to, choose another name") from None
    except OSError as error:
        raise ValueError(f"the folder {path} could not be made ({error.strerror}): choose another one") from error


def leave(path: Path, result: Acquisition) -> None:
    """Write a result with its record in it, the record as JSON beside it, and print both names."""
    import json

    from napari_invrecon.io import write

    write(path, result)
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps(result.record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path, beside, sep="\n")


def add_tomography(commands: argparse._SubParsersAction) -> None:
    """``tomography``: what the dock does, on a tilt series, without a viewer."""
    from napari_invrecon.recon.tilt_settings import TomographySettings

    parser = commands.add_parser("tomography", help="align and reconstruct a tilt series")
    parser.add_argument("file", type=Path, metavar="FILE", help="its angles are in it, or in a .rawtlt or .mdoc beside")
    add_output(parser, "OUT.mrc")
    parser.add_argument("--signal", metavar="NAME", help="which signal of a file with several; info lists them")
    parser.add_argument(
        "--align", action="store_true", help="align the images first; tilts that fit badly are left out"
    )
    parser.add_argument(
        "--crop",
        type=int,
        nargs=4,
        metavar=("Y0", "Y1", "X0", "X1"),
        help="rows and columns to keep, before the binning",
    )
    add_settings(parser, TomographySettings)
    parser.set_defaults(run=run_tomography)


def run_tomography(arguments: argparse.Namespace) -> None:
    """Leave the volume with its record in it, and the record as JSON beside it."""
    from napari_invrecon.io import Acquisition, Axis
    from napari_invrecon.recon.alignment import AlignmentSettings, aligned_series, alignment
    from napari_invrecon.recon.tilt_settings import TomographySettings
    from napari_invrecon.recon.tomography import tomography
    from napari_invrecon.records.history import Origin, file_origin, with_origins

    check_output(arguments.output)
    settings = TomographySettings(**settings_from(arguments, TomographySettings))
    series = _tilt_series(arguments)
    stack, angles = series.data, series.metadata["angles_deg"]
    origin, crop = file_origin(arguments.file, series), arguments.crop
    if crop:
        stack = stack[:, crop[0] : crop[1], crop[2] : crop[3]]
    placement = {"placement": {"interpolated": False, "start": crop[::2]}} if crop else {}
    if arguments.align:
        found = finish_aloud(alignment(stack, angles, AlignmentSettings(tilt_axis=settings.tilt_axis)))
        aligned = aligned_series(stack, found)
        stack, angles = aligned.data, aligned.angles_deg
        earlier = with_origins(aligned.record, {"stack": origin})
        earlier["sources"][0] |= placement
        origin, placement = Origin(acquisition=origin.acquisition, record=earlier), {}
    result = finish_aloud(tomography(stack, angles, settings))
    record = with_origins(result.record, {"stack": origin})
    record["sources"][0] |= placement
    y, x = series.axes[-2:]
    sides = [(axis.unit, axis.scale * settings.bin) for axis in (x if settings.tilt_axis == "y" else y, y, x)]
    axes = [Axis(name, *side) for name, side in zip("zyx", sides, strict=True)]
    about = {key: value for key, value in series.metadata.items() if not key.startswith("angles")}
    volume = Acquisition(result.data, tuple(axes), series.name, "volume", about, record)
    if record["background"]["advice"]:
        print(record["background"]["advice"])
    lam = f"λ = {result.lam:.3g} ({record['lam_rule']}); " if result.lam else ""
    print(f"{lam}{record['n_iter']} iterations: {record['stopped']}")
    print(record["diagnostics"]["verdict"], *record["diagnostics"]["warnings"], sep="\n")
    leave(arguments.output, volume)


def add_maps(commands: argparse._SubParsersAction) -> None:
    """``maps``: elemental maps of a spectrum image, without a viewer."""
    from napari_invrecon.recon.spectra import MapSettings

    parser = commands.add_parser("maps", help="make elemental maps of an EELS or EDX spectrum image")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="one .tif a map, one of its σ, and maps.json"
    )
    parser.add_argument("--signal", metavar="NAME", help="which spectrum image of a file with several; info lists them")
    parser.add_argument("--elements", nargs="+", metavar="SYMBOL", help="default: those that the file names")
    parser.add_argument("--kind", choices=("eels", "edx"), help="default: as the file says")
    parser.add_argument(
        "--windows", type=Path, metavar="FILE.json", help="windows of your own: an earlier maps.json, or its 'elements'"
    )
    add_settings(parser, MapSettings)
    parser.set_defaults(run=run_maps)


def run_maps(arguments: argparse.Namespace) -> None:
    """Leave each map and its standard deviation as OME-TIFF, and one record."""
    import json

    import numpy as np

    from napari_invrecon.io import Acquisition, read, write
    from napari_invrecon.recon.spectra import MapSettings, mapping
    from napari_invrecon.records.history import file_origin, with_origins

    spectral = [each for each in read(arguments.file) if each.kind == "spectrum image"]
    chosen = [each for each in spectral if arguments.signal in (None, each.name)]
    if len(chosen) != 1:
        names = ", ".join(repr(each.name) for each in spectral) or "no spectrum image"
        raise ValueError(f"'{arguments.file.name}' holds {names}: choose one with --signal")
    image, axis = chosen[0], chosen[0].axes[0]
    energy = axis.offset + axis.scale * np.arange(image.data.shape[0])
    settings = MapSettings(**settings_from(arguments, MapSettings))
    windows = _windows(arguments, image, energy)
    make_folder(arguments.output)
    result = finish_aloud(mapping(image.data, energy, windows, settings))
    record = with_origins(result.record, {"spectrum image": file_origin(arguments.file, image)})
    for part, (told, data, variance) in enumerate(zip(record["elements"], result.data, result.variance, strict=True)):
        stem = f"{told['element']}_{told['line']}".strip("_")
        sigma = {"shows": {"quantity": "standard deviation", "element": told["element"]}}
        for name, values, what in ((stem, data, {"part": part}), (f"{stem}_sigma", np.sqrt(variance), sigma)):
            about = image.metadata | {"element": told["element"], "line": told["line"]}
            saved = Acquisition(values, image.axes[1:], name, "map", about, record | what)
            write(arguments.output / f"{name}.tif", saved)
        shape = "" if told["exponent"] is None else f", r = {told['exponent']:.3g} from {told['share_px'] or 'all'} px"
        print(f"{stem}: {told['total']:.5g} ± {told['total_sigma']:.2g}{shape}")
    beside = arguments.output / "maps.json"
    beside.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(beside)


def _windows(arguments: argparse.Namespace, image: Acquisition, energy: Any) -> list[Any]:
    """Those of a file, or suggestions for the elements."""
    import json

    from napari_invrecon.io.spectrum_kind import spectrum_kind
    from napari_invrecon.recon.element_lines import energies_of, suggest_window

    if arguments.windows is not None:
        held = json.loads(arguments.windows.read_text(encoding="utf-8"))
        return list(held["elements"] if isinstance(held, dict) else held)
    elements = arguments.elements or image.metadata.get("elements")
    if not elements:
        raise ValueError(f"'{arguments.file.name}' names no elements: give --elements, such as --elements Ti O")
    if image.axes[0].unit != "eV":
        raise ValueError(f"'{arguments.file.name}' has no energy axis in eV: open it in napari and type the axis there")
    first, last = float(energy[0]), float(energy[-1])
    kind = arguments.kind or spectrum_kind(image.name, image.metadata, last)
    taken = {each: energies_of(each, kind) for each in elements}
    return [
        suggest_window(
            each,
            kind,
            first,
            last,
            step_ev=image.axes[0].scale,
            others=[energy for other, own in taken.items() if other != each for energy in own],
        )
        for each in elements
    ]


def _tilt_series(arguments: argparse.Namespace) -> Acquisition:
    """The one tilt series that the command names."""
    from napari_invrecon.io import read

    found = read(arguments.file)
    chosen = [each for each in found if arguments.signal in (None, each.name) and "angles_deg" in each.metadata]
    if len(chosen) == 1:
        return chosen[0]
    if len(chosen) > 1:
        names = ", ".join(repr(each.name) for each in chosen)
        raise ValueError(f"'{arguments.file.name}' holds the tilt series {names}: choose one with --signal")
    held = ", ".join(f"'{each.name}' ({each.kind})" for each in found)
    raise ValueError(
        f"'{arguments.file.name}' holds {held} without tilt angles: put them into a .rawtlt of the same name, "
        "one a line"
    )


def add_fuse(commands: argparse._SubParsersAction) -> None:
    """``fuse``: what the dock does, on files, without a viewer."""
    from napari_invrecon.recon.fusion import FusionSettings

    parser = commands.add_parser("fuse", help="denoise elemental maps with the help of an HAADF image of their field")
    parser.add_argument("haadf", type=Path, metavar="HAADF", help="file with the HAADF image")
    parser.add_argument("maps", type=Path, nargs="+", metavar="MAPS", help="files with the maps; may be the same file")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="one .tif a map, residual.tif and fuse.json"
    )
    parser.add_argument("--signal", metavar="NAME", help="which signal is the HAADF; info lists them")
    add_settings(parser, FusionSettings)
    parser.set_defaults(run=run_fuse)


def run_fuse(arguments: argparse.Namespace) -> None:
    """Leave each fused map, its expected error and the HAADF's residual as OME-TIFF, and one record."""
    import json
    from dataclasses import replace

    import numpy as np

    from napari_invrecon.io import read
    from napari_invrecon.recon.fusion import FusionSettings, fusion
    from napari_invrecon.records.history import file_origin, with_origins

    settings = settings_from(arguments, FusionSettings)
    haadf = _haadf(read(arguments.haadf), arguments)
    maps = _maps([each for path in arguments.maps for each in read(path)], str(settings["elements"]))
    shapes = {each.data.shape for each in maps.values()}
    if len(shapes) > 1:
        raise ValueError(f"the maps have the shapes {sorted(shapes)}: name those of one acquisition with --elements")
    settings["elements"] = ", ".join(maps)
    stack = np.stack([np.asarray(each.data) for each in maps.values()])
    make_folder(arguments.output)
    result = finish_aloud(fusion(np.asarray(haadf.data), stack, FusionSettings(**settings)))
    paths = {path.name: path for path in arguments.maps}
    origins = [file_origin(paths[each.metadata["file_name"]], each) for each in maps.values()]
    record = with_origins(result.record, {"haadf": file_origin(arguments.haadf, haadf), "maps": origins})
    print(f"coupling {record['coupling']}, λ = {result.lam:.3g}", *record["flags"], sep="\n")
    shown = replace(next(iter(maps.values())), metadata=haadf.metadata, kind="image")
    _leave_on(
        arguments.output / "residual.tif",
        shown,
        result.haadf_residual,
        record | {"shows": {"quantity": "haadf residual"}},
    )
    for number, (element, source) in enumerate(maps.items()):
        _leave_on(arguments.output / f"{element}.tif", source, result.data[number], record | {"part": number})
        if result.expected_error is not None:
            shows = {"shows": {"quantity": "expected error", "element": element}}
            _leave_on(arguments.output / f"{element}_error.tif", source, result.expected_error[number], record | shows)
    beside = arguments.output / "fuse.json"
    beside.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(beside)


def _leave_on(path: Path, source: Acquisition, data: Any, record: dict[str, Any]) -> None:
    """Write an image over the field of another one, whose pixels may be larger, and print its name."""
    from dataclasses import replace

    from napari_invrecon.io import write

    times = data.shape[0] / source.data.shape[0]
    axes = [
        replace(axis, scale=axis.scale / times, offset=axis.offset + axis.scale * (1 / times - 1) / 2)
        for axis in source.axes
    ]
    write(path, replace(source, data=data, axes=tuple(axes), name=path.stem, record=record))
    print(path)


def _haadf(found: list[Acquisition], arguments: argparse.Namespace) -> Acquisition:
    """The one image that the command names, or the only one that can be meant."""
    images = [each for each in found if each.data.ndim == 2 and "element" not in each.metadata]
    chosen = [each for each in found if each.name == arguments.signal] if arguments.signal else images
    if len(chosen) > 1:
        chosen = [each for each in chosen if "haadf" in each.name.lower()] or chosen
    if len(chosen) != 1:
        names = ", ".join(repr(each.name) for each in found)
        raise ValueError(f"'{arguments.haadf.name}' holds {names}: choose the HAADF image with --signal")
    return chosen[0]


def _maps(found: list[Acquisition], wanted: str) -> dict[str, Acquisition]:
    """The maps by their elements: those that are named, in that order, or all, the first one of each element."""
    from napari_invrecon.io.elements import element_and_line

    maps: dict[str, Acquisition] = {}
    for each in found:
        element = each.metadata.get("element") or element_and_line(each.name).get("element")
        if each.data.ndim == 2 and element:
            maps.setdefault(element, each)
    names = [each.strip() for each in wanted.split(",") if each.strip()] or list(maps)
    missing = [each for each in names if each not in maps]
    if missing or not names:
        held = ", ".join(repr(each.name) for each in found)
        what = f"no map of {', '.join(missing)}" if missing else "no elemental map"
        raise ValueError(f"there is {what} among {held}: name --elements that there are, or the maps after an element")
    return {each: maps[each] for each in names}


def add_apply(commands: argparse._SubParsersAction) -> None:
    """``apply``: what was done to one file, done to others."""
    parser = commands.add_parser("apply", help="apply the settings of a result's record to other files")
    parser.add_argument("record", type=Path, metavar="RECORD", help="the .json beside a result, or the result itself")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="results that are there already are kept"
    )
    parser.add_argument(
        "--choose-lambda", action="store_true", help="choose λ for each file anew; default: as it was used"
    )
    parser.add_argument("--signal", default="", metavar="NAME", help="which signal of files with several")
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="ROLE=FILE",
        help="the file of a source that is not in the record, such as psf=probe.npy",
    )
    parser.set_defaults(run=run_apply)


def run_apply(arguments: argparse.Namespace) -> None:
    """A line a file and a summary; an error where any file failed."""
    from napari_invrecon.recon.solvers import finish
    from napari_invrecon.records.apply import apply_steps, is_done, load_record, recipe

    given = {role: Path(path) for role, _, path in (each.partition("=") for each in arguments.source)}
    made_by = recipe(
        load_record(arguments.record), choose_lambda=arguments.choose_lambda, signal=arguments.signal, given=given
    )
    targets = [made_by.output(file, arguments.output) for file in arguments.files]
    twice = [target.name for target in targets if targets.count(target) > 1]
    if twice:
        raise ValueError(f"several files would become {twice[0]}: apply the record to one folder at a time")
    make_folder(arguments.output)
    counts = {"done": 0, "already there": 0, "failed": 0}
    for file, target in zip(arguments.files, targets, strict=True):
        try:
            if is_done(target, file, made_by.told()):
                outcome, said = "already there", f"already there as {target}"
            else:
                record = finish(apply_steps(made_by, file, target))
                lam = f"λ = {record['lam']:.3g} ({record['lam_rule']}), " if record["lam"] else ""
                outcome, said = "done", f"{lam}{record['seconds']:.3g} s, {target}"
        except Exception as error:
            outcome, said = "failed", f"failed: {error or type(error).__name__}"
        counts[outcome] += 1
        print(f"{file.name}: {said}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    if counts["failed"]:
        raise RuntimeError(
            f"{counts['failed']} of {len(targets)} files failed: mend them and run the same command again"
        )


def finish_aloud(steps: Steps[Result]) -> Result:
    """Run to the end; print each new stage, and every few seconds where it stands and how long it will take."""
    import time

    from napari_invrecon.plugin.remaining_time import RemainingTime, in_words

    remaining, stage, printed = RemainingTime(), "", time.monotonic()
    while True:
        try:
            state = next(steps)
        except StopIteration as end:
            return end.value
        now = time.monotonic()
        left = remaining.update(state.step, state.n_steps, now)
        if (state.stage == stage or not state.stage) and now - printed < _EVERY_SECONDS:
            continue
        stage, printed = state.stage or stage, now
        words = [state.stage] if state.stage else []
        words += [f"{state.step} of {state.n_steps}"] if state.n_steps > 1 and " of " not in state.stage else []
        words += [f"residual/noise {state.residual:.3g}"] if math.isfinite(state.residual) else []
        words += [f"{in_words(left)} left"] if left else []
        print(" · ".join(words), flush=True)


_EVERY_SECONDS = 2.0


def add_settings(parser: argparse.ArgumentParser, settings_class: type) -> None:
    """One flag for each field of a settings class: ``lam_rule`` is ``--lam-rule``."""
    from napari_invrecon.recon.settings import parameters

    for each in parameters(settings_class):
        text = each.help.replace("%", "%%") + (f" Unit: {each.unit}." if each.unit else "")
        flag = "--" + each.name.replace("_", "-")
        if each.type is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=each.default, help=text)
        elif each.choices:
            parser.add_argument(flag, choices=each.choices, default=each.default, help=text)
        else:
            parser.add_argument(flag, type=each.type, default=each.default, metavar=each.type.__name__, help=text)


def settings_from(arguments: argparse.Namespace, settings_class: type) -> dict[str, object]:
    """The settings that the flags of `add_settings` gave."""
    from napari_invrecon.recon.settings import parameters

    return {each.name: getattr(arguments, each.name) for each in parameters(settings_class)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; 0, or 1 after an error that is the user's to mend, which is printed without a traceback."""
    parser = argparse.ArgumentParser(
        prog="napari-invrecon", description="Regularised inverse reconstruction for electron microscopy."
    )
    commands = parser.add_subparsers(title="commands", required=True)
    add_demo(commands)
    add_info(commands)
    add_deconvolve(commands)
    add_tomography(commands)
    add_maps(commands)
    add_fuse(commands)
    add_apply(commands)
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"napari-invrecon: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
