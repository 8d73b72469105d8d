"""Who was erased, and when, as the log alone knows it: a file from before must not bring a customer back."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from server.stores.database import Database
from server.stores.record_log.entries import EPOCH, US
from server.stores.record_log.opening import KeyPlaces, open_log
from server.stores.tables import RECORDS

ERASURE = "ERASURE"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The customers who were erased.

    Attributes:
        times: When last, by the customer's tag.
        tag_of: Gives the tag of (market, customer_id).
    """

    times: dict[str, dt.datetime]
    tag_of: Callable[[str, str], str]

    def covers(self, market: str, customer_id: str, as_of: dt.datetime) -> bool:
        """Tell whether what was true of a customer at a time was erased since."""
        erased = self.times.get(self.tag_of(market, customer_id))
        return erased is not None and as_of <= erased


def forgotten(database: Database, keys: KeyPlaces) -> Forgotten:
    """Read who was erased; the log is opened only if somebody was, for features can be loaded before it is begun.

    Raises:
        LogRefused: The keys are not those of the log.
    """
    with database.reading() as connection:
        times = erase_times(connection)
    if not times:
        return Forgotten({}, lambda _market, _customer_id: "")
    log = open_log(database, keys)
    log.close()
    return Forgotten(times, log.tag_of)


def erase_times(connection: Connection) -> dict[str, dt.datetime]:
    """Give when each customer was last erased, by tag."""
    last = select(RECORDS.c.customer_tag, func.max(RECORDS.c.time_us)).where(RECORDS.c.kind == ERASURE)
    return {row[0]: EPOCH + row[1] * US for row in connection.execute(last.group_by(RECORDS.c.customer_tag))}
