"""Every cell is converted to the type of its column, or counted as unreadable, with a reason and an example."""

import random
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.errors import DataInvalid, SpecInvalid
from training.sources.reader.casts import ColumnCast, key_cast, money_cast, number_cast, text_cast, time_cast
from training.sources.reader.number_format import NumberFormat
from training.sources.reader.raw_table import RawColumn, RawTable, open_file, row_places
from training.sources.reader.unreadable import find_unreadable, refuse_unreadable, unreadable_sentences
from training.spec.reading import ReadingSpec

at = datetime.fromisoformat
Cast = Callable[[RawTable, ReadingSpec], ColumnCast]


def customer(table: RawTable, _: ReadingSpec) -> ColumnCast:
    """Return the cast of column x to a customer number."""
    return key_cast(table, "x", "table.customer_id", "customer")


def number(table: RawTable, reading: ReadingSpec) -> ColumnCast:
    """Return the cast of column x to a number."""
    return number_cast(table, "x", "features.x", reading.missing)


def money(table: RawTable, _: ReadingSpec) -> ColumnCast:
    """Return the cast of column x to an amount with two decimals."""
    return money_cast(table, "x", "log.columns.amount", 2)


def time(table: RawTable, reading: ReadingSpec) -> ColumnCast:
    """Return the cast of column x to a time in market DE."""
    return time_cast(table, "x", "log.columns.time", reading, "'DE'")


def text(table: RawTable, _: ReadingSpec) -> ColumnCast:
    """Return the cast of column x to text."""
    return text_cast(table, "x", "features.x")


