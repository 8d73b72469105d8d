"""Columns that a spec derives from others, with expressions, tables of values, and successors of merged customers."""

from pathlib import Path

import pandas as pd
import pytest

from tests.small import SPEC as TABLE_SPEC
from tests.small import made_customers
from tests.training.transaction_logs import SPEC, SyntheticLog, write_log
from training.errors import DataInvalid, SpecInvalid
from training.sources.samples import WEIGHT
from training.sources.snapshots import read_log_samples
from training.sources.table import read_table_samples
from training.sources.transaction_log import SourcePaths, open_transaction_log
from training.spec import AliasSpec, LogSpec, read_spec

LINES = "who;what;each;land\nA;3;1.234,55;Germany\nB;10;0,10;Österreich\nC;2;;Germany\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticLog:
    """Write a synthetic log once; tests must not change it."""
    return write_log(tmp_path_factory.mktemp("log"), customers=160)


def lines_of(folder: Path, text: str = LINES, **fields: object) -> list[tuple[object, ...]]:
    """Write a log whose lines all have the same day; return market, customer and amount of the valid lines."""
    header, *rows = text.splitlines()
    dated = "\n".join([f"{header};day", *(f"{row};2025-01-02" for row in rows), ""])
    (folder / "log.csv").write_text(dated, encoding="cp1252")
    columns = {"customer_id": "who", "time": "day", "amount": "what * each"}
    content = {"path": "log.csv", "market": "DE", "currency": "EUR", "duplicates": "keep", "columns": columns} | fields
    log = LogSpec.model_validate(content)
    with open_transaction_log(log, None, SourcePaths(folder), 1) as opened:
        query = "SELECT market, customer_id, CAST(amount AS VARCHAR) FROM valid_lines ORDER BY ALL"
        return opened.connection.execute(query).fetchall()


def test_a_product_of_two_columns_is_exact(tmp_path: Path) -> None:
    assert lines_of(tmp_path) == [("DE", "A", "3703.65"), ("DE", "B", "1.00")]


def test_a_product_with_more_decimals_than_the_currency_is_rejected_and_not_rounded(tmp_path: Path) -> None:
    with pytest.raises(
        DataInvalid, match=r"column 'what \* each': 1 value has more decimals than the currency, first '0.025'"
    ):
        lines_of(tmp_path, "who;what;each\nA;0,5;0,05\nB;1;1,00\n")


def test_a_cell_that_is_no_number_is_counted_in_an_expression(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"column 'what': 1 value is not a number, first 'x' in line 3 of log\.csv"):
        lines_of(tmp_path, "who;what;each\nA;1;1,50\nB;x;1,50\nC;2;1,50\n")


def test_what_an_expression_uses_as_text_is_as_written_in_the_file(tmp_path: Path) -> None:
    """Otherwise 00123 and 123 would be one customer, and 1.10 and 1.1 one code."""
    columns = {"customer_id": "who || '-' || number", "time": "day", "amount": "each"}
    text = "who;number;each\n01;00123;1,50\n1;123;2,50\n1;1.10;3,50\n1;1.1;4,50\n"
    assert [customer for _, customer, _ in lines_of(tmp_path, text, columns=columns, decimal=",", thousands=".")] == [
        *("01-00123", "1-1.1", "1-1.10", "1-123")
    ]

    of_code = columns | {"customer_id": "CASE WHEN code = '1.10' THEN 'A' ELSE left(code, 2) END"}
    found = lines_of(tmp_path, "code;each\n1.10;1.50\n1.1;2.50\n01;3.50\n", columns=of_code, decimal=".")
    assert found == [("DE", "01", "3.50"), ("DE", "1.", "2.50"), ("DE", "A", "1.50")]


def test_a_key_keeps_the_zeros_of_columns_with_which_it_does_not_compute(tmp_path: Path) -> None:
    columns = {"customer_id": "coalesce(who, number)", "time": "day", "amount": "each"}
    computed = columns | {"customer_id": "number * 10"}
    text = "who;number;each\n007;1;1,50\n;0012;2,50\n"
    assert [each[1] for each in lines_of(tmp_path, text, columns=columns)] == ["0012", "007"]
    assert [each[1] for each in lines_of(tmp_path, text, columns=computed)] == ["10", "120"]


