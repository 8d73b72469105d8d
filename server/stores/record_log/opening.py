"""Opens the record log of a database, and initializes it on first use. Rejects keys that belong to a different log."""

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
from server.stores.clock import Clock
from server.stores.database import MIGRATION_LOCK, Database
from server.stores.erasure_list import ErasureList
from server.stores.record_log.anchors import read_newest_anchors
from server.stores.record_log.high_water_mark import HighWaterMark
from server.stores.record_log.key_store import LOG_OWNER, TAGS_OWNER, KeyStore, open_key_database
from server.stores.record_log.log import HEAD_NAME, RecordLog
from server.stores.tables import LOG_HEAD, RECORDS

_SELECT_HEAD = select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME)


@dataclass(frozen=True, slots=True)
class KeyLocations:
    """The locations of a log's keys and of its checkpoints outside the database.

    Attributes:
        keys: SQLAlchemy URL of the key database.
        master_key: Path of the file with the key that encrypts the customers' keys.
        signing_key: Path of the file with the key that signs checkpoints.
        origin: Name of the log, which is also the name of its signing key.
        mark: Path of the high-water mark. None means the path of the signing key with the suffix .mark.
        anchor_folder: Folder with anchored checkpoints, which the log must extend. None means that there is no folder.
        erasures: Path of the erasure list. None means the path of the signing key with the suffix .erased.
    """

    keys: str
    master_key: Path
    signing_key: Path
    origin: str
    mark: Path | None = None
    anchor_folder: Path | None = None
    erasures: Path | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the locations from the configuration."""
        return cls(
            settings.keys,
            settings.master_key,
            settings.signing_key,
            settings.log_origin,
            settings.high_water_mark,
            settings.anchor_folder,
            settings.erasure_list,
        )

    def high_water_mark(self) -> HighWaterMark:
        """Return the high-water mark of the log."""
        return HighWaterMark(self.mark or self.signing_key.with_suffix(".mark"))

    def erasure_list(self) -> ErasureList:
        """Return the erasure list of the log."""
        return ErasureList(self.erasures or self.signing_key.with_suffix(".erased"))


def open_log(database: Database, locations: KeyLocations, clock: Clock | None = None) -> RecordLog:
    """Open the log of a database. On first use, initialize the log and create its keys.

    Args:
        database: The database of the log.
        locations: The locations of the log's keys and of its checkpoints outside the database.
        clock: Clock that is checked before each append; None for no check.

    Raises:
        LogRefused: A key is missing, is accessible to other users, or belongs to a different log. The message states
            the key and what to do.
        StoreUnavailable: A database does not answer.
    """
    url = database.engine.url.render_as_string(hide_password=False)
    key_database = open_key_database(locations.keys, url, database.connections)
    try:
        # Everything runs in one transaction. If several processes start on an empty database, one process initializes
        # the log, and the others wait.
        with database.writing() as connection:
            if connection.dialect.name == "postgresql":
                _refuse_lost_commits(connection)
                # PostgreSQL cannot lock the row of the head before the row exists. SQLite allows only one writer and
                # needs no lock.
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            exists_already = connection.execute(_SELECT_HEAD).first() is not None
            # Never create keys for an existing log, because new keys cannot decrypt its records.
            signing_key, master = _read_keys(locations, create=not exists_already)
            store = KeyStore(key_database, master, locations.erasure_list())
            if not exists_already:
                _initialize_log(connection, signing_key, store)
            tags_key = _verify_keys(connection, signing_key, store, locations)
    except BaseException:
        key_database.close()
        raise
    anchors = read_newest_anchors(locations.anchor_folder, signing_key.verifier())
    return RecordLog(database, store, signing_key, tags_key, locations.high_water_mark(), anchors, clock)


def _refuse_lost_commits(connection: Connection) -> None:
    """Raise LogRefused if PostgreSQL is configured to acknowledge commits before they are on its disk."""
    # `reset_val` is the configured value. The present transaction has a value of its own.
    configured = "SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'"
    if connection.exec_driver_sql(configured).scalar() == "off":
        raise LogRefused(
            "the database has synchronous_commit = off and may lose acknowledged records; set synchronous_commit = on for it"
        )


def _read_keys(locations: KeyLocations, *, create: bool) -> tuple[SigningKey, bytes]:
    """Read the signing key and the master key from their files. If `create` is true, create missing files."""
    try:
        if create:
            return ensure_signing_key(locations.signing_key, locations.origin), ensure_secret(locations.master_key)
        return read_signing_key(locations.signing_key, locations.origin), read_secret(locations.master_key)
    except RecordError as error:
        hint = (
            ""
            if create
            else "; the log can only be used with the keys that were created with it; restore them from their backup"
        )
        raise LogRefused(f"{error}{hint}") from error


def _initialize_log(connection: Connection, signing_key: SigningKey, store: KeyStore) -> None:
    """Write the head of an empty log, and create the log's own keys."""
    if connection.execute(select(exists(select(RECORDS.c.record_index)))).scalar():
        raise LogRefused("the database has records but the head of the log is missing; restore it from its backup")
    # A mistyped database URL must not create a second log with the name and the keys of the first log.
    if store.has_customer_keys():
        raise LogRefused(
            "the key store belongs to another record log; check `database`; for a new log, configure new key files and a new "
            "key database"
        )
    # Keys already exist if an earlier start was killed after it created them and before it committed the head.
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
    """Check that all keys belong to this log; return the key that derives customer tags.

    Raises:
        LogRefused: A key is missing or belongs to a different log.
    """
    head = connection.execute(_SELECT_HEAD).one()
    if head.verifier_key != signing_key.verifier().text():
        raise LogRefused(
            f"{locations.signing_key} belongs to a different log; configure the signing key whose public key is {head.verifier_key}"
        )
    found = store.find_by_owner({TAGS_OWNER, LOG_OWNER})
    if set(found) != {TAGS_OWNER, LOG_OWNER} or found[TAGS_OWNER].key_id != head.tags_key_id:
        raise LogRefused(
            "keys: is a database without the keys of this log; configure the right key database, or restore it from its backup"
        )
    _unwrap_own_key(store, LOG_OWNER)
    return _unwrap_own_key(store, TAGS_OWNER)


def _unwrap_own_key(store: KeyStore, owner: str) -> bytes:
    """Return one of the log's own keys."""
    try:
        return store.unwrap(store.find_by_owner({owner})[owner])
    except RecordDamaged as error:
        raise LogRefused(
            "master_key: cannot decrypt the keys in the key database; configure the master key that encrypted them"
        ) from error
