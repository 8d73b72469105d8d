"""A table of customers, Parquet or CSV, one row each -> samples."""

import hashlib
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from models.schema import UNSEEN
from training.attributes import attribute_columns
from training.errors import DataRefused, SpecRefused
from training.samples import Sample, Samples, bucket
from training.spec import FeatureEntry, HashSplit, Spec, TableSpec


def read_table(path: Path) -> pd.DataFrame:
    """Read a Parquet or CSV file as it is.

    Raises:
        DataRefused: It is not there, cannot be read, or has no rows.
    """
    if not path.is_file():
        raise DataRefused(f"{path}: there is no such file; name another with --data")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except Exception as error:  # the readers raise many kinds
        raise DataRefused(f"{path}: cannot be read as {path.suffix or 'CSV'}: {error}") from error
    if table.empty:
        raise DataRefused(f"{path}: has no rows")
    return table


def samples_of_table(spec: Spec, path: Path) -> tuple[Spec, Samples]:
    """Read a family's table and split it by customer.

    Returns:
        The spec with every feature written out, and the samples.

    Raises:
        SpecRefused: The spec names a column that is not there.
        DataRefused: The data cannot be right; the message names the column.
    """
    table_spec = spec.table
    assert table_spec is not None
    table = read_table(path)
    apart = frozenset(attribute.column for attribute in spec.fairness.attributes)
    spec = spec.model_copy(update={"features": spec.features or default_features(table_spec, table, apart)})
    require_columns(spec, table, path)
    used, waterfall = exclude(table_spec, table)
    rows = keyed(table_spec, used)
    rows["label"] = labels(table_spec.label, used)
    rows["sample"] = parts_of(spec, rows)
    rows["period"] = ""
    known = int((rows["sample"] == "NONE").sum())  # in no part, but their customers are scored all the same
    if known:
        waterfall = (*waterfall, ("left out: OUT_OF_TIME_OF_A_KNOWN_CUSTOMER", -known))
    rows = rows.assign(**attribute_columns(spec, used))
    levels = {}
    for feature in spec.features:
        column = used[feature.column or feature.name]
        if feature.kind == "category":
            levels[feature.name] = levels_of(column[rows["sample"] == "FIT"])
            rows[feature.name] = codes(column, levels[feature.name])
        else:
            rows[feature.name] = numbers(feature, column)
    names = tuple(feature.name for feature in spec.features)
    waterfall = (*waterfall, ("rows used", len(rows) - known))
    return spec, Samples(rows, names, waterfall, hashlib.sha256(path.read_bytes()).hexdigest(), levels)


def default_features(table: TableSpec, data: pd.DataFrame, apart: frozenset[str]) -> tuple[FeatureEntry, ...]:
    """Take every numeric column that has no other role and is not kept apart for the fairness tables."""
    roles = {table.customer_id, table.label, table.market_column, table.as_of_column, *table.leave_out, *apart}
    names = [str(name) for name in data.columns if name not in roles and is_numeric_dtype(data[name])]
    return tuple(FeatureEntry(name=name) for name in names)


def require_columns(spec: Spec, table: pd.DataFrame, path: Path) -> None:
    """Refuse a spec that names columns that are not in the table, all at once."""
    assert spec.table is not None
    wanted = {
        "table.customer_id": spec.table.customer_id,
        "table.label": spec.table.label,
        "table.market_column": spec.table.market_column,
        "table.as_of_column": spec.table.as_of_column,
    } | {f"features.{feature.name}": feature.column or feature.name for feature in spec.features}
    wanted |= {f"fairness.attributes.{one.column}": one.column for one in spec.fairness.attributes}
    absent = [f"  {field}: {name!r}" for field, name in wanted.items() if name and name not in table.columns]
    if absent:
        there = ", ".join(map(str, table.columns))
        raise SpecRefused("\n".join([f"{path} lacks columns that the spec names:", *absent, f"it has: {there}"]))
    if any((feature.column or feature.name) == spec.table.label for feature in spec.features):
        raise SpecRefused(f"features: {spec.table.label!r} is the label and cannot be a feature")


def exclude(spec: TableSpec, table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[tuple[str, int], ...]]:
    """Leave out what the spec says, each row under the first code that fits; the counts add up."""
    waterfall = [("rows read", len(table))]
    left = table
    for exclusion in (*spec.exclude, None):
        code = exclusion.code if exclusion else "NO_LABEL"
        hit = left[spec.label].isna().to_numpy() if exclusion is None else matches(left, code, exclusion.where)
        if hit.any() or exclusion:
            waterfall.append((f"left out: {code}", -int(hit.sum())))
        left = left[~hit]
    if left.empty:
        raise DataRefused("every row is left out; look at table.exclude")
    return left.reset_index(drop=True), tuple(waterfall)


