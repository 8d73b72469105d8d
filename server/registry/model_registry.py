"""The model registry: which bundle serves which market, read from the catalog and reloaded while the server runs.

An invalid bundle never serves. If ACTIVE.toml selects an invalid bundle for a market, the model that serves the market
continues to serve it. The catalog entry of the invalid bundle states the problem.

A bundle serves only under an activation in the record log. If ACTIVE.toml selects a bundle whose activation is not
recorded, for example because a person edited the file, the registry records it first.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from grounds_record.activations import ActivationHistory, RecordedChange
from grounds_record.errors import RecordError
from models.bundle import Bundle, read_bundle
from models.catalog import ACTIVE, CatalogEntry, list_bundle_folders, list_families, read_activations, read_entry
from models.errors import ActivationRejected, BundleInvalid, BundleNotRunnable
from models.identifiers import MARKET_PATTERN
from models.isolation.processes import check_bundle
from models.model import Model, open_model
from server.errors import StoreUnavailable
from server.registry.bundle_activation import ActivationJournal, ServedMarket, served_bundle
from server.registry.bundle_signatures import BundleSignatures

LOG = structlog.get_logger()
CREDIT_FAMILY = "credit"  # the family that answers CreditService
_RETRY_SECONDS = 60.0
_MARKET = re.compile(MARKET_PATTERN)
_Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class ServingModels:
    """An immutable snapshot of the models that serve. A call that uses only one snapshot sees a consistent state.

    Attributes:
        serving: The serving models by (family, market).
        entries: The catalog entries of all bundles, valid or invalid, by (family, name).
        activations: The id of the recorded activation under which each model serves, by (family, market). Empty if the
            registry has no journal.
    """

    serving: Mapping[ServedMarket, Model] = field(default_factory=dict)
    entries: Mapping[tuple[str, str], CatalogEntry] = field(default_factory=dict)
    activations: Mapping[ServedMarket, str] = field(default_factory=dict)

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
        problems: Why models could not be changed as the catalog states, or why the catalog no longer has a model that
            serves. The keys are families, and pairs of family and market.
        journal: Records activations before they take effect. None, as before the server has opened its log, records
            nothing.
    """

    def __init__(
        self,
        bundles: Path,
        check: Callable[[Bundle], None] = check_bundle,
        signatures: BundleSignatures | None = None,
    ) -> None:
        """Create the registry without reading the catalog.

        Args:
            bundles: The catalog.
            check: Opens a bundle in a process with limits, and raises BundleInvalid if this fails. If a bundle is
                activated while the server runs, this check precedes its opening in the server, so that the bundle
                cannot crash the server.
            signatures: Checks the signature of each bundle before it serves; None serves unsigned bundles.
        """
        self._bundles, self._check = bundles, check
        self._signatures = signatures or BundleSignatures(())
        self.current = ServingModels()
        self.problems: dict[str, str] = {}
        self.journal: ActivationJournal | None = None
        self._unrecorded_stops: set[ServedMarket] = set()  # deactivated markets whose deactivation must be recorded
        self._differing: set[ServedMarket] = (
            set()
        )  # markets for which the log stated another bundle at the last refresh
        self._fingerprints: dict[Path, _Fingerprint] = {}
        self._entries: dict[Path, CatalogEntry] = {}
        # Models that were opened and may not serve, with the catalog entries at that time
        self._waiting: dict[tuple[str, str], tuple[CatalogEntry, Model]] = {}
        self._retry_times: dict[str, float] = {}  # by bundle_id: when a bundle that exceeded a limit is checked again
        self._is_started = False

    def find_serving(self, family: str, bundle_id: str) -> Model | None:
        """Return the model of a bundle that serves a market now; None if the bundle serves no market."""
        found = (model for (name, _), model in self.current.serving.items() if name == family)
        return next((model for model in found if model.bundle.bundle_id == bundle_id), None)

    def refresh(self) -> ServingModels:
        """Read the files that have changed, replace `current`, and return the new value."""
        entries = {(entry.family, entry.name): entry for entry in self._read_entries()}
        serving: dict[ServedMarket, Model] = {}
        problems: dict[str, str] = {}
        stopped: set[ServedMarket] = set()
        # A family whose folder vanished, for example because a disk was unmounted, keeps its models.
        for family in sorted({*list_families(self._bundles), *(name for name, _ in self.current.serving)}):
            for market, model in self._models_of_family(family, entries, problems, stopped).items():
                serving[family, market] = model
        selected = {(family, model.bundle.bundle_id): model for (family, _), model in serving.items()}
        serving, activations = self._record_changes(serving, stopped, entries, problems)
        self._keep_waiting(selected, serving, entries)
        if (names := _serving_names(serving)) != _serving_names(self.current.serving):
            LOG.info("serving models", serving=names)
        self._report_problems(problems)
        self.current = ServingModels(serving, entries, activations)
        self._is_started = True
        return self.current

    def _keep_waiting(
        self,
        selected: Mapping[tuple[str, str], Model],
        serving: Mapping[ServedMarket, Model],
        entries: Mapping[tuple[str, str], CatalogEntry],
    ) -> None:
        """Keep the selected models that may not serve, so that they are not opened again at every refresh."""
        used = {(family, model.bundle.bundle_id) for (family, _), model in serving.items()}
        self._waiting = {
            key: (entries[key], model) for key, model in selected.items() if key not in used and key in entries
        }

    def _record_changes(
        self,
        serving: dict[ServedMarket, Model],
        stopped: set[ServedMarket],
        entries: dict[tuple[str, str], CatalogEntry],
        problems: dict[str, str],
    ) -> tuple[dict[ServedMarket, Model], dict[ServedMarket, str]]:
        """Record activations that are not recorded yet, and return the models that may serve, with their activations.

        If a change cannot be recorded, the market keeps its model. If this happens while a server starts, the market
        gets the model that the record log states. A deactivation takes effect even if it cannot be recorded, and is
        recorded as soon as possible.

        Args:
            serving: The models that ACTIVE.toml selects.
            stopped: The markets that ACTIVE.toml deactivates.
            entries: The catalog entries of all bundles.
            problems: Receives a problem for each change that does not take effect.
        """
        if self.journal is None:
            return serving, {}
        before = self.current
        self._unrecorded_stops |= stopped & set(before.serving) if self._is_started else stopped
        self._unrecorded_stops &= stopped
        history, refusal = self._take_over(self.journal, serving)
        confirmed: dict[ServedMarket, Model] = {}
        activations: dict[ServedMarket, str] = {}
        for key, model in serving.items():
            recorded = history.serving.get(key)
            if recorded is not None and recorded.bundle_id == model.bundle.bundle_id:
                confirmed[key], activations[key] = model, recorded.record_id
                continue
            if _is_recorded(before, key, history) or (refusal and key in before.activations):
                confirmed[key], activations[key] = before.serving[key], before.activations[key]
            elif recorded is not None and (kept := self._open_recorded(key, recorded, entries)):
                confirmed[key], activations[key] = kept, recorded.record_id
            if not _is_served(before, key, model):
                reason = refusal or self._refusal(history, model) or f"{ACTIVE} is being changed"
                problems["/".join(key)] = _unrecorded_problem(model, reason, confirmed.get(key))
        self._report_differences(history, confirmed, problems)
        return confirmed, activations

    def _take_over(
        self, journal: ActivationJournal, serving: Mapping[ServedMarket, Model]
    ) -> tuple[ActivationHistory, str]:
        """Record the unrecorded changes; return the history, and why they cannot be recorded ("" if they were)."""
        history = ActivationHistory()
        try:
            history = journal.read()
            if changes := self._unrecorded_changes(history, serving):
                history = journal.take_over(changes)
            self._unrecorded_stops.clear()
        except (StoreUnavailable, RecordError) as error:
            return history, f"its activation cannot be recorded: {error}"
        return history, ""

    def _open_recorded(
        self, key: ServedMarket, recorded: RecordedChange, entries: dict[tuple[str, str], CatalogEntry]
    ) -> Model | None:
        """Return the model that serves a market according to the record log, although ACTIVE.toml selects another bundle.

        Return None if the log states no bundle, or if the stated bundle cannot be opened.
        """
        family, bundle_id = key[0], recorded.bundle_id
        if not bundle_id:
            return None
        return self.find_serving(family, bundle_id) or self._open_bundle(family, bundle_id, entries)

    def _unrecorded_changes(
        self, history: ActivationHistory, serving: Mapping[ServedMarket, Model]
    ) -> dict[ServedMarket, Bundle | None]:
        """Return the changes that this server must record: the bundle by market, None for a deactivation.

        A market that keeps its bundle needs no record, even if the log states another bundle. Otherwise, two servers
        with different catalogs would record changes without end.
        """
        changes: dict[ServedMarket, Bundle | None] = {
            key: None for key in self._unrecorded_stops if served_bundle(history, key)
        }
        for key, model in serving.items():
            if served_bundle(history, key) == model.bundle.bundle_id or self._refusal(history, model):
                continue
            if not (_is_served(self.current, key, model) and _is_recorded(self.current, key, history)):
                changes[key] = model.bundle
        return changes

    def _refusal(self, history: ActivationHistory, model: Model) -> str:
        """Return why a bundle whose activation is not recorded may not serve; "" if it may."""
        if model.bundle.bundle_id in history.retired:
            return "it was retired"
        if self.journal is not None and self.journal.four_eyes:
            return "four_eyes requires an approved proposal: run `activate`, and let a second person run `approve`"
        return ""

    def _report_differences(
        self, history: ActivationHistory, confirmed: Mapping[ServedMarket, Model], problems: dict[str, str]
    ) -> None:
        """Add a problem for each market for which the log has stated another bundle at two refreshes in a row.

        While a command changes ACTIVE.toml, the log states the new bundle for a moment before the file does. A market
        also differs if the log states a bundle for it and this server does not serve it: its line in ACTIVE.toml may be
        missing.
        """
        served = {key: model.bundle.bundle_id for key, model in confirmed.items()}
        differing = {key for key in history.serving if served_bundle(history, key) != served.get(key, "")}
        for key in differing & self._differing:
            effect = f"bundle {served[key][:12]}, as its {ACTIVE} selects" if key in served else "none"
            problems.setdefault(
                "/".join(key),
                f"the record log states bundle {served_bundle(history, key)[:12] or 'none'}, but this server serves {effect}; "
                f"give all servers of the log the same {ACTIVE}, or run `activate` or `deactivate`",
            )
        self._differing = differing

    def _report_problems(self, problems: dict[str, str]) -> None:
        """Log the problems that are new or have changed, and keep all of them."""
        for subject, problem in problems.items():
            if self.problems.get(subject) != problem:
                LOG.error("activation refused", subject=subject, problem=problem)
        self.problems = problems

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
        self._entries = {folder: self._entries[folder] for folder in folders}
        self._fingerprints = {folder: self._fingerprints[folder] for folder in folders}
        return list(self._entries.values())

    def _models_of_family(
        self,
        family: str,
        entries: dict[tuple[str, str], CatalogEntry],
        problems: dict[str, str],
        stopped: set[ServedMarket],
    ) -> dict[str, Model]:
        """Return the models of a family by market, as ACTIVE.toml specifies.

        Every problem is added to `problems`, and every deactivated market to `stopped`.

        If ACTIVE.toml is invalid or missing, or lacks a market that is served, all markets keep their current models:
        only `deactivate` stops a market. If a selected bundle is invalid or missing, the markets for which it is
        selected keep their current models.
        """
        before = {market: model for (name, market), model in self.current.serving.items() if name == family}
        try:
            activations = read_activations(self._bundles, family)
            _check_no_market_is_missing(family, activations, before)
        except ActivationRejected as error:
            problems[family] = str(error)
            return before
        opened: dict[str, Model] = {model.bundle.bundle_id: model for model in before.values()}
        serving: dict[str, Model] = {}
        for market, bundle_id in activations.items():
            if not _MARKET.fullmatch(market):
                problems[f"{family}/{market}"] = (
                    f"{family}/{ACTIVE}: {market!r} must be two uppercase letters, such as TW"
                )
                continue
            if not bundle_id:
                stopped.add((family, market))
                continue
            if bundle_id not in opened and (model := self._open_bundle(family, bundle_id, entries)):
                opened[bundle_id] = model
            if model := opened.get(bundle_id, before.get(market)):
                serving[market] = model
            if problem := _bundle_problem(entries.get((family, bundle_id)), bundle_id, serving.get(market)):
                problems[f"{family}/{market}"] = problem
        return serving

    def _open_bundle(self, family: str, bundle_id: str, entries: dict[tuple[str, str], CatalogEntry]) -> Model | None:
        """Open a bundle and check that it reproduces its golden rows; return None if it is missing or invalid.

        If the bundle turns out to be invalid here, its catalog entry is replaced by one that states the problem.
        """
        entry = entries.get((family, bundle_id))
        if entry is None or entry.problem or time.monotonic() < self._retry_times.get(bundle_id, 0.0):
            return None
        kept, waiting = self._waiting.get((family, bundle_id), (None, None))
        if waiting is not None and kept is entry:  # the files are unchanged since the model was opened
            return waiting
        folder = self._bundles / family / bundle_id
        try:
            self._signatures.check(folder)
            bundle = read_bundle(folder)
            # `activate` has checked the bundle already. While the server runs, check the bundle again, because a crash
            # would end calls in progress. At startup there are no calls, so the check by `activate` is enough.
            if self._is_started:
                self._check(bundle)
            return open_model(bundle)
        except BundleNotRunnable as error:  # perhaps only because the machine is busy
            self._retry_times[bundle_id] = time.monotonic() + _RETRY_SECONDS
            LOG.error("bundle refused", family=family, bundle=bundle_id, problem=str(error))
            return None
        except BundleInvalid as error:
            LOG.error("bundle refused", family=family, bundle=bundle_id, problem=str(error))
            self._entries[folder] = entries[family, bundle_id] = CatalogEntry(family, bundle_id, None, str(error))
            return None


