"""Who was erased, and when, as the log alone knows it: a file from before must not bring a customer back."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from server.stores.database import Database
from server.stores.record_log.entries import EPOCH, MICROSECOND
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.tables import RECORDS

ERASURE = "ERASURE"


@dataclass(frozen=True, slots=True)
class ErasedCustomers:
    """The customers who were erased.

    Attributes:
        times: When last, by the customer's tag.
        tag_of: Gives the tag of (market, customer_id).
    """

    times: dict[str, dt.datetime]
    customer_tag: Callable[[str, str], str]

    def covers(self, market: str, customer_id: str, as_of: dt.datetime) -> bool:
        """Tell whether what was true of a customer at a time was erased since."""
        erased = self.times.get(self.customer_tag(market, customer_id))
        return erased is not None and as_of <= erased


def read_erased_customers(database: Database, keys: KeyLocations) -> ErasedCustomers:
    """Read who was erased; the log is opened only if somebody was, for features can be loaded before it is begun.

    Raises:
        LogRefused: The keys are not those of the log.
    """
    with database.reading() as connection:
        times = erase_times(connection)
    if not times:
        return ErasedCustomers({}, lambda _market, _customer_id: "")
    log = open_log(database, keys)
    log.close()
    return ErasedCustomers(times, log.customer_tag)


def erase_times(connection: Connection) -> dict[str, dt.datetime]:
    """Give when each customer was last erased, by tag."""
    last = select(RECORDS.c.customer_tag, func.max(RECORDS.c.time_us)).where(RECORDS.c.kind == ERASURE)
    return {row[0]: EPOCH + row[1] * MICROSECOND for row in connection.execute(last.group_by(RECORDS.c.customer_tag))}
