"""Every policy file that ever held, by its digest: without it a decision made under it could not be replayed."""

import hashlib

from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError

from server.errors import RecordDamaged
from server.stores.database import ConnectionSource, Database
from server.stores.tables import POLICIES

OF_SHA256 = select(POLICIES.c.content).where(POLICIES.c.sha256 == bindparam("wanted"))  # made once: that takes longer


class PolicyStore:
    """Keeps and reads policy files. Its methods may be called from any thread.

    Attributes:
        read: Files that were read and are what their digests say: no file of that digest can be another.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.read: dict[str, bytes] = {}

    def save(self, content: bytes) -> None:
        """Keep a file; durable when this returns.

        Raises:
            StoreUnavailable: It was not kept.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        if self._read(sha256, self.database) is not None:
            return
        try:
            with self.database.writing() as connection:
                connection.execute(POLICIES.insert().values(sha256=sha256, content=content))
        except IntegrityError:
            pass  # another process was first

    def find(self, sha256: str, source: ConnectionSource | None = None) -> bytes | None:
        """Return the policy file with this digest; None if it was never saved.

        Args:
            sha256: Digest of the file, hexadecimal.
            source: Where to read; the database itself if None.

        Raises:
            RecordDamaged: It is not what was kept.
        """
        if sha256 in self.read:
            return self.read[sha256]
        content = self._read(sha256, source or self.database)
        if content is None:
            return None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise RecordDamaged("the policy file is not what was kept; restore it from a backup", sha256=sha256)
        self.read[sha256] = content
        return content

    def _read(self, sha256: str, source: ConnectionSource) -> bytes | None:
        """Read a file without checking it."""
        with source.reading() as connection:
            found = connection.execute(OF_SHA256, {"wanted": sha256}).scalar()
        return None if found is None else bytes(found)
