"""Checks the key columns of a table: the market, the customer and the time of every row."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from training.errors import quote_name
from training.spec import TableSpec

_KEYS = ("market", "customer_id", "as_of")
_MISSING = {"market": "the market", "customer_id": "the customer", "as_of": "the day or time"}


def key_problems(spec: TableSpec, rows: pd.DataFrame, place: Callable[[int], str]) -> list[str]:
    """Return a sentence for each key column with missing values, and one for duplicate rows.

    Args:
        spec: The [table] of the spec.
        rows: The rows with the columns market, customer_id and as_of.
        place: Function that returns the place in the file of the row at a position.
    """
    columns = {"market": spec.market_column, "customer_id": spec.customer_id, "as_of": spec.as_of_column}
    problems = [
        f"column {quote_name(str(columns[key]))}: {_MISSING[key]} is missing in {len(missing):,} rows, first in {place(int(missing[0]))}; "
        "complete or remove these rows, for example with [[table.exclude]]"
        for key in _KEYS
        if len(missing := np.flatnonzero(rows[key].isna()))
    ]
    if not problems and len(duplicates := np.flatnonzero(rows.duplicated(list(_KEYS)))):
        first = int(duplicates[0])
        problems.append(
            f"column {quote_name(spec.customer_id)}: {len(duplicates):,} duplicate rows, first customer "
            f"{rows['customer_id'].iloc[first]!r} again in {place(first)}; market, customer and time must be unique: remove "
            "the duplicates, or set as_of_column in [table] if a customer has several rows at different times"
        )
    return problems
