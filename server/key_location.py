"""Where a key lives: a file, or an object of a PKCS#11 token, such as a hardware security module."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import unquote

from pydantic import BeforeValidator

_SCHEME = "pkcs11:"
_EXPECTED = (
    "pkcs11:token=TOKEN;object=NAME?module-path=/path/of/library.so&pin-source=/path/of/file (RFC 7512); percent-encode "
    "other characters than letters, digits and - _ . /"
)
_PAIR = re.compile(r"([a-z-]+)=([A-Za-z0-9._~/%:+-]+)")


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """An object of a PKCS#11 token, as in RFC 7512.

    Attributes:
        token: Label of the token.
        object: Label of the key in the token.
        module_path: Path of the library with which the token is used.
        pin_source: Path of a file with the PIN of the token, in one line.
    """

    token: str
    object: str
    module_path: Path
    pin_source: Path

    def __str__(self) -> str:
        """Return the URI without the paths, which is what messages show."""
        return f"{_SCHEME}token={self.token};object={self.object}"


def parse_key_location(value: Any) -> Any:
    """Parse a PKCS#11 URI; return every other value unchanged.

    Raises:
        ValueError: The URI is malformed. The message states the form.
    """
    if not isinstance(value, str) or not value.startswith(_SCHEME):
        return value
    path, _, query = value.removeprefix(_SCHEME).partition("?")
    pairs = [_PAIR.fullmatch(part) for part in (*path.split(";"), *query.split("&"))]
    found = {pair[1]: unquote(pair[2]) for pair in pairs if pair}
    if None in pairs or set(found) != {"token", "object", "module-path", "pin-source"} or len(pairs) != len(found):
        raise ValueError(f"must be {_EXPECTED}")
    pin_source = Path(found["pin-source"].removeprefix("file:"))
    return Pkcs11Uri(found["token"], found["object"], Path(found["module-path"]), pin_source)


KeyLocation: TypeAlias = Annotated[Path | Pkcs11Uri, BeforeValidator(parse_key_location)]
