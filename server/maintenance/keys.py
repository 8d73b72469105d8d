"""Rotates the signing key and the master key. Servers of the log may run meanwhile.

Both rotations have three steps: create the new key in the successor place, change the database, and move the new key to
its place. Before the second step, the database states the old key, and afterwards the new one. Servers read both
places, so each step may be interrupted at any moment: running the command again continues.
"""

import datetime as dt
from dataclasses import dataclass

from grounds.audit.v1 import bodies_pb2 as pb
from server.errors import KeyRotationRefused
from server.stores.keys.places import KeyPlace
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.holds import OPERATOR
from server.stores.record_log.key_rotations import SIGNING_KEY_ROTATED
from server.stores.record_log.log import RecordLog


@dataclass(frozen=True, slots=True)
class KeyRotationResult:
    """The result of a rotation.

    Attributes:
        key: The new public key, or the id of the new master key.
        count: Number of customers' keys that were encrypted again; 0 for a signing key.
        moved: Whether the new key is at its place. If not, the operator must move it.
    """

    key: str
    count: int
    moved: bool


def rotate_signing_key(log: RecordLog, place: KeyPlace, reason: str, at: dt.datetime) -> KeyRotationResult:
    """Create a new signing key, record the rotation, and put the key in its place.

    Raises:
        KeyRotationRefused: The successor place has the key that is in use already.
        LogRefused: A key cannot be created or read.
        StoreUnavailable: It is unknown whether the key was rotated; run the command again.
    """
    origin, successor = log.keys.name, place.successor()
    if successor.exists() and place.read_signer(origin).verifier() == successor.read_signer(origin).verifier():
        _discard(successor)
    successor.create_signer(origin)
    new = successor.read_signer(origin)

    def entry(labels: dict[str, str]) -> LogEntry:
        body = pb.SigningKeyRotationRecord(reason=reason).SerializeToString(deterministic=True)
        return LogEntry(
            kind=SIGNING_KEY_ROTATED, record_id=new_record_id(at), time=at, caller=OPERATOR, body=body, labels=labels
        )

    log.rotate_signing_key(new, entry)
    return KeyRotationResult(new.verifier().text(), 0, place.promote_successor())


def rotate_master_key(log: RecordLog) -> KeyRotationResult:
    """Create a new master key, encrypt every customer's key with it, and put it in its place.

    Raises:
        KeyRotationRefused: The successor place has the key that is in use already.
        LogRefused: A key cannot be created or read.
        RecordDamaged: A customer's key cannot be decrypted, so that the rotation is not finished.
        StoreUnavailable: The rotation is not finished; run the command again.
    """
    store = log.key_store
    place = store.masters.place
    successor = place.successor()
    if successor.exists() and place.read_master().key_id == successor.read_master().key_id:
        _discard(successor)
    successor.create_master()
    store.masters.reload()
    new = successor.read_master().key_id
    store.set_master_id(new)
    count = store.rewrap(new)
    # From the moment at which the new id was committed, every new key is encrypted with it, so one pass suffices.
    if left := store.count_not_wrapped_by(new):
        raise KeyRotationRefused(
            f"{left} keys are not encrypted with the new master key; both master keys are kept; run the command again"
        )
    return KeyRotationResult(new, count, place.promote_successor())


def _discard(successor: KeyPlace) -> None:
    """Remove a key that was copied to its place after an earlier rotation."""
    if not successor.discard():
        raise KeyRotationRefused(
            f"{successor.description} contains the key that is in use already; remove it, and put a new key there to rotate again"
        )
