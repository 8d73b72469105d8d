"""Checkpoints: the signed size and root of a record log, by which the log commits to its records.

    origin                      name of the log, and of the key that signs
    size                        number of records, decimal
    root                        base64 of the RFC 6962 root over the first `size` records
    (an empty line)
    — origin base64(key id || signature)

Two checkpoints and a consistency proof show that the log only grew between them. So an auditor needs to keep one checkpoint.
Source: https://c2sp.org/tlog-checkpoint.
"""

import base64
import re
from dataclasses import dataclass

from grounds_record.errors import CheckpointMalformed, CheckpointOriginMismatch
from grounds_record.merkle import EMPTY_ROOT, HASH_BYTES, SIZE_MAX
from grounds_record.note import SigningKey, VerifierKey, decode_base64, open_note, sign_note

_LINES_MIN = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's size and root.

    Attributes:
        origin: The log's name: unique, and the same for its whole life.
        size: Number of records, 0 to 2**63 - 1.
        root: 32 bytes.
        extensions: Further lines. Grounds writes none; those of others are preserved, because they are signed.

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
            raise CheckpointMalformed(f"the root has {HASH_BYTES} bytes, not {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise CheckpointMalformed("the root of an empty log is the SHA-256 of nothing")

    def text(self) -> str:
        """Return the text that is signed."""
        root = base64.b64encode(self.root).decode()
        return "".join(f"{line}\n" for line in (self.origin, str(self.size), root, *self.extensions))


def parse_checkpoint(text: str) -> Checkpoint:
    """Parse the text of a note as a checkpoint.

    Raises:
        CheckpointMalformed: Names the invalid line.
    """
    if not text.endswith("\n"):
        raise CheckpointMalformed("a checkpoint ends in a newline")
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < _LINES_MIN:
        raise CheckpointMalformed(f"a checkpoint has at least {_LINES_MIN} lines: origin, size, root")
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


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """Return a signed checkpoint.

    The caller must sign only checkpoints that extend the last signed one: a signature on two inconsistent checkpoints
    proves to everyone that the log was rewritten.

    Raises:
        CheckpointOriginMismatch: The key has another name than the log.
        NoteMalformed: The origin or an extension has a control character.
    """
    _check_origin(checkpoint, key.name)
    return sign_note(checkpoint.text(), key)


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """Verify a signed checkpoint of the log that has this key's name, and return it.

    Raises:
        NoteMalformed: It is not a signed note.
        SignatureMissing: It has no signature by this key.
        SignatureInvalid: The signature does not verify.
        CheckpointMalformed: The signed text is not a checkpoint.
        CheckpointOriginMismatch: The checkpoint belongs to another log.
    """
    checkpoint = parse_checkpoint(open_note(note, key))
    _check_origin(checkpoint, key.name)
    return checkpoint


def _check_origin(checkpoint: Checkpoint, name: str) -> None:
    """Reject a checkpoint of a log with another name: its key may be the same."""
    if checkpoint.origin != name:
        raise CheckpointOriginMismatch(
            f"the checkpoint is of the log {checkpoint.origin!r}, but the key is of {name!r}"
        )
