"""A table of customers, Parquet or CSV, one row each -> samples."""

import csv
import datetime as dt
import hashlib
from collections.abc import Collection
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from models.schema import UNSEEN, Schema
from training.errors import DataInvalid, SpecInvalid
from training.sources.key_columns import ProblemList, read_keys, text_columns
from training.sources.protected_attributes import attribute_columns
from training.sources.samples import Sample, Samples, hash_bucket
from training.spec import FeatureEntry, HashSplit, Spec, TableSpec, check_feature_names

# What stands in a cell of a CSV that is empty; in a column of texts only nothing does, for NA is a market.
_EMPTY_CELLS = ["", "#N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
Waterfall = tuple[tuple[str, int], ...]


def read_table(path: Path, texts: Collection[str] = ()) -> pd.DataFrame:
    """Read a Parquet file, or any other as CSV, as it is; `texts` are columns of a CSV that are texts in any case.

    Raises:
        DataInvalid: It is not there, cannot be read, or has no rows.
    """
    if not path.is_file():
        raise DataInvalid(f"{path}: there is no such file; name another one")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            _check_rectangular(path)
            empty = {name: [""] if name in texts else _EMPTY_CELLS for name in pd.read_csv(path, nrows=0).columns}
            table = pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=empty)
    except DataInvalid:
        raise
    except Exception as error:  # the readers raise many kinds
        raise DataInvalid(f"{path}: cannot be read as {path.suffix or 'CSV'}: {error}") from error
    if table.empty:
        raise DataInvalid(f"{path}: has no rows")
    return table


def _check_rectangular(path: Path) -> None:
    """Refuse a CSV whose lines do not fit its header: pandas would take what is too much for an index, and shift the rest."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines)
        header = next(rows, [])
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            raise DataInvalid(f"{path}: the header names {', '.join(map(repr, twice))} twice")
        for row in rows:
            if row and len(row) != len(header):
                raise DataInvalid(
                    f"{path}: line {rows.line_num} has {len(row)} values, the header names {len(header)} columns"
                )


def read_table_samples(spec: Spec, path: Path) -> tuple[Spec, Samples]:
    """Read a family's table and split it by customer.

    Returns:
        The spec with every feature written out, and the samples.

    Raises:
        SpecInvalid: The spec names a column that is not there.
        DataInvalid: The data cannot be right; the message names every column that is wrong.
    """
    table_spec = spec.table
    assert table_spec is not None
    table = read_table(path, text_columns(table_spec))
    apart = frozenset(attribute.column for attribute in spec.fairness.attributes)
    spec = spec.model_copy(update={"features": spec.features or _default_features(table_spec, table, apart)})
    _check_columns(spec, table, path, learns=True)
    check_feature_names(spec, tuple(feature.name for feature in spec.features))
    used, waterfall = _exclude(table_spec, table)
    used, waterfall = _drop_unlabelled(table_spec, used, waterfall)
    problems = ProblemList()
    rows, features = read_keys(table_spec, used, problems), _number_columns(spec, used, problems)
    label = problems.attempt(lambda: _labels(table_spec.label, used))
    problems.raise_if_any()
    rows = rows.assign(label=label, sample=_sample_parts(spec, rows), period="")
    known = int((rows["sample"] == "NONE").sum())  # in no part, but their customers are scored all the same
    if known:
        waterfall = (*waterfall, ("left out: OUT_OF_TIME_OF_A_KNOWN_CUSTOMER", -known))
    levels = {one.name: _levels(used[_column_name(one)][rows["sample"] == "FIT"]) for one in _category_features(spec)}
    coded = {one.name: _level_codes(used[_column_name(one)], levels[one.name]) for one in _category_features(spec)}
    rows = rows.assign(**attribute_columns(spec, used), **features, **coded)
    names = tuple(feature.name for feature in spec.features)
    waterfall = (*waterfall, ("rows used", len(rows) - known))
    return spec, Samples(rows, names, waterfall, hashlib.sha256(path.read_bytes()).hexdigest(), levels)


def read_table_customers(spec: Spec, path: Path, schema: Schema, at: dt.date | None) -> tuple[pd.DataFrame, Waterfall]:
    """Give the features of all customers of a table for a model; their outcomes need not be known, nor be a column.

    `at` is as of when they are, in place of the spec's as_of.

    Returns:
        Rows as in Samples.rows without labels, and the waterfall from the rows read to the rows used.

    Raises:
        SpecInvalid: The spec names a column that is not there, or says by a column as of when each row is.
        DataInvalid: The data cannot be right; the message names every column that is wrong.
    """
    table_spec = spec.table
    assert table_spec is not None
    if at is not None:
        if table_spec.as_of_column is not None:
            raise SpecInvalid(f"--at: column {table_spec.as_of_column!r} says as of when each row is; leave out --at")
        table_spec = table_spec.model_copy(update={"as_of": at})
    table = read_table(path, text_columns(table_spec))
    features = spec.features or tuple(FeatureEntry(name=name) for name in schema.names)
    spec = spec.model_copy(update={"features": features, "table": table_spec})
    _check_columns(spec, table, path, learns=False)
    used, waterfall = _exclude(table_spec, table)
    problems = ProblemList()
    rows, numbered = read_keys(table_spec, used, problems), _number_columns(spec, used, problems)
    problems.raise_if_any()
    levels = {feature.name: feature.levels for feature in schema.features}
    coded = {one.name: _level_codes(used[_column_name(one)], levels[one.name]) for one in _category_features(spec)}
    rows = rows.assign(sample=_sample_parts(spec, rows), period="", **numbered, **coded)
    return rows, (*waterfall, ("rows used", len(rows)))


def _column_name(feature: FeatureEntry) -> str:
    """Name a feature's column."""
    return feature.column or feature.name


