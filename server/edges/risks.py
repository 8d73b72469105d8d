"""A customer's churn risk, and a run, as the contract has them."""

import json
import math
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Row

from grounds.churn.v1 import churn_pb2 as pb
from grounds.customer.v1 import customer_pb2
from grounds.explain.v1 import explain_pb2
from server.edges.explanations import ContributionFacts, baseline_of, contribution, explanation, timestamp
from server.edges.money import money_of_minor
from server.stores.doubles import unpack
from server.stores.risks import SCORED, Run

MICROS = 10**6


def run_message(run: Run) -> pb.ChurnRun:
    """Write a run."""
    return pb.ChurnRun(
        run_id=run.run_id,
        market=run.market,
        as_of_time=timestamp(run.as_of),
        valid_until_time=timestamp(run.valid_until),
        bundle_id=run.header["bundle_id"],
        currency_code=run.header["currency"],
        previous_run_id=run.previous_run_id or "",
        customer_count=run.customer_count,
        horizon_days=run.header["horizon_days"],
        campaign=run.header.get("campaign", ""),
    )


def risk_message(run: Run, row: Row[Any], locale: str) -> pb.ChurnRisk:
    """Write one customer."""
    suppressions = row.suppressions.split(",") if row.suppressions else []
    risk = pb.ChurnRisk(
        customer=customer_pb2.Customer(market=run.market, customer_id=row.customer_id),
        run_id=run.run_id,
        as_of_time=timestamp(run.as_of),
        valid_until_time=timestamp(run.valid_until),
        bundle_id=run.header["bundle_id"],
        status=f"CHURN_STATUS_{row.status}",
        risk_band=band_name(row.band),
        previous_band=band_name(row.previous_band),
        hold_out=row.hold_out,
        suppressions=suppressions,
        action_allowed=row.status == SCORED and not row.hold_out and not suppressions,
    )
    if row.status == SCORED:
        add_score(risk, run, row, locale)
    return risk


def add_score(risk: pb.ChurnRisk, run: Run, row: Row[Any], locale: str) -> None:
    """Write what only a customer with a score has."""
    risk.log_odds, risk.churn_probability, risk.rank = row.log_odds, row.pd, row.rank
    risk.band_since_time.CopyFrom(moment(row.band_since))
    risk.value_at_risk.CopyFrom(money_of_minor(row.value_at_risk_minor, run.header["currency"]))
    risk.expected_spend.CopyFrom(money_of_minor(row.expected_spend_minor, run.header["currency"]))
    if row.decline_pd is not None:
        risk.decline_probability = row.decline_pd
    risk.drivers.CopyFrom(drivers_message(row.drivers, locale))


def band_name(band: str | None) -> str:
    """Name a band as the contract does."""
    return f"RISK_BAND_{band or 'UNSPECIFIED'}"


def moment(micros: int) -> Timestamp:
    """Write a time that is kept as microseconds since 1970."""
    seconds, rest = divmod(micros, MICROS)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def drivers_message(drivers: str, locale: str) -> explain_pb2.Reasons:
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


def explanation_message(run: Run, row: Row[Any]) -> explain_pb2.Explanation:
    """Write the explanation that the run carries."""
    header = run.header
    values, contributions = unpack(row.features), unpack(row.contributions)
    lines = []
    for name, group, value, log_odds in zip(
        header["feature_names"], header["feature_groups"], values, contributions, strict=True
    ):
        known = None if math.isnan(value) else value
        lines.append(
            contribution(
                ContributionFacts(name, group, known, None if known is None else "STORE", run.as_of, log_odds, None)
            )
        )
    baseline = baseline_of(header["baseline_sha256"], header["baseline_rows"], header["baseline_definition"])
    residual = row.log_odds - math.fsum([header["base_value"], *contributions])
    return explanation(header["method"], baseline, header["base_value"], residual, lines)
