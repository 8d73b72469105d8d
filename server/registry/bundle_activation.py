"""Activates, deactivates and retires bundles. Each change is recorded in the log before any answer is given under it.

ACTIVE.toml states which bundle serves a market, and the record log states who decided this, when and why. A command writes
both in one step: it locks the log, appends the record, writes the file, and commits. A server that finds a changed file
records the change before the bundle serves. It checks under the lock whether a command or another server has recorded the
change already, so that exactly one record is written.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.activations import (
    BUNDLE_ACTIVATED,
    BUNDLE_DEACTIVATED,
    BUNDLE_LABEL,
    BUNDLE_RETIRED,
    FAMILY_LABEL,
    MARKET_LABEL,
    PREVIOUS_LABEL,
    ActivationHistory,
)
from models.bundle import Bundle
from models.catalog import check_deactivation, read_activations, select_bundles
from models.errors import ActivationRejected
from server.errors import ChangeRefused
from server.registry.change_origin import BY_SERVER, ChangeOrigin
from server.stores.record_log.activations import read_history
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.log import RecordLog

ServedMarket = tuple[str, str]  # family, market


class ActivationJournal:
    """Records the changes that a server finds in ACTIVE.toml, and reads the history of all changes.

    Only one task at a time may use a journal.

    Attributes:
        four_eyes: True if a change of a bundle needs the approval of a second person, so that a changed file alone does
            not let a bundle serve.
    """

    def __init__(
        self, log: RecordLog, bundles: Path, clock: Callable[[], dt.datetime], *, four_eyes: bool = False
    ) -> None:
        self._log, self._bundles, self._clock, self.four_eyes = log, bundles, clock, four_eyes
        self._history = ActivationHistory()

    def read(self) -> ActivationHistory:
        """Return the history of all changes.

        Raises:
            StoreUnavailable: The database does not answer.
            HeaderInvalid: The stored header of an activation was tampered with.
        """
        with self._log.database.reading() as connection:
            self._history = read_history(connection, self._history)
        return self._history

    def take_over(self, wanted: Mapping[ServedMarket, Bundle | None]) -> ActivationHistory:
        """Record which bundles serve from now on, unless it is recorded already; return the history with these records.

        A market whose line in ACTIVE.toml has changed since the file was read is left out, and so is every market of a
        family whose ACTIVE.toml became invalid.

        Args:
            wanted: The bundle of each market; None if the market was deactivated.

        Raises:
            StoreUnavailable: It is unknown whether the changes were recorded, so they must not take effect.
        """
        at = self._clock()
        with self._log.database.writing() as connection:
            # Lock the head before reading. Another server, or a command, may be recording the same change.
            self._log.lock_head(connection)
            self._history = read_history(connection, self._history)
            files = {family: self._read_file(family) for family, _ in wanted}
            entries = [
                _activation_entry(self._history, key, bundle, BY_SERVER, "", at)
                for key, bundle in sorted(wanted.items(), key=lambda item: item[0])
                if files[key[0]].get(key[1]) == _id_of(bundle) != served_bundle(self._history, key)
            ]
            self._log.append_or_raise(connection, entries)
        return self.read()

    def _read_file(self, family: str) -> dict[str, str]:
        """Return the lines of a family's ACTIVE.toml; none if it became invalid, so that other families are not affected."""
        try:
            return read_activations(self._bundles, family)
        except ActivationRejected:
            return {}


def served_bundle(history: ActivationHistory, key: ServedMarket) -> str:
    """Return the bundle that serves a market according to a history; "" if none does."""
    change = history.serving.get(key)
    return change.bundle_id if change else ""


def record_activation(
    log: RecordLog,
    bundles: Path,
    bundle: Bundle,
    markets: Sequence[str],
    *,
    origin: ChangeOrigin,
    reason: str,
    at: dt.datetime,
    expected: Mapping[str, str] | None = None,
) -> list[str]:
    """Record that a bundle serves markets from now on, and write ACTIVE.toml.

    Args:
        log: The record log.
        bundles: The catalog.
        bundle: The bundle, which was checked.
        markets: The markets.
        origin: Who makes the change.
        reason: The reason, which is recorded permanently; may be empty.
        at: The time of the records.
        expected: The bundle that must serve each market now, or ""; None for no check.

    Returns:
        The markets for which a record was written. A market that the bundle serves already gets a record only if the
        change was approved by a second operator, because the record closes the proposal.

    Raises:
        ChangeRefused: The bundle was retired, a market is not served by the bundle that `expected` states, or the
            proposal was approved already.
        StoreUnavailable: It is unknown whether the change was recorded.
    """
    family = bundle.manifest.family
    with log.database.writing() as connection:
        log.lock_head(connection)
        history = read_history(connection)
        check_not_approved(history, origin)
        if bundle.bundle_id in history.retired:
            raise ChangeRefused(f"bundle {bundle.bundle_id[:12]} was retired; activate a different bundle")
        _check_expected(history, family, expected or {})
        changed = [
            market
            for market in dict.fromkeys(markets)  # each market once
            if origin.proposal_id or served_bundle(history, (family, market)) != bundle.bundle_id
        ]
        entries = [_activation_entry(history, (family, market), bundle, origin, reason, at) for market in changed]
        log.append_or_raise(connection, entries)
        # The file is written while the head is locked, so that no server can read the record and then the old file.
        select_bundles(bundles, family, dict.fromkeys(markets, bundle.bundle_id))
    return changed


