"""The bundle cache, which opens bundles of the catalog by id and keeps recently used ones in memory.

Replays use the cache to open the bundle of an old decision, even if the bundle no longer serves. A bundle that serves
was checked when it was activated, and is used as it is. Any other bundle is untrusted, so its graphs run in a process
with limits.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.bundle import read_bundle
from models.errors import AdditivityError, BundleInvalid, BundleNotRunnable
from models.isolation.processes import GraphProcesses
from models.model import Model
from server.errors import BundleNotReadable, BundleUnknown

_OPEN_MAX = 8  # largest number of models in memory per family; auditors use few bundles at a time
_FindServing = Callable[[str, str], Model | None]


class BundleCache:
    """Opens the bundles of a family, and caches recently used ones. Its methods may be called from any thread."""

    def __init__(
        self,
        bundles: Path,
        family: str,
        processes: GraphProcesses,
        find_serving: _FindServing = lambda _family, _bundle_id: None,
    ) -> None:
        """Create an empty cache.

        Args:
            bundles: The catalog.
            family: The family whose bundles the cache opens.
            processes: Processes that run the graphs of bundles that do not serve.
            find_serving: Returns the model of a bundle that serves, by family and bundle_id; None if the bundle does
                not serve.
        """
        self._folder = bundles / family
        self._processes, self._find_serving = processes, find_serving
        self._lock = threading.Lock()
        self._models: OrderedDict[str, Model] = OrderedDict()

    def open_model(self, bundle_id: str) -> Model:
        """Return the model of a bundle. A bundle never changes, so a cached model is never stale.

        Raises:
            BundleUnknown: The bundle is not in the catalog.
            BundleNotReadable: The bundle is incomplete, does not reproduce its golden rows, or exceeded a limit.
        """
        if serving := self._find_serving(self._folder.name, bundle_id):
            return serving
        with self._lock:
            if bundle_id in self._models:
                self._models.move_to_end(bundle_id)
                return self._models[bundle_id]
        if not (self._folder / bundle_id).is_dir():
            raise BundleUnknown(
                f"the catalog has no {self._folder.name} bundle with this id; restore the bundle's folder",
                bundle_id=bundle_id,
            )
        with refuse_unusable_bundle(bundle_id):
            model = self._processes.open_model(read_bundle(self._folder / bundle_id))
        # The bundle is opened outside the lock, because opening is slow. Therefore two threads may open the same
        # bundle. Their models are equal, and the cache keeps the model that is stored last.
        with self._lock:
            self._models[bundle_id] = model
            while len(self._models) > _OPEN_MAX:
                self._models.popitem(last=False)
        return model


@contextmanager
def refuse_unusable_bundle(bundle_id: str) -> Iterator[None]:
    """Raise BundleNotReadable if the block uses a bundle that is invalid, exceeds a limit, or computes no result."""
    try:
        yield
    except BundleInvalid as error:
        limits = "could not be run within limits" if isinstance(error, BundleNotRunnable) else "is invalid"
        raise BundleNotReadable(f"the bundle {limits}: {error}", bundle_id=bundle_id) from error
    except (AdditivityError, ArithmeticError, LookupError, ValueError) as error:
        # Numbers that overflow and texts with unknown placeholders are found only when a row is scored.
        problem = str(error) if isinstance(error, AdditivityError) else type(error).__name__
        raise BundleNotReadable(f"the bundle cannot answer: {problem}", bundle_id=bundle_id) from error


class BundleCaches:
    """Creates the bundle cache of each family at its first use. Its methods may be called from any thread."""

    def __init__(self, bundles: Path, processes: GraphProcesses, find_serving: _FindServing) -> None:
        self._bundles, self._processes, self._find_serving = bundles, processes, find_serving
        self._caches: dict[str, BundleCache] = {}

    def for_family(self, family: str) -> BundleCache:
        """Return the bundle cache of a family."""
        cache = BundleCache(self._bundles, family, self._processes, self._find_serving)
        return self._caches.setdefault(family, cache)
