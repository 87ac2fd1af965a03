"""The paragraph says what was done, with the numbers of the record, and cites what it names."""

import re

import numpy as np
import pytest
from recorded import METHODS, recorded

import napari_invrecon as ir
from napari_invrecon.records.history import Origin, with_history, with_origins
from napari_invrecon.records.methods import _REFERENCES, methods_paragraph

SAID = {
    "align": ["13 images from −60° to 60° in steps of 10° (tilt axis along y)", "by cross-correlation of neighbouring"],
    "deconvolve": ["Gaussian point-spread function (σ = 1.5 px)", "λ‖∇x‖² (Tikhonov)", "in closed form", "chosen from"],
    "deconvolve_energy": ["along the energy", "Fourier-ratio", "generalised cross-validation"],
    "denoise_spectra": ["keeping 2 principal components", "scikit-learn"],
    "elemental_maps": ["O K", "eV", "power laws fitted by maximum likelihood"],
    "fuse": [
        "Maps of 1, 2",
        "minimising the negative Poisson log-likelihood",
        "with x ≥ 0",
        "the edges of the HAADF image guide",
        "weighted sum",
        "data that were left out",
    ],
    "reconstruct_tilt_series": ["from −60° to 60°", "SART sweeps", "4 iterations", "λ = 0.01 was set by hand", "x ≥ 0"],
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_told_with_its_numbers_and_references(method):
    record = recorded(method)[0].record
    told, *references = methods_paragraph(record).split("\n")
    for each in SAID[method]:
        assert each in told, told
    assert f"napari-invrecon {record['versions']['napari-invrecon']}" in told
    assert f"numpy {record['versions']['numpy']}" in told
    if record["lam"]:
        assert f"λ = {record['lam']:.4g}" in told
    cited = {int(n) for group in re.findall(r"\[([\d, ]+)\]", told) for n in group.split(",")}
    listed = [int(line[1 : line.index("]")]) for line in references if line]
    assert listed == sorted(cited) == list(range(1, len(listed) + 1))
    assert any("doi:10." in line for line in references)
    assert "None" not in told
    assert ".." not in told


@pytest.mark.parametrize("regulariser", ["tv", "l1", "wavelet", "roughness", "denoiser", "l2"])
def test_every_regulariser_is_told(regulariser):
    _, sources = recorded("deconvolve")
    record = ir.deconvolve(*sources, regulariser=regulariser, n_iter=2, lam=0.1).record
    assert "by minimising" in methods_paragraph(record)


def test_what_was_left_out_and_a_heuristic_are_told():
    _, (image, psf) = recorded("deconvolve")
    seen = np.ones(image.shape, bool)
    seen[3:5, 7] = False
    settings = {"regulariser": "denoiser", "denoiser": "nlm (heuristic)", "lam": 0.1, "z_exponent": 1.7}
    told = methods_paragraph(ir.deconvolve(image, psf, seen, **settings).record)
    assert "scikit-image's non-local means as a plug-and-play denoiser, for which no objective is known" in told
    assert "; 2 pixels were left out; the result is the 1.7-th root of the intensity. The weight" in told


def test_backgrounds_and_variances_of_maps_are_told():
    _, (haadf, maps) = recorded("fuse")
    settings = {"coupling": "none", "lam": 1.0, "n_iter": 2}
    counted = ir.fuse(haadf, maps, backgrounds=np.ones(maps.shape), noise="poisson", **settings).record
    assert "log-likelihood of the counts over their backgrounds plus λ times" in methods_paragraph(counted)
    valued = ir.fuse(haadf, maps, variances=np.ones(maps.shape), noise="gaussian", **settings).record
    assert "the squared misfit, over the variance of each pixel, plus λ times" in methods_paragraph(valued)


def test_what_was_subtracted_of_a_tilt_series_is_told():
    _, (stack, angles) = recorded("reconstruct_tilt_series")
    record = ir.reconstruct_tilt_series(stack, angles, algorithm="fbp", background=-2.5, bin=2).record
    told = methods_paragraph(record)
    assert "after subtraction of −2.5 from the data and 2-fold binning by filtered back-projection" in told


@pytest.mark.parametrize("algorithm", ["fbp", "sirt", "sart", "tv", "tikhonov", "l1"])
def test_every_algorithm_is_told(algorithm):
    _, sources = recorded("reconstruct_tilt_series")
    record = ir.reconstruct_tilt_series(*sources, algorithm=algorithm, n_iter=2, lam=0.1).record
    told = methods_paragraph(record)
    assert ("λ = 0.1" in told) == (algorithm not in ("fbp", "sirt", "sart"))


def test_an_haadf_image_that_was_not_used_is_not_said_to_be_fused():
    _, (haadf, maps) = recorded("fuse")
    record = ir.fuse(haadf, maps, coupling="none", lam=1.0, n_iter=5).record
    told = methods_paragraph(record)
    assert "Maps of 1, 2 were denoised without the HAADF image; this was done by minimising" in told
    assert "Schwartz" not in told
    left_out = {**record, "settings": {**record["settings"], "coupling": None}}
    assert "which predicted data that were left out no better" in methods_paragraph(left_out)


def test_a_chain_is_told_in_order_with_dose_voltage_and_pixel_size():
    aligned, _ = recorded("align")
    known = {
        "file_name": "needle.mrc",
        "voltage_kv": 300,
        "dose_e_per_nm2": 1.2e5,
        "pixel_size_nm": 3.36,
        "dwell_time_us": 12,
    }
    first = ir.Reconstruction(aligned.data, 0.0, with_origins(aligned.record, {"stack": Origin(acquisition=known)}))
    volume = ir.reconstruct_tilt_series(aligned.data, aligned.angles_deg, lam=0.01, n_iter=2)
    told = methods_paragraph(with_history(volume, first))
    assert told.startswith(
        "The tilt series needle.mrc (300 kV, pixel size 3.36 nm, dwell time 12 µs, dose 1.2e+05 e⁻/nm²) of 13 images"
    )
    assert told.index("was aligned by") < told.index("A volume was reconstructed from the resulting tilt series")


def test_no_two_references_share_a_key_by_mistake():
    with_doi = [text for text in _REFERENCES.values() if "doi:" in text]
    assert all(re.search(r"doi:10\.\d{4,}/\S+$", text) for text in with_doi)
    assert len(with_doi) > 20
