"""Reads a table of customers, one row each, into samples."""

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
from training.sources.samples import Sample, Samples, Waterfall, category_name, hash_bucket
from training.spec import FeatureEntry, HashSplit, Spec, TableSpec, check_feature_names

# CSV cells that mean "missing". In a column of text only the empty cell does: NA is the market Namibia.
_EMPTY_CELLS = ["", "#N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]


def read_table(path: Path, texts: Collection[str] = ()) -> pd.DataFrame:
    """Read a Parquet file, or any other file as CSV.

    Args:
        path: The file.
        texts: CSV columns to read as text even if all cells look like numbers.

    Raises:
        DataInvalid: The file does not exist, is unreadable, or has no rows.
    """
    if not path.is_file():
        raise DataInvalid(f"{path}: no such file; check the path, or name another file with --data")
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
    """Raise DataInvalid if a line of a CSV has another number of values than its header.

    pandas would take surplus values for an index and shift all other columns.
    """
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines)
        header = next(rows, [])
        duplicates = sorted({name for name in header if name and header.count(name) > 1})
        if duplicates:
            raise DataInvalid(f"{path}: duplicate columns in the header: {', '.join(map(repr, duplicates))}")
        for row in rows:
            if row and len(row) != len(header):
                raise DataInvalid(
                    f"{path}: line {rows.line_num} has {len(row)} values, but the header has {len(header)} columns"
                )


def read_table_samples(spec: Spec, path: Path) -> tuple[Spec, Samples]:
    """Read the table of a family and split it by customer.

    Returns:
        The spec with its features written out, and the samples.

    Raises:
        SpecInvalid: The spec names an unknown column.
        DataInvalid: The data are invalid; the message names every invalid column.
    """
    table_spec = spec.table
    assert table_spec is not None
    table = read_table(path, text_columns(table_spec))
    protected = frozenset(attribute.column for attribute in spec.fairness.attributes)
    spec = spec.model_copy(update={"features": spec.features or _default_features(table_spec, table, protected)})
    _check_columns(spec, table, path, for_fit=True)
    check_feature_names(spec, tuple(feature.name for feature in spec.features))
    used, waterfall = _exclude(table_spec, table)
    used, waterfall = _drop_unlabelled(table_spec, used, waterfall)
    problems = ProblemList()
    rows, features = read_keys(table_spec, used, problems), _number_columns(spec, used, problems)
    label = problems.attempt(lambda: _labels(table_spec.label, used))
    problems.raise_if_any()
    rows = rows.assign(label=label, sample=_sample_parts(spec, rows), period="")
    known = int((rows["sample"] == "NONE").sum())  # in no sample, but the feature file has them
    if known:
        waterfall = (*waterfall, ("left out: OUT_OF_TIME_OF_A_KNOWN_CUSTOMER", -known))
    levels = {one.name: _levels(used[_column_name(one)][rows["sample"] == "FIT"]) for one in _category_features(spec)}
    coded = {one.name: _level_codes(used[_column_name(one)], levels[one.name]) for one in _category_features(spec)}
    rows = rows.assign(**attribute_columns(spec, used), **features, **coded)
    names = tuple(feature.name for feature in spec.features)
    waterfall = (*waterfall, ("rows used", len(rows) - known))
    return spec, Samples(rows, names, waterfall, hashlib.sha256(path.read_bytes()).hexdigest(), levels)


def read_table_customers(spec: Spec, path: Path, schema: Schema, at: dt.date | None) -> tuple[pd.DataFrame, Waterfall]:
    """Read the features of all customers of a table, for a fitted model; the table needs no label column.

    Args:
        spec: The spec of the family.
        path: The table.
        schema: The schema of the model.
        at: The day on which the features were known; None for the spec's as_of or as_of_column.

    Returns:
        Rows as in Samples.rows without labels, and the waterfall from the rows read to the rows used.

    Raises:
        SpecInvalid: The spec names an unknown column, or has an as_of_column beside `at`.
        DataInvalid: The data are invalid; the message names every invalid column.
    """
    table_spec = spec.table
    assert table_spec is not None
    if at is not None:
        if table_spec.as_of_column is not None:
            raise SpecInvalid(f"--at: column {table_spec.as_of_column!r} already dates each row; remove --at")
        table_spec = table_spec.model_copy(update={"as_of": at})
    table = read_table(path, text_columns(table_spec))
    features = spec.features or tuple(FeatureEntry(name=name) for name in schema.names)
    spec = spec.model_copy(update={"features": features, "table": table_spec})
    _check_columns(spec, table, path, for_fit=False)
    used, waterfall = _exclude(table_spec, table)
    problems = ProblemList()
    rows, numbered = read_keys(table_spec, used, problems), _number_columns(spec, used, problems)
    problems.raise_if_any()
    levels = {feature.name: feature.levels for feature in schema.features}
    coded = {one.name: _level_codes(used[_column_name(one)], levels[one.name]) for one in _category_features(spec)}
    rows = rows.assign(sample=_sample_parts(spec, rows), period="", **numbered, **coded)
    return rows, (*waterfall, ("rows used", len(rows)))


