"""Page tokens: opaque, signed and dated positions in a list, a synchronization or an export.

A token is URL-safe base64 of a truncated HMAC-SHA256, followed by JSON: the name of the cursor, the time at which the
token was written, and the cursor's fields. The signature keeps callers from editing a position; a token grants no
rights. The names below stay as they are between releases, because callers keep delta tokens for days.
"""

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

_MAC_BYTES = 16
_PAGE_SIZE_DEFAULT, _PAGE_SIZE_MAX = 100, 1000
INVALID_MESSAGE = "the token is invalid: pass a token that the same method returned, unchanged"


@dataclass(frozen=True, slots=True)
class RiskPageCursor:
    """Start of the next page of a list of churn predictions.

    Attributes:
        run: Number of the run that the whole list reads.
        filters: Digest of order, filters and locale; a token works for the same list only.
        total: Customers in the list, counted for the first page.
        number: Rank or value at risk of the last entry of the previous page.
        customer_id: Of that entry; breaks ties of `number`.
    """

    run: int
    market: str
    filters: str
    total: int
    number: int
    customer_id: str


@dataclass(frozen=True, slots=True)
class SyncCursor:
    """Start of the next page of a synchronization; see server.stores.runs.changes for the fields.

    Attributes:
        since: Number of the run that the copy shows; None in a full synchronization.
    """

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
    """What a copy shows at the end of a synchronization, in a delta token.

    Attributes:
        run: Number of the run.
        mark: Number of the last tombstone that the copy has applied.
    """

    market: str
    locale: str
    run: int
    mark: int


@dataclass(frozen=True, slots=True)
class ExportCursor:
    """The next part of an export.

    Attributes:
        mark: Number of the last tombstone when the export began.
        part: The stored chunk, from 0.
        compression: NONE or ZSTD, the same in all parts of an export.
        rows_left: Rows of the chunk that were not sent, 0 before the first part of a chunk: a chunk that is not
            compressed goes out in several parts. Counted from the end, because an erasure between two parts may remove a
            row: one that was sent changes nothing, one that was not makes the next part repeat a customer, never skip one.
    """

    market: str
    locale: str
    run: int
    mark: int
    part: int
    compression: str
    rows_left: int


_TOKEN_KINDS: dict[type, str] = {
    RiskPageCursor: "PagePlace",
    SyncCursor: "SyncPlace",
    CopyState: "CopyState",
    ExportCursor: "ExportPlace",
}
_Cursor = TypeVar("_Cursor", RiskPageCursor, SyncCursor, CopyState, ExportCursor)


class PageTokens:
    """Writes and reads tokens, signed with the key that all processes of a database share."""

    def __init__(self, key: bytes, days_max: float, clock: Callable[[], dt.datetime]) -> None:
        self._key, self._clock = key, clock
        self._age_max = dt.timedelta(days=days_max)

    def write(self, cursor: RiskPageCursor | SyncCursor | CopyState | ExportCursor) -> str:
        """Return the token of a cursor."""
        kind = _TOKEN_KINDS[type(cursor)]
        return self.sign({"kind": kind, "at": int(self._clock().timestamp()), **asdict(cursor)})

    def read(self, token: str, cursor: type[_Cursor]) -> _Cursor:
        """Return the cursor of a token.

        Args:
            token: As the caller passed it.
            cursor: The expected type.

        Raises:
            PageTokenInvalid: The signature is invalid, or the token holds another type of cursor.
            ResyncRequired: The token is too old.
        """
        content = self.open(token)
        if not isinstance(content, dict) or content.pop("kind", None) != _TOKEN_KINDS[cursor]:
            raise PageTokenInvalid(INVALID_MESSAGE)
        # Another release may have signed a cursor of the same name with other fields.
        if set(content) != {"at", *(field.name for field in fields(cursor))}:
            raise PageTokenInvalid(INVALID_MESSAGE)
        written = dt.datetime.fromtimestamp(content.pop("at"), dt.UTC)
        if self._clock() - written > self._age_max:
            days = f"{self._age_max / dt.timedelta(days=1):g}"
            raise ResyncRequired(f"the token is older than {days} days; begin again without a token", days=days)
        return cursor(**content)

    def sign(self, content: object) -> str:
        """Return a token that holds any value that JSON can write."""
        data = json.dumps(content, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(data) + data).decode().rstrip("=")

    def open(self, token: str) -> Any:
        """Return the content of a token; the caller checks its shape.

        Raises:
            PageTokenInvalid: The signature is invalid.
        """
        try:
            # `sign` strips the padding, which the decoder demands: restore it to a multiple of four characters.
            data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError) as error:
            raise PageTokenInvalid(INVALID_MESSAGE) from error
        mac, data = data[:_MAC_BYTES], data[_MAC_BYTES:]
        # Compare in constant time, and before JSON is parsed: unsigned bytes never reach the parser.
        if not hmac.compare_digest(mac, self._mac(data)):
            raise PageTokenInvalid(INVALID_MESSAGE)
        return json.loads(data)

    def _mac(self, data: bytes) -> bytes:
        """Return the truncated HMAC-SHA256 of some bytes."""
        return hmac.digest(self._key, data, hashlib.sha256)[:_MAC_BYTES]


def page_size(requested: int) -> int:
    """Return the number of entries of a page: 100 for a request of 0, at most 1000."""
    return min(requested or _PAGE_SIZE_DEFAULT, _PAGE_SIZE_MAX)
