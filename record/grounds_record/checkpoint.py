"""What the log has promised so far: its name, its size and its root, signed.

    origin                      who the log is; also the name of the key that signs
    size                        decimal, records so far
    root                        base64 of the RFC 6962 root over the first `size` records
    (an empty line)
    — origin base64(key id || signature)

Two checkpoints of one log and a consistency proof show that nothing was changed between them; so an auditor keeps one.
Source: https://c2sp.org/tlog-checkpoint.
"""

import base64
import re
from dataclasses import dataclass

from grounds_record.errors import CheckpointMalformed, CheckpointOriginMismatch
from grounds_record.merkle import EMPTY_ROOT, HASH_BYTES, SIZE_MAX
from grounds_record.note import SigningKey, VerifierKey, decode_base64, open_note, sign_note

LINES_MIN = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's size and root.

    Attributes:
        origin: The log's name, the same for its whole life, and no other log's.
        size: Records so far, 0 to 2**63 - 1.
        root: 32 bytes.
        extensions: Further lines. We write none; those of others are kept, as they are signed too.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.origin or any("\n" in line or not line for line in (self.origin, *self.extensions)):
            raise CheckpointMalformed("the origin and every extension is one line that is not empty")
        if not 0 <= self.size <= SIZE_MAX:
            raise CheckpointMalformed(f"the size is from 0 to {SIZE_MAX}")
        if len(self.root) != HASH_BYTES:
            raise CheckpointMalformed(f"the root has {HASH_BYTES} bytes, not {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise CheckpointMalformed("the root of an empty log is the SHA-256 of nothing")

    def text(self) -> str:
        """Write what is signed."""
        root = base64.b64encode(self.root).decode()
        return "".join(f"{line}\n" for line in (self.origin, str(self.size), root, *self.extensions))


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a note as a checkpoint.

    Raises:
        CheckpointMalformed: Names the line that is wrong.
    """
    if not text.endswith("\n"):
        raise CheckpointMalformed("a checkpoint ends in a newline")
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < LINES_MIN:
        raise CheckpointMalformed(f"a checkpoint has at least {LINES_MIN} lines: origin, size, root")
    empty = next((number for number, line in enumerate(lines, start=1) if not line), None)
    if empty:
        raise CheckpointMalformed(f"line {empty} is empty")
    # Not int() alone: it takes signs, spaces, underscores and digits of other scripts.
    if not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]):
        raise CheckpointMalformed("line 2, the size, is not a decimal number without leading zeros")
    root = decode_base64(lines[2])
    if root is None or len(root) != HASH_BYTES:
        raise CheckpointMalformed(f"line 3, the root, is not the base64 of {HASH_BYTES} bytes")
    return Checkpoint(lines[0], int(lines[1]), root, tuple(lines[3:]))


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """Sign a checkpoint. The caller must never sign one that does not continue the last one that was signed.

    Raises:
        CheckpointOriginMismatch: The key is not named after the log.
        NoteMalformed: The origin or an extension holds a control character.
    """
    _check_origin(checkpoint, key.name)
    return sign_note(checkpoint.text(), key)


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """Read a signed checkpoint of the log that this key is named after.

    Raises:
        NoteMalformed: It is no signed note.
        SignatureMissing: Others signed it, this key did not.
        SignatureInvalid: The signature does not hold.
        CheckpointMalformed: What was signed is no checkpoint.
        CheckpointOriginMismatch: What was signed is about another log.
    """
    checkpoint = parse_checkpoint(open_note(note, key))
    _check_origin(checkpoint, key.name)
    return checkpoint


def _check_origin(checkpoint: Checkpoint, name: str) -> None:
    """Refuse a checkpoint that is not about the log of this name."""
    if checkpoint.origin != name:
        raise CheckpointOriginMismatch(f"the checkpoint is of the log {checkpoint.origin!r}, the key of {name!r}")
