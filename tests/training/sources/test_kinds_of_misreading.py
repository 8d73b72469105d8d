"""Every kind of input that was once misread without an error, in each form in which it can arrive.

The forms are a table and a transaction log, each as CSV and as Parquet. `KINDS` lists the kinds; `sources` of a kind
names the sources in which it occurs. Kinds that need whole files, such as dialects, have their tests in the other files
of this folder.
"""

import datetime as dt
import math
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from training.errors import DataInvalid, SpecInvalid
from training.sources.table import read_table_samples
from training.sources.transaction_log import SourcePaths, open_transaction_log
from training.spec import LogSpec, read_spec

ROWS = 100
LEFT_OUT = object()
ROLES = {"customer": "customer_id", "time": "time", "number": "amount", "category": "category", "market": "market"}


@dataclass(frozen=True)
class Refused:
    """A rejection whose message contains these words."""

    words: str


@dataclass(frozen=True)
class Kind:
    """A kind of input that was misread.

    Attributes:
        role: What the column means: customer, time, number, category, market or label.
        cells: The cells of the column as text, which are also the cells of a Parquet column of text; empty if the kind exists
            only in a declared type.
        expected: The value that is read for each cell, or LEFT_OUT if its line is excluded; or the refusal.
        stored: The same values in a declared Parquet type, with the same result; None if text is the only form.
        fields: Further fields of [table] or [log].
        of_log: The expected values or refusal of a log; None if they are those of a table.
        sources: The sources in which the kind occurs.
        separator: The separator of the CSV file. In a file with commas, 1.234 has three decimals.
    """

    role: str
    cells: Sequence[str]
    expected: Sequence[Any] | Refused
    stored: pa.Array | None = None
    fields: str = ""
    of_log: Sequence[Any] | Refused | None = None
    sources: Sequence[str] = ("table", "log")
    separator: str = ","


