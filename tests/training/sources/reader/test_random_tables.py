"""Random tables and logs in random dialects are read exactly as they were written, or rejected."""

import csv
import datetime as dt
import gzip
import io
import tempfile
import unicodedata
import zoneinfo
from collections import Counter
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
from training.sources.reader.casts import key_cast, money_cast, number_cast, text_cast, time_cast
from training.sources.reader.raw_table import RawTable, open_file, read_strictly
from training.sources.transaction_log import SourcePaths, open_transaction_log
from training.spec import LogSpec
from training.spec.reading import ReadingSpec

HEADER = ["Kunde", "Umsatz Größe", "Zeit", "Text", "Zahl", "Ja/Nein", "Branche", "Instant"]
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
CURRENCIES = {"JPY": 0, "EUR": 2, "KWD": 3}
NO_CUSTOMERS = {"true", "false", "null", "none", "nan"}
TIMES = st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2100, 1, 1)).map(lambda time: time.replace(microsecond=0))  # noqa: DTZ001 - local times of a market
INSTANTS = st.builds(
    lambda time, minutes: time.replace(tzinfo=dt.timezone(dt.timedelta(minutes=minutes))),
    TIMES,
    st.sampled_from([-720, -210, 0, 60, 120, 345, 840]),
)


@dataclass(frozen=True, slots=True)
class Row:
    """The values of a row. The amount is a whole number of the smallest units of its currency."""

    customer: str
    units: int
    time: dt.datetime
    text: str
    number: int | None
    flag: bool | None
    category: str
    instant: dt.datetime


