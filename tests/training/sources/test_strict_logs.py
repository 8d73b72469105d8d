"""Realistic transaction logs are read exactly, or rejected with the line and the setting to add to the spec."""

import datetime as dt
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.sources.refusal_screens import fitted_refusal
from training.errors import DataInvalid, SpecInvalid
from training.scoring.campaign import read_suppressions, unmatched_customers
from training.sources.snapshots import create_customers
from training.sources.transaction_log import SourcePaths, TransactionLog, open_transaction_log, temporary_database
from training.spec import LogSpec, SnapshotSpec, StatusSpec

COLUMNS = {"customer_id": "c", "time": "t", "amount": "a"}


@contextmanager
def open_log(
    folder: Path, data: str | bytes | pa.Table, status: StatusSpec | None = None, **fields: Any
) -> Iterator[TransactionLog]:
    """Write a transaction log, and open it with a spec that has these fields."""
    path = folder / ("log.parquet" if isinstance(data, pa.Table) else "log.csv")
    if isinstance(data, pa.Table):
        pq.write_table(data, path)
    else:
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    defaults = {"path": path.name, "market": "DE", "currency": "EUR", "duplicates": "keep", "columns": COLUMNS}
    log = LogSpec.model_validate(defaults | fields)
    with open_transaction_log(log, status, SourcePaths(folder), 2) as found:
        yield found


def lines_of(log: TransactionLog, columns: str = "customer_id, time, amount") -> list[tuple[Any, ...]]:
    """Return the given columns of the valid lines, in sorted order."""
    return log.connection.execute(f"SELECT {columns} FROM valid_lines ORDER BY ALL").fetchall()


def total(log: TransactionLog) -> Decimal:
    """Return the sum of the amounts of all valid lines."""
    return Decimal(log.connection.execute("SELECT SUM(amount) FROM valid_lines").fetchall()[0][0])


def made_lines(*amounts: str) -> str:
    """Return the text of a log with the given amounts, one per line."""
    return "c,t,a\n" + "".join(f"A,2017-03-01,{amount}\n" for amount in amounts)


@pytest.mark.parametrize("rows", [0, 2_500])
def test_an_additional_empty_cell_in_a_line_of_the_log_or_of_the_status_is_rejected(rows: int, tmp_path: Path) -> None:
    lines = "c,t,p,a\n" + "A,2017-03-01,Schrauben,5\n" * rows
    with (
        pytest.raises(DataInvalid, match=rf"log\.csv: line {rows + 2:,} has 5 values"),
        open_log(tmp_path, lines + "B,2017-03-01,Schrauben, 100,\n"),
    ):
        pass
    (tmp_path / "status.csv").write_text("customer_id,status,since\n" + "A,,2017-01-01\n" * rows + "B,,,\n")
    with (
        pytest.raises(DataInvalid, match=rf"status\.csv: line {rows + 2:,} has 4 values"),
        open_log(tmp_path, lines + "B,2017-03-01,Schrauben,100\n", StatusSpec(path="status.csv")),
    ):
        pass


def test_the_first_lines_do_not_decide_the_type_of_the_later_lines(tmp_path: Path) -> None:
    with open_log(tmp_path, made_lines(*["5"] * 21_000, *["5.49"] * 1_000)) as log:
        assert total(log) == Decimal("110490.00")