LAST_NANOSECOND = int(dt.datetime(2017, 4, 1, tzinfo=dt.UTC).timestamp()) * 10**9 - 1
BERLIN = 'time_zone = "Europe/Berlin"'
INSTANT = pa.array([dt.datetime(2017, 2, 28, 22, 30, tzinfo=dt.UTC)], pa.timestamp("us", "Asia/Tokyo"))
KINDS = {
    "types guessed from the first lines": Kind(
        "number", ["5"] * 21_000 + ["5.49"] * 1_000, [Decimal(5)] * 21_000 + [Decimal("5.49")] * 1_000
    ),
    "decimals beyond the currency": Kind(
        "number",
        ["0.005"],
        [Decimal("0.005")],
        pa.array([Decimal("0.005")], pa.decimal128(10, 3)),
        of_log=Refused("100 values have more decimals than the currency, first '0.005' in "),
    ),
    "decimals of the spec": Kind(
        "number", ["0.005"], [Decimal("0.005")], pa.array([Decimal("0.005")]), "decimals = 3", sources=["log"]
    ),
    "thousands or decimals": Kind(
        "number", ["1.234", "7"], Refused("set decimal = '.' or thousands = '.'"), separator=";"
    ),
    "thousands or decimals after 2,500 whole numbers": Kind(
        "number", ["7"] * 2500 + ["1.230"], Refused("set decimal = '.' or thousands = '.'"), separator=";"
    ),
    "three decimals that other numbers prove": Kind(
        "number", ["1.230", "7.5"], [Decimal("1.23"), Decimal("7.5")], separator=";"
    ),
    "thousands that other numbers prove": Kind(
        "number", ["1.234", "7,5"], [Decimal(1234), Decimal("7.5")], separator=";"
    ),
    "a decimal point without digits": Kind("number", ["."] + ["1.5"] * 9, Refused("first '.' in ")),
    "a decimal comma without digits": Kind("number", [","] + ["1,5"] * 9, Refused("first ',' in "), separator=";"),
    "a sign and a decimal point without digits": Kind("number", ["-."] + ["1.5"] * 9, Refused("first '-.' in ")),
    "numbers without a digit on one side of the mark": Kind(
        "number", [".5", "5.", "-.25"], [Decimal("0.5"), Decimal(5), Decimal("-0.25")]
    ),
    "a number of another language": Kind(
        "number", ["1.234,50"], [Decimal("1234.5")], fields='decimal = ","\nthousands = "."'
    ),
    "an ambiguous date": Kind("time", ["01/02/2017"], Refused('"%d/%m/%Y" or "%m/%d/%Y"')),
    "a date in the format of the spec": Kind(
        "time", ["01/02/2017"], ["2017-02-01 00:00:00"], fields='time_format = "%d/%m/%Y"'
    ),
    "a date as a number": Kind(
        "time", ["20170201"], ["2017-02-01 00:00:00"], pa.array([20170201]), 'time_format = "%Y%m%d"'
    ),
    "a time that another program marks as missing": Kind(
        "time", ["\\N", "2017-02-01"], Refused('set missing = ["\\\\N"] in [')
    ),
    "a customer that another program marks as missing": Kind(
        "customer", ["\\N"], Refused('set missing = ["\\\\N"] in [')
    ),
    "a market that another program marks as missing": Kind("market", ["\\N"], Refused('set missing = ["\\\\N"] in [')),
    "a level that another program marks as missing": Kind(
        "category", ["\\N", "a"], Refused('set missing = ["\\\\N"] in [table]'), sources=["table"]
    ),
    "a label that another program marks as missing": Kind(
        "label",
        ["\\N", "0", "1"],
        Refused("or list values that mean no outcome in missing of [table]"),
        sources=["table"],
    ),
    "a date as a decimal": Kind(
        "time",
        [],
        ["2017-02-01 00:00:00"],
        pa.array([Decimal("20170201.00")], pa.decimal128(18, 2)),
        'time_format = "%Y%m%d"',
    ),
    "seconds since 1970 as a decimal": Kind(
        "time",
        [],
        ["2017-02-01 00:00:00.500000"],
        pa.array([Decimal("1485907200.500")], pa.decimal128(18, 3)),
        'time_format = "epoch_s"',
    ),
    "a date as a number without a format": Kind("time", ["20170201"], Refused("time_format"), pa.array([20170201])),
    "a serial number of a spreadsheet": Kind(
        "time", ["42767"], ["2017-02-01 00:00:00"], pa.array([42767.0]), 'time_format = "excel"'
    ),
    "seconds since 1970": Kind(
        "time", ["1485907200"], ["2017-02-01 00:00:00"], pa.array([1485907200]), 'time_format = "epoch_s"'
    ),
    "an offset without the market's zone": Kind("time", ["2017-03-01T00:30:00+02:00"], Refused("time_zone"), INSTANT),
    "an offset on the day of the market": Kind(
        "time", ["2017-03-01T00:30:00+02:00"], ["2017-02-28 23:30:00"], INSTANT, BERLIN
    ),
    "customers as floating-point numbers": Kind(
        "customer", ["124.0", "17850.0"], ["124", "17850"], pa.array([124.0, 17850.0])
    ),
    "customers of 19 digits": Kind(
        "customer",
        ["4611686018427387904", "4611686018427387905"],
        ["4611686018427387904", "4611686018427387905"],
        pa.array([2**62, 2**62 + 1]),
    ),
    "customers in scientific notation": Kind(
        "customer",
        ["1.7850e4", "17850"],
        Refused("1 value is a customer in scientific notation, which may lose digits, first '1.7850e4' in "),
    ),
    "customers in the notation of a spreadsheet": Kind(
        "customer", ["1.23457E+16"], Refused("1 value is a customer in scientific notation")
    ),
    "codes of customers with an E": Kind("customer", ["12E4", "A1.5E4", "1.5E"], ["12E4", "A1.5E4", "1.5E"]),
    "large customers as floating-point numbers": Kind(
        "customer", [], ["10000000", "123456789012"], pa.array([1e7, 123456789012.0])
    ),
    "customers with decimals": Kind("customer", ["1.5"], ["1.5"], None),
    "customers as numbers with decimals": Kind(
        "customer", [], Refused("1 value is a customer with decimals, first '1.5' in "), pa.array([1.5])
    ),
    "padded customers": Kind("customer", ["A ", " B"], ["A", "B"]),
    "padding that makes one customer of three": Kind(
        "customer", ["A ", "A", " A"], Refused("first customer 'A' again in "), of_log=["A", "A", "A"]
    ),
    "a customer that nobody can ask for": Kind("customer", ["1/4 ä"], Refused("first '1/4 ä' in ")),
    "text among numbers": Kind("number", ["n.a.", "5"], Refused("first 'n.a.' in ")),
    "a mark of a missing value that the spec states": Kind(
        "number", ["n.a.", "5"], [None, Decimal(5)], fields='missing = ["n.a."]', of_log=[LEFT_OUT, Decimal(5)]
    ),
    "numbers that are not a number in Parquet": Kind(
        "number",
        [],
        [None, Decimal(1), Decimal("2.5")],
        pa.array([math.nan, 1.0, 2.5]),
        of_log=[LEFT_OUT, Decimal(1), Decimal("2.5")],
    ),
    "a duration in Parquet": Kind(
        "number", [], Refused("the column has the type INTERVAL"), pa.array([dt.timedelta(days=3)])
    ),
    "accounting negatives": Kind("number", ["(1,200.00)", "3.50"], Refused("first '(1,200.00)' in ")),
    "a minus behind the number": Kind("number", ["1200-", "3"], Refused("first '1200-' in ")),
    "the end of a day as 24:00": Kind("time", ["2017-03-01 24:00:00"], Refused("first '2017-03-01 24:00:00' in ")),
    "nanoseconds with a zone in Parquet": Kind(
        "time",
        [],
        ["2017-02-28 23:30:00"],
        pa.array([dt.datetime(2017, 2, 28, 22, 30, tzinfo=dt.UTC)], pa.timestamp("ns", "UTC")),
        BERLIN,
    ),
    "the last nanosecond of a day in Parquet": Kind(
        "time", [], ["2017-03-31 23:59:59.999999"], pa.array([LAST_NANOSECOND], pa.timestamp("ns"))
    ),
    "the last nanosecond of a day with a zone in Parquet": Kind(
        "time",
        [],
        ["2017-03-31 23:59:59.999999"],
        pa.array([LAST_NANOSECOND - 2 * 3600 * 10**9], pa.timestamp("ns", "UTC")),
        BERLIN,
    ),
    "the last nanosecond of a day before 1970 in Parquet": Kind(
        "time", [], ["1969-12-31 23:59:59.999999"], pa.array([-1], pa.timestamp("ns")), "years = [1960, 2030]"
    ),
    "separators of thousands": Kind("number", ["1,200", "7"], [Decimal(1200), Decimal(7)], fields='thousands = ","'),
    "logical values as numbers": Kind(
        "number", ["true", "false"], [Decimal(1), Decimal(0)], pa.array([True, False]), of_log=Refused("number")
    ),
    "codes that look like numbers": Kind("category", ["0111", "01.11", "111"], ["0111", "01.11", "111"]),
    "levels that look like missing values": Kind("category", ["NA", "None", "null"], ["NA", "None", "null"]),
    "two spellings of one text": Kind("category", ["Cafe\u0301", "Café"], ["Café", "Café"]),
    "special codes that the spec declares missing": Kind(
        "number",
        ["96", "3"],
        [None, Decimal(3)],
        pa.array([96, 3]),
        'missing = ["96"]',
        of_log=[LEFT_OUT, Decimal(3)],
    ),
    "a market in lowercase": Kind("market", ["de"], Refused('values = { "de" = "DE" }')),
    "a market by its name": Kind("market", ["Germany"], Refused('values = { "Germany" = "DE" }')),
    "a market by a table of values": Kind(
        "market", ["Germany"], ["DE"], fields='market = { column = "x", values = { "Germany" = "DE" } }'
    ),
    "a label in two words": Kind("label", ["good", "bad"], [0, 1], sources=["table"]),
    "a label of Y and N": Kind(
        "label", ["N", "Y"], [0, 1], fields='label = { column = "x", bad = "Y" }', sources=["table"]
    ),
    "a label of Y and N without a direction": Kind("label", ["N", "Y"], Refused('bad = "Y"'), sources=["table"]),
    "a label of 1 and 2": Kind(
        "label", ["1", "2"], [0, 1], pa.array([1, 2]), 'label = { column = "x", bad = 2 }', sources=["table"]
    ),
    "a label of -1 and 1": Kind(
        "label", ["-1", "1"], [0, 1], pa.array([-1, 1]), 'label = { column = "x", bad = 1 }', sources=["table"]
    ),
    "a label as text": Kind("label", ["0", "1"], [0, 1], pa.array([0, 1]), sources=["table"]),
}
FORMS = [
    pytest.param(kind, source, form, id=f"{kind} - {source} - {form}")
    for kind, one in KINDS.items()
    for source in one.sources
    for form in ("csv", "parquet text", "parquet type")
    if (one.stored is not None if form == "parquet type" else one.cells)
]


