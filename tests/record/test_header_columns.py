"""Header columns are derived from the header, and a stored column that differs is reported."""

from dataclasses import replace

import pytest

from grounds_record.export import StoredRecord
from grounds_record.header import header_columns, parse_header
from grounds_record.verification_report import FaultKind
from tests.record.logs import LOG, check, fault_positions, header

LABELS = {"market": "DE", "bundle": "b" * 64, "decision": "REFER", "grade": "A+"}


def with_columns(rows: list[StoredRecord]) -> list[StoredRecord]:
    """Return rows with the columns that an honest store writes."""
    return [replace(row, columns=header_columns(parse_header(row.header))) for row in rows]


def test_columns_repeat_the_header_and_empty_columns_are_omitted() -> None:
    found = header_columns(header(3, labels=LABELS, request_id="00000000-0000-0000-0000-00000000000a"))

    assert found == {
        "kind": "CREDIT_DECISION",
        "record_id": "00000000-0000-0000-0000-000000000003",
        "time_us": "3",
        "caller": "loan-desk",
        "request_id": "00000000-0000-0000-0000-00000000000a",
        "key_id": header(3).key_id,
        "market": "DE",
        "bundle_id": "b" * 64,
        "decision": "REFER",
        "grade": "A+",
    }


def test_unchanged_columns_are_verified() -> None:
    assert check(with_columns(LOG.rows)).holds


@pytest.mark.parametrize(
    "change",
    [{"market": "FR"}, {"time_us": "8"}, {"caller": ""}, {"unheard_of": "x"}],
    ids=lambda each: next(iter(each)),
)
def test_a_column_that_differs_from_its_header_is_the_only_fault(change: dict[str, str]) -> None:
    rows = with_columns(LOG.rows)
    rows[7] = replace(rows[7], columns={**(rows[7].columns or {}), **change})

    assert fault_positions(check(rows)) == [(FaultKind.COLUMN_ALTERED, 7, 7)]


def test_a_missing_column_is_reported() -> None:
    rows = with_columns(LOG.rows)
    rows[7] = replace(rows[7], columns={name: text for name, text in (rows[7].columns or {}).items() if name != "kind"})

    report = check(rows)

    assert fault_positions(report) == [(FaultKind.COLUMN_ALTERED, 7, 7)]
    assert "kind" in report.faults[0].detail
