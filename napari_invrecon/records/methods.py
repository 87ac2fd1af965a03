"""A record in the words of a paper's methods section, with references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_invrecon.records.history import steps
from napari_invrecon.records.schema import check_record

if TYPE_CHECKING:
    from collections.abc import Callable

# What each key cites; DOIs as the modules of recon state them.
_REFERENCES = {
    "admm": "Almeida & Figueiredo, IEEE Trans. Image Process. 22 (2013) 3074, doi:10.1109/TIP.2013.2258354",
    "centre-of-mass": "Scott et al., Nature 483 (2012) 444, doi:10.1038/nature10934",
    "cross-correlation": "Guckenberger, Ultramicroscopy 9 (1982) 167, doi:10.1016/0304-3991(82)90280-7",
    "discrepancy": "Morozov, Soviet Math. Dokl. 7 (1966) 414",
    "eels": "Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed., Springer 2011, "
    "doi:10.1007/978-1-4419-9583-4",
    "directional tv": "Ehrhardt & Betcke, SIAM J. Imaging Sci. 9 (2016) 1084, doi:10.1137/15M1047325",
    "fbp": "Kak & Slaney, Principles of Computerized Tomographic Imaging, 1988, doi:10.1137/1.9780898719277",
    "fista": "Beck & Teboulle, SIAM J. Imaging Sci. 2 (2009) 183, doi:10.1137/080716542",
    "fusion": "Schwartz et al., npj Comput. Mater. 8 (2022) 16, doi:10.1038/s41524-021-00692-5",
    "gcv": "Golub, Heath & Wahba, Technometrics 21 (1979) 215, doi:10.1080/00401706.1979.10489751",
    "l-curve": "Hansen, SIAM Rev. 34 (1992) 561, doi:10.1137/1034115",
    "l1": "Daubechies, Defrise & De Mol, Commun. Pure Appl. Math. 57 (2004) 1413, doi:10.1002/cpa.20042",
    "lucy": "Lucy, Astron. J. 79 (1974) 745, doi:10.1086/111605",
    "denoiser": "Milanfar, SIAM J. Imaging Sci. 6 (2013) 263, doi:10.1137/120875843",
    "plug and play": "Venkatakrishnan et al., GlobalSIP 2013, 945, doi:10.1109/GlobalSIP.2013.6737048",
    "power law": "Unser et al., J. Microsc. 145 (1987) 245",
    "primal-dual": "Chambolle & Pock, J. Math. Imaging Vis. 40 (2011) 120, doi:10.1007/s10851-010-0251-1",
    "projection-matching": "Dengler, Ultramicroscopy 30 (1989) 337, doi:10.1016/0304-3991(89)90050-2",
    "richardson": "Richardson, J. Opt. Soc. Am. 62 (1972) 55, doi:10.1364/JOSA.62.000055",
    "roughness": "Good & Gaskins, Biometrika 58 (1971) 255, doi:10.1093/biomet/58.2.255",
    "sart": "Andersen & Kak, Ultrason. Imaging 6 (1984) 81, doi:10.1016/0161-7346(84)90008-7",
    "sirt": "Gilbert, J. Theor. Biol. 36 (1972) 105, doi:10.1016/0022-5193(72)90180-4",
    "sure": "Stein, Ann. Stat. 9 (1981) 1135, doi:10.1214/aos/1176345632",
    "thinning": "Neufeld et al., J. Mach. Learn. Res. 25 (2024) 57",
    "tikhonov": "Tikhonov & Arsenin, Solutions of Ill-Posed Problems, Winston 1977",
    "tv": "Rudin, Osher & Fatemi, Physica D 60 (1992) 259, doi:10.1016/0167-2789(92)90242-F",
    "tv-sart": "Sidky & Pan, Phys. Med. Biol. 53 (2008) 4777, doi:10.1088/0031-9155/53/17/021",
    "weighted pca": "Keenan & Kotula, Surf. Interface Anal. 36 (2004) 203, doi:10.1002/sia.1657",
    "biwhitening": "Landa, Zhang & Kluger, SIAM J. Math. Data Sci. 4 (2022) 1420, doi:10.1137/21M1456807",
    "wavelet": "Daubechies, Defrise & De Mol, Commun. Pure Appl. Math. 57 (2004) 1413, doi:10.1002/cpa.20042",
}
_REGULARISERS = {
    "l2": ("λ‖x‖²", "tikhonov"),
    "tikhonov": ("λ‖∇x‖² (Tikhonov)", "tikhonov"),
    "tv": ("λΣ|∇x| (total variation)", "tv"),
    "l1": ("λΣ|x|", "l1"),
    "wavelet": ("λΣ|Wx| (spline wavelets)", "wavelet"),
    "roughness": ("λ‖Δ√x‖²", "roughness"),
    "denoiser": ("non-local means as a plug-and-play regulariser", "denoiser"),
}
_HEURISTIC = "scikit-image's {} as a plug-and-play denoiser, for which no objective is known"
_HEURISTICS = {
    "nlm (heuristic)": _HEURISTIC.format("non-local means"),
    "wavelet (heuristic)": _HEURISTIC.format("wavelet shrinkage"),
}
_RULES = {
    "gcv": ("generalised cross-validation", ("gcv",)),
    "sure": ("Stein's unbiased risk estimate", ("sure",)),
    "discrepancy": ("the discrepancy principle", ("discrepancy",)),
    "balanced": (
        "the geometric mean of what generalised cross-validation and the discrepancy principle choose, the second "
        "held between two and four times the first",
        ("gcv", "discrepancy"),
    ),
    "l-curve": ("the corner of the L-curve", ("l-curve",)),
    "holdout": ("the prediction of data that were left out", ()),
    "reference": ("the flatness of a region known to be empty", ()),
}
_ALIGNED_BY = ("cross-correlation", "centre-of-mass", "projection-matching")
_SOFTWARE = ("numpy", "scipy", "scikit-image", "numba", "dask")


class _Cited:
    """References in the order in which they are cited."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, *keys: str) -> str:
        """ "[1, 3]", with a space before it; empty without keys."""
        numbers = []
        for text in dict.fromkeys(_REFERENCES[key] for key in keys):
            if text not in self.texts:
                self.texts.append(text)
            numbers.append(self.texts.index(text) + 1)
        return f" [{', '.join(map(str, numbers))}]" if numbers else ""


