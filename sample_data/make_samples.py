"""Make the sample acquisitions of this folder: ``python sample_data/make_samples.py``.

Every object is a set of ellipsoids, whose thickness along a ray is known in closed form, so nothing here shares code,
pixels or interpolation with the reconstructions that are shown on these files. Rays are traced on a grid `OVERSAMPLING`
times finer than the detector's, blurred by a Gaussian probe on that grid, averaged into the detector's pixels, counted
with Poisson noise and digitised. Seeded: the same files come out again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import mrcfile
import numpy as np
from mrcfile.dtypes import fei1_dtype_big_endian
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from collections.abc import Iterable

OVERSAMPLING = 4
SEED = 20240607
VOLTAGE_V = 200e3

# The HAADF image and the maps show one field of view, on one grid.
FIELD_SHAPE = (320, 384)
FIELD_PIXEL_NM = 0.25
PROBE_SIGMA_NM = 0.75
HAADF_PEAK_ELECTRONS = 1000.0
HAADF_GAIN, HAADF_OFFSET, HAADF_READOUT = 16.0, 400.0, 4.0
MAP_PEAK_COUNTS = {"Ce M45": 10.0, "Co L23": 7.0}

# The spectrum image shows the same field on pixels eight times as wide.
SPECTRUM_BINNING = 8
ENERGIES_EV = np.arange(650.0, 1162.0, 2.0)
BACKGROUND_COUNTS, BACKGROUND_EXPONENT = 15.0, 3.0  # in the first channel where the field is thickest; as E^−r
FILM_SHARE = 0.2  # of the background's amplitude
# An edge: its onset, counts in its first channel where there is most, and its white lines (energy, height over that).
EDGES = {"Co3O4": (779.0, 4.0, ((780.5, 3.0), (795.5, 1.5))), "CeO2": (883.0, 3.0, ((885.0, 4.0), (903.0, 3.0)))}
WHITE_LINE_SIGMA_EV = 2.5

TILT_SHAPE = (96, 128)
TILT_PIXEL_NM = 1.0
TILT_ANGLES_DEG = np.arange(-70.0, 71.0, 2.0)
TILT_PROBE_SIGMA_NM = 0.5
TILT_PEAK_ELECTRONS = 250.0
TILT_GAIN, TILT_READOUT = 20.0, 5.0

# Σ n·Z^1.7 over the atoms of one nm³: CeO2 at 7.2 g/cm³, Co3O4 at 6.1 g/cm³, amorphous carbon at 2 g/cm³.
HAADF_PER_NM = {"CeO2": 26.9, "Co3O4": 14.5, "C": 2.1}
FILM_NM = 10.0


@dataclass(frozen=True)
class Ellipsoid:
    """One body: ``weight`` times its material, inside the surface |diag(1/semi_axes)·R⁻¹·(p − centre)| = 1.

    Lengths in nm, ``(x, y, z)`` about the middle of the field; R turns by ``turn_deg`` about z. A negative weight digs
    a hole: a pore, or the place that a core takes in its shell.
    """

    material: str
    centre: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    weight: float = 1.0
    turn_deg: float = 0.0


def ball(material: str, centre: tuple[float, float, float], radius: float, weight: float = 1.0) -> Ellipsoid:
    """A sphere of that radius in nm."""
    return Ellipsoid(material, centre, (radius, radius, radius), weight)


def core_and_shell(core: Ellipsoid, shell: Ellipsoid) -> list[Ellipsoid]:
    """A shell whose inside is taken by the core."""
    return [shell, Ellipsoid(shell.material, core.centre, core.semi_axes, -shell.weight, core.turn_deg), core]


def ellipsoid_thickness(body: Ellipsoid, x: np.ndarray, y: np.ndarray, angle_deg: float) -> np.ndarray:
    """Length in nm of the ray at detector position (x, y) inside the body, the stage tilted about y by ``angle_deg``.

    The detector's x is u = x·cos θ + z·sin θ, so a ray runs along (−sin θ, 0, cos θ) through (u·cos θ, y, u·sin θ).
    With p, d the ray's point and direction in the frame where the body is a unit sphere, the length is
    2·√((p·d)² − d·d·(p·p − 1)) / d·d.
    """
    theta, turn = np.deg2rad(angle_deg), np.deg2rad(body.turn_deg)
    point = [x * np.cos(theta) - body.centre[0], y - body.centre[1], x * np.sin(theta) - body.centre[2]]
    direction = [-np.sin(theta), 0.0, np.cos(theta)]

    def in_unit_sphere(v: list) -> list:
        turned = (v[0] * np.cos(turn) + v[1] * np.sin(turn), v[1] * np.cos(turn) - v[0] * np.sin(turn), v[2])
        return [component / length for component, length in zip(turned, body.semi_axes, strict=True)]

    p, d = in_unit_sphere(point), in_unit_sphere(direction)
    dd = sum(k * k for k in d)
    pd = sum(a * b for a, b in zip(p, d, strict=True))
    pp = sum(k * k for k in p)
    return 2.0 * np.sqrt(np.maximum(pd * pd - dd * (pp - 1.0), 0.0)) / dd


def blurred_thickness(
    bodies: Iterable[Ellipsoid], shape: tuple[int, int], pixel_nm: float, probe_sigma_nm: float, angle_deg: float = 0.0
) -> np.ndarray:
    """Weighted thickness in nm, averaged over the probe and over each detector pixel; (y, x), float64."""
    fine_nm = pixel_nm / OVERSAMPLING
    margin = int(np.ceil(6.0 * probe_sigma_nm / pixel_nm))
    y, x = (
        (np.arange((n + 2 * margin) * OVERSAMPLING) - ((n + 2 * margin) * OVERSAMPLING - 1) / 2) * fine_nm
        for n in shape
    )
    total = np.zeros((y.size, x.size))
    for body in bodies:
        total += body.weight * ellipsoid_thickness(body, x[None, :], y[:, None], angle_deg)
    blurred = gaussian_filter(total, probe_sigma_nm / fine_nm, truncate=6.0)
    pixels = blurred.reshape(y.size // OVERSAMPLING, OVERSAMPLING, x.size // OVERSAMPLING, OVERSAMPLING).mean((1, 3))
    return pixels[margin:-margin, margin:-margin]


def field_bodies() -> list[Ellipsoid]:
    """Flat core–shell particles on a film (one large, one small, one cut by the frame) with pores and fine grains."""
    rng = np.random.default_rng(SEED)
    large = core_and_shell(
        Ellipsoid("CeO2", (-13.0, 2.0, 0.0), (16.0, 13.0, 6.0), turn_deg=25.0),
        Ellipsoid("Co3O4", (-12.0, 1.0, 0.0), (25.0, 22.0, 10.0), turn_deg=-15.0),
    )
    small = core_and_shell(ball("CeO2", (26.5, -14.0, 0.0), 5.0), ball("Co3O4", (26.0, -13.5, 0.0), 10.0))
    cut = core_and_shell(
        Ellipsoid("CeO2", (43.0, 36.0, 0.0), (9.0, 9.0, 5.0)), Ellipsoid("Co3O4", (43.0, 36.0, 0.0), (15.0, 15.0, 8.0))
    )
    pores = [
        ball("CeO2", (-13.0 + dx, 2.0 + dy, 0.0), radius, -1.0)
        for dx, dy, radius in [(-7.0, -2.0, 2.0), (1.0, 5.0, 2.4), (3.0, -5.0, 1.6), (7.5, 1.0, 2.0), (-3.0, 1.5, 1.3)]
    ]
    rim = [
        ball("CeO2", (-12.0 + 21.0 * np.cos(turn), 1.0 + 18.5 * np.sin(turn), 0.0), rng.uniform(1.0, 1.8))
        for turn in np.arange(0.0, 2 * np.pi, 2 * np.pi / 26)
    ]
    # Pairs of 2.8 nm grains, 5, 4 and 3.2 nm apart: the probe, 1.8 nm wide, runs them into each other.
    pairs = [
        ball("CeO2", (17.0 + side * gap / 2, y, 0.0), 1.4)
        for y, gap in [(16.0, 5.0), (24.0, 4.0), (32.0, 3.2)]
        for side in (-1.0, 1.0)
    ]
    debris = [ball("CeO2", (rng.uniform(-46, 12), rng.uniform(30, 38), 0.0), rng.uniform(0.8, 1.6)) for _ in range(16)]
    return [*large, *small, *cut, *pores, *rim, *pairs, *debris]


def material_thickness(material: str) -> np.ndarray:
    """Thickness in nm of one material over the field of the HAADF image and the maps, as the probe sees it."""
    bodies = [body for body in field_bodies() if body.material == material]
    return blurred_thickness(bodies, FIELD_SHAPE, FIELD_PIXEL_NM, PROBE_SIGMA_NM)


def haadf_image() -> np.ndarray:
    """HAADF in detector units, uint16: gain · electrons + offset + read-out noise; signal ∝ Σ thickness · n·Z^1.7."""
    rng = np.random.default_rng(SEED + 1)
    signal = sum(HAADF_PER_NM[material] * material_thickness(material) for material in ("CeO2", "Co3O4"))
    signal = signal + HAADF_PER_NM["C"] * FILM_NM
    electrons = rng.poisson(signal * (HAADF_PEAK_ELECTRONS / signal.max()))
    read = HAADF_GAIN * electrons + HAADF_OFFSET + rng.normal(0.0, HAADF_READOUT, electrons.shape)
    return np.clip(np.rint(read), 0, 65535).astype(np.uint16)


def elemental_maps() -> dict[str, np.ndarray]:
    """Counts in the edges' windows, uint8, with no background under them; proportional to thickness."""
    rng = np.random.default_rng(SEED + 2)
    counts = {}
    for (edge, peak), material in zip(MAP_PEAK_COUNTS.items(), ("CeO2", "Co3O4"), strict=True):
        thickness = material_thickness(material)
        counts[edge] = rng.poisson(thickness * (peak / thickness.max())).astype(np.uint8)
    return counts