def _category_features(spec: Spec) -> list[FeatureEntry]:
    """Give the features that are categories."""
    return [feature for feature in spec.features if feature.kind == "category"]


def _number_columns(spec: Spec, table: pd.DataFrame, problems: ProblemList) -> dict[str, pd.Series]:
    """Give every feature that is a number by name, and note what is wrong with the others."""
    found = {
        feature.name: problems.attempt(lambda feature=feature: _numbers(feature, table[_column_name(feature)]))  # type: ignore[misc]  # bound now
        for feature in spec.features
        if feature.kind == "number"
    }
    return {name: column for name, column in found.items() if column is not None}


def _default_features(table: TableSpec, data: pd.DataFrame, apart: frozenset[str]) -> tuple[FeatureEntry, ...]:
    """Take every numeric column that has no other role and is not kept apart for the fairness tables."""
    roles = {table.customer_id, table.label, table.market_column, table.as_of_column, *table.leave_out, *apart}
    names = [str(name) for name in data.columns if name not in roles and is_numeric_dtype(data[name])]
    return tuple(FeatureEntry(name=name) for name in names)


def _check_columns(spec: Spec, table: pd.DataFrame, path: Path, *, learns: bool) -> None:
    """Refuse a spec that names columns that are not in the table, all at once; who learns needs the outcome, too."""
    assert spec.table is not None
    wanted = {
        "table.customer_id": spec.table.customer_id,
        "table.market_column": spec.table.market_column,
        "table.as_of_column": spec.table.as_of_column,
    } | {f"features.{feature.name}": _column_name(feature) for feature in spec.features}
    if learns:
        wanted |= {"table.label": spec.table.label}
        wanted |= {f"fairness.attributes.{one.column}": one.column for one in spec.fairness.attributes}
    absent = [f"  {field}: {name!r}" for field, name in wanted.items() if name and name not in table.columns]
    if absent:
        there = ", ".join(map(str, table.columns))
        raise SpecInvalid("\n".join([f"{path} lacks columns that the spec names:", *absent, f"it has: {there}"]))
    if any(_column_name(feature) == spec.table.label for feature in spec.features):
        raise SpecInvalid(f"features: {spec.table.label!r} is the label and cannot be a feature")


def _exclude(spec: TableSpec, table: pd.DataFrame) -> tuple[pd.DataFrame, Waterfall]:
    """Leave out what the spec says, each row under the first code that fits; the counts add up."""
    waterfall = [("rows read", len(table))]
    left = table
    for exclusion in spec.exclude:
        hit = _matching_rows(left, exclusion.code, exclusion.where)
        waterfall.append((f"left out: {exclusion.code}", -int(hit.sum())))
        left = left[~hit]
    if left.empty:
        raise DataInvalid("every row is left out; look at table.exclude")
    return left.reset_index(drop=True), tuple(waterfall)


