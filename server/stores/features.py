"""The feature store: an append-only table of customers' features. Each row has an as-of time."""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from models.schema import FeatureInput, Schema
from server.errors import LoadRefused
from server.stores.database import Database
from server.stores.driver_sql import marks, pad_values, run_sql
from server.stores.float_arrays import unpack_doubles
from server.stores.tables import FEATURES

_CHUNK_ROWS = 500
_RowKey = tuple[str, str, str, dt.datetime]  # market, customer_id, feature_set_digest, as_of
# The statements are built once, because building a statement takes longer than running it.
_SELECT_CUSTOMERS = select(FEATURES.c.customer_id, FEATURES.c.row).where(
    FEATURES.c.market == bindparam("of_market"),
    FEATURES.c.feature_set_digest == bindparam("of_digest"),
    FEATURES.c.as_of == bindparam("at"),
    FEATURES.c.customer_id.in_(bindparam("customers", expanding=True)),
)
_SELECT_AT = (
    select(FEATURES.c.row, FEATURES.c.as_of)
    .where(
        FEATURES.c.market == bindparam("of_market"),
        FEATURES.c.customer_id == bindparam("customer"),
        FEATURES.c.feature_set_digest == bindparam("of_digest"),
        FEATURES.c.as_of == bindparam("at"),
    )
    .limit(1)
)
_SELECT_UNTIL = (
    select(FEATURES.c.row, FEATURES.c.as_of)
    .where(
        FEATURES.c.market == bindparam("of_market"),
        FEATURES.c.customer_id == bindparam("customer"),
        FEATURES.c.feature_set_digest == bindparam("of_digest"),
        FEATURES.c.as_of <= bindparam("at"),
    )
    .order_by(FEATURES.c.as_of.desc())
    .limit(1)
)
# Every decision runs this statement, so it runs through the driver's cursor. It reads one entry of the primary key per
# customer, however many older rows the customer has.
_SELECT_NEWEST = f"""
SELECT newest.customer_id, newest.row, newest.as_of FROM {FEATURES.name} AS newest
WHERE newest.market = ? AND newest.feature_set_digest = ? AND newest.as_of = (
    SELECT max(other.as_of) FROM {FEATURES.name} AS other
    WHERE other.market = newest.market AND other.customer_id = newest.customer_id
    AND other.feature_set_digest = newest.feature_set_digest
) AND newest.customer_id IN"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """A customer's features as of a time.

    Attributes:
        values: Values by feature name, without missing features.
        as_of: The time to which the values refer.
    """

    values: dict[str, FeatureInput]
    as_of: dt.datetime


class FeatureStore:
    """Reads customers' features. Its methods may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_newest(self, market: str, customer_id: str, schema: Schema) -> StoredFeatures | None:
        """Return the customer's newest features of the schema's feature set; None if no features are stored."""
        return self.find_newest_of_several(market, (customer_id,), schema).get(customer_id)

    def find_newest_of_several(
        self, market: str, customer_ids: Collection[str], schema: Schema
    ) -> dict[str, StoredFeatures]:
        """Return the newest features of several customers of a market, by customer_id; customers without features are absent."""
        if not customer_ids:
            return {}
        wanted = pad_values(list(customer_ids))
        values = (market, schema.feature_set_digest, *wanted)
        with self._database.reading(single_statement=True) as connection:
            rows = run_sql(connection, f"{_SELECT_NEWEST} {marks(len(wanted))}", values).fetchall()
        return {customer_id: _stored_features(schema, content, as_of) for customer_id, content, as_of in rows}

    def find_newest_each(self, wanted: Sequence[tuple[str, str, Schema]]) -> list[StoredFeatures | None]:
        """Return customers' newest features, with one query for each market and schema.

        Args:
            wanted: For each customer, the market, the customer_id and the schema of the model that needs the features.

        Returns:
            The features of each customer; None if no features are stored.
        """
        groups: dict[tuple[str, Schema], set[str]] = {}
        for market, customer_id, schema in wanted:
            groups.setdefault((market, schema), set()).add(customer_id)
        found = {
            (market, schema): self.find_newest_of_several(market, customer_ids, schema)
            for (market, schema), customer_ids in groups.items()
        }
        return [found[market, schema].get(customer_id) for market, customer_id, schema in wanted]

    def find_at(self, market: str, customer_id: str, schema: Schema, as_of: dt.datetime) -> StoredFeatures | None:
        """Return the customer's features as of exactly this time; None if no such features are stored."""
        return self._find_one(_SELECT_AT, market, customer_id, schema, as_of)

    def find_until(self, market: str, customer_id: str, schema: Schema, at: dt.datetime) -> StoredFeatures | None:
        """Return the customer's newest features that use no data after a time; None if no such features are stored."""
        return self._find_one(_SELECT_UNTIL, market, customer_id, schema, at)

    def _find_one(
        self, statement: Select[Any], market: str, customer_id: str, schema: Schema, at: dt.datetime
    ) -> StoredFeatures | None:
        """Return the features that one of the statements for a single customer finds."""
        parameters = {"of_market": market, "customer": customer_id, "of_digest": schema.feature_set_digest, "at": at}
        with self._database.reading(single_statement=True) as connection:
            found = connection.execute(statement, parameters).first()
        return None if found is None else _stored_features(schema, found.row, found.as_of)


