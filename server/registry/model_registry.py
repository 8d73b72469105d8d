"""The model registry: which bundle serves which market, read from the catalog and reloaded while the server runs.

An invalid bundle never serves. If ACTIVE.toml selects an invalid bundle for a market, the model that serves the market
continues to serve it. The catalog entry of the invalid bundle states the problem.
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
    """An immutable snapshot of the models that serve. A call that uses only one snapshot sees a consistent state.

    Attributes:
        serving: The serving models by (family, market).
        entries: The catalog entries of all bundles, valid or invalid, by (family, name).
    """

    serving: Mapping[tuple[str, str], Model] = field(default_factory=dict)
    entries: Mapping[tuple[str, str], CatalogEntry] = field(default_factory=dict)

    def model(self, family: str, market: str) -> Model | None:
        """Return the model of a family that serves a market; None if no model of the family serves it."""
        return self.serving.get((family, market))

    def markets_of(self, bundle_id: str) -> list[str]:
        """Return the markets that a bundle serves, sorted."""
        return sorted(market for (_, market), model in self.serving.items() if model.bundle.bundle_id == bundle_id)

    def markets(self, family: str) -> list[str]:
        """Return the markets that a family serves, sorted."""
        return sorted(market for name, market in self.serving if name == family)


class ModelRegistry:
    """Keeps the serving models up to date with the files of the catalog.

    Only one task at a time may call `refresh`, which replaces `current` as a whole. Therefore readers need no lock.

    Attributes:
        current: The models that serve now. A call that needs a consistent state reads this attribute only once.
    """

    def __init__(self, bundles: Path) -> None:
        self._bundles = bundles
        self.current = ServingModels()
        self._fingerprints: dict[Path, _Fingerprint] = {}
        self._entries: dict[Path, CatalogEntry] = {}
        self._activation_problems: dict[str, str] = {}  # for each family with a rejected ACTIVE.toml: the reason

    def refresh(self) -> ServingModels:
        """Read the files that have changed, replace `current`, and return the new value."""
        entries = {(entry.family, entry.name): entry for entry in self._read_entries()}
        serving: dict[tuple[str, str], Model] = {}
        for family in list_families(self._bundles):
            for market, model in self._models_of_family(family, entries).items():
                serving[family, market] = model
        if (names := _serving_names(serving)) != _serving_names(self.current.serving):
            LOG.info("serving models", serving=names)
        self.current = ServingModels(serving, entries)
        return self.current

    def _read_entries(self) -> list[CatalogEntry]:
        """Return the catalog entries of all bundles. Read only bundles whose files changed after the last refresh."""
        folders = [
            folder for family in list_families(self._bundles) for folder in list_bundle_folders(self._bundles, family)
        ]
        for folder in folders:
            # Compute the fingerprint before reading the bundle. If a file changes in between, the next refresh reads
            # the bundle again.
            if (fingerprint := _fingerprint(folder)) != self._fingerprints.get(folder):
                self._entries[folder] = read_entry(folder)
                self._fingerprints[folder] = fingerprint
                if problem := self._entries[folder].problem:
                    LOG.error("bundle refused", family=folder.parent.name, bundle=folder.name, problem=problem)
        return [self._entries[folder] for folder in folders]

    def _models_of_family(self, family: str, entries: dict[tuple[str, str], CatalogEntry]) -> dict[str, Model]:
        """Return the models of a family by market, as specified by ACTIVE.toml.

        If ACTIVE.toml is invalid, all markets keep their current models. If a selected bundle is invalid or missing,
        the markets for which it is selected keep their current models.
        """
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
        """Open a bundle and check that it reproduces its golden rows; return None if it is missing or invalid.

        If the bundle turns out to be invalid here, its catalog entry is replaced by one that states the problem.
        """
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
    """Return the ids of serving bundles by family and market; `refresh` compares and logs them."""
    return {f"{family}/{market}": model.bundle.bundle_id for (family, market), model in serving.items()}


def _fingerprint(folder: Path) -> _Fingerprint:
    """Return names, sizes and modification times of a bundle's files, by which a changed bundle is detected."""
    files = sorted((path, path.lstat()) for path in folder.iterdir())
    return tuple((path.name, stat.st_size, stat.st_mtime_ns) for path, stat in files)
