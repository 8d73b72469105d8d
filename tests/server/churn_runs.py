"""A small synthetic churn family, and run files of format 2, which these tests write themselves instead of training."""

import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models.model import Model, open_model
from models.stated_reasons import stated_reasons, stated_text
from tests.small import SPEC, write_small_family

FIRST, SECOND, THIRD = (dt.datetime(2026, month, 1, tzinfo=dt.UTC) for month in (1, 2, 3))
CHURN_SPEC = (
    SPEC.replace('family = "credit"', 'family = "churn"')
    + """
[[score.grades]]
grade = "LOW"
max_pd = 0.2

[[score.grades]]
grade = "MEDIUM"
max_pd = 0.4

[[score.grades]]
grade = "HIGH"
max_pd = 0.6

[[score.grades]]
grade = "CRITICAL"
max_pd = 1.0
"""
)
BANDS = [("LOW", 0.2), ("MEDIUM", 0.4), ("HIGH", 0.6), ("CRITICAL", 1.0)]
MARGIN = 0.25
SPEND = 0.00001  # so small that many customers have the same value at risk in cents
DOUBLES = pa.list_(pa.float64())
COLUMNS: list[tuple[str, pa.DataType]] = [
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
    ("features", DOUBLES),
    ("contributions", DOUBLES),
]


@dataclass(frozen=True, slots=True)
class ChurnFamily:
    """A churn bundle with its customers and two scoring runs.

    DE has 1,010 customers, 310 of whom are copies of other customers under a different id; FR has 30 customers. The
    second run is one month later than the first; 20 of its customers pay twice as late as in the first run.
    """

    folder: Path
    model: Model
    customers: pd.DataFrame
    first_run: Path
    second_run: Path

    @property
    def bundle_folder(self) -> Path:
        """Return the folder of the bundle."""
        return self.folder / "bundles" / "churn" / self.model.bundle.bundle_id


def write_churn_family(folder: Path) -> ChurnFamily:
    """Train the churn family, and write both runs."""
    family = write_small_family(folder, CHURN_SPEC)
    model = open_model(family.bundle())
    made = pd.read_csv(family.table).rename(columns={"number": "customer_id"})
    singles = made.head(730).assign(market="DE")
    singles.loc[singles.index[700:], "market"] = "FR"
    twins = singles.head(310).assign(customer_id=[f"B{index:05d}" for index in range(310)])
    customers = pd.concat([singles, twins], ignore_index=True)
    some = customers.head(20)
    later = some.assign(days_late=(some["days_late"] * 2).clip(0, 365))
    first = write_run(folder / "first.run.parquet", model, scored_rows(model, customers, FIRST))
    second = write_run(folder / "second.run.parquet", model, scored_rows(model, later, SECOND))
    return ChurnFamily(folder, model, customers, first, second)


def scored_rows(model: Model, customers: pd.DataFrame, as_of: dt.datetime) -> pd.DataFrame:
    """Score customers with the model; the spend is computed from the turnover."""
    schema, typical = model.bundle.schema, model.bundle.baseline.typical
    matrix = np.ascontiguousarray(customers[list(schema.names)].to_numpy(dtype=np.float64))
    rows = []
    for key, values in zip(customers.to_dict("records"), matrix, strict=True):
        answer = model.explain_rows(values.reshape(1, -1))[0]
        known = {
            name: schema.decode_value(name, number)
            for name, number in zip(schema.names, values.tolist(), strict=True)
            if not np.isnan(number)
        }
        told = [
            {
                "code": push.code,
                "log_odds": push.log_odds,
                "features": list(push.features),
                "texts": {locale: stated_text(schema, push, locale, known, typical) for locale in ("de", "en")},
            }
            for push in stated_reasons(schema, answer.contributions, answer.points, known, typical, 3)
        ]
        spend = round(key["turnover"] * SPEND * 100)
        rows.append(
            {
                "market": key["market"],
                "customer_id": key["customer_id"],
                "status": "SCORED",
                "log_odds": answer.log_odds,
                "pd": answer.pd,
                "decline_pd": None,
                "value_at_risk_minor": round(answer.pd * key["turnover"] * SPEND * 100),
                "expected_spend_minor": spend,
                "hold_out": False,
                "suppressions": [],
                "drivers": json.dumps(told),
                "features": [None if np.isnan(value) else value for value in values.tolist()],
                "contributions": list(answer.contributions),
            }
        )
    return pd.DataFrame(rows).assign(as_of=as_of)


