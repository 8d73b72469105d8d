"""An export file is read as it was written; the error for a malformed file states the invalid line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grounds_record.errors import ExportMalformed
from grounds_record.export import Export, RetentionProof
from grounds_record.export_file import read_export, write_export
from tests.record.logs import LOG, NEW


def full_export() -> Export:
    """Return an export in which every field is set."""
    rows = [replace(row, columns={"kind": "X"}) for row in LOG.rows[5:9]]
    rows[1] = replace(rows[1], ciphertext=None, columns=None)
    retained = RetentionProof(LOG.rows[50], LOG.proof(50, 100))
    return Export(
        start=5,
        records=rows,
        before=LOG.nodes(0, 5),
        after=LOG.nodes(9, 100),
        retentions=(retained,),
        consistency=((60, (b"\x00" * 32,)), (0, ())),
    )


def test_every_field_is_read_as_it_was_written(tmp_path: Path) -> None:
    count = write_export(tmp_path / "log", full_export(), NEW)

    found, note = read_export(tmp_path / "log")

    assert count == 4
    assert note == NEW
    assert replace(found, records=list(found.records)) == full_export()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def read_all(path: Path) -> None:
    """Read an export with all its records."""
    list(read_export(path)[0].records)


HEAD: dict[str, Any] = {
    "format": 1,
    "start": 0,
    "checkpoint": "",
    "before": [],
    "after": [],
    "retentions": [],
    "consistency": [],
}
RECORD: dict[str, Any] = {"index": 0, "header": "", "ciphertext": None, "nodes": [], "columns": None}
WRONG = [
    ({"format": 2}, {}, "format 1"),
    ({"start": -1}, {}, "line 1"),
    ({"start": "0"}, {}, "line 1"),
    ({"before": "AA=="}, {}, "line 1"),
    ({"before": ["AB=="]}, {}, "line 1"),
    ({"retentions": [{}]}, {}, "line 1"),
    ({"consistency": [[1]]}, {}, "line 1"),
    ({"checkpoint": None}, {}, "line 1"),
    ({}, {"index": True}, "line 2"),
    ({}, {"header": "A"}, "line 2"),
    ({}, {"ciphertext": 7}, "line 2"),
    ({}, {"columns": {"kind": 7}}, "line 2"),
    *(({}, {"columns": wrong}, "line 2") for wrong in ([], ["kind"], "kind", "", 0, 7, False, True)),
    *(({}, {name: wrong}, "line 2") for name in ("index", "header", "nodes") for wrong in ({}, None, [None], "ü", 0.5)),
    *(({}, {"ciphertext": wrong}, "line 2") for wrong in ({}, [], "ü", 0.5, False)),
    *(({name: wrong}, {}, "line 1") for name in ("before", "after", "start") for wrong in ({}, None, "", 0.5, [0])),
    *(({name: wrong}, {}, "line 1") for name in ("retentions", "consistency") for wrong in (None, 7, [0], [[]], "ü")),
]


@pytest.mark.parametrize(("head", "record", "message"), WRONG, ids=str)
def test_the_error_for_a_malformed_export_states_the_line(
    tmp_path: Path, head: dict[str, Any], record: dict[str, Any], message: str
) -> None:
    path = tmp_path / "log"
    path.write_text(json.dumps({**HEAD, **head}) + "\n" + json.dumps({**RECORD, **record}) + "\n")

    with pytest.raises(ExportMalformed, match=message):
        read_all(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(max_size=200))
def test_any_bytes_raise_only_export_malformed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)

    with pytest.raises(ExportMalformed):
        read_all(tmp_path / "log")


def test_a_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ExportMalformed, match="nowhere"):
        read_all(tmp_path / "nowhere")