def _check_no_market_is_missing(family: str, activations: Mapping[str, str], served: Mapping[str, Model]) -> None:
    """Check that ACTIVE.toml has a line for every market that is served.

    Raises:
        ActivationRejected: A line is missing, because the file was deleted, emptied or written in part.
    """
    if missing := sorted(set(served) - set(activations)):
        raise ActivationRejected(
            f"{family}/{ACTIVE}: has no line for {', '.join(missing)}, so the previous bundles of the family continue to serve; "
            "restore the file, or run `activate`; to stop a market, run `deactivate`"
        )


def _bundle_problem(entry: CatalogEntry | None, bundle_id: str, serving: Model | None) -> str:
    """Return why the bundle that ACTIVE.toml selects for a market cannot be opened; "" if it can.

    Args:
        entry: The catalog's entry of the bundle; None if the catalog lacks the bundle.
        bundle_id: The id of the bundle.
        serving: The model that serves the market; None if there is none.
    """
    is_opened = serving is not None and serving.bundle.bundle_id == bundle_id
    if entry is not None and not entry.problem:
        return "" if is_opened else f"bundle {bundle_id} could not be run within its limits"
    problem = f"is invalid: {entry.problem}" if entry else "is not in the catalog"
    if is_opened:
        effect = "it serves from memory until the server stops"
    elif serving is not None:
        effect = f"bundle {serving.bundle.bundle_id} continues to serve"
    else:
        effect = "no bundle serves the market"
    return f"bundle {bundle_id} {problem}; {effect}; restore the bundle's folder"


