"""Reads a table with one row per market, customer and time, and converts it to samples."""

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

# CSV cells that stand for a missing value. In a text column, only an empty cell stands for a missing value, because NA
# may be the market Namibia.
_EMPTY_CELLS = ["", "#N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
_LABELS_SHOWN = 5


def read_table(path: Path, texts: Collection[str] = ()) -> pd.DataFrame:
    """Read a Parquet file, or any other file as CSV.

    Args:
        path: The file.
        texts: Names of the CSV columns to read as text even if all their cells look like numbers.

    Raises:
        DataInvalid: The file does not exist, is unreadable, or has no rows.
    """
    if not path.is_file():
        raise DataInvalid(f"{path}: no such file; check the path, or specify a different file with --data")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            _check_rectangular(path)
            empty = {name: [""] if name in texts else _EMPTY_CELLS for name in pd.read_csv(path, nrows=0).columns}
            table = pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=empty)
    except DataInvalid:
        raise
    except Exception as error:  # pandas and pyarrow raise many types
        raise DataInvalid(f"{path}: cannot be read as {path.suffix or 'CSV'}: {error}") from error
    if table.empty:
        raise DataInvalid(f"{path}: has no rows; use a table with at least one row")
    return table


def _check_rectangular(path: Path) -> None:
    """Raise DataInvalid if a CSV file has duplicate columns, or a line with more or fewer values than the header.

    If a line has more values than the header, pandas uses the first column as an index and shifts all other columns.
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
        The spec, in which `features` lists every feature of the model, and the samples.

    Raises:
        SpecInvalid: The table lacks a column of the spec.
        DataInvalid: The data are invalid; the message lists every invalid column.
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
    unused = int((rows["sample"] == "NONE").sum())  # these rows are not used, but they are in the feature file
    if unused:
        waterfall = (*waterfall, ("left out: OUT_OF_TIME_OF_A_KNOWN_CUSTOMER", -unused))
    levels = {
        feature.name: _levels(used[_column_name(feature)][rows["sample"] == "FIT"])
        for feature in _category_features(spec)
    }
    codes = {
        feature.name: _level_codes(used[_column_name(feature)], levels[feature.name])
        for feature in _category_features(spec)
    }
    rows = rows.assign(**attribute_columns(spec, used), **features, **codes)
    names = tuple(feature.name for feature in spec.features)
    waterfall = (*waterfall, ("rows used", len(rows) - unused))
    return spec, Samples(rows, names, waterfall, hashlib.sha256(path.read_bytes()).hexdigest(), levels)


def read_table_customers(spec: Spec, path: Path, schema: Schema, at: dt.date | None) -> tuple[pd.DataFrame, Waterfall]:
    """Read the features that a fitted model uses, for all customers of a table. The table needs no label column.

    Args:
        spec: The spec of the family.
        path: Path of the table.
        schema: The schema of the model.
        at: Day on which the features were known; None for the spec's as_of or as_of_column.

    Returns:
        The rows, and the waterfall from the rows read to the rows used. The rows have the columns of Samples.rows,
        except the label and the protected attributes.

    Raises:
        SpecInvalid: The table lacks a column of the spec, or `at` is given although the spec has an as_of_column.
        DataInvalid: The data are invalid; the message lists every invalid column.
    """
    table_spec = spec.table
    assert table_spec is not None
    if at is not None:
        if table_spec.as_of_column is not None:
            raise SpecInvalid(
                f"--at: column {table_spec.as_of_column!r} already contains the date of each row; remove --at"
            )
        table_spec = table_spec.model_copy(update={"as_of": at})
    table = read_table(path, text_columns(table_spec))
    features = spec.features or tuple(FeatureEntry(name=name) for name in schema.names)
    spec = spec.model_copy(update={"features": features, "table": table_spec})
    _check_columns(spec, table, path, for_fit=False)
    used, waterfall = _exclude(table_spec, table)
    problems = ProblemList()
    rows, numbers = read_keys(table_spec, used, problems), _number_columns(spec, used, problems)
    problems.raise_if_any()
    levels = {feature.name: feature.levels for feature in schema.features}
    codes = {
        feature.name: _level_codes(used[_column_name(feature)], levels[feature.name])
        for feature in _category_features(spec)
    }
    rows = rows.assign(sample=_sample_parts(spec, rows), period="", **numbers, **codes)
    return rows, (*waterfall, ("rows used", len(rows)))


def _column_name(feature: FeatureEntry) -> str:
    """Return the name of a feature's column."""
    return feature.column or feature.name


