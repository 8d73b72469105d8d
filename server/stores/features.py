"""Customers' features as of a time."""

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from models.schema import FeatureInput, Schema
from server.errors import LoadRefused
from server.stores.database import Database
from server.stores.float_arrays import unpack_doubles
from server.stores.tables import FEATURES

CHUNK_ROWS = 500
Key = tuple[str, str, str, dt.datetime]  # market, customer_id, feature_set_digest, as_of
# Made once: to put a statement together takes longer than to run it.
OF_CUSTOMERS = select(FEATURES.c.customer_id, FEATURES.c.row).where(
    FEATURES.c.market == bindparam("of_market"),
    FEATURES.c.feature_set_digest == bindparam("of_digest"),
    FEATURES.c.as_of == bindparam("at"),
    FEATURES.c.customer_id.in_(bindparam("customers", expanding=True)),
)
OF_CUSTOMER = (
    select(FEATURES.c.row, FEATURES.c.as_of)
    .where(
        FEATURES.c.market == bindparam("of_market"),
        FEATURES.c.customer_id == bindparam("customer"),
        FEATURES.c.feature_set_digest == bindparam("of_digest"),
    )
    .limit(1)
)
NEWEST = OF_CUSTOMER.order_by(FEATURES.c.as_of.desc())
OF_TIME = OF_CUSTOMER.where(FEATURES.c.as_of == bindparam("at"))


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """What the store knows of a customer.

    Attributes:
        values: By feature name; a feature that is not there is missing.
        as_of: When the values were true.
    """

    values: dict[str, FeatureInput]
    as_of: dt.datetime


class FeatureStore:
    """Reads the newest features of a customer for one feature set."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def find_newest(self, market: str, customer_id: str, schema: Schema) -> StoredFeatures | None:
        """Give the customer's newest features of the schema's feature set, or None where there are none."""
        return self.first(NEWEST, schema, of_market=market, customer=customer_id)

    def find_at(self, market: str, customer_id: str, schema: Schema, as_of: dt.datetime) -> StoredFeatures | None:
        """Give the customer's features as of exactly this time, or None where there are none any more."""
        return self.first(OF_TIME, schema, of_market=market, customer=customer_id, at=as_of)

    def first(self, wanted: Select[Any], schema: Schema, **of: str | dt.datetime) -> StoredFeatures | None:
        """Read one row."""
        with self.database.reading() as connection:
            found = connection.execute(wanted, {"of_digest": schema.feature_set_digest, **of}).first()
        if found is None:
            return None
        numbers = zip(schema.names, unpack_doubles(found.row), strict=True)
        known = {name: schema.decode_value(name, number) for name, number in numbers if not math.isnan(number)}
        return StoredFeatures(known, utc(found.as_of))


def utc(time: dt.datetime) -> dt.datetime:
    """Give a stored time its zone: SQLite keeps UTC without saying so."""
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)


def append_features(connection: Connection, rows: Iterable[dict[str, object]]) -> tuple[int, int]:
    """Append rows of the table; gives how many were new and how many were there already.

    Raises:
        LoadRefused: A row is there with other values: features are never changed, only dated anew.
    """
    added = known = 0
    for new, old in unstored_rows(connection, rows):
        if new:
            connection.execute(FEATURES.insert(), new)
        added, known = added + len(new), known + old
    return added, known


def unstored_rows(
    connection: Connection, rows: Iterable[dict[str, object]]
) -> Iterator[tuple[list[dict[str, object]], int]]:
    """Give the rows that are not there yet, some at a time, and how many others are.

    Raises:
        LoadRefused: As `append`.
    """
    batch = list(rows)
    for first in range(0, len(batch), CHUNK_ROWS):
        chunk = {key_of(row): row for row in batch[first : first + CHUNK_ROWS]}
        known = 0
        for key, content in rows_there(connection, chunk):
            if chunk.pop(key)["row"] != content:
                date = f"{key[-1]:%Y-%m-%d}"
                raise LoadRefused(f"features of {date} are in the store with other values; date the new ones anew")
            known += 1
        yield list(chunk.values()), known


def key_of(row: Mapping[str, object]) -> Key:
    """Give what tells a row from every other: whose values as of when, and which features they are."""
    as_of = row["as_of"]
    assert isinstance(as_of, dt.datetime)
    return str(row["market"]), str(row["customer_id"]), str(row["feature_set_digest"]), utc(as_of)


def rows_there(connection: Connection, keys: Iterable[Key]) -> Iterator[tuple[Key, bytes]]:
    """Give the rows that are there of these keys.

    One question for each time: for tuples of values SQLite would read the whole table.
    """
    names: dict[tuple[str, str, dt.datetime], list[str]] = {}
    for market, customer_id, digest, as_of in keys:
        names.setdefault((market, digest, as_of), []).append(customer_id)
    for (market, digest, as_of), customers in names.items():
        asked = {"of_market": market, "of_digest": digest, "at": as_of, "customers": customers}
        for row in connection.execute(OF_CUSTOMERS, asked):
            yield (market, row.customer_id, digest, as_of), bytes(row.row)