def cast_table(table: RawTable, cast: ColumnCast) -> list[tuple[Any, str | None]]:
    """Return (value, code of the problem) for every row; the code is None if the value is readable."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"SELECT {cast.value}, {cast.problem} FROM {table.sql}").fetchall()


def written_cells(folder: Path, cells: list[str], reading: ReadingSpec) -> RawTable:
    """Write cells into column x of a CSV file, and open the file."""
    lines = "".join(f'"{cell}",1\n' for cell in cells)
    (folder / "t.csv").write_text(f"x,y\n{lines}", encoding="utf-8")
    return open_file(folder / "t.csv", reading, folder, numeric=["x"])


@pytest.mark.parametrize(
    ("make", "cell", "value"),
    [
        (number, " 5.25 ", 5.25),
        (number, "1e3", 1000.0),
        (number, "", None),
        (number, "NA", None),
        (number, "TRUE", 1.0),
        (number, "1.234.567,5", 1234567.5),
        (number, "1 234,5", 1234.5),
        (number, "1'234.5", 1234.5),
        (money, "5.49", Decimal("5.49")),
        (money, "12.500", Decimal("12.50")),
        (money, "-7,5", Decimal("-7.50")),
        (time, "2017-03-01", at("2017-03-01")),
        (time, "2017-03-01T10:05", at("2017-03-01T10:05:00")),
        (customer, " 00123 ", "00123"),
        (customer, "124.0", "124"),
        (text, "0111", "0111"),
        (text, "01.11", "01.11"),
        (text, "NA", "NA"),
        (text, "None", "None"),
        (text, "Cafe\u0301", "Café"),
        (text, "\tA ", "A"),
    ],
)
def test_a_cell_is_read_exactly(make: Cast, cell: str, value: Any, tmp_path: Path) -> None:
    reading = ReadingSpec()
    table = written_cells(tmp_path, [cell], reading)

    assert cast_table(table, make(table, reading)) == [(value, None)]


@pytest.mark.parametrize(
    ("make", "cell", "problem", "hint"),
    [
        (number, "n.a.", "1 value is not a number, first 'n.a.' in line 3 of t.csv", 'missing = ["n.a."] in [table]'),
        (number, "1_000", "1 value is not a number", "correct the value"),
        (number, "inf", "1 value is infinite", "leave the cell empty"),
        (number, "1,200", "1 value is not a number", 'decimal = "," or thousands = ","'),
        (money, "0.005", "1 value has more decimals than the currency", "decimals = 3 in [log]"),
        (money, "1.234", "1 value has more decimals than the currency", 'thousands = "." if it means 1234'),
        (money, "99999999999999999999", "1 value is too large", "correct"),
        (time, "01/02/2017", "1 value is not an ISO day or time", '"%d/%m/%Y" or "%m/%d/%Y"'),
        (time, "20230131", "1 value is not an ISO day or time", 'time_format = "%Y%m%d"'),
        (time, "1488326400", "1 value is not an ISO day or time", 'time_format = "epoch_s"'),
        (time, "2017-02-30", "1 value is not an ISO day or time", "correct"),
        (time, "2017-03-01T00:30:00+02:00", "1 value has a time zone", "set time_zone in [log]"),
        (customer, "1/4 ä", "1 value is not a valid customer", "1 to 64 letters, digits or . _ : -"),
        (customer, "x" * 65, "1 value is not a valid customer", "so that it can be requested"),
        (customer, "True", "1 value is a logical value and not a customer", "to the column of the customer"),
        (customer, "NULL", "1 value usually stands for a missing customer", 'missing = ["NULL"] in'),
        (number, "1e400", "1 value is too large", "correct the value"),
        (time, "0001-01-01", "1 value is in a year outside the valid years", "valid years are 1971 to 2200"),
        (time, "1970-01-01", "1 value is in a year outside the valid years", 'missing = ["1970-01-01"] in [log]'),
        (time, "9999-12-31", "1 value is in a year outside the valid years", "years = [FIRST, LAST] in [log]"),
    ],
)
def test_an_unreadable_cell_is_rejected_with_its_line_and_what_to_write(
    make: Cast, cell: str, problem: str, hint: str, tmp_path: Path
) -> None:
    reading = ReadingSpec(decimal=".", thousands="")
    table = written_cells(tmp_path, ["", cell, ""], reading)
    cast = make(table, reading)
    with duckdb.connect() as connection:
        found = find_unreadable(connection, table, [cast])

    with pytest.raises(DataInvalid) as refused:
        refuse_unreadable(table, reading, found, 3)

    assert str(refused.value).startswith("column 'x': ")
    assert problem in str(refused.value)
    assert hint in str(refused.value)
    assert not unreadable_sentences(table, ReadingSpec(max_unreadable_share=0.4), found, 3)


@pytest.mark.parametrize(
    ("time_format", "cell", "value"),
    [
        ("%Y%m%d", "20230131", at("2023-01-31")),
        ("%Y%m%d", "2023131", None),
        ("%d.%m.%Y", "01.02.2017", at("2017-02-01")),
        ("%d.%m.%Y", "01.02.17", None),
        ("%m/%d/%Y", "01/02/2017", at("2017-01-02")),
        ("%m/%d/%Y", "31/01/2017", None),
        ("epoch_s", "1488326400", at("2017-03-01")),
        ("epoch_ms", "1488326400500", at("2017-03-01T00:00:00.500000")),
        ("epoch_s", "1488326400000", None),
        ("excel", "42795.5", at("2017-03-01T12:00:00")),
        ("excel", "3", None),
    ],
)
def test_a_time_is_read_in_the_format_of_the_spec_only(
    time_format: str, cell: str, value: datetime | None, tmp_path: Path
) -> None:
    reading = ReadingSpec(time_format=time_format)
    table = written_cells(tmp_path, [cell], reading)

    assert cast_table(table, time(table, reading)) == [(value, None if value else "NOT_IN_FORMAT")]


@pytest.mark.parametrize(
    ("time_format", "cell", "value"),
    [
        ("%Y-%m-%d %H%M", "2017-03-01 0130", at("2017-03-01 01:30")),
        ("%Y-%m-%d %H%M", "2017-03-01 130", None),
        ("%Y-%m-%d %H%M%S", "2017-03-01 13000", None),
        ("%d %b %Y %H%M", "1 Mar 2017 0130", at("2017-03-01 01:30")),
        ("%d%b%Y", "01MAR2017", at("2017-03-01")),
    ],
)
def test_numbers_that_no_character_separates_have_their_full_width(
    time_format: str, cell: str, value: datetime | None, tmp_path: Path
) -> None:
    """130 may be 01:30 or 13:00."""
    reading = ReadingSpec(time_format=time_format)
    table = written_cells(tmp_path, [cell], reading)
    assert cast_table(table, time(table, reading)) == [(value, None if value else "NOT_IN_FORMAT")]


def test_the_name_of_a_time_zone_in_a_time_format_is_rejected(tmp_path: Path) -> None:
    reading = ReadingSpec(time_format="%Y-%m-%d %H:%M %Z")
    table = written_cells(tmp_path, ["2017-03-01 23:30 America/New_York"], reading)
    with pytest.raises(SpecInvalid, match=r"has %Z, but the name of a time zone is not read; write offsets"):
        time(table, reading)


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (pa.array([-99.9, 5.0], pa.float32()), [-99.9]),
        (pa.array([-99.9, 5.0], pa.float32()), ["-99.90"]),
        (pa.array([96.0, 5.0]), ["96.0"]),
        (pa.array([96, 5]), ["96.0"]),
        (pa.array([Decimal("96.00"), Decimal("5.00")], pa.decimal128(7, 2)), ["96"]),
        (pa.array([Decimal("96.00"), Decimal("5.00")], pa.decimal128(7, 2)), ["96.0"]),
        (pa.array([Decimal("96.00"), Decimal("5.00")], pa.decimal128(7, 2)), [96]),
        (pa.array([Decimal(100), Decimal(5)], pa.decimal128(7, 0)), ["100"]),
    ],
)
def test_a_marker_of_a_missing_number_is_compared_as_a_number(
    values: pa.Array, missing: list[str | float], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"x": values}), tmp_path / "t.parquet")
    table = open_file(tmp_path / "t.parquet", ReadingSpec(), tmp_path)
    found = cast_table(table, number_cast(table, "x", "features.x", missing))
    assert found == [(None, None), (5.0, None)]
    texts = cast_table(table, text_cast(table, "x", "features.x", [str(one) for one in missing]))
    assert [value is None for value, _ in texts] == [True, False]


def test_an_invalid_time_format_is_rejected(tmp_path: Path) -> None:
    reading = ReadingSpec(time_format="%Q")
    table = written_cells(tmp_path, ["1"], reading)

    with pytest.raises(SpecInvalid, match="'%Q' is not a valid pattern"):
        time(table, reading)


@pytest.mark.parametrize("zone", ["Europe/Helsinki", {"DE": "Europe/Helsinki", "FR": "Europe/Paris"}])
def test_a_time_with_an_offset_is_on_the_day_of_the_market(zone: Any, tmp_path: Path) -> None:
    reading = ReadingSpec(time_zone=zone)
    cells = ["2017-03-01T00:30:00+02:00", "2017-02-28T22:30:00Z", "2017-03-01 00:30"]
    table = written_cells(tmp_path, cells, reading)

    assert cast_table(table, time(table, reading)) == [(at("2017-03-01T00:30:00"), None)] * 3

    times = pd.to_datetime(cells[:2], utc=True).tz_convert("Asia/Tokyo")
    pq.write_table(pa.table({"x": times}), tmp_path / "t.parquet")
    stored = open_file(tmp_path / "t.parquet", reading, tmp_path)
    assert cast_table(stored, time(stored, reading)) == [(at("2017-03-01T00:30:00"), None)] * 2
    assert cast_table(stored, time(stored, ReadingSpec())) == [(None, "HAS_ZONE")] * 2


@pytest.mark.parametrize(
    ("make", "column", "expected"),
    [
        (customer, pa.array([124, None, 2**62 + 1]), [("124", None), (None, None), (str(2**62 + 1), None)]),
        (customer, pa.array([17850.0, 1.5, 1e17]), [("17850", None), ("1.5", "NOT_WHOLE"), ("1e+17", "NOT_EXACT")]),
        (customer, pa.array([Decimal("17850.00"), Decimal("1.50")]), [("17850", None), ("1", "NOT_WHOLE")]),
        (number, pa.array([True, None, False]), [(1.0, None), (None, None), (0.0, None)]),
        (number, pa.array([Decimal("1.25"), None]), [(1.25, None), (None, None)]),
        (number, pa.array([float("nan"), float("inf")]), [(None, None), (None, "NOT_FINITE")]),
        (number, pa.array(["1.5", "x"]), [(1.5, None), (None, "NOT_A_NUMBER")]),
        (
            money,
            pa.array([5.49, 0.1 + 0.2, 0.005]),
            [(Decimal("5.49"), None), (Decimal("0.30"), None), (Decimal("0.01"), "TOO_MANY_DECIMALS")],
        ),
        (
            money,
            pa.array([Decimal("5.490"), Decimal("5.495")]),
            [(Decimal("5.49"), None), (Decimal("5.50"), "TOO_MANY_DECIMALS")],
        ),
        (money, pa.array([5, None]), [(Decimal("5.00"), None), (None, None)]),
        (text, pa.array([3.0, 1.5, None]), [("3", None), ("1.5", None), (None, None)]),
        (text, pa.array(["0111", "Cafe\u0301 "]).dictionary_encode(), [("0111", None), ("Café", None)]),
        (time, pa.array([20230131]), [(None, "NOT_A_TIME")]),
        (
            time,
            pa.array([at("0001-01-01"), at("2017-03-01")]),
            [(at("0001-01-01"), "OUTSIDE_YEARS"), (at("2017-03-01"), None)],
        ),
        (customer, pa.array([True, None]), [("true", "LOGICAL_AS_CUSTOMER"), (None, None)]),
        (customer, pa.array([at("2017-03-01").date()]), [("2017-03-01", "TIME_AS_CUSTOMER")]),
        (text, pa.array([["A"], None]), [(None, "NOT_A_TEXT"), (None, None)]),
        (text, pa.array(["é".encode(), b"B"]), [("é", None), ("B", None)]),
        (number, pa.array([[Decimal(1)]]), [(None, "NOT_A_NUMBER")]),
    ],
)
def test_a_declared_type_is_read_exactly(
    make: Cast, column: pa.Array, expected: list[tuple[Any, str | None]], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"x": column}), tmp_path / "t.parquet")
    table = open_file(tmp_path / "t.parquet", ReadingSpec(), tmp_path)

    assert cast_table(table, make(table, ReadingSpec())) == expected


@pytest.mark.parametrize(
    ("cast", "column", "marker", "expected"),
    [
        (number_cast, pa.array([-999, 5]), "-999", [None, 5.0]),
        (number_cast, pa.array([-999.0, 5.0]), "-999", [None, 5.0]),
        (text_cast, pa.array([-999.0, 5.0]), "-999", [None, "5"]),
        (
            partial(money_cast, decimals=2),
            pa.array([Decimal("-9.99"), Decimal("5.00")]),
            "-9.99",
            [None, Decimal("5.00")],
        ),
        (partial(key_cast, kind="customer"), pa.array([-1.0, 5.0]), "-1", [None, "5"]),
    ],
)
def test_a_mark_of_a_missing_value_is_missing_in_a_declared_type(
    cast: Callable[..., ColumnCast], column: pa.Array, marker: str, expected: list[Any], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"x": column}), tmp_path / "t.parquet")
    table = open_file(tmp_path / "t.parquet", ReadingSpec(), tmp_path)

    assert cast_table(table, cast(table, "x", "table.x", missing=[marker])) == [(value, None) for value in expected]


def _altered_cells(count: int) -> list[str]:
    """Return usual cells, and cells that differ from them in one to three characters."""
    usual = [
        "2017-01-01 10:20:30",
        "2017-01-01T00:30",
        "2017-01-01",
        "5.49",
        "-5,49",
        "1,234.50",
        "1.e5",
        "12.500",
        "123.0",
    ]
    characters = " \t\n0123456789-+.:,TZe_/'é\u00a0\u2212"
    source = random.Random(1)  # noqa: S311 - a seeded choice of test cells
    cells = set(usual)
    while len(cells) < count:
        cell = list(source.choice(usual))
        for _ in range(source.randint(1, 3)):
            position = source.randrange(len(cell) + 1)
            cell[position : position + source.randint(0, 1)] = source.choice(characters)
        cells.add("".join(cell))
    return sorted(cells)


@pytest.mark.parametrize("alphabet", ["ascii", "unicode"])
def test_the_fast_branch_of_a_cast_accepts_only_cells_that_the_strict_branch_reads_equally(alphabet: str) -> None:
    """A marker that never occurs switches the fast branch off."""
    is_ascii = alphabet == "ascii"
    cells = [cell for cell in _altered_cells(20_000) if cell.isascii() or not is_ascii]
    column = RawColumn("x", "c1", "VARCHAR")
    table = RawTable("t", "cells", (column,), "", NumberFormat(".", ","), "", row_places, is_ascii=is_ascii)
    never, iso, pattern = ("\x01",), ReadingSpec(), ReadingSpec(time_format="%Y-%m-%d")
    pairs = [
        (money_cast(table, "x", "", 2), money_cast(table, "x", "", 2, never)),
        (number_cast(table, "x", ""), number_cast(table, "x", "", never)),
        (time_cast(table, "x", "", iso, "'DE'"), time_cast(table, "x", "", iso, "'DE'", never)),
        (time_cast(table, "x", "", pattern, "'DE'"), time_cast(table, "x", "", pattern, "'DE'", never)),
    ]
    with duckdb.connect() as connection:
        connection.register("cells", pa.table({"c1": cells}))
        for fast, strict in pairs:
            values = connection.execute(f"SELECT c1, {fast.value}, {strict.value} FROM cells").fetchall()
            assert [row for row in values if row[1] != row[2]] == []
            assert sum(row[1] is not None for row in values) > 20
            condition = f"COALESCE(({fast.unreadable_condition('value')}) OR {fast.rare_condition('value')}, false)"
            flags = f"SELECT ({condition}), ({strict.problem}) IS NOT NULL FROM (SELECT *, {fast.value} AS value FROM cells)"
            assert all(flag == is_unreadable for flag, is_unreadable in connection.execute(flags).fetchall())
        text = text_cast(table, "x", "", is_log=True)
        assert (
            connection.execute(f"SELECT c1 FROM cells WHERE {text.value} IS DISTINCT FROM {text.written}").fetchall()
            == []
        )