def _category_features(spec: Spec) -> list[FeatureEntry]:
    """Return the category features."""
    return [feature for feature in spec.features if feature.kind == "category"]


def _number_columns(spec: Spec, table: pd.DataFrame, problems: ProblemList) -> dict[str, pd.Series]:
    """Return the columns of the valid numeric features by name; record the problem of each invalid feature."""
    columns = {
        feature.name: problems.attempt(lambda feature=feature: _numbers(feature, table[_column_name(feature)]))  # type: ignore[misc]  # mypy: the default binds the loop variable
        for feature in spec.features
        if feature.kind == "number"
    }
    return {name: column for name, column in columns.items() if column is not None}


def _default_features(table: TableSpec, data: pd.DataFrame, protected: frozenset[str]) -> tuple[FeatureEntry, ...]:
    """Return a feature for each numeric column except keys, the label, leave_out columns and protected attributes."""
    roles = {table.customer_id, table.label, table.market_column, table.as_of_column, *table.leave_out, *protected}
    names = [str(name) for name in data.columns if name not in roles and is_numeric_dtype(data[name])]
    return tuple(FeatureEntry(name=name) for name in names)


def _check_columns(spec: Spec, table: pd.DataFrame, path: Path, *, for_fit: bool) -> None:
    """Raise SpecInvalid if the table lacks a column of the spec, or if the label is a feature.

    Only a fit requires the columns of the label and of the protected attributes.
    """
    assert spec.table is not None
    wanted = {
        "table.customer_id": spec.table.customer_id,
        "table.market_column": spec.table.market_column,
        "table.as_of_column": spec.table.as_of_column,
    } | {f"features.{feature.name}": _column_name(feature) for feature in spec.features}
    if for_fit:
        wanted |= {"table.label": spec.table.label}
        wanted |= {
            f"fairness.attributes.{attribute.column}": attribute.column for attribute in spec.fairness.attributes
        }
    missing = [f"  {field}: {name!r}" for field, name in wanted.items() if name and name not in table.columns]
    if missing:
        present = ", ".join(map(str, table.columns))
        raise SpecInvalid(
            "\n".join([f"{path}: the table lacks columns of the spec:", *missing, f"columns of the table: {present}"])
        )
    if any(_column_name(feature) == spec.table.label for feature in spec.features):
        raise SpecInvalid(f"features: {spec.table.label!r} is the label and cannot be a feature")


def _exclude(spec: TableSpec, table: pd.DataFrame) -> tuple[pd.DataFrame, Waterfall]:
    """Return the rows that match no exclusion of the spec, and the waterfall.

    A row that matches several exclusions is counted under the first of these exclusions.
    """
    waterfall = [("rows read", len(table))]
    remaining = table
    for exclusion in spec.exclude:
        matches = _matching_rows(remaining, exclusion.code, exclusion.where)
        waterfall.append((f"left out: {exclusion.code}", -int(matches.sum())))
        remaining = remaining[~matches]
    if remaining.empty:
        raise DataInvalid("table.exclude: the conditions exclude every row; check them")
    return remaining.reset_index(drop=True), tuple(waterfall)


