"""Bundles of the catalog by their ids, whatever serves today: a decision is replayed with the bundle that made it."""

import threading
from collections import OrderedDict
from pathlib import Path

from models.bundle import read_bundle
from models.errors import BundleInvalid
from models.model import Model, open_model
from server.errors import BundleNotReadable, BundleUnknown

OPEN_MAX = 8  # models kept open: an auditor looks at a few


class BundleCache:
    """Opens bundles. Its methods may be called from any thread."""

    def __init__(self, bundles: Path, family: str) -> None:
        self.family, self.folder = family, bundles / family
        self.lock = threading.Lock()
        self.opened: OrderedDict[str, Model] = OrderedDict()

    def open_model(self, bundle_id: str) -> Model:
        """Open a bundle, or give it as it was opened before: a bundle never changes.

        Raises:
            BundleUnknown: It is not in the catalog.
            BundleNotReadable: It is not whole, or does not reproduce its golden rows.
        """
        with self.lock:
            if bundle_id in self.opened:
                self.opened.move_to_end(bundle_id)
                return self.opened[bundle_id]
        if not (self.folder / bundle_id).is_dir():
            raise BundleUnknown(
                f"there is no such bundle among those of {self.folder.name} in the catalog; restore it",
                bundle_id=bundle_id,
            )
        try:
            model = open_model(read_bundle(self.folder / bundle_id))
        except BundleInvalid as error:
            raise BundleNotReadable(f"the bundle is refused: {error}", bundle_id=bundle_id) from error
        with self.lock:
            self.opened[bundle_id] = model
            while len(self.opened) > OPEN_MAX:
                self.opened.popitem(last=False)
        return model


class BundleCaches:
    """A shelf for each family, made when somebody asks for it. May be called from any thread."""

    def __init__(self, bundles: Path) -> None:
        self.bundles = bundles
        self.shelves: dict[str, BundleCache] = {}

    def for_family(self, family: str) -> BundleCache:
        """Give the shelf of a family."""
        return self.shelves.setdefault(family, BundleCache(self.bundles, family))
