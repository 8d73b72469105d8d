"""A customer's churn risk, and a run, as the contract has them."""

import json
import math
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row

from grounds.churn.v1 import churn_pb2 as pb
from grounds.customer.v1 import customer_pb2
from grounds.explain.v1 import explain_pb2
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

_MICROS = 10**6
BANDS: dict[str | None, pb.RiskBand] = {
    None: pb.RISK_BAND_UNSPECIFIED,
    "LOW": pb.RISK_BAND_LOW,
    "MEDIUM": pb.RISK_BAND_MEDIUM,
    "HIGH": pb.RISK_BAND_HIGH,
    "CRITICAL": pb.RISK_BAND_CRITICAL,
}


def require_newest_run(risks: PredictionStore, market: str) -> ScoringRun:
    """Give the market's newest run.

    Raises:
        NoRun: There is none.
    """
    run = risks.find_newest_run(market)
    if run is None:
        raise NoRun(f"no churn run is loaded for market {market}", market=market)
    return run


def run_message(run: ScoringRun) -> pb.ChurnRun:
    """Write a run."""
    return pb.ChurnRun(
        run_id=run.run_id,
        market=run.market,
        as_of_time=timestamp(run.as_of),
        valid_until_time=timestamp(run.valid_until),
        bundle_id=run.manifest["bundle_id"],
        currency_code=run.manifest["currency"],
        previous_run_id=run.previous_run_id or "",
        customer_count=run.customer_count,
        horizon_days=run.manifest["horizon_days"],
        campaign=run.manifest.get("campaign", ""),
    )


class RiskWriter:
    """Writes customers of one run; what they have from the run is written once."""

    def __init__(self, run: ScoringRun, locale: str) -> None:
        self.run, self.locale, self.currency = run, locale, run.manifest["currency"]
        self.of_run = {
            "run_id": run.run_id,
            "as_of_time": timestamp(run.as_of),
            "valid_until_time": timestamp(run.valid_until),
            "bundle_id": run.manifest["bundle_id"],
        }

    def message(self, row: Row[Any]) -> pb.ChurnRisk:
        """Write one customer."""
        suppressions = row.suppressions.split(",") if row.suppressions else []
        scored = row.status == SCORED
        risk = pb.ChurnRisk(
            customer=customer_pb2.Customer(market=self.run.market, customer_id=row.customer_id),
            status=f"CHURN_STATUS_{row.status}",
            risk_band=BANDS[row.band],
            previous_band=BANDS[row.previous_band],
            hold_out=row.hold_out,
            suppressions=suppressions,
            action_allowed=scored and not row.hold_out and not suppressions,
            **self.of_run,
        )
        if scored:
            self._add_score(risk, row)
        return risk

    def _add_score(self, risk: pb.ChurnRisk, row: Row[Any]) -> None:
        """Write what only a customer with a score has."""
        risk.log_odds, risk.churn_probability, risk.rank = row.log_odds, row.pd, row.rank
        seconds, rest = divmod(row.band_since, _MICROS)
        risk.band_since_time.seconds, risk.band_since_time.nanos = seconds, rest * 1000
        risk.value_at_risk.CopyFrom(money_from_minor(row.value_at_risk_minor, self.currency))
        risk.expected_spend.CopyFrom(money_from_minor(row.expected_spend_minor, self.currency))
        if row.decline_pd is not None:
            risk.decline_probability = row.decline_pd
        risk.drivers.CopyFrom(_drivers_message(row.drivers, self.locale))


def risk_messages(run: ScoringRun, rows: Iterable[Row[Any]], locale: str) -> list[pb.ChurnRisk]:
    """Write customers of one run."""
    writer = RiskWriter(run, locale)
    return [writer.message(row) for row in rows]


def _drivers_message(drivers: str, locale: str) -> explain_pb2.Reasons:
    """Write the drivers as the run tells them, in the locale asked for, else its language, else English."""
    told = json.loads(drivers)
    offered = set.intersection(*(set(driver["texts"]) for driver in told)) if told else {"en"}
    chosen = next((name for name in (locale, locale.split("-", maxsplit=1)[0]) if name in offered), "en")
    reasons = [
        explain_pb2.Reason(
            code=driver["code"],
            type=explain_pb2.REASON_TYPE_MODEL,
            text=driver["texts"][chosen],
            log_odds=driver["log_odds"],
            features=driver["features"],
        )
        for driver in told
    ]
    return explain_pb2.Reasons(locale=chosen, reasons=reasons)


def risk_explanation_message(run: ScoringRun, row: Row[Any]) -> explain_pb2.Explanation:
    """Write the explanation that the run carries."""
    header = run.manifest
    values, contributions = unpack_doubles(row.features), unpack_doubles(row.contributions)
    lines = []
    for name, group, value, log_odds in zip(
        header["feature_names"], header["feature_groups"], values, contributions, strict=True
    ):
        known = None if math.isnan(value) else value
        lines.append(
            contribution_message(
                ContributionFacts(name, group, known, None if known is None else "STORE", run.as_of, log_odds, None)
            )
        )
    baseline = baseline_message(header["baseline_sha256"], header["baseline_rows"], header["baseline_definition"])
    residual = row.log_odds - math.fsum([header["base_value"], *contributions])
    return explanation_message(header["method"], baseline, header["base_value"], residual, lines)