def test_a_category_keeps_the_zeros_of_a_code_that_occurs_only_at_the_end_of_the_file(tmp_path: Path) -> None:
    table = made_customers(5000).assign(code=["7"] * 4999 + ["007"])
    table.to_csv(tmp_path / "customers.csv", index=False)
    features = (
        '[[features]]\nname = "branch"\ncolumn = "coalesce(code, \'none\')"\nkind = "category"\nlevels = ["007", "7"]\n'
    )
    (tmp_path / "spec.toml").write_text(TABLE_SPEC + features)

    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "customers.csv")

    assert samples.rows["branch"].value_counts().to_dict() == {1.0: 4999, 0.0: 1}


def test_a_feature_that_has_the_name_of_a_key_field_is_a_number(tmp_path: Path) -> None:
    made_customers(300).assign(code="007").to_csv(tmp_path / "customers.csv", index=False)
    features = '[[features]]\nname = "product"\ncolumn = "coalesce(code, days_late)"\n'
    (tmp_path / "spec.toml").write_text(TABLE_SPEC + features)

    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "customers.csv")

    assert set(samples.rows["product"]) == {7.0}


def test_columns_with_which_an_expression_computes_are_numbers_with_leading_zeros_or_not(tmp_path: Path) -> None:
    text = "who;what;each\nA;007;0,50\nB;4;0,25\n"
    assert lines_of(tmp_path, text) == [("DE", "A", "3.50"), ("DE", "B", "1.00")]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1e+05", "99999"], [100000.0, 99999.0]),
        (["1e-05", "7"], [0.00001, 7.0]),
        (["1.5e3", "2.5E+4"], [1500.0, 25000.0]),
        (["1.25e-2", "-3.5e0"], [0.0125, -3.5]),
        (["1e+30", "1e-30"], [1e30, 1e-30]),
        (["True", "False"], [1.0, 0.0]),
        (["TRUE", "3"], [1.0, 3.0]),
    ],
)
def test_an_expression_computes_with_exponents_and_logical_values_as_a_column_alone_does(
    cells: list[str], expected: list[float], tmp_path: Path
) -> None:
    """R writes 100000 as 1e+05, and pandas writes 0.00001 as 1e-05."""
    made_customers(300).assign(code=cells * 150).to_csv(tmp_path / "customers.csv", index=False)
    (tmp_path / "spec.toml").write_text(f'{TABLE_SPEC}[[features]]\nname = "twice"\ncolumn = "code * 2"\n')

    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "customers.csv")

    assert samples.rows["twice"].tolist() == [2 * value for value in expected] * 150


def test_an_amount_with_an_exponent_is_exact(tmp_path: Path) -> None:
    assert lines_of(tmp_path, "who;what;each\nA;1e+05;1\nB;1e-02;100\nC;7;2\n") == [
        *(("DE", "A", "100000.00"), ("DE", "B", "1.00"), ("DE", "C", "14.00"))
    ]