def edge_shape(onset_ev: float, white_lines: Iterable[tuple[float, float]]) -> np.ndarray:
    """One edge over `ENERGIES_EV`, 1 just above its onset: a falling power law behind it, and Gaussian white lines."""
    behind = np.where(onset_ev <= ENERGIES_EV, (ENERGIES_EV / onset_ev) ** -3.5, 0.0)
    peaks = (h * np.exp(-((ENERGIES_EV - e) ** 2) / (2 * WHITE_LINE_SIGMA_EV**2)) for e, h in white_lines)
    return behind + sum(peaks)


def spectrum_image() -> np.ndarray:
    """EELS counts, uint8 (energy, y, x): A·E^−r from all that the beam passes, and each material's edge."""
    rng = np.random.default_rng(SEED + 5)
    binned = {material: _binned(material_thickness(material), SPECTRUM_BINNING) for material in EDGES}
    passed = sum(binned.values())
    amplitude = BACKGROUND_COUNTS * (FILM_SHARE + (1 - FILM_SHARE) * passed / passed.max())
    expected = (ENERGIES_EV / ENERGIES_EV[0])[:, None, None] ** -BACKGROUND_EXPONENT * amplitude
    for material, (onset_ev, counts, white_lines) in EDGES.items():
        share = binned[material] / binned[material].max()
        expected += counts * edge_shape(onset_ev, white_lines)[:, None, None] * share
    return rng.poisson(expected).astype(np.uint8)


