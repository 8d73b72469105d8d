"""A spec may state the days of its snapshots relative to the day on which it is used."""

import datetime as dt
import re
from pathlib import Path

import pytest

from tests.small import SPEC as TABLE_SPEC
from tests.training.transaction_logs import SPEC
from training.errors import SpecInvalid
from training.spec import read_spec
from training.spec.relative_dates import resolve_day

ON = dt.date(2026, 3, 31)  # a Tuesday


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("day", "2026-03-31"),
        ("day-31", "2026-02-28"),
        ("week", "2026-03-30"),
        ("week-1", "2026-03-23"),
        ("month", "2026-03-01"),
        ("month-1", "2026-02-01"),
        ("month-3", "2025-12-01"),
        ("month-15", "2024-12-01"),
        ("2024-02-29", "2024-02-29"),
    ],
)
def test_a_relative_day_is_counted_back_from_the_day_of_use(text: str, day: str) -> None:
    assert resolve_day(text, ON) == dt.date.fromisoformat(day)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "month+1", "month-", "months-1", "2026-02-30", "day-99999", "month-9999 ", "week-9999x"]
)
def test_another_text_is_refused_with_the_allowed_forms(text: str) -> None:
    with pytest.raises(SpecInvalid, match='must be a date, or "day", "week"'):
        resolve_day(text, ON)


def test_the_snapshots_of_a_spec_are_resolved_and_a_misspelt_day_is_refused(tmp_path: Path) -> None:
    spec = tmp_path / "log.toml"
    text = re.sub(r"fit = .*", 'fit = ["month-6", "month-5"]', SPEC)
    text = re.sub(r"calibration = .*\n", "", text)
    text = re.sub(r"test = .*", 'test = ["month-3"]', text)
    spec.write_text(re.sub(r"latest = .*", 'latest = "day"', text))

    snapshots = read_spec(spec, ON).snapshots

    assert snapshots is not None
    assert snapshots.fit == (dt.date(2025, 9, 1), dt.date(2025, 10, 1))
    assert snapshots.test == (dt.date(2025, 12, 1),)
    assert snapshots.latest == ON
    spec.write_text(spec.read_text().replace("month-3", "mont-3"))
    with pytest.raises(SpecInvalid, match=r"snapshots\.test"):
        read_spec(spec, ON)


def test_the_day_of_a_table_is_resolved(tmp_path: Path) -> None:
    spec = tmp_path / "table.toml"
    spec.write_text(TABLE_SPEC.replace("as_of = 2026-01-01", 'as_of = "month"'))

    table = read_spec(spec, ON).table

    assert table is not None
    assert table.as_of == dt.date(2026, 3, 1)
