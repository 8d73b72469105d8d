"""Reviews a window: reads the records, compares them with the populations of their bundles, and collects the findings."""

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from models.bundle import Bundle, read_bundle
from models.errors import BundleInvalid
from server.model_monitoring.decision_rates import DecisionRates, decision_rates
from server.model_monitoring.drift import DriftReview, review_drift
from server.model_monitoring.findings import ModelChange, find_changes
from server.model_monitoring.recorded_window import CellKey, WatchedWindow
from server.model_monitoring.vintages import PerformanceEstimate, VintageReview, estimate_performance, review_vintages
from server.registry.model_registry import CREDIT_FAMILY
from server.stores.record_log.record_reader import RECORD_DAMAGED


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What the operator chose.

    Attributes:
        outcome_months: Months after a decision in which a default counts.
        false_alarm_rate: The largest share of windows without any change in which something is named.
        market: The only market; "" for all markets.
        small_markets: Markets that are expected to have too few customers to be judged.
    """

    outcome_months: int
    false_alarm_rate: float
    market: str
    small_markets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchReview:
    """Everything that is said about a window."""

    window: WatchedWindow
    options: WatchOptions
    bundles: dict[str, Bundle | None]
    drift: DriftReview
    vintages: VintageReview
    estimates: tuple[PerformanceEstimate, ...]
    rates: tuple[DecisionRates, ...]
    findings: tuple[ModelChange, ...]

    @property
    def current_findings(self) -> int:
        """Return the number of findings about bundles that serve."""
        return sum(each.is_serving for each in self.findings)

    @property
    def untested_markets(self) -> tuple[str, ...]:
        """Return the markets in which no series and no vintage of the newest bundle was tested."""
        tested = {(each.market, each.bundle_id) for each in self.drift.series if each.psi is not None}
        tested |= {(each.market, each.bundle_id) for each in self.vintages.vintages if each.level_p is not None}
        judged = {market for market, bundle_id in self._newest_bundles.items() if (market, bundle_id) in tested}
        return tuple(sorted({*self.window.counts.markets, *self._newest_bundles} - judged))

    @property
    def markets_too_small(self) -> tuple[str, ...]:
        """Return the markets that were not tested, as expected: too few customers are the only reason.

        If a record is damaged, there is no such market, because the unread decisions could be those of any market.
        """
        if self.window.counts.left_out.get(RECORD_DAMAGED):
            return ()
        verdicts: dict[str, set[str]] = {}
        for each in self.drift.series:
            if self._newest_bundles[each.market] == each.bundle_id:
                verdicts.setdefault(each.market, set()).add(each.verdict)
        small = {market for market, found in verdicts.items() if found == {"TOO_FEW_ROWS"}}
        return tuple(each for each in self.untested_markets if each in small and each in self.options.small_markets)

    @property
    def _newest_bundles(self) -> dict[str, str]:
        """Return the bundle of the newest decision of each market. The rates are sorted by month."""
        return {each.market: each.newest_bundle_id for each in self.rates}

    @property
    def tests(self) -> int:
        """Return the number of tests of both kinds."""
        return self.drift.tests + self.vintages.tests


def review_window(window: WatchedWindow, bundles_folder: Path, options: WatchOptions) -> WatchReview:
    """Return the review of a window that was read."""
    return review_cells(window, _read_bundles(bundles_folder, {bundle_id for _, _, bundle_id in window.cells}), options)


def review_cells(window: WatchedWindow, bundles: dict[str, Bundle | None], options: WatchOptions) -> WatchReview:
    """Return the review of a window. Each kind of test gets one half of the rate of false alarms.

    Args:
        window: The window.
        bundles: The bundles by id; None for a bundle that cannot be read.
        options: What the operator chose.
    """
    half = options.false_alarm_rate / 2
    drift = review_drift(window.cells, bundles, half)
    as_of: dt.date = window.as_of.date()
    vintages = review_vintages(window.cells, bundles, as_of, options.outcome_months, half)
    return WatchReview(
        window=window,
        options=options,
        bundles=bundles,
        drift=drift,
        vintages=vintages,
        estimates=estimate_performance(window.cells),
        rates=decision_rates(window.cells),
        findings=find_changes(drift, vintages, _serving_bundles(window.cells)),
    )


def _serving_bundles(cells: Collection[CellKey]) -> set[tuple[str, str]]:
    """Return the market and the bundle of the decisions in the newest month of each market."""
    newest: dict[str, str] = {}
    for market, month, _ in cells:
        newest[market] = max(month, newest.get(market, month))
    return {(market, bundle_id) for market, month, bundle_id in cells if month == newest[market]}


def _read_bundles(bundles: Path, wanted: Iterable[str]) -> dict[str, Bundle | None]:
    """Return bundles by id; None for a bundle that is missing from the catalog or invalid."""
    found: dict[str, Bundle | None] = {}
    for bundle_id in sorted(wanted):
        folder = bundles / CREDIT_FAMILY / bundle_id
        try:
            found[bundle_id] = read_bundle(folder) if folder.is_dir() else None
        except BundleInvalid:
            found[bundle_id] = None
    return found
