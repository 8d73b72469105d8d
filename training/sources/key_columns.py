"""Reads the key columns of a table: the market, the customer and the time of every row."""

import re
from collections.abc import Callable
from typing import TypeVar

import pandas as pd
from pandas.api.types import is_numeric_dtype

from models.identifiers import MARKET_PATTERN
from training.errors import DataInvalid
from training.spec import TableSpec

_Result = TypeVar("_Result")
_VALUES_SHOWN = 5


class ProblemList:
    """Collects the problems of a table, so that one error reports all of them.

    Attributes:
        messages: One line for each problem.
    """

    def __init__(self) -> None:
        self.messages: list[str] = []

    def attempt(self, step: Callable[[], _Result]) -> _Result | None:
        """Return the result of a step; record its DataInvalid and return None if it raises one."""
        try:
            return step()
        except DataInvalid as error:
            self.messages.append(str(error))
            return None

    def raise_if_any(self) -> None:
        """Raise one DataInvalid with all recorded problems, if there are any."""
        if self.messages:
            raise DataInvalid("\n".join(self.messages))


def text_columns(spec: TableSpec) -> tuple[str, ...]:
    """Return the key columns to read as text, so that customer 00123 is not a number and market NA is not missing."""
    return tuple(name for name in (spec.customer_id, spec.market_column) if name is not None)


def read_keys(spec: TableSpec, table: pd.DataFrame, problems: ProblemList) -> pd.DataFrame:
    """Return those columns of market, customer_id and as_of that are valid; record the problem of each invalid column.

    If all three columns are valid, rows with the same market, customer and time are also recorded as a problem.
    """
    columns = {
        "market": problems.attempt(lambda: _markets(spec, table)),
        "customer_id": problems.attempt(lambda: _customers(spec, table)),
        "as_of": problems.attempt(lambda: _times(spec, table)),
    }
    rows = pd.DataFrame({name: column for name, column in columns.items() if column is not None}, index=table.index)
    if len(rows.columns) == len(columns) and (duplicates := int(rows.duplicated().sum())):
        problems.messages.append(
            f"column {spec.customer_id!r}: {duplicates} duplicate rows; market, customer and time must be unique"
        )
    return rows


def _markets(spec: TableSpec, table: pd.DataFrame) -> pd.Series:
    """Return the market of every row; raise DataInvalid if a market is missing or invalid."""
    if spec.market_column is None:
        return pd.Series(spec.market, index=table.index)
    markets = table[spec.market_column]
    if missing := int(markets.isna().sum()):
        raise DataInvalid(f"column {spec.market_column!r}: the market is missing in {missing} rows")
    markets = markets.map(str)
    if invalid := sorted(name for name in markets.unique() if not re.fullmatch(MARKET_PATTERN, name)):
        raise DataInvalid(
            f"column {spec.market_column!r}: a market must be two uppercase letters such as DE, got "
            f"{_list_first(invalid)}"
        )
    return markets


def _customers(spec: TableSpec, table: pd.DataFrame) -> pd.Series:
    """Return the customer of every row; raise DataInvalid if a customer is missing."""
    customers = table[spec.customer_id]
    if missing := int(customers.isna().sum()):
        raise DataInvalid(f"column {spec.customer_id!r}: the customer is missing in {missing} rows")
    return customers.map(str)


def _times(spec: TableSpec, table: pd.DataFrame) -> pd.Series:
    """Return the time of every row in UTC; raise DataInvalid if a time is missing or unreadable."""
    if spec.as_of_column is None:
        column = pd.Series(pd.Timestamp(str(spec.as_of)), index=table.index)
    else:
        column = table[spec.as_of_column]
    # Numbers are rejected, because pandas would interpret a number as nanoseconds since 1970.
    if is_numeric_dtype(column) and column.notna().any():
        raise DataInvalid(
            f"column {spec.as_of_column!r}: must contain days or times such as 2026-01-31, got {column.dtype}"
        )
    if missing := int(column.isna().sum()):
        raise DataInvalid(f"column {spec.as_of_column!r}: the day or time is missing in {missing} rows")
    times = pd.to_datetime(column, utc=True, errors="coerce")
    if times.isna().any():
        invalid = sorted(column[times.isna()].map(str).unique())
        raise DataInvalid(
            f"column {spec.as_of_column!r}: must contain days or times such as 2026-01-31, all in the same format, got "
            f"{_list_first(invalid)}"
        )
    return times.astype("datetime64[us, UTC]")


def _list_first(values: list[str]) -> str:
    """Return the first 5 values as a comma-separated list; the list ends with ... if there are more values."""
    return ", ".join(map(repr, values[:_VALUES_SHOWN])) + (", ..." if len(values) > _VALUES_SHOWN else "")
