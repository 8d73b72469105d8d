"""Whether what somebody looked at before they wrote is still all that there is: asked once nobody else can write."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from grounds_record.errors import RecordError
from grounds_record.header import parse_header
from server.stores.record_log.entries import AppendResult, LogEntry, Precondition, PreconditionFailed, as_bytes
from server.stores.tables import RECORDS


def count_records(connection: Connection, tag: str, kinds: Sequence[str], label: tuple[str, str]) -> int:
    """Count a customer's records of some kinds with a label, also those that nobody can open any more."""
    wanted = select(RECORDS.c.header).where(RECORDS.c.customer_tag == tag, RECORDS.c.kind.in_(kinds))
    found = 0
    for header in connection.execute(wanted).scalars():
        try:
            name, value = label
            found += parse_header(as_bytes(header)).labels.get(name) == value
        except RecordError:
            continue  # `doctor` tells of it; it was counted neither then nor now
    return found


def check_preconditions(
    connection: Connection, entries: Sequence[LogEntry], fresh: Sequence[int], outcomes: list[AppendResult | None]
) -> list[int]:
    """Give the positions of the new entries that may be appended; the others are told that they were overtaken."""
    let_in: list[int] = []
    seen: set[Precondition] = set()
    for position in fresh:
        after = entries[position].precondition
        if after is not None:
            there = count_records(connection, after.tag, after.kinds, after.label)
            if there != after.count or after in seen:
                outcomes[position] = PreconditionFailed()
                continue
            seen.add(after)
        let_in.append(position)
    return let_in
