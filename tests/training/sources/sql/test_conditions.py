"""A condition of the spec sees a column as what it means, and a refusal of it is in words of the spec."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.training.sources.refusal_screens import fitted_refusal
from tests.training.sources.test_strict_tables import ROWS, SPEC, read, small_table, summaries
from training.errors import DataInvalid, SpecInvalid, TrainingError

AS_OF = SPEC.replace("as_of = 2026-01-01", 'as_of_column = "day"')
DAYS = pd.Series(pd.to_datetime(["2019-12-28", "2020-01-20"] * (ROWS // 2)))
BEFORE = [
    "day < '2020-01-01'",
    "day < DATE '2020-01-01'",
    "day < TIMESTAMP '2020-01-01 00:00:00'",
    "day BETWEEN '2019-12-27' AND '2019-12-29'",
    "day = '2019-12-28'",
    "day = '2019-12-28 00:00:00'",
    "year(day) = 2019",
]
# The name of a format, and its days.
FORMATS = {
    "%d.%m.%Y": DAYS.dt.strftime("%d.%m.%Y"),
    "%d %b %y": DAYS.dt.strftime("%d %b %y"),
    "%Y%m%d": DAYS.dt.strftime("%Y%m%d"),
    "epoch_s": DAYS.map(lambda day: str(int(day.timestamp()))),
    "excel": (DAYS - pd.Timestamp("1899-12-30")).dt.days.astype(str),
    "": DAYS.dt.strftime("%Y-%m-%d"),
}


def count_excluded(folder: Path, table: pd.DataFrame | pa.Table, where: str, spec: str = SPEC) -> int:
    """Return the number of rows that a condition excludes."""
    exclude = f'[[table.exclude]]\ncode = "E"\nwhere = """{where}"""\n'
    _, samples = read(folder, table, spec + exclude + '[[features]]\nname = "size"\n')
    return -dict(samples.waterfall)["left out: E"]


@pytest.mark.parametrize("where", BEFORE)
@pytest.mark.parametrize("time_format", FORMATS)
def test_a_day_in_any_format_is_compared_as_a_day(time_format: str, where: str, tmp_path: Path) -> None:
    stated = f'time_format = "{time_format}"\n' if time_format else ""
    table = small_table(day=FORMATS[time_format])
    assert count_excluded(tmp_path, table, where, AS_OF + stated) == ROWS // 2


def test_a_second_column_of_days_is_compared_as_days_in_the_format_of_the_spec_or_as_iso(tmp_path: Path) -> None:
    for spelling in ("%d.%m.%Y", "%Y-%m-%d"):
        table = small_table(day=FORMATS["%d.%m.%Y"], born=(DAYS - pd.Timedelta(days=36500)).dt.strftime(spelling))
        spec = AS_OF + 'time_format = "%d.%m.%Y"\n'
        assert count_excluded(tmp_path, table, "born < DATE '1920-01-31'", spec) == ROWS // 2
        assert count_excluded(tmp_path, table, "date_diff('day', born, day) > 36500", spec) == 0


def test_times_with_a_zone_are_compared_as_times_of_the_market(tmp_path: Path) -> None:
    instants = pd.to_datetime(["2019-12-31T22:30:00Z", "2019-12-31T23:30:00Z"] * (ROWS // 2))
    spec = AS_OF + 'time_zone = "Europe/Berlin"\n'
    text = small_table(day=[instant.isoformat() for instant in instants])
    stored = pa.Table.from_pandas(small_table(day=instants), preserve_index=False)
    for table in (text, stored):
        assert count_excluded(tmp_path, table, "day < '2020-01-01'", spec) == ROWS // 2
    with pytest.raises(DataInvalid, match=r"^table\.exclude\.E\.where: the times in column 'seen' have a time zone"):
        count_excluded(tmp_path, stored.rename_columns(["number", "bad", "size", "seen"]), "seen < '2020-01-01'")


@pytest.mark.parametrize(
    "where", ["day LIKE '28%'", "left(day, 2) = '28'", "day = '28.12.2019'", "day IN ('28.12.2019')"]
)
def test_a_day_that_is_used_as_text_is_as_written(where: str, tmp_path: Path) -> None:
    table = small_table(day=FORMATS["%d.%m.%Y"])
    assert count_excluded(tmp_path, table, where, AS_OF + 'time_format = "%d.%m.%Y"\n') == ROWS // 2


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("values", "where", "count"),
    [
        ([1, 2], "code = '01'", 0),
        ([1, 2], "code = '1'", 50),
        ([1.0, 2.0], "code = '1'", 50),
        ([1, 2], "code < 2", 50),
        ([46, 47], "code LIKE '46%'", 50),
        ([True, False], "code", 50),
        (["01", "1"], "code = '01'", 50),
    ],
)
def test_a_number_that_is_compared_with_a_quoted_text_is_compared_as_text(
    form: str, values: list[Any], where: str, count: int, tmp_path: Path
) -> None:
    table = small_table(code=values * (ROWS // 2))
    if form == "csv" and isinstance(values[0], float):
        table["code"] = table["code"].astype(int)
    if isinstance(values[0], bool) and form == "csv":
        where = "code = 'True'"
    file = pa.Table.from_pandas(table, preserve_index=False) if form == "parquet" else table
    assert count_excluded(tmp_path, file, where) == count


def test_columns_whose_names_differ_only_in_case_are_different_in_a_condition(tmp_path: Path) -> None:
    table = small_table(Code=np.arange(ROWS), code=0)
    assert count_excluded(tmp_path, table, "Code < 10") == 10
    assert count_excluded(tmp_path, table, "code < 10 AND Code < 20") == 20


REFUSALS = {
    "day < '01.01.2020'": "compares 'day' with '01.01.2020', whose order as text is not that of the days; write an ISO day",
    "day BETWEEN '1/1/2019' AND '1/1/2020'": "compares 'day' with '1/1/2019', whose order as text is not that of",
    "german < '2020-01-01'": "compares 'german' with a day, but its values are not all days or times; set time_format",
    "German = 1": "uses unknown columns: 'German' (similar: 'german')",
    "size >> > 5": "is not valid SQL near '>'",
    "size IN (1, 2": "is not valid SQL near ')'",
    "day < DATE '2020-13-01'": "uses '2020-13-01' as a day or time, which must be written as 2026-01-31",
    "nosuch(size) > 1": "uses an unknown function, 'nosuch'",
    "size > 'abc'": "uses 'abc' as a number ('size' is a number)",
    "german > 5": "compares text with a number ('german' is text)",
    "year(german) = 2019": "uses year with text ('german' is text)",
    "german - 1 > 0": "uses - with text and a number ('german' is text)",
    "CAST(german AS INTEGER) > 2": "uses '28.12.2019' as a number",
    "CAST(german AS NUMBER_OF_DAYS) > 2": "uses an unknown type, 'NUMBER_OF_DAYS'",
    "strptime(german, '%d') IS NULL": "reads '28.12.2019' in the format '%d'",
    "regexp_matches(german, '[')": "cannot be computed for its columns or constants ('german' is text)",
    "size": "must be true or false for each row, but 'size' computes another value",
    "size + 1": "must be true or false for each row",
    "sum(size) > 3": "must compute a value from a single row, but uses 'sum'",
    "size > (SELECT max(size) FROM numbered)": "must compute a value from a single row, but uses 'subquery'",
    "day < now()": "must compute a value from a single row, but uses 'now'",
    "random() > 0.5": "must compute a value from a single row, but uses 'random'",
    '"training:record" = 5': "uses unknown columns",
    "record = 5": "uses unknown columns",
}


@pytest.mark.parametrize("where", REFUSALS)
def test_a_condition_is_rejected_with_its_field_and_in_words_of_the_spec(where: str, tmp_path: Path) -> None:
    table = small_table(day=FORMATS[""], german=FORMATS["%d.%m.%Y"])
    with pytest.raises(TrainingError) as refused:
        count_excluded(tmp_path, table, where)

    message = str(refused.value)
    assert message.startswith("table.exclude.E.where: ")
    assert REFUSALS[where] in message
    assert not re.search(r"VARCHAR|INT\d|_LITERAL|BIGINT|Binder|explicit (type )?cast|FROM clause", message)
    fitted_refusal(refused.value)


@pytest.mark.parametrize(
    ("column", "clause"),
    [
        ("german - size", "uses - with text and a number ('german' is text, 'size' is a number)"),
        ("upper(german) > size", "compares text with a number"),
        ("size +", "is not valid SQL near ')'"),
        ("nosuch(size)", "uses an unknown function, 'nosuch'"),
    ],
)
def test_an_expression_is_rejected_with_its_field_and_in_words_of_the_spec(
    column: str, clause: str, tmp_path: Path
) -> None:
    table = small_table(german=FORMATS["%d.%m.%Y"])
    with pytest.raises(TrainingError) as refused:
        read(tmp_path, table, SPEC + f'[[features]]\nname = "f"\ncolumn = "{column}"\n')

    message = str(refused.value)
    assert message.startswith("features.f: ")
    assert clause in message
    assert not re.search(r"VARCHAR|INT\d|_LITERAL|BIGINT|Binder|explicit (type )?cast|FROM clause", message)
    fitted_refusal(refused.value)


def test_a_column_that_only_selects_rows_is_listed_as_such_and_not_as_unused(tmp_path: Path) -> None:
    table = small_table(
        decision=["R", *["A"] * (ROWS - 1)],
        stage=np.arange(ROWS),
        plan=np.arange(ROWS),
        note=[f"n{index}" for index in range(ROWS)],
    )
    spec = SPEC + (
        'leave_out = ["plan"]\n[[table.exclude]]\ncode = "EARLY"\nwhere = "stage < 5 AND plan < 5"\n'
        "[table.reject]\nwhere = \"decision = 'R' AND stage < 3\"\nbad_shares = [0.5]\n"
    )
    table.loc[0, ["stage", "plan"]] = [2, 9]

    _, samples = read(tmp_path, table, spec)

    found = summaries(samples)
    assert found["plan"][:2] == (
        "condition",
        "selects rows in table.exclude.EARLY; no feature, so not tested for target leakage",
    )
    assert found["stage"][:2] == ("feature", "selects rows in table.exclude.EARLY, table.reject")
    assert found["decision"][1].endswith("selects rows in table.reject")
    assert found["note"][0] == "left out"

    _, samples = read(tmp_path, table, spec + '[[features]]\nname = "size"\n')
    assert summaries(samples)["decision"][:2] == (
        "condition",
        "selects rows in table.reject; no feature, so not tested for target leakage",
    )


@pytest.mark.parametrize(
    ("first", "where", "excluded"),
    [
        (9007199254740990, "k = 9007199254740993", 1),
        (1234567890123456700, "k IN (1234567890123456701, 1234567890123456702)", 2),
        (2**63, "k = 9223372036854775811", 1),
        (12345678901234567890123, "k < 12345678901234567890125", 2),
    ],
)
def test_a_whole_number_is_not_its_neighbour_with_any_number_of_digits(
    first: int, where: str, excluded: int, tmp_path: Path
) -> None:
    table = small_table(k=[str(first + row) for row in range(ROWS)])
    assert count_excluded(tmp_path, table, where) == excluded


@pytest.mark.parametrize(
    ("cells", "where"),
    [
        (["0.2", "1.10"], "k + 0.1 = 0.3"),
        (["5.49", "1.10"], "k * 100 = 549"),
        (["1e+05", "7"], "k = 100000"),
        (["True", "False"], "k = 1"),
        (["true", "0"], "k = true"),
    ],
)
def test_a_condition_sees_decimals_exponents_and_logical_values_exactly(
    cells: list[str], where: str, tmp_path: Path
) -> None:
    assert count_excluded(tmp_path, small_table(k=cells * (ROWS // 2)), where) == ROWS // 2


@pytest.mark.parametrize("where", ["k <> 5", "k < 5", "k + 1 < 6", "NOT k = 5"])
def test_a_cell_that_is_no_number_is_not_passed_over_by_a_condition(where: str, tmp_path: Path) -> None:
    """Such a row would be in the model although the condition was never decided for it."""
    table = small_table(k=["n.a.", *["5", "7"] * (ROWS // 2)][:ROWS])

    with pytest.raises(
        DataInvalid,
        match=r"column 'k': 1 value is not a number, first 'n\.a\.' in line 2 of t\.csv; .* set missing = \[\"n\.a\.\"\] in \[table\]",
    ):
        count_excluded(tmp_path, table, where)


@pytest.mark.parametrize("form", ["csv", "parquet text"])
@pytest.mark.parametrize(
    ("expression", "found"), [("k = {0}3", 1), ("k % 10", 9), ("k - {0}0", 9), ("k IN ({0}1, {0}2)", 1)]
)
def test_an_expression_computes_exactly_with_whole_numbers_of_many_digits(
    form: str, expression: str, found: int, tmp_path: Path
) -> None:
    first = 12345678901234567890
    table = small_table(k=[str(first + row % 10) for row in range(ROWS)])
    spec = SPEC + f'[[features]]\nname = "z"\ncolumn = "{expression.format(first // 10)}"\n'

    _, samples = read(tmp_path, table if form == "csv" else pa.Table.from_pandas(table), spec)

    assert samples.rows["z"].max() == found
    assert samples.rows["z"].iloc[:10].nunique() == (2 if found == 1 else 10)


def test_the_overflow_of_whole_numbers_is_rejected_with_what_to_write(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(small_table(k=np.full(ROWS, 2**30, np.int32)))
    feature = '[[features]]\nname = "z"\ncolumn = "{}"\n'

    with pytest.raises(
        DataInvalid,
        match=r"'k \* 8' exceeds the range of the whole numbers .* write CAST\(a AS DECIMAL\(38, 0\)\) \* b",
    ):
        read(tmp_path, table, SPEC + feature.format("k * 8"))
    with pytest.raises(
        SpecInvalid, match=r"exceeds the range of whole numbers in its multiplication, which CAST\(a AS DECIMAL"
    ):
        count_excluded(tmp_path, table, "k * 8 > 5")
    _, samples = read(tmp_path, table, SPEC + feature.format("CAST(k AS DECIMAL(38, 0)) * 8"))
    assert samples.rows["z"].tolist() == [2.0**33] * ROWS


def test_a_condition_does_not_read_a_year_of_two_digits_with_four(tmp_path: Path) -> None:
    table = small_table(d=["31.12.19", "01.02.20"] * (ROWS // 2))

    with pytest.raises(DataInvalid, match=r"column 'd': 100 values such as '.*' do not have the format '%d\.%m\.%Y'"):
        count_excluded(tmp_path, table, "year(strptime(d, '%d.%m.%Y')) < 2020")
    assert count_excluded(tmp_path, table, "year(strptime(d, '%d.%m.%y')) < 2020") == ROWS // 2
