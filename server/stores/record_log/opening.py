"""Opens the log of a database, or begins it; refuses keys that are not this log's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, exists, func, select

from grounds_record.checkpoint import Checkpoint, sign_checkpoint
from grounds_record.errors import RecordError
from grounds_record.key_files import ensure_secret, ensure_signing_key, read_secret, read_signing_key
from grounds_record.merkle import EMPTY_ROOT
from grounds_record.note import SigningKey
from server.config import Settings
from server.errors import LogRefused, RecordDamaged
from server.stores.database import MIGRATION_LOCK, Database
from server.stores.record_log.key_store import LOG_OWNER, TAGS_OWNER, KeyStore, open_key_database
from server.stores.record_log.log import HEAD_NAME, RecordLog
from server.stores.tables import LOG_HEAD, RECORDS


@dataclass(frozen=True, slots=True)
class KeyLocations:
    """Where the keys of a log are.

    Attributes:
        keys: URL of the database of customers' keys.
        master_key: The file of the key that wraps those.
        signing_key: The file of the key that signs checkpoints.
        origin: The log's name; the signing key's too.
    """

    keys: str
    master_key: Path
    signing_key: Path
    origin: str

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read them from the configuration."""
        return cls(settings.keys, settings.master_key, settings.signing_key, settings.log_origin)


def open_log(database: Database, places: KeyLocations) -> RecordLog:
    """Open the log. Keys are made only while no log was begun in this database.

    Raises:
        LogRefused: A key is missing, cannot be trusted or is of another log; says which, and what to do.
        StoreUnavailable: A database does not answer.
    """
    url = database.engine.url.render_as_string(hide_password=False)
    key_database = open_key_database(places.keys, url, database.connections)
    try:
        with database.writing() as connection:
            if connection.dialect.name == "postgresql":
                refuse_lost_commits(connection)
                # There is no head yet that could be locked.
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            begun = connection.execute(select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME)).first() is not None
            signing_key, master = read_keys(places, make=not begun)
            store = KeyStore(key_database, master)
            if not begun:
                begin(connection, signing_key, store)
            tags_key = fitting(connection, signing_key, store, places)
    except BaseException:
        key_database.close()
        raise
    return RecordLog(database, store, signing_key, tags_key)


def refuse_lost_commits(connection: Connection) -> None:
    """Refuse a PostgreSQL that acknowledges what is not on its disk."""
    if connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "off":
        raise LogRefused(
            "the database has synchronous_commit = off, and may lose what it has acknowledged: set it on for this database"
        )


def read_keys(places: KeyLocations, *, make: bool) -> tuple[SigningKey, bytes]:
    """Read both files, or make those that are not there."""
    try:
        if make:
            return ensure_signing_key(places.signing_key, places.origin), ensure_secret(places.master_key)
        return read_signing_key(places.signing_key, places.origin), read_secret(places.master_key)
    except RecordError as error:
        hint = "" if make else "; the log was begun with keys that are needed again: restore them from their backup"
        raise LogRefused(f"{error}{hint}") from error


def begin(connection: Connection, signing_key: SigningKey, store: KeyStore) -> None:
    """Begin a log: write its head, of nothing yet."""
    if connection.execute(select(exists(select(RECORDS.c.record_index)))).scalar():
        raise LogRefused("the database has records but not the head of their log: restore it from its backup")
    if store.has_customer_keys():
        raise LogRefused(
            "the database has no log yet, but the keys are those of one, whose records are elsewhere: look at `database` again; "
            "a log of its own needs other keys: name other files and another database of keys"
        )
    keys = store.find_by_owner({TAGS_OWNER, LOG_OWNER})
    keys |= store.create({TAGS_OWNER, LOG_OWNER} - set(keys))
    unwrapped(store, TAGS_OWNER)
    name = signing_key.name
    connection.execute(
        LOG_HEAD.insert().values(
            name=HEAD_NAME,
            size=0,
            peaks=b"",
            checkpoint=sign_checkpoint(Checkpoint(name, 0, EMPTY_ROOT), signing_key),
            verifier_key=signing_key.verifier().text(),
            tags_key_id=keys[TAGS_OWNER].key_id,
        )
    )


def fitting(connection: Connection, signing_key: SigningKey, store: KeyStore, places: KeyLocations) -> bytes:
    """Give the key of customer tags, if all keys are those with which the log was begun; both of its own are there."""
    head = connection.execute(select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME)).one()
    if head.verifier_key != signing_key.verifier().text():
        raise LogRefused(
            f"{places.signing_key} is another log's key; this log's public key is {head.verifier_key}: name its own"
        )
    found = store.find_by_owner({TAGS_OWNER, LOG_OWNER})
    if set(found) != {TAGS_OWNER, LOG_OWNER} or found[TAGS_OWNER].key_id != head.tags_key_id:
        raise LogRefused("keys: names a database that does not hold the keys of this log; name its own, or restore it")
    unwrapped(store, LOG_OWNER)
    return unwrapped(store, TAGS_OWNER)


def unwrapped(store: KeyStore, owner: str) -> bytes:
    """Give a key of the log's own."""
    try:
        return store.unwrap(store.find_by_owner({owner})[owner])
    except RecordDamaged as error:
        raise LogRefused(
            "master_key: does not open the keys in the database of keys; name the one that they were made with"
        ) from error