def methods_paragraph(record: dict[str, Any]) -> str:
    """What was done, step by step, as a paragraph for a methods section, and the references that it cites.

    Parameters
    ----------
    record : dict
        ``Reconstruction.record``, or a layer's ``metadata["invrecon"]``; its history is told too.

    Returns
    -------
    str
        One paragraph, an empty line, one reference a line.

    Raises
    ------
    ValueError
        It is no record that this version reads (`check_record`).
    """
    record, cite = check_record(record), _Cited()
    said = [_IN_WORDS[each["method"]](each, cite) for each in steps(record)]
    used = ", ".join(f"{name} {record['versions'][name]}" for name in _SOFTWARE if name in record["versions"])
    said.append(f"All steps were done with napari-invrecon {record['versions']['napari-invrecon']} ({used}).")
    references = [f"[{number}] {text}." for number, text in enumerate(cite.texts, 1)]
    return "\n".join([" ".join(said), "", *references])


def _deconvolve(record: dict[str, Any], cite: _Cited) -> str:
    settings, psf = record["settings"], record["sources"][1]
    term, key = _REGULARISERS[settings["regulariser"]]
    if settings["regulariser"] == "denoiser" and settings["denoiser"] in _HEURISTICS:
        term, key = _HEURISTICS[settings["denoiser"]], "plug and play"
    counts = settings["noise"] == "poisson"
    data = "the negative Poisson log-likelihood of the counts" if counts else "the squared misfit ‖h ⋆ x − y‖²"
    solver = (
        "in closed form in Fourier space"
        if record["stopped"] == "closed form"
        else f"by the alternating direction method of multipliers{cite('admm')}{_iterations(record)}"
        if settings["regulariser"] != "roughness"
        else f"by a quasi-Newton method{_iterations(record)}"
    )
    positive = ", with x ≥ 0," if record["nonnegative"] else ""
    return (
        f"{_what(record['sources'][0], 'image')} was deconvolved with {_psf(psf)} by minimising {data} plus "
        f"{term}{cite(key)}{positive} {solver} (boundary: {record['boundary']}){_around(record)}. {_lam(record, cite)}"
    )


def _around(record: dict[str, Any]) -> str:
    """What was left out of an image, and what was made of the result."""
    settings, said = record["settings"], ""
    if record["masked"]:
        said += f"; {record['masked']} pixel{'s were' if record['masked'] > 1 else ' was'} left out"
    if settings["background"]:
        said += f"; a background of {_number(settings['background'])} was allowed for"
    if settings["z_exponent"] is not None:
        said += f"; the result is the {settings['z_exponent']:g}-th root of the intensity"
    return said


def _energy(record: dict[str, Any], cite: _Cited) -> str:
    settings = record["settings"]
    what = (
        f"{_what(record['sources'][0], 'spectrum')} was deconvolved along the energy with a measured low-loss spectrum"
    )
    if settings["method"] == "richardson-lucy":
        return f"{what} by Richardson–Lucy iteration{cite('richardson', 'lucy', 'eels')}{_iterations(record)}."
    term, key = _REGULARISERS[settings["regulariser"]]
    return f"{what} by the Fourier-ratio method{cite('eels')} with {term}{cite(key)}. {_lam(record, cite)}"


