"""A chain of steps keeps its whole history, each step once, with the hashes of the arrays in between."""

import json

import numpy as np
import pytest
from recorded import recorded

import napari_invrecon as ir
from napari_invrecon.recon.probe import GaussianPSF
from napari_invrecon.records.history import Origin, steps, with_history, with_origins


@pytest.fixture(scope="module")
def chain():
    """align → reconstruct → deconvolve → fuse, each on what the one before made."""
    aligned, _ = recorded("align")
    volume = ir.reconstruct_tilt_series(aligned.data, aligned.angles_deg, lam=0.01, n_iter=2)
    whole = ir.deconvolve(volume.data, GaussianPSF(1.0), lam=0.01, regulariser="tikhonov")
    maps = np.random.default_rng(0).poisson(4, (2, 16, 24))
    fused = ir.fuse(whole.data[10], maps, lam=1.0, coupling="edges", n_iter=20)
    return aligned, volume, whole, fused


def test_the_notebook_s_history_is_found_by_hash(chain):
    aligned, volume, whole, _ = chain
    record = with_history(whole, aligned, volume)
    assert [each["method"] for each in steps(record)] == ["align", "reconstruct_tilt_series", "deconvolve"]
    assert record["sources"][0]["made_by"] == volume.record["result"]["sha256"]
    earlier = record["history"][volume.record["result"]["sha256"]]
    assert earlier["sources"][0]["made_by"] == aligned.record["result"]["sha256"]
    assert ir.check_record(json.loads(json.dumps(record))) == record
    assert "history" not in whole.record, "the result's own record is not written to"


def test_a_result_that_was_not_used_is_no_history(chain):
    _, volume, whole, fused = chain
    with pytest.raises(ValueError, match="the result of fuse is no source of this one"):
        with_history(whole, volume, fused)


def test_four_steps_stay_small_and_each_is_kept_once(chain):
    aligned, volume, whole, fused = chain
    record = with_history(whole, aligned, volume)
    elements = [Origin(layer=name, record=record | {"part": i}) for i, name in enumerate(("Ce", "Co"))]
    found = with_origins(fused.record, {"haadf": Origin(layer="HAADF", record=record), "maps": elements})
    assert [each["method"] for each in steps(found)] == ["align", "reconstruct_tilt_series", "deconvolve", "fuse"]
    assert [each["part"] for each in found["sources"][1]["layers"]] == [0, 1]
    alone = [len(json.dumps(each.record)) for each in (aligned, volume, whole, fused)]
    assert len(json.dumps(found)) < sum(alone) + 2000
    assert ir.check_record(json.loads(json.dumps(found))) == found
    assert all("history" not in each for each in found["history"].values())


def test_an_origin_tells_the_file_and_what_the_microscope_did():
    acquisition = {
        "file_name": "scan.mrc", "sha256": "0" * 64, "signal": "HAADF", "voltage_kv": 200, "dose_e_per_nm2": 1e4,
        "axes": [], "kind": "image",
    }  # fmt: skip
    record = with_origins(recorded("deconvolve")[0].record, {"image": Origin("HAADF", "/data/scan.mrc", acquisition)})
    source = record["sources"][0]
    assert source["layer"] == "HAADF"
    assert source["file"] == {"name": "scan.mrc", "path": "/data/scan.mrc", "signal": "HAADF", "sha256": "0" * 64}
    assert source["acquired"] == {"voltage_kv": 200, "dose_e_per_nm2": 1e4}
    assert ir.check_record(record) == record


def test_a_result_s_acquisition_names_no_file_of_its_own():
    """A volume hands on where its stack was read, but is not what that file holds."""
    made = recorded("reconstruct_tilt_series")[0].record
    origin = Origin("volume", "", {"file_name": "scan.mrc", "voltage_kv": 200}, made)
    assert origin.describe() == {
        "layer": "volume", "made_by": made["result"]["sha256"], "acquired": {"voltage_kv": 200}
    }  # fmt: skip
