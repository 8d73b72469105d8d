"""Realistic tables are read as their owners intend, or rejected with the setting to add to the spec.

Each test has a table that an earlier release misread without an error.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.schema import Schema
from tests.training.sources.refusal_screens import fitted_refusal
from training.errors import DataInvalid, SpecInvalid, TrainingError
from training.sources.samples import WEIGHT, Samples
from training.sources.table import read_table_customers, read_table_samples
from training.spec import Spec, read_spec, schema_document

SPEC = """
family = "late"
title = "t"
purpose = "p"
population = "p"
[table]
customer_id = "number"
label = "bad"
market = "DE"
as_of = 2026-01-01
"""
ROWS = 100


def small_table(rows: int = ROWS, **columns: Any) -> pd.DataFrame:
    """Return a table with the columns number, bad and size, and the given columns."""
    numbers = [f"C{index:04d}" for index in range(rows)]
    base = {"number": numbers, "bad": np.arange(rows) % 3 % 2, "size": np.arange(rows) * 1.5}
    return pd.DataFrame(base | columns)


def read(
    folder: Path, table: pd.DataFrame | pa.Table | str | bytes, spec: str = SPEC, name: str = "t.csv"
) -> tuple[Spec, Samples]:
    """Write a table and a spec, and read the samples."""
    path = folder / name
    if isinstance(table, pa.Table):
        path = path.with_suffix(".parquet")
        pq.write_table(table, path)
    elif isinstance(table, pd.DataFrame):
        table.to_csv(path, index=False)
    else:
        path.write_bytes(table.encode() if isinstance(table, str) else table)
    (folder / "spec.toml").write_text(spec, encoding="utf-8")
    return read_table_samples(read_spec(folder / "spec.toml"), path)


def both_files(table: pd.DataFrame) -> list[pd.DataFrame | pa.Table]:
    """Return a table twice: `read` writes the first as CSV and the second as Parquet."""
    return [table, pa.Table.from_pandas(table, preserve_index=False)]


def category(name: str) -> str:
    """Return the section [[features]] of a category feature."""
    return f'[[features]]\nname = "{name}"\nkind = "category"\n'


def summaries(samples: Samples) -> dict[str, tuple[str, str, str]]:
    """Return, by column, its use, the details of its reading, and its first odd value."""
    return {one.column: (one.use, one.detail, one.first_odd) for one in samples.columns}


def test_every_column_is_listed_as_used_or_left_out_with_the_first_odd_value(tmp_path: Path) -> None:
    odd = ["5"] * ROWS
    odd[70] = "n.a."
    thousands = ["1,200" if index == 3 else "7" for index in range(ROWS)]
    text = [f"x{index}" for index in range(ROWS)]
    days = ["2026-01-31"] * ROWS
    table = small_table(
        odd=odd, thousands=thousands, text=text, day=days, empty=None, sector=["bar", "inn"] * (ROWS // 2)
    )

    spec, samples = read(tmp_path, table)

    assert samples.names == ("size", "thousands", "sector")
    assert [feature.kind for feature in spec.features] == ["number", "number", "category"]
    found = summaries(samples)
    assert list(found) == list(table.columns)
    assert found["odd"][0] == "left out"
    assert found["odd"][1].startswith("1 of 100 values are not numbers")
    assert found["odd"][2] == "'n.a.' in line 72"
    assert found["text"][1].startswith("text with 100 different values")
    assert found["day"][1].startswith("days or times are not features")
    assert found["empty"][1] == "has no value"
    assert found["bad"][1] == "1 is bad, 0 is good"
    assert samples.rows["thousands"].max() == 1200.0
    assert (
        samples.confirmation
        == "t.csv: read as text with 9 columns: separator ',', decimal '.', thousands ',', encoding utf-8"
    )


def test_decimals_logical_values_and_integers_with_gaps_of_parquet_are_numbers(tmp_path: Path) -> None:
    table = pa.table(
        {
            "number": pa.array(range(ROWS)),
            "bad": pa.array([index % 3 % 2 for index in range(ROWS)]),
            "money": pa.array([Decimal(index) / 4 for index in range(ROWS)], pa.decimal128(10, 2)),
            "flag": pa.array([None if index % 5 == 0 else index % 2 == 0 for index in range(ROWS)]),
        }
    )

    _, samples = read(tmp_path, table)

    assert samples.names == ("money", "flag")
    assert samples.rows["money"].tolist() == [index / 4 for index in range(ROWS)]
    assert samples.rows["flag"].isna().sum() == 20
    assert set(samples.rows["flag"].dropna()) == {0.0, 1.0}
    assert samples.rows["customer_id"].tolist() == [str(index) for index in range(ROWS)]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (pa.array([17850.0 + index for index in range(ROWS)]), "17850"),
        (pa.array([2**62 + index for index in range(ROWS)]), str(2**62)),
        (pa.array([Decimal(index + 124) for index in range(ROWS)], pa.decimal128(20, 2)), "124"),
    ],
)
def test_customers_that_were_stored_as_numbers_keep_every_digit(
    numbers: pa.Array, expected: str, tmp_path: Path
) -> None:
    table = pa.Table.from_pandas(small_table(), preserve_index=False).set_column(0, "number", numbers)

    _, samples = read(tmp_path, table)

    assert samples.rows["customer_id"][0] == expected
    assert samples.rows["customer_id"].nunique() == ROWS


def test_a_column_of_bytes_is_text_only_if_every_value_is_utf_8(tmp_path: Path) -> None:
    """Old writers store text as bytes. A column with other bytes is left out, and rejected only if the spec uses it."""
    sectors = [("bär".encode(), b"inn", None)[index % 3] for index in range(ROWS)]
    noise = [bytes([index, 255]) for index in range(ROWS)]
    table = pa.Table.from_pandas(small_table(), preserve_index=False)
    for name, values in (("sector", sectors), ("noise", noise)):
        table = table.append_column(name, pa.array(values, pa.binary()))
    table = table.set_column(0, "number", table.column("number").cast(pa.binary()))

    spec, samples = read(tmp_path, table)

    assert [feature.name for feature in spec.features] == ["size", "sector"]
    assert samples.levels["sector"] == ("bär", "inn")
    assert summaries(samples)["noise"][0] == "left out"
    one_bad = table.set_column(3, "sector", pa.array([*sectors[:-1], b"\xff"], pa.binary()))
    with pytest.raises(DataInvalid, match=r"column 'sector': .* are in a column of bytes that are not all UTF-8"):
        read(tmp_path, one_bad, SPEC + category("sector"))
    numbers = [*table.column("number").to_pylist()[:-1], b"C\xff"]
    with pytest.raises(DataInvalid, match=r"column 'number': .* not a valid customer, .*row 100"):
        read(tmp_path, table.set_column(0, "number", pa.array(numbers, pa.binary())))


REJECTED: dict[str, tuple[Callable[[], pd.DataFrame | pa.Table | str], str, str]] = {
    "a customer with decimals": (
        lambda: pa.Table.from_pandas(small_table().assign(number=np.arange(ROWS) + 0.5), preserve_index=False),
        SPEC,
        "column 'number': 100 values are customers with decimals, first '0.5' in row 1 of t.parquet",
    ),
    "a customer that nobody can ask for": (
        lambda: small_table().assign(number=[f"{index}/4 ä" for index in range(ROWS)]),
        SPEC,
        "column 'number': 100 values are not valid customers, first '0/4 ä' in line 2 of t.csv; a customer must be 1 to 64",
    ),
    "padding that makes two rows one customer": (
        lambda: small_table().assign(number=["A ", "A", *(f"C{index}" for index in range(ROWS - 2))]),
        SPEC,
        "column 'number': 1 duplicate rows, first customer 'A' again in line 3 of t.csv; market, customer and time must be",
    ),
    "an ambiguous date": (
        lambda: small_table().assign(day="01/02/2017"),
        SPEC.replace("as_of = 2026-01-01", 'as_of_column = "day"'),
        'set time_format in [table] to "%d/%m/%Y" or "%m/%d/%Y"',
    ),
    "a time with a zone": (
        lambda: small_table().assign(day="2017-03-01T00:30:00+02:00"),
        SPEC.replace("as_of = 2026-01-01", 'as_of_column = "day"'),
        "100 values have a time zone or an offset, first '2017-03-01T00:30:00+02:00' in line 2 of t.csv; set time_zone",
    ),
    "text among the numbers of a feature": (
        lambda: small_table().assign(size=["n.a.", *range(ROWS - 1)]),
        SPEC + '[[features]]\nname = "size"\n',
        "column 'size': 1 value is not a number, first 'n.a.' in line 2 of t.csv; correct the value, or set missing = [\"n.a.\"]",
    ),
    "a special code beyond the range": (
        lambda: small_table().assign(size=[98, *range(ROWS - 1)]),
        SPEC + '[[features]]\nname = "size"\nmax = 97\n',
        "column 'size': every value must be from -inf to 97 (min and max of the feature), got 2 other values, first 98 in line 2",
    ),
    "a label whose direction is unknown": (
        lambda: small_table().assign(bad=["Y", "N"] * (ROWS // 2)),
        SPEC,
        'got N, Y; write label = { column = "bad", bad = "Y" } in [table]',
    ),
    "a label of three values": (
        lambda: small_table().assign(bad=[index % 3 for index in range(ROWS)]),
        SPEC,
        "got 0, 1, 2; exclude the rows with other values",
    ),
    "a bad value that does not occur": (
        lambda: small_table().assign(bad=["Y", "N"] * (ROWS // 2)),
        SPEC.replace('label = "bad"', 'label = { column = "bad", bad = "yes" }'),
        "must have the values 'yes' (bad) and one other value (good), got N, Y",
    ),
    "a feature with the name of a key": (
        lambda: small_table().assign(period=1),
        SPEC + '[[features]]\nname = "period"\n',
        "features: period are names of columns that training adds",
    ),
    "German thousands without decimals": (
        lambda: "number;bad;size\n" + "".join(f"C{index};{index % 3 % 2};1.{index:03d}\n" for index in range(ROWS)),
        SPEC,
        "'1.000' has either three decimals or a separator of thousands; set decimal = '.' or thousands = '.' in the spec",
    ),
    "a level with an invisible character": (
        lambda: small_table(code=["a\u200b", "a"] * (ROWS // 2)),
        SPEC + category("code"),
        "column 'code': 50 values have control or invisible characters (\\u200b), first 'a\\u200b' in line 2 of t.csv; remove",
    ),
    "a list as a level": (
        lambda: pa.Table.from_pandas(small_table(), preserve_index=False).append_column(
            "code", pa.array([["a"]] * ROWS)
        ),
        SPEC + category("code"),
        "column 'code': 100 values are not single values, first '[a]' in row 1 of t.parquet; the column has the type VARCHAR[]",
    ),
    "an expression that fails for a value": (
        lambda: small_table(late=["3 days"] * ROWS),
        SPEC + '[[features]]\nname = "late_days"\ncolumn = "CAST(late AS INTEGER)"\n',
        "t.csv: 'CAST(late AS INTEGER)' cannot be computed for a value, such as '3 days'; correct the value or the expression",
    ),
    "a condition that compares text with a number": (
        lambda: small_table(late=["3 days"] * ROWS),
        SPEC + '[[table.exclude]]\ncode = "LATE"\nwhere = "late > 3"\n',
        "table.exclude.LATE.where: 'late > 3' compares text with a number ('late' is text)",
    ),
    "a weight of 0": (
        lambda: small_table(weight=[1.0] * 7 + [0.0] * (ROWS - 7)),
        SPEC.replace("[table]", '[table]\nweight = "weight"'),
        "column 'weight' (table.weight): every weight must be above 0, got 93 rows with a missing or other weight, first in line 9",
    ),
    "days past due as the label": (
        lambda: small_table(bad=[(0, 30, 90)[index % 3] for index in range(ROWS)]),
        SPEC,
        """or compute the outcome, such as label = { column = '"bad" >= 90', bad = true }""",
    ),
    "a label with one outcome": (
        lambda: small_table(bad=0),
        SPEC,
        "got 0; add rows with the other outcome, or set table.label to the column of the outcome",
    ),
    "a missing customer": (
        lambda: small_table().assign(number=lambda table: table["number"].where(table.index != 5)),
        SPEC,
        "column 'number': the customer is missing in 1 rows, first in line 7 of t.csv; complete or remove",
    ),
    "many missing columns": (
        lambda: small_table(**{f"column {index} with a rather long name": 1 for index in range(200)}),
        SPEC + "".join(f'[[features]]\nname = "gone_{index}"\n' for index in range(40)),
        "t.csv: lacks columns of the spec:",
    ),
    "many unreadable columns": (
        lambda: small_table(**{f"c{index}": "many" for index in range(40)}),
        SPEC + "".join(f'[[features]]\nname = "c{index}"\n' for index in range(40)),
        "column 'c0': 100 values are not numbers, first 'many' in line 2",
    ),
}


@pytest.mark.parametrize("case", REJECTED)
def test_a_table_that_may_be_misread_is_rejected_on_one_screen_with_what_to_write(case: str, tmp_path: Path) -> None:
    make, spec, message = REJECTED[case]

    with pytest.raises((DataInvalid, SpecInvalid)) as refused:
        read(tmp_path, make(), spec)

    assert message in str(refused.value)
    assert fitted_refusal(refused.value)
    assert isinstance(refused.value, TrainingError)


ATTRIBUTE = """
[[fairness.attributes]]
column = "code"
[reference_policy]
approve_max_pd = 0.2
refer_max_pd = 0.5
"""
CODES: dict[str, tuple[tuple[str, ...], str]] = {
    "a customer": (("47{row:02d}.1",), SPEC.replace('"number"', '"code"')),
    "part of a computed customer": (("47.11",), SPEC.replace('"number"', '"number || code"')),
    "a mapped market": (
        ("47.11",),
        SPEC.replace('market = "DE"', 'market = { column = "code", values = { "47.11" = "DE" } }'),
    ),
    "a column that is left out": (("47.11",), SPEC + 'leave_out = ["code"]\n'),
    "a column that is left out, which a condition reads as text": (
        ("47.11",),
        SPEC + 'leave_out = ["code"]\n[[table.exclude]]\ncode = "A"\nwhere = "code LIKE \'46%\'"\n',
    ),
    "part of a computed customer beside listed features": (
        ("47.11",),
        SPEC.replace('"number"', '"number || code"') + '[[features]]\nname = "amount"\n',
    ),
    "a time of Excel": (
        ("42767.5",),
        SPEC.replace("as_of = 2026-01-01", 'as_of_column = "code"\ntime_format = "excel"'),
    ),
    "a label": (("1.0", "2.0"), SPEC.replace('"bad"', '{ column = "code", bad = "2.0" }')),
    "a protected attribute": (("47.11",), SPEC + ATTRIBUTE),
    "an industry with leading zeros": (("01.11", "47.11"), SPEC),
}


@pytest.mark.parametrize("case", CODES)
def test_a_code_with_a_point_does_not_show_how_the_numbers_of_other_columns_are_written(
    case: str, tmp_path: Path
) -> None:
    codes, spec = CODES[case]
    rows = [
        (f"C{row}", str(row % 3 % 2), ("1.234", "7")[row % 2], codes[row % len(codes)].format(row=row))
        for row in range(ROWS)
    ]
    header = ("number", "bad", "amount", "code")
    doubt = r"column 'amount': '1\.234' has either three decimals or a separator of thousands"

    with pytest.raises(DataInvalid, match=doubt):
        read(tmp_path, "\n".join(";".join(row) for row in (header, *rows)), spec)
    with pytest.raises(DataInvalid, match=doubt):
        read(tmp_path, pa.table(dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))), spec)


def test_a_code_after_the_first_lines_takes_the_proof_of_the_decimal_mark_from_its_column(tmp_path: Path) -> None:
    """The column looks like numbers in the first 2,000 lines, from which the format is detected."""
    rows, codes = 3000, ["47.11"] * 2999 + ["01.11"]
    table = small_table(rows, size=["1.234", "7"] * (rows // 2), code=codes)
    text = table.to_csv(index=False, sep=";")

    with pytest.raises(DataInvalid) as refused:
        read(tmp_path, text)
    assert fitted_refusal(refused.value).endswith(
        "column 'size': 1,500 values such as '1.234' have either three decimals or a separator of thousands, because the only "
        "column that shows the decimal mark has codes, first '01.11' in line 3,001; set decimal = '.' or thousands = '.' in [table]"
    )

    _, samples = read(tmp_path, text, SPEC + 'thousands = "."\n')
    assert set(samples.rows["size"]) == {1234.0, 7.0}
    proved = small_table(rows, size=["1.234", "7.5"] * (rows // 2), code=codes).to_csv(index=False, sep=";")
    _, samples = read(tmp_path, proved)
    assert set(samples.rows["size"]) == {1.234, 7.5}
    _, samples = read(tmp_path, table)  # with commas between the cells
    assert set(samples.rows["size"]) == {1.234, 7.0}


def test_customers_that_look_like_thousands_are_read_as_written(tmp_path: Path) -> None:
    lines = [f"1.{row:03d};{row % 3 % 2};{row}" for row in range(ROWS)]

    _, samples = read(tmp_path, "\n".join(["number;bad;amount", *lines]))

    assert samples.rows["customer_id"].tolist() == [f"1.{row:03d}" for row in range(ROWS)]
    assert samples.rows["amount"].tolist() == list(range(ROWS))


def test_a_column_that_is_left_out_shows_how_numbers_are_written_if_a_condition_compares_it(tmp_path: Path) -> None:
    spec = SPEC + 'leave_out = ["credit"]\n[[table.exclude]]\ncode = "SMALL"\nwhere = "credit < 1200"\n'
    lines = [f"C{row};{row % 3 % 2};{('1.234,5', '7,5')[row % 2]};{row}" for row in range(ROWS)]

    _, samples = read(tmp_path, "\n".join(["number;bad;credit;amount", *lines]), spec)

    assert samples.rows["amount"].tolist() == list(range(0, ROWS, 2))


@pytest.mark.parametrize(
    "name", ["NumberOfTime30-59DaysPastDueNotWorse", "Umsatz Größe", "30 days", "年齢", "label", "x" * 300]
)
def test_the_description_of_a_feature_keeps_the_name_of_its_column_with_any_characters(
    name: str, tmp_path: Path
) -> None:
    spec, samples = read(tmp_path, small_table(**{name: np.arange(ROWS)}))

    feature = spec.features[1]
    assert (feature.column, feature.description) == (name, name)
    assert samples.rows[feature.name].tolist() == list(range(ROWS))
    assert summaries(samples)[name][0] == f"feature {feature.name}"


def test_columns_whose_names_differ_only_in_case_are_different_features(tmp_path: Path) -> None:
    for table in both_files(small_table(X=1.0, x=2.0)):
        _, samples = read(tmp_path, table)

        assert samples.rows[["X", "x"]].iloc[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "values",
    [
        ["$5.00", "$7"],
        ["5 %", "7"],
        ["(1,200.00)", "3.50"],
        ["1200-", "3.50"],
        ["\u22121200", "3.50"],
        ["1\u2009200", "7"],
        ["1,00,000", "5"],
        ["1_000", "5"],
        ["'12", "'7"],
        ['="12"', "7"],
        ["1e400", "5"],
        ["inf", "5"],
        ["\uff11\uff12", "3"],
        ["5 kr", "10 kr."],
        ["5,-", "10,-"],
        ["\u20b95", "\u20b910"],
        ["R$ 5", "US$7"],
        ["5.00 CR", "7.00 DR"],
        ["5 z\u0142", "7 Euro"],
        ["1.2M", "900k"],
        ["$(5)", "$-7"],
        ["<5", "7"],
        ["5 months", "7"],
    ],
)
def test_numbers_in_an_unusual_spelling_are_left_out_with_the_reason_instead_of_becoming_categories(
    values: list[str], tmp_path: Path
) -> None:
    for table in both_files(small_table(odd=values * (ROWS // 2), code=["A5", "10-20"] * (ROWS // 2))):
        _, samples = read(tmp_path, table)

        assert samples.names == ("size", "code")
        use, detail, first = summaries(samples)["odd"]
        assert (use, "of 100 values are not numbers, but look like numbers" in detail) == ("left out", True)
        assert first.startswith(repr(values[0]))
        with pytest.raises(DataInvalid, match="column 'odd': "):
            read(tmp_path, table, SPEC + '[[features]]\nname = "odd"\n')


@pytest.mark.parametrize("use", ["weight", "where"])
def test_a_weight_and_a_condition_show_how_numbers_are_written(use: str, tmp_path: Path) -> None:
    """The only column with a decimal comma is no feature."""
    table = small_table(w=["1,5", "2"] * (ROWS // 2)).assign(size=range(ROWS))
    field = 'weight = "w"\n' if use == "weight" else '[[table.exclude]]\ncode = "E"\nwhere = "w < 1.75"\n'

    _, samples = read(tmp_path, table.to_csv(index=False, sep=";"), SPEC + field + '[[features]]\nname = "size"\n')

    if use == "weight":
        assert samples.rows[WEIGHT].tolist() == [1.5, 2.0] * (ROWS // 2)
    else:
        assert dict(samples.waterfall)["left out: E"] == -ROWS // 2


def test_units_of_money_stay_unusual_numbers_beside_a_word(tmp_path: Path) -> None:
    _, samples = read(tmp_path, small_table(odd=["5 kr", "7 kr", "n.a.", "9 kr"] * (ROWS // 4)))

    assert samples.names == ("size",)
    assert "100 of 100 values are not numbers, but look like numbers" in summaries(samples)["odd"][1]


@pytest.mark.parametrize(
    "values", [["<5", "5-10"], ["<=50K", ">50K"], ["36 months", "60 months"], ["A1", "Q2"], ["1st", "2nd"], ["3", "3A"]]
)
def test_bands_periods_and_codes_are_categories(values: list[str], tmp_path: Path) -> None:
    _, samples = read(tmp_path, small_table(band=[values[0], *values[1:] * 3] * (ROWS // 4)))

    assert samples.levels["band"] == tuple(sorted(values))


def test_bands_and_grades_that_end_with_a_plus_are_categories(tmp_path: Path) -> None:
    _, samples = read(tmp_path, small_table(band=["1", "2", "3+", "1-"] * (ROWS // 4)))

    assert samples.levels["band"] == ("1", "1-", "2", "3+")


def test_an_expression_sees_no_mark_of_a_missing_value(tmp_path: Path) -> None:
    spec = SPEC.replace("[table]", '[table]\nmissing = ["96"]') + '[[features]]\nname = "double"\ncolumn = "late * 2"\n'
    for table in both_files(small_table(late=[96, 4] * (ROWS // 2))):
        _, samples = read(tmp_path, table, spec)

        assert samples.rows["double"].isna().sum() == ROWS // 2
        assert samples.rows["double"].max() == 8.0


def test_names_that_become_equal_stay_different_features(tmp_path: Path) -> None:
    _, samples = read(tmp_path, small_table(**{"a b": 1.0, "a-b": 2.0, "a_b": 3.0, "": 4.0}))

    assert samples.names == ("size", "a_b_2", "a_b_3", "a_b")
    assert summaries(samples)["(no name)"][:2] == ("left out", "has no name in the header; name it to use it")


def test_codes_are_levels_exactly_as_written_in_csv_and_in_parquet(tmp_path: Path) -> None:
    codes = ["0111", "01.11", "NA", "None", " 0111", "Cafe\u0301", "Café", ""]
    table = small_table(code=[codes[index % len(codes)] for index in range(ROWS)])
    for file in both_files(table):
        _, samples = read(tmp_path, file, SPEC + category("code"))

        assert samples.levels["code"] == ("01.11", "0111", "Café", "NA", "None")
        assert samples.rows["code"].isna().sum() == 12
        assert "12 in another spelling of the same text" in summaries(samples)["code"][1]


@pytest.mark.parametrize(
    ("values", "label", "use"),
    [
        (("good", "bad"), '"bad"', "bad is bad, good is good"),
        (("0", "1"), '"bad"', "1 is bad, 0 is good"),
        ((False, True), '"bad"', "true is bad, false is good"),
        (("N", "Y"), '{ column = "bad", bad = "Y" }', "Y is bad, N is good"),
        ((1, 2), '{ column = "bad", bad = 2 }', "2 is bad, 1 is good"),
        ((1, -1), '{ column = "bad", bad = -1, good = 1 }', "-1 is bad, 1 is good"),
        ((1.0, 0.0), '{ column = "bad", bad = 0 }', "0 is bad, 1 is good"),
        (("1", "01"), '{ column = "bad", bad = "01" }', "01 is bad, 1 is good"),
        (("1", "1.0"), '{ column = "bad", bad = "1.0" }', "1.0 is bad, 1 is good"),
        (("+1", "1"), '{ column = "bad", bad = "1", good = "+1" }', "1 is bad, +1 is good"),
    ],
)
def test_a_label_is_read_as_the_spec_says_or_as_an_unambiguous_pair(
    values: tuple[Any, Any], label: str, use: str, tmp_path: Path
) -> None:
    table = small_table(bad=[values[index % 3 % 2] for index in range(ROWS)])
    for file in both_files(table):
        _, samples = read(tmp_path, file, SPEC.replace('label = "bad"', f"label = {label}"))

        assert samples.rows["label"].tolist() == [index % 3 % 2 for index in range(ROWS)]
        assert summaries(samples)["bad"][1] == use


def test_special_codes_are_missing_in_the_table_and_for_the_feature(tmp_path: Path) -> None:
    table = small_table(
        late=[(96, 98, 3, 0)[index % 4] for index in range(ROWS)], text=["-", "a", "b", "a"] * (ROWS // 4)
    )
    spec = (
        SPEC.replace("[table]", '[table]\nmissing = ["-"]')
        + '[[features]]\nname = "late"\nmissing = [96, 98]\nmax = 95\n'
    )
    for file in both_files(table):
        _, samples = read(tmp_path, file, spec + category("text"))

        assert samples.rows["late"].isna().sum() == 50
        assert samples.levels["text"] == ("a", "b")


def test_a_share_of_unreadable_numbers_is_missing_if_the_spec_allows_it(tmp_path: Path) -> None:
    spec = SPEC.replace("[table]", "[table]\nmax_unreadable_share = 0.01") + '[[features]]\nname = "size"\n'
    _, samples = read(tmp_path, small_table(size=["?", *range(1, ROWS)]), spec)

    assert samples.rows["size"].isna().tolist() == [True] + [False] * (ROWS - 1)
    assert summaries(samples)["size"] == ("feature", "1 missing; 1 unreadable, used as missing", "'?' in line 2")


def test_the_day_of_a_row_is_the_day_of_its_market(tmp_path: Path) -> None:
    spec = SPEC.replace("as_of = 2026-01-01", 'as_of_column = "day"\ntime_zone = "Europe/Helsinki"')
    instant = pd.Timestamp("2017-02-28T22:30:00Z")
    for table in [small_table(day="2017-03-01T00:30:00+02:00"), *both_files(small_table(day=instant))]:
        _, samples = read(tmp_path, table, spec)

        assert set(samples.rows["as_of"].dt.strftime("%Y-%m-%d %H:%M")) == {"2017-03-01 00:30"}


def test_a_condition_sees_numbers_as_numbers_and_unreadable_rows_can_be_excluded(tmp_path: Path) -> None:
    table = small_table(size=["?", *range(1, ROWS)], kind=["TEST"] + ["REAL"] * (ROWS - 1))
    exclude = "[[table.exclude]]\ncode = '{}'\nwhere = \"{}\"\n"
    spec = SPEC + exclude.format("TEST", "kind = 'TEST'") + exclude.format("SMALL", "size < 10")

    _, samples = read(tmp_path, table, spec + '[[features]]\nname = "size"\n')

    assert samples.rows["size"].tolist() == list(range(10, ROWS))
    assert dict(samples.waterfall)["left out: SMALL"] == -9


def test_a_german_file_of_excel_is_read_without_a_line_in_the_spec(tmp_path: Path) -> None:
    lines = "".join(
        f"0{index:03d};{'ja' if index % 2 else 'nein'};1.{index:03d},5{index % 10}\r\n" for index in range(ROWS)
    )
    text = "Kunde;überfällig;Umsatz Größe\r\n" + lines
    spec = SPEC.replace('"number"', '"Kunde"').replace('"bad"', '{ column = "überfällig", bad = "ja" }')

    _, samples = read(tmp_path, text.encode("cp1252"), spec)

    assert samples.rows["Umsatz_Groesse"].tolist() == [1000 + index + 0.5 + index % 10 / 100 for index in range(ROWS)]
    assert samples.rows["customer_id"][7] == "0007"
    assert (
        samples.confirmation
        == "t.csv: read as text with 3 columns: separator ';', decimal ',', thousands '.', encoding cp1252 (assumed: 'überfällig' must be a word, otherwise set encoding)"
    )


def test_a_later_table_may_have_its_columns_in_a_different_order(tmp_path: Path) -> None:
    """The spec lists no features, and two names of columns are not valid names of features."""
    table = small_table(**{"Umsatz Größe": np.arange(ROWS), "Land!": ["bar", "inn"] * (ROWS // 2)})
    spec, samples = read(tmp_path, table)
    schema = Schema(schema_document(spec, samples.levels))
    table[["Land!", "size", "number", "Umsatz Größe"]].to_csv(tmp_path / "later.csv", index=False, sep=";")

    found = read_table_customers(read_spec(tmp_path / "spec.toml"), tmp_path / "later.csv", schema, None)

    assert found.rows[list(samples.names)].equals(samples.rows[list(samples.names)])
    assert found.confirmation.startswith("later.csv: read as text with 4 columns: separator ';'")


def with_levels(*levels: str) -> str:
    """Return a spec with the category `sector` and its levels."""
    return SPEC + category("sector") + f"levels = {json.dumps(levels)}\n" + '[[features]]\nname = "size"\n'


def test_a_category_whose_values_are_no_levels_of_the_spec_is_rejected_with_the_first_value(tmp_path: Path) -> None:
    sectors = ["Bar", "Hotel"] * (ROWS // 2)

    for table in both_files(small_table(sector=sectors)):
        with pytest.raises(DataInvalid) as refused:
            read(tmp_path, table, with_levels("bar", "hotel"))

        said = str(refused.value)
        assert f"column 'sector': none of its {ROWS} values is one of the levels of the feature sector" in said
        assert "first 'Bar' in " in said
        assert 'set levels = ["Bar", "Hotel"]' in said


def test_values_that_are_no_levels_of_the_spec_are_counted_and_named(tmp_path: Path) -> None:
    sectors = ["bar"] * (ROWS - 3) + ["Spa", "Inn", "Spa"]

    for table in both_files(small_table(sector=sectors)):
        _, samples = read(tmp_path, table, with_levels("bar", "hotel"))

        use, detail, first_odd = summaries(samples)["sector"]
        assert (use, detail) == ("category", "3 not among the levels of the model: 'Inn', 'Spa'")
        assert first_odd.startswith("'Spa' in ")
        assert (samples.rows["sector"] == -1).sum() == 3


def test_levels_that_a_released_model_does_not_know_are_counted_when_features_are_written(tmp_path: Path) -> None:
    known = small_table(sector=["bar", "hotel"] * (ROWS // 2))
    for spec_text in (with_levels("bar", "hotel"), SPEC):
        spec, samples = read(tmp_path, known, spec_text)
        schema = Schema(schema_document(spec, samples.levels))
        known.assign(sector=["bar"] * (ROWS - 1) + ["Spa"]).to_csv(tmp_path / "later.csv", index=False)

        found = read_table_customers(read_spec(tmp_path / "spec.toml"), tmp_path / "later.csv", schema, None)

        line = next(one for one in found.columns if one.column == "sector")
        assert line.detail == "1 not among the levels of the model: 'Spa'"


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (["bar", ""], "1 levels are empty"),
        (["bar", "  "], "1 levels are empty"),
        (["bar", "ho\u200btel"], "control or invisible"),
        (["caf\u00e9", "cafe\u0301"], "have the same text apart from spaces or Unicode form"),
        (["bar", "bar "], "have the same text apart from spaces or Unicode form"),
        (["bar", "bar"], "duplicate levels: bar"),
    ],
)
def test_levels_of_a_spec_that_no_data_can_contain_or_tell_apart_are_rejected(
    tmp_path: Path, levels: list[str], message: str
) -> None:
    with pytest.raises(SpecInvalid, match=message):
        read(tmp_path, small_table(sector=["bar"] * ROWS), with_levels(*levels))
