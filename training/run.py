"""A risk run: every customer of a feature file, scored and explained by one bundle, as a file to load.

The server never scores a run anew, so a list, a single read and this file agree to the bit.
"""

import hashlib
import json
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models.explained import ExplainedScore
from models.model import Model
from models.reasons import pushes, text_of
from training.errors import DataRefused
from training.files import KEY_COLUMNS, write_table
from training.spec import Spec, ValueSpec

DRIVERS_MAX = 3
RUN_COLUMNS = [
    *KEY_COLUMNS,
    ("log_odds", pa.float64()),
    ("pd", pa.float64()),
    ("band", pa.string()),
    ("rank", pa.int32()),
    ("value_at_risk_minor", pa.int64()),  # minor units of the currency: cents
    ("drivers", pa.string()),  # JSON: code, log_odds, features, text by locale
    ("features", pa.list_(pa.float64())),  # as fed; null where missing
    ("contributions", pa.list_(pa.float64())),  # log-odds after calibration
]


def write_run(spec: Spec, model: Model, features: Path, to: Path) -> int:
    """Score every customer of a feature file and write the run; gives the number of customers.

    Raises:
        DataRefused: The feature file is not one, or its features are not those of the model.
    """
    rows, digest = read_features(features, model)
    schema = model.bundle.schema
    matrix = np.ascontiguousarray(rows[list(schema.names)].to_numpy(dtype=np.float64))
    answers = model.explain_rows(matrix)
    run = rows[["market", "customer_id", "as_of"]].assign(
        log_odds=[answer.log_odds for answer in answers],
        pd=[answer.pd for answer in answers],
        band=[answer.grade for answer in answers],
        value_at_risk_minor=[
            value_at_risk(spec.value, row, answer) for row, answer in zip(rows.to_dict("records"), answers, strict=True)
        ],
        drivers=[drivers_of(model, row, answer) for row, answer in zip(matrix, answers, strict=True)],
        features=pd.Series([[None if np.isnan(value) else value for value in row] for row in matrix.tolist()]),
        contributions=pd.Series([list(answer.contributions) for answer in answers]),
    )
    run = run.sort_values(["market", "pd", "customer_id"], ascending=[True, False, True], ignore_index=True)
    run["rank"] = run.groupby("market").cumcount() + 1
    write_table(to, run, RUN_COLUMNS, manifest_of(spec, model, digest, answers[0].base_value))
    return len(run)


def read_features(path: Path, model: Model) -> tuple[pd.DataFrame, str]:
    """Read a feature file that fits the model, and its digest."""
    try:
        table = pq.read_table(path)
        manifest = json.loads((table.schema.metadata or {}).get(b"grounds", b"{}"))
    except (OSError, pa.ArrowException, json.JSONDecodeError) as error:
        raise DataRefused(f"{path}: cannot be read as a feature file: {error}") from error
    if manifest.get("kind") != "features":
        raise DataRefused(f"{path}: is no feature file; `python -m training fit` writes one")
    if manifest["feature_set_digest"] != model.bundle.schema.feature_set_digest:
        raise DataRefused(f"{path}: holds other features than bundle {model.bundle.bundle_id[:12]} takes")
    rows = table.to_pandas()
    if rows.empty:
        raise DataRefused(f"{path}: has no customers")
    return rows, hashlib.sha256(path.read_bytes()).hexdigest()


def value_at_risk(value: ValueSpec | None, row: Mapping[Any, Any], answer: ExplainedScore) -> int:
    """Give pd times the spend expected within the horizon, in minor units, rounded half to even."""
    if value is None or np.isnan(row[value.feature]):
        return 0
    expected = Decimal(answer.pd) * Decimal(row[value.feature]) * Decimal(value.factor) * 100
    return int(expected.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def drivers_of(model: Model, row: np.ndarray[Any, np.dtype[np.float64]], answer: ExplainedScore) -> str:
    """Say what pushes toward risk, in every locale of the bundle."""
    schema, typical = model.bundle.schema, model.bundle.baseline.typical
    numbers = zip(schema.names, row.tolist(), strict=True)
    values = {name: schema.value_of(name, number) for name, number in numbers if not np.isnan(number)}
    told = [
        {
            "code": push.code,
            "log_odds": push.log_odds,
            "features": list(push.features),
            "texts": {
                locale: text_of(schema, push, locale, values, typical)
                for locale in sorted(schema.group[push.code].texts)
            },
        }
        for push in pushes(schema, answer.contributions, answer.points, DRIVERS_MAX)
    ]
    return json.dumps(told, ensure_ascii=False, sort_keys=True)


def manifest_of(spec: Spec, model: Model, features_sha256: str, base_value: float) -> dict[str, Any]:
    """Say what the run is; its id follows from the bundle and the features, so the same run has the same id."""
    bundle = model.bundle
    return {
        "kind": "run",
        "family": spec.family,
        "run_id": hashlib.sha256(f"{bundle.bundle_id}|{features_sha256}".encode()).hexdigest()[:32],
        "bundle_id": bundle.bundle_id,
        "features_sha256": features_sha256,
        "feature_names": list(bundle.schema.names),
        "feature_groups": [feature.group for feature in bundle.schema.features],
        "base_value": base_value,
        "baseline_sha256": bundle.baseline_sha256,
        "method": bundle.baseline.method,
        "baseline_rows": bundle.baseline.row_count,
        "baseline_definition": bundle.baseline.definition,
        "currency": spec.log.currency if spec.log else "",
    }
