"""Activations of policies. Each activation is a record of the log, and the newest one states which policy is in force.

So an activation is atomic, all processes of a database use the same policy, and nobody can change the policy without a
trace.
"""

from sqlalchemy import Connection, select

from grounds_record.header import parse_header
from server.stores.record_log.entries import as_bytes
from server.stores.tables import RECORDS

POLICY_ACTIVATED = "POLICY_ACTIVATED"
POLICY_LABEL = "policy"  # label of the record; its value is the SHA-256 of the policy file
# There are few activations, so all of their indexes are read from an index of the table. If the query sorted them, the
# database could decide to search the whole table from its end.
_INDEXES = select(RECORDS.c.record_index).where(RECORDS.c.kind == POLICY_ACTIVATED)


def read_activated_policy(connection: Connection) -> str | None:
    """Return the SHA-256 of the policy that was activated last; None if no policy was ever activated."""
    indexes = connection.execute(_INDEXES).scalars().all()
    if not indexes:
        return None
    wanted = select(RECORDS.c.header).where(RECORDS.c.record_index == max(indexes))
    header = connection.execute(wanted).scalar_one()
    return parse_header(as_bytes(header)).labels[POLICY_LABEL]