def write_rows(kind: Kind, form: str, path: Path) -> None:
    """Write a file with the column x of the kind, and with columns for everything else that a source needs.

    The values are repeated until there are 100 rows. Customers are not repeated, because a table may contain each
    customer only once; other customers fill the remaining rows.
    """
    values = kind.stored if kind.stored is not None and form == "parquet type" else pa.array(kind.cells, pa.string())
    count = max(ROWS, len(values))
    if kind.role == "customer" and pa.types.is_string(values.type):
        column = pa.concat_arrays([values, pa.array([f"other{index}" for index in range(len(values), count)])])
    elif kind.role == "customer":
        column = pa.concat_arrays([values, pa.array(range(len(values), count)).cast(values.type)])
    else:
        column = values.take(pa.array([index % len(values) for index in range(count)]))
    table = pa.table(
        {
            "x": column,
            "c": [f"C{index}" for index in range(count)],
            "t": ["2017-03-01"] * count,
            "m": ["DE"] * count,
            "bad": [index % 2 for index in range(count)],
        }
    )
    if form == "csv":
        pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(delimiter=kind.separator))
    else:
        pq.write_table(table, path)


def read_table(kind: Kind, path: Path) -> list[Any]:
    """Read the column x of a table in the role of the kind."""
    named = {"customer": "c", "label": "bad", "time": "t"} | {kind.role: "x"}
    lines = {
        "customer_id": f'"{named["customer"]}"',
        "label": f'"{named["label"]}"',
        "market_column" if kind.role == "market" else "market": '"x"' if kind.role == "market" else '"DE"',
        "as_of_column": f'"{named["time"]}"',
    }
    stated = tomllib.loads(kind.fields)
    lines = {name: value for name, value in lines.items() if name.removesuffix("_column") not in stated}
    is_feature = kind.role in ("number", "category")
    spec = path.with_name("spec.toml")
    spec.write_text(
        'family = "late"\ntitle = "t"\npurpose = "p"\npopulation = "p"\n[table]\n'
        + "".join(f"{name} = {value}\n" for name, value in lines.items())
        + f"{kind.fields}\n[[features]]\n"
        + ('name = "x"\n' if is_feature else 'name = "f"\ncolumn = "c"\n')
        + ("" if kind.role == "number" else 'kind = "category"\n'),
        encoding="utf-8",
    )
    _, samples = read_table_samples(read_spec(spec), path)
    if kind.role == "category":
        levels = samples.levels["x"]
        return [levels[int(code)] for code in samples.rows["x"]]
    columns = {"customer": "customer_id", "time": "as_of", "number": "x"}
    return samples.rows[columns.get(kind.role, kind.role)].tolist()


