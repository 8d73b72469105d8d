"""Which models serve: read from the catalog, looked at again while the server runs.

A bundle that is refused never serves. Where ACTIVE.toml names one, the market keeps the bundle that
served last, and `refusals` says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from models.bundle import read_bundle
from models.catalog import CatalogEntry, list_bundle_folders, list_families, read_active, read_entry
from models.errors import ActivationRejected, BundleInvalid
from models.model import Model, open_model

LOG = structlog.get_logger()
CREDIT_FAMILY = "credit"  # the family that answers CreditService
_Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class ServingModels:
    """What serves at one moment. Never changed: a request that holds one sees one state.

    Attributes:
        serving: By (family, market).
        entries: Every bundle of the catalog, whole or refused, by (family, name).
    """

    serving: Mapping[tuple[str, str], Model] = field(default_factory=dict)
    entries: Mapping[tuple[str, str], CatalogEntry] = field(default_factory=dict)

    def model(self, family: str, market: str) -> Model | None:
        """Give the model that answers for a market."""
        return self.serving.get((family, market))

    def markets_of(self, bundle_id: str) -> list[str]:
        """Give the markets that a bundle answers for now."""
        return sorted(market for (_, market), model in self.serving.items() if model.bundle.bundle_id == bundle_id)

    def markets(self, family: str) -> list[str]:
        """Give the markets that a family serves."""
        return sorted(market for name, market in self.serving if name == family)


class ModelRegistry:
    """Keeps the lineup up to date with the files.

    Owned by one task: `refresh` is never called twice at once. Readers take `now` once per request.
    """

    def __init__(self, bundles: Path) -> None:
        self._bundles = bundles
        self.current = ServingModels()
        self._fingerprints: dict[Path, _Fingerprint] = {}
        self._entries: dict[Path, CatalogEntry] = {}
        self._activation_problems: dict[str, str] = {}  # why a family's ACTIVE.toml is not what serves

    def refresh(self) -> ServingModels:
        """Look at the files, and swap in what has changed."""
        entries = {(entry.family, entry.name): entry for entry in self._read_entries()}
        serving: dict[tuple[str, str], Model] = {}
        for family in list_families(self._bundles):
            for market, model in self._models_of_family(family, entries).items():
                serving[family, market] = model
        if (shown := _serving_names(serving)) != _serving_names(self.current.serving):
            LOG.info("lineup", serving=shown)
        self.current = ServingModels(serving, entries)
        return self.current

    def _read_entries(self) -> list[CatalogEntry]:
        """Read every bundle whose files have changed since the last look."""
        found = [
            folder for family in list_families(self._bundles) for folder in list_bundle_folders(self._bundles, family)
        ]
        for folder in found:
            if (stamp := _fingerprint(folder)) != self._fingerprints.get(folder):
                self._entries[folder] = read_entry(folder)
                self._fingerprints[folder] = stamp
                if refusal := self._entries[folder].problem:
                    LOG.error("bundle refused", family=folder.parent.name, bundle=folder.name, problem=refusal)
        return [self._entries[folder] for folder in found]

    def _models_of_family(self, family: str, entries: dict[tuple[str, str], CatalogEntry]) -> dict[str, Model]:
        """Open what ACTIVE.toml names; where that is refused, go on with what served."""
        before = {market: model for (name, market), model in self.current.serving.items() if name == family}
        try:
            wanted = read_active(self._bundles, family)
        except ActivationRejected as error:
            if str(error) != self._activation_problems.get(family):
                LOG.error("activation refused", family=family, problem=str(error))
            self._activation_problems[family] = str(error)
            return before
        self._activation_problems.pop(family, None)
        opened: dict[str, Model] = {model.bundle.bundle_id: model for model in before.values()}
        serving: dict[str, Model] = {}
        for market, bundle_id in wanted.items():
            if bundle_id not in opened and (model := self._open_bundle(family, bundle_id, entries)):
                opened[bundle_id] = model
            if model := opened.get(bundle_id, before.get(market)):
                serving[market] = model
        return serving

    def _open_bundle(self, family: str, bundle_id: str, entries: dict[tuple[str, str], CatalogEntry]) -> Model | None:
        """Open a bundle; one that does not reproduce its golden rows becomes a refused entry."""
        entry = entries.get((family, bundle_id))
        if entry is None or entry.problem:
            return None
        folder = self._bundles / family / bundle_id
        try:
            return open_model(read_bundle(folder))
        except BundleInvalid as error:
            LOG.error("bundle refused", family=family, bundle=bundle_id, problem=str(error))
            self._entries[folder] = entries[family, bundle_id] = CatalogEntry(family, bundle_id, None, str(error))
            return None


def _serving_names(serving: Mapping[tuple[str, str], Model]) -> dict[str, str]:
    """Give what serves, for a log line and to see whether it changed."""
    return {f"{family}/{market}": model.bundle.bundle_id for (family, market), model in serving.items()}


def _fingerprint(folder: Path) -> _Fingerprint:
    """Give what changes when a file of the bundle is written: names, sizes and times."""
    files = sorted((path, path.lstat()) for path in folder.iterdir())
    return tuple((path.name, stat.st_size, stat.st_mtime_ns) for path, stat in files)
