"""The master keys that a process knows: one, or two while a rotation is not finished."""

import threading
from contextlib import suppress

from grounds_record.customer_keys import unwrap_key, wrap_key
from grounds_record.errors import WrappedKeyInvalid
from server.errors import LogRefused, StoreUnavailable
from server.stores.keys.places import KeyPlace, MasterKey

_UNKNOWN = (
    "the master key was rotated, and this process cannot find the new one; nothing was decided; configure the new key as "
    "`master_key`"
)


class MasterKeys:
    """Wraps and unwraps customers' keys. Its methods may be called from any thread.

    The keys are read again when a key is missing, so that a running server follows a rotation. A key that was read
    once stays in memory.
    """

    def __init__(self, place: KeyPlace) -> None:
        """Read the master key of a place, and its successor if there is one.

        Raises:
            LogRefused: The key cannot be read.
        """
        self.place = place
        self._lock = threading.Lock()
        self._keys: dict[str, MasterKey] = {}
        self.main = self._reload()

    def _reload(self) -> MasterKey:
        """Read the keys again, and return the key of the place itself."""
        with self._lock:
            # The successor is read first. A rotation that ends meanwhile moves it to the place, where it is then found.
            successor = self._read_successor()
            found = self.place.read_master()
            # The newest key comes first, because after a rotation it unwraps every key.
            keys = [found] if successor is None else [successor, found]
            self._keys = {key.key_id: key for key in keys} | {
                name: key for name, key in self._keys.items() if name not in {each.key_id for each in keys}
            }
            return found

    def _read_successor(self) -> MasterKey | None:
        """Return the key of the successor place; None if it has none, also if a rotation moved it during this call."""
        successor = self.place.successor()
        if not successor.exists():
            return None
        try:
            return successor.read_master()
        except LogRefused:
            if successor.exists():
                raise
            return None

    def wrap(self, key: bytes, key_id: str | None) -> bytes:
        """Wrap a customer's key.

        Args:
            key: The customer's key.
            key_id: Id of the master key that the key database states; None if it states none.

        Raises:
            StoreUnavailable: This process cannot find the master key.
        """
        if key_id is None:
            return wrap_key(key, self.main.cipher)
        if key_id not in self._keys:
            self._try_reload()
        if key_id not in self._keys:
            raise StoreUnavailable(_UNKNOWN)
        return wrap_key(key, self._keys[key_id].cipher)

    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """Unwrap a customer's key with whichever master key wrapped it.

        Raises:
            WrappedKeyInvalid: No master key that this process can find wrapped it.
        """
        tried = set(self._keys)
        try:
            return self._unwrap(wrapped, name)
        except WrappedKeyInvalid:
            self._try_reload()
            if set(self._keys) == tried:
                raise
            return self._unwrap(wrapped, name)

    def is_wrapped_by(self, key_id: str, wrapped: bytes, name: str) -> bool:
        """Return whether this master key wrapped a customer's key."""
        try:
            unwrap_key(wrapped, name, self._keys[key_id].cipher)
        except WrappedKeyInvalid:
            return False
        return True

    def _unwrap(self, wrapped: bytes, name: str) -> bytes:
        """Try each known key."""
        *others, last = self._keys.values()
        for key in others:
            try:
                return unwrap_key(wrapped, name, key.cipher)
            except WrappedKeyInvalid:
                continue
        return unwrap_key(wrapped, name, last.cipher)

    def _try_reload(self) -> None:
        """Read the keys again, if they can be read."""
        # They cannot, for example, while Kubernetes replaces the files. The keys in memory stay usable.
        with suppress(LogRefused):
            self.main = self._reload()

    def reload(self) -> None:
        """Read the keys again.

        Raises:
            LogRefused: A key cannot be read.
        """
        self.main = self._reload()
