"""The record's bytes: a header that stays readable, and a body that only the customer's key opens.

    leaf data       length of header (4 bytes, big-endian) || header || ciphertext
    ciphertext      nonce (12 random bytes) || AES-256-GCM of the body, the header as associated data || tag (16)
    leaf hash       SHA-256(0x00 || leaf data)

The length in front makes the cut between header and ciphertext part of what is hashed; the ciphertext is the rest. The
header's version says how to read the ciphertext. AES-256-GCM under a key for each customer: with random nonces one key is
good for 2**32 records (NIST SP 800-38D, 8.3). GCM alone does not bind a ciphertext to one key; the key id in the header,
which is derived from the key, does, and tells a wrong key from changed bytes.
"""

import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from grounds_record.customer_keys import NONCE_BYTES, TAG_BYTES, key_id, sealing_key
from grounds_record.errors import CustomerKeyMismatch, FrameInvalid, RecordAltered
from grounds_record.header import HEADER_BYTES_MAX, Header, parse_header
from grounds_record.merkle import leaf_hash

LENGTH_BYTES = 4
BODY_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """A record as it is stored.

    Attributes:
        header: `Header.to_bytes`.
        ciphertext: At least 28 bytes.
    """

    header: bytes
    ciphertext: bytes

    def leaf_data(self) -> bytes:
        """Give the bytes that the log commits to."""
        return len(self.header).to_bytes(LENGTH_BYTES, "big") + self.header + self.ciphertext

    def leaf_hash(self) -> bytes:
        """Give the hash under which it is in the tree."""
        return leaf_hash(self.leaf_data())


def seal_record(header: Header, body: bytes, key: bytes) -> SealedRecord:
    """Encrypt a body under a header. Takes a fresh random nonce, so that no caller can use one twice.

    Args:
        header: Its key_id must name the key.
        body: At most 16 MiB.
        key: The customer's, 32 bytes.

    Raises:
        CustomerKeyMismatch: The header names another key.
        FrameInvalid: The body is too long.
    """
    _check_key_id(header, key)
    if len(body) > BODY_BYTES_MAX:
        raise FrameInvalid(f"a body of {len(body)} bytes is longer than {BODY_BYTES_MAX}")
    content = header.to_bytes()
    nonce = os.urandom(NONCE_BYTES)
    return SealedRecord(content, nonce + AESGCM(sealing_key(key)).encrypt(nonce, body, content))


def open_record(record: SealedRecord, key: bytes) -> tuple[Header, bytes]:
    """Give a record's header and body.

    Raises:
        HeaderInvalid: The header is not one of ours.
        CustomerKeyMismatch: The header names another key.
        RecordAltered: The header or the ciphertext is not what was sealed.
    """
    header = parse_header(record.header)
    _check_key_id(header, key)
    nonce, content = record.ciphertext[:NONCE_BYTES], record.ciphertext[NONCE_BYTES:]
    if len(content) < TAG_BYTES:
        raise RecordAltered(f"the ciphertext of record {header.record_id} is cut off")
    try:
        return header, AESGCM(sealing_key(key)).decrypt(nonce, content, record.header)
    except InvalidTag as error:
        raise RecordAltered(f"the header or the ciphertext of record {header.record_id} was changed") from error


def parse_leaf_data(data: bytes) -> SealedRecord:
    """Take leaf data apart; the inverse of `SealedRecord.leaf_data`.

    Raises:
        FrameInvalid: The bytes are shorter than they say, or the header is longer than a header can be.
    """
    if len(data) < LENGTH_BYTES:
        raise FrameInvalid(f"leaf data of {len(data)} bytes does not hold the length of its header")
    end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big")
    if not LENGTH_BYTES <= end <= min(len(data), LENGTH_BYTES + HEADER_BYTES_MAX):
        raise FrameInvalid(f"the header is said to have {end - LENGTH_BYTES} bytes; the data has {len(data)} in all")
    return SealedRecord(data[LENGTH_BYTES:end], data[end:])


def _check_key_id(header: Header, key: bytes) -> None:
    """Refuse a key that the header does not name."""
    found = key_id(key)
    if header.key_id != found:
        raise CustomerKeyMismatch(f"record {header.record_id} is sealed under key {header.key_id}, not {found}")
