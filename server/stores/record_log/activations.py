"""Reads the recorded changes of bundles and of the policy: activations, deactivations, retirements and proposals.

Each change is a record of the log. So it is atomic, all processes of a database see the same history, and nobody can
change what serves without a trace.
"""

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, select

from grounds_record.activations import CHANGE_KINDS, POLICY_ACTIVATED, ActivationHistory, RecordedChange
from grounds_record.header import parse_header
from server.stores.record_log.entries import as_bytes
from server.stores.tables import RECORDS

# There are few changes, so all of their indexes are read from an index of the table. If the query sorted them, the
# database could decide to search the whole table from its end.
_INDEXES = select(RECORDS.c.record_index).where(RECORDS.c.kind.in_(bindparam("kinds", expanding=True)))
_HEADERS = select(RECORDS.c.record_index, RECORDS.c.header).where(
    RECORDS.c.record_index.in_(bindparam("wanted", expanding=True))
)
_HEADERS_READ = 500  # number of headers that one statement reads


def read_history(connection: Connection, known: ActivationHistory | None = None) -> ActivationHistory:
    """Return the history of all changes.

    Args:
        connection: Connection to the log's database.
        known: A history that was read earlier. Newer changes are added to it, which is faster; None reads all changes.

    Raises:
        HeaderInvalid: The header of a change was changed.
    """
    history = known or ActivationHistory()
    last = history.changes[-1].index if history.changes else -1
    for change in _read_changes(connection, CHANGE_KINDS, last):
        history.add(change.index, change.header)
    return history


def read_activated_policy(connection: Connection) -> RecordedChange | None:
    """Return the last activation of a policy; None if no policy was ever activated."""
    indexes = connection.execute(_INDEXES, {"kinds": [POLICY_ACTIVATED]}).scalars().all()
    return _read_headers(connection, [max(indexes)])[0] if indexes else None


def _read_changes(connection: Connection, kinds: Collection[str], last: int) -> list[RecordedChange]:
    """Return the changes of some kinds after an index, in the order of the log."""
    indexes = connection.execute(_INDEXES, {"kinds": list(kinds)}).scalars().all()
    wanted = sorted(index for index in indexes if index > last)
    found = []
    for start in range(0, len(wanted), _HEADERS_READ):
        found += _read_headers(connection, wanted[start : start + _HEADERS_READ])
    return found


def _read_headers(connection: Connection, indexes: list[int]) -> list[RecordedChange]:
    """Return the changes with these indexes, in the order of the log."""
    rows = connection.execute(_HEADERS, {"wanted": indexes}).all()
    return sorted(
        (RecordedChange(row.record_index, parse_header(as_bytes(row.header))) for row in rows),
        key=lambda change: change.index,
    )
