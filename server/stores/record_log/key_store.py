"""The key store: one key for each customer, wrapped by the master key, in a separate database.

The key database must not be part of the log's backups. Destroying a customer's key then makes all records that the key
sealed unreadable in every copy of the log (crypto-shredding). Two rules follow:

- A key is committed to the key database before a record that it seals is committed to the log.
- Keys are not cached, so a key that another process destroyed is no longer usable in this process.
"""

import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Connection, bindparam, delete, exists, make_url, select, update
from sqlalchemy.exc import ArgumentError, IntegrityError

from grounds_record.customer_keys import key_id, new_customer_key
from grounds_record.errors import WrappedKeyInvalid
from server.errors import LogRefused, RecordDamaged, StoreUnavailable
from server.stores.database import CONNECTIONS, Database
from server.stores.driver_sql import insert_rows, marks, pad_values, run_sql
from server.stores.erasure_list import ErasureList
from server.stores.key_tables import CURRENT_KEYS, WRAPPED_KEYS
from server.stores.keyed_query import KeyedQuery
from server.stores.keys.master_keys import MasterKeys

TAGS_OWNER = "log/tags"  # owner of the key that derives customer tags
LOG_OWNER = "log/records"  # owner of the key that seals all entries whose `customer` is None
_EVENTS = structlog.get_logger()
_MIGRATIONS = Path(__file__).parent.parent / "key_migrations"
_RETIRED = "retired/"  # the owner of a retired key is this prefix and the key id; a retired key seals no new records
_SELECT_BY_OWNER = f"SELECT owner, key_id, wrapped FROM {WRAPPED_KEYS.name} WHERE owner IN"  # noqa: S608 - a constant
_BY_ID = KeyedQuery(select(WRAPPED_KEYS), WRAPPED_KEYS.c.key_id)
_MASTER = "master_key"  # row of CURRENT_KEYS
_SELECT_MASTER = select(CURRENT_KEYS.c.key_id).where(CURRENT_KEYS.c.name == _MASTER)
_READ_MASTER = f"SELECT key_id FROM {CURRENT_KEYS.name} WHERE name = ?"  # noqa: S608 - a constant
_REWRAP_ROWS = 500
_REWRAP = (
    update(WRAPPED_KEYS)
    .where(WRAPPED_KEYS.c.key_id == bindparam("id"), WRAPPED_KEYS.c.wrapped == bindparam("before"))
    .values(wrapped=bindparam("after"))
)
_GROUP_OR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key as stored: its id, and its bytes encrypted by the master key."""

    key_id: str
    wrapped: bytes = field(repr=False)


class KeyStore:
    """Finds, creates, unwraps and destroys keys. Its methods may be called from any thread.

    The owner of a key is a customer tag, TAGS_OWNER or LOG_OWNER. The last two are the log's own keys.

    Attributes:
        database: The key database.
        masters: The master keys that this process knows.
        erasure_list: File outside the databases that lists which keys were destroyed for whom.
    """

    def __init__(self, database: Database, masters: MasterKeys, erasure_list: ErasureList) -> None:
        self.database, self.masters, self.erasure_list = database, masters, erasure_list

    def ensure(self, owners: Collection[str]) -> dict[str, WrappedKey]:
        """Return the key of each owner. Create and commit a key for each customer who has none.

        Raises:
            StoreUnavailable: The database does not answer, or one of the log's own keys is missing.
        """
        found = self.find_by_owner(owners)
        missing = set(owners) - set(found)
        # The log's own keys were created with the log. A new key would hide the fact that older records became
        # unreadable.
        if missing & {TAGS_OWNER, LOG_OWNER}:
            _EVENTS.error(
                "keys damaged", problem="a key of the log itself is missing from the key database: restore it"
            )
            raise StoreUnavailable("a key of the log is missing; nothing was decided; run: python -m server doctor")
        return found | self.create(missing)

    def create(self, owners: Collection[str]) -> dict[str, WrappedKey]:
        """Create and commit keys. If another process created the key of an owner first, return that key.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        if not owners:
            return {}
        try:
            with self.database.writing() as connection:
                master = _lock_master(connection)
                # Sort the owners, so that two processes insert and lock the same owners in the same order.
                rows = [self._new_row(owner, master) for owner in sorted(owners)]
                insert_rows(connection, WRAPPED_KEYS, rows)
        except IntegrityError:  # another process created some of the keys first; the owner column is unique
            found = self.find_by_owner(owners)
            return found | self.create(set(owners) - set(found))
        return {row["owner"]: WrappedKey(row["key_id"], row["wrapped"]) for row in rows}

    def _new_row(self, owner: str, master: str | None) -> dict[str, Any]:
        """Return the row of a new random key."""
        key = new_customer_key()
        return {"key_id": key_id(key), "owner": owner, "wrapped": self.masters.wrap(key, master)}

    def find_by_owner(self, owners: Collection[str]) -> dict[str, WrappedKey]:
        """Return the existing keys of the owners, by owner."""
        if not owners:
            return {}
        wanted = pad_values(list(owners))
        with self.database.reading(single_statement=True) as connection:
            rows = run_sql(connection, f"{_SELECT_BY_OWNER} {marks(len(wanted))}", wanted).fetchall()
        return {owner: WrappedKey(name, bytes(wrapped)) for owner, name, wrapped in rows}

    def find_by_id(self, ids: Collection[str]) -> dict[str, WrappedKey]:
        """Return the existing keys with these ids, by key id."""
        with self.database.reading(single_statement=True) as connection:
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
        """Return a key decrypted, 32 bytes.

        Raises:
            RecordDamaged: The stored key was changed, or the master key is wrong.
        """
        try:
            return self.masters.unwrap(key.wrapped, key.key_id)
        except WrappedKeyInvalid as error:
            raise RecordDamaged(
                "the key of this record was changed in the key database; run: python -m server doctor"
            ) from error

    def retire(self, ids: Collection[str]) -> None:
        """Prevent customers' keys from sealing new records. Old records stay readable. Ignore the log's own keys."""
        with self.database.writing() as connection:
            # A retired key has a different owner, so the customer's next record gets a new key.
            retired = _RETIRED + WRAPPED_KEYS.c.key_id
            connection.execute(update(WRAPPED_KEYS).where(*_customer_keys(ids)).values(owner=retired))

    def destroy(self, ids: Collection[str]) -> None:
        """Destroy customers' keys, so that the records that they sealed are unreadable. Ignore the log's own keys."""
        with self.database.writing() as connection:
            connection.execute(delete(WRAPPED_KEYS).where(*_customer_keys(ids)))

    def read_master_id(self) -> str | None:
        """Return the id of the master key that encrypts new keys; None before the first start of this release."""
        with self.database.reading() as connection:
            return connection.execute(_SELECT_MASTER).scalar()

    def set_master_id(self, key_id: str, *, only_first: bool = False) -> None:
        """State which master key encrypts new keys.

        Args:
            key_id: Id of the master key.
            only_first: Change nothing if a master key was stated already.
        """
        with self.database.writing() as connection:
            # On PostgreSQL, the update waits for every transaction that locked the row to create keys.
            change = update(CURRENT_KEYS).where(CURRENT_KEYS.c.name == _MASTER)
            found = connection.execute(_SELECT_MASTER).scalar()
            if found is None:
                connection.execute(CURRENT_KEYS.insert().values(name=_MASTER, key_id=key_id))
            elif not only_first:
                connection.execute(change.values(key_id=key_id))

    def rewrap(self, master: str) -> int:
        """Encrypt every key by a master key, in transactions of 500 keys; return the number of changed keys.

        Servers may create, read and destroy keys meanwhile. Keys that this master key encrypts already are skipped, so
        this may be called again after it was interrupted.

        Args:
            master: Id of the master key. It must be the one that encrypts new keys, or keys could be left out.
        """
        changed, last = 0, ""
        while rows := self._read_after(last):
            last = rows[-1].key_id
            wanted = [row for row in rows if not self.masters.is_wrapped_by(master, row.wrapped, row.key_id)]
            if not wanted:
                continue
            rows_to_write = [
                {"id": row.key_id, "before": row.wrapped, "after": self.masters.wrap(self.unwrap(row), master)}
                for row in wanted
            ]
            with self.database.writing() as connection:
                # A key that was destroyed meanwhile stays destroyed, because no row is inserted.
                connection.execute(_REWRAP, rows_to_write)
            changed += len(wanted)
        return changed

    def count_not_wrapped_by(self, master: str) -> int:
        """Return the number of keys that a master key does not encrypt."""
        count, last = 0, ""
        while rows := self._read_after(last):
            last = rows[-1].key_id
            count += sum(not self.masters.is_wrapped_by(master, row.wrapped, row.key_id) for row in rows)
        return count

    def _read_after(self, name: str) -> list[WrappedKey]:
        """Return the next keys in the order of their ids."""
        wanted = select(WRAPPED_KEYS).where(WRAPPED_KEYS.c.key_id > name).order_by(WRAPPED_KEYS.c.key_id)
        with self.database.reading() as connection:
            rows = connection.execute(wanted.limit(_REWRAP_ROWS)).all()
        return [WrappedKey(row.key_id, bytes(row.wrapped)) for row in rows]

    def probe(self) -> None:
        """Check that the key database is writable, by updating a row without changing it.

        Raises:
            StoreUnavailable: The key database is not writable.
        """
        with self.database.writing() as connection:
            same_owner = update(WRAPPED_KEYS).where(WRAPPED_KEYS.c.owner == TAGS_OWNER).values(owner=TAGS_OWNER)
            connection.execute(same_owner)