def _is_served(current: ServingModels, key: ServedMarket, model: Model) -> bool:
    """Return whether a bundle serves a market already."""
    served = current.serving.get(key)
    return served is not None and served.bundle.bundle_id == model.bundle.bundle_id


def _is_recorded(current: ServingModels, key: ServedMarket, history: ActivationHistory) -> bool:
    """Return whether the activation under which a market is served is in the log. A restored database may lack it."""
    return key in current.activations and history.find(current.activations[key]) is not None


def _unrecorded_problem(model: Model, reason: str, served: Model | None) -> str:
    """Return the problem of a bundle that cannot serve a market, because its activation is not recorded.

    Args:
        model: The model of the bundle.
        reason: Why the activation is not recorded.
        served: The model that serves the market; None if there is none.
    """
    effect = f"bundle {served.bundle.bundle_id} continues to serve" if served else "no bundle serves the market"
    return f"bundle {model.bundle.bundle_id} does not serve: {reason}; {effect}"


def _serving_names(serving: Mapping[ServedMarket, Model]) -> dict[str, str]:
    """Return the ids of serving bundles by family and market; `refresh` compares and logs them."""
    return {f"{family}/{market}": model.bundle.bundle_id for (family, market), model in serving.items()}


def _fingerprint(folder: Path) -> _Fingerprint:
    """Return names, sizes and modification times of a bundle's files. They differ if the bundle has changed.

    The fingerprint is empty if the folder cannot be read, for example because it is being deleted.
    """
    try:
        files = sorted((path, path.lstat()) for path in folder.iterdir())
    except OSError:
        return ()
    return tuple((path.name, stat.st_size, stat.st_mtime_ns) for path, stat in files)
