"""Customer keys, for crypto-shredding: destroying a customer's key makes their records unreadable, but the log stays verifiable.

HMAC is HMAC-SHA256; numbers in parentheses are lengths in bytes:

    customer key    32 random bytes, one key for each customer
      key id        first 16 bytes of HMAC(customer key, "grounds/key-id/1"): identifies the key without revealing it
      sealing key   HMAC(customer key, "grounds/seal/1"): encrypts records by AES-256-GCM
      digest key    HMAC(customer key, "grounds/content/1"): key of the content tag
    content tag     HMAC(digest key, content of a request)
    wrapped key     0x01 || nonce (12) || encrypted customer key || tag (16), 61 bytes in total: AES-256-GCM with the master
                    key, and the key id as associated data
    log key         32 random bytes, one key for each log
    customer tag    HMAC(log key, length of market (1) || market || customer_id)
    row salt key    HMAC(HMAC(log key, "grounds/row-salt/1"), run_id || market)
    row salt        first 16 bytes of HMAC(row salt key, customer_id)

Keys are wrapped by AES-GCM instead of AES Key Wrap (RFC 3394) because AES Key Wrap has no associated data: an attacker could
exchange two customers' wrapped keys in the store unnoticed. HMAC derives keys as in NIST SP 800-108. An extraction step (HKDF,
RFC 5869) is not needed, because the customer key is uniformly random.

The customer tag outlives the customer key. The owner of the log key can therefore find out that a known customer *had*
records, but cannot read them. An attacker could guess the content of a request and compare the digest of the guess, so the
content tag depends on the customer key.
"""

import hashlib
import hmac
import os
from collections.abc import Iterable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from grounds_record.errors import KeyMalformed, WrappedKeyInvalid

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
_SALT_BYTES = 16
_SHA256_BLOCK_BYTES = 64
_WRAPPING = b"\x01"  # version of the wrapped form
_WRAPPED_BYTES = len(_WRAPPING) + NONCE_BYTES + KEY_BYTES + TAG_BYTES
_NAME_BYTES_MAX = 255


class Cipher(Protocol):
    """AES-256-GCM with a master key, which may never leave a hardware security module."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return the encrypted data, followed by the tag."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return the decrypted data; raise InvalidTag if the arguments and the key do not belong together."""


def new_customer_key() -> bytes:
    """Return a new key: 32 random bytes from the operating system."""
    return os.urandom(KEY_BYTES)


def key_id(key: bytes) -> str:
    """Return the id of a customer's key, 32 hexadecimal digits. The id does not reveal the key."""
    return _derive_key(key, b"grounds/key-id/1")[:16].hex()


def sealing_key(key: bytes) -> bytes:
    """Return the key that encrypts records, derived from a customer's key; 32 bytes."""
    return _derive_key(key, b"grounds/seal/1")


def content_tag(content: bytes, key: bytes) -> bytes:
    """Return the keyed digest of a request's content, 32 bytes.

    While the customer's key exists, the tag of a new request shows whether its content equals the content of an earlier one.

    Args:
        content: Content of the request, or the digest of the content.
        key: The customer's key, 32 bytes.
    """
    return hmac.digest(_derive_key(key, b"grounds/content/1"), content, "sha256")


def customer_tag(market: str, customer_id: str, log_key: bytes) -> bytes:
    """Return the pseudonym of a customer in record headers, 32 bytes. It never changes within a log.

    Args:
        market: ISO 3166-1 alpha-2 code; at most 255 bytes.
        customer_id: Id of the customer, which is unique only within the market.
        log_key: The log's own key, 32 bytes.
    """
    _check_key(log_key)
    name = market.encode()
    # Without the length prefix, the customers ("A", "BC") and ("AB", "C") would have the same tag.
    assert len(name) <= _NAME_BYTES_MAX, "a market is a short code"
    return hmac.digest(log_key, bytes([len(name)]) + name + customer_id.encode(), "sha256")


def row_salt_key(run_id: str, market: str, log_key: bytes) -> bytes:
    """Return the key for the salts of a run's rows in a market, 32 bytes.

    Args:
        run_id: Id of the scoring run, 32 hexadecimal digits.
        market: ISO 3166-1 alpha-2 code.
        log_key: The log's own key, 32 bytes.
    """
    return hmac.digest(_derive_key(log_key, b"grounds/row-salt/1"), run_id.encode() + market.encode(), "sha256")


def row_salt(customer_id: str, salt_key: bytes) -> bytes:
    """Return the salt of a customer's row, 16 bytes. Without the salt, guesses of the row could be compared with its leaf hash."""
    return hmac.digest(salt_key, customer_id.encode(), "sha256")[:_SALT_BYTES]


def row_salts(customer_ids: Iterable[str], salt_key: bytes) -> list[bytes]:
    """Return the salt of each customer's row, as from `row_salt`. For many customers this takes half as long."""
    # HMAC as in RFC 2104. `hmac.digest` needs more time to look up the digest by name than to compute it.
    padded = salt_key.ljust(_SHA256_BLOCK_BYTES, b"\0")
    inner, outer = bytes(byte ^ 0x36 for byte in padded), bytes(byte ^ 0x5C for byte in padded)
    sha256 = hashlib.sha256
    return [
        sha256(outer + sha256(inner + customer_id.encode()).digest()).digest()[:_SALT_BYTES]
        for customer_id in customer_ids
    ]


def wrap_key(key: bytes, master: bytes | Cipher) -> bytes:
    """Return a customer's key encrypted under the master key, for the key store; 61 bytes."""
    cipher = _cipher(master)
    # A random nonce is safe for 2**32 keys under one master key (NIST SP 800-38D, 8.3).
    nonce = os.urandom(NONCE_BYTES)
    return _WRAPPING + nonce + cipher.encrypt(nonce, key, key_id(key).encode())


def unwrap_key(wrapped: bytes, name: str, master: bytes | Cipher) -> bytes:
    """Return a customer's key, decrypted.

    Args:
        wrapped: Result of `wrap_key`.
        name: The key id, as in the key store and in the record's header.
        master: The master key, 32 bytes, or its cipher.

    Raises:
        WrappedKeyInvalid: The version is unknown, or the bytes, the key id and the master key do not belong together.
    """
    cipher = _cipher(master)
    if wrapped[:1] != _WRAPPING or len(wrapped) != _WRAPPED_BYTES:
        raise WrappedKeyInvalid(f"a wrapped key must have {_WRAPPED_BYTES} bytes and begin with {_WRAPPING.hex()}")
    nonce, content = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
    try:
        key = cipher.decrypt(nonce, content, name.encode())
    except InvalidTag as error:
        raise WrappedKeyInvalid(
            f"key {name} cannot be unwrapped: the master key is wrong, or the wrapped key was changed"
        ) from error
    # The key id is derived from the key. This check therefore rejects a key that was wrapped with the id of a different key.
    if key_id(key) != name:
        raise WrappedKeyInvalid(f"key {name} unwraps to a key with a different id")
    return key


def _cipher(master: bytes | Cipher) -> Cipher:
    """Return the cipher of a master key."""
    if not isinstance(master, bytes):
        return master
    _check_key(master)
    return AESGCM(master)


def _derive_key(key: bytes, purpose: bytes) -> bytes:
    """Return the key for one purpose. Each derived key has exactly one use."""
    _check_key(key)
    return hmac.digest(key, purpose, "sha256")


def _check_key(key: bytes) -> None:
    """Reject a key of the wrong length."""
    if len(key) != KEY_BYTES:
        raise KeyMalformed(f"a key must have {KEY_BYTES} bytes, got {len(key)}")
