"""Files, glob patterns, folders and queries are read as exactly the rows that were written, or rejected."""

import gzip
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from pydantic import ValidationError

from training.errors import DataInvalid, SpecInvalid
from training.inspection.column_facts import columnar_copy
from training.sources.reader.casts import number_cast, text_cast
from training.sources.source_tables import open_source
from training.spec import QuerySpec
from training.spec.reading import ReadingSpec
from training.spec.sources import SourceEntry

LINES = {"a.csv": b"k;x\nA;1,5\nB;2\n", "b.csv": b"x;k\n7;C\n1.234,5;D\n"}
ROWS = [("A", "1,5"), ("B", "2"), ("C", "7"), ("D", "1.234,5")]


def rows_of(source: SourceEntry, folder: Path, **reading: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a source as the raw table contains them, before any conversion to a type."""
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    table = open_source(source, ReadingSpec(**reading), folder, temporary)
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT * FROM {table.sql}").fetchall()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two files with the same columns in different orders, one compressed, and two files that must be ignored."""
    (tmp_path / "data" / "later").mkdir(parents=True)
    (tmp_path / "data" / "a.csv").write_bytes(LINES["a.csv"])
    (tmp_path / "data" / "later" / "b.csv.gz").write_bytes(gzip.compress(LINES["b.csv"]))
    (tmp_path / "data" / "_SUCCESS").write_bytes(b"")
    (tmp_path / "data" / ".hidden.csv").write_bytes(b"z\n1\n")
    return tmp_path


SOURCES: dict[str, Callable[[Path], SourceEntry]] = {
    "a folder": lambda folder: folder / "data",
    "a glob pattern": lambda folder: folder / "data" / "**" / "*.csv*",
    "a list": lambda folder: (folder / "data" / "a.csv", folder / "data" / "later" / "b.csv.gz"),
    "a list with the same file twice": lambda folder: (
        folder / "data" / "a.csv",
        folder / "data" / "*.csv",
        folder / "data" / "later",
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_several_files_are_read_as_one_table_by_the_names_of_their_columns(kind: str, folder: Path) -> None:
    assert rows_of(SOURCES[kind](folder), folder) == ROWS


def test_a_file_compressed_with_zstd_is_read(tmp_path: Path) -> None:
    with pa.output_stream(str(tmp_path / "a.csv.zst"), compression="zstd") as file:
        file.write(LINES["a.csv"])

    assert rows_of(tmp_path / "a.csv.zst", tmp_path) == ROWS[:2]


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_combining_accent_in_a_later_file_or_in_the_name_of_a_folder_is_composed(
    names: tuple[str, str], tmp_path: Path
) -> None:
    """The first file has ASCII characters only, or the last one has."""
    decomposed = "Mu\u0308ller"
    for name, cell in zip(names, ("Meier", decomposed), strict=True):
        folder = tmp_path / "data" / f"city={decomposed}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.csv").write_text(f"k,x\n{cell},1\n", encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    table = open_source(tmp_path / "data", ReadingSpec(), tmp_path, tmp_path / "temporary")
    values = ", ".join(text_cast(table, name, name).value for name in ("k", "city"))

    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT {values} FROM {table.sql}").fetchall()

    assert set(found) == {("Meier", "M\u00fcller"), ("M\u00fcller", "M\u00fcller")}


@pytest.mark.parametrize("comma_first", [True, False])
@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("7", (None, "AMBIGUOUS")),  # commas between the cells of another file prove nothing
        ("7.5", (1.234, None)),
        ('"1,000.5"', (1.234, None)),
        ('"7,5"', (1234, None)),
    ],
)
def test_1_234_in_a_file_with_semicolons_is_ambiguous_unless_a_file_of_the_source_proves_the_mark(
    other: str, expected: tuple[float | None, str | None], *, comma_first: bool, tmp_path: Path
) -> None:
    """The first 2,000 lines, in which the format is detected, have whole numbers."""
    (tmp_path / "data").mkdir()
    (tmp_path / "temporary").mkdir()
    comma, semicolon = ("a.csv", "b.csv") if comma_first else ("b.csv", "a.csv")
    (tmp_path / "data" / comma).write_text(f"k,x\nA,{other}\n")
    (tmp_path / "data" / semicolon).write_text("k;x\n" + "B;7\n" * 3_000 + "C;1.234\n")
    table = open_source(tmp_path / "data", ReadingSpec(), tmp_path, tmp_path / "temporary")
    cast = number_cast(table, "x", "x")

    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT {cast.value}, {cast.problem} FROM {table.sql} WHERE c1 = 'C'").fetchall()

    assert found == [expected]


def store_rows(path: Path, cell: str) -> None:
    """Write a file with one cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        path.write_text(f"k,x\n{cell},1\n")
    else:
        pq.write_table(pa.table({"k": [cell], "x": ["1"]}), path)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("name", "matched"),
    [
        ("report[1]", "report1"),
        ("a*", "ab"),
        ("a?", "ab"),
        ("[!a]", "b"),
        ("dir[x]/a", "dirx/a"),
        ("**/a", "b/a"),
        ("d*[1]?/a[2]", "d1/a2"),
    ],
)
def test_a_name_with_the_characters_of_a_pattern_is_the_file_of_that_name_only(
    name: str, matched: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.{suffix}"
    store_rows(path, "right")
    store_rows(tmp_path / f"{matched}.{suffix}", "wrong")

    assert rows_of(path, tmp_path) == [("right", "1")]
    if path.parent != tmp_path:
        assert rows_of(path.parent, tmp_path) == [("right", "1")]


def test_a_temporary_folder_with_the_characters_of_a_pattern_is_read(tmp_path: Path) -> None:
    temporary = tmp_path / "[t]*"
    temporary.mkdir()
    (tmp_path / "a.csv").write_bytes("k,x\nä,1\n".encode("cp1252"))

    table = open_source(tmp_path / "a.csv", ReadingSpec(), tmp_path, temporary)

    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT * FROM {columnar_copy(table, temporary).sql}").fetchall() == [("ä", "1")]


def test_a_name_that_duckdb_cannot_read_is_rejected(tmp_path: Path) -> None:
    store_rows(tmp_path / "a\\[1].csv", "right")

    with pytest.raises(DataInvalid, match="a path cannot have a backslash and one of the characters"):
        rows_of(tmp_path / "a\\[1].csv", tmp_path)


def test_a_late_additional_empty_cell_in_one_of_several_files_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("k,x,y\nA,1,2\n")
    (tmp_path / "data" / "b.csv").write_text("k,x,y\n" + "A,1,2\n" * 2_500 + "B,1,234,\n")

    with pytest.raises(DataInvalid, match=r"b\.csv: line 2,502 has 4 values"):
        rows_of(tmp_path / "data", tmp_path)


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("_delta_log/00000000000000000001.json", "a Delta"),
        ("metadata/v1.metadata.json", "an Iceberg"),
        (".hoodie/hoodie.properties", "a Hudi"),
    ],
)
@pytest.mark.parametrize("path", ["shop", "shop/t", "shop/t/data", "shop/t/data/*.parquet", "shop/**/*.parquet"])
def test_the_folder_of_a_table_with_versions_is_rejected(path: str, entry: str, name: str, tmp_path: Path) -> None:
    store_rows(tmp_path / "shop/t/data/a.parquet", "deleted")
    store_rows(tmp_path / "shop/t/data/b.parquet", "valid")
    (tmp_path / "shop/t" / entry).parent.mkdir(parents=True)
    (tmp_path / "shop/t" / entry).write_text("{}")

    with pytest.raises(DataInvalid, match=rf"shop/t: is {name} table, .* export its current version to Parquet"):
        rows_of(tmp_path / path, tmp_path)


def decimal_files(folder: Path, *types: tuple[int, int]) -> Path:
    """Write a Parquet file for each precision and scale, with the smallest fraction that the scale can represent."""
    (folder / "data").mkdir()
    for number, (precision, scale) in enumerate(types):
        column = pa.array([Decimal(1).scaleb(-scale)], pa.decimal128(precision, scale))
        pq.write_table(pa.table({"x": column}), folder / "data" / f"{number}.parquet")
    return folder / "data"


@pytest.mark.parametrize(
    "types", [[(38, 0), (38, 2)], [(38, 2), (38, 0)], [(9, 2), (38, 0), (12, 4)], [(30, 0), (20, 9)]]
)
def test_decimals_that_no_common_type_represents_are_rejected(types: list[tuple[int, int]], tmp_path: Path) -> None:
    with pytest.raises(
        DataInvalid, match=r"column 'x' is DECIMAL.*, but DECIMAL.* in .*\.parquet, .* more than 38 digits"
    ):
        rows_of(decimal_files(tmp_path, *types), tmp_path)


def test_decimals_of_different_scales_are_exact(tmp_path: Path) -> None:
    found = rows_of(decimal_files(tmp_path, (9, 2), (38, 10), (18, 0), (18, 4)), tmp_path)

    assert found == [(Decimal("0.01"),), (Decimal("1E-10"),), (Decimal(1),), (Decimal("0.0001"),)]


@pytest.mark.parametrize("copy", ["a.csv.gz", "a (1).csv", "later/a.csv"])
def test_a_copy_of_a_file_is_rejected_because_its_amounts_would_count_twice(copy: str, tmp_path: Path) -> None:
    text = b"id,x\n1,5\n"
    (tmp_path / "data/later").mkdir(parents=True)
    (tmp_path / "data/a.csv").write_bytes(text)
    (tmp_path / "data" / copy).write_bytes(gzip.compress(text) if copy.endswith(".gz") else text)

    with pytest.raises(
        DataInvalid, match=r"has the same rows as .*, or is its compressed copy, and would be read twice"
    ):
        rows_of(tmp_path / "data", tmp_path)


def test_equal_files_of_other_partitions_or_without_rows_are_read(tmp_path: Path) -> None:
    for folder in ("market=AT", "market=DE"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder / "a.csv").write_bytes(b"id,x\n1,5\n")
        (tmp_path / "data" / folder / "b.csv").write_bytes(b"id,x\n")
    (tmp_path / "data" / "market=AT" / "c.csv").write_bytes(b"id,x\n")

    assert rows_of(tmp_path / "data", tmp_path) == [("1", "5", "AT"), ("1", "5", "DE")]


def test_the_confirmation_states_each_file_that_is_read_differently(tmp_path: Path) -> None:
    """A letter of a later file is a wrong letter if its assumed encoding is wrong, so a person must see it."""
    for name, town, encoding in (("a", "Bar", "utf-8"), ("b", "Bar", "utf-8"), ("c", "Łódź", "cp1250")):
        (tmp_path / f"{name}.csv").write_bytes(f"id,town\n{name},{town}\n".encode(encoding))
    (tmp_path / "temporary").mkdir()

    table = open_source(tmp_path / "*.csv", ReadingSpec(), tmp_path, tmp_path / "temporary")

    start = "read as text with 2 columns: separator ',', decimal '.', encoding"
    word = "Łódź".encode("cp1250").decode("cp1252")
    assert table.confirmation == (
        f"3 files, the first is a.csv: {start} utf-8; c.csv: {start} cp1252 (assumed: {word!r} must be a word, otherwise set encoding)"
    )


def test_the_place_of_a_value_names_its_file(folder: Path) -> None:
    (folder / "temporary").mkdir()
    table = open_source(folder / "data", ReadingSpec(), folder, folder / "temporary")

    assert table.places([2, 4]) == ["line 3 of a.csv", "line 3 of b.csv.gz"]
    assert (table.numbers.decimal, table.numbers.thousands) == (",", ".")


def test_the_folders_of_partitioned_parquet_are_columns(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'A' AS k, 1.50::DECIMAL(9, 2) AS x, 'DE' AS country, 2024 AS y UNION ALL SELECT 'B', 2, NULL, 2025) "
            f"TO '{tmp_path}/hive' (FORMAT parquet, PARTITION_BY (country, y))"
        )

    found = rows_of(tmp_path / "hive", tmp_path)

    assert sorted(found) == [("A", Decimal("1.50"), "DE", "2024"), ("B", Decimal("2.00"), None, "2025")]


def test_a_folder_that_contradicts_a_column_of_its_file_is_rejected(tmp_path: Path) -> None:
    for country in ("DE", "AT"):
        (tmp_path / "hive" / f"country={country}").mkdir(parents=True)
        (tmp_path / "hive" / f"country={country}" / "a.csv").write_text("k,x,country\nA,1,DE\n")

    assert rows_of(tmp_path / "hive" / "country=DE", tmp_path) == [("A", "1", "DE")]
    with pytest.raises(DataInvalid, match=r"column 'country' has 1 rows with a value such as 'DE', .* country=AT"):
        rows_of(tmp_path / "hive", tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.csv": b"k,x\nA,1\n", "b.csv": b"k,y\nB,2\n"},
            r"b\.csv: all files .* lacks 'x' and also has 'y', compared with a\.csv",
        ),
        ({}, "has no files"),
    ],
    ids=["other columns", "an empty folder"],
)
def test_files_that_are_not_one_table_are_rejected(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, content in files.items():
        (tmp_path / "data" / name).write_bytes(content)

    with pytest.raises(DataInvalid, match=message):
        rows_of(tmp_path / "data", tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("1::BIGINT", "1::DOUBLE", "is DOUBLE, but BIGINT"),
        ("1", "[1]", r"is INTEGER\[\], but INTEGER"),
        ("1", "{'a': 1}", r"is STRUCT\(a INTEGER\), but INTEGER"),
        ("1.5", "[1.5]", r"is DECIMAL\(2,1\)\[\], but DECIMAL\(2,1\)"),
        ("1", "1.5", r"is DECIMAL\(2,1\), but INTEGER"),
        ("1", "TIME '10:00:00'", "is TIME, but INTEGER"),
        ("1", "DATE '2026-01-31'", "is DATE, but INTEGER"),
        ("TIMESTAMP '2026-01-31'", "TIMESTAMPTZ '2026-01-31'", "is TIMESTAMP WITH TIME ZONE, but TIMESTAMP"),
        ("'a'", "['a']", r"is VARCHAR\[\], but VARCHAR"),
    ],
)
def test_a_column_with_different_types_in_two_parquet_files_is_rejected(
    first: str, second: str, message: str, tmp_path: Path
) -> None:
    """A union would convert the whole numbers to doubles, which cannot represent a customer number of 19 digits."""
    (tmp_path / "data").mkdir()
    with duckdb.connect() as connection:
        for name, value in (("a", first), ("b", second)):
            connection.execute(f"COPY (SELECT {value} AS k) TO '{tmp_path}/data/{name}.parquet'")

    with pytest.raises(DataInvalid, match=rf"b\.parquet: column 'k' {message} in a\.parquet"):
        rows_of(tmp_path / "data", tmp_path)


def test_a_duration_and_a_number_in_two_parquet_files_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"k": [1]}), tmp_path / "data" / "a.parquet")
    pq.write_table(pa.table({"k": pa.array([1], pa.duration("s"))}), tmp_path / "data" / "b.parquet")

    with pytest.raises(DataInvalid, match=r"column 'k' is INTERVAL, but BIGINT in a\.parquet"):
        rows_of(tmp_path / "data", tmp_path)


def write_sqlite(path: Path) -> None:
    """Write a table with text, doubles and missing values to an SQLite file."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE lines (k TEXT, x REAL, n INTEGER)")
        connection.executemany(
            "INSERT INTO lines VALUES (?, ?, ?)", [("A", 1.5, 9_007_199_254_740_993), ("B%:x", 2.0, None)]
        )


