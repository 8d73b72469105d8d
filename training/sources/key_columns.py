"""Whose row each is, and as of when: the columns of a table that are keys and no features."""

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
    """Collects what is wrong with a table, so that everything is told at once."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def attempt(self, step: Callable[[], _Result]) -> _Result | None:
        """Take a step; None where it refuses the data, and the reason is kept."""
        try:
            return step()
        except DataInvalid as error:
            self.messages.append(str(error))
            return None

    def raise_if_any(self) -> None:
        """Refuse the table if anything was wrong with it."""
        if self.messages:
            raise DataInvalid("\n".join(self.messages))


def text_columns(spec: TableSpec) -> tuple[str, ...]:
    """Name the columns whose cells are texts, whatever they look like: 00123 is no number, and NA is a market."""
    return tuple(name for name in (spec.customer_id, spec.market_column) if name is not None)


def read_keys(spec: TableSpec, table: pd.DataFrame, problems: ProblemList) -> pd.DataFrame:
    """Give the key of every row, as far as there is one, and note a customer that stands there twice."""
    columns = {
        "market": problems.attempt(lambda: _markets(spec, table)),
        "customer_id": problems.attempt(lambda: _customers(spec, table)),
        "as_of": problems.attempt(lambda: _times(spec, table)),
    }
    rows = pd.DataFrame({name: column for name, column in columns.items() if column is not None}, index=table.index)
    if len(rows.columns) == len(columns) and (twice := int(rows.duplicated().sum())):
        problems.messages.append(f"column {spec.customer_id!r}: {twice} rows repeat a market, customer and time")
    return rows


def _markets(spec: TableSpec, table: pd.DataFrame) -> pd.Series:
    """Give the market of every row, and refuse an empty one and what is no market."""
    if spec.market_column is None:
        return pd.Series(spec.market, index=table.index)
    found = table[spec.market_column]
    if empty := int(found.isna().sum()):
        raise DataInvalid(f"column {spec.market_column!r}: {empty} rows have no market")
    found = found.map(str)
    if odd := sorted(name for name in found.unique() if not re.fullmatch(MARKET_PATTERN, name)):
        raise DataInvalid(
            f"column {spec.market_column!r}: {_list_first(odd)} are no markets; a market is two capital letters, such as DE"
        )
    return found


def _customers(spec: TableSpec, table: pd.DataFrame) -> pd.Series:
    """Give the customer of every row, and refuse an empty one."""
    found = table[spec.customer_id]
    if empty := int(found.isna().sum()):
        raise DataInvalid(f"column {spec.customer_id!r}: {empty} rows have no customer")
    return found.map(str)


def _times(spec: TableSpec, table: pd.DataFrame) -> pd.Series:
    """Give as of when every row is, in UTC, and refuse an empty time and what is none."""
    if spec.as_of_column is None:
        column = pd.Series(pd.Timestamp(str(spec.as_of)), index=table.index)
    else:
        column = table[spec.as_of_column]
    if is_numeric_dtype(column) and column.notna().any():
        raise DataInvalid(f"column {spec.as_of_column!r}: is {column.dtype}, no day or time; write 2026-01-31")
    if empty := int(column.isna().sum()):
        raise DataInvalid(f"column {spec.as_of_column!r}: {empty} rows have no day or time")
    found = pd.to_datetime(column, utc=True, errors="coerce")
    if found.isna().any():
        odd = sorted(column[found.isna()].map(str).unique())
        raise DataInvalid(
            f"column {spec.as_of_column!r}: cannot be read as days or times: {_list_first(odd)}; write 2026-01-31 in all rows"
        )
    return found.astype("datetime64[us, UTC]")


def _list_first(values: list[str]) -> str:
    """Name the first of some values."""
    return ", ".join(map(repr, values[:_VALUES_SHOWN])) + (", ..." if len(values) > _VALUES_SHOWN else "")