REJECTED = {
    "decimals beyond the currency": (
        made_lines(*["0.005"] * 1000),
        {},
        "column 'a': 1,000 values have more decimals than the currency, first '0.005' in line 2 of log.csv; set decimals = 3",
    ),
    "German thousands": (made_lines("1.234"), {}, 'or thousands = "." if it means 1234'),
    "decimals of a currency without them": (made_lines("5.50"), {"currency": "JPY"}, "1 value has more decimals"),
    "a text among the amounts": (
        made_lines("5", "n.a."),
        {},
        "first 'n.a.' in line 3 of log.csv; correct the value, or set missing",
    ),
    "an ambiguous date": (
        "c,t,a\nA,01/02/2017,5\n",
        {},
        'first \'01/02/2017\' in line 2 of log.csv; set time_format in [log] to "%d/%m/%Y" or "%m/%d/%Y"',
    ),
    "a date as a number": ("c,t,a\nA,20170301,5\n", {}, 'set time_format = "%Y%m%d" in [log]'),
    "a time with an offset": (
        "c,t,a\nA,2017-03-01T00:30:00+02:00,5\n",
        {},
        "set time_zone in [log]",
    ),
    "a market without a time zone": (
        "c,t,a,m\nA,2017-03-01T00:30:00+02:00,5,FR\n",
        {"market": None, "columns": COLUMNS | {"market": "m"}, "time_zone": {"DE": "Europe/Berlin"}},
        "set time_zone in [log]",
    ),
    "a customer that nobody can ask for": (
        "c,t,a\n1/4 ä,2017-03-01,5\n",
        {},
        "first '1/4 ä' in line 2 of log.csv; a customer must be",
    ),
    "a value after a quoted line end": (
        'c,t,a,x\nA,2017-03-01,5,"two\nlines"\nA,2017-03-01,x,y\n',
        {},
        "first 'x' in line 4 of log.csv",
    ),
    "a market in lowercase": (
        "c,t,a,m\nA,2017-03-01,5,de\n",
        {"market": None, "columns": COLUMNS | {"market": "m"}},
        'set market = { column = "m", values = { "de" = "DE" } } in [log] instead of columns.market',
    ),
    "a market by its name": (
        "c,t,a,m\nA,2017-03-01,5,Germany\n",
        {"market": None, "columns": COLUMNS | {"market": "m"}},
        'set market = { column = "m", values = { "Germany" = "DE" } } in [log] instead of columns.market',
    ),
    "a minus behind the number": (
        made_lines("5.00-"),
        {},
        "first '5.00-' in line 2 of log.csv; correct the value: write digits, one decimal mark and, for a negative number, a leading -",
    ),
    "a day that does not exist": (
        "c,t,a\nA,2017-02-30,5\n",
        {},
        "first '2017-02-30' in line 2 of log.csv; correct the value: there is no such day or time",
    ),
    "days with slashes": ("c,t,a\nA,2017/03/01,5\n", {}, 'set time_format = "%Y/%m/%d" in [log]'),
    "a log without lines": ("c,t,a\n", {}, "the log has no lines"),
    "a log without amounts": (
        made_lines(""),
        {},
        "no valid line with a customer, market, time and amount: 1 NO_AMOUNT",
    ),
    "a JSON file": ('{"c": "A"}\n', {}, "the file is a JSON file"),
    "a single-precision customer that is not exact": (
        pa.table({"c": pa.array([16777216.0], pa.float32()), "t": ["2017-03-01"], "a": [5]}),
        {},
        "column 'c': 1 value is a floating-point number whose last digits are lost",
    ),
    "a logical value as an amount": (
        pa.table({"c": ["A"], "t": ["2017-03-01"], "a": [True]}),
        {},
        "the column has the type BOOLEAN; map a column of numbers",
    ),
    "a market without a currency": (
        "c,t,a,m\nA,2017-03-01,5,FR\n",
        {"market": None, "columns": COLUMNS | {"market": "m"}, "currency": {"DE": "EUR"}},
        'log.currency: states no currency for the markets FR of log.csv; add them, such as FR = "EUR"',
    ),
    "decimals beyond the currency of the market": (
        "c,t,a,m\nA,2017-03-01,5.25,DE\nA,2017-03-01,525.5,JP\n",
        {"market": None, "columns": COLUMNS | {"market": "m"}, "currency": {"DE": "EUR", "JP": "JPY"}},
        "1 value has more decimals than the currency, first '525.5' in line 3 of log.csv",
    ),
    "lines in a currency of another market": (
        "c,t,a,m,w\nA,2017-03-01,5,DE,EUR\nA,2017-03-01,5,PL,EUR\n",
        {
            "market": None,
            "columns": COLUMNS | {"market": "m", "currency": "w"},
            "currency": {"DE": "EUR", "PL": "PLN"},
        },
        "column 'w': 1 lines have a currency other than that of their market: 'EUR' (1), first 'EUR' in line 3 of log.csv",
    ),
    "a missing column": ("c,t\nA,2017-03-01\n", {}, "log.csv: lacks columns of the spec:\n  log.columns.amount: 'a'"),
    "a ragged line": (
        "c,t,a\nA,2017-03-01,5\nA,2017-03-01\n",
        {},
        "line 3 has 2 values, but the header has 3 columns",
    ),
    "a damaged archive": (
        gzip.compress(made_lines("5").encode())[:30],
        {},
        "log.csv: cannot be read with compression = 'gzip'",
    ),
}


