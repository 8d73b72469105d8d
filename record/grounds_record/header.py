"""The part of a record that stays readable for ever: what, when, by whom, under which key. No personal data.

Bytes: JSON in one canonical form: keys sorted, no spaces, ASCII, integers and strings only, every field always there.
Canonical JSON and not a binary form of our own, because an auditor can read it with anything in twenty years. A reader
accepts exactly the bytes that the writer would have written, so a header has one form and its hash means its content.

To change it: raise VERSION, let `parse_header` read both, keep a header of the old version in the tests.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from grounds_record.errors import HeaderInvalid, HeaderVersionUnsupported

VERSION = 1
RETENTION_KIND = "RETENTION"  # the one kind that `verify` knows: a record of what retention removed
HEADER_BYTES_MAX = 65536
REMOVED_MAX = 500  # of one record; a retention run that removes more writes several
TIME_US_MAX = 2**53 - 1  # what every reader of JSON keeps exact
INDEX_MAX = 2**53 - 1

NAME = "[a-z][a-z0-9_]{0,31}"
# Codes and ids, but neither a sentence nor an e-mail address: a person's name does not slip in.
CODE = "[A-Za-z0-9][A-Za-z0-9_.:/+-]{0,127}"
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
HEX_32 = "[0-9a-f]{64}"
HEX_16 = "[0-9a-f]{32}"
_PATTERNS = {
    "kind": "[A-Z][A-Z0-9_]{0,31}",
    "record_id": UUID,
    "caller": CODE,
    "key_id": HEX_16,
    "request_id": f"|{UUID}",
    "customer_tag": f"|{HEX_32}",
    "content_tag": f"|{HEX_32}",
}


@dataclass(frozen=True, slots=True)
class RemovedRecord:
    """A record whose ciphertext retention has removed. Its header is not under its leaf hash alone any more, so this keeps it.

    Attributes:
        index: Its place in the log, from 0.
        header_sha256: SHA-256 of its header's bytes, in hexadecimal.
    """

    index: int
    header_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is known of a record without its key.

    Attributes:
        kind: What it records, in capitals, such as CREDIT_DECISION; at most 32 characters.
        record_id: UUID in lower case; the decision_id of a decision.
        time_us: When it was made: microseconds since 1970, UTC; 0 to 2**53 - 1.
        caller: The system that asked, never a person. 1 to 128 characters of A-Z a-z 0-9 _ . : / + -
        key_id: `customer_keys.key_id` of the key that sealed it: 32 hexadecimal digits.
        request_id: UUID of the caller's request; "" where there was none.
        customer_tag: `customer_keys.customer_tag` in hexadecimal; "" where it is about no customer.
        content_tag: `customer_keys.content_tag` in hexadecimal; "" where nothing was sent.
        labels: What a log is filtered by (market, bundle, grade, ...): codes by name, as `caller`; no free text.
        removed: Only in a record of kind RETENTION: what it removed, ascending by index. At most 500.
    """

    kind: str
    record_id: str
    time_us: int
    caller: str
    key_id: str
    request_id: str = ""
    customer_tag: str = ""
    content_tag: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[RemovedRecord, ...] = ()

    def __post_init__(self) -> None:
        for name, shape in _PATTERNS.items():
            _check_pattern(name, getattr(self, name), shape)
        _check_integer("time_us", self.time_us, TIME_US_MAX)
        for name, code in self.labels.items():
            _check_pattern("the name of a label", name, NAME)
            _check_pattern(f"label {name}", code, CODE)
        _check_removed(self.kind, self.removed)

    def to_bytes(self) -> bytes:
        """Write the header; the same header gives the same bytes.

        Raises:
            HeaderInvalid: It has more than 64 KiB.
        """
        found: dict[str, object] = {each.name: getattr(self, each.name) for each in fields(self)}
        found["labels"] = dict(self.labels)
        found["removed"] = [[entry.index, entry.header_sha256] for entry in self.removed]
        found["version"] = VERSION
        content = json.dumps(found, sort_keys=True, separators=(",", ":")).encode("ascii")
        _check_size(content)
        return content


def parse_header(content: bytes) -> Header:
    """Read a header.

    Raises:
        HeaderVersionUnsupported: A newer release wrote it.
        HeaderInvalid: It is not in the one form in which we write it; names the field.
    """
    _check_size(content)
    try:
        found = json.loads(content.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise HeaderInvalid("the header is not JSON in ASCII") from error
    if not isinstance(found, dict):
        raise HeaderInvalid("the header is not a JSON object")
    # The version first: what is newer may have fields that this release does not know.
    version = found.pop("version", None)
    if type(version) is not int or version < 1:
        raise HeaderInvalid("the header has no version")
    if version > VERSION:
        raise HeaderVersionUnsupported(f"the header has version {version}; this release reads up to {VERSION}")
    different = set(found) ^ {each.name for each in fields(Header)}
    if different:
        raise HeaderInvalid(f"the header lacks these fields, or should not have them: {', '.join(sorted(different))}")
    if not isinstance(found["labels"], dict):
        raise HeaderInvalid("labels is not an object")
    header = Header(**{**found, "removed": _parse_removed(found["removed"])})
    if header.to_bytes() != content:
        raise HeaderInvalid("the header is not in its canonical form: keys sorted, no spaces, each key once")
    return header


def _parse_removed(found: object) -> tuple[RemovedRecord, ...]:
    """Read [[index, header_sha256], ...]."""
    if not isinstance(found, list):
        raise HeaderInvalid("removed is not a list")
    for entry in found:
        if not isinstance(entry, list) or len(entry) != 2:  # noqa: PLR2004 - index, hash
            raise HeaderInvalid("an entry of removed is not [index, header_sha256]")
    return tuple(RemovedRecord(index, header_sha256) for index, header_sha256 in found)


def _check_removed(kind: str, removed: tuple[RemovedRecord, ...]) -> None:
    """Refuse a list of removed records in which one could hide."""
    if (kind == RETENTION_KIND) != bool(removed):
        raise HeaderInvalid(f"a record of kind {RETENTION_KIND}, and no other, has removed records")
    if len(removed) > REMOVED_MAX:
        raise HeaderInvalid(f"{len(removed)} records are removed; one record names at most {REMOVED_MAX}")
    last = -1
    for entry in removed:
        _check_integer("the index of a removed record", entry.index, INDEX_MAX)
        _check_pattern("header_sha256 of a removed record", entry.header_sha256, HEX_32)
        if entry.index <= last:
            raise HeaderInvalid("the removed records are not in ascending order")
        last = entry.index


def _check_pattern(name: str, text: object, shape: str) -> None:
    """Refuse a text that is not wholly of a shape. The text itself is not told: it may be what must not be here."""
    if not isinstance(text, str) or not re.fullmatch(shape, text):
        raise HeaderInvalid(f"{name} is not of the form {shape}")


def _check_integer(name: str, number: object, largest: int) -> None:
    """Refuse what is not an integer from 0 to the largest; a bool is none."""
    if type(number) is not int or not 0 <= number <= largest:
        raise HeaderInvalid(f"{name} is not an integer from 0 to {largest}")


def _check_size(content: bytes) -> None:
    """Refuse a header that is too long."""
    if len(content) > HEADER_BYTES_MAX:
        raise HeaderInvalid(f"the header has {len(content)} bytes; at most {HEADER_BYTES_MAX} are allowed")