def _align(record: dict[str, Any], cite: _Cited) -> str:
    found = record["alignment"]
    how, keys = {
        "cross-correlation": ("cross-correlation of neighbouring tilts", 1),
        "centre-of-mass": ("cross-correlation, then centre of mass and common line", 2),
        "projection-matching": ("cross-correlation, centre of mass and common line, then projection matching", 3),
    }[record["settings"]["method"]]
    excluded = record["tilts"].get("excluded", [])
    left_out = f" {len(excluded)} tilt{'s were' if len(excluded) > 1 else ' was'} left out." if excluded else ""
    turned = f"{abs(found['axis_rotation_deg']):.2f}°"
    shifts = [abs(value) for pair in found["shifts_px"] for value in pair]
    given = record["stopped"] == "the shifts were given"
    by = "with shifts that were found elsewhere" if given else f"by {how}{cite(*_ALIGNED_BY[:keys])}"
    return (
        f"{_what(record['sources'][0], 'tilt series')}{_tilts(record)} was aligned {by}; images moved by up to "
        f"{max(shifts, default=0):.2g} px, and the tilt axis was turned by {turned}.{left_out}"
    )


def _tomography(record: dict[str, Any], cite: _Cited) -> str:
    settings = record["settings"]
    algorithm, key = {
        "fbp": (f"filtered back-projection ({settings['filter']} filter)", ("fbp",)),
        "sirt": ("SIRT", ("sirt",)),
        "sart": ("SART", ("sart",)),
        "tv-sart": ("accelerated SART sweeps, each followed by a total-variation step", ("sart", "tv-sart")),
        "tv": ("minimisation of ‖Hx − y‖² + λΣ|∇x| (total variation)", ("tv",)),
        "tikhonov": ("minimisation of ‖Hx − y‖² + λ‖∇x‖² (Tikhonov)", ("tikhonov",)),
        "l1": ("minimisation of ‖Hx − y‖² + λΣ|x|", ("l1", "fista")),
    }[settings["algorithm"]]
    positive = ", with x ≥ 0" if settings["nonnegative"] and settings["algorithm"] != "fbp" else ""
    level = record["background"]["subtracted"]
    before = [f"subtraction of {_number(level)} from the data"] if level else []
    before += [f"{settings['bin']}-fold binning"] if settings["bin"] > 1 else []
    prepared = f" after {' and '.join(before)}" if before else ""
    done = "" if settings["algorithm"] == "fbp" else _iterations(record)
    return (
        f"A volume was reconstructed from {_what(record['sources'][0], 'tilt series', lower=True)}{_tilts(record)}"
        f"{prepared} by {algorithm}{cite(*key)}{positive}{done}. {_lam(record, cite)}".rstrip()
    )


def _components(record: dict[str, Any], cite: _Cited) -> str:
    n, given = record["components"], record["settings"]["n_components"]
    chosen = "a number set by hand" if given else f"those above the noise{cite('biwhitening')}"
    return (
        f"{_what(record['sources'][0], 'spectrum image')} was denoised by keeping {n} principal "
        f"component{'s' if n != 1 else ''} ({chosen}), weighted for counting noise{cite('weighted pca')}, with "
        f"scikit-learn {record['versions']['scikit-learn']}."
    )


def _maps(record: dict[str, Any], cite: _Cited) -> str:
    power = [each for each in record["elements"] if each["exponent"] is not None]
    fitted = f"power laws fitted by maximum likelihood{cite('power law', 'eels')}" if power else "straight lines"
    names = ", ".join(
        f"{each['element']} {each.get('line') or ''}".strip() + f" ({_window(each)})" for each in record["elements"]
    )
    return (
        f"Elemental maps of {names} were made from {_what(record['sources'][0], 'spectrum image', lower=True)} by "
        f"summing the counts of each window and subtracting the background, {fitted} to the channels beside it."
    )


def _fuse(record: dict[str, Any], cite: _Cited) -> str:
    how, roles = record["coupling"], [each["role"] for each in record["sources"]]
    data = "the negative Poisson log-likelihood of the counts" if record["noise"] == "poisson" else "the squared misfit"
    if "backgrounds" in roles or record["settings"]["background"]:
        data += " over their backgrounds"
    if "variances" in roles:
        data += ", over the variance of each pixel,"
    haadf = _what(record["sources"][0], "HAADF image", lower=True)
    said = f"Maps of {', '.join(record['elements'])} were "
    if how == "none":
        given = record["settings"]["coupling"] == "none"
        why = "" if given else ", which predicted data that were left out no better by more than a standard error"
        said += f"denoised without {haadf}{why}; this was done by"
    else:
        said += f"fused with {haadf}{cite('fusion')},"
    said += f" minimising {data} plus λ times the total variation{cite('tv')}"
    if how in ("edges", "both"):
        said += f", which the edges of the HAADF image guide{cite('directional tv')}"
    if how in ("intensity", "both"):
        said += ", plus a term that ties the maps' weighted sum to that image"
    if how == "power":
        said += f", plus a term that ties Σ a x^{record['settings']['gamma']:g} to that image"
    said += ", with x ≥ 0" if record["settings"]["nonnegative"] else ""
    said += f", by a primal–dual method{cite('primal-dual')}{_iterations(record)}. "
    return said + _lam(record, cite, ("thinning",))