def _lock_master(connection: Connection) -> str | None:
    """Return the id of the master key that encrypts new keys, and keep a rotation waiting until the transaction ends."""
    # SQLite allows only one writer at a time, and needs no lock.
    lock = f"{_READ_MASTER} FOR SHARE" if connection.dialect.name == "postgresql" else _READ_MASTER
    row = run_sql(connection, lock, (_MASTER,)).fetchone()
    return None if row is None else str(row[0])


def _customer_keys(ids: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    """Return conditions that match the customers' keys with these ids, but never the log's own keys."""
    return WRAPPED_KEYS.c.key_id.in_(ids), WRAPPED_KEYS.c.owner.not_in((TAGS_OWNER, LOG_OWNER))


def _keys_by(rows: Iterable[Any], column: str) -> dict[str, WrappedKey]:
    """Return the keys in these rows, by the value of one column."""
    return {getattr(row, column): WrappedKey(row.key_id, bytes(row.wrapped)) for row in rows}


def open_key_database(url: str, log_url: str, connections: int = CONNECTIONS) -> Database:
    """Open the key database and bring its tables up to date; create a SQLite file with mode 0600.

    Args:
        url: SQLAlchemy URL of the key database.
        log_url: SQLAlchemy URL of the log's database.
        connections: Size of the connection pool, which is the number of threads that use the database at the same time.

    Raises:
        LogRefused: The URL is invalid or is the URL of the log's database, or the key database is in memory or is a
            file that other users can access.
        StoreUnavailable: The database does not answer.
    """
    try:
        parts = make_url(url)
    except ArgumentError as error:
        raise LogRefused("keys: must be a SQLAlchemy URL, such as sqlite:///grounds-keys.db") from error
    if parts == make_url(log_url):
        raise LogRefused(
            "keys: is the database of the log; keys must be in a separate database that backups of the log do not contain; "
            "configure a different URL"
        )
    if parts.get_backend_name() == "sqlite":
        _ensure_private_file(parts.database)
    database = Database(url, _MIGRATIONS, connections)
    database.migrate()
    return database


def _ensure_private_file(name: str | None) -> None:
    """Create a file with mode 0600; reject an existing file that other users can access."""
    if not name or name == ":memory:":
        raise LogRefused(
            "keys: must be a file; keys in memory are lost when the process ends, and then no record can be read"
        )
    path = Path(name)
    try:
        # With O_EXCL, the operating system creates the file or reports that it exists, so there is no race between two
        # steps.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _GROUP_OR_OTHERS:
            raise LogRefused(f"{path} has mode {mode:04o}, so other users can access the keys; run chmod 600") from None
    except OSError as error:
        raise LogRefused(f"{path} cannot be created: {error.strerror}") from error
