"""The header: the part of a record that can be read without a key. It contains no personal data.

The header states what was recorded, when, by which calling system, and which key encrypts the body. It is JSON, because an
auditor can still read JSON with any tool in twenty years. The JSON is in canonical form: keys sorted, no spaces, ASCII, only
integers and strings, every field present. Two headers with the same content therefore have the same bytes and the same hash,
and `parse_header` rejects all other bytes.

To change the format, increase VERSION, extend `parse_header` so that it reads both versions, and keep a header of the old
version in the tests.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from grounds_record.errors import HeaderInvalid, HeaderVersionUnsupported

VERSION = 1
RETENTION_KIND = "RETENTION"  # a record of this kind lists removed ciphertexts; verification interprets no other kind
HEADER_BYTES_MAX = 65536
# Label with the record_id of the record to which an override, an outcome or a reading of evidence refers.
SUBJECT_LABEL = "about"
REMOVED_MAX = 500  # limit of ciphertexts per RETENTION record; a retention run that removes more writes several records
# JSON readers that parse numbers as doubles represent integers up to this limit exactly (RFC 8259, section 6).
_INTEGER_MAX = 2**53 - 1

# The columns that repeat a label, by column. All other columns repeat a field of the header.
_LABEL_COLUMNS = {"market": "market", "bundle_id": "bundle", "decision": "decision", "grade": "grade"}

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))

_NAME = re.compile("[a-z][a-z0-9_]{0,31}")
# Matches codes and ids, but no sentence and no e-mail address, so that personal data is not included by accident.
_CODE = re.compile("[A-Za-z0-9][A-Za-z0-9_.:/+-]{0,127}")
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_HEX_32 = re.compile("[0-9a-f]{64}")
_PATTERNS = {
    "kind": re.compile("[A-Z][A-Z0-9_]{0,31}"),
    "record_id": re.compile(_UUID),
    "caller": _CODE,
    "key_id": re.compile("[0-9a-f]{32}"),
    "request_id": re.compile(f"|{_UUID}"),
    "customer_tag": re.compile("|[0-9a-f]{64}"),
    "content_tag": re.compile("|[0-9a-f]{64}"),
}


@dataclass(frozen=True, slots=True)
class RemovedRecord:
    """A record whose ciphertext retention has removed.

    Without the ciphertext, the leaf hash cannot be recomputed, so it no longer proves the header. The digest in the
    retention record proves the header instead.

    Attributes:
        index: Index of the record in the log, from 0.
        header_sha256: SHA-256 of the header's bytes, 64 hexadecimal digits.
    """

    index: int
    header_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The readable part of a record. Field names are JSON keys: renaming one changes the format.

    Attributes:
        kind: Kind of the record in uppercase letters, such as CREDIT_DECISION; at most 32 characters.
        record_id: UUID of the record in lowercase letters. The record of a decision has the decision_id.
        time_us: Time of the record in microseconds since 1970, UTC; 0 to 2**53 - 1.
        caller: Name of the calling system, never of a person. 1 to 128 characters of A-Z a-z 0-9 _ . : / + -
        key_id: `customer_keys.key_id` of the key that sealed the record, 32 hexadecimal digits.
        request_id: UUID of the caller's request; "" if there is no request id.
        customer_tag: `customer_keys.customer_tag` in hexadecimal; "" if the record does not concern a customer.
        content_tag: `customer_keys.content_tag` in hexadecimal; "" if the request had no content.
        labels: Codes by name for filtering (market, bundle, grade, ...). A code has the same format as `caller`; free text
            is not allowed.
        removed: The records whose ciphertexts were removed, 1 to 500 in ascending order of index. Empty unless the kind is
            RETENTION.

    Raises:
        HeaderInvalid: A field has an invalid format. The message states the field.
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
        for name, pattern in _PATTERNS.items():
            _check_pattern(name, getattr(self, name), pattern)
        _check_integer("time_us", self.time_us)
        for name, code in self.labels.items():
            _check_pattern("the name of a label", name, _NAME)
            _check_pattern(f"label {name}", code, _CODE)
        _check_removed(self.kind, self.removed)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes of the header.

        Raises:
            HeaderInvalid: The header is longer than 64 KiB.
        """
        document: dict[str, object] = {name: getattr(self, name) for name in _FIELD_NAMES}
        document["labels"] = dict(self.labels)
        document["removed"] = [[entry.index, entry.header_sha256] for entry in self.removed]
        document["version"] = VERSION
        content = _ENCODER.encode(document).encode("ascii")
        _check_size(content)
        return content


_FIELD_NAMES = tuple(each.name for each in fields(Header))


