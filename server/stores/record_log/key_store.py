"""The key store: one key for each customer, wrapped by the master key, in a database that no backup of the log contains.

Destroying a customer's key makes everything that it sealed unreadable, in every copy of the log (crypto-shredding). Two
rules follow. A key is durable here before a record that it seals is committed. And no key is cached: a key that another
process destroyed is gone for this process too.
"""

import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import ColumnElement, delete, exists, make_url, select, update
from sqlalchemy.exc import ArgumentError, IntegrityError

from grounds_record.customer_keys import key_id, new_customer_key, unwrap_key, wrap_key
from grounds_record.errors import WrappedKeyInvalid
from server.errors import LogRefused, RecordDamaged, StoreUnavailable
from server.stores.database import CONNECTIONS, Database
from server.stores.key_tables import WRAPPED_KEYS
from server.stores.keyed_query import KeyedQuery

TAGS_OWNER = "log/tags"  # owns the key from which customer tags are derived
LOG_OWNER = "log/records"  # owns the key that seals records about no customer
_EVENTS = structlog.get_logger()
_MIGRATIONS = Path(__file__).parent.parent / "key_migrations"
_RETIRED = "retired/"  # followed by the key id: the owner of a key that seals nothing more and is about to be destroyed
_BY_OWNER = KeyedQuery(select(WRAPPED_KEYS), WRAPPED_KEYS.c.owner)
_BY_ID = KeyedQuery(select(WRAPPED_KEYS), WRAPPED_KEYS.c.key_id)
_INSERT = WRAPPED_KEYS.insert()
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key as stored: its id, and its bytes encrypted by the master key."""

    key_id: str
    wrapped: bytes = field(repr=False)


class KeyStore:
    """Finds, creates, unwraps and destroys keys. Its methods may be called from any thread.

    An owner is a customer's tag, TAGS_OWNER or LOG_OWNER.
    """

    def __init__(self, database: Database, master: bytes) -> None:
        self.database = database
        self._master = master

    def ensure(self, owners: Collection[str]) -> dict[str, WrappedKey]:
        """Return the key of each owner; create those of customers who have none, durable when this returns.

        Raises:
            StoreUnavailable: The database does not answer, or one of the log's own keys is missing.
        """
        found = self.find_by_owner(owners)
        missing = set(owners) - set(found)
        # The log's own keys were created with the log. A new one would hide that older records became unreadable.
        if missing & {TAGS_OWNER, LOG_OWNER}:
            _EVENTS.error("keys damaged", problem="the log's own key is gone from the database of keys: restore it")
            raise StoreUnavailable("the log's keys are not as they were left; nothing was decided")
        return found | self.create(missing)

    def create(self, owners: Collection[str]) -> dict[str, WrappedKey]:
        """Create keys, durable when this returns; return those of another process if it created them first.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        if not owners:
            return {}
        # Sorted, so that two processes lock the same owners in the same order.
        rows = [self._new_row(owner) for owner in sorted(owners)]
        try:
            with self.database.writing() as connection:
                connection.execute(_INSERT, rows)
        except IntegrityError:  # another process created some of them first; the owner column is unique
            found = self.find_by_owner(owners)
            return found | self.create(set(owners) - set(found))
        return {row["owner"]: WrappedKey(row["key_id"], row["wrapped"]) for row in rows}

    def _new_row(self, owner: str) -> dict[str, Any]:
        """Return the row of a new random key."""
        key = new_customer_key()
        return {"key_id": key_id(key), "owner": owner, "wrapped": wrap_key(key, self._master)}

    def find_by_owner(self, owners: Collection[str]) -> dict[str, WrappedKey]:
        """Return the keys that exist, by owner."""
        with self.database.reading(once=True) as connection:
            return _keys_by(_BY_OWNER.execute(connection, owners), "owner")

    def find_by_id(self, ids: Collection[str]) -> dict[str, WrappedKey]:
        """Return the keys that exist, by key id."""
        with self.database.reading(once=True) as connection:
            return _keys_by(_BY_ID.execute(connection, ids), "key_id")

    def read_ids(self) -> set[str]:
        """Return the ids of all keys."""
        with self.database.reading() as connection:
            return set(connection.execute(select(WRAPPED_KEYS.c.key_id)).scalars())

    def has_customer_keys(self) -> bool:
        """Return whether any customer has a key."""
        with self.database.reading() as connection:
            wanted = exists().where(WRAPPED_KEYS.c.owner.not_in((TAGS_OWNER, LOG_OWNER)))
            return bool(connection.execute(select(wanted)).scalar())

    def unwrap(self, key: WrappedKey) -> bytes:
        """Return the bytes of a key, 32 of them.

        Raises:
            RecordDamaged: It is not what was stored.
        """
        try:
            return unwrap_key(key.wrapped, key.key_id, self._master)
        except WrappedKeyInvalid as error:
            raise RecordDamaged(
                "the key of this record is not what was stored; run: python -m server doctor"
            ) from error

    def retire(self, ids: Collection[str]) -> None:
        """Stop customers' keys from sealing more records; what they sealed stays readable. The log's own keys are spared."""
        with self.database.writing() as connection:
            # The owner is free afterwards: the customer's next record gets a new key.
            retired = _RETIRED + WRAPPED_KEYS.c.key_id
            connection.execute(update(WRAPPED_KEYS).where(*_customer_keys(ids)).values(owner=retired))

    def destroy(self, ids: Collection[str]) -> None:
        """Destroy customers' keys; what they sealed can never be read again. The log's own keys are spared."""
        with self.database.writing() as connection:
            connection.execute(delete(WRAPPED_KEYS).where(*_customer_keys(ids)))

    def probe(self) -> None:
        """Check that a key could be written: update a row without changing it.

        Raises:
            StoreUnavailable: No key could be written.
        """
        with self.database.writing() as connection:
            unchanged = update(WRAPPED_KEYS).where(WRAPPED_KEYS.c.owner == TAGS_OWNER).values(owner=TAGS_OWNER)
            connection.execute(unchanged)


