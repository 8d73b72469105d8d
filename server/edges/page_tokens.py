"""Page tokens: opaque, signed and dated tokens for a position in a list, a synchronization or an export.

A token is URL-safe base64 of a truncated HMAC-SHA256, followed by JSON: the name of the cursor, the time at which the
token was written, and the cursor's fields. The signature prevents callers from changing the position. A token grants no
permission.

A token is valid only if its fields are those of the cursor, because a default would be wrong for some
copies. So a release that adds, renames or removes a field invalidates the tokens that callers keep: each copy needs one full
synchronization. While servers of both releases answer, copies alternate between them. Change fields rarely, state it in
CHANGELOG.md, and upgrade the servers of a database together.
"""

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from google.protobuf.message import Message

from server.edges.identity.callers import LOCAL_CALLER, Caller
from server.errors import PageTokenInvalid, ResyncRequired
from server.stores.runs.changes import SyncPhase

_MAC_BYTES = 16
_PAGE_SIZE_DEFAULT, _PAGE_SIZE_MAX = 100, 1000
_INVALID_MESSAGE = "the token is invalid: pass a token that the same method returned, unchanged"


@dataclass(frozen=True, slots=True)
class RiskPageCursor:
    """Start of the next page of a list of churn predictions.

    Attributes:
        run: Number of the run from which all pages of the list are read.
        market: The market of the run.
        filters: Digest of the list's order, filters and locale. The token is valid only for a list with an equal
            digest.
        total: Number of customers in the list, counted for the first page.
        number: Rank or value at risk of the last entry of the previous page.
        customer_id: The customer_id of the last entry of the previous page. It orders entries with an equal `number`.
    """

    run: int
    market: str
    filters: str
    total: int
    number: int
    customer_id: str


