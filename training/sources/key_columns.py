"""Checks the key columns of a table: the market, the customer and the time of every row."""

import pandas as pd

from training.spec import TableSpec

_KEYS = ("market", "customer_id", "as_of")
_MISSING = {"market": "the market", "customer_id": "the customer", "as_of": "the day or time"}


def key_problems(spec: TableSpec, rows: pd.DataFrame) -> list[str]:
    """Return a sentence for each key column with missing values, and one for duplicate rows.

    Args:
        spec: The [table] of the spec.
        rows: The rows with the columns market, customer_id and as_of.
    """
    columns = {"market": spec.market_column, "customer_id": spec.customer_id, "as_of": spec.as_of_column}
    problems = [
        f"column {columns[key]!r}: {_MISSING[key]} is missing in {missing:,} rows; complete or remove these rows"
        for key in _KEYS
        if (missing := int(rows[key].isna().sum()))
    ]
    if not problems and (duplicates := int(rows.duplicated(list(_KEYS)).sum())):
        problems.append(
            f"column {spec.customer_id!r}: {duplicates:,} duplicate rows; market, customer and time must be unique"
        )
    return problems
