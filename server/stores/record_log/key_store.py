"""One key for each customer, wrapped by the master key, in a database that is never in the log's backup.

A key is durable here before a record that is sealed under it is committed. Nothing is kept in memory: a key that another
process destroyed is gone for this one too.
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

EVENTS = structlog.get_logger()
MIGRATIONS = Path(__file__).parent.parent / "key_migrations"
TAGS_OWNER = "log/tags"  # the key of customer tags
LOG_OWNER = "log/records"  # seals records that are about no customer
RETIRED = "retired/"  # before the key id: the owner of a key that seals nothing more, about to be destroyed
BY_OWNER = KeyedQuery(select(WRAPPED_KEYS), WRAPPED_KEYS.c.owner)
BY_ID = KeyedQuery(select(WRAPPED_KEYS), WRAPPED_KEYS.c.key_id)
INSERT = WRAPPED_KEYS.insert()
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key as stored."""

    key_id: str
    wrapped: bytes = field(repr=False)


class KeyStore:
    """Reads, makes and unwraps keys. Its methods may be called from any thread."""

    def __init__(self, database: Database, master: bytes) -> None:
        self.database = database
        self.master = master

    def ensure(self, owners: Collection[str]) -> dict[str, WrappedKey]:
        """Give each owner's key; customers who have none get one, durable when this returns.

        Raises:
            StoreUnavailable: The database does not answer, or the log's own key is gone from it.
        """
        found = self.find_by_owner(owners)
        missing = set(owners) - set(found)
        if missing & {TAGS_OWNER, LOG_OWNER}:
            EVENTS.error("keys damaged", problem="the log's own key is gone from the database of keys: restore it")
            raise StoreUnavailable("the log's keys are not as they were left; nothing was decided")
        return found | self.create(missing)

    def create(self, owners: Collection[str]) -> dict[str, WrappedKey]:
        """Make keys for owners who have none, durable when this returns; whoever else is making them may be first.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        if not owners:
            return {}
        rows = [self.made(owner) for owner in sorted(owners)]
        try:
            with self.database.writing() as connection:
                connection.execute(INSERT, rows)
        except IntegrityError:  # another process made some of them
            found = self.find_by_owner(owners)
            return found | self.create(set(owners) - set(found))
        return {row["owner"]: WrappedKey(row["key_id"], row["wrapped"]) for row in rows}

    def made(self, owner: str) -> dict[str, Any]:
        """Make the row of a new key."""
        key = new_customer_key()
        return {"key_id": key_id(key), "owner": owner, "wrapped": wrap_key(key, self.master)}

    def find_by_owner(self, owners: Collection[str]) -> dict[str, WrappedKey]:
        """Give the keys that are there, by owner."""
        with self.database.reading(once=True) as connection:
            return keys_of(BY_OWNER.execute(connection, owners), "owner")

    def find_by_id(self, ids: Collection[str]) -> dict[str, WrappedKey]:
        """Give the keys that are there, by key id."""
        with self.database.reading(once=True) as connection:
            return keys_of(BY_ID.execute(connection, ids), "key_id")

    def read_ids(self) -> set[str]:
        """Give the key ids of all keys that are there."""
        with self.database.reading() as connection:
            return set(connection.execute(select(WRAPPED_KEYS.c.key_id)).scalars())

    def has_customer_keys(self) -> bool:
        """Tell whether there is a key of a customer."""
        with self.database.reading() as connection:
            return bool(
                connection.execute(
                    select(exists().where(WRAPPED_KEYS.c.owner.not_in((TAGS_OWNER, LOG_OWNER))))
                ).scalar()
            )

    def unwrap(self, key: WrappedKey) -> bytes:
        """Give a key.

        Raises:
            RecordDamaged: It is not what was stored.
        """
        try:
            return unwrap_key(key.wrapped, key.key_id, self.master)
        except WrappedKeyInvalid as error:
            raise RecordDamaged(
                "the key of this record is not what was stored; run: python -m server doctor"
            ) from error

    def retire(self, ids: Collection[str]) -> None:
        """Let customers' keys seal nothing more; what they have sealed is still readable. The log's own stay."""
        with self.database.writing() as connection:
            retired = RETIRED + WRAPPED_KEYS.c.key_id
            connection.execute(update(WRAPPED_KEYS).where(*of_customers(ids)).values(owner=retired))

    def destroy(self, ids: Collection[str]) -> None:
        """Destroy customers' keys: what they have sealed is never read again. The log's own stay."""
        with self.database.writing() as connection:
            connection.execute(delete(WRAPPED_KEYS).where(*of_customers(ids)))

    def probe(self) -> None:
        """Write something that changes nothing, to know whether writing works."""
        with self.database.writing() as connection:
            same = update(WRAPPED_KEYS).where(WRAPPED_KEYS.c.owner == TAGS_OWNER).values(owner=TAGS_OWNER)
            connection.execute(same)


def of_customers(ids: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    """Give the condition for keys of customers: whatever is asked for, the log's own keys are not among them."""
    return WRAPPED_KEYS.c.key_id.in_(ids), WRAPPED_KEYS.c.owner.not_in((TAGS_OWNER, LOG_OWNER))


def keys_of(rows: Iterable[Any], column: str) -> dict[str, WrappedKey]:
    """Give the keys of rows by one of their columns."""
    return {getattr(row, column): WrappedKey(row.key_id, bytes(row.wrapped)) for row in rows}


def open_key_database(url: str, log_url: str, connections: int = CONNECTIONS) -> Database:
    """Open the database of keys for so many threads, its tables made; a file for its owner alone.

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
        own_file(parts.database)
    database = Database(url, MIGRATIONS, connections)
    database.migrate()
    return database


def own_file(name: str | None) -> None:
    """Make the file with mode 0600, or refuse one that others may read."""
    if not name or name == ":memory:":
        raise LogRefused("keys: must be a file; keys in memory are lost at the end, and every record with them")
    path = Path(name)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & OTHERS:
            raise LogRefused(f"{path} has mode {mode:04o}: others may read the keys; chmod 600 it") from None
    except OSError as error:
        raise LogRefused(f"{path} cannot be made: {error.strerror}") from error
