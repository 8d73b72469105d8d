"""Exports the recorded contacts of a window, to measure the effect of campaigns with training's commands."""

import csv
import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grounds.churn.v1 import churn_pb2 as pb
from grounds_record.private_files import replace_file
from server.edges.audit.readings import WindowReading, record_window_reading
from server.edges.churn.contacts import CHURN_CONTACT, CLOCK_TOLERANCE
from server.edges.explanations import time_from_timestamp
from server.edges.recording.events import event_answer
from server.stores.record_log.decision_index import DecisionIndex, DecisionQuery
from server.stores.record_log.log import RecordLog

METHOD = "contacts"  # in the record of the reading
COLUMNS = ("market", "customer_id", "day", "run_id", "contact_time", "channel", "campaign", "withheld", "contact_id")
_CHANNEL_PREFIX = "CONTACT_CHANNEL_"


@dataclass(slots=True)
class ExportedContacts:
    """The contacts of a window that took place, and what was left out.

    Attributes:
        contacts: The contacts that took place in the window, in the order in which they were recorded.
        corrected: Number of contacts of the window that another one corrects.
        cancelled: Number of corrections of the window that state that a contact did not take place.
        unread: Number of records that cannot be read, by reason. Whether they belong to the window is unknown.
    """

    contacts: list[pb.Contact] = field(default_factory=list)
    corrected: int = 0
    cancelled: int = 0
    unread: Counter[str] = field(default_factory=Counter)


def read_contacts(
    log: RecordLog, window: DecisionQuery, *, purpose: str, operator: str, at: dt.datetime
) -> ExportedContacts:
    """Record the reading of a window, then return the contacts that took place in it.

    Args:
        log: The record log.
        window: The market, and the start and end of the times of the contacts.
        purpose: Why the contacts are read, which is recorded permanently.
        operator: Account of the operator.
        at: The time of the record of the reading.

    Raises:
        StoreUnavailable: The database does not answer, or the reading was not recorded.
    """
    assert window.start is not None, "a window has a start"
    assert window.end is not None, "a window has an end"
    # A contact may be reported long after it took place, and corrected later still.
    recorded_from, recorded_to = window.start - CLOCK_TOLERANCE, max(at, window.end) + CLOCK_TOLERANCE
    index = DecisionIndex(log.database)
    indexes = index.read_event_indexes((CHURN_CONTACT,), recorded_from, recorded_to, window.market)
    reading = WindowReading(
        method=METHOD, window=window, decision_count=len(indexes), purpose=purpose, operator=operator
    )
    record_window_reading(log, reading, at)
    return _contacts_in_force(log, indexes, window.start, window.end)


def write_contacts(path: Path, contacts: Iterable[pb.Contact]) -> None:
    """Write contacts as a CSV file that only this account can read. Times and days are in UTC.

    An unknown value of `withheld` is empty.
    """
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for each in contacts:
            rows.writerow(
                [
                    each.customer.market,
                    each.customer.customer_id,
                    time_from_timestamp(each.contact_time).date().isoformat(),
                    each.run_id,
                    time_from_timestamp(each.contact_time).isoformat(),
                    _channel_name(each.channel),
                    each.campaign,
                    str(each.withheld).lower() if each.HasField("withheld") else "",
                    each.contact_id,
                ]
            )


def _channel_name(channel: pb.ContactChannel) -> str:
    """Return a channel as the CSV file names it, such as PHONE."""
    return pb.ContactChannel.Name(channel).removeprefix(_CHANNEL_PREFIX)


def _contacts_in_force(
    log: RecordLog, indexes: Sequence[int], start: dt.datetime, end: dt.datetime
) -> ExportedContacts:
    """Return the contacts of a window from the records with these indexes."""
    found, known = ExportedContacts(), list[pb.Contact]()
    for _, record in log.reader.open_each(indexes):
        if isinstance(record, str):
            found.unread[record] += 1
        else:
            known.append(pb.Contact.FromString(event_answer(record)))
    corrected = {each.corrects_contact_id for each in known} - {""}
    for each in known:
        if not start <= time_from_timestamp(each.contact_time) < end:
            continue
        if each.contact_id in corrected:
            found.corrected += 1
        elif each.channel == pb.CONTACT_CHANNEL_NONE:
            found.cancelled += 1
        else:
            found.contacts.append(each)
    return found