def record_deactivation(
    log: RecordLog,
    bundles: Path,
    family: str,
    markets: Sequence[str],
    origin: ChangeOrigin,
    reason: str,
    at: dt.datetime,
) -> None:
    """Record that no bundle of a family serves some markets from now on, and write ACTIVE.toml.

    Raises:
        ActivationRejected: A market is served neither according to ACTIVE.toml nor according to the record log.
        StoreUnavailable: It is unknown whether the change was recorded.
    """
    with log.database.writing() as connection:
        log.lock_head(connection)
        history = read_history(connection)
        recorded = [
            market for name, market in history.serving if name == family and served_bundle(history, (name, market))
        ]
        check_deactivation(bundles, family, tuple(markets), recorded)
        # A market that only ACTIVE.toml contains needs no record, because the log states no bundle for it.
        served = [market for market in dict.fromkeys(markets) if market in recorded]
        entries = [_activation_entry(history, (family, market), None, origin, reason, at) for market in served]
        log.append_or_raise(connection, entries)
        select_bundles(bundles, family, dict.fromkeys(markets, ""))


def record_retirement(
    log: RecordLog, bundles: Path, family: str, bundle_id: str, origin: ChangeOrigin, reason: str, at: dt.datetime
) -> bool:
    """Record that a bundle cannot be activated again.

    Returns:
        False if the bundle was retired already. Then a record is written only if the change was approved by a second
        operator, because the record closes the proposal.

    Raises:
        ChangeRefused: The bundle serves a market, or the proposal was approved already.
        StoreUnavailable: It is unknown whether the change was recorded.
    """
    with log.database.writing() as connection:
        log.lock_head(connection)
        history = read_history(connection)
        check_not_approved(history, origin)
        was_retired = bundle_id in history.retired
        if was_retired and not origin.proposal_id:
            return False
        markets = {market for name, market in history.serving if served_bundle(history, (name, market)) == bundle_id}
        markets |= {market for market, active in read_activations(bundles, family).items() if active == bundle_id}
        if markets:
            raise ChangeRefused(
                f"bundle {bundle_id[:12]} serves {', '.join(sorted(markets))}; activate a different bundle or deactivate the "
                "markets, then retire it"
            )
        body = pb.BundleRetirementRecord(family=family, bundle_id=bundle_id, reason=reason, author=origin.message())
        labels = {FAMILY_LABEL: family, BUNDLE_LABEL: bundle_id}
        log.append_or_raise(connection, [change_entry(BUNDLE_RETIRED, body, labels, origin, at)])
    return not was_retired


def check_not_approved(history: ActivationHistory, origin: ChangeOrigin) -> None:
    """Check that nobody has approved the proposal of a change yet.

    The result stays valid only while the caller keeps the head of the log locked.

    Raises:
        ChangeRefused: The proposal was approved already.
    """
    if origin.proposal_id and origin.proposal_id in history.approved:
        raise ChangeRefused(f"{origin.proposal_id}: the proposal was approved already; propose the change again")


def _activation_entry(
    history: ActivationHistory,
    key: ServedMarket,
    bundle: Bundle | None,
    origin: ChangeOrigin,
    reason: str,
    at: dt.datetime,
) -> LogEntry:
    """Return the entry of an activation, or of a deactivation if `bundle` is None."""
    family, market = key
    previous, bundle_id = served_bundle(history, key), _id_of(bundle)
    is_rollback = bundle_id != previous and bundle_id in history.served.get(key, ())
    body = pb.BundleActivationRecord(
        family=family,
        market=market,
        bundle_id=bundle_id,
        previous_bundle_id=previous,
        rollback=is_rollback,
        release_verdict=release_verdict(bundle) if bundle else "",
        reason=reason,
        author=origin.message(),
    )
    labels = {FAMILY_LABEL: family, MARKET_LABEL: market, BUNDLE_LABEL: bundle_id, PREVIOUS_LABEL: previous}
    return change_entry(BUNDLE_ACTIVATED if bundle else BUNDLE_DEACTIVATED, body, labels, origin, at)


def change_entry(
    kind: str,
    body: pb.BundleActivationRecord | pb.BundleRetirementRecord | pb.ChangeProposalRecord | pb.PolicyActivationRecord,
    labels: Mapping[str, str],
    origin: ChangeOrigin,
    at: dt.datetime,
) -> LogEntry:
    """Return the entry of a change. It is sealed with the log's own key. Empty labels are left out."""
    return LogEntry(
        kind=kind,
        record_id=new_record_id(at),
        time=at,
        caller=origin.caller,
        body=body.SerializeToString(deterministic=True),
        labels={name: value for name, value in {**labels, **origin.labels}.items() if value},
    )


def release_verdict(bundle: Bundle) -> str:
    """Return what the release checks of a bundle found, in words. A bundle that failed a check is never written."""
    kinds = bundle.gate.kinds
    rows, distance = sum(kind.rows for kind in kinds), max(kind.contribution_distance for kind in kinds)
    return (
        f"PASSED: {rows:,} rows of {len(kinds)} kinds were compared; contributions differ from Shapley values by at most "
        f"{distance:.1e} log-odds; gate.json {bundle.manifest.files['gate.json']}"
    )


def _id_of(bundle: Bundle | None) -> str:
    """Return the id of a bundle; "" for None."""
    return bundle.bundle_id if bundle else ""


def _check_expected(history: ActivationHistory, family: str, expected: Mapping[str, str]) -> None:
    """Raise ChangeRefused if another bundle serves a market than is expected."""
    for market, bundle_id in expected.items():
        if (now := served_bundle(history, (family, market))) != bundle_id:
            raise ChangeRefused(
                f"since the proposal, {family} {market} has changed from {bundle_id[:12] or 'no bundle'} to "
                f"{now[:12] or 'no bundle'}; propose the change again"
            )