def _customer_keys(ids: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for customers' keys with these ids; they never match the log's own keys."""
    return WRAPPED_KEYS.c.key_id.in_(ids), WRAPPED_KEYS.c.owner.not_in((TAGS_OWNER, LOG_OWNER))


def _keys_by(rows: Iterable[Any], column: str) -> dict[str, WrappedKey]:
    """Return the keys of rows, by one of their columns."""
    return {getattr(row, column): WrappedKey(row.key_id, bytes(row.wrapped)) for row in rows}


def open_key_database(url: str, log_url: str, connections: int = CONNECTIONS) -> Database:
    """Open the key database and bring its tables up to date; create a SQLite file with mode 0600.

    Args:
        url: SQLAlchemy URL of the key database.
        log_url: That of the log's database.
        connections: How many threads use it at once.

    Raises:
        LogRefused: It is the log's own database, in memory, or a file that others may read.
        StoreUnavailable: It does not answer.
    """
    try:
        parts = make_url(url)
    except ArgumentError as error:
        raise LogRefused("keys: is no SQLAlchemy URL, such as sqlite:///grounds-keys.db") from error
    if parts == make_url(log_url):
        raise LogRefused(
            "keys: names the database of the log; keys must be apart from it, in no backup of it: name another"
        )
    if parts.get_backend_name() == "sqlite":
        _ensure_private_file(parts.database)
    database = Database(url, _MIGRATIONS, connections)
    database.migrate()
    return database


def _ensure_private_file(name: str | None) -> None:
    """Create a file with mode 0600; reject an existing one that others may read."""
    if not name or name == ":memory:":
        raise LogRefused("keys: must be a file; keys in memory are lost at the end, and every record with them")
    path = Path(name)
    try:
        # O_EXCL: whether the file is new is decided by the operating system, not by a look before.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            raise LogRefused(f"{path} has mode {mode:04o}: others may read the keys; chmod 600 it") from None
    except OSError as error:
        raise LogRefused(f"{path} cannot be made: {error.strerror}") from error
