"""A starter spec can be fitted as it is, or its first lines state what a person must decide."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from training.errors import DataInvalid
from training.inspection.inspection import inspect_file, write_starter_spec
from training.spec.reading import ReadingSpec

ROWS = 600


@dataclass(frozen=True)
class StarterCase:
    """A file, lines that its starter spec must have, and what `fit` rejects; "" if it reads the file.

    Attributes:
        header: The names of the columns.
        row: Function that returns the cells of a row.
        lines: Beginnings of lines of the spec.
        rejection: A part of what the spec states first.
        customer: The column that the user states as the customer.
    """

    header: str
    row: Callable[[int], str]
    lines: tuple[str, ...] = ()
    rejection: str = ""
    customer: str | None = None


def day(row: int) -> str:
    """Return a day of the year 2024."""
    return f"2024-{row % 12 + 1:02d}-{row % 28 + 1:02d}"


def bad(row: int) -> int:
    """Return an outcome that is bad in 3 of 10 rows."""
    return int(row * 7919 % 10 < 3)


def sale(row: int) -> str:
    """Return the customer and the day of a sale; each customer has six."""
    return f"K{row // 6},{day(row)}"


CASES = {
    "customers with a slash": StarterCase(
        "id,bad,x", lambda row: f"K/{row},{bad(row)},{row % 97}.5", rejection="600 values are not valid customers"
    ),
    "customers of 70 characters": StarterCase(
        "id,bad,x", lambda row: f"{row:070},{bad(row)},{row % 97}.5", rejection="600 values are not valid customers"
    ),
    "days that stand for a missing day": StarterCase(
        "id,bad,date,x",
        lambda row: f"K{row},{bad(row)},{day(row) if row % 7 else '1900-01-01'},{row % 97}.5",
        rejection='set missing = ["1900-01-01"] in [table]',
    ),
    "days of a log that stand for a missing day": StarterCase(
        "customer,date,amount",
        lambda row: f"{sale(row) if row != 7 else 'K1,9999-12-31'},{row}.5",
        rejection='set missing = ["9999-12-31"] in [log]',
    ),
    "24 o'clock": StarterCase(
        "customer,date,amount",
        lambda row: f"{sale(row)} {24 if row == 7 else 10}:00:00,{row}.5",
        rejection="first '2024-08-08 24:00:00' in line 9",
    ),
    "amounts with three decimals": StarterCase(
        "customer,date,amount", lambda row: f"{sale(row)},{row % 90}.{row % 1000:03}", ("decimals = 3",)
    ),
    "prices with three decimals and quantities": StarterCase(
        "customer,date,unit price,qty",
        lambda row: f"{sale(row)},{row % 90}.125,{row % 4 + 1}",
        ("decimals = 3", r'amount = "\"qty\" * \"unit price\""'),
    ),
    "a panel": StarterCase(
        "id,bad,month,x",
        lambda row: f"K{row // 3},{bad(row)},2024-0{row % 3 + 1}-01,{row % 97}.5",
        ('customer_id = "id"', 'as_of_column = "month"'),
        customer="id",
    ),
    "a panel whose customer is only an id, by month": StarterCase(
        "id,bad,month,x",
        lambda row: f"K{row // 3},{bad(row)},2024-0{row % 3 + 1},{row % 97}.5",
        ('customer_id = "id"', 'as_of_column = "month"', 'time_format = "%Y-%m"'),
    ),
    "months of six digits": StarterCase(
        "id,bad,month,x",
        lambda row: f"K{row // 3},{bad(row)},20240{row % 3 + 1},{row % 97}.5",
        ('as_of_column = "month"', 'time_format = "%Y%m"'),
    ),
    "days of a table that two formats fit": StarterCase(
        "id,bad,date,x",
        lambda row: f"K{row},{bad(row)},{row % 12 + 1:02}/{row % 9 + 1:02}/2024,{row % 97}.5",
        (
            '# as_of_column = "date"  # instead of as_of, if it is that day: state time_format = "%d/%m/%Y" or "%m/%d/%Y"',
        ),
    ),
    "days of a table with gaps": StarterCase(
        "id,bad,date,x",
        lambda row: f"K{row},{bad(row)},{day(row) if row % 7 else ''},{row % 97}.5",
        ('# as_of_column = "date"  # instead of as_of, if it is that day: complete or exclude its 86 rows',),
    ),
    "a panel without times": StarterCase(
        "id,bad,x",
        lambda row: f"K{row // 3},{bad(row)},{row % 97}.5",
        rejection="400 duplicate rows",
        customer="id",
    ),
    "whole amounts of yen, each once": StarterCase(
        "customer,date,amount_jpy", lambda row: f"{sale(row)},{row * 10}", ('currency = "JPY"', 'amount = "amount_jpy"')
    ),
    "a number of the line": StarterCase(
        "line_id,customer,date,amount", lambda row: f"{row},{sale(row)},{row % 90}.5", ('customer_id = "customer"',)
    ),
    "milliseconds since 1970": StarterCase(
        "user_id,ts,revenue",
        lambda row: f"K{row // 6},{1704067200000 + row * 28800000},{row}.5",
        ('time_format = "epoch_ms"', 'time = "ts"'),
    ),
    "days of eight digits": StarterCase(
        "kunde,datum,umsatz",
        lambda row: f"{sale(row).replace('-', '')},{row % 90}.5",
        ('time_format = "%Y%m%d"', 'time = "datum"'),
    ),
    "days that two formats fit": StarterCase(
        "customer,date,amount",
        lambda row: f"K{row // 6},{row % 12 + 1:02}/{row % 9 + 1:02}/2024,{row % 90}.5",
        ('# time_format = "%d/%m/%Y"  # or "%m/%d/%Y"',),
        'set time_format in [log] to "%d/%m/%Y" or "%m/%d/%Y"',
    ),
    "an outcome of 1 and 2": StarterCase(
        "id,class,x",
        lambda row: f"K{row},{bad(row) + 1},{row % 97}.5",
        (
            "label = { column = \"class\", bad = \"2\" }  # '1' in 420 rows, '2' in 180 rows; check which value is the bad outcome",
        ),
    ),
    "offsets of two markets": StarterCase(
        "customer,date,amount,country",
        lambda row: f"{sale(row)}T00:30:00{('+01:00', '-05:00')[row // 6 % 2]},{row}.5,{('DE', 'US')[row // 6 % 2]}",
        (
            'time_zone = "UTC"  # replace it by the zone in which a day of the market begins, such as "Europe/Berlin", or by one for each',
        ),
    ),
    "a log with gaps in its countries": StarterCase(
        "customer,date,amount,country",
        lambda row: f"{sale(row)},{row}.5,{('DE', 'AT', '')[row // 6 % 3]}",
        ('market = "country"',),
    ),
    "a table with gaps in its countries": StarterCase(
        "id,bad,country,x",
        lambda row: f"K{row},{bad(row)},{('DE', 'AT', '')[row % 3]},{row % 97}.5",
        ('market_column = "country"',),
        "the market is missing in 200 rows, first in line 4",
    ),
    "two currencies": StarterCase(
        "customer,date,amount,currency",
        lambda row: f"{sale(row)},{row % 90}.5,{('EUR', 'USD', 'USD')[row % 3]}",
        ('currency = "USD"  # of 400 of 600 rows', '# other_currencies = "leave_out"', 'currency = "currency"'),
        "200 lines have a currency other than USD: 'EUR' (200)",
    ),
    "a currency as a sign": StarterCase(
        "customer,date,amount,currency",
        lambda row: f"{sale(row)},{row % 90}.5,$",
        ('currency = "USD"', 'currency = { column = "currency", values = { "$" = "USD" } }'),
    ),
    "a currency whose column has another name": StarterCase(
        "customer,date,amount,money",
        lambda row: f"{sale(row)},{row % 90}.5,USD",
        ('currency = "USD"', 'currency = "money"'),
    ),
    "a year of five digits": StarterCase(
        "customer,date,amount",
        lambda row: f"{sale(row) if row != 7 else 'K1,99999-12-31'},{row}.5",
        rejection="first '99999-12-31' in line 9",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_starter_spec_reads_the_file_or_states_first_what_to_decide(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    rows = "".join(f"{case.row(row)}\n" for row in range(ROWS))
    (tmp_path / "t.csv").write_text(f"{case.header}\n{rows}")
    found = inspect_file(tmp_path / "t.csv", ReadingSpec(), case.customer)

    rejection = write_starter_spec(found, tmp_path / "t.csv", tmp_path / "t.toml", ReadingSpec())

    lines = (tmp_path / "t.toml").read_text().splitlines()
    assert [line for line in case.lines if not any(one.startswith(line) for one in lines)] == []
    assert bool(rejection) == bool(case.rejection)
    assert case.rejection in rejection
    assert (lines[0] == "# `fit` rejects this spec until you have decided:") == bool(rejection)
    assert not rejection or lines[1] == f"#   {rejection}"


def test_a_file_of_customers_with_several_rows_but_no_amounts_is_told_what_a_log_needs(tmp_path: Path) -> None:
    rows = "".join(f"{sale(row)},note {row % 200}\n" for row in range(ROWS))
    (tmp_path / "t.csv").write_text(f"customer,date,note\n{rows}")
    found = inspect_file(tmp_path / "t.csv", ReadingSpec())

    with pytest.raises(DataInvalid, match="A transaction log needs amounts too: name these columns accordingly"):
        write_starter_spec(found, tmp_path / "t.csv", tmp_path / "t.toml", ReadingSpec())