def _stored_features(schema: Schema, content: bytes, as_of: dt.datetime | str) -> StoredFeatures:
    """Return the features in the columns `row` and `as_of`. The driver of SQLite returns a time as an ISO 8601 text."""
    if isinstance(as_of, str):
        as_of = dt.datetime.fromisoformat(as_of)
    return StoredFeatures(schema.decode_row(unpack_doubles(content)), utc(as_of))


def utc(time: dt.datetime) -> dt.datetime:
    """Return a stored time in UTC with a time zone. SQLite stores times without a time zone."""
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)


def append_features(connection: Connection, rows: Iterable[dict[str, object]]) -> tuple[int, int]:
    """Append rows of FEATURES; return the number of new rows and the number of rows that were already stored.

    Raises:
        LoadRefused: A row is already stored with different values. Stored features never change, so new values need a
            later as-of time.
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
    """Yield, for each chunk of rows, the rows that are not stored yet and the number of rows that are stored.

    Raises:
        LoadRefused: A row is already stored with different values.
    """
    batch = list(rows)
    for first in range(0, len(batch), _CHUNK_ROWS):
        # The store is append-only, so a row that is already stored must have the same values. Loading a file twice is
        # therefore harmless.
        chunk = {_row_key(row): row for row in batch[first : first + _CHUNK_ROWS]}
        known = 0
        for key, content in _stored_rows(connection, chunk):
            if chunk.pop(key)["row"] != content:
                date = f"{key[-1]:%Y-%m-%d}"
                raise LoadRefused(
                    f"features as of {date} are already stored with different values; set a later as_of for the new values"
                )
            known += 1
        yield list(chunk.values()), known


def _row_key(row: Mapping[str, object]) -> _RowKey:
    """Return the primary key of a row."""
    as_of = row["as_of"]
    assert isinstance(as_of, dt.datetime)
    return str(row["market"]), str(row["customer_id"]), str(row["feature_set_digest"]), utc(as_of)


def _stored_rows(connection: Connection, keys: Iterable[_RowKey]) -> Iterator[tuple[_RowKey, bytes]]:
    """Yield the key and the encoded values of each stored row.

    There is one query for each market, feature set and time. For a condition on tuples, SQLite would scan the whole
    table.
    """
    names: dict[tuple[str, str, dt.datetime], list[str]] = {}
    for market, customer_id, digest, as_of in keys:
        names.setdefault((market, digest, as_of), []).append(customer_id)
    for (market, digest, as_of), customers in names.items():
        parameters = {"of_market": market, "of_digest": digest, "at": as_of, "customers": customers}
        for row in connection.execute(_SELECT_CUSTOMERS, parameters):
            yield (market, row.customer_id, digest, as_of), bytes(row.row)
