"""Opens the record log of a database, or initializes it on first use; refuses keys that belong to another log."""

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
from server.stores.record_log.anchors import read_newest_anchors
from server.stores.record_log.high_water_mark import HighWaterMark
from server.stores.record_log.key_store import LOG_OWNER, TAGS_OWNER, KeyStore, open_key_database
from server.stores.record_log.log import HEAD_NAME, RecordLog
from server.stores.tables import LOG_HEAD, RECORDS

_SELECT_HEAD = select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME)


@dataclass(frozen=True, slots=True)
class KeyLocations:
    """Where the keys of a log are.

    Attributes:
        keys: URL of the key database.
        master_key: File of the key that wraps the customers' keys.
        signing_key: File of the key that signs checkpoints.
        origin: Name of the log, and of its signing key.
        mark: File of the high-water mark; None: beside the signing key, with the suffix .mark.
        anchor_folder: Folder of anchored checkpoints, which the log must continue; None: there is none.
    """

    keys: str
    master_key: Path
    signing_key: Path
    origin: str
    mark: Path | None = None
    anchor_folder: Path | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the locations that the configuration names."""
        return cls(
            settings.keys,
            settings.master_key,
            settings.signing_key,
            settings.log_origin,
            settings.high_water_mark,
            settings.anchor_folder,
        )

    def high_water_mark(self) -> HighWaterMark:
        """Return the high-water mark of the log."""
        return HighWaterMark(self.mark or self.signing_key.with_suffix(".mark"))


def open_log(database: Database, locations: KeyLocations) -> RecordLog:
    """Open the log of a database. On first use, initialize it and create its keys.

    Raises:
        LogRefused: A key is missing, readable by others or another log's; the message names it and says what to do.
        StoreUnavailable: A database does not answer.
    """
    url = database.engine.url.render_as_string(hide_password=False)
    key_database = open_key_database(locations.keys, url, database.connections)
    try:
        # One transaction: of processes that start at once on an empty database, one initializes, the others wait for it.
        with database.writing() as connection:
            if connection.dialect.name == "postgresql":
                _refuse_lost_commits(connection)
                # PostgreSQL can lock the head only once it exists. SQLite has one writer at a time anyway.
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            exists_already = connection.execute(_SELECT_HEAD).first() is not None
            # Keys are never created for a log that exists: they could not open its records.
            signing_key, master = _read_keys(locations, create=not exists_already)
            store = KeyStore(key_database, master)
            if not exists_already:
                _initialize_log(connection, signing_key, store)
            tags_key = _verify_keys(connection, signing_key, store, locations)
    except BaseException:
        key_database.close()
        raise
    anchors = read_newest_anchors(locations.anchor_folder, signing_key.verifier())
    return RecordLog(database, store, signing_key, tags_key, locations.high_water_mark(), anchors)


def _refuse_lost_commits(connection: Connection) -> None:
    """Refuse a PostgreSQL that acknowledges commits before they are on its disk."""
    if connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "off":
        raise LogRefused(
            "the database has synchronous_commit = off, and may lose what it has acknowledged: set it on for this database"
        )


def _read_keys(locations: KeyLocations, *, create: bool) -> tuple[SigningKey, bytes]:
    """Return the signing key and the master key from their files; create missing files if asked to."""
    try:
        if create:
            return ensure_signing_key(locations.signing_key, locations.origin), ensure_secret(locations.master_key)
        return read_signing_key(locations.signing_key, locations.origin), read_secret(locations.master_key)
    except RecordError as error:
        hint = "" if create else "; the log needs the keys that it was created with: restore them from their backup"
        raise LogRefused(f"{error}{hint}") from error


def _initialize_log(connection: Connection, signing_key: SigningKey, store: KeyStore) -> None:
    """Write the head of an empty log, and create the log's own keys."""
    if connection.execute(select(exists(select(RECORDS.c.record_index)))).scalar():
        raise LogRefused("the database has records but not the head of their log: restore it from its backup")
    # A mistyped database URL must not begin a second log under the name and the keys of the first.
    if store.has_customer_keys():
        raise LogRefused(
            "the key store belongs to another record log, whose records are elsewhere: look at `database` again; "
            "a new log needs other keys: name other key files and another key database"
        )
    # Keys that exist: an earlier start created them and was killed before it committed the head.
    keys = store.find_by_owner({TAGS_OWNER, LOG_OWNER})
    keys |= store.create({TAGS_OWNER, LOG_OWNER} - set(keys))
    _unwrap_own_key(store, TAGS_OWNER)
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


def _verify_keys(connection: Connection, signing_key: SigningKey, store: KeyStore, locations: KeyLocations) -> bytes:
    """Check that all keys are those that the log was created with; return the key of customer tags."""
    head = connection.execute(_SELECT_HEAD).one()
    if head.verifier_key != signing_key.verifier().text():
        raise LogRefused(
            f"{locations.signing_key} is another log's key; this log's public key is {head.verifier_key}: name its own"
        )
    found = store.find_by_owner({TAGS_OWNER, LOG_OWNER})
    if set(found) != {TAGS_OWNER, LOG_OWNER} or found[TAGS_OWNER].key_id != head.tags_key_id:
        raise LogRefused("keys: names a database that does not have the keys of this log; name its own, or restore it")
    _unwrap_own_key(store, LOG_OWNER)
    return _unwrap_own_key(store, TAGS_OWNER)


def _unwrap_own_key(store: KeyStore, owner: str) -> bytes:
    """Return one of the log's own keys."""
    try:
        return store.unwrap(store.find_by_owner({owner})[owner])
    except RecordDamaged as error:
        raise LogRefused(
            "master_key: does not open the keys in the key database; name the master key that wrapped them"
        ) from error
