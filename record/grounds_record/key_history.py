"""The history of a log's signing keys: every rotation is a statement that the old key and the new key both sign.

    origin                      name of the log
    signing-key-rotation/v1
    size                        number of records when the key changed, in decimal
    public key of the old key, as in `VerifierKey.text`
    public key of the new key
    (an empty line)
    — origin base64(key id || signature by the old key)
    — origin base64(key id || signature by the new key)

The old key signs checkpoints of at most `size` records, and the new key signs larger ones. A reader who trusts one key
can therefore verify the checkpoints of every key: the signature of the old key leads forward, and that of the new key
leads back. The second line differs from the second line of a checkpoint, so no statement is a valid checkpoint.

A statement does not help against a thief of the old key, who can sign another statement. After a theft, readers need
the new key out of band.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from grounds_record.errors import KeyHistoryInvalid, KeyMalformed
from grounds_record.merkle import SIZE_MAX
from grounds_record.note import Signer, VerifierKey, open_note, parse_note, parse_verifier_key, sign_note, signed_note

_KIND = "signing-key-rotation/v1"
_LINES = 5
_ROTATIONS_MAX = 1000


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """A change of the signing key, signed by both keys.

    Attributes:
        size: Number of records when the key changed.
        old: The public key of checkpoints of at most `size` records.
        new: The public key of larger checkpoints.
    """

    size: int
    old: VerifierKey
    new: VerifierKey

    def text(self) -> str:
        """Return the text that both keys sign."""
        return f"{self.old.name}\n{_KIND}\n{self.size}\n{self.old.text()}\n{self.new.text()}\n"


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """The signing keys of a log, the oldest first.

    Attributes:
        keys: The public keys.
        sizes: The largest checkpoint of each key except the newest, in records.
        rotations: The signed statement of each rotation.
    """

    keys: tuple[VerifierKey, ...]
    sizes: tuple[int, ...] = ()
    rotations: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the name of the log."""
        return self.keys[-1].name

    @property
    def newest(self) -> VerifierKey:
        """Return the key that signs now."""
        return self.keys[-1]

    def key_for_size(self, size: int) -> VerifierKey:
        """Return the key that signs checkpoints of `size` records."""
        return self.keys[sum(size > last for last in self.sizes)]


LogKeys: TypeAlias = VerifierKey | KeyHistory  # the keys with which a reader verifies the checkpoints of a log


def sign_rotation(size: int, old: Signer, new: Signer) -> str:
    """Return the statement, signed by both keys, that `new` signs all checkpoints of more than `size` records."""
    rotation = KeyRotation(size, old.verifier(), new.verifier())
    signed, also_signed = sign_note(rotation.text(), old), sign_note(rotation.text(), new)
    return signed + also_signed.rpartition("\n\n")[2]


def open_rotation(note: str) -> KeyRotation:
    """Verify both signatures of a statement, and return the rotation.

    Raises:
        NoteMalformed, KeyMalformed, KeyHistoryInvalid: The text is not such a statement.
        SignatureMissing, SignatureInvalid: One of the two keys has not signed it.
    """
    text, _ = parse_note(note)
    lines = text.removesuffix("\n").split("\n")
    if len(lines) != _LINES or lines[1] != _KIND or not re.fullmatch("0|[1-9][0-9]{0,18}", lines[2]):
        raise KeyHistoryInvalid(f"a key rotation must have {_LINES} lines: origin, {_KIND}, size, old key, new key")
    rotation = KeyRotation(int(lines[2]), parse_verifier_key(lines[3]), parse_verifier_key(lines[4]))
    if {rotation.old.name, rotation.new.name} != {lines[0]} or rotation.old == rotation.new:
        raise KeyHistoryInvalid("a key rotation must state two different keys of one log")
    if rotation.size > SIZE_MAX:
        raise KeyHistoryInvalid(f"the size of a key rotation must be at most {SIZE_MAX}")
    open_note(note, rotation.old)
    open_note(note, rotation.new)
    return rotation


def trace_keys(trusted: LogKeys, rotations: Sequence[str]) -> KeyHistory:
    """Return all keys of a log that lead to or from a trusted key.

    Args:
        trusted: A key that the reader trusts, or a history that was traced earlier.
        rotations: The statements of the rotations, which are not trusted, in any order. Statements that no signature
            connects with the trusted key are ignored.

    Raises:
        RecordError: A statement is malformed or is not signed by both keys, two statements contradict each other, or
            there are too many.
    """
    if len(rotations) > _ROTATIONS_MAX:
        raise KeyHistoryInvalid(f"there are {len(rotations)} key rotations; at most {_ROTATIONS_MAX} are allowed")
    opened = {open_rotation(note): note for note in rotations}
    following, preceding = {each.old: each for each in opened}, {each.new: each for each in opened}
    if not len(opened) == len(following) == len(preceding):
        raise KeyHistoryInvalid("two key rotations contradict each other: one key has two successors or predecessors")
    start = trusted if isinstance(trusted, KeyHistory) else KeyHistory((trusted,))
    keys, sizes, notes = list(start.keys), list(start.sizes), list(start.rotations)
    while (later := following.get(keys[-1])) is not None and later.new not in keys:
        keys.append(later.new)
        sizes.append(later.size)
        notes.append(opened[later])
    while (earlier := preceding.get(keys[0])) is not None and earlier.old not in keys:
        keys.insert(0, earlier.old)
        sizes.insert(0, earlier.size)
        notes.insert(0, opened[earlier])
    if any(smaller >= larger for smaller, larger in pairwise(sizes)):
        raise KeyHistoryInvalid("the key rotations are not in ascending order of their sizes")
    return KeyHistory(tuple(keys), tuple(sizes), tuple(notes))


def rotation_labels(rotation: str) -> dict[str, str]:
    """Return the labels of a record's header that contain a statement; see `rotation_from_labels`."""
    opened = open_rotation(rotation)
    found = {"old_key": opened.old.public.hex(), "new_key": opened.new.public.hex()}
    signatures = {key_id: content for _, key_id, content in parse_note(rotation)[1]}
    found["old_signature"] = signatures[opened.old.key_id].hex()
    found["new_signature"] = signatures[opened.new.key_id].hex()
    return found


def rotation_from_labels(name: str, index: int, labels: dict[str, str]) -> str:
    """Return the statement of a rotation, from the header of the record with which the new key begins.

    Args:
        name: Name of the log.
        index: Index of the record, which is the number of records before it.
        labels: Labels of the record's header.

    Raises:
        KeyMalformed: A label is missing or malformed.
    """
    try:
        old, new = (VerifierKey(name, bytes.fromhex(labels[label])) for label in ("old_key", "new_key"))
        signatures = [bytes.fromhex(labels[label]) for label in ("old_signature", "new_signature")]
    except (KeyError, ValueError) as error:
        raise KeyMalformed(f"record {index}: the labels of the key rotation are malformed") from error
    text = KeyRotation(index, old, new).text()
    return signed_note(text, [(old, signatures[0]), (new, signatures[1])])
