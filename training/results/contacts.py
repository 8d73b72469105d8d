"""Reads the file of the customers whom a campaign contacted."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.errors import DataInvalid
from training.results.observed_churn import ObservedRun
from training.results.run_file import CustomerKey
from training.sources.reader.casts import key_cast, time_cast
from training.sources.reader.raw_table import RawTable, open_file, read_strictly
from training.sources.reader.unreadable import find_unreadable, refuse_unreadable
from training.sources.transaction_log import count_rows, database_folder, temporary_database
from training.spec import ReadingSpec

_READING = ReadingSpec()
_OPTION = "--contacted"


@dataclass(frozen=True, slots=True)
class Contacts:
    """The contacts of a campaign.

    Attributes:
        contacts: Customer and day of each contact. Without a day, the customer was contacted after every run.
        sha256: SHA-256 of the file.
    """

    contacts: frozenset[tuple[CustomerKey, dt.date | None]]
    sha256: str


def read_contacts(path: Path) -> Contacts:
    """Read the file of contacted customers: columns market, customer_id and optionally day.

    Raises:
        SpecInvalid: The file lacks a column.
        DataInvalid: The file is unreadable, or a row lacks a value.
    """
    with temporary_database(1) as connection:
        source = open_file(path, _READING, database_folder(connection), set(), _OPTION)
        source.require({f"column {name}": name for name in ("market", "customer_id")})
        casts = [
            key_cast(source, "market", "contacted.market", "market"),
            key_cast(source, "customer_id", "contacted.customer_id", "customer"),
        ]
        if has_day := source.find("day") is not None:
            casts.append(time_cast(source, "day", "contacted.day", _READING, "NULL"))
        day = f"CAST({casts[2].value} AS DATE)" if has_day else "CAST(NULL AS DATE)"

        def read(table: RawTable) -> list[tuple[str | None, str | None, dt.date | None]]:
            refuse_unreadable(table, _READING, find_unreadable(connection, table, casts), count_rows(connection, table))
            query = f"SELECT DISTINCT {casts[0].value}, {casts[1].value}, {day} FROM {table.sql}"  # noqa: S608 - names are quoted
            return _rows(connection, query)

        rows = read_strictly(source, database_folder(connection), read)
    contacts = [
        ((market, customer), on) for market, customer, on in rows if market is not None and customer is not None
    ]
    if len(contacts) < len(rows) or (has_day and any(on is None for _, on in contacts)):
        columns = "a market, a customer_id and a day" if has_day else "a market and a customer_id"
        raise DataInvalid(f"{path}: every row must have {columns}; correct or remove the other rows")
    return Contacts(frozenset(contacts), source.digest)


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[str | None, str | None, dt.date | None]]:
    """Return the rows of a query for contacts."""
    return [(market, customer, day) for market, customer, day in connection.execute(query).fetchall()]


def contacted_mask(observed: ObservedRun, contacts: Contacts) -> NDArray[np.bool_]:
    """Return which customers of a run were contacted within its horizon: shape (n,)."""
    run = observed.run
    contacted = {key for key, day in contacts.contacts if day is None or run.as_of <= day < run.end}
    return np.array([key in contacted for key in _keys(observed.rows)], dtype=np.bool_)


def unmatched_contacts(observed: list[ObservedRun], contacts: Contacts) -> int:
    """Return the number of contacts of customers who are in no run, or outside the horizon of each of their runs."""
    matched = set()
    for one in observed:
        customers = set(zip(one.run.rows["market"], one.run.rows["customer_id"], strict=True))
        within = (one.run.as_of, one.run.end)
        matched |= {
            (key, day)
            for key, day in contacts.contacts
            if key in customers and (day is None or within[0] <= day < within[1])
        }
    return len(contacts.contacts - matched)


def _keys(rows: pd.DataFrame) -> list[CustomerKey]:
    """Return the customer of each row."""
    return list(zip(rows["market"], rows["customer_id"], strict=True))