def matches(table: pd.DataFrame, code: str, where: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Find the rows for which the condition holds; unknown counts as no."""
    numbered = table.reset_index(drop=True)
    try:
        with duckdb.connect(config={"enable_external_access": "false"}) as connection:
            connection.register("numbered", numbered.assign(row_number=np.arange(len(numbered))))
            found = connection.execute(f"SELECT row_number FROM numbered WHERE ({where})").fetchnumpy()["row_number"]  # noqa: S608 - the spec's own condition, on data in memory only
    except duckdb.Error as error:
        raise SpecRefused(f"table.exclude {code}: {error}") from error
    hit = np.zeros(len(numbered), dtype=np.bool_)
    hit[found] = True
    return hit


def keyed(spec: TableSpec, table: pd.DataFrame) -> pd.DataFrame:
    """Give the key of every row, and refuse a customer that stands there twice."""
    customers = table[spec.customer_id]
    if customers.isna().any():
        raise DataRefused(f"column {spec.customer_id!r}: {int(customers.isna().sum())} rows have no customer")
    rows = pd.DataFrame({"customer_id": customers.map(str)})
    rows.insert(0, "market", spec.market if spec.market_column is None else table[spec.market_column].map(str))
    as_of = (
        pd.Series(pd.Timestamp(str(spec.as_of)), index=table.index)
        if spec.as_of_column is None
        else table[spec.as_of_column]
    )
    rows["as_of"] = pd.to_datetime(as_of, utc=True).astype("datetime64[us, UTC]")
    if twice := int(rows.duplicated(["market", "customer_id", "as_of"]).sum()):
        raise DataRefused(f"column {spec.customer_id!r}: {twice} rows repeat a market, customer and time")
    return rows


def labels(column: str, table: pd.DataFrame) -> pd.Series:
    """Give the label, and refuse one that is anything but 0 and 1, both present."""
    found = sorted(table[column].unique().tolist())
    if [float(value) for value in found if not isinstance(value, str)] != [0.0, 1.0] or len(found) != 2:  # noqa: PLR2004
        shown = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")  # noqa: PLR2004 - a line
        raise DataRefused(f"column {column!r}: the label must hold 0 (good) and 1 (bad), both; it holds {shown}")
    return table[column].astype(np.int64)


def numbers(feature: FeatureEntry, column: pd.Series) -> pd.Series:
    """Give a feature as doubles, and refuse what is no number, infinite or out of the spec's range."""
    name = feature.column or feature.name
    if not (is_numeric_dtype(column) or is_bool_dtype(column)):
        raise DataRefused(f"column {name!r}: is {column.dtype}, not a number; leave it out, or say kind = 'category'")
    values = column.astype(np.float64)
    if np.isinf(values).any():
        raise DataRefused(f"column {name!r}: {int(np.isinf(values).sum())} values are infinite")
    low = -np.inf if feature.min is None else feature.min
    high = np.inf if feature.max is None else feature.max
    if outside := int(((values < low) | (values > high)).sum()):
        raise DataRefused(f"column {name!r}: {outside} values are outside {low:g} to {high:g}, the spec's range")
    return values


def level_names(column: pd.Series) -> pd.Series:
    """Give every value's name; whole numbers without a point, missing values stay missing."""

    def name(value: object) -> str:
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    return column.map(name, na_action="ignore")


def levels_of(column: pd.Series) -> tuple[str, ...]:
    """Give the levels that the fit part knows, in the order of their names."""
    return tuple(sorted(level_names(column).dropna().unique()))


def codes(column: pd.Series, levels: tuple[str, ...]) -> pd.Series:
    """Give each value's code, UNSEEN for a level that the fit part does not know."""
    places = {level: float(code) for code, level in enumerate(levels)}
    return level_names(column).map(lambda level: places.get(level, UNSEEN), na_action="ignore").astype(np.float64)


def parts_of(spec: Spec, rows: pd.DataFrame) -> list[Sample]:
    """Say to which part every row belongs; NONE where it is out of time and the model knows the customer."""
    parts = [part_of(customer, spec.split) for customer in rows["customer_id"]]
    if spec.out_of_time is None:
        return parts
    late = (rows["as_of"] >= pd.Timestamp(str(spec.out_of_time.first_day), tz="UTC")).tolist()
    later: dict[Sample, Sample] = {"HOLD_OUT": "OUT_OF_TIME"}
    return [later.get(part, "NONE") if is_late else part for part, is_late in zip(parts, late, strict=True)]


def part_of(customer_id: str, split: HashSplit) -> Sample:
    """Say to which part a customer belongs."""
    number = bucket(customer_id, split.buckets)
    if number in split.hold_out:
        return "HOLD_OUT"
    return "CALIBRATION" if number in split.calibration else "FIT"