def _binned(image: np.ndarray, times: int) -> np.ndarray:
    ny, nx = image.shape
    return image.reshape(ny // times, times, nx // times, times).mean((1, 3))


def tilt_bodies() -> list[Ellipsoid]:
    """A porous support with metal particles in and on it; ``weight`` is the scattering of 1 nm, metal in air = 1."""
    support_axes = (36.0, 32.0, 24.0)
    support = Ellipsoid("support", (0.0, 0.0, 0.0), support_axes, 0.15, turn_deg=10.0)
    pores = [
        ball("support", (-14.0, 6.0, 6.0), 8.0, -0.15),
        ball("support", (12.0, -12.0, -6.0), 7.0, -0.15),
        Ellipsoid("support", (10.0, 13.0, 8.0), (5.0, 8.0, 6.0), -0.15),
    ]
    rng = np.random.default_rng(SEED + 3)
    metal: list[Ellipsoid] = []
    while len(metal) < 22:
        direction = rng.standard_normal(3)
        place = rng.uniform(0.4, 1.0) * np.array(support_axes) * direction / np.linalg.norm(direction)
        radius = rng.uniform(2.0, 5.0)
        if all(np.linalg.norm(place - other.centre) > radius + other.semi_axes[0] for other in metal):
            metal.append(ball("metal", (place[0], place[1], place[2]), radius))
    return [support, *pores, *metal]


def tilt_series() -> np.ndarray:
    """HAADF tilt series about y, int16 (tilt, y, x): gain · electrons + read-out noise, 0 in vacuum; aligned."""
    rng = np.random.default_rng(SEED + 4)
    bodies = tilt_bodies()
    clean = np.stack(
        [blurred_thickness(bodies, TILT_SHAPE, TILT_PIXEL_NM, TILT_PROBE_SIGMA_NM, a) for a in TILT_ANGLES_DEG]
    )
    electrons = rng.poisson(np.maximum(clean, 0.0) * (TILT_PEAK_ELECTRONS / clean.max()))
    return np.rint(TILT_GAIN * electrons + rng.normal(0.0, TILT_READOUT, clean.shape)).astype(np.int16)


def fei1_header(n: int, pixel_nm: float, dwell_s: float, angles_deg: np.ndarray) -> np.ndarray:
    """Thermo Fisher's FEI1 extended header, one record an image; a bitmask's set bit says that its field is valid."""
    header = np.zeros(n, fei1_dtype_big_endian.newbyteorder("<"))
    header["Metadata size"] = header.dtype.itemsize
    fields = {
        "Bitmask 1": {
            5: ("HT", VOLTAGE_V),
            7: ("Alpha tilt", angles_deg),
            14: ("Pixel size X", pixel_nm * 1e-9),
            15: ("Pixel size Y", pixel_nm * 1e-9),
        },
        "Bitmask 3": {7: ("STEM Detector name", b"HAADF"), 15: ("Dwell time", dwell_s)},
    }
    for bitmask, entries in fields.items():
        for bit, (name, value) in entries.items():
            header[name] = value
            header[bitmask] |= np.uint32(1 << bit)
    return header


def write_mrc(path: Path, data: np.ndarray, pixel_nm: float, header: np.ndarray, label: str) -> None:
    """MRC2014 with its pixel size in Å; the label has no date, so that the same data make the same file."""
    with mrcfile.new(path, data, overwrite=True) as mrc:
        if data.ndim == 3:
            mrc.set_image_stack()
        mrc.voxel_size = (10 * pixel_nm, 10 * pixel_nm, 0.0 if data.ndim == 3 else 10 * pixel_nm)
        mrc.set_extended_header(header)
        mrc.header.exttyp = b"FEI1"
        mrc.header.label[:] = b""
        mrc.header.label[0] = label.encode()
        mrc.header.nlabl = 1
        mrc.update_header_stats()


def write_berkeley_emd(path: Path, signals: dict[str, np.ndarray], pixel_nm: float, dwell_s: float) -> None:
    """Berkeley EMD 0.2: one group a signal, with its (y, x) coordinates in nm, and its energies in eV."""
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        for name, counts in signals.items():
            group = file.create_group(f"data/{name}")
            group.attrs["emd_group_type"] = 1
            data = group.create_dataset("data", data=counts, compression="gzip", shuffle=True)
            data.attrs["name"], data.attrs["units"] = name, "[counts]"
            plane = list(zip("yx", counts.shape[-2:], strict=True))
            binning = pixel_nm / FIELD_PIXEL_NM  # so that the corners of both fields coincide
            axes = [(axis, "[n_m]", pixel_nm * (np.arange(n) + (binning - 1) / 2 / binning)) for axis, n in plane]
            energies = [("energy", "[eV]", ENERGIES_EV)] if counts.ndim == 3 else []
            for number, (axis, unit, values) in enumerate(energies + axes, start=1):
                coordinates = group.create_dataset(f"dim{number}", data=values)
                coordinates.attrs["name"], coordinates.attrs["units"] = axis, unit
        microscope = file.create_group("microscope")
        microscope.attrs["high tension"], microscope.attrs["dwell time"] = VOLTAGE_V, dwell_s
        file.create_group("sample").attrs["sample name"] = "generated CeO2 core, Co3O4 shell"


def main(folder: Path) -> None:
    """Write the files into a folder."""
    haadf_header = fei1_header(1, FIELD_PIXEL_NM, 40e-6, np.zeros(1))
    write_mrc(
        folder / "core_shell_haadf.mrc",
        haadf_image(),
        FIELD_PIXEL_NM,
        haadf_header,
        f"Generated HAADF of core-shell particles; Gaussian probe, sigma {PROBE_SIGMA_NM} nm",
    )
    write_berkeley_emd(folder / "core_shell_eels_maps.emd", elemental_maps(), FIELD_PIXEL_NM, 2e-3)
    spectra = {"core-shell EELS": spectrum_image()}
    write_berkeley_emd(folder / "core_shell_eels_si.emd", spectra, SPECTRUM_BINNING * FIELD_PIXEL_NM, 0.1)
    tilt_header = fei1_header(TILT_ANGLES_DEG.size, TILT_PIXEL_NM, 10e-6, TILT_ANGLES_DEG)
    write_mrc(
        folder / "particles_tilt_series.mrc",
        tilt_series(),
        TILT_PIXEL_NM,
        tilt_header,
        "Generated HAADF tilt series, -70 to 70 deg about y; aligned",
    )
    for path in sorted(folder.glob("*.mrc")) + sorted(folder.glob("*.emd")):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(__file__).parent)
