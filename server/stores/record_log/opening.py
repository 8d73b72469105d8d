"""Opens the record log of a database, and initializes it on first use. Rejects keys that belong to a different log."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, exists, func, select

from grounds_record.checkpoint import Checkpoint, sign_checkpoint
from grounds_record.merkle import EMPTY_ROOT
from grounds_record.note import Signer
from server.config import Settings
from server.errors import LogRefused, RecordDamaged
from server.key_location import Pkcs11Uri
from server.stores.clock import Clock
from server.stores.database import MIGRATION_LOCK, Database
from server.stores.erasure_list import ErasureList
from server.stores.keys.master_keys import MasterKeys
from server.stores.keys.places import KeyPlace, open_place
from server.stores.keys.signing_keys import SigningKeys, find_signing_key
from server.stores.record_log.anchors import CHECKED_ANCHORS, read_newest_anchors
from server.stores.record_log.high_water_mark import HighWaterMark
from server.stores.record_log.key_rotations import read_key_history
from server.stores.record_log.key_store import LOG_OWNER, TAGS_OWNER, KeyStore, open_key_database
from server.stores.record_log.log import HEAD_NAME, RecordLog
from server.stores.tables import LOG_HEAD, RECORDS

_SELECT_HEAD = select(LOG_HEAD).where(LOG_HEAD.c.name == HEAD_NAME)


@dataclass(frozen=True, slots=True)
class KeyLocations:
    """The locations of a log's keys and of its checkpoints outside the database.

    Attributes:
        keys: SQLAlchemy URL of the key database.
        master_key: Location of the key that encrypts the customers' keys.
        signing_key: Location of the key that signs checkpoints.
        origin: Name of the log, which is also the name of its signing key.
        mark: Path of the high-water mark. None means the path of the signing key with the suffix .mark.
        anchor_folder: Folder with anchored checkpoints, which the log must extend. None means that there is no folder.
        erasures: Path of the erasure list. None means the path of the signing key with the suffix .erased.
    """

    keys: str
    master_key: Path | Pkcs11Uri
    signing_key: Path | Pkcs11Uri
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
        return HighWaterMark(self.mark or self._beside_signing_key(".mark"))

    def erasure_list(self) -> ErasureList:
        """Return the erasure list of the log."""
        return ErasureList(self.erasures or self._beside_signing_key(".erased"))

    def _beside_signing_key(self, suffix: str) -> Path:
        """Return the path of the signing key with a different suffix."""
        assert isinstance(self.signing_key, Path), "the configuration requires these paths if the key is in a token"
        return self.signing_key.with_suffix(suffix)


def open_log(
    database: Database, locations: KeyLocations, clock: Clock | None = None, anchors_max: int | None = CHECKED_ANCHORS
) -> RecordLog:
    """Open the log of a database. On first use, initialize the log and create its keys.

    Args:
        database: The database of the log.
        locations: The locations of the log's keys and of its checkpoints outside the database.
        clock: Clock that is checked before each append; None for no check.
        anchors_max: Number of anchored checkpoints, the newest first, that the log must extend; None for all of them.

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
            signing_place, masters = _open_keys(locations, create=not exists_already)
            store = KeyStore(key_database, masters, locations.erasure_list())
            if not exists_already:
                _initialize_log(connection, signing_place.read_signer(locations.origin), store)
            signing_key, tags_key = _verify_keys(connection, signing_place, store, locations)
            history = read_key_history(connection, signing_key.verifier())
    except BaseException:
        key_database.close()
        raise
    anchors = read_newest_anchors(locations.anchor_folder, history, anchors_max)
    signing = SigningKeys(signing_place, signing_key, history)
    return RecordLog(database, store, signing, tags_key, locations.high_water_mark(), anchors, clock)


def _refuse_lost_commits(connection: Connection) -> None:
    """Raise LogRefused if PostgreSQL is configured to acknowledge commits before they are on its disk."""
    # `reset_val` is the configured value. The present transaction has a value of its own.
    configured = "SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'"
    if connection.exec_driver_sql(configured).scalar() == "off":
        raise LogRefused(
            "the database has synchronous_commit = off and may lose acknowledged records; set synchronous_commit = on for it"
        )


def _open_keys(locations: KeyLocations, *, create: bool) -> tuple[KeyPlace, MasterKeys]:
    """Read the signing key and the master key. If `create` is true, create missing keys."""
    signing, master = open_place(locations.signing_key), open_place(locations.master_key)
    try:
        if create:
            signing.create_signer(locations.origin)
            master.create_master()
        signing.read_signer(locations.origin)
        return signing, MasterKeys(master)
    except LogRefused as error:
        hint = (
            ""
            if create
            else "; the log can only be used with the keys that were created with it; restore them from their backup"
        )
        raise LogRefused(f"{error}{hint}") from error


def _initialize_log(connection: Connection, signing_key: Signer, store: KeyStore) -> None:
    """Write the head of an empty log, and create the log's own keys."""
    if connection.execute(select(exists(select(RECORDS.c.record_index)))).scalar():
        raise LogRefused("the database has records but the head of the log is missing; restore it from its backup")
    # A mistyped database URL must not create a second log with the name and the keys of the first log.
    if store.has_customer_keys():
        raise LogRefused(
            "the key store belongs to another record log; check `database`; for a new log, configure new key files and a new "
            "key database"
        )
    store.set_master_id(store.masters.main.key_id, only_first=True)
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


def _verify_keys(
    connection: Connection, place: KeyPlace, store: KeyStore, locations: KeyLocations
) -> tuple[Signer, bytes]:
    """Check that all keys belong to this log; return its signing key, and the key that derives customer tags.

    Raises:
        LogRefused: A key is missing or belongs to a different log.
    """
    head = connection.execute(_SELECT_HEAD).one()
    signing_key = find_signing_key(place, locations.origin, head.verifier_key)
    if signing_key is None:
        raise LogRefused(
            f"{place.description} belongs to a different log, or the key was rotated; configure the signing key whose public key is "
            f"{head.verifier_key}"
        )
    found = store.find_by_owner({TAGS_OWNER, LOG_OWNER})
    if set(found) != {TAGS_OWNER, LOG_OWNER} or found[TAGS_OWNER].key_id != head.tags_key_id:
        raise LogRefused(
            "keys: is a database without the keys of this log; configure the right key database, or restore it from its backup"
        )
    _unwrap_own_key(store, LOG_OWNER)
    tags_key = _unwrap_own_key(store, TAGS_OWNER)
    store.set_master_id(store.masters.main.key_id, only_first=True)  # a log that an older release created has none
    return signing_key, tags_key


def _unwrap_own_key(store: KeyStore, owner: str) -> bytes:
    """Return one of the log's own keys."""
    try:
        return store.unwrap(store.find_by_owner({owner})[owner])
    except RecordDamaged as error:
        raise LogRefused(
            "master_key: cannot decrypt the keys in the key database; configure the master key that encrypted them"
        ) from error