@pytest.mark.parametrize("case", REJECTED)
def test_a_log_that_may_be_misread_is_rejected_on_one_screen_with_what_to_write(case: str, tmp_path: Path) -> None:
    data, fields, message = REJECTED[case]

    with pytest.raises((DataInvalid, SpecInvalid)) as refused, open_log(tmp_path, data, **fields):
        pass

    assert message in str(refused.value)
    assert fitted_refusal(refused.value)


def test_the_line_of_the_first_unreadable_value_is_right_in_a_file_that_several_threads_read(tmp_path: Path) -> None:
    with (
        pytest.raises(DataInvalid, match=r"1 value is not a number, first 'x' in line 400,002 of log\.csv"),
        open_log(tmp_path, made_lines(*["5"] * 400_000, "x", *["5"] * 400_000)),
    ):
        pass


def test_unreadable_lines_are_left_out_and_counted_if_the_spec_allows_them(tmp_path: Path) -> None:
    with open_log(tmp_path, made_lines(*["5"] * 99, "x"), max_unreadable_share=0.01) as log:
        assert dict(log.waterfall)["left out: UNREADABLE"] == -1
        assert total(log) == 495
        assert next(one for one in log.columns if one.column == "a").first_odd == "'x' in line 101"


def test_padding_does_not_make_several_customers_and_is_counted(tmp_path: Path) -> None:
    text = "c,t,a,g\n" + "".join(
        f"{customer},2017-03-01,5,{group}\n"
        for customer, group in [("A ", "Cafe\u0301"), ("A", "Café"), (" A", "Café ")]
    )
    for data in (
        text,
        pa.table(
            {"c": ["A ", "A", " A"], "t": ["2017-03-01"] * 3, "a": [5.0] * 3, "g": ["Cafe\u0301", "Café", "Café "]}
        ),
    ):
        with open_log(tmp_path, data, columns=COLUMNS | {"category": "g"}) as log:
            assert set(lines_of(log, "customer_id, category")) == {("A", "Café")}
            assert log.columns[0].detail == "2 without the spaces around them"


@pytest.mark.parametrize(
    ("customers", "expected"),
    [
        (pa.array([124, None, 2**62 + 1, 2**62]), ["124", str(2**62), str(2**62 + 1)]),
        (pa.array([124.0, None, 17850.0, 2.0]), ["124", "17850", "2"]),
        (pa.array(["00123", None, "123.0", "NA"]), ["00123", "123", "NA"]),
    ],
)
def test_customers_keep_every_digit_in_parquet_columns_with_nulls(
    customers: pa.Array, expected: list[str], tmp_path: Path
) -> None:
    days = pa.array([dt.datetime(2017, 3, 1)] * 4)  # noqa: DTZ001 - a Parquet time without a zone
    with open_log(tmp_path, pa.table({"c": customers, "t": days, "a": [1, 2, 3, 4]})) as log:
        assert [row[0] for row in lines_of(log, "customer_id")] == expected
        assert dict(log.waterfall)["left out: NO_CUSTOMER"] == -1


def test_an_expression_of_a_customer_uses_a_whole_floating_point_number_as_a_file_of_text_writes_it(
    tmp_path: Path,
) -> None:
    columns = {"customer_id": "shop || '-' || number", "time": "t", "amount": "a"}
    days = ["2017-03-01"] * 3
    rows = pa.table({"shop": ["01"] * 3, "number": [17850.0, 1e7, 123456789012.0], "t": days, "a": [5, 6, 7]})
    with open_log(tmp_path, rows, columns=columns) as log:
        found = [str(customer) for (customer,) in lines_of(log, "customer_id")]
    assert found == ["01-10000000", "01-123456789012", "01-17850"]


