"""Checks the columns that name the customer and time of each row, over the whole file."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from models.identifiers import MARKET_PATTERN
from server.errors import LoadRefused
from server.stores.record_log.erased_customers import ErasedCustomers

_MARKET = f"^{MARKET_PATTERN}$"
_CUSTOMER_ID = r"^[A-Za-z0-9._:-]{1,64}$"
KEY_COLUMNS = {"market": pa.string(), "customer_id": pa.string(), "as_of": pa.timestamp("us", tz="UTC")}


def check_customers(path: Path, table: pa.Table) -> None:
    """Raise LoadRefused for rows without a valid market, customer and time, and for duplicates of these three."""
    check_columns(path, table, KEY_COLUMNS)
    if table.num_rows == 0:
        raise LoadRefused(f"{path}: the file has no rows")
    for column, pattern, rule in (
        ("market", _MARKET, "must be two capital letters, such as DE"),
        ("customer_id", _CUSTOMER_ID, "must be 1 to 64 letters, digits and . _ : -"),
    ):
        valid = pc.match_substring_regex(table[column], pattern)
        if not pc.all(pc.fill_null(valid, False)).as_py():  # noqa: FBT003 - pyarrow's signature
            raise LoadRefused(f"{path}: column {column!r}: {rule} in every row")
    if table["as_of"].null_count:
        raise LoadRefused(f"{path}: column 'as_of': must have no missing values")
    distinct = table.group_by(list(KEY_COLUMNS)).aggregate([]).num_rows
    if distinct != table.num_rows:
        raise LoadRefused(
            f"{path}: {table.num_rows - distinct} rows repeat market, customer_id and as_of of another row"
        )


def rows_to_load(rows: pa.RecordBatch | pa.Table, erased: ErasedCustomers) -> pa.Array:
    """Return a boolean for each row: false where the customer was erased at or after the time of the row."""
    if not erased.times:
        return pa.repeat(True, rows.num_rows)  # noqa: FBT003 - pyarrow's signature
    keys = zip(*(rows[name].to_pylist() for name in KEY_COLUMNS), strict=True)
    return pa.array([not erased.covers(*key) for key in keys], pa.bool_())


def check_columns(path: Path, table: pa.Table | pa.Schema, expected: dict[str, Any]) -> None:
    """Raise LoadRefused for missing columns and columns of another type; name all of them."""
    schema = table if isinstance(table, pa.Schema) else table.schema
    problems = [
        f"{name!r} must be {kind}"
        for name, kind in expected.items()
        if name not in schema.names or schema.field(name).type != kind
    ]
    if problems:
        raise LoadRefused(f"{path}: columns: {'; '.join(problems)}")