def write_run(to: Path, model: Model, rows: pd.DataFrame, **manifest: Any) -> Path:
    """Write rows as a run; ranks and bands are computed here, and all other values are written unchanged."""
    rows = rows.sort_values(["market", "pd", "customer_id"], ascending=[True, False, True], ignore_index=True)
    scored = rows["status"] == "SCORED"
    ranks = rows[scored].groupby("market").cumcount() + 1
    bands = [next(band for band, bound in BANDS if pd_ <= bound) for pd_ in rows.loc[scored, "pd"]]
    rows = rows.assign(
        rank=pd.Series(ranks, dtype="Int32").reindex(rows.index),
        band=pd.Series(bands, index=rows.index[scored], dtype=object).reindex(rows.index),
    )
    return write_rows(to, rows, {**run_manifest(model, rows), **manifest})


def write_rows(to: Path, rows: pd.DataFrame, manifest: dict[str, Any]) -> Path:
    """Write rows unchanged; missing columns and manifest entries that are None are left out of the file."""
    columns = [(name, kind) for name, kind in COLUMNS if name in rows.columns]
    said = {key: value for key, value in manifest.items() if value is not None}
    schema = pa.schema(columns, metadata={"grounds": json.dumps(said)})
    arrays = [pa.array(plain(rows[name].tolist()), kind) for name, kind in columns]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), to, row_group_size=400)
    return to


def plain(values: Sequence[Any]) -> list[Any]:
    """Return the values, with None for each value that pandas treats as missing."""
    return [None if not isinstance(value, list) and pd.isna(value) else value for value in values]


def run_manifest(model: Model, rows: pd.DataFrame) -> dict[str, Any]:
    """Return the manifest of a run in the form that training writes; different rows have different run_ids."""
    bundle = model.bundle
    return {
        "format": 2,
        "kind": "run",
        "family": "churn",
        "run_id": hashlib.sha256(rows.to_csv().encode()).hexdigest()[:32],
        "bundle_id": bundle.bundle_id,
        "feature_names": list(bundle.schema.names),
        "feature_groups": [feature.group for feature in bundle.schema.features],
        "base_value": float(model.explain_rows(np.zeros((1, len(bundle.schema.names))))[0].base_value),
        "baseline_sha256": bundle.baseline_sha256,
        "method": bundle.baseline.method,
        "baseline_rows": bundle.baseline.row_count,
        "baseline_definition": bundle.baseline.definition,
        "currency": "EUR",
        "bands": [{"band": band, "max_pd": bound} for band, bound in BANDS],
        "band_margin_log_odds": MARGIN,
        "horizon_days": 30,
        "valid_days": 35,
        "campaign": "spring",
        "hold_out_share": 0.1,
        "counts": dict(Counter(rows["status"])),
    }


def plain_rows(
    model: Model, log_odds: Mapping[str, float | None], as_of: dt.datetime, market: str = "DE"
) -> pd.DataFrame:
    """Return rows with given log-odds, all contributed by one feature; None means a customer without a score."""
    base = float(model.explain_rows(np.zeros((1, len(model.bundle.schema.names))))[0].base_value)
    width = len(model.bundle.schema.names)
    rows = []
    for customer_id, value in log_odds.items():
        scored = value is not None
        odds = np.nan if value is None else np.exp(value)
        pd_ = None if value is None else sigmoid(value)
        rows.append(
            {
                "market": market,
                "customer_id": customer_id,
                "status": "SCORED" if scored else "NOT_ENOUGH_HISTORY",
                "log_odds": value,
                "pd": pd_,
                "decline_pd": None,
                "value_at_risk_minor": round(odds * 100) if scored else None,
                "expected_spend_minor": 1000 if scored else None,
                "hold_out": False,
                "suppressions": [],
                "drivers": "[]" if scored else None,
                "features": [0.0] * width if scored else [],
                "contributions": [value - base, *[0.0] * (width - 1)] if scored else [],
            }
        )
    return pd.DataFrame(rows).assign(as_of=as_of)


def sigmoid(log_odds: float) -> float:
    """Return 1 / (1 + exp(-x)), computed in a form that does not overflow."""
    return 1.0 / (1.0 + exp(-log_odds)) if log_odds >= 0 else exp(log_odds) / (1.0 + exp(log_odds))
