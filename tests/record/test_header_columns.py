"""Columns follow from the header, and one that does not is reported."""

from dataclasses import replace

import pytest

from grounds_record.export import StoredRecord
from grounds_record.header import parse_header
from grounds_record.header_columns import header_columns
from grounds_record.verification_report import FaultKind
from tests.record.logs import LOG, check, header, places

LABELS = {"market": "DE", "bundle": "b" * 64, "decision": "REFER", "grade": "A+"}


def with_columns(rows: list[StoredRecord]) -> list[StoredRecord]:
    """Return rows with the columns that an honest store writes."""
    return [replace(row, columns=header_columns(parse_header(row.header))) for row in rows]


def test_every_column_is_that_of_the_header_and_an_empty_one_is_left_out() -> None:
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


def test_honest_columns_verify() -> None:
    assert check(with_columns(LOG.rows)).holds


@pytest.mark.parametrize(
    "change",
    [{"market": "FR"}, {"time_us": "8"}, {"caller": ""}, {"unheard_of": "x"}],
    ids=lambda each: next(iter(each)),
)
def test_a_column_that_does_not_follow_from_its_header_is_found_and_nothing_else(change: dict[str, str]) -> None:
    rows = with_columns(LOG.rows)
    rows[7] = replace(rows[7], columns={**(rows[7].columns or {}), **change})

    assert places(check(rows)) == [(FaultKind.COLUMN_ALTERED, 7, 7)]


def test_a_column_that_is_missing_is_found() -> None:
    rows = with_columns(LOG.rows)
    rows[7] = replace(rows[7], columns={name: text for name, text in (rows[7].columns or {}).items() if name != "kind"})

    report = check(rows)

    assert places(report) == [(FaultKind.COLUMN_ALTERED, 7, 7)]
    assert "kind" in report.faults[0].detail