def test_the_rows_of_a_query_arrive_without_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sqlite(tmp_path / "shop.db")
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{tmp_path}/shop.db")
    sql = "SELECT k, x, n, '10:30' AS t FROM lines WHERE k LIKE '%' ORDER BY k"

    for url in ("env:SHOP_URL", "sqlite:///shop.db"):
        found = rows_of(QuerySpec(sql=sql, url=url), tmp_path)
        assert found == [("A", "1.5", "9007199254740993", "10:30"), ("B%:x", "2", None, "10:30")]


@pytest.mark.parametrize("fields", [{"decimal": ","}, {"thousands": "."}])
def test_a_format_of_numbers_is_rejected_for_a_query_because_it_would_change_numbers(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    write_sqlite(tmp_path / "shop.db")
    query = QuerySpec(sql="SELECT k, 1.234 AS x FROM lines", url="sqlite:///shop.db")

    with pytest.raises(SpecInvalid, match="decimal and thousands describe the numbers of files"):
        rows_of(query, tmp_path, **fields)


@pytest.mark.parametrize(
    ("value", "fields", "expected"),
    [
        ("'1.234'", {}, (None, "AMBIGUOUS")),
        ("'1.234'", {"decimal": "."}, (1.234, None)),
        ("1.234", {}, (1.234, None)),
        ("'7.5'", {}, (7.5, None)),
    ],
)
def test_a_text_of_a_query_that_may_have_thousands_is_unreadable_unlike_a_number(
    value: str, fields: dict[str, Any], expected: tuple[float | None, str | None], tmp_path: Path
) -> None:
    write_sqlite(tmp_path / "shop.db")
    query = QuerySpec(sql=f"SELECT k, {value} AS x FROM lines", url="sqlite:///shop.db")
    table = open_source(query, ReadingSpec(**fields), tmp_path, tmp_path)

    cast = number_cast(table, "x", "features.x")
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT DISTINCT {cast.value}, {cast.problem} FROM {table.sql}").fetchall() == [
            expected
        ]