@pytest.mark.parametrize(
    ("is_return", "cells"), [("back = true", "True False"), ("back = 1", "1 0"), ("back = 1", "true 0")]
)
def test_a_logical_column_decides_the_sign_of_an_amount(is_return: str, cells: str, tmp_path: Path) -> None:
    yes, no = cells.split()
    columns = {"customer_id": "who", "time": "day", "amount": f"CASE WHEN {is_return} THEN -each ELSE each END"}
    found = lines_of(tmp_path, f"who;back;each\nA;{yes};5\nB;{no};6\n", columns=columns)
    assert found == [("DE", "A", "-5.00"), ("DE", "B", "6.00")]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_logical_column_is_the_same_in_every_expression_and_format(form: str, tmp_path: Path) -> None:
    table = made_customers(300).assign(flag=[True, False] * 150)
    path = tmp_path / f"customers.{form}"
    table.to_csv(path, index=False) if form == "csv" else table.to_parquet(path, index=False)
    of_flag = ("flag * 2", "CASE WHEN flag = true THEN 2 ELSE 0 END", "CASE WHEN (flag) THEN 2 ELSE 0 END")
    features = "".join(f'[[features]]\nname = "f{i}"\ncolumn = "{each}"\n' for i, each in enumerate(of_flag))
    level = '[[features]]\nname = "level"\ncolumn = "coalesce(flag, false)"\nkind = "category"\nlevels = ["False", "True"]\n'
    (tmp_path / "spec.toml").write_text(TABLE_SPEC + features + level)

    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), path)

    for number in range(3):
        assert samples.rows[f"f{number}"].tolist() == [2.0, 0.0] * 150
    assert samples.rows["level"].tolist() == [1.0, 0.0] * 150


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_condition_that_compares_with_a_quoted_text_compares_what_is_written(form: str, tmp_path: Path) -> None:
    table = made_customers(300).assign(code=["1.10", "1.1", "01", "1", "5"] * 60)
    path = tmp_path / f"customers.{form}"
    table.to_csv(path, index=False) if form == "csv" else table.to_parquet(path, index=False)
    exclude = "".join(
        f'[[table.exclude]]\ncode = "{code}"\nwhere = "{where}"\n'
        for code, where in (("TEN", "code = '1.10'"), ("ZERO", "code IN ('01')"), ("FIVE", "code = 5"))
    )
    (tmp_path / "spec.toml").write_text(TABLE_SPEC.replace("[search]", exclude + "[search]"))

    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), path)

    left_out = {name: count for name, count in samples.waterfall if name.startswith("left out: ")}
    assert left_out == {"left out: TEN": -60, "left out: ZERO": -60, "left out: FIVE": -60}


def test_markets_as_people_write_them_are_mapped_by_a_table_of_values(tmp_path: Path) -> None:
    (tmp_path / "countries.csv").write_text("name,code\nGermany,DE\nÖsterreich,AT\n", encoding="utf-8")
    market = {"column": "land", "map": "countries.csv"}

    assert lines_of(tmp_path, market=market) == [("AT", "B", "1.00"), ("DE", "A", "3703.65")]
    assert lines_of(tmp_path, market={"column": "land", "values": {"Germany": "DE", "Österreich": "AT"}})[0][0] == "AT"


def test_a_value_without_an_entry_is_named(tmp_path: Path) -> None:
    (tmp_path / "countries.csv").write_text("name,code\nGermany,DE\n", encoding="utf-8")

    with pytest.raises(
        DataInvalid, match=r"column 'land': 1 values have no entry in countries\.csv .*: 'Österreich' \(1\); add"
    ):
        lines_of(tmp_path, market={"column": "land", "map": "countries.csv"})


@pytest.mark.parametrize("in_file", [True, False])
def test_an_invalid_replacement_is_named_with_the_owners_column_and_its_line(tmp_path: Path, *, in_file: bool) -> None:
    (tmp_path / "countries.csv").write_text("name,code\nÖsterreich,AT\nGermany,de\n", encoding="utf-8")
    values = {"map": "countries.csv"} if in_file else {"values": {"Österreich": "AT", "Germany": "de"}}
    place = "line 3 of countries.csv" if in_file else "values of log.columns.market"

    with pytest.raises(DataInvalid) as refused:
        lines_of(tmp_path, market={"column": "land", **values})

    assert str(refused.value) == (
        f"column 'land': {place} replaces 'Germany' with 'de', but a market must be two uppercase letters such as DE; correct this entry"
    )


def test_an_unknown_column_in_an_expression_is_named(tmp_path: Path) -> None:
    columns = {"customer_id": "who", "time": "day", "amount": "what * price"}

    with pytest.raises(SpecInvalid, match=r"log\.columns\.amount: 'what \* price' uses unknown columns: 'price'"):
        lines_of(tmp_path, columns=columns)


