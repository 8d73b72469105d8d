"""Measures scoring runs against what happened: each run, each market of a run, each month, and each campaign."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from training.measures.bootstrap import Interval, auc_interval
from training.measures.discrimination import lift_at_share
from training.measures.proportions import Estimate, clustered_proportion
from training.results.campaign_effect import ALL, CampaignEffect, measure_effects
from training.results.contacts import Contacts, contacted_mask
from training.results.observed_churn import ObservedRun
from training.sources.samples import customer_of
from training.validation.ranking import RESAMPLING
from training.validation.scored_sample import measure_or_remark

_LIFT_SHARE = 0.1
_MONTH = "%Y-%m"


@dataclass(frozen=True, slots=True)
class ChurnRate:
    """Expected against observed churn of some predictions.

    Attributes:
        name: The predictions: "all" or a band.
        predictions: Number of predictions.
        mean_pd: Mean predicted probability, which is the expected churn rate.
        churned: Number of predictions whose customer churned.
        observed: Observed churn rate with Wilson's 95 % interval.
    """

    name: str
    predictions: int
    mean_pd: float
    churned: int
    observed: Estimate

    @property
    def is_explained(self) -> bool:
        """Return whether chance explains the difference between the expected and the observed churn rate."""
        return self.observed.low <= self.mean_pd <= self.observed.high


@dataclass(frozen=True, slots=True)
class SpendAtRisk:
    """Amounts in minor units of a currency.

    Attributes:
        currency: ISO 4217 code; XXX for none.
        at_risk: Sum of the values at risk: pd times the spend expected within the horizon.
        lost: Spend expected within the horizon of the customers who churned.
        expected: Spend expected within the horizon of all customers.
    """

    currency: str
    at_risk: int
    lost: int
    expected: int


@dataclass(frozen=True, slots=True)
class MarketResult:
    """The results of a run in a market, or in all of its markets.

    Attributes:
        market: The market; "all" for all markets.
        total: All predictions.
        bands: The predictions of each band that has any, in ascending order of risk.
        auc: AUC with its bootstrap interval over customers; None if it cannot be measured.
        lift: Churn rate of the riskiest tenth divided by that of all predictions; None if it cannot be measured.
        spend: Value at risk against lost spend; None if the run has no spend or several currencies.
        remarks: Why a figure was not measured.
    """

    market: str
    total: ChurnRate
    bands: tuple[ChurnRate, ...]
    auc: Interval | None
    lift: float | None
    spend: SpendAtRisk | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunResult:
    """The results of one run.

    Attributes:
        observed: The run and what happened.
        markets: The results in all markets and, if there are several, in each market.
        effects: The effect of the campaign; empty if the run has no hold-out group.
    """

    observed: ObservedRun
    markets: tuple[MarketResult, ...]
    effects: tuple[CampaignEffect, ...]


@dataclass(frozen=True, slots=True)
class MonthResult:
    """The results of all runs of a month in a market, or in all markets.

    Attributes:
        month: The month of the as-of days.
        market: The market; "all" for all markets.
        runs: Number of runs.
        total: All predictions.
        effect: The effect of the campaign; None without a hold-out group, or if the runs have several campaigns.
    """

    month: str
    market: str
    runs: int
    total: ChurnRate
    effect: CampaignEffect | None


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """The effect of a campaign over all of its runs.

    Attributes:
        name: Name of the campaign.
        hold_out_share: Share of the customers in the hold-out group.
        runs: Number of runs.
        effects: The effect on all customers, on those of each band, and on those of each market.
    """

    name: str
    hold_out_share: float
    runs: int
    effects: tuple[CampaignEffect, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """The results of all runs.

    Attributes:
        runs: The runs with known outcomes, in ascending order of the as-of day.
        unmeasured: The runs without any known outcome.
        months: The results of each month, by market.
        campaigns: The campaigns of the runs that have a hold-out group.
        contacts: The contacts of the campaigns; None if they are unknown.
    """

    runs: tuple[RunResult, ...]
    unmeasured: tuple[ObservedRun, ...]
    months: tuple[MonthResult, ...]
    campaigns: tuple[CampaignResult, ...]
    contacts: Contacts | None


def measure_results(observed: Sequence[ObservedRun], contacts: Contacts | None = None) -> Results:
    """Measure all runs."""
    ordered = sorted(observed, key=lambda one: (one.run.as_of, one.run.markets))
    measured = [(one, _rows(one, contacts)) for one in ordered if not one.rows.empty]
    return Results(
        runs=tuple(_measure_run(one, rows) for one, rows in measured),
        unmeasured=tuple(one for one in ordered if one.rows.empty),
        months=tuple(_measure_months(measured)),
        campaigns=tuple(_measure_campaigns(measured)),
        contacts=contacts,
    )


def _rows(observed: ObservedRun, contacts: Contacts | None) -> pd.DataFrame:
    """Return the rows of a run, with the column is_contacted if the contacts are known."""
    if contacts is None:
        return observed.rows
    return observed.rows.assign(is_contacted=contacted_mask(observed, contacts))


def _bands(measured: Sequence[tuple[ObservedRun, pd.DataFrame]]) -> list[str]:
    """Return the bands of the runs in ascending order of risk."""
    return list(dict.fromkeys(band.band for one, _ in measured for band in one.run.manifest.bands))


def _measure_run(observed: ObservedRun, rows: pd.DataFrame) -> RunResult:
    """Measure one run."""
    bands, markets = _bands([(observed, rows)]), sorted(rows["market"].unique())
    several = markets if len(markets) > 1 else []
    parts = [(ALL, rows), *((market, rows[rows["market"] == market]) for market in several)]
    return RunResult(
        observed=observed,
        markets=tuple(_measure_market(observed, name, part, bands) for name, part in parts),
        effects=measure_effects(rows, bands, several) if observed.run.manifest.hold_out_share else (),
    )


def _measure_market(observed: ObservedRun, market: str, rows: pd.DataFrame, bands: Sequence[str]) -> MarketResult:
    """Measure the rows of a market, or of all markets."""
    labels = rows["churned"].to_numpy(dtype=np.int64)
    pds = rows["pd"].to_numpy(dtype=np.float64)
    remarks: list[str] = []
    filled = [(band, part) for band in bands if not (part := rows[rows["band"] == band]).empty]
    return MarketResult(
        market=market,
        total=_measure_rate(ALL, rows),
        bands=tuple(_measure_rate(band, part) for band, part in filled),
        auc=measure_or_remark(remarks, "AUC", lambda: auc_interval(labels, pds, customer_of(rows), RESAMPLING)),
        lift=measure_or_remark(remarks, "lift", lambda: lift_at_share(labels, pds, _LIFT_SHARE)),
        spend=_measure_spend(observed, rows),
        remarks=tuple(remarks),
    )


def _measure_rate(name: str, rows: pd.DataFrame) -> ChurnRate:
    """Measure the expected against the observed churn of some rows."""
    churned = rows["churned"].to_numpy(dtype=np.bool_)
    observed = clustered_proportion(churned, customer_of(rows))
    return ChurnRate(name, len(rows), float(rows["pd"].mean()), int(churned.sum()), observed)


def _measure_spend(observed: ObservedRun, rows: pd.DataFrame) -> SpendAtRisk | None:
    """Measure the value at risk against the lost spend of rows in one currency."""
    manifest = observed.run.manifest
    currencies = {manifest.currencies.get(market, manifest.currency) for market in rows["market"].unique()}
    expected = int(rows["expected_spend_minor"].sum())
    if len(currencies) > 1 or not expected:
        return None
    lost = int(rows.loc[rows["churned"], "expected_spend_minor"].sum())
    return SpendAtRisk(currencies.pop(), int(rows["value_at_risk_minor"].sum()), lost, expected)


def _measure_months(measured: Sequence[tuple[ObservedRun, pd.DataFrame]]) -> Iterator[MonthResult]:
    """Yield the results of each month, over all markets first and then by market."""
    months = sorted({one.run.as_of.strftime(_MONTH) for one, _ in measured})
    for month in months:
        runs = [(one, rows) for one, rows in measured if one.run.as_of.strftime(_MONTH) == month]
        campaigns = {(one.run.manifest.campaign, one.run.manifest.hold_out_share) for one, _ in runs}
        has_effect = len(campaigns) == 1 and all(one.run.manifest.hold_out_share for one, _ in runs)
        pooled = pd.concat([rows for _, rows in runs], ignore_index=True)
        markets = sorted(pooled["market"].unique())
        for market in (ALL, *(markets if len(markets) > 1 else ())):
            part = pooled if market == ALL else pooled[pooled["market"] == market]
            count = sum(market == ALL or market in set(rows["market"]) for _, rows in runs)
            effect = measure_effects(part, ())[0] if has_effect else None
            yield MonthResult(month, market, count, _measure_rate(ALL, part), effect)


def _measure_campaigns(measured: Sequence[tuple[ObservedRun, pd.DataFrame]]) -> Iterator[CampaignResult]:
    """Yield the effect of each campaign over its runs. A campaign with another share has another hold-out group."""
    held_out = [(one, rows) for one, rows in measured if one.run.manifest.hold_out_share]
    keys = dict.fromkeys((one.run.manifest.campaign, one.run.manifest.hold_out_share) for one, _ in held_out)
    for name, share in keys:
        runs = [
            (one, rows)
            for one, rows in held_out
            if (one.run.manifest.campaign, one.run.manifest.hold_out_share) == (name, share)
        ]
        pooled = pd.concat([rows for _, rows in runs], ignore_index=True)
        markets = sorted(pooled["market"].unique())
        effects = measure_effects(pooled, _bands(runs), markets if len(markets) > 1 else ())
        yield CampaignResult(name, share, len(runs), effects)
