"""The optimistic concurrency check of the log: an entry is appended only if its precondition is still true.

A caller counts related records, decides, and appends an entry with this count as the precondition. When the entry is appended,
the records are counted again. The head of the log is locked during the check, so no other process can append a record between
the check and the append. No lock is needed while the caller decides.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from grounds_record.errors import RecordError
from grounds_record.header import parse_header
from server.stores.record_log.entries import AppendResult, LogEntry, Precondition, PreconditionFailed, as_bytes
from server.stores.tables import RECORDS


def count_records(connection: Connection, tag: str, kinds: Sequence[str], label: tuple[str, str]) -> int:
    """Return the number of a customer's records that have one of the kinds and the label.

    Erased records are counted too, because their headers remain.
    """
    wanted = select(RECORDS.c.header).where(RECORDS.c.customer_tag == tag, RECORDS.c.kind.in_(kinds))
    name, value = label
    count = 0
    for header in connection.execute(wanted).scalars():
        try:
            count += parse_header(as_bytes(header)).labels.get(name) == value
        except RecordError:
            continue  # a damaged header is ignored in both counts, so the counts stay comparable; `doctor` reports the damage
    return count


def check_preconditions(
    connection: Connection, entries: Sequence[LogEntry], new: Sequence[int], results: list[AppendResult | None]
) -> list[int]:
    """Return the positions of the new entries that may be appended; set the results of the others to PreconditionFailed.

    Args:
        connection: Connection of a transaction that has locked the head.
        entries: All entries of the batch.
        new: Positions of the entries that are not in the log yet.
        results: Results of the batch by position, in which failures are set.
    """
    allowed: list[int] = []
    passed: set[Precondition] = set()
    for position in new:
        precondition = entries[position].precondition
        if precondition is not None:
            count = count_records(connection, precondition.tag, precondition.kinds, precondition.label)
            # If two entries of the batch have the same precondition, appending the first one makes the precondition false.
            if count != precondition.count or precondition in passed:
                results[position] = PreconditionFailed()
                continue
            passed.add(precondition)
        allowed.append(position)
    return allowed