def test_times_with_a_zone_are_on_the_day_of_their_market(tmp_path: Path) -> None:
    zones = {"DE": "Europe/Berlin", "FI": "Europe/Helsinki"}
    text = "c,t,a,m\nA,2017-02-28T22:30:00Z,5,FI\nA,2017-02-28T22:30:00Z,5,DE\n"
    stored = pa.table(
        {
            "c": ["A"] * 2,
            "t": pa.array([1488321000000000] * 2, pa.timestamp("us", "Asia/Tokyo")),
            "a": [5, 5],
            "m": ["FI", "DE"],
        }
    )
    for data in (text, stored):
        with open_log(tmp_path, data, market=None, columns=COLUMNS | {"market": "m"}, time_zone=zones) as log:
            assert [(market, str(time)) for market, time in lines_of(log, "market, time")] == [
                ("DE", "2017-02-28 23:30:00"),
                ("FI", "2017-03-01 00:30:00"),
            ]


@pytest.mark.parametrize(
    ("time_format", "cell"),
    [("%Y%m%d", "20170301"), ("%d.%m.%Y", "01.03.2017"), ("epoch_s", "1488326400"), ("excel", "42795")],
)
def test_a_log_is_read_with_the_time_format_of_the_spec(time_format: str, cell: str, tmp_path: Path) -> None:
    with open_log(tmp_path, f"c,t,a\nA,{cell},5\n", time_format=time_format) as log:
        assert [str(row[0]) for row in lines_of(log, "time")] == ["2017-03-01 00:00:00"]


def test_a_compressed_german_log_with_odd_names_is_read_exactly_and_confirmed_in_one_line(tmp_path: Path) -> None:
    columns = {"customer_id": "Kunden-Nr.", "time": "Zeit", "amount": "Umsatz, brutto €", "category": "Größe"}
    text = '"Kunden-Nr.";Zeit;"Umsatz, brutto €";Größe;\r\n00123;01.03.2017;"1.234,56";XL;\r\n00124;02.03.2017;-7,5;"a;b";\r\n'
    with open_log(tmp_path, gzip.compress(text.encode("cp1252")), columns=columns, time_format="%d.%m.%Y") as log:
        assert lines_of(log, "customer_id, amount, category") == [
            ("00123", Decimal("1234.56"), "XL"),
            ("00124", Decimal("-7.50"), "a;b"),
        ]
        assert log.confirmation == (
            "log.csv: read as text with 5 columns: separator ';', decimal ',', thousands '.', encoding cp1252 (assumed: 'Größe' must be a word, otherwise set encoding), gzip"
        )
        assert log.columns[-1].use == "left out"


def test_amounts_of_a_currency_with_three_decimals_are_exact(tmp_path: Path) -> None:
    with open_log(tmp_path, made_lines("0.005", "1.234"), currency="KWD") as log:
        assert total(log) == Decimal("1.239")


def test_empty_lines_before_the_header_are_skipped(tmp_path: Path) -> None:
    with open_log(tmp_path, "\n\n" + made_lines("5", "6")) as log:
        assert total(log) == Decimal(11)


def test_each_market_has_its_own_currency_with_its_own_decimals(tmp_path: Path) -> None:
    text = "c,t,a,m\nA,2017-03-01,5.25,DE\nA,2017-03-01,525,JP\nA,2017-03-01,0.125,KW\n"
    table = pa.table(
        {
            "c": ["A"] * 3,
            "t": ["2017-03-01"] * 3,
            "a": pa.array([Decimal("5.25"), Decimal(525), Decimal("0.125")], pa.decimal128(18, 3)),
            "m": ["DE", "JP", "KW"],
        }
    )
    currencies = {"DE": "EUR", "JP": "JPY", "KW": "KWD"}
    for data in (text, table):
        with open_log(tmp_path, data, market=None, columns=COLUMNS | {"market": "m"}, currency=currencies) as log:
            assert lines_of(log, "market, amount") == [
                ("DE", Decimal("5.250")),
                ("JP", Decimal("525.000")),
                ("KW", Decimal("0.125")),
            ]


def test_lines_in_another_currency_are_refused_with_the_values_and_the_first_line(tmp_path: Path) -> None:
    columns = {"customer_id": "c", "time": "t", "amount": "a", "currency": "Währung"}
    cells = ["EUR"] * 5000 + ["usd", "", "USD", "USD"]
    lines = "".join(f"A,2017-03-01,5,{cell}\n" for cell in cells)
    unused = ",2017-03-01,5,GBP\n"  # a line without a customer is not counted as one in another currency

    with pytest.raises(DataInvalid) as refused, open_log(tmp_path, f"c,t,a,Währung\n{unused}{lines}", columns=columns):
        pass

    assert (
        "column 'Währung': 4 lines have a currency other than EUR: 'USD' (2), 'usd' (1), '' (1), first 'usd' in line 5,003 of "
        "log.csv, and amounts" in fitted_refusal(refused.value)
    )