def parse_header(content: bytes) -> Header:
    """Parse the bytes of a header.

    Raises:
        HeaderVersionUnsupported: A newer release wrote the header.
        HeaderInvalid: The header is not in canonical form, or a field is invalid. The message states the field.
    """
    _check_size(content)
    try:
        document = json.loads(content.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise HeaderInvalid("the header must be JSON in ASCII") from error
    if not isinstance(document, dict):
        raise HeaderInvalid("the header must be a JSON object")
    # Read the version first, because a newer header may have fields that this release would report as errors.
    version = document.pop("version", None)
    if type(version) is not int or version < 1:
        raise HeaderInvalid("the header has no version")
    if version > VERSION:
        raise HeaderVersionUnsupported(
            f"the header has version {version}; this release reads up to {VERSION}; upgrade grounds-client"
        )
    different = set(document) ^ set(_FIELD_NAMES)
    if different:
        raise HeaderInvalid(f"the header has missing or unknown fields: {', '.join(sorted(different))}")
    if not isinstance(document["labels"], dict):
        raise HeaderInvalid("labels: must be an object")
    header = Header(**{**document, "removed": _parse_removed(document["removed"])})
    # Encoding the header again detects everything that JSON permits but the canonical form does not: spaces, a different
    # order of keys, duplicate keys, escapes, 1.0 instead of 1.
    if header.to_bytes() != content:
        raise HeaderInvalid("the header is not in canonical form: keys must be sorted and unique, without spaces")
    return header


def header_columns(header: Header) -> dict[str, str]:
    """Return the database columns that repeat a header so that records can be searched, by name, without empty columns.

    The leaf hash covers the header but not the columns. A changed column is detected because every column can be derived
    from the header.
    """
    columns = {
        "kind": header.kind,
        "record_id": header.record_id,
        "time_us": str(header.time_us),
        "caller": header.caller,
        "request_id": header.request_id,
        "key_id": header.key_id,
        "customer_tag": header.customer_tag,
        "content_tag": header.content_tag,
    }
    columns |= {column: header.labels.get(label, "") for column, label in _LABEL_COLUMNS.items()}
    return {name: text for name, text in columns.items() if text}


def mismatched_columns(header: Header, stored: Mapping[str, str]) -> list[str]:
    """Return the sorted names of the columns that differ from the header, including missing and additional columns."""
    derived = header_columns(header)
    return sorted(name for name in {*derived, *stored} if derived.get(name) != stored.get(name))


def _parse_removed(entries: object) -> tuple[RemovedRecord, ...]:
    """Parse [[index, header_sha256], ...]."""
    if not isinstance(entries, list):
        raise HeaderInvalid("removed: must be a list")
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 2:  # noqa: PLR2004 - index, hash
            raise HeaderInvalid("removed: every entry must be [index, header_sha256]")
    return tuple(RemovedRecord(index, header_sha256) for index, header_sha256 in entries)


def _check_removed(kind: str, removed: tuple[RemovedRecord, ...]) -> None:
    """Reject a list that is not strictly ascending, is too long, or belongs to a record of a different kind."""
    if (kind == RETENTION_KIND) != bool(removed):
        raise HeaderInvalid(f"removed: must be set in a record of kind {RETENTION_KIND} and empty in all others")
    if len(removed) > REMOVED_MAX:
        raise HeaderInvalid(f"removed: has {len(removed)} records; at most {REMOVED_MAX} are allowed")
    last = -1
    for entry in removed:
        _check_integer("removed: index", entry.index)
        _check_pattern("removed: header_sha256", entry.header_sha256, _HEX_32)
        if entry.index <= last:
            raise HeaderInvalid("removed: must be in ascending order of index")
        last = entry.index


def is_header_code(text: str) -> bool:
    """Return whether a header can have a text as its caller or as a label: a code or an id, but no e-mail address."""
    return _CODE.fullmatch(text) is not None


def _check_pattern(name: str, text: object, pattern: re.Pattern[str]) -> None:
    """Reject a text that does not fully match a pattern. The message omits the text, which may be personal data."""
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise HeaderInvalid(f"{name} must match {pattern.pattern}")


def _check_integer(name: str, number: object) -> None:
    """Reject a value that is not an integer from 0 to 2**53 - 1."""
    # `type` instead of isinstance, because bool is a subclass of int.
    if type(number) is not int or not 0 <= number <= _INTEGER_MAX:
        raise HeaderInvalid(f"{name} must be an integer from 0 to {_INTEGER_MAX}")


def _check_size(content: bytes) -> None:
    """Reject a header that is too long."""
    if len(content) > HEADER_BYTES_MAX:
        raise HeaderInvalid(f"the header has {len(content)} bytes; at most {HEADER_BYTES_MAX} are allowed")