_IN_WORDS: dict[str, Callable[[dict[str, Any], _Cited], str]] = {
    "align": _align,
    "deconvolve": _deconvolve,
    "deconvolve_energy": _energy,
    "denoise_spectra": _components,
    "elemental_maps": _maps,
    "fuse": _fuse,
    "reconstruct_tilt_series": _tomography,
}


def _what(source: dict[str, Any], kind: str, *, lower: bool = False) -> str:
    """ "The image scan.mrc (200 kV, pixel size 0.25 nm, dose 1e+04 e⁻/nm²)"; without what is not known."""
    known = source.get("acquired", {})
    facts = [
        f"{known[name]:.4g} {unit}"
        for name, unit in (("voltage_kv", "kV"), ("convergence_mrad", "mrad convergence semi-angle"))
        if name in known
    ]
    facts += [f"collection semi-angle {known['collection_mrad']:.4g} mrad"] if "collection_mrad" in known else []
    facts += [f"pixel size {known['pixel_size_nm']:.4g} nm"] if known.get("pixel_size_nm") else []
    facts += [f"dwell time {known['dwell_time_us']:.4g} µs"] if "dwell_time_us" in known else []
    facts += [f"dose {known['dose_e_per_nm2']:.3g} e⁻/nm²"] if "dose_e_per_nm2" in known else []
    made = source.get("made_by")
    name = "" if made else f" {source['file']['name']}" if "file" in source else ""
    article = "the" if lower else "The"
    return f"{article} {'resulting ' if made else ''}{kind}{name}" + (f" ({', '.join(facts)})" if facts else "")


def _tilts(record: dict[str, Any]) -> str:
    """ " of 71 images from −70° to 70° in steps of 2°, tilt axis along y," """
    tilts = record["tilts"]
    if not tilts.get("range_deg"):
        return ""
    low, high = (f"{angle:.4g}".replace("-", "−") for angle in tilts["range_deg"])
    step = f" in steps of {tilts['step_deg']:.3g}°" if tilts["step_deg"] else ""
    return f" of {tilts['count']} images from {low}° to {high}°{step} (tilt axis along {tilts['axis']})"


def _number(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def _psf(psf: dict[str, Any]) -> str:
    if psf["model"] == "gaussian":
        return f"a Gaussian point-spread function (σ = {psf['sigma']:.4g} {psf['unit']})"
    if psf["model"] == "lorentzian":
        return f"a Lorentzian point-spread function (FWHM {psf['fwhm']:.4g} {psf['unit']})"
    if psf["model"] == "airy":
        return f"an Airy disc ({psf['voltage_kv']:.4g} kV, semi-angle {psf['convergence_mrad']:.4g} mrad)"
    if psf["model"] == "stem probe":
        return (
            f"a computed STEM probe ({psf['voltage_kv']:.4g} kV, semi-angle {psf['convergence_mrad']:.4g} mrad, "
            f"defocus {psf['defocus_nm']:.4g} nm, C3 {psf['c3_mm']:.4g} mm, source {psf['source_fwhm_nm']:.4g} nm FWHM)"
        )
    return "a measured point-spread function" if psf["model"] == "measured" else "a given point-spread function"


def _iterations(record: dict[str, Any]) -> str:
    n = record["n_iter"]
    return f" ({n} iteration{'s' if n != 1 else ''}; {record['stopped']})"


def _lam(record: dict[str, Any], cite: _Cited, keys: tuple[str, ...] = ()) -> str:
    """How large λ was, and what chose it; empty where the method has none."""
    lam, rule = record["lam"], record["lam_rule"].partition(" (")[0].partition(",")[0].partition(":")[0]
    if not lam:
        return ""
    if rule == "given":
        return f"The weight λ = {lam:.4g} was set by hand."
    words, known = _RULES.get(rule, (record["lam_rule"], ()))
    return f"The weight λ = {lam:.4g} was chosen from the data by {words}{cite(*known, *keys)}."


def _window(element: dict[str, Any]) -> str:
    low, high = element["signal"]
    return f"{low:.5g}–{high:.5g} eV"
