"""Run files, specs and transaction logs that are written by hand, without a model."""

import datetime as dt
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

BANDS = (("LOW", 0.1), ("MEDIUM", 0.25), ("HIGH", 0.5), ("CRITICAL", 1.0))
BASE = -1.5
AS_OF = dt.date(2025, 3, 3)
HORIZON = 10
SPEC = """
family = "churn"
title = "Made bakers"
purpose = "Hand-counted results"
population = "made"

[log]
path = "log.csv"
currency = "EUR"
until = 2026-01-01

[log.columns]
customer_id = "customer"
market = "market"
time = "time"
amount = "amount"
basket = "basket"

[snapshots]
horizon_days = 10
active_days = 30

[campaign]
name = "spring"
hold_out_share = 0.2

[[features]]
name = "recency_days"
"""
SCHEMA = pa.schema(
    [
        ("market", pa.string()),
        ("customer_id", pa.string()),
        ("as_of", pa.timestamp("us", tz="UTC")),
        ("status", pa.string()),
        ("log_odds", pa.float64()),
        ("pd", pa.float64()),
        ("band", pa.string()),
        ("rank", pa.int32()),
        ("decline_pd", pa.float64()),
        ("value_at_risk_minor", pa.int64()),
        ("expected_spend_minor", pa.int64()),
        ("hold_out", pa.bool_()),
        ("suppressions", pa.list_(pa.string())),
        ("drivers", pa.string()),
        ("features", pa.list_(pa.float64())),
        ("contributions", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer of a run that is written by hand."""

    name: str
    pd: float | None = 0.2
    market: str = "DE"
    status: str = "SCORED"
    suppressions: tuple[str, ...] = ()
    is_key_account: bool = False
    spend: int = 10_000
    feature: float = 7.0


@dataclass(frozen=True, slots=True)
class HandMadeRun:
    """What a run file states besides its customers."""

    as_of: dt.date = AS_OF
    horizon: int = HORIZON
    campaign: str = "spring"
    share: float = 0.2
    manifest: Mapping[str, Any] = field(default_factory=dict)


def is_held_out(name: str, market: str = "DE", campaign: str = "spring", share: float = 0.2) -> bool:
    """Return whether a customer is in the hold-out group: the rule of the README, written a second time."""
    number = int.from_bytes(hashlib.sha256(f"{market}|{name}|{campaign}".encode()).digest(), "big")
    return number % 10_000 < share * 10_000


def find_name(prefix: str, *, held_out: bool, market: str = "DE") -> str:
    """Return a name with a prefix that is in the hold-out group, or is not."""
    return next(name for n in range(1000) if is_held_out(name := f"{prefix}{n}", market) == held_out)


def _row(customer: Customer, made: HandMadeRun, rank: int | None) -> dict[str, Any]:
    """Return the row of a customer."""
    held_out = not customer.is_key_account and is_held_out(customer.name, customer.market, made.campaign, made.share)
    row = {
        "market": customer.market,
        "customer_id": customer.name,
        "as_of": dt.datetime.combine(made.as_of, dt.time(), dt.UTC),
        "status": customer.status,
        "hold_out": held_out,
        "suppressions": list(customer.suppressions),
        "drivers": "[]",
        "features": [],
        "contributions": [],
    }
    if customer.pd is None:
        return row
    log_odds = math.log(customer.pd / (1 - customer.pd))
    pd = 1 / (1 + math.exp(-log_odds))
    return row | {
        "log_odds": log_odds,
        "pd": pd,
        "band": next(band for band, bound in BANDS if pd <= bound),
        "rank": rank,
        "value_at_risk_minor": round(pd * customer.spend),
        "expected_spend_minor": customer.spend,
        "features": [customer.feature],
        "contributions": [log_odds - BASE],
    }


def write_run(path: Path, customers: Sequence[Customer], made: HandMadeRun | None = None) -> Path:
    """Write a run file in the format of `score`."""
    made = made or HandMadeRun()
    ranks: dict[tuple[str, str], int] = {}
    scored = [one for one in customers if one.pd is not None]
    for market in {one.market for one in scored}:
        order = sorted((-(one.pd or 0), one.name) for one in scored if one.market == market)
        ranks |= {(market, name): rank for rank, (_, name) in enumerate(order, start=1)}
    rows = [_row(one, made, ranks.get((one.market, one.name))) for one in customers]
    statuses = [one.status for one in customers]
    manifest = {
        "format": 2,
        "kind": "run",
        "family": "churn",
        "run_id": hashlib.sha256(str(made.as_of).encode()).hexdigest()[:32],
        "bundle_id": "b" * 64,
        "feature_names": ["recency_days"],
        "base_value": BASE,
        "bands": [{"band": band, "max_pd": bound} for band, bound in BANDS],
        "horizon_days": made.horizon,
        "currency": "EUR",
        "campaign": made.campaign,
        "hold_out_share": made.share,
        "counts": {status: statuses.count(status) for status in set(statuses)},
        "hold_out_count": sum(row["hold_out"] for row in rows),
        "suppressed_count": sum(bool(one.suppressions) for one in customers),
        "key_account_count": sum(one.is_key_account for one in customers),
        "key_accounts_sha256": "",
        "spec_sha256": "",
        **made.manifest,
    }
    schema = SCHEMA.with_metadata({"grounds": json.dumps(manifest)})
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def write_lines(path: Path, lines: Sequence[tuple[str, str, float]], market: str = "DE") -> Path:
    """Write a transaction log: customer, time and amount of each line; each line has a basket of its own."""
    text = ["market,customer,time,amount,basket"]
    text += [f"{market},{name},{time},{amount:.2f},b{number}" for number, (name, time, amount) in enumerate(lines)]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path
