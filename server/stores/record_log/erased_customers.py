"""Reads who was erased and when, so that an older file does not load the data of an erased customer again."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from grounds_record.header import Header
from server.stores.database import Database
from server.stores.erasure_list import ListedErasure
from server.stores.record_log.opening import KeyLocations, open_log
from server.stores.record_log.record_reader import header_from_row
from server.stores.tables import RECORDS

ERASURE = "ERASURE"
KEY_LABEL = "key_"  # the labels key_0, key_1, ... of an ERASURE record contain the ids of the destroyed keys


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
        """Return whether the customer was erased at or after `as_of`, so data as of this time must not be loaded."""
        erased = self.times.get(self.customer_tag(market, customer_id))
        return erased is not None and as_of <= erased


def read_erased_customers(database: Database, locations: KeyLocations) -> ErasedCustomers:
    """Read the erased customers from the erasure records of the log and from the erasure list.

    The log's key derives the tags, so the log must be opened if a customer was erased. If no customer was erased, the
    log is not opened. Features can therefore be loaded before the log exists.

    Raises:
        LogRefused: The keys do not belong to the log.
    """
    with database.reading() as connection:
        erasures = read_recorded_erasures(connection)
    times: dict[str, dt.datetime] = {}
    for each in (*erasures, *locations.erasure_list().read()):
        times[each.customer_tag] = max(each.time, times.get(each.customer_tag, each.time))
    if not times:
        return ErasedCustomers({}, lambda _market, _customer_id: "")
    log = open_log(database, locations)
    log.close()
    return ErasedCustomers(times, log.customer_tag)


def read_recorded_erasures(connection: Connection, customer_tag: str = "") -> list[ListedErasure]:
    """Return the erasures in the record log, in the order of the log; with a tag, only those of this customer."""
    wanted = select(RECORDS).where(RECORDS.c.kind == ERASURE).order_by(RECORDS.c.record_index)
    if customer_tag:
        wanted = wanted.where(RECORDS.c.customer_tag == customer_tag)
    headers = [header_from_row(row) for row in connection.execute(wanted).all()]
    return [
        ListedErasure(header.record_id, header.time_us, header.customer_tag, tuple(destroyed_keys(header)))
        for header in headers
    ]


def destroyed_keys(header: Header) -> list[str]:
    """Return the ids of the keys that an erasure destroyed, from the header of its record."""
    return [key for name, key in header.labels.items() if name.startswith(KEY_LABEL)]
