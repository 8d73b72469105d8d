"""The optimistic concurrency check of the log: an entry is appended only if its precondition still holds.

A caller counts related records, decides, and appends with that count as a precondition. The check runs under the head
lock, when no other process can append, so no lock is needed while the caller decides.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from grounds_record.errors import RecordError
from grounds_record.header import parse_header
from server.stores.record_log.entries import AppendResult, LogEntry, Precondition, PreconditionFailed, as_bytes
from server.stores.tables import RECORDS


def count_records(connection: Connection, tag: str, kinds: Sequence[str], label: tuple[str, str]) -> int:
    """Return how many of a customer's records have one of the kinds and the label.

    Erased records are counted too: their headers stay.
    """
    wanted = select(RECORDS.c.header).where(RECORDS.c.customer_tag == tag, RECORDS.c.kind.in_(kinds))
    name, value = label
    count = 0
    for header in connection.execute(wanted).scalars():
        try:
            count += parse_header(as_bytes(header)).labels.get(name) == value
        except RecordError:
            continue  # a damaged header is counted at neither time, so the counts agree; `doctor` reports it
    return count


def check_preconditions(
    connection: Connection, entries: Sequence[LogEntry], new: Sequence[int], results: list[AppendResult | None]
) -> list[int]:
    """Return the positions of the new entries that may be appended; set the results of the others to PreconditionFailed.

    Args:
        connection: Of a transaction that has locked the head.
        entries: The batch.
        new: Positions of entries that are not in the log yet.
        results: Of the batch, by position.
    """
    allowed: list[int] = []
    passed: set[Precondition] = set()
    for position in new:
        precondition = entries[position].precondition
        if precondition is not None:
            count = count_records(connection, precondition.tag, precondition.kinds, precondition.label)
            # Of two entries in one batch that were decided on the same state, only the first may be appended.
            if count != precondition.count or precondition in passed:
                results[position] = PreconditionFailed()
                continue
            passed.add(precondition)
        allowed.append(position)
    return allowed
