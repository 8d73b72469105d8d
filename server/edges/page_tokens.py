"""Page tokens: opaque, signed, bound to the list or sync they belong to, of an age; they carry no rights."""

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from server.errors import PageTokenInvalid, ResyncRequired
from server.stores.runs.changes import SyncPhase

MAC_BYTES = 16
PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX = 100, 1000
NOT_OURS = "the token is not one that this service gave for this"


@dataclass(frozen=True, slots=True)
class PagePlace:
    """Where the next page of a list begins: the list, and the last entry of the page before.

    Attributes:
        run: Number of the run.
        filters: Digest of what the list was asked for.
        total: How many customers the list had when it was begun.
        number: Rank or value at risk of the last entry.
    """

    run: int
    market: str
    filters: str
    total: int
    number: int
    customer_id: str


@dataclass(frozen=True, slots=True)
class SyncPlace:
    """Where the next page of a sync begins; see server.stores.runs.changes for the rest."""

    market: str
    locale: str
    run: int
    since: int | None
    mark: int
    since_mark: int
    phase: SyncPhase
    customer_id: str
    number: int


@dataclass(frozen=True, slots=True)
class CopyState:
    """What a copy shows at the end of a sync: a run, and the tombstones up to a number. A delta token."""

    market: str
    locale: str
    run: int
    mark: int


@dataclass(frozen=True, slots=True)
class ExportPlace:
    """Which part of an export comes next."""

    market: str
    locale: str
    run: int
    mark: int
    part: int


AnyPlace = PagePlace | SyncPlace | CopyState | ExportPlace
Kind = TypeVar("Kind", PagePlace, SyncPlace, CopyState, ExportPlace)


class PageTokens:
    """Writes and reads tokens under the key that all processes of the database share."""

    def __init__(self, key: bytes, days_max: float, clock: Callable[[], dt.datetime]) -> None:
        self.key, self.clock = key, clock
        self.age_max = dt.timedelta(days=days_max)

    def write(self, place: AnyPlace) -> str:
        """Give the token of a place."""
        return self.signed({"kind": type(place).__name__, "at": int(self.clock().timestamp()), **asdict(place)})

    def read(self, token: str, kind: type[Kind]) -> Kind:
        """Give the place of a token.

        Raises:
            PageTokenInvalid: The token is not ours, or of another kind.
            ResyncRequired: It is too old.
        """
        told = self.opened(token)
        if not isinstance(told, dict) or told.pop("kind", None) != kind.__name__:
            raise PageTokenInvalid(NOT_OURS)
        if set(told) != {"at", *(each.name for each in fields(kind))}:  # another release gave it
            raise PageTokenInvalid(NOT_OURS)
        given = dt.datetime.fromtimestamp(told.pop("at"), dt.UTC)
        if self.clock() - given > self.age_max:
            days = f"{self.age_max / dt.timedelta(days=1):g}"
            raise ResyncRequired(f"the token is older than {days} days; begin again without one", days=days)
        return kind(**told)

    def signed(self, told: object) -> str:
        """Give the token that tells this, which JSON can hold."""
        content = json.dumps(told, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self.mac(content) + content).decode().rstrip("=")

    def opened(self, token: str) -> Any:
        """Give what a token tells; of what kind it is, its reader must ask.

        Raises:
            PageTokenInvalid: The token is not ours.
        """
        try:
            content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError) as error:
            raise PageTokenInvalid(NOT_OURS) from error
        mac, content = content[:MAC_BYTES], content[MAC_BYTES:]
        if not hmac.compare_digest(mac, self.mac(content)):
            raise PageTokenInvalid(NOT_OURS)
        return json.loads(content)

    def mac(self, content: bytes) -> bytes:
        """Sign."""
        return hmac.digest(self.key, content, hashlib.sha256)[:MAC_BYTES]


def page_size_of(asked: int) -> int:
    """Give the size of a page."""
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