def test_features_and_weights_of_a_table_can_be_expressions(tmp_path: Path) -> None:
    made_customers(300).to_csv(tmp_path / "customers.csv", index=False)
    feature = '\n[[features]]\nname = "turnover_per_order"\ncolumn = "turnover / NULLIF(orders, 0)"\n'
    weighted = TABLE_SPEC.replace("as_of = 2026-01-01", 'as_of = 2026-01-01\nweight = "1 + days_late"')
    (tmp_path / "spec.toml").write_text(weighted + feature)

    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "customers.csv")

    table = pd.read_csv(tmp_path / "customers.csv")
    expected = table["turnover"] / table["orders"].where(table["orders"] != 0)
    assert samples.rows["turnover_per_order"].to_numpy() == pytest.approx(expected.to_numpy(), nan_ok=True)
    assert samples.rows[WEIGHT].tolist() == (1 + table["days_late"]).tolist()


def spec_with(folder: Path, text: str) -> Path:
    """Write a spec into a folder that need not contain the log; return the path of the spec."""
    (folder / "spec.toml").write_text(text, encoding="utf-8")
    return folder / "spec.toml"


def test_a_feature_of_a_log_can_be_computed_from_other_features(made: SyntheticLog, tmp_path: Path) -> None:
    feature = '\n[[features]]\nname = "spend_per_day"\ncolumn = "spend_90 / purchase_days_90"\n'

    samples, _ = read_log_samples(read_spec(spec_with(tmp_path, SPEC + feature)), SourcePaths(made.folder), 1)

    found = samples.rows
    assert found["spend_per_day"].tolist() == (found["spend_90"] / found["purchase_days_90"]).tolist()


@pytest.mark.parametrize(
    "expression", ["AVG(spend_90) OVER ()", "label", "(SELECT MAX(time) FROM valid_lines)", "horizon_days"]
)
def test_a_feature_of_a_log_cannot_look_ahead(expression: str, made: SyntheticLog, tmp_path: Path) -> None:
    feature = f'\n[[features]]\nname = "ahead"\ncolumn = "{expression}"\n'

    with pytest.raises(SpecInvalid, match=r"features\.ahead\.column: "):
        read_log_samples(read_spec(spec_with(tmp_path, SPEC + feature)), SourcePaths(made.folder), 1)


ALIASES = '\n[aliases]\npath = "aliases.csv"\n'


def aliased_lines(folder: Path, rows: str) -> list[tuple[object, ...]]:
    """Return (customer, sum) by customer of a log with aliases, then the number of lines counted for successors."""
    (folder / "aliases.csv").write_text(f"customer_id,successor\n{rows}", encoding="utf-8")
    (folder / "log.csv").write_text("who,day,amount\nA,2025-01-02,1\nB,2025-01-03,2\nC,2025-01-04,3\nD,2025-01-05,4\n")
    text = f'{SPEC[: SPEC.index("[log]")]}{SPEC[SPEC.index("[snapshots]") :]}\n[log]\npath = "log.csv"\nmarket = "DE"\ncurrency = "EUR"\nduplicates = "keep"\n[log.columns]\ncustomer_id = "who"\ntime = "day"\namount = "amount"\n{ALIASES}'
    spec = read_spec(spec_with(folder, text))
    assert spec.log is not None
    with open_transaction_log(spec.log, None, SourcePaths(folder), 1, aliases=spec.aliases) as opened:
        counts = dict(opened.waterfall)
        query = "SELECT customer_id, CAST(SUM(amount) AS INTEGER) FROM valid_lines GROUP BY 1 ORDER BY 1"
        return [
            *opened.connection.execute(query).fetchall(),
            counts["lines of customers who moved or merged, counted for their successors"],
        ]


def test_the_history_of_customers_who_merged_goes_with_them_along_a_chain(tmp_path: Path) -> None:
    assert aliased_lines(tmp_path, "A,B\nB,C\nX,Y\nD,D\n") == [("C", 6), ("D", 4), 2]


