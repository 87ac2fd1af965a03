"""Every method's record has the documented fields, and what is no record is refused in words."""

import copy
import json
import re
from pathlib import Path

import pytest
from recorded import METHODS, recorded

import napari_invrecon as ir
from napari_invrecon.recon.record import SCHEMA
from napari_invrecon.records import schema

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_s_record_has_the_schema_s_fields_and_no_others(method):
    record = recorded(method)[0].record
    assert ir.check_record(json.loads(json.dumps(record, allow_nan=False))) == record
    assert schema.undescribed(record) == []
    assert record["schema"] == SCHEMA


def test_every_method_is_tried():
    assert METHODS.keys() == schema.METHODS.keys()


def test_the_document_has_every_field_of_the_schema_and_every_method_no_others():
    """Each section's tables against the schema's."""
    text = (REPOSITORY / "docs" / "record.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^#{2,3} ([^\n]*)\n(.*?)(?=^#{2,3} |\Z)", text, re.MULTILINE | re.DOTALL))

    def fields(section):
        rows = re.findall(r"^\| (`[^|]*`) \|", sections[section], re.MULTILINE)
        return {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    def names(table):
        return {name.removeprefix("?") for name in table}

    assert fields("Fields of every record") == names(schema.COMMON)
    assert fields("A source") == names(schema.SOURCE)
    for method, described in schema.METHODS.items():
        assert fields(method) == names(described.fields), method
        for role in (*described.sources, *described.optional_sources):
            assert f"`{role}`" in sections[method]


@pytest.mark.parametrize("method", ["align", "reconstruct_tilt_series"])
def test_the_tilts_of_a_series_are_told(method):
    tilts = recorded(method)[0].record["tilts"]
    assert (tilts["count"], tilts["range_deg"], tilts["step_deg"], tilts["axis"]) == (13, [-60, 60], 10, "y")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("lam", "0.1", "field 'lam': expected a finite number, got '0.1'"),
        ("lam", float("nan"), "field 'lam': expected a finite number"),
        ("residual", 3, "field 'residual': expected a list of numbers"),
        ("result", {"shape": [1]}, "field 'result': expected shape, dtype and sha256"),
        ("started", "yesterday", "field 'started': expected a date and time"),
        ("sources", [{"role": "psf"}], "expected sources image, psf, weights, reference, got psf"),
        ("settings", {"tv": 1}, "settings hold 'tv', which this version does not know"),
        ("settings", {"n_iter": -1}, "n_iter=-1: expected a number from 1"),
        ("settings", {"n_iter": "many"}, "n_iter='many': expected a number"),
        ("history", {"f" * 64: {"method": "guess"}}, "history.'ffffffff'.: expected the record of an earlier step"),
        ("schema", SCHEMA + 1, f"this version reads 1 to {SCHEMA}: it was made with"),
        ("schema", None, "has schema None"),
        ("method", "guess", "method is 'guess': expected 'align' or"),
    ],
)
def test_a_record_that_was_edited_is_refused(field, value, message):
    record = copy.deepcopy(recorded("deconvolve")[0].record)
    record[field] = value
    with pytest.raises(ValueError, match=message):
        ir.check_record(record)


@pytest.mark.parametrize("field", [name for name in schema.COMMON if not name.startswith("?")])
def test_a_record_without_a_field_is_refused(field):
    record = {k: v for k, v in recorded("deconvolve")[0].record.items() if k != field}
    with pytest.raises(ValueError, match="expected the record" if field == "method" else field):
        ir.check_record(record)


@pytest.mark.parametrize("record", [None, [], "x", {}])
def test_what_is_no_record_is_refused(record):
    with pytest.raises(ValueError, match="expected the record of a reconstruction"):
        ir.check_record(record)


def test_schema_1_is_read_and_replayed():
    """An aligned volume as the first schema had it: the alignment's record in the source, no hash of the result."""
    aligned, _ = recorded("align")
    volume = ir.reconstruct_tilt_series(aligned.data, aligned.angles_deg, lam=0.01, n_iter=2)
    old = copy.deepcopy(aligned.record) | {"schema": 1, "method": "alignment"}
    old["sources"] = old["sources"][:1]
    for name in ("result", "lam", "lam_rule", "curve", "data_scale", "n_iter", "stopped", "maps", "tilts", "residual"):
        del old[name]
    record = copy.deepcopy(volume.record) | {"schema": 1}
    del record["result"]
    record["sources"][0]["record"] = old
    found = ir.check_record(record)
    assert found["schema"] == SCHEMA
    made_by = found["sources"][0]["made_by"]
    assert found["history"][made_by]["method"] == "align"
    assert found["history"][made_by]["result"] == aligned.record["result"]
    assert (ir.replay(record, [aligned.data]).data == volume.data).all()
