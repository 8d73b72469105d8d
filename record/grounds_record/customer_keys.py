"""Customer keys, for crypto-shredding: destroying a customer's key makes their records unreadable, and the log still verifies.

    key             32 random bytes, one for each customer; derived from it by HMAC-SHA256 under the key:
      key id        first 16 bytes of HMAC(key, "grounds/key-id/1"): identifies the key without revealing it
      sealing key   HMAC(key, "grounds/seal/1"): AES-256-GCM of the record
      digest key    HMAC(key, "grounds/content/1"): HMAC of the request's content
    wrapped key     0x01 || nonce (12) || AES-256-GCM under the master key, key id as associated data || tag (16): 61 bytes
    customer tag    HMAC-SHA256 under the log key, over the length of market (1 byte) || market || customer_id
    row salt        first 16 bytes of HMAC(key of the run and market, customer_id); that key is HMAC(HMAC(log key,
                    "grounds/row-salt/1"), run_id || market)

Keys are wrapped by AES-GCM and not by AES Key Wrap (RFC 3394), which has no associated data: two customers' wrapped keys could
be exchanged in the store without notice. HMAC derives keys as in NIST SP 800-108; an extraction step (HKDF, RFC 5869) is not
needed, because the key is uniformly random.

The customer tag outlives the customer key. The owner of the log key can therefore find out that a known customer *had*
records, but not their content. Content could be guessed and compared with its digest, so its digest is under the customer key.
"""

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from grounds_record.errors import KeyMalformed, WrappedKeyInvalid

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
_SALT_BYTES = 16
_WRAPPING = b"\x01"  # version of the wrapped form
_WRAPPED_BYTES = len(_WRAPPING) + NONCE_BYTES + KEY_BYTES + TAG_BYTES
_NAME_BYTES_MAX = 255


def new_customer_key() -> bytes:
    """Return a new key: 32 random bytes from the operating system."""
    return os.urandom(KEY_BYTES)


def key_id(key: bytes) -> str:
    """Return the id of a customer's key, 32 hexadecimal digits; it does not reveal the key."""
    return _derive_key(key, b"grounds/key-id/1")[:16].hex()


def sealing_key(key: bytes) -> bytes:
    """Return the key that encrypts records, derived from a customer's key; 32 bytes."""
    return _derive_key(key, b"grounds/seal/1")


def content_tag(content: bytes, key: bytes) -> bytes:
    """Return the keyed digest of a request's content, 32 bytes.

    Two requests can be compared by their tags as long as the customer's key exists.
    """
    return hmac.digest(_derive_key(key, b"grounds/content/1"), content, "sha256")


def customer_tag(market: str, customer_id: str, log_key: bytes) -> bytes:
    """Return the pseudonym of a customer in record headers: 32 bytes, the same for the life of the log.

    Args:
        market: ISO 3166-1 alpha-2; at most 255 bytes.
        customer_id: Unique within the market only.
        log_key: The log's own key, 32 bytes.
    """
    _check_key(log_key)
    name = market.encode()
    # The length prefix makes the encoding injective: ("A", "BC") and ("AB", "C") must not be one customer.
    assert len(name) <= _NAME_BYTES_MAX, "a market is a short code"
    return hmac.digest(log_key, bytes([len(name)]) + name + customer_id.encode(), "sha256")


def row_salt_key(run_id: str, market: str, log_key: bytes) -> bytes:
    """Return the key for the salts of a run's rows in a market, 32 bytes.

    Args:
        run_id: 32 hexadecimal digits.
        market: ISO 3166-1 alpha-2.
        log_key: The log's own key, 32 bytes.
    """
    return hmac.digest(_derive_key(log_key, b"grounds/row-salt/1"), run_id.encode() + market.encode(), "sha256")


def row_salt(customer_id: str, salt_key: bytes) -> bytes:
    """Return the salt of a customer's row, 16 bytes. It keeps the row's leaf hash from being found by guessing the row."""
    return hmac.digest(salt_key, customer_id.encode(), "sha256")[:_SALT_BYTES]


def wrap_key(key: bytes, master: bytes) -> bytes:
    """Return a customer's key encrypted under the master key, for the key store; 61 bytes."""
    _check_key(master)
    # A random nonce is safe for 2**32 keys under one master key (NIST SP 800-38D, 8.3).
    nonce = os.urandom(NONCE_BYTES)
    return _WRAPPING + nonce + AESGCM(master).encrypt(nonce, key, key_id(key).encode())


def unwrap_key(wrapped: bytes, name: str, master: bytes) -> bytes:
    """Return a customer's key, decrypted.

    Args:
        wrapped: Result of `wrap_key`.
        name: The key id, as in the key store and in the record's header.
        master: The master key, 32 bytes.

    Raises:
        WrappedKeyInvalid: An unknown version; or the bytes, the key id and the master key do not belong together.
    """
    _check_key(master)
    if wrapped[:1] != _WRAPPING or len(wrapped) != _WRAPPED_BYTES:
        raise WrappedKeyInvalid(f"a wrapped key must have {_WRAPPED_BYTES} bytes and begin with {_WRAPPING.hex()}")
    nonce, content = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
    try:
        key = AESGCM(master).decrypt(nonce, content, name.encode())
    except InvalidTag as error:
        raise WrappedKeyInvalid(
            f"key {name} cannot be unwrapped: the master key is another one, or the wrapped key was changed"
        ) from error
    # The key id is derived from the key, so an exchanged pair of name and bytes cannot pass even under the master key.
    if key_id(key) != name:
        raise WrappedKeyInvalid(f"key {name} unwraps to a key with another id")
    return key


def _derive_key(key: bytes, purpose: bytes) -> bytes:
    """Return a key for one purpose: each derived key has exactly one use."""
    _check_key(key)
    return hmac.digest(key, purpose, "sha256")


def _check_key(key: bytes) -> None:
    """Reject a key of another length."""
    if len(key) != KEY_BYTES:
        raise KeyMalformed(f"a key must have {KEY_BYTES} bytes, got {len(key)}")
