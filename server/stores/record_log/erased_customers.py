"""Reads who was erased and when. A file that is older than an erasure must not load the data of the erased customer again."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from server.stores.database import Database
from server.stores.record_log.entries import time_from_us
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.tables import RECORDS

ERASURE = "ERASURE"


@dataclass(frozen=True, slots=True)
class ErasedCustomers:
    """The customers who were erased.

    Attributes:
        times: Time of the last erasure of each erased customer, by customer tag.
        customer_tag: Function that returns the tag of a customer from market and customer_id.
    """

    times: dict[str, dt.datetime]
    customer_tag: Callable[[str, str], str]

    def covers(self, market: str, customer_id: str, as_of: dt.datetime) -> bool:
        """Return whether the customer was erased at or after `as_of`. If so, data as of this time must not be loaded."""
        erased = self.times.get(self.customer_tag(market, customer_id))
        return erased is not None and as_of <= erased


def read_erased_customers(database: Database, locations: KeyLocations) -> ErasedCustomers:
    """Read the erased customers from the erasure records of the log.

    The log's key derives the tags, so the log must be opened if a customer was erased. If no customer was erased, the log is not
    opened. Features can therefore be loaded before the log exists.

    Raises:
        LogRefused: The keys do not belong to the log.
    """
    with database.reading() as connection:
        times = _read_erasure_times(connection)
    if not times:
        return ErasedCustomers({}, lambda _market, _customer_id: "")
    log = open_log(database, locations)
    log.close()
    return ErasedCustomers(times, log.customer_tag)


def _read_erasure_times(connection: Connection) -> dict[str, dt.datetime]:
    """Return the time of each customer's last erasure, by customer tag."""
    last = select(RECORDS.c.customer_tag, func.max(RECORDS.c.time_us)).where(RECORDS.c.kind == ERASURE)
    return {row[0]: time_from_us(row[1]) for row in connection.execute(last.group_by(RECORDS.c.customer_tag))}
