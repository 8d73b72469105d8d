"""Kinds of misreading that need a whole file or a field of the spec, each as CSV and as Parquet.

Where every kind of misreading has its test:

| kind | tests |
|---|---|
| types guessed, decimals, dates, days and zones, dates as numbers, padding, codes, look-alike text, labels, markets | test_kinds_of_misreading |
| numbers of customers as floats, ids nobody can ask for | test_kinds_of_misreading, test_strict_tables, test_strict_logs |
| integers with gaps as a feature; names of columns; headers; duplicates of sales; suppressions | here, test_strict_tables, test_strict_logs |
| columns that leave the model unnoticed | test_strict_tables |
| special codes | test_kinds_of_misreading, test_strict_tables; in reasons, tests/models/test_stated_reasons |
| separators, encodings and compression of spreadsheets | reader/test_text_format, reader/test_random_tables |
| feature files of several markets | ../test_fit_command |
| out of time | ../evaluation/test_model_evaluation |
| specs by `extends` | ../spec/test_file |
| texts of models, lost names of categories | ../test_external_model |
"""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.training.sources.test_strict_logs import COLUMNS, open_log
from tests.training.sources.test_strict_tables import ROWS, SPEC, read, small_table, summaries
from training.errors import DataInvalid, SpecInvalid
from training.scoring.campaign import read_suppressions, unmatched_customers
from training.sources.transaction_log import temporary_database

FORMS = ["csv", "parquet"]
AWKWARD_NAMES = ["x" * 5000, "Umsatz Größe", "30-59 days", 'a "quoted", name', "select", "tab\tname"]


def store_table(table: pa.Table, form: str) -> pa.Table | bytes:
    """Return a table for Parquet, or its bytes as CSV."""
    if form == "parquet":
        return table
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("form", FORMS)
def test_columns_with_long_and_odd_names_are_features(form: str, tmp_path: Path) -> None:
    """A name is kept as its owner wrote it, except that a tab becomes a space."""
    table = small_table(**{name: np.arange(ROWS) + index for index, name in enumerate(AWKWARD_NAMES)})

    spec, samples = read(tmp_path, store_table(pa.Table.from_pandas(table, preserve_index=False), form))

    names = {feature.column or feature.name: feature.name for feature in spec.features}
    for index, name in enumerate(AWKWARD_NAMES):
        assert samples.rows[names[" ".join(name.split())]].tolist() == [row + index for row in range(ROWS)]


@pytest.mark.parametrize("form", FORMS)
def test_duplicate_names_of_columns_are_rejected_and_a_column_without_a_name_is_listed(
    form: str, tmp_path: Path
) -> None:
    table = pa.Table.from_pandas(small_table(), preserve_index=False)
    twice = table.append_column("size", table.column("size"))

    with pytest.raises(DataInvalid, match=r"duplicate columns.*'size'.*; rename all but one"):
        read(tmp_path, store_table(twice, form))
    _, samples = read(tmp_path, store_table(table.append_column("", table.column("size")), form))
    assert summaries(samples)["(no name)"][0] == "left out"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("columns", [COLUMNS, COLUMNS | {"product": "p"}, COLUMNS | {"basket": "p"}])
def test_equal_sales_need_a_rule_in_the_spec_unless_a_basket_or_a_product_is_mapped(
    columns: dict[str, str], form: str, tmp_path: Path
) -> None:
    lines = pa.table({"c": ["A"] * 3, "t": ["2017-03-01"] * 3, "a": [5] * 3, "p": ["x"] * 3})

    if columns == COLUMNS:
        with (
            pytest.raises((SpecInvalid, ValueError), match="duplicates"),
            open_log(tmp_path, store_table(lines, form), columns=columns, duplicates=None),
        ):
            pass
    rules = [("keep", 3), ("drop", 1)] if columns == COLUMNS else [("keep", 3), ("drop", 1), (None, 1)]
    for rule, count in rules:
        with open_log(tmp_path, store_table(lines, form), columns=columns, duplicates=rule) as log:
            assert log.connection.execute("SELECT COUNT(*) FROM valid_lines").fetchall() == [(count,)]


@pytest.mark.parametrize("form", FORMS)
def test_integers_with_gaps_are_a_feature_with_missing_values(form: str, tmp_path: Path) -> None:
    late = pd.Series([None if index % 5 == 0 else index for index in range(ROWS)], dtype="Int64")

    _, samples = read(tmp_path, store_table(pa.Table.from_pandas(small_table(late=late), preserve_index=False), form))

    assert samples.rows["late"].isna().sum() == ROWS // 5
    assert samples.rows["late"].dropna().tolist() == [index for index in range(ROWS) if index % 5]