def alias_summary(folder: Path, rows: str) -> str:
    """Return what the summary of a log of the customers 007, B and C says about an alias table."""
    (folder / "aliases.csv").write_text(f"customer_id,successor\n{rows}", encoding="utf-8")
    (folder / "log.csv").write_text("who,day,amount\n007,2025-01-02,1\nB,2025-01-03,2\nC,2025-01-04,3\n")
    columns = {"customer_id": "who", "time": "day", "amount": "amount"}
    content = {"path": "log.csv", "market": "DE", "currency": "EUR", "duplicates": "keep", "columns": columns}
    log, aliases = LogSpec.model_validate(content), AliasSpec(path="aliases.csv")
    with open_transaction_log(log, None, SourcePaths(folder), 1, aliases=aliases) as opened:
        return next(one.detail for one in opened.columns if one.column == "[aliases]")


def test_customers_of_an_alias_table_who_do_not_occur_are_counted_and_listed(tmp_path: Path) -> None:
    assert alias_summary(tmp_path, "B,C\n") == "customers with a successor: 1"
    assert alias_summary(tmp_path, "B,C\n7,B\nX,B\n,B\nB,\n") == (
        "customers with a successor: 3; 2 of them have no line, so nothing moves: 7 (the log has 007), X; "
        "rows without a customer or a successor: 2"
    )
    assert alias_summary(tmp_path, "B,7\nC,new\n") == (
        "customers with a successor: 2; successors who may be spelt wrong: 7 (the log has 007)"
    )


@pytest.mark.parametrize("form", ["file", "values"])
def test_entries_of_a_table_of_values_that_replace_nothing_are_counted_and_listed(form: str, tmp_path: Path) -> None:
    rows = {"A": "DE", "Austia": "AT", "Österreich": "AT", "B": "AT"}
    text = "".join(f"{value},{code}\n" for value, code in rows.items())
    (tmp_path / "countries.csv").write_text(f"name,code\n{text}", encoding="utf-8")
    market = {"column": "land", "map": "countries.csv"} if form == "file" else {"column": "land", "values": rows}
    (tmp_path / "log.csv").write_text("who,land,day,amount\n1,A,2025-01-02,1\n2,B,2025-01-02,1\n")
    columns = {"customer_id": "who", "time": "day", "amount": "amount", "market": market}
    content = {"path": "log.csv", "currency": "EUR", "duplicates": "keep", "columns": columns}
    with open_transaction_log(LogSpec.model_validate(content), None, SourcePaths(tmp_path), 1) as opened:
        details = {one.use: one.detail for one in opened.columns}
    assert details["market"] == "2 of 4 entries of the table of values replace no value: 'Austia', 'Österreich'"


def test_a_column_with_the_name_of_an_expression_is_not_computed_from_the_columns_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("who,day,a-b,a,b\n1,2025-01-02,5,7,9\n")
    columns = {"customer_id": "who", "time": "day", "amount": "a-b"}
    content = {"path": "log.csv", "market": "DE", "currency": "EUR", "duplicates": "keep", "columns": columns}
    with open_transaction_log(LogSpec.model_validate(content), None, SourcePaths(tmp_path), 1) as opened:
        assert {one.column: one.use for one in opened.columns}["a"] == "left out"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("A,B\nB,C\nC,A\n", "customers are successors of each other: A -> B -> C -> A"),
        ("A,B\nA,C\n", "1 customers have several successors, such as A"),
    ],
    ids=["a cycle", "two successors"],
)
def test_ambiguous_successors_are_rejected(rows: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=message):
        aliased_lines(tmp_path, rows)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("x IS NULL", 0),
        ("NOT y", 0),
        ("x % 4", 1),
        ("y AND y", 1),
        ("CASE WHEN y THEN x ELSE 7 END", 5),
        ("x BETWEEN 4 AND 6", 1),
    ],
)
def test_an_expression_of_words_is_computed(expression: str, value: float, tmp_path: Path) -> None:
    table = made_customers(300).assign(x=5, y="true")
    table.to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "spec.toml").write_text(TABLE_SPEC + f'\n[[features]]\nname = "z"\ncolumn = "{expression}"\n')

    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "table.csv", tmp_path)

    assert set(samples.rows["z"]) == {value}


