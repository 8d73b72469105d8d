"""The keys that sign page tokens. A rotation adds a key, and tokens of older keys stay valid until they expire.

A new key signs tokens only some time after it was added. Every server reads the keys more often than that, so each
server knows a key before any server signs a token with it.
"""

import datetime as dt
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import delete, select

from server.stores.database import Database
from server.stores.tables import SERVER_KEYS

_FIRST = "page_tokens"
_LATER = f"{_FIRST}/"  # followed by the time from which on the key signs, in seconds since 1970
_KEY_BYTES = 32
DELAY = dt.timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class PageTokenKey:
    """A key that signs page tokens.

    Attributes:
        name: Name of the key in the database.
        since: The time from which on the key signs.
        key: The key, 32 bytes.
    """

    name: str
    since: dt.datetime
    key: bytes = field(repr=False)


class PageTokenKeys:
    """The keys of page tokens, as this process has read them last.

    Attributes:
        keys: The keys, the newest first.
    """

    def __init__(self, database: Database, clock: Callable[[], dt.datetime]) -> None:
        """Read the keys. If the database has none, create the first.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        self._database, self._clock = database, clock
        self.keys: tuple[PageTokenKey, ...] = ()
        database.ensure_key(_FIRST)
        self.refresh()

    def refresh(self) -> None:
        """Read the keys again.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        wanted = select(SERVER_KEYS).where((SERVER_KEYS.c.name == _FIRST) | SERVER_KEYS.c.name.startswith(_LATER))
        with self._database.reading() as connection:
            rows = connection.execute(wanted).all()
        found = [PageTokenKey(row.name, _since(row.name), bytes(row.key)) for row in rows]
        self.keys = tuple(sorted(found, key=lambda each: each.since, reverse=True))

    def usable(self) -> list[bytes]:
        """Return the key that signs now, followed by the others, whose tokens are valid too."""
        now = self._clock()
        signing = next((each for each in self.keys if each.since <= now), self.keys[-1])
        return [signing.key, *(each.key for each in self.keys if each is not signing)]

    def rotate(self, days_max: float, *, revoke: bool) -> dt.datetime:
        """Add a key, and remove the keys whose tokens have all expired. Return the time from which on the key signs.

        Args:
            days_max: Number of days for which a token is valid.
            revoke: Remove all other keys, so that their tokens become invalid.

        Raises:
            StoreUnavailable: The database does not answer, or another process rotated the key in the same second.
        """
        now = self._clock()
        since = now if revoke else now + DELAY
        name = f"{_LATER}{int(since.timestamp())}"
        # All tokens of a key are at least as old as the key that replaced it.
        replaced = [
            older.name
            for newer, older in zip(self.keys, self.keys[1:], strict=False)
            if now - newer.since > dt.timedelta(days=days_max)
        ]
        removed = [each.name for each in self.keys] if revoke else replaced
        with self._database.writing() as connection:
            connection.execute(delete(SERVER_KEYS).where(SERVER_KEYS.c.name.in_([*removed, name])))
            connection.execute(SERVER_KEYS.insert().values(name=name, key=secrets.token_bytes(_KEY_BYTES)))
            if revoke:
                # Without the first key, a restarted server would create it again.
                connection.execute(SERVER_KEYS.insert().values(name=_FIRST, key=secrets.token_bytes(_KEY_BYTES)))
        self.refresh()
        return since


def _since(name: str) -> dt.datetime:
    """Return the time from which on a key signs. The first key signs from the beginning."""
    return dt.datetime.fromtimestamp(int(name.removeprefix(_LATER)) if name.startswith(_LATER) else 0, dt.UTC)
