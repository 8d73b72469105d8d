"""The model registry: which bundle serves which market, read from the catalog and reloaded while the server runs.

An invalid bundle never serves. If ACTIVE.toml names one, the market keeps the bundle that served last, and the catalog
entry of the invalid one says why.
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
    """The models that serve at one moment. Immutable: a call that reads it once sees one state.

    Attributes:
        serving: Models by (family, market).
        entries: Every bundle of the catalog, valid or not, by (family, name).
    """

    serving: Mapping[tuple[str, str], Model] = field(default_factory=dict)
    entries: Mapping[tuple[str, str], CatalogEntry] = field(default_factory=dict)

    def model(self, family: str, market: str) -> Model | None:
        """Return the model that serves a market; None if there is none."""
        return self.serving.get((family, market))

    def markets_of(self, bundle_id: str) -> list[str]:
        """Return the markets that a bundle serves, sorted."""
        return sorted(market for (_, market), model in self.serving.items() if model.bundle.bundle_id == bundle_id)

    def markets(self, family: str) -> list[str]:
        """Return the markets that a family serves, sorted."""
        return sorted(market for name, market in self.serving if name == family)


class ModelRegistry:
    """Keeps the serving models up to date with the files of the catalog.

    One task at a time calls `refresh`; it replaces `current` as a whole, so readers need no lock.

    Attributes:
        current: The models that serve now; a call reads it once.
    """

    def __init__(self, bundles: Path) -> None:
        self._bundles = bundles
        self.current = ServingModels()
        self._fingerprints: dict[Path, _Fingerprint] = {}
        self._entries: dict[Path, CatalogEntry] = {}
        self._activation_problems: dict[str, str] = {}  # by family, why its ACTIVE.toml is not in force

    def refresh(self) -> ServingModels:
        """Read the files that have changed, and replace `current`."""
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
        """Return the entries of all bundles; read those whose files have changed since the last refresh."""
        folders = [
            folder for family in list_families(self._bundles) for folder in list_bundle_folders(self._bundles, family)
        ]
        for folder in folders:
            # Taken before reading: a file that changes in between makes the next refresh read the bundle again.
            if (fingerprint := _fingerprint(folder)) != self._fingerprints.get(folder):
                self._entries[folder] = read_entry(folder)
                self._fingerprints[folder] = fingerprint
                if problem := self._entries[folder].problem:
                    LOG.error("bundle refused", family=folder.parent.name, bundle=folder.name, problem=problem)
        return [self._entries[folder] for folder in folders]

    def _models_of_family(self, family: str, entries: dict[tuple[str, str], CatalogEntry]) -> dict[str, Model]:
        """Return the models of a family by market, as ACTIVE.toml names them.

        If ACTIVE.toml is invalid, all markets keep their models; if a bundle is, its markets do.
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
        """Open a bundle, which reproduces its golden rows; None if it is invalid, and then its entry says why."""
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
    """Return bundle ids by family and market, for the application log and to detect a change."""
    return {f"{family}/{market}": model.bundle.bundle_id for (family, market), model in serving.items()}


def _fingerprint(folder: Path) -> _Fingerprint:
    """Return names, sizes and modification times of a bundle's files."""
    files = sorted((path, path.lstat()) for path in folder.iterdir())
    return tuple((path.name, stat.st_size, stat.st_mtime_ns) for path, stat in files)
