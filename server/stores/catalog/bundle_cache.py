"""The bundle cache, which opens bundles of the catalog by id and keeps recently used ones in memory.

Replays use the cache to open the bundle of an old decision, even if the bundle no longer serves.
"""

import threading
from collections import OrderedDict
from pathlib import Path

from models.bundle import read_bundle
from models.errors import BundleInvalid
from models.model import Model, open_model
from server.errors import BundleNotReadable, BundleUnknown

_OPEN_MAX = 8  # largest number of models in memory per family; auditors use few bundles at a time


class BundleCache:
    """Opens the bundles of a family, and caches recently used ones. Its methods may be called from any thread."""

    def __init__(self, bundles: Path, family: str) -> None:
        self._folder = bundles / family
        self._lock = threading.Lock()
        self._models: OrderedDict[str, Model] = OrderedDict()

    def open_model(self, bundle_id: str) -> Model:
        """Return the model of a bundle. A bundle never changes, so a cached model is never stale.

        Raises:
            BundleUnknown: The bundle is not in the catalog.
            BundleNotReadable: The bundle is incomplete, or does not reproduce its golden rows.
        """
        with self._lock:
            if bundle_id in self._models:
                self._models.move_to_end(bundle_id)
                return self._models[bundle_id]
        if not (self._folder / bundle_id).is_dir():
            raise BundleUnknown(
                f"the catalog has no {self._folder.name} bundle with this id; restore the bundle's folder",
                bundle_id=bundle_id,
            )
        try:
            model = open_model(read_bundle(self._folder / bundle_id))
        except BundleInvalid as error:
            raise BundleNotReadable(f"the bundle is invalid: {error}", bundle_id=bundle_id) from error
        # The bundle is opened outside the lock, because opening is slow. Therefore two threads may open the same
        # bundle. Their models are equal, and the cache keeps the model that is stored last.
        with self._lock:
            self._models[bundle_id] = model
            while len(self._models) > _OPEN_MAX:
                self._models.popitem(last=False)
        return model


class BundleCaches:
    """Creates the bundle cache of each family at its first use. Its methods may be called from any thread."""

    def __init__(self, bundles: Path) -> None:
        self._bundles = bundles
        self._caches: dict[str, BundleCache] = {}

    def for_family(self, family: str) -> BundleCache:
        """Return the bundle cache of a family."""
        return self._caches.setdefault(family, BundleCache(self._bundles, family))
