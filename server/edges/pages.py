"""Page tokens: opaque, signed, bound to the list they belong to; they carry no rights."""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass

from server.errors import PageTokenInvalid

MAC_BYTES = 16


@dataclass(frozen=True, slots=True)
class PagePlace:
    """Where the next page begins: the list (run, market, order, locale) and the last entry of the page before."""

    run_id: str
    market: str
    order: str
    locale: str
    number: int
    customer_id: str


class PageTokens:
    """Writes and reads tokens under the key that all processes of the database share."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def write(self, place: PagePlace) -> str:
        """Give the token of a place."""
        content = json.dumps(asdict(place), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self.mac(content) + content).decode().rstrip("=")

    def read(self, token: str) -> PagePlace:
        """Give the place of a token.

        Raises:
            PageTokenInvalid: The token is not ours.
        """
        try:
            content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError) as error:
            raise PageTokenInvalid("page_token is not one that this service gave") from error
        mac, content = content[:MAC_BYTES], content[MAC_BYTES:]
        if not hmac.compare_digest(mac, self.mac(content)):
            raise PageTokenInvalid("page_token is not one that this service gave")
        return PagePlace(**json.loads(content))

    def mac(self, content: bytes) -> bytes:
        """Sign."""
        return hmac.digest(self.key, content, hashlib.sha256)[:MAC_BYTES]
