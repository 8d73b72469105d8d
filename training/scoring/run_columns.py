"""Computes the columns of a run file, which has one row for each customer in scope.

A row has a prediction if its status is SCORED. Any other status states why the customer has no prediction.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.model import Model
from training.scoring.campaign import in_hold_out
from training.scoring.drivers import DriverTexts
from training.scoring.expected_spend import ExpectedSpend, minor_units
from training.scoring.predictions import FeatureRows, predict, predict_pds
from training.spec import Spec

_BATCH_ROWS = 20_000
SCORED = "SCORED"
# For a customer who is not SCORED, the band and all numbers are null, and drivers, features and contributions are empty
# lists.
RUN_COLUMNS = [
    ("status", pa.string()),  # SCORED, NOT_ENOUGH_HISTORY, CLOSED, BLOCKED_BY_US, MOVED_ENTITY
    ("log_odds", pa.float64()),
    ("pd", pa.float64()),
    ("band", pa.string()),  # the band of the pd; `server load` may keep the band of the previous run
    ("rank", pa.int32()),  # 1 is the highest pd of the market; equal pds are ordered by customer_id
    ("decline_pd", pa.float64()),  # null without a decline model
    ("value_at_risk_minor", pa.int64()),  # pd * expected spend, in minor units of the currency (cents)
    ("expected_spend_minor", pa.int64()),  # spend expected within the horizon, in minor units
    ("hold_out", pa.bool_()),
    ("suppressions", pa.list_(pa.string())),  # codes; the customer is scored but must not be contacted
    ("drivers", pa.string()),  # JSON: code, log_odds, features, texts by locale
    ("features", pa.list_(pa.float64())),  # model inputs; null where missing
    ("contributions", pa.list_(pa.float64())),  # log-odds after calibration
]


def query_batches(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.Table]:
    """Yield the rows of a query in tables of 20,000 rows; the last table may be shorter.

    DuckDB returns batches whose sizes depend on the number of threads. Tables of a fixed size are needed, because the
    bytes of a run file must not depend on the number of threads.
    """
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
    """Return the given columns as doubles: shape (n, len(names)), NaN where missing."""
    columns = [pc.cast(rows[name], pa.float64()).to_numpy() for name in names]
    return np.ascontiguousarray(np.column_stack(columns)) if len(rows) else np.zeros((0, len(names)))


def run_columns(
    spec: Spec, model: Model, drivers: DriverTexts, rows: pa.Table, *, decline: Model | None = None
) -> dict[str, Any]:
    """Return the columns of the run file for a batch of customers, with the scored customers first.

    Args:
        spec: The spec of the family.
        model: The model of the family.
        drivers: The driver texts of the model's bundle.
        rows: The customers, with the columns market, customer_id, as_of, status, rank, horizon_days, suppressions and
            is_key_account, and the features.
        decline: The model that predicts a decline of spend; None for no such prediction.

    Raises:
        AdditivityError: The base value and the contributions of a customer do not add up to the log-odds.
    """
    scored = rows.filter(pc.equal(rows["status"], SCORED))
    others = len(rows) - len(scored)
    matrix = feature_matrix(scored, model.bundle.schema.names)
    predictions = predict(model, matrix)
    expected = ExpectedSpend.from_spec(spec, rows.column_names).amounts(scored)
    at_risk = [minor_units(Decimal(pd) * spend) for pd, spend in zip(predictions.pds, expected, strict=True)]
    nulls: list[None] = [None] * others
    declines: list[Any] = [None] * len(scored)
    if decline is not None:
        declines = predict_pds(decline, feature_matrix(scored, decline.bundle.schema.names))
    ordered = pa.concat_tables([scored, rows.filter(pc.not_equal(rows["status"], SCORED))])
    keys = zip(*(ordered[name].to_pylist() for name in ("market", "customer_id", "is_key_account")), strict=True)
    return {
        **{name: ordered[name] for name in ("market", "customer_id", "as_of", "status", "rank")},
        "log_odds": predictions.log_odds + nulls,
        "pd": predictions.pds + nulls,
        "band": predictions.bands + nulls,
        "decline_pd": declines + nulls,
        "value_at_risk_minor": at_risk + nulls,
        "expected_spend_minor": [minor_units(spend) for spend in expected] + nulls,
        "hold_out": [not is_key and in_hold_out(spec.campaign, *key) for *key, is_key in keys],
        "suppressions": [codes or [] for codes in ordered["suppressions"].to_pylist()],
        "drivers": drivers.drivers_json(matrix, predictions.contributions) + ["[]"] * others,
        "features": _list_column(matrix, others),
        "contributions": _list_column(predictions.contributions, others),
    }


def _list_column(matrix: NDArray[np.float64], empty: int) -> pa.ListArray:
    """Return the rows of a matrix as lists, in which null stands for NaN, followed by `empty` empty lists."""
    count, width = matrix.shape
    flat = matrix.ravel()
    offsets = np.concatenate([np.arange(count + 1) * width, np.full(empty, count * width)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(flat, mask=np.isnan(flat)))
