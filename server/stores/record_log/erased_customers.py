"""The customers who were erased, and when, from the log's erasure records: an old file must not load them again."""

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
        times: The time of the last erasure, by customer tag.
        customer_tag: Returns the tag of (market, customer_id).
    """

    times: dict[str, dt.datetime]
    customer_tag: Callable[[str, str], str]

    def covers(self, market: str, customer_id: str, as_of: dt.datetime) -> bool:
        """Return whether data of a customer as of a time has been erased."""
        erased = self.times.get(self.customer_tag(market, customer_id))
        return erased is not None and as_of <= erased


def read_erased_customers(database: Database, locations: KeyLocations) -> ErasedCustomers:
    """Read which customers were erased.

    The log, whose keys derive the tags, is opened only if somebody was erased: features can be loaded before the log exists.

    Raises:
        LogRefused: The keys are not those of the log.
    """
    with database.reading() as connection:
        times = _read_erasure_times(connection)
    if not times:
        return ErasedCustomers({}, lambda _market, _customer_id: "")
    log = open_log(database, locations)
    log.close()
    return ErasedCustomers(times, log.customer_tag)


def _read_erasure_times(connection: Connection) -> dict[str, dt.datetime]:
    """Return the time of each customer's last erasure, by tag."""
    last = select(RECORDS.c.customer_tag, func.max(RECORDS.c.time_us)).where(RECORDS.c.kind == ERASURE)
    return {row[0]: time_from_us(row[1]) for row in connection.execute(last.group_by(RECORDS.c.customer_tag))}
