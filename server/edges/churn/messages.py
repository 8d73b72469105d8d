"""Builds the protobuf messages of churn predictions and scoring runs."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from sqlalchemy import Row

from grounds.churn.v1 import churn_pb2 as pb
from grounds.customer.v1 import customer_pb2
from grounds.explain.v1 import explain_pb2
from models.reasons import DEFAULT_LOCALE, choose_locale
from server.edges.explanations import (
    ContributionFacts,
    baseline_message,
    contribution_message,
    explanation_message,
    timestamp,
)
from server.edges.money import money_from_minor
from server.errors import NoRun
from server.stores.float_arrays import unpack_doubles
from server.stores.runs.predictions import SCORED, PredictionStore, ScoringRun

_MICROS = 10**6  # microseconds in a second
BANDS: dict[str | None, pb.RiskBand] = {
    None: pb.RISK_BAND_UNSPECIFIED,
    "LOW": pb.RISK_BAND_LOW,
    "MEDIUM": pb.RISK_BAND_MEDIUM,
    "HIGH": pb.RISK_BAND_HIGH,
    "CRITICAL": pb.RISK_BAND_CRITICAL,
}


def require_newest_run(predictions: PredictionStore, market: str, family: str) -> ScoringRun:
    """Return the newest run of a family in a market; see `PredictionStore.find_newest_run` for no family.

    Raises:
        NoRun: No such run is loaded.
        FamilyRequired: The request must name a family.
    """
    run = predictions.find_newest_run(market, family)
    if run is None:
        of_family = f" of family {family}" if family else ""
        raise NoRun(f"no churn run{of_family} is loaded for market {market}; an operator can load a run", market=market)
    return run


def run_message(run: ScoringRun) -> pb.ChurnRun:
    """Build the message of a scoring run."""
    return pb.ChurnRun(
        run_id=run.run_id,
        market=run.market,
        as_of_time=timestamp(run.as_of),
        valid_until_time=timestamp(run.valid_until),
        bundle_id=run.manifest["bundle_id"],
        currency_code=_run_currency(run),
        previous_run_id=run.previous_run_id or "",
        customer_count=run.customer_count,
        horizon_days=run.manifest["horizon_days"],
        campaign=run.manifest.get("campaign", ""),
        family=run.family,
    )


def band_counts_message(run: ScoringRun, counts: Mapping[str, int]) -> pb.RunBandCounts:
    """Build the message of the number of customers in each band of a run."""
    bands = [
        pb.BandCount(band=band, customer_count=counts[name]) for name, band in BANDS.items() if name and name in counts
    ]
    return pb.RunBandCounts(run=run_message(run), bands=bands, unscored_count=run.customer_count - run.scored_count)


def _run_currency(run: ScoringRun) -> str:
    """Return the currency of the amounts of a run; a run file of several markets may state one for each market."""
    currencies: dict[str, str] = run.manifest.get("currencies", {})
    return currencies.get(run.market) or str(run.manifest["currency"])


class RiskWriter:
    """Builds the messages of predictions of one run. The fields that are equal in all messages are built only once."""

    def __init__(self, run: ScoringRun, locale: str) -> None:
        self._run, self._locale, self._currency = run, locale, _run_currency(run)
        self._run_fields = {
            "run_id": run.run_id,
            "as_of_time": timestamp(run.as_of),
            "valid_until_time": timestamp(run.valid_until),
            "bundle_id": run.manifest["bundle_id"],
        }

    def message(self, row: Row[Any]) -> pb.ChurnRisk:
        """Build the message of a customer's prediction, without the explanation."""
        suppressions = row.suppressions.split(",") if row.suppressions else []
        is_scored = row.status == SCORED
        risk = pb.ChurnRisk(
            customer=customer_pb2.Customer(market=self._run.market, customer_id=row.customer_id),
            status=f"CHURN_STATUS_{row.status}",
            risk_band=BANDS[row.band],
            previous_band=BANDS[row.previous_band],
            hold_out=row.hold_out,
            suppressions=suppressions,
            action_allowed=is_scored and not row.hold_out and not suppressions,
            **self._run_fields,
        )
        if is_scored:
            self._add_score(risk, row)
        return risk

    def _add_score(self, risk: pb.ChurnRisk, row: Row[Any]) -> None:
        """Add the fields that are set only for a scored customer."""
        risk.log_odds, risk.churn_probability, risk.rank = row.log_odds, row.pd, row.rank
        seconds, micros = divmod(row.band_since, _MICROS)
        risk.band_since_time.seconds, risk.band_since_time.nanos = seconds, micros * 1000
        risk.value_at_risk.CopyFrom(money_from_minor(row.value_at_risk_minor, self._currency))
        risk.expected_spend.CopyFrom(money_from_minor(row.expected_spend_minor, self._currency))
        if row.decline_pd is not None:
            risk.decline_probability = row.decline_pd
        risk.drivers.CopyFrom(_drivers_message(row.drivers, self._locale, self._run.market))


def risk_messages(run: ScoringRun, rows: Iterable[Row[Any]], locale: str) -> list[pb.ChurnRisk]:
    """Build the messages of predictions of one run, without explanations."""
    writer = RiskWriter(run, locale)
    return [writer.message(row) for row in rows]


def _drivers_message(drivers: str, locale: str, market: str) -> explain_pb2.Reasons:
    """Build the message of the drivers, which are the reason codes of a prediction.

    Args:
        drivers: The drivers as JSON, as in the run file.
        locale: The requested locale as a BCP 47 tag; "" for English. See `choose_locale` for a locale that is not offered.
        market: The market of the run.
    """
    entries = json.loads(drivers)
    # Use only a locale in which every driver has a text, so that an answer never mixes languages.
    offered = set.intersection(*(set(entry["texts"]) for entry in entries)) if entries else {DEFAULT_LOCALE}
    chosen = choose_locale(offered, locale, market)
    reasons = [
        explain_pb2.Reason(
            code=entry["code"],
            type=explain_pb2.REASON_TYPE_MODEL,
            text=entry["texts"][chosen],
            log_odds=entry["log_odds"],
            features=entry["features"],
        )
        for entry in entries
    ]
    return explain_pb2.Reasons(locale=chosen, reasons=reasons)


def risk_explanation_message(run: ScoringRun, row: Row[Any]) -> explain_pb2.Explanation:
    """Build the explanation of a scored customer from the stored contributions. Only the residual is computed here."""
    manifest = run.manifest
    values, log_odds = unpack_doubles(row.features), unpack_doubles(row.contributions)
    names, groups = manifest["feature_names"], manifest["feature_groups"]
    contributions = []
    for name, group, value, contribution in zip(names, groups, values, log_odds, strict=True):
        known = None if math.isnan(value) else value
        source: Literal["STORE"] | None = None if known is None else "STORE"
        facts = ContributionFacts(name, group, known, source, run.as_of, contribution, None)
        contributions.append(contribution_message(facts))
    return explanation_message(
        method=manifest["method"],
        baseline=baseline_message(
            manifest["baseline_sha256"], manifest["baseline_rows"], manifest["baseline_definition"]
        ),
        base_value=manifest["base_value"],
        residual=row.log_odds - math.fsum([manifest["base_value"], *log_odds]),
        contributions=contributions,
    )
