"""Every policy file that was ever in force, by its digest: without it a decision under it could not be replayed."""

import hashlib

from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError

from server.errors import RecordDamaged
from server.stores.database import ConnectionSource, Database
from server.stores.tables import POLICIES

_SELECT_CONTENT = select(POLICIES.c.content).where(POLICIES.c.sha256 == bindparam("wanted"))  # built once


class PolicyStore:
    """Stores and reads policy files. Its methods may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._verified: dict[str, bytes] = {}  # by digest; a digest never means another file

    def save(self, content: bytes) -> None:
        """Store a policy file; durable when this returns.

        Raises:
            StoreUnavailable: It was not stored.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        if self._read(sha256, self._database) is not None:
            return
        try:
            with self._database.writing() as connection:
                connection.execute(POLICIES.insert().values(sha256=sha256, content=content))
        except IntegrityError:
            pass  # another process stored the same file first

    def find(self, sha256: str, source: ConnectionSource | None = None) -> bytes | None:
        """Return the policy file with this digest; None if it was never saved.

        Args:
            sha256: Digest of the file, hexadecimal.
            source: Where to read; the database itself if None.

        Raises:
            RecordDamaged: It is not what was stored.
        """
        if sha256 in self._verified:
            return self._verified[sha256]
        content = self._read(sha256, source or self._database)
        if content is None:
            return None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise RecordDamaged("the policy file is not what was stored; restore it from a backup", sha256=sha256)
        self._verified[sha256] = content
        return content

    def _read(self, sha256: str, source: ConnectionSource) -> bytes | None:
        """Read a file without checking it."""
        with source.reading() as connection:
            found = connection.execute(_SELECT_CONTENT, {"wanted": sha256}).scalar()
        return None if found is None else bytes(found)