def test_a_column_of_bytes_is_text_only_if_it_is_utf_8_in_every_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, value in (("a", b"bar"), ("b", b"\xff")):
        pq.write_table(pa.table({"k": [1], "x": pa.array([value], pa.binary())}), tmp_path / "data" / f"{name}.parquet")

    assert rows_of(tmp_path / "data", tmp_path) == [(1, b"bar"), (1, b"\xff")]


def test_a_query_of_a_duckdb_file_is_read_without_write_access(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
        connection.execute("CREATE TABLE lines AS SELECT 'A' AS k, 1.10::DECIMAL(18, 4) AS x, DATE '2024-01-02' AS d")

    assert rows_of(QuerySpec(sql="FROM lines", url="duckdb:///shop.duckdb"), tmp_path) == [
        ("A", "1.1000", "2024-01-02")
    ]
    for sql in ("DELETE FROM lines", f"COPY lines TO '{tmp_path}/copy.csv'", "SELECT 1; DROP TABLE lines"):
        with pytest.raises(SpecInvalid, match=r"table\.source\.sql: write one SELECT statement"):
            rows_of(QuerySpec(sql=sql, url="duckdb:///shop.duckdb"), tmp_path)
    assert not (tmp_path / "copy.csv").exists()


@pytest.mark.parametrize(
    "end",
    [";", " ; ", "; -- all lines", " -- all; lines", ";\n-- ä\n", "; /* a; b */ ;", "\n;;\n"],
)
def test_a_query_may_end_with_a_semicolon_or_a_comment(end: str, tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "shop.duckdb")).close()
    write_sqlite(tmp_path / "shop.db")
    urls = [
        "duckdb:///shop.duckdb",
        *([] if end.count(";") > 1 else ["sqlite:///shop.db"]),
    ]  # SQLite accepts at most one semicolon at the end
    for url in urls:
        assert rows_of(QuerySpec(sql=f"-- ;\nSELECT 'ö; -- x' AS k{end}", url=url), tmp_path) == [("ö; -- x",)]


