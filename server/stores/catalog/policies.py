"""The policy store: every policy file that was ever in force or proposed, by SHA-256, and the policy that was activated last.

A decision can be replayed only with the policy file that was in force when the decision was made.
"""

import hashlib
import tomllib
from functools import lru_cache

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.exc import IntegrityError

from grounds_record.activations import CHANGE_PROPOSED, RecordedChange
from server.errors import RecordDamaged
from server.stores.database import ConnectionSource, Database
from server.stores.record_log.activations import read_activated_policy, read_history
from server.stores.tables import POLICIES

_SELECT_CONTENT = select(POLICIES.c.content).where(POLICIES.c.sha256 == bindparam("wanted"))  # built once


class PolicyStore:
    """Stores and reads policy files. Its methods may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._verified: dict[str, bytes] = {}  # contents that were found to match their digests, by digest

    def save(self, content: bytes) -> None:
        """Store a policy file durably, unless it is stored already.

        Raises:
            StoreUnavailable: The database does not answer, or cannot write the file.
        """
        if self._read(hashlib.sha256(content).hexdigest(), self._database) is not None:
            return
        try:
            with self._database.writing() as connection:
                save_policy(connection, content)
        except IntegrityError:
            pass  # another process stored the same file first

    def find(self, sha256: str, source: ConnectionSource | None = None) -> bytes | None:
        """Return the content of the policy file with a digest; None if the store has no such file.

        Args:
            sha256: SHA-256 of the file, hexadecimal.
            source: The snapshot to read from; None reads the newest state of the database.

        Raises:
            RecordDamaged: The stored content does not match the digest.
        """
        if sha256 in self._verified:
            return self._verified[sha256]
        content = self._read(sha256, source or self._database)
        if content is None:
            return None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise RecordDamaged(
                "the stored policy file does not match its SHA-256; restore the file from a backup", sha256=sha256
            )
        self._verified[sha256] = content
        return content

    def find_activated(self) -> RecordedChange | None:
        """Return the last activation of a policy; None if no policy was ever activated.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        with self._database.reading() as connection:
            return read_activated_policy(connection)

    def find_versions(self) -> dict[str, str]:
        """Return the version of every policy that was ever in force, by SHA-256."""
        with self._database.reading() as connection:
            return read_versions(connection)

    def _read(self, sha256: str, source: ConnectionSource) -> bytes | None:
        """Return the content that is stored for a digest, without checking it; None if no content is stored."""
        with source.reading() as connection:
            found = connection.execute(_SELECT_CONTENT, {"wanted": sha256}).scalar()
        return None if found is None else bytes(found)


def save_policy(connection: Connection, content: bytes) -> None:
    """Store a policy file in the transaction of a connection, unless it is stored already.

    Raises:
        IntegrityError: Another process stored the same file at the same time.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    if connection.execute(_SELECT_CONTENT, {"wanted": sha256}).first() is None:
        connection.execute(POLICIES.insert().values(sha256=sha256, content=content))


def read_versions(connection: Connection, *, only_recorded: bool = False) -> dict[str, str]:
    """Return the version of every stored policy that was ever in force, by SHA-256.

    A policy is stored when it is proposed, so an unapproved proposal leaves a policy that was never in force.
    Any other policy is stored when it comes into force. Release 0.1.0 recorded no activations, so a policy that is
    neither activated nor proposed counts as one that was in force.

    Args:
        connection: The connection to read with.
        only_recorded: Return only the policies whose activation is recorded.
    """
    history = read_history(connection)
    proposed = {change.policy_sha256 for change in history.changes if change.header.kind == CHANGE_PROPOSED}
    never = proposed - history.policies
    contents = connection.execute(select(POLICIES.c.sha256, POLICIES.c.content)).all()
    stored = {row.sha256: bytes(row.content) for row in contents}
    in_force = stored.keys() & history.policies if only_recorded else stored.keys() - never
    return {sha256: _read_version(stored[sha256]) for sha256 in in_force}


@lru_cache(maxsize=1024)  # the versions are read again while the head of the log is locked
def _read_version(content: bytes) -> str:
    """Return the version in a policy file; "" if the content was damaged."""
    try:
        return str(tomllib.loads(content.decode()).get("version", ""))
    except (ValueError, RecursionError):  # not UTF-8, not TOML, or nested too deeply
        return ""
