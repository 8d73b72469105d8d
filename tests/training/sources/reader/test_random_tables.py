"""Random tables in random CSV dialects are read exactly as they were written, or rejected."""

import csv
import datetime as dt
import gzip
import io
import tempfile
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.errors import DataInvalid
from training.sources.reader.casts import key_cast, money_cast, text_cast, time_cast
from training.sources.reader.raw_table import RawTable, open_file, read_strictly
from training.spec.reading import ReadingSpec

Row = tuple[str, Decimal, dt.datetime, str]
HEADER = ["Kunde", "Umsatz Größe", "Zeit", "Text"]
ROWS = st.lists(
    st.tuples(
        st.from_regex(r"[A-Za-z0-9._:-]{1,12}", fullmatch=True).filter(lambda text: not text.endswith(".0")),
        st.decimals(min_value=-(10**12), max_value=10**12, places=2),
        st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2100, 1, 1)).map(lambda time: time.replace(microsecond=0)),  # noqa: DTZ001 - local times of a market
        st.text(st.sampled_from("aeÉé\u0301ß0,;|\t\"' \n.-"), max_size=8),
    ),
    min_size=1,
    max_size=8,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The format of a text file."""

    separator: str
    decimal: str
    thousands: str
    encoding: str
    line_end: str
    quotes_all: bool
    is_compressed: bool
    time_format: str | None


DIALECTS = st.builds(
    Dialect,
    separator=st.sampled_from(",;\t|"),
    decimal=st.sampled_from(".,"),
    thousands=st.sampled_from(["", ".", ",", " ", "'"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quotes_all=st.booleans(),
    is_compressed=st.booleans(),
    time_format=st.sampled_from([None, "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S"]),
).filter(lambda one: one.decimal != one.thousands)


def written_number(number: Decimal, dialect: Dialect) -> str:
    """Return a number with the separators of the dialect."""
    return f"{number:,.2f}".replace(",", "#").replace(".", dialect.decimal).replace("#", dialect.thousands)


def write(path: Path, rows: list[Row], dialect: Dialect) -> None:
    """Write rows to a text file in a dialect."""
    buffer = io.StringIO()
    quoting = csv.QUOTE_ALL if dialect.quotes_all else csv.QUOTE_MINIMAL
    writer = csv.writer(buffer, delimiter=dialect.separator, lineterminator=dialect.line_end, quoting=quoting)
    writer.writerow(HEADER)
    for customer, amount, time, text in rows:
        day = time.isoformat() if dialect.time_format is None else time.strftime(dialect.time_format)
        writer.writerow([customer, written_number(amount, dialect), day, text])
    data = buffer.getvalue().encode(dialect.encoding)
    path.write_bytes(gzip.compress(data) if dialect.is_compressed else data)


def expected_values(rows: list[Row]) -> list[tuple[Any, ...]]:
    """Return the values that reading must find: texts are stripped and in NFC, and an empty text is None."""
    texts = [unicodedata.normalize("NFC", text).strip() or None for *_, text in rows]
    return [(customer, amount, time, text) for (customer, amount, time, _), text in zip(rows, texts, strict=True)]


def read(path: Path, reading: ReadingSpec, folder: Path) -> list[tuple[Any, ...]]:
    """Read the values of a file; raise DataInvalid if a value is unreadable."""
    table = open_file(path, reading, folder, numeric=[HEADER[1]])
    casts = [
        key_cast(table, HEADER[0], "log.columns.customer_id", "customer"),
        money_cast(table, HEADER[1], "log.columns.amount", 2),
        time_cast(table, HEADER[2], "log.columns.time", reading, "NULL"),
        text_cast(table, HEADER[3], "log.columns.category"),
    ]
    select = ", ".join(f"{cast.value}, {cast.problem}" for cast in casts)

    def fetch(source: RawTable) -> list[tuple[Any, ...]]:
        with duckdb.connect() as connection:
            return connection.execute(f"SELECT {select} FROM {source.sql}").fetchall()

    cells = read_strictly(table, folder, fetch)
    if any(problem for row in cells for problem in row[1::2]):
        raise DataInvalid("unreadable values")
    return [row[::2] for row in cells]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(rows=ROWS, dialect=DIALECTS)
def test_a_table_in_a_stated_dialect_is_read_exactly_and_in_a_detected_one_exactly_or_not_at_all(
    rows: list[Row], dialect: Dialect
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "t.csv"
        write(path, rows, dialect)
        time_format = dialect.time_format
        stated = ReadingSpec.model_validate(
            {
                "separator": "tab" if dialect.separator == "\t" else dialect.separator,
                "decimal": dialect.decimal,
                "thousands": dialect.thousands,
                "time_format": time_format,
            }
        )

        try:
            found = read(path, ReadingSpec(time_format=time_format), folder)
        except DataInvalid:
            found = expected_values(rows)

        assert found == expected_values(rows)
        assert read(path, stated, folder) == expected_values(rows)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(rows=ROWS)
def test_a_table_in_parquet_is_read_exactly(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "t.parquet"
        types = [pa.string(), pa.decimal128(18, 2), pa.timestamp("us"), pa.string()]
        arrays = [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), types, strict=True)]
        pq.write_table(pa.table(dict(zip(HEADER, arrays, strict=True))), path)

        assert read(path, ReadingSpec(), Path(name)) == expected_values(rows)