@pytest.mark.parametrize(
    "name", ["x IS NULL", "not x", "Umsatz Größe", "2017", "Anteil %", "x % 4", "date", "order by"]
)
def test_a_column_whose_name_looks_like_an_expression_is_read_and_not_computed(name: str, tmp_path: Path) -> None:
    table = made_customers(300).assign(x=1)
    table[name] = 42
    table.to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "spec.toml").write_text(TABLE_SPEC + f'\n[[features]]\nname = "z"\ncolumn = "{name}"\n')

    _, samples = read_table_samples(read_spec(tmp_path / "spec.toml"), tmp_path / "table.csv", tmp_path)

    assert set(samples.rows["z"]) == {42}


def feature_of(folder: Path, cells: list[object], expression: str, fields: str = "") -> list[float]:
    """Write a table whose column x repeats cells, as CSV or, for values that are no texts, as Parquet; return a computed feature."""
    table = made_customers(300)
    table["x"] = pd.Series([cells[row % len(cells)] for row in range(300)])
    path = folder / ("t.csv" if isinstance(cells[0], str) else "t.parquet")
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path, index=False)
    spec = TABLE_SPEC.replace("[table]", f"[table]\n{fields}")
    (folder / "spec.toml").write_text(spec + f'\n[[features]]\nname = "z"\ncolumn = "{expression}"\n')
    _, samples = read_table_samples(read_spec(folder / "spec.toml"), path, folder)
    found: list[float] = samples.rows["z"].tolist()[: len(cells)]
    return found


@pytest.mark.parametrize("fields", ["", 'time_format = "%d.%m.%Y"\n'])
def test_an_expression_compares_days_as_days(fields: str, tmp_path: Path) -> None:
    """As texts, 31.12.2019 is after 2020-01-01."""
    days: list[object] = ["31.12.2019", "01.02.2020"] if fields else ["2019-12-31", "2020-02-01 10:00"]

    assert feature_of(tmp_path, days, "x < '2020-01-01'", fields) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("days", "expression", "message"),
    [
        (["31.12.2019", "01.02.2020"], "x < '2020-01-01'", "compares 'x' with a day, but its values are not all days"),
        (["12/31/2019", "02/01/2020"], "x >= '2020-01-01'", "compares 'x' with a day, but its values are not all days"),
        (["2019-12-31", "n.a."], "x < '2020-01-01'", "compares 'x' with a day, but its values are not all days"),
        (
            ["31.12.2019", "01.02.2020"],
            "x < '01.01.2020'",
            "whose order as text is not that of the days; write an ISO day",
        ),
        (
            ["31.12.19", "01.02.20"],
            "year(strptime(x, '%d.%m.%Y'))",
            "300 values such as '.*' do not have the format '%d.%m.%Y'",
        ),
        (["0930", "130"], "hour(try_strptime(x, '%H%M'))", "150 values such as '130' do not have the format '%H%M'"),
    ],
)
def test_an_expression_that_would_misread_days_is_rejected(
    days: list[object], expression: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises((DataInvalid, SpecInvalid), match=message):
        feature_of(tmp_path, days, expression)


def test_an_expression_sees_the_local_time_of_the_market(tmp_path: Path) -> None:
    instants: list[object] = [pd.Timestamp("2019-12-31T22:30:00Z"), pd.Timestamp("2019-12-31T23:30:00Z")]

    assert feature_of(tmp_path, instants, "year(x)", 'time_zone = "Europe/Berlin"\n') == [2019.0, 2020.0]
    with pytest.raises(
        DataInvalid, match=r"features\.z: the times in column 'x' have a time zone; set time_zone in \[table\]"
    ):
        feature_of(tmp_path, instants, "year(x)")


def test_a_division_whose_result_depends_on_the_type_of_a_column_is_rejected(tmp_path: Path) -> None:
    """DuckDB computes 5 // 2 as 2 for whole numbers and as 2.5 for decimals, as which a text file has its numbers."""
    with pytest.raises(SpecInvalid, match=r"'x // 2' uses //, .*; write floor\(a / b\)"):
        feature_of(tmp_path, ["5", "7"], "x // 2")
    assert feature_of(tmp_path, ["5", "7"], "floor(x / 2)") == [2.0, 3.0]
