"""Checks the columns market, customer_id and as_of of a whole file. Together they identify a row."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from models.identifiers import CUSTOMER_ID_PATTERN, MARKET_PATTERN
from server.errors import LoadRefused
from server.stores.record_log.erased_customers import ErasedCustomers

_MARKET = f"^{MARKET_PATTERN}$"
_CUSTOMER_ID = f"^{CUSTOMER_ID_PATTERN}$"
_AHEAD_MAX = dt.timedelta(days=1)  # accepts the midnight at which today begins in any time zone
KEY_COLUMNS = {"market": pa.string(), "customer_id": pa.string(), "as_of": pa.timestamp("us", tz="UTC")}


def check_customers(path: Path, table: pa.Table, load_time: dt.datetime) -> None:
    """Raise LoadRefused if a row lacks a valid market, customer_id or as_of, or if two rows have the same three values.

    Also raise LoadRefused if the file has no rows, or if an as-of time is more than a day after the load. The server
    serves the row with the newest as-of time, so a row with a future time would hide the rows of all later loads.
    """
    check_columns(path, table, KEY_COLUMNS)
    if table.num_rows == 0:
        raise LoadRefused(f"{path}: the file must have at least one row")
    for column, pattern, rule in (
        ("market", _MARKET, "must be two uppercase letters, such as DE,"),
        ("customer_id", _CUSTOMER_ID, "must be 1 to 64 letters, digits or . _ : -"),
    ):
        valid = pc.match_substring_regex(table[column], pattern)
        if not pc.all(pc.fill_null(valid, False)).as_py():  # noqa: FBT003 - pyarrow's signature
            raise LoadRefused(f"{path}: column {column!r}: {rule} in every row")
    if table["as_of"].null_count:
        raise LoadRefused(f"{path}: column 'as_of': must have no missing values")
    newest = pc.max(table["as_of"]).as_py()
    if newest > load_time + _AHEAD_MAX:
        raise LoadRefused(
            f"{path}: column 'as_of': must not be in the future, found {newest:%Y-%m-%d %H:%M} UTC, and the clock shows "
            f"{load_time:%Y-%m-%d %H:%M} UTC; correct the file or the clock"
        )
    # Grouping needs several times the memory of counting, and most files contain each customer number only once.
    if pc.count_distinct(table["customer_id"]).as_py() == table.num_rows:
        return
    distinct = table.group_by(list(KEY_COLUMNS)).aggregate([]).num_rows
    if distinct != table.num_rows:
        raise LoadRefused(
            f"{path}: {table.num_rows - distinct} rows have the same market, customer_id and as_of as an earlier row; "
            "remove the duplicates"
        )


def rows_to_load(rows: pa.RecordBatch | pa.Table, erased: ErasedCustomers) -> pa.Array:
    """Return a boolean for each row: false if the customer was erased at or after the as-of time of the row."""
    if not erased.times:
        return pa.repeat(True, rows.num_rows)  # noqa: FBT003 - pyarrow's signature
    keys = zip(*(rows[name].to_pylist() for name in KEY_COLUMNS), strict=True)
    return pa.array([not erased.covers(*key) for key in keys], pa.bool_())


def check_columns(path: Path, table: pa.Table | pa.Schema, expected: dict[str, Any]) -> None:
    """Raise LoadRefused if expected columns are missing or have the wrong type. The message lists all such columns."""
    schema = table if isinstance(table, pa.Schema) else table.schema
    problems = [
        f"{name!r} must exist with type {kind}"
        for name, kind in expected.items()
        if name not in schema.names or schema.field(name).type != kind
    ]
    if problems:
        raise LoadRefused(f"{path}: columns: {'; '.join(problems)}")