def test_category_shares_of_a_currency_with_three_decimals_are_exact(tmp_path: Path) -> None:
    text = "c,t,a,g\n" + "".join(f"A,2017-03-0{day},0.00{day},{group}\n" for day, group in ((1, "x"), (3, "y")))
    snapshots = SnapshotSpec.model_validate(
        {name: [dt.date(2017, 3, 9)] for name in ("fit", "calibration", "test")}
        | {"latest": dt.date(2017, 3, 9), "horizon_days": 5, "active_days": 30}
    )
    with open_log(tmp_path, text, currency="KWD", columns=COLUMNS | {"category": "g"}) as log:
        create_customers(log, snapshots, dt.date(2017, 3, 9))
        assert log.connection.execute("SELECT top_category_share_90 FROM customers").fetchall() == [(0.75,)]


def test_anonymous_customers_need_no_valid_number(tmp_path: Path) -> None:
    with open_log(tmp_path, "c,t,a\n*,2017-03-01,5\nA,2017-03-01,5\n", anonymous=["*"]) as log:
        assert dict(log.waterfall)["left out: NO_CUSTOMER"] == -1


def test_a_status_table_is_read_as_strictly_as_the_log(tmp_path: Path) -> None:
    (tmp_path / "status.csv").write_text("customer_id;status;since\nA ;CLOSED;01.02.2017\n")
    with open_log(tmp_path, made_lines("5"), StatusSpec(path="status.csv", time_format="%d.%m.%Y")) as log:
        assert log.connection.execute(
            "SELECT customer_id, status, CAST(since AS VARCHAR) FROM statuses"
        ).fetchall() == [("A", "CLOSED", "2017-02-01")]
    with (
        pytest.raises(DataInvalid, match=r"set time_format in \[status\]"),
        open_log(tmp_path, made_lines("5"), StatusSpec(path="status.csv")),
    ):
        pass


def test_suppressed_customers_that_do_not_occur_are_counted_and_listed(tmp_path: Path) -> None:
    path = tmp_path / "suppress.csv"
    path.write_text("market;customer_id;code\nDE;9358;DO_NOT_CONTACT\nDE;A;DO_NOT_CONTACT\nDE;gone;DO_NOT_CONTACT\n")
    with temporary_database(1) as connection:
        connection.execute(
            "CREATE TABLE known AS SELECT * FROM (VALUES ('DE', '09358'), ('DE', 'A')) AS v(market, customer_id)"
        )
        read_suppressions(connection, path, dt.date(2026, 1, 1))

        assert unmatched_customers(connection, "suppressed", "known") == (
            2,
            (
                "2 suppressed customers do not occur in the data, so they suppress nobody: DE 9358 (the data have 09358), "
                "DE gone; check their numbers"
            ),
        )
        connection.execute("INSERT INTO known VALUES ('DE', '9358'), ('DE', 'gone')")
        assert unmatched_customers(connection, "suppressed", "known") == (0, "")


def test_no_message_of_duckdb_reaches_a_person(tmp_path: Path) -> None:
    """The Parquet file has intact metadata, so that only reading its damaged data fails."""
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'A' AS c, DATE '2017-03-01' AS t, hash(i) % 1000 AS a FROM range(50000) AS r(i)) TO '{tmp_path}/x.parquet' (COMPRESSION zstd)"
        )
    data = bytearray((tmp_path / "x.parquet").read_bytes())
    data[1000:6000] = b"\xff" * 5000
    (tmp_path / "log.parquet").write_bytes(data)
    log = LogSpec.model_validate(
        {"path": "log.parquet", "market": "DE", "currency": "EUR", "duplicates": "keep", "columns": COLUMNS}
    )

    with pytest.raises(DataInvalid) as refused, open_transaction_log(log, None, SourcePaths(tmp_path), 1):
        pass

    assert (
        str(refused.value)
        == "log.parquet: cannot be read; the file is damaged, or a value is outside its type: export it again"
    )