def _column_name(feature: FeatureEntry) -> str:
    """Return the name of a feature's column."""
    return feature.column or feature.name


def _category_features(spec: Spec) -> list[FeatureEntry]:
    """Return the category features."""
    return [feature for feature in spec.features if feature.kind == "category"]


def _number_columns(spec: Spec, table: pd.DataFrame, problems: ProblemList) -> dict[str, pd.Series]:
    """Return every valid numeric feature by name; record the problems of the others."""
    found = {
        feature.name: problems.attempt(lambda feature=feature: _numbers(feature, table[_column_name(feature)]))  # type: ignore[misc]  # bound now
        for feature in spec.features
        if feature.kind == "number"
    }
    return {name: column for name, column in found.items() if column is not None}


def _default_features(table: TableSpec, data: pd.DataFrame, protected: frozenset[str]) -> tuple[FeatureEntry, ...]:
    """Return a feature for every numeric column that has no other role and is not a protected attribute."""
    roles = {table.customer_id, table.label, table.market_column, table.as_of_column, *table.leave_out, *protected}
    names = [str(name) for name in data.columns if name not in roles and is_numeric_dtype(data[name])]
    return tuple(FeatureEntry(name=name) for name in names)


def _check_columns(spec: Spec, table: pd.DataFrame, path: Path, *, for_fit: bool) -> None:
    """Raise SpecInvalid if the table lacks columns that the spec names; fitting needs the outcome and the attributes, too."""
    assert spec.table is not None
    wanted = {
        "table.customer_id": spec.table.customer_id,
        "table.market_column": spec.table.market_column,
        "table.as_of_column": spec.table.as_of_column,
    } | {f"features.{feature.name}": _column_name(feature) for feature in spec.features}
    if for_fit:
        wanted |= {"table.label": spec.table.label}
        wanted |= {f"fairness.attributes.{one.column}": one.column for one in spec.fairness.attributes}
    missing = [f"  {field}: {name!r}" for field, name in wanted.items() if name and name not in table.columns]
    if missing:
        present = ", ".join(map(str, table.columns))
        raise SpecInvalid("\n".join([f"{path} lacks columns that the spec names:", *missing, f"it has: {present}"]))
    if any(_column_name(feature) == spec.table.label for feature in spec.features):
        raise SpecInvalid(f"features: {spec.table.label!r} is the label and cannot be a feature")


def _exclude(spec: TableSpec, table: pd.DataFrame) -> tuple[pd.DataFrame, Waterfall]:
    """Return the rows that no exclusion of the spec matches, and the waterfall; a row counts under its first match."""
    waterfall = [("rows read", len(table))]
    left = table
    for exclusion in spec.exclude:
        matches = _matching_rows(left, exclusion.code, exclusion.where)
        waterfall.append((f"left out: {exclusion.code}", -int(matches.sum())))
        left = left[~matches]
    if left.empty:
        raise DataInvalid("table.exclude excludes every row; check its conditions")
    return left.reset_index(drop=True), tuple(waterfall)


def _drop_unlabelled(spec: TableSpec, table: pd.DataFrame, waterfall: Waterfall) -> tuple[pd.DataFrame, Waterfall]:
    """Return the rows with a known outcome, and the extended waterfall."""
    unknown = table[spec.label].isna().to_numpy()
    if unknown.all():
        raise DataInvalid(
            f"column {spec.label!r}: no row has an outcome, so no model can be fitted; to write features without outcomes, "
            "use `python -m training features`"
        )
    if unknown.any():
        waterfall = (*waterfall, ("left out: NO_LABEL", -int(unknown.sum())))
    return table[~unknown].reset_index(drop=True), waterfall


