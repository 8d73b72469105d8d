"""One key for each customer: destroy it, and nobody can read what was recorded about them, while the log still verifies.

    key             32 random bytes, one for each customer; from it, by HMAC-SHA256 under the key:
      key id        first 16 bytes of HMAC(key, "grounds/key-id/1"): names the key, tells nothing about it
      sealing key   HMAC(key, "grounds/seal/1"): AES-256-GCM of the record
      digest key    HMAC(key, "grounds/content/1"): HMAC of what was sent
    wrapped key     0x01 || nonce (12) || AES-256-GCM under the master key, key id as associated data || tag (16): 61 bytes
    customer tag    HMAC-SHA256 under a key of the log's own, over the length of market (1 byte) || market || customer_id
    row salt        first 16 bytes of HMAC(key of the run and market, customer_id); that key is HMAC(HMAC(the log's own key,
                    "grounds/row-salt/1"), run_id || market)

Wrapped by AES-GCM and not by AES Key Wrap (RFC 3394), because that has no associated data: two customers' wrapped keys
could be exchanged in the store unnoticed. HMAC as a key derivation: NIST SP 800-108, and the key is uniformly random.

The customer tag stays when the key is destroyed: who holds the log's own key can tell that a known customer *had* records,
but not what is in them. A digest of content, which could be guessed and tried, is therefore under the customer's key.
"""

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from grounds_record.errors import KeyMalformed, WrappedKeyInvalid

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
SALT_BYTES = 16
WRAPPING = b"\x01"
WRAPPED_BYTES = len(WRAPPING) + NONCE_BYTES + KEY_BYTES + TAG_BYTES
NAME_BYTES_MAX = 255


def new_customer_key() -> bytes:
    """Make a key: 32 bytes from the operating system."""
    return os.urandom(KEY_BYTES)


def key_id(key: bytes) -> str:
    """Name a customer's key: 32 hexadecimal digits that tell nothing about the key itself."""
    return _derive_key(key, b"grounds/key-id/1")[:16].hex()


def sealing_key(key: bytes) -> bytes:
    """Derive the key that encrypts records from a customer's key."""
    return _derive_key(key, b"grounds/seal/1")


def content_tag(content: bytes, key: bytes) -> bytes:
    """Digest what was sent, so that two requests can be compared as long as the customer's key exists; 32 bytes."""
    return hmac.digest(_derive_key(key, b"grounds/content/1"), content, "sha256")


def customer_tag(market: str, customer_id: str, log_key: bytes) -> bytes:
    """Name a customer without naming them; 32 bytes, the same for the life of the log.

    Args:
        market: ISO 3166-1 alpha-2; at most 255 bytes.
        customer_id: Unique within the market only.
        log_key: The log's own key, 32 bytes.
    """
    _check_key(log_key)
    name = market.encode()
    # The length in front, or ("A", "BC") and ("AB", "C") would be one customer.
    assert len(name) <= NAME_BYTES_MAX, "a market is a short code"
    return hmac.digest(log_key, bytes([len(name)]) + name + customer_id.encode(), "sha256")


def row_salt_key(run_id: str, market: str, log_key: bytes) -> bytes:
    """Give the key from which the salts of a run's rows in a market follow; 32 bytes.

    Args:
        run_id: 32 hexadecimal digits.
        market: ISO 3166-1 alpha-2.
        log_key: The log's own key, 32 bytes.
    """
    return hmac.digest(_derive_key(log_key, b"grounds/row-salt/1"), run_id.encode() + market.encode(), "sha256")


def row_salt(customer_id: str, salt_key: bytes) -> bytes:
    """Give what makes the leaf hash of a customer's row one that nobody can guess and try; 16 bytes."""
    return hmac.digest(salt_key, customer_id.encode(), "sha256")[:SALT_BYTES]


def wrap_key(key: bytes, master: bytes) -> bytes:
    """Encrypt a customer's key for the key store; 61 bytes."""
    _check_key(master)
    nonce = os.urandom(NONCE_BYTES)
    return WRAPPING + nonce + AESGCM(master).encrypt(nonce, key, key_id(key).encode())


def unwrap_key(wrapped: bytes, name: str, master: bytes) -> bytes:
    """Decrypt a customer's key.

    Args:
        wrapped: As from wrap_key.
        name: Its key id, as the key store and the record's header say.
        master: The master key, 32 bytes.

    Raises:
        WrappedKeyInvalid: Another version, or the bytes, the name and the master key do not belong together.
    """
    _check_key(master)
    if wrapped[:1] != WRAPPING or len(wrapped) != WRAPPED_BYTES:
        raise WrappedKeyInvalid(f"a wrapped key has {WRAPPED_BYTES} bytes and begins with {WRAPPING.hex()}")
    nonce, content = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
    try:
        key = AESGCM(master).decrypt(nonce, content, name.encode())
    except InvalidTag as error:
        raise WrappedKeyInvalid(
            f"key {name} cannot be unwrapped: another master key, another key's bytes, or changed ones"
        ) from error
    if key_id(key) != name:
        raise WrappedKeyInvalid(f"key {name} unwraps to a key of another name")
    return key


def _derive_key(key: bytes, purpose: bytes) -> bytes:
    """Derive a key for one purpose, so that no key is ever used for two."""
    _check_key(key)
    return hmac.digest(key, purpose, "sha256")


def _check_key(key: bytes) -> None:
    """Refuse what cannot be a key."""
    if len(key) != KEY_BYTES:
        raise KeyMalformed(f"a key has {KEY_BYTES} bytes, not {len(key)}")