@dataclass(frozen=True, slots=True)
class SyncCursor:
    """Start of the next page of a synchronization, which brings a caller's copy of a market up to date.

    Attributes:
        market: The market of the copy.
        locale: The locale of the copy.
        run: Number of the run to which the synchronization brings the copy.
        since: Number of the run that the copy contained before; None in a full synchronization.
        mark: Number of the last tombstone that this synchronization delivers.
        since_mark: Number of the last tombstone that an earlier synchronization delivered.
        phase: The phase of the synchronization in which the previous page ended; see server.stores.runs.changes.
        customer_id: The last customer that the previous page compared.
        number: Number of the last tombstone of the previous page.
        withheld: Whether the copy has withheld customers.
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
    withheld: bool


@dataclass(frozen=True, slots=True)
class CopyState:
    """The state of a caller's copy at the end of a synchronization. A delta token contains this state.

    Attributes:
        market: The market of the copy.
        locale: The locale of the copy.
        run: Number of the run that the copy contains.
        mark: Number of the last tombstone that the copy has applied.
        withheld: Whether the copy has withheld customers.
    """

    market: str
    locale: str
    run: int
    mark: int
    withheld: bool


@dataclass(frozen=True, slots=True)
class ExportCursor:
    """The position of the next part of an export.

    Attributes:
        market: The market of the export.
        locale: The locale of the export.
        run: Number of the exported run.
        mark: Number of the last tombstone when the export started.
        part: Index of the stored chunk, from 0.
        compression: NONE or ZSTD; all parts of an export have the same compression.
        rows_left: Number of rows at the end of the chunk that were not sent yet; 0 before the first part of a chunk. An
            uncompressed chunk is sent in several parts. The rows are counted from the end, because an erasure between
            two parts may remove a row. If the removed row was already sent, the position stays correct. If the removed
            row was not sent yet, the next part repeats one customer, but skips none.
        withheld: Whether the export has withheld customers.
    """

    market: str
    locale: str
    run: int
    mark: int
    part: int
    compression: str
    rows_left: int
    withheld: bool


_TOKEN_KINDS: dict[type, str] = {
    RiskPageCursor: "PagePlace",
    SyncCursor: "SyncPlace",
    CopyState: "CopyState",
    ExportCursor: "ExportPlace",
}
_Cursor = TypeVar("_Cursor", RiskPageCursor, SyncCursor, CopyState, ExportCursor)


class PageTokens:
    """Writes and reads tokens, which are signed with keys that all servers with the same database share."""

    def __init__(self, keys: Callable[[], Sequence[bytes]], days_max: float, clock: Callable[[], dt.datetime]) -> None:
        """Create an instance.

        Args:
            keys: Function that returns the key that signs now, followed by other keys whose tokens are valid.
            days_max: Number of days for which a token is valid.
            clock: Function that returns the current time.
        """
        self._keys, self._clock = keys, clock
        self._age_max = dt.timedelta(days=days_max)

    def for_caller(self, caller: Caller) -> "PageTokens":
        """Return an instance whose tokens only this caller can use. For the local caller, return this instance."""
        if caller == LOCAL_CALLER:
            return self
        name = caller.name.encode()

        def keys() -> list[bytes]:
            return [hmac.digest(key, name, hashlib.sha256) for key in self._keys()]

        return PageTokens(keys, self._age_max / dt.timedelta(days=1), self._clock)

    def write(self, cursor: RiskPageCursor | SyncCursor | CopyState | ExportCursor) -> str:
        """Return the token of a cursor."""
        kind = _TOKEN_KINDS[type(cursor)]
        return self.sign({"kind": kind, "at": int(self._clock().timestamp()), **asdict(cursor)})

    def read(self, token: str, cursor: type[_Cursor]) -> _Cursor:
        """Return the cursor of a token.

        Args:
            token: The token from the caller's request.
            cursor: The expected type of cursor.

        Raises:
            PageTokenInvalid: The signature is invalid, or the token contains a different type of cursor.
            ResyncRequired: The token has expired.
        """
        content = self.open(token)
        if not isinstance(content, dict) or content.pop("kind", None) != _TOKEN_KINDS[cursor]:
            raise PageTokenInvalid(_INVALID_MESSAGE)
        # A different release may have signed a cursor with the same name but different fields.
        if set(content) != {"at", *(field.name for field in fields(cursor))}:
            raise PageTokenInvalid(_INVALID_MESSAGE)
        written = dt.datetime.fromtimestamp(content.pop("at"), dt.UTC)
        if self._clock() - written > self._age_max:
            days = f"{self._age_max / dt.timedelta(days=1):g}"
            raise ResyncRequired(f"the token is older than {days} days; begin again without a token", days=days)
        return cursor(**content)

    def write_position(self, kind: str, condition: Message, position: Sequence[int]) -> str:
        """Return the token of the next page of a list, which is valid only for the same method and condition.

        Args:
            kind: Name of the list, different for each method.
            condition: The fields of the request that determine the list. The message must have no map fields, so that equal
                conditions have equal bytes.
            position: The end of the page.
        """
        return self.sign([kind, _condition_digest(condition), *position])

    def read_position(self, token: str, kind: str, condition: Message, count: int) -> list[int] | None:
        """Return the position of a token of `write_position`; None for "", which is the first page.

        Args:
            token: The token from the caller's request.
            kind: As for `write_position`.
            condition: As for `write_position`.
            count: How many numbers a position of this list has.

        Raises:
            PageTokenInvalid: The token is invalid, or was issued for a different caller, method or condition.
        """
        if not token:
            return None
        match self.open(token):
            case [found, digest, *position] if found == kind and len(position) == count:
                if digest != _condition_digest(condition):
                    raise PageTokenInvalid(
                        "page_token was issued for a different list: send the other fields as for the first page, or omit page_token"
                    )
                return position
        raise PageTokenInvalid(_INVALID_MESSAGE)

    def sign(self, content: object) -> str:
        """Return a signed token that contains any value that JSON can represent."""
        data = json.dumps(content, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(_mac(self._keys()[0], data) + data).decode().rstrip("=")

    def open(self, token: str) -> Any:
        """Return the content of a token after checking its signature. The content and the age are not checked.

        Raises:
            PageTokenInvalid: The signature is invalid.
        """
        try:
            # `sign` removes the padding. Add it again, because the decoder requires a multiple of four characters.
            data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError) as error:
            raise PageTokenInvalid(_INVALID_MESSAGE) from error
        mac, data = data[:_MAC_BYTES], data[_MAC_BYTES:]
        # The comparison takes constant time. It precedes parsing, so that unsigned bytes never reach the JSON parser.
        if not any(hmac.compare_digest(mac, _mac(key, data)) for key in self._keys()):
            raise PageTokenInvalid(_INVALID_MESSAGE)
        return json.loads(data)


def _condition_digest(condition: Message) -> str:
    """Return the SHA-256 of a message."""
    return hashlib.sha256(condition.SerializeToString(deterministic=True)).hexdigest()


def _mac(key: bytes, data: bytes) -> bytes:
    """Return the truncated HMAC-SHA256 of some bytes."""
    return hmac.digest(key, data, hashlib.sha256)[:_MAC_BYTES]


def page_size(requested: int) -> int:
    """Return the number of entries of a page: the requested number, but at most 1000, or 100 if 0 was requested."""
    return min(requested or _PAGE_SIZE_DEFAULT, _PAGE_SIZE_MAX)
