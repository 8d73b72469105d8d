"""The retention table: it has the years by market and kind, and errors report their lines."""

import datetime as dt
from pathlib import Path

import pytest

from server.decisions.retention import read_retention, years_before
from server.errors import RetentionRefused
from tests.conftest import ROOT

TABLE = """
version = "test-1"

[[lines]]
market = "*"
kind = "CREDIT_DECISION"
years = 10

[[lines]]
market = "FR"
kind = "CREDIT_DECISION"
years = 2

[[lines]]
market = "*"
kind = "CHURN_RUN"
years = 3

# End of the retention table.
"""


def write_table(folder: Path, text: str = TABLE) -> Path:
    """Write a retention table; return the path of the file."""
    path = folder / "retention.toml"
    path.write_text(text)
    return path


def test_february_29_becomes_february_28_in_other_years() -> None:
    leap = dt.datetime(2028, 2, 29, 1, tzinfo=dt.UTC)

    assert years_before(leap, 1) == dt.datetime(2027, 2, 28, 1, tzinfo=dt.UTC)
    assert years_before(leap, 4) == dt.datetime(2024, 2, 29, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ('kind = "CHURN_RUN"', 'kind = "ERASURE"', "records of kind ERASURE are kept as long as the log"),
        ("years = 2", "years = 0", "line 12: lines.1.years"),
        ('market = "FR"', 'market = "France"', "line 10: lines.1.market"),
        ('market = "FR"', 'market = "*"', "more than one line for \\* CREDIT_DECISION"),
        ("years = 3", "years = 3\nmonths = 1", "lines.2.months"),
        ('version = "test-1"', "", "version"),
        ("[[lines]]", "[[lines", "is not TOML"),
        ("[[lines]]", "x = " + "[" * 50_000, "is not TOML"),
    ],
)
def test_an_invalid_table_is_rejected_with_the_line(tmp_path: Path, right: str, wrong: str, problem: str) -> None:
    path = write_table(tmp_path, TABLE.replace(right, wrong, 1))

    with pytest.raises(RetentionRefused, match=problem):
        read_retention(path)


def test_the_shipped_table_is_valid_and_has_every_removable_kind() -> None:
    shipped = ROOT / "server" / "retention.toml"

    assert read_retention(shipped).kinds() == {
        "CREDIT_DECISION",
        "CREDIT_OVERRIDE",
        "CREDIT_OUTCOME",
        "CHURN_RUN",
        "CHURN_CONTACT",
    }


def test_a_table_that_was_written_only_in_part_removes_nothing(tmp_path: Path) -> None:
    """A part of `years = 10` is `years = 1`, and a part of a table lacks the longer periods of some markets."""
    complete = TABLE.rstrip()
    for length in range(len(complete)):
        with pytest.raises(RetentionRefused):
            read_retention(write_table(tmp_path, complete[:length]))

    assert len(read_retention(write_table(tmp_path, complete)).document.lines) == 3