def _drop_unlabelled(spec: TableSpec, table: pd.DataFrame, waterfall: Waterfall) -> tuple[pd.DataFrame, Waterfall]:
    """Return the rows with an outcome, and add the number of rows without an outcome to the waterfall."""
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
    """Return a mask of the rows. It is True where the SQL condition is true, and False where it is false or NULL."""
    numbered = table.reset_index(drop=True)
    try:
        with duckdb.connect(config={"enable_external_access": "false"}) as connection:
            connection.register("numbered", numbered.assign(row_number=np.arange(len(numbered))))
            query = f"SELECT row_number FROM numbered WHERE ({where})"  # noqa: S608 - the condition of the spec can only access the data in memory
            row_numbers = connection.execute(query).fetchnumpy()["row_number"]
    except duckdb.Error as error:
        raise SpecInvalid(f"table.exclude {code}: the condition `where` is invalid: {error}") from error
    matches = np.zeros(len(numbered), dtype=np.bool_)
    matches[row_numbers] = True
    return matches


def _labels(column: str, table: pd.DataFrame) -> pd.Series:
    """Return the label of every row; raise DataInvalid if a label is not 0 or 1, or if all labels are equal."""
    values = sorted(table[column].unique().tolist(), key=str)
    if [float(value) for value in values if not isinstance(value, str)] != [0.0, 1.0] or len(values) != 2:  # noqa: PLR2004
        shown = ", ".join(map(str, values[:_LABELS_SHOWN])) + (", ..." if len(values) > _LABELS_SHOWN else "")
        raise DataInvalid(
            f"column {column!r}: each label must be 0 (good) or 1 (bad), and both values must occur, got {shown}"
        )
    return table[column].astype(np.int64)


def _numbers(feature: FeatureEntry, column: pd.Series) -> pd.Series:
    """Return a feature as doubles; raise DataInvalid if it is not numeric, or a value is infinite or out of range."""
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
            f"column {name!r}: every value must be from {low:g} to {high:g} (min and max of the feature), got {outside} other "
            "values; correct the values, or the range in the spec"
        )
    return values


def _level_names(column: pd.Series) -> pd.Series:
    """Return every value as text; missing values remain missing."""
    return column.map(category_name, na_action="ignore")


def _levels(column: pd.Series) -> tuple[str, ...]:
    """Return the distinct levels of a column, sorted as text."""
    return tuple(sorted(_level_names(column).dropna().unique()))


def _level_codes(column: pd.Series, levels: tuple[str, ...]) -> pd.Series:
    """Return the code of every value: the position in `levels`, UNSEEN for an unknown level, NaN for a missing value."""
    codes = {level: float(code) for code, level in enumerate(levels)}
    return _level_names(column).map(lambda level: codes.get(level, UNSEEN), na_action="ignore").astype(np.float64)


def _sample_parts(spec: Spec, rows: pd.DataFrame) -> list[Sample]:
    """Return the sample of every row.

    Without [out_of_time], the sample depends only on the customer. With [out_of_time], the late rows of hold-out
    customers are OUT_OF_TIME, and the late rows of all other customers are NONE, because the model is fitted or
    calibrated on earlier rows of these customers.
    """
    parts = [_customer_part(customer, spec.split) for customer in rows["customer_id"]]
    if spec.out_of_time is None:
        return parts
    late_rows = (rows["as_of"] >= pd.Timestamp(str(spec.out_of_time.first_day), tz="UTC")).tolist()
    late_samples: dict[Sample, Sample] = {"HOLD_OUT": "OUT_OF_TIME"}
    return [late_samples.get(part, "NONE") if is_late else part for part, is_late in zip(parts, late_rows, strict=True)]


def _customer_part(customer_id: str, split: HashSplit) -> Sample:
    """Return the sample of a customer, which depends only on the hash of the customer id."""
    bucket = hash_bucket(customer_id, split.buckets)
    if bucket in split.hold_out:
        return "HOLD_OUT"
    return "CALIBRATION" if bucket in split.calibration else "FIT"
