"""The rows of a run file: one for each customer in scope, scored or with the reason why not."""

from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.model import Model
from training.scoring.campaign import in_hold_out
from training.scoring.drivers import DriverTexts
from training.scoring.predictions import FeatureRows, predict, predict_pds
from training.spec import Spec, ValueSpec

_BATCH_ROWS = 20_000
SCORED = "SCORED"
# Not scored: null in every column of numbers, empty lists.
RUN_COLUMNS = [
    ("status", pa.string()),  # SCORED, NOT_ENOUGH_HISTORY, CLOSED, BLOCKED_BY_US, MOVED_ENTITY
    ("log_odds", pa.float64()),
    ("pd", pa.float64()),
    ("band", pa.string()),  # by the bounds alone; whoever knows the former run applies the margin
    ("rank", pa.int32()),  # 1 is riskiest; of the SCORED of the market, by pd, then customer_id
    ("decline_pd", pa.float64()),  # null without a model of it
    ("value_at_risk_minor", pa.int64()),  # pd * expected spend, minor units of the currency: cents
    ("expected_spend_minor", pa.int64()),  # within the horizon
    ("hold_out", pa.bool_()),
    ("suppressions", pa.list_(pa.string())),  # codes; scored, but without action
    ("drivers", pa.string()),  # JSON: code, log_odds, features, text by locale
    ("features", pa.list_(pa.float64())),  # as fed; null where missing
    ("contributions", pa.list_(pa.float64())),  # log-odds after calibration
]


def query_batches(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.Table]:
    """Give the rows of a query in tables of BATCH_ROWS rows each, the last one shorter, however DuckDB hands them out."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in connection.sql(query).to_arrow_reader(_BATCH_ROWS):
        waiting.append(batch)
        rows += batch.num_rows
        while rows >= _BATCH_ROWS:
            whole = pa.Table.from_batches(waiting)
            yield whole.slice(0, _BATCH_ROWS).combine_chunks()
            waiting, rows = whole.slice(_BATCH_ROWS).to_batches(), rows - _BATCH_ROWS
    if rows:
        yield pa.Table.from_batches(waiting).combine_chunks()


def feature_matrix(rows: pa.Table, names: Sequence[str]) -> FeatureRows:
    """Give columns as doubles: shape (n, features), NaN where missing."""
    columns = [pc.cast(rows[name], pa.float64()).to_numpy() for name in names]
    return np.ascontiguousarray(np.column_stack(columns)) if len(rows) else np.zeros((0, len(names)))


def run_columns(spec: Spec, models: tuple[Model, Model | None], drivers: DriverTexts, rows: pa.Table) -> dict[str, Any]:
    """Give the columns of a run for some customers, the scored ones first."""
    model, decline = models
    scored = rows.filter(pc.equal(rows["status"], SCORED))
    others = len(rows) - len(scored)
    matrix = feature_matrix(scored, model.bundle.schema.names)
    risks = predict(model, matrix)
    expected = _expected_spends(spec, scored)
    at_stake = [_minor_units(Decimal(pd) * spend) for pd, spend in zip(risks.pds, expected, strict=True)]
    nothing: list[None] = [None] * others
    declines: list[Any] = [None] * len(scored)
    if decline is not None:
        declines = predict_pds(decline, feature_matrix(scored, decline.bundle.schema.names))
    told = drivers.json_of_rows(matrix, risks.contributions)
    ordered = pa.concat_tables([scored, rows.filter(pc.not_equal(rows["status"], SCORED))])
    keys = zip(ordered["market"].to_pylist(), ordered["customer_id"].to_pylist(), strict=True)
    return {
        **{name: ordered[name] for name in ("market", "customer_id", "as_of", "status", "rank")},
        "log_odds": risks.log_odds + nothing,
        "pd": risks.pds + nothing,
        "band": risks.bands + nothing,
        "decline_pd": declines + nothing,
        "value_at_risk_minor": at_stake + nothing,
        "expected_spend_minor": [_minor_units(spend) for spend in expected] + nothing,
        "hold_out": [in_hold_out(spec.campaign, *key) for key in keys],
        "suppressions": [codes or [] for codes in ordered["suppressions"].to_pylist()],
        "drivers": told + ["[]"] * others,
        "features": _list_column(matrix, others),
        "contributions": _list_column(risks.contributions, others),
    }


def _list_column(matrix: NDArray[np.float64], empty: int) -> pa.ListArray:
    """Give every row as a list, null where NaN, and so many empty lists after them."""
    count, width = matrix.shape
    flat = matrix.ravel()
    offsets = np.concatenate([np.arange(count + 1) * width, np.full(empty, count * width)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(flat, mask=np.isnan(flat)))


def _expected_spends(spec: Spec, scored: pa.Table) -> list[Decimal]:
    """Give the spend expected within each customer's horizon; 0 where the spec or the log does not say."""
    value: ValueSpec | None = spec.value
    if value is None:
        return [Decimal(0)] * len(scored)
    longest = spec.snapshots.horizon_days if spec.snapshots else spec.run.horizon_days
    found = zip(feature_matrix(scored, [value.feature])[:, 0].tolist(), scored["horizon_days"].to_pylist(), strict=True)
    factor = Decimal(value.factor)
    return [
        Decimal(0) if one != one else Decimal(one) * factor * days / longest  # noqa: PLR0124 - NaN
        for one, days in found
    ]


def _minor_units(amount: Decimal) -> int:
    """Give minor units, rounded half to even."""
    return int((amount * 100).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