def test_the_error_about_a_value_states_its_row_beyond_the_first_batch(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE lines (k INTEGER PRIMARY KEY, x)")
        connection.executemany("INSERT INTO lines VALUES (?, ?)", [(number, "A") for number in range(1, 20_006)])
        connection.execute("UPDATE lines SET x = x'ff' WHERE k = 20004")

    with pytest.raises(DataInvalid, match=r"column 'x' has bytes that are not UTF-8 in row 20,004 of the query"):
        rows_of(QuerySpec(sql="SELECT k, x FROM lines ORDER BY k", url="sqlite:///shop.db"), tmp_path)


# Awkward expressions of SQL by database: the text that the reader gets, or a part of the refusal.
AWKWARD: dict[str, dict[str, str | None]] = {
    "sqlite": {
        "17850.0": "17850",
        "9007199254740993.0": "9.0071992547409920e+15",
        "9e999": "inf",
        "CAST(x'c3a4' AS BLOB)": "ä",
        "x'ff41'": "column 'a' has bytes that are not UTF-8 in row 1 of the query; select a single value",
        "CAST(x'41ff' AS TEXT)": "column 'a' has bytes that are not UTF-8 in row 1 of the query; select a single value",
        "CAST(x'eda080' AS TEXT)": "column 'a' has bytes that are not UTF-8 in row 1 of the query; select a single value",
        "1 AS a, 2": "several columns with the name 'a'; give each column a name of its own with AS",
        "x": "the query failed: no such column: x; correct the query or the URL",
    },
    "duckdb": {
        "TIMESTAMPTZ '2017-03-01 10:00:00+02'": "2017-03-01 08:00:00+00",
        "TIMESTAMP_NS '2017-03-01 10:00:00.123456789'": "2017-03-01 10:00:00.123456789",
        "170141183460469231731687303715884105727::HUGEINT": "170141183460469231731687303715884105727",
        "'infinity'::DATE": "infinity",
        "'NaN'::DOUBLE": None,
        "'b'::ENUM('a', 'b')": "b",
        "[1, 2]": "column 'a' has a list in row 1 of the query; select a single value",
        "{'x': 1}": "column 'a' has a record in row 1 of the query; select a single value",
        "'\\xFF'::BLOB": "column 'a' has bytes that are not UTF-8 in row 1 of the query; select a single value",
        "1 AS a, 2": "several columns with the name 'a'; give each column a name of its own with AS",
        "CAST('x' AS INTEGER)": "the query failed: Could not convert string 'x' to INT32; correct the query",
    },
    "postgresql": {
        "12345678901234567890.12345::numeric": "12345678901234567890.12345",
        "'NaN'::numeric": None,
        "1e16::float8": "1.0000000000000000e+16",
        "'-0'::float8": "0",
        "timestamptz '2017-03-01 10:00+02' AT TIME ZONE 'UTC'": "2017-03-01T08:00:00",
        "'ab'::bytea": "ab",
        "ARRAY[1, 2]": "column 'a' has a list in row 1 of the query; select a single value",
        "'{\"k\": 1}'::jsonb": "column 'a' has a record in row 1 of the query; select a single value",
        """'"\\ud800"'::json""": "column 'a' has a text with half of a surrogate pair, which no character has, in row 1 of the query",
        "'infinity'::date": "date too large (after year 10K): 'infinity'; correct the query or the URL",
        "1 AS a, 2": "several columns with the name 'a'; give each column a name of its own with AS",
        "nosuch": 'the query failed: column "nosuch" does not exist; correct the query or the URL',
    },
}


@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_values_of_a_database_arrive_exactly_or_are_rejected_by_name(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    urls = {"sqlite": "sqlite:///shop.db", "duckdb": "duckdb:///shop.duckdb", "postgresql": "env:SHOP_URL"}
    if kind == "sqlite":
        write_sqlite(tmp_path / "shop.db")
    elif kind == "duckdb":
        duckdb.connect(str(tmp_path / "shop.duckdb")).close()
    else:
        postgres: sqlalchemy.Engine = request.getfixturevalue("postgres")
        url = postgres.url.set(drivername="postgresql").render_as_string(hide_password=False)
        monkeypatch.setenv("SHOP_URL", url)

    for expression, expected in AWKWARD[kind].items():
        try:
            found = str(rows_of(QuerySpec(sql=f"SELECT {expression} AS a", url=urls[kind]), tmp_path))
        except (DataInvalid, SpecInvalid) as error:
            found = str(error)
            assert found.startswith("table.source")
            assert expected is not None, expression
            assert expected in found
            assert "\n" not in found
        else:
            assert found == str([(expected,)]), expression


def test_a_query_of_postgresql_is_read_exactly_and_cannot_write(
    postgres: sqlalchemy.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE source_lines (k text, x numeric(18, 4), t timestamptz)")
        connection.exec_driver_sql(
            "CREATE FUNCTION delete_source_lines() RETURNS void LANGUAGE sql AS 'DELETE FROM source_lines'"
        )
        connection.exec_driver_sql(
            "INSERT INTO source_lines VALUES ('A', 12345678901234.5678, '2024-01-02 03:04:05+00'), ('%%', NULL, NULL)"
        )
    monkeypatch.setenv("SHOP_URL", postgres.url.set(drivername="postgresql").render_as_string(hide_password=False))

    found = rows_of(
        QuerySpec(sql="SELECT k, x::text AS x, x AS y FROM source_lines ORDER BY k DESC", url="env:SHOP_URL"), tmp_path
    )

    assert found == [("A", "12345678901234.5678", "12345678901234.5678"), ("%", None, None)]
    for sql, message in (
        ("DELETE FROM source_lines RETURNING k", "syntax error"),
        ("SELECT 1; COMMIT; DELETE FROM source_lines", "multiple commands"),
        ("SELECT delete_source_lines()", "read-only transaction"),
    ):
        with pytest.raises(DataInvalid, match=rf"table\.source: the query failed: .*{message}"):
            rows_of(QuerySpec(sql=sql, url="env:SHOP_URL"), tmp_path)
    with postgres.connect() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM source_lines").scalar_one() == 2


SECRET_URLS = [
    "postgresql://canaryuser:canarysecret@127.0.0.1:1/shop",
    "canaryuser:canarysecret@somewhere",
    "postgresql://canaryuser:canary/secret@127.0.0.1/shop",
    "postgresql://127.0.0.1:1/shop?user=canaryuser&password=canarysecret",
    "nosuchdatabase://canaryuser:canarysecret@127.0.0.1/shop",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_no_message_has_the_credentials_of_a_database(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOP_URL", url)

    with pytest.raises((DataInvalid, SpecInvalid)) as refused:
        rows_of(QuerySpec(sql="SELECT 1", url="env:SHOP_URL"), tmp_path)
    with pytest.raises(ValidationError) as invalid:
        QuerySpec(sql="SELECT 1", url=url)

    printed = capfd.readouterr()
    said = "".join([str(refused.value), printed.out, printed.err, *(str(e["msg"]) for e in invalid.value.errors())])
    assert "canary" not in said
    assert refused.value.__cause__ is None


def test_a_missing_environment_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_URL", raising=False)

    with pytest.raises(SpecInvalid, match=r"table\.source\.url: the environment variable SHOP_URL is not set"):
        rows_of(QuerySpec(sql="SELECT 1", url="env:SHOP_URL"), tmp_path)