def read_log(kind: Kind, path: Path) -> list[Any]:
    """Read the column x of a log in the role of the kind."""
    role, stated = ROLES[kind.role], tomllib.loads(kind.fields)
    columns = {"customer_id": "c", "time": "t", "amount": "bad", "market": "m"} | {role: "x"}
    columns = {name: column for name, column in columns.items() if name not in stated}
    log = LogSpec.model_validate(
        {"path": path.name, "currency": "EUR", "duplicates": "keep", "columns": columns} | stated
    )
    with open_transaction_log(log, None, SourcePaths(path.parent), 2) as opened:
        return [value for (value,) in opened.connection.execute(f"SELECT {role} FROM valid_lines").fetchall()]


def plain(value: Any) -> Any:
    """Return a value in the form in which the kinds state it."""
    if isinstance(value, dt.datetime):  # includes pandas timestamps
        return value.replace(tzinfo=None).isoformat(" ")
    if isinstance(value, float):
        return None if math.isnan(value) else Decimal(repr(value))
    return value


@pytest.mark.parametrize(("name", "source", "form"), FORMS)
def test_an_input_is_read_exactly_or_rejected_with_what_to_write(
    name: str, source: str, form: str, tmp_path: Path
) -> None:
    kind = KINDS[name]
    path = tmp_path / ("rows.csv" if form == "csv" else "rows.parquet")
    write_rows(kind, form, path)
    read = read_table if source == "table" else read_log
    expected = kind.of_log if source == "log" and kind.of_log is not None else kind.expected

    if isinstance(expected, Refused):
        with pytest.raises((DataInvalid, SpecInvalid)) as refused:
            read(kind, path)
        assert expected.words in str(refused.value)
        return
    found = [plain(value) for value in read(kind, path)]
    if kind.role == "customer":
        others = [str(index) for index in range(ROWS)] + [f"other{index}" for index in range(ROWS)]
        found = [value for value in found if value not in others]
        assert Counter(found) == Counter(expected)
        return
    assert len(expected) == len(kind.cells or kind.stored or ())
    repeated = Counter(expected[index % len(expected)] for index in range(max(ROWS, len(expected))))
    assert Counter(found) == Counter({value: count for value, count in repeated.items() if value is not LEFT_OUT})
