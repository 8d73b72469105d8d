"""Sealed records: a readable header, and a body that is encrypted under the customer's key.

    leaf data       length of the header (4 bytes, big-endian) || header || ciphertext
    ciphertext      nonce (12 random bytes) || encrypted body || tag (16 bytes)
    leaf hash       SHA-256(0x00 || leaf data)

Because of the length prefix, the leaf hash also covers the boundary between header and ciphertext. The version of the header
defines the format of the ciphertext.

The body is encrypted by AES-256-GCM (NIST SP 800-38D) with the header as associated data, so header and ciphertext cannot be
exchanged or changed separately. Each customer has a separate key. With random nonces, one key is safe for 2**32 records
(section 8.3). GCM does not commit to its key, so an attacker can construct a ciphertext that decrypts under two keys. The key
id in the header prevents this, because it is derived from the key. The key id also distinguishes a wrong key from changed bytes.
"""

import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from grounds_record.customer_keys import NONCE_BYTES, TAG_BYTES, key_id, sealing_key
from grounds_record.errors import CustomerKeyMismatch, FrameInvalid, RecordAltered
from grounds_record.header import HEADER_BYTES_MAX, Header, parse_header
from grounds_record.merkle import leaf_hash

_LENGTH_BYTES = 4
BODY_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """The bytes of a record, as stored.

    Attributes:
        header: The canonical bytes of the header (`Header.to_bytes`).
        ciphertext: Nonce, encrypted body and tag; at least 28 bytes in a valid record.
    """

    header: bytes
    ciphertext: bytes

    def leaf_data(self) -> bytes:
        """Return the bytes that the leaf hash covers."""
        return len(self.header).to_bytes(_LENGTH_BYTES, "big") + self.header + self.ciphertext

    def leaf_hash(self) -> bytes:
        """Return the hash of the record in the Merkle tree, 32 bytes."""
        return leaf_hash(self.leaf_data())


def seal_record(header: Header, body: bytes, key: bytes) -> SealedRecord:
    """Encrypt a body, with its header as associated data.

    Args:
        header: The header. Its key_id must be the id of `key`.
        body: The body, at most 16 MiB.
        key: The customer's key, 32 bytes.

    Raises:
        CustomerKeyMismatch: The header contains the id of a different key.
        FrameInvalid: The body is too long.
    """
    _check_key_id(header, key)
    if len(body) > BODY_BYTES_MAX:
        raise FrameInvalid(f"the body has {len(body)} bytes; at most {BODY_BYTES_MAX} are allowed")
    content = header.to_bytes()
    # The nonce is not a parameter, because a nonce that is used twice under one key reveals how the bodies differ and allows
    # forgeries.
    nonce = os.urandom(NONCE_BYTES)
    return SealedRecord(content, nonce + AESGCM(sealing_key(key)).encrypt(nonce, body, content))


def open_record(record: SealedRecord, key: bytes) -> tuple[Header, bytes]:
    """Decrypt a record, and return its header and body.

    Raises:
        HeaderInvalid: The header is not in canonical form, or a field is invalid.
        CustomerKeyMismatch: The header contains the id of a different key.
        RecordAltered: The header or the ciphertext was changed after it was sealed.
    """
    header = parse_header(record.header)
    _check_key_id(header, key)
    nonce, content = record.ciphertext[:NONCE_BYTES], record.ciphertext[NONCE_BYTES:]
    if len(content) < TAG_BYTES:
        raise RecordAltered(f"the ciphertext of record {header.record_id} is shorter than its tag")
    try:
        return header, AESGCM(sealing_key(key)).decrypt(nonce, content, record.header)
    except InvalidTag as error:
        raise RecordAltered(f"the header or the ciphertext of record {header.record_id} was changed") from error


def parse_leaf_data(data: bytes) -> SealedRecord:
    """Parse leaf data. This function is the inverse of `SealedRecord.leaf_data`.

    Raises:
        FrameInvalid: The length prefix exceeds the length of the data or the maximum length of a header.
    """
    if len(data) < _LENGTH_BYTES:
        raise FrameInvalid(
            f"the leaf data has {len(data)} bytes, but must begin with a length prefix of {_LENGTH_BYTES} bytes"
        )
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big")
    if not _LENGTH_BYTES <= end <= min(len(data), _LENGTH_BYTES + HEADER_BYTES_MAX):
        raise FrameInvalid(
            f"the length prefix states {end - _LENGTH_BYTES} bytes of header, but the leaf data has {len(data)} bytes in total"
        )
    return SealedRecord(data[_LENGTH_BYTES:end], data[end:])


def _check_key_id(header: Header, key: bytes) -> None:
    """Reject a key whose id is not the key id in the header."""
    given = key_id(key)
    if header.key_id != given:
        raise CustomerKeyMismatch(f"record {header.record_id} is sealed under key {header.key_id}, got key {given}")