def _drop_unlabelled(spec: TableSpec, table: pd.DataFrame, waterfall: Waterfall) -> tuple[pd.DataFrame, Waterfall]:
    """Leave out the rows whose outcome is not known: nothing can be learnt from them."""
    unknown = table[spec.label].isna().to_numpy()
    if unknown.all():
        raise DataInvalid(
            f"column {spec.label!r}: no row has an outcome, so nothing can be learnt; "
            "`python -m training features` needs none"
        )
    if unknown.any():
        waterfall = (*waterfall, ("left out: NO_LABEL", -int(unknown.sum())))
    return table[~unknown].reset_index(drop=True), waterfall


def _matching_rows(table: pd.DataFrame, code: str, where: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Find the rows for which the condition holds; unknown counts as no."""
    numbered = table.reset_index(drop=True)
    try:
        with duckdb.connect(config={"enable_external_access": "false"}) as connection:
            connection.register("numbered", numbered.assign(row_number=np.arange(len(numbered))))
            found = connection.execute(f"SELECT row_number FROM numbered WHERE ({where})").fetchnumpy()["row_number"]  # noqa: S608 - the spec's own condition, on data in memory only
    except duckdb.Error as error:
        raise SpecInvalid(f"table.exclude {code}: {error}") from error
    hit = np.zeros(len(numbered), dtype=np.bool_)
    hit[found] = True
    return hit


def _labels(column: str, table: pd.DataFrame) -> pd.Series:
    """Give the label, and refuse one that is anything but 0 and 1, both present."""
    found = sorted(table[column].unique().tolist(), key=str)
    if [float(value) for value in found if not isinstance(value, str)] != [0.0, 1.0] or len(found) != 2:  # noqa: PLR2004
        shown = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")  # noqa: PLR2004 - a line
        raise DataInvalid(f"column {column!r}: the label must hold 0 (good) and 1 (bad), both; it holds {shown}")
    return table[column].astype(np.int64)


def _numbers(feature: FeatureEntry, column: pd.Series) -> pd.Series:
    """Give a feature as doubles, and refuse what is no number, infinite or out of the spec's range."""
    name = _column_name(feature)
    if not (is_numeric_dtype(column) or is_bool_dtype(column)):
        raise DataInvalid(f"column {name!r}: is {column.dtype}, not a number; leave it out, or say kind = 'category'")
    values = column.astype(np.float64)
    if np.isinf(values).any():
        raise DataInvalid(f"column {name!r}: {int(np.isinf(values).sum())} values are infinite")
    low = -np.inf if feature.min is None else feature.min
    high = np.inf if feature.max is None else feature.max
    if outside := int(((values < low) | (values > high)).sum()):
        raise DataInvalid(f"column {name!r}: {outside} values are outside {low:g} to {high:g}, the spec's range")
    return values


def _level_names(column: pd.Series) -> pd.Series:
    """Give every value's name; whole numbers without a point, missing values stay missing."""

    def name(value: object) -> str:
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    return column.map(name, na_action="ignore")


def _levels(column: pd.Series) -> tuple[str, ...]:
    """Give the levels that the fit part knows, in the order of their names."""
    return tuple(sorted(_level_names(column).dropna().unique()))


def _level_codes(column: pd.Series, levels: tuple[str, ...]) -> pd.Series:
    """Give each value's code, UNSEEN for a level that the fit part does not know."""
    places = {level: float(code) for code, level in enumerate(levels)}
    return _level_names(column).map(lambda level: places.get(level, UNSEEN), na_action="ignore").astype(np.float64)


def _sample_parts(spec: Spec, rows: pd.DataFrame) -> list[Sample]:
    """Say to which part every row belongs; NONE where it is out of time and the model knows the customer."""
    parts = [_customer_part(customer, spec.split) for customer in rows["customer_id"]]
    if spec.out_of_time is None:
        return parts
    late = (rows["as_of"] >= pd.Timestamp(str(spec.out_of_time.first_day), tz="UTC")).tolist()
    later: dict[Sample, Sample] = {"HOLD_OUT": "OUT_OF_TIME"}
    return [later.get(part, "NONE") if is_late else part for part, is_late in zip(parts, late, strict=True)]


def _customer_part(customer_id: str, split: HashSplit) -> Sample:
    """Say to which part a customer belongs."""
    number = hash_bucket(customer_id, split.buckets)
    if number in split.hold_out:
        return "HOLD_OUT"
    return "CALIBRATION" if number in split.calibration else "FIT"