def _matching_rows(table: pd.DataFrame, code: str, where: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return a mask of the rows for which an SQL condition is true; NULL counts as false."""
    numbered = table.reset_index(drop=True)
    try:
        with duckdb.connect(config={"enable_external_access": "false"}) as connection:
            connection.register("numbered", numbered.assign(row_number=np.arange(len(numbered))))
            query = f"SELECT row_number FROM numbered WHERE ({where})"  # noqa: S608 - the spec's own condition, on data in memory only
            row_numbers = connection.execute(query).fetchnumpy()["row_number"]
    except duckdb.Error as error:
        raise SpecInvalid(f"table.exclude {code}: invalid condition: {error}") from error
    matches = np.zeros(len(numbered), dtype=np.bool_)
    matches[row_numbers] = True
    return matches


def _labels(column: str, table: pd.DataFrame) -> pd.Series:
    """Return the label of every row; raise DataInvalid unless the column holds exactly 0 and 1, both."""
    found = sorted(table[column].unique().tolist(), key=str)
    if [float(value) for value in found if not isinstance(value, str)] != [0.0, 1.0] or len(found) != 2:  # noqa: PLR2004
        shown = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")  # noqa: PLR2004 - a line
        raise DataInvalid(f"column {column!r}: the label must be 0 (good) or 1 (bad), with both present, got {shown}")
    return table[column].astype(np.int64)


def _numbers(feature: FeatureEntry, column: pd.Series) -> pd.Series:
    """Return a numeric feature as doubles; raise DataInvalid for text, infinite values and values out of range."""
    name = _column_name(feature)
    if not (is_numeric_dtype(column) or is_bool_dtype(column)):
        raise DataInvalid(
            f"column {name!r}: must be numeric, got {column.dtype}; remove the feature, or set kind = 'category'"
        )
    values = column.astype(np.float64)
    if np.isinf(values).any():
        raise DataInvalid(f"column {name!r}: must be finite, got {int(np.isinf(values).sum())} infinite values")
    low = -np.inf if feature.min is None else feature.min
    high = np.inf if feature.max is None else feature.max
    if outside := int(((values < low) | (values > high)).sum()):
        raise DataInvalid(
            f"column {name!r}: must be from {low:g} to {high:g} (the spec's range), got {outside} values outside"
        )
    return values


def _level_names(column: pd.Series) -> pd.Series:
    """Return the name of every value; missing values stay missing."""
    return column.map(category_name, na_action="ignore")


def _levels(column: pd.Series) -> tuple[str, ...]:
    """Return the distinct levels of a column in the order of their names."""
    return tuple(sorted(_level_names(column).dropna().unique()))


def _level_codes(column: pd.Series, levels: tuple[str, ...]) -> pd.Series:
    """Return the code of every value: its position in `levels`, UNSEEN for another level, NaN for a missing value."""
    places = {level: float(code) for code, level in enumerate(levels)}
    return _level_names(column).map(lambda level: places.get(level, UNSEEN), na_action="ignore").astype(np.float64)


def _sample_parts(spec: Spec, rows: pd.DataFrame) -> list[Sample]:
    """Return the sample of every row; NONE for late rows of customers whom the model is fitted on."""
    parts = [_customer_part(customer, spec.split) for customer in rows["customer_id"]]
    if spec.out_of_time is None:
        return parts
    late = (rows["as_of"] >= pd.Timestamp(str(spec.out_of_time.first_day), tz="UTC")).tolist()
    later: dict[Sample, Sample] = {"HOLD_OUT": "OUT_OF_TIME"}
    return [later.get(part, "NONE") if is_late else part for part, is_late in zip(parts, late, strict=True)]


def _customer_part(customer_id: str, split: HashSplit) -> Sample:
    """Return the sample of a customer by hash, so that it depends on neither the order of rows nor other customers."""
    number = hash_bucket(customer_id, split.buckets)
    if number in split.hold_out:
        return "HOLD_OUT"
    return "CALIBRATION" if number in split.calibration else "FIT"