@pytest.mark.parametrize("form", FORMS)
def test_a_suppression_of_a_number_in_no_row_is_counted_and_listed(form: str, tmp_path: Path) -> None:
    listed = pa.table({"market": ["DE"] * 2, "customer_id": ["9358", "00124"], "code": ["DO_NOT_CONTACT"] * 2})
    path = tmp_path / f"suppressed.{form}"
    if form == "csv":
        pyarrow.csv.write_csv(listed, path)
    else:
        pq.write_table(listed, path)
    with temporary_database(1) as connection:
        connection.execute("CREATE TABLE known AS SELECT 'DE' AS market, unnest(['09358', '00124']) AS customer_id")
        read_suppressions(connection, path, dt.date(2026, 1, 1))

        count, sentence = unmatched_customers(connection, "suppressed", "known")

    assert count == 1
    assert "DE 9358 (the data have 09358); check" in sentence


@pytest.mark.parametrize("form", FORMS)
def test_the_day_of_a_row_is_that_of_its_own_market(form: str, tmp_path: Path) -> None:
    markets = ["DE", "FI"] * (ROWS // 2)
    table = small_table(day="2017-02-28T22:30:00Z", land=markets)
    spec = SPEC.replace('market = "DE"', 'market_column = "land"').replace(
        "as_of = 2026-01-01",
        'as_of_column = "day"\ntime_zone = { DE = "Europe/Berlin", FI = "Europe/Helsinki" }',
    )
    instants = table.assign(day=pd.Timestamp("2017-02-28T22:30:00Z")) if form == "parquet" else table

    _, samples = read(tmp_path, store_table(pa.Table.from_pandas(instants, preserve_index=False), form), spec)

    found = {(row.market, str(row.as_of)[:16]) for row in samples.rows.itertuples()}
    assert found == {("DE", "2017-02-28 23:30"), ("FI", "2017-03-01 00:30")}


@pytest.mark.parametrize("form", FORMS)
def test_columns_from_which_keys_label_or_weight_are_computed_are_features_only_if_the_spec_lists_them(
    form: str, tmp_path: Path
) -> None:
    """Otherwise the label would be among the features."""
    table = small_table(
        late_1=np.arange(ROWS) % 7,
        late_2=np.arange(ROWS) % 5,
        part=["a", "b"] * (ROWS // 2),
        land=["Germany"] * ROWS,
        exposure=np.arange(ROWS) % 3 + 1,
    )
    stored = store_table(pa.Table.from_pandas(table.drop(columns="bad"), preserve_index=False), form)
    computed = (
        SPEC.replace(
            'label = "bad"', "label = { column = 'late_1 + late_2 > 6', bad = true }\nweight = \"exposure * 2\""
        )
        .replace('customer_id = "number"', "customer_id = \"part || '-' || number\"")
        .replace('market = "DE"', 'market = { column = "land", values = { Germany = "DE" } }')
    )

    spec, samples = read(tmp_path, stored, computed)
    listed, _ = read(tmp_path, stored, computed + '[[features]]\nname = "late_1"\n[[features]]\nname = "size"\n')

    assert [feature.name for feature in spec.features] == ["size"]
    used = summaries(samples)
    for name in ("late_1", "late_2", "part", "number", "land", "exposure"):
        assert used[name][:2] == (
            "left out",
            "a key, the label or the weight is computed from it; list it in [[features]] to use it nevertheless",
        )
    assert [feature.name for feature in listed.features] == ["late_1", "size"]
    assert samples.rows["label"].tolist() == [int(row % 7 + row % 5 > 6) for row in range(ROWS)]


@pytest.mark.parametrize("form", FORMS)
def test_a_column_of_weights_is_used_as_the_weight_only(form: str, tmp_path: Path) -> None:
    table = pa.Table.from_pandas(small_table(exposure=np.arange(ROWS) % 3 + 1), preserve_index=False)

    spec, samples = read(tmp_path, store_table(table, form), SPEC.replace("[table]", '[table]\nweight = "exposure"'))

    assert [feature.name for feature in spec.features] == ["size"]
    assert summaries(samples)["exposure"][0] == "weight"
