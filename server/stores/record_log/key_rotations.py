"""Rotations of the signing key. Each is a record whose labels contain a statement that the old and the new key sign."""

from sqlalchemy import Connection, select

from grounds_record.errors import RecordError
from grounds_record.header import parse_header
from grounds_record.key_history import KeyHistory, rotation_from_labels, trace_keys
from grounds_record.note import VerifierKey
from server.errors import LogRefused
from server.stores.record_log.entries import as_bytes
from server.stores.tables import RECORDS

SIGNING_KEY_ROTATED = "SIGNING_KEY_ROTATED"
# Rotations are few. If the query sorted them, the database could decide to search the whole table.
_SELECT_ROTATIONS = select(RECORDS.c.record_index, RECORDS.c.header).where(RECORDS.c.kind == SIGNING_KEY_ROTATED)


def read_key_rotations(connection: Connection, origin: str) -> tuple[str, ...]:
    """Return the statements of all rotations, the oldest first. Their signatures are not verified.

    Raises:
        RecordError: A record of a rotation is malformed.
    """
    rows = sorted(connection.execute(_SELECT_ROTATIONS).all(), key=lambda row: int(row.record_index))
    return tuple(
        rotation_from_labels(origin, row.record_index, dict(parse_header(as_bytes(row.header)).labels)) for row in rows
    )


def read_key_history(connection: Connection, newest: VerifierKey) -> KeyHistory:
    """Return the history of the signing keys that leads to the newest key.

    Raises:
        LogRefused: A record of a rotation was changed.
    """
    try:
        return trace_keys(newest, read_key_rotations(connection, newest.name))
    except RecordError as error:
        raise LogRefused(
            f"the records of the key rotations are damaged: {error}; run: python -m server doctor"
        ) from error
