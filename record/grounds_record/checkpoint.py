"""Checkpoints: the signed size and Merkle root of a record log. A checkpoint commits the log to its first `size` records.

    origin                      name of the log, which is also the name of the signing key
    size                        number of records, in decimal
    root                        base64 of the RFC 6962 root over the first `size` records
    (an empty line)
    — origin base64(key id || signature)

With two checkpoints and a consistency proof, an auditor can verify that records were only appended between them. To detect any
later change, an auditor needs to keep only one checkpoint.
Source: https://c2sp.org/tlog-checkpoint.
"""

import base64
import re
from dataclasses import dataclass

from grounds_record.errors import CheckpointMalformed, CheckpointOriginMismatch
from grounds_record.key_history import KeyHistory, LogKeys
from grounds_record.merkle import EMPTY_ROOT, HASH_BYTES, SIZE_MAX
from grounds_record.note import Signer, decode_base64, open_note, parse_note, sign_note

_LINES_MIN = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's size and root.

    Attributes:
        origin: Name of the log. The name is unique and never changes.
        size: Number of records, 0 to 2**63 - 1.
        root: Root of the Merkle tree over these records, 32 bytes.
        extensions: Additional lines of the signed text. Grounds writes none; lines that other software wrote are preserved
            because the signature covers them.

    Raises:
        CheckpointMalformed: A field is invalid.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.origin or any("\n" in line or not line for line in (self.origin, *self.extensions)):
            raise CheckpointMalformed("the origin and every extension must be one line that is not empty")
        if not 0 <= self.size <= SIZE_MAX:
            raise CheckpointMalformed(f"the size must be from 0 to {SIZE_MAX}")
        if len(self.root) != HASH_BYTES:
            raise CheckpointMalformed(f"the root must have {HASH_BYTES} bytes, got {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise CheckpointMalformed("the root of an empty log must be the SHA-256 of the empty string")

    def text(self) -> str:
        """Return the text that is signed."""
        root = base64.b64encode(self.root).decode()
        return "".join(f"{line}\n" for line in (self.origin, str(self.size), root, *self.extensions))


def parse_checkpoint(text: str) -> Checkpoint:
    """Parse the text of a note as a checkpoint.

    Raises:
        CheckpointMalformed: The text is not a checkpoint. The message states the invalid line.
    """
    if not text.endswith("\n"):
        raise CheckpointMalformed("a checkpoint must end in a newline")
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < _LINES_MIN:
        raise CheckpointMalformed(f"a checkpoint must have at least {_LINES_MIN} lines: origin, size, root")
    empty = next((number for number, line in enumerate(lines, start=1) if not line), None)
    if empty:
        raise CheckpointMalformed(f"line {empty} is empty")
    # int() alone would accept signs, spaces, underscores and digits of other scripts.
    if not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]):
        raise CheckpointMalformed("line 2, the size, is not a decimal number without leading zeros")
    root = decode_base64(lines[2])
    if root is None or len(root) != HASH_BYTES:
        raise CheckpointMalformed(f"line 3, the root, is not the base64 of {HASH_BYTES} bytes")
    return Checkpoint(lines[0], int(lines[1]), root, tuple(lines[3:]))


def sign_checkpoint(checkpoint: Checkpoint, key: Signer) -> str:
    """Return a signed checkpoint.

    The caller must only sign checkpoints that extend the last signed checkpoint, because signatures on two inconsistent
    checkpoints prove that the log was rewritten.

    Raises:
        CheckpointOriginMismatch: The name of the key is not the name of the log.
        NoteMalformed: The origin or an extension contains a control character.
    """
    _check_origin(checkpoint, key.name)
    return sign_note(checkpoint.text(), key)


def open_checkpoint(note: str, key: LogKeys) -> Checkpoint:
    """Verify the signature of a checkpoint, and return the checkpoint.

    Args:
        note: Signed note with the text of the checkpoint.
        key: Public key of the log, or the history of its keys, of which the one for the size of the checkpoint must
            have signed it. The name of the key must be the origin of the checkpoint.

    Raises:
        NoteMalformed: `note` is not a signed note.
        SignatureMissing: The note has no signature by this key.
        SignatureInvalid: The signature does not verify.
        CheckpointMalformed: The signed text is not a checkpoint.
        CheckpointOriginMismatch: The origin of the checkpoint is not the name of the key.
    """
    if isinstance(key, KeyHistory):
        # The size is not verified yet. A wrong size selects a key that did not sign this text.
        key = key.keys[0] if len(key.keys) == 1 else key.key_for_size(parse_checkpoint(parse_note(note)[0]).size)
    checkpoint = parse_checkpoint(open_note(note, key))
    _check_origin(checkpoint, key.name)
    return checkpoint


def _check_origin(checkpoint: Checkpoint, name: str) -> None:
    """Reject a checkpoint of a log with a different name. Without this check, two logs with equal key bytes could be confused."""
    if checkpoint.origin != name:
        raise CheckpointOriginMismatch(
            f"the checkpoint belongs to the log {checkpoint.origin!r}, but the key belongs to the log {name!r}"
        )