ROWS = st.lists(
    st.builds(
        Row,
        customer=st.one_of(
            st.from_regex(r"[A-Za-z0-9._:-]{1,12}", fullmatch=True), st.integers(0, 10**19).map(str)
        ).filter(lambda text: not text.endswith(".0") and text.lower() not in NO_CUSTOMERS),
        units=st.integers(-(10**14), 10**14),
        time=TIMES,
        text=st.lists(st.sampled_from([*"aeÉé\u0301ß0,;|\t\"' \n.-", "\r\n"]), max_size=8).map("".join),
        number=st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        flag=st.sampled_from([True, False, None]),
        category=st.sampled_from(["NA", "None", "null", "0111", "01.11", "Cafe\u0301", "Café", "", "1,5", "true"]),
        instant=INSTANTS,
    ),
    min_size=1,
    max_size=8,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The format of a text file, and the currency of its amounts."""

    separator: str
    decimal: str
    thousands: str
    encoding: str
    line_end: str
    quotes_all: bool
    compression: str
    time_format: str | None
    currency: str


DIALECTS = st.builds(
    Dialect,
    separator=st.sampled_from(",;\t|"),
    decimal=st.sampled_from(".,"),
    thousands=st.sampled_from(["", ".", ",", " ", "'", "\u00a0"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quotes_all=st.booleans(),
    compression=st.sampled_from(["none", "gzip", "zstd"]),
    time_format=st.sampled_from([None, "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S"]),
    currency=st.sampled_from(sorted(CURRENCIES)),
).filter(lambda one: one.decimal != one.thousands)


def amount(row: Row, currency: str) -> Decimal:
    """Return the amount of a row in its currency."""
    return Decimal(row.units).scaleb(-CURRENCIES[currency])


def in_encoding(text: str, dialect: Dialect) -> str:
    """Return a text without the characters that the encoding does not have."""
    return text.encode(dialect.encoding, "ignore").decode(dialect.encoding)


def written_number(number: Decimal | int, decimals: int, dialect: Dialect) -> str:
    """Return a number with the separators of the dialect."""
    plain = f"{number:,.{decimals}f}" if isinstance(number, Decimal) else f"{number:,}"
    return plain.replace(",", "#").replace(".", dialect.decimal).replace("#", dialect.thousands)


def write(path: Path, rows: list[Row], dialect: Dialect) -> None:
    """Write rows to a text file in a dialect."""
    buffer = io.StringIO()
    quoting = csv.QUOTE_ALL if dialect.quotes_all else csv.QUOTE_MINIMAL
    writer = csv.writer(buffer, delimiter=dialect.separator, lineterminator=dialect.line_end, quoting=quoting)
    writer.writerow(HEADER)
    for row in rows:
        day = row.time.isoformat() if dialect.time_format is None else row.time.strftime(dialect.time_format)
        money = written_number(amount(row, dialect.currency), CURRENCIES[dialect.currency], dialect)
        number = "" if row.number is None else written_number(row.number, 0, dialect)
        flag = "" if row.flag is None else str(row.flag)
        text, category = (in_encoding(one, dialect) for one in (row.text, row.category))
        writer.writerow([row.customer, money, day, text, number, flag, category, row.instant.isoformat()])
    data = buffer.getvalue().encode(dialect.encoding)
    if dialect.compression == "gzip":
        data = gzip.compress(data)
    elif dialect.compression == "zstd":
        data = pa.compress(data, "zstd", asbytes=True)
    path.write_bytes(data)


def clean(text: str) -> str | None:
    """Return a text as it must be read: in NFC and without white space around it; None if it is empty."""
    return unicodedata.normalize("NFC", text).strip() or None


def expected_values(rows: list[Row], currency: str, dialect: Dialect | None = None) -> list[tuple[Any, ...]]:
    """Return the values that reading must find."""
    found = []
    for row in rows:
        text, category = (one if dialect is None else in_encoding(one, dialect) for one in (row.text, row.category))
        number = None if row.number is None else float(row.number)
        flag = None if row.flag is None else float(row.flag)
        local = row.instant.astimezone(BERLIN).replace(tzinfo=None)
        found.append((row.customer, amount(row, currency), row.time, clean(text), number, flag, clean(category), local))
    return found


def read(path: Path, reading: ReadingSpec, folder: Path, currency: str) -> list[tuple[Any, ...]]:
    """Read the values of a file; raise DataInvalid if a value is unreadable."""
    table = open_file(path, reading, folder, numeric=[HEADER[1], HEADER[4]])
    zoned = reading.model_copy(update={"time_format": None, "time_zone": "Europe/Berlin"})
    casts = [
        key_cast(table, HEADER[0], "log.columns.customer_id", "customer"),
        money_cast(table, HEADER[1], "log.columns.amount", CURRENCIES[currency]),
        time_cast(table, HEADER[2], "log.columns.time", reading, "NULL"),
        text_cast(table, HEADER[3], "log.columns.category"),
        number_cast(table, HEADER[4], "features.number"),
        number_cast(table, HEADER[5], "features.flag"),
        text_cast(table, HEADER[6], "features.category"),
        time_cast(table, HEADER[7], "log.columns.time", zoned, "NULL"),
    ]
    select = ", ".join(f"{cast.value}, {cast.problem}" for cast in casts)

    def fetch(source: RawTable) -> list[tuple[Any, ...]]:
        with duckdb.connect() as connection:
            return connection.execute(f"SELECT {select} FROM {source.sql}").fetchall()

    cells = read_strictly(table, folder, fetch)
    if any(problem for row in cells for problem in row[1::2]):
        raise DataInvalid("unreadable values")
    return [row[::2] for row in cells]


def stated_fields(dialect: Dialect) -> dict[str, Any]:
    """Return the fields of a spec that state a dialect; the encoding is detected."""
    return {
        "separator": "tab" if dialect.separator == "\t" else dialect.separator,
        "decimal": dialect.decimal,
        "thousands": " " if dialect.thousands == "\u00a0" else dialect.thousands,
        "time_format": dialect.time_format,
    }


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(rows=ROWS, dialect=DIALECTS)
def test_a_table_in_a_stated_dialect_is_read_exactly_and_in_a_detected_one_exactly_or_not_at_all(
    rows: list[Row], dialect: Dialect
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "t.csv"
        write(path, rows, dialect)
        stated = ReadingSpec.model_validate(stated_fields(dialect))
        expected = expected_values(rows, dialect.currency, dialect)

        try:
            found = read(path, ReadingSpec(time_format=dialect.time_format), folder, dialect.currency)
        except DataInvalid:
            found = expected

        assert found == expected
        assert read(path, stated, folder, dialect.currency) == expected


def write_parquet(path: Path, rows: list[Row], currency: str, variant: int) -> None:
    """Write rows to Parquet with declared types; the variant chooses between types with the same meaning."""
    texts = [pa.string(), pa.large_string(), pa.string_view()][variant % 3]
    category = [pa.string(), pa.dictionary(pa.int32(), pa.string())][variant % 2]
    unit = ["us", "ns", "ms"][variant % 3]
    columns = [
        (texts, [row.customer for row in rows]),
        (pa.decimal128(18, CURRENCIES[currency]), [amount(row, currency) for row in rows]),
        (pa.timestamp(unit), [row.time for row in rows]),
        (texts, [row.text for row in rows]),
        (pa.int64(), [row.number for row in rows]),
        (pa.bool_(), [row.flag for row in rows]),
        (category, [row.category for row in rows]),
        (pa.timestamp(unit, "Asia/Tokyo"), [row.instant for row in rows]),
    ]
    arrays = [pa.array(values, kind) for kind, values in columns]
    pq.write_table(pa.table(dict(zip(HEADER, arrays, strict=True))), path)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(rows=ROWS, currency=st.sampled_from(sorted(CURRENCIES)), variant=st.integers(0, 5))
def test_a_table_in_parquet_is_read_exactly(rows: list[Row], currency: str, variant: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "t.parquet"
        write_parquet(path, rows, currency, variant)

        assert read(path, ReadingSpec(), Path(name), currency) == expected_values(rows, currency)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(rows=ROWS, dialect=DIALECTS, variant=st.integers(-1, 5))
def test_a_log_is_read_exactly_from_csv_and_from_parquet(rows: list[Row], dialect: Dialect, variant: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "log"
        if variant < 0:
            write(path, rows, dialect)
        else:
            write_parquet(path, rows, dialect.currency, variant)
        columns = {"customer_id": HEADER[0], "amount": f'"{HEADER[1]}"', "time": HEADER[2], "category": HEADER[6]}
        fields = {
            "path": "log",
            "market": "DE",
            "currency": dialect.currency,
            "duplicates": "keep",
            "until": "2150-01-01",
        }
        log = LogSpec.model_validate(fields | {"columns": columns} | stated_fields(dialect))

        with open_transaction_log(log, None, SourcePaths(path.parent), 1) as opened:
            query = "SELECT customer_id, amount, time, category FROM valid_lines"
            found = opened.connection.execute(query).fetchall()

        expected = expected_values(rows, dialect.currency, dialect if variant < 0 else None)
        assert Counter(found) == Counter((row[0], row[1], row[2], row[6]) for row in expected)
