"""Cosignatures: a witness signs a checkpoint after it verified that the checkpoint extends the last one that it saw.

A log can show different records to different readers (a split view) and sign a checkpoint for each of them. A witness
signs only one of the histories, so a reader who requires its cosignature sees the history that the witness saw.

    signature line      — witness name base64(key id || time (8, big-endian) || Ed25519 signature)
    signed message      "cosignature/v1" newline, "time " seconds since 1970 newline, text of the checkpoint
    key id              SHA-256(name || 0x0A || 0x04 || public key)[:4]
    public key          name+hexhash+base64(0x04 || public key)

Sources: https://c2sp.org/tlog-cosignature, https://c2sp.org/signed-note.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from grounds_record.errors import NoteMalformed, SignatureInvalid
from grounds_record.note import (
    SIGNATURE_START,
    SigningKey,
    check_key_id,
    check_public_key,
    parse_key_text,
    parse_note,
)

_COSIGNATURE = b"\x04"  # the number of timestamped Ed25519 cosignatures among the signature types of signed notes
_TIME_BYTES, _SIGNATURE_BYTES = 8, 64
_TIME_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """The public key of a witness.

    Attributes:
        name: Name of the witness.
        public: The Ed25519 public key, 32 bytes.

    Raises:
        KeyMalformed: The name or the length of the key is invalid.
    """

    name: str
    public: bytes

    def __post_init__(self) -> None:
        check_public_key(self.name, self.public)

    @property
    def key_id(self) -> bytes:
        """Return the 4 bytes by which cosignatures refer to this key."""
        return hashlib.sha256(self.name.encode() + b"\n" + _COSIGNATURE + self.public).digest()[:4]

    def text(self) -> str:
        """Return the key as a vkey: name+hexhash+base64(0x04 || public key)."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_COSIGNATURE + self.public).decode()}"


def witness_key(key: SigningKey) -> WitnessKey:
    """Return the public key with which the cosignatures of a signing key are verified."""
    return WitnessKey(key.name, key.verifier().public)


def parse_witness_key(text: str) -> WitnessKey:
    """Parse a public key in the text format of `WitnessKey.text`.

    Raises:
        KeyMalformed: The text is not the public key of a witness. The message states the invalid part.
    """
    name, key_id, public = parse_key_text(text, _COSIGNATURE)
    key = WitnessKey(name, public)
    check_key_id(key.key_id, key_id)
    return key


def add_cosignature(note: str, key: SigningKey, time: int) -> str:
    """Return a signed checkpoint with one more signature line.

    The caller must first verify the log's signature, and that the checkpoint extends the last one that this key
    cosigned.

    Args:
        note: The checkpoint, signed by the log. Its other signature lines are kept.
        key: The key of the witness.
        time: The current time in seconds since 1970.

    Raises:
        NoteMalformed: `note` is not a signed note, or the time is out of range.
    """
    text, _ = parse_note(note)
    if not 0 < time <= _TIME_MAX:
        raise NoteMalformed("the time of a cosignature must be after 1970")
    signature = Ed25519PrivateKey.from_private_bytes(key.seed).sign(_message(text, time))
    content = witness_key(key).key_id + time.to_bytes(_TIME_BYTES, "big") + signature
    return f"{note}{SIGNATURE_START}{key.name} {base64.b64encode(content).decode()}\n"


def verify_cosignatures(note: str, keys: Sequence[WitnessKey]) -> dict[str, int]:
    """Return the time of the newest cosignature by each witness that cosigned a checkpoint, in seconds since 1970.

    Cosignatures by other keys are ignored, as the format requires.

    Args:
        note: The signed checkpoint. The log's own signature is not verified.
        keys: Public keys of the witnesses.

    Raises:
        NoteMalformed: `note` is not a signed note.
        SignatureInvalid: A cosignature by one of the keys does not verify.
    """
    text, signatures = parse_note(note)
    known = {(key.name, key.key_id): key for key in keys}
    times: dict[str, int] = {}
    for name, key_id, content in signatures:
        key = known.get((name, key_id))
        if key is None:
            continue
        time = int.from_bytes(content[:_TIME_BYTES], "big")
        if len(content) != _TIME_BYTES + _SIGNATURE_BYTES or not 0 < time <= _TIME_MAX:
            raise SignatureInvalid(f"the cosignature by {name} is malformed")
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(content[_TIME_BYTES:], _message(text, time))
        except (InvalidSignature, ValueError) as error:
            raise SignatureInvalid(f"the cosignature by {name} does not verify: the checkpoint was changed") from error
        times[name] = max(time, times.get(name, 0))
    return times


def _message(text: str, time: int) -> bytes:
    """Return the message that a witness signs."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()
