"""The signing key that a process uses, and the history of the log's signing keys."""

from dataclasses import dataclass

from grounds_record.key_history import KeyHistory
from grounds_record.note import Signer
from server.stores.keys.places import KeyPlace


@dataclass(slots=True)
class SigningKeys:
    """The signing key of a log, which changes when any process rotates it.

    Attributes:
        place: The place of the key.
        signer: The key that signs now.
        history: All public keys of the log. The newest one is that of `signer`.
    """

    place: KeyPlace
    signer: Signer
    history: KeyHistory

    def find(self, verifier: str) -> Signer | None:
        """Return the key with this public key; see `find_signing_key`."""
        return find_signing_key(self.place, self.signer.name, verifier)


def find_signing_key(place: KeyPlace, origin: str, verifier: str) -> Signer | None:
    """Return the signing key with this public key: the key of the place or, during a rotation, of its successor.

    Raises:
        LogRefused: A key cannot be read.
    """
    for each in (place, place.successor()):
        if each.exists() and (key := each.read_signer(origin)).verifier().text() == verifier:
            return key
    return None
