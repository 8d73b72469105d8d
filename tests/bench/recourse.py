"""Benchmark of the search for counterfactuals, one declined applicant of the hold-out after the other."""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from models.bundle import read_bundle
from models.model import open_model
from models.recourse import Recourse
from server.config import Settings
from server.decisions.policy import read_policy

APPLICANTS = 500


def measure_recourse(bundle_folder: Path, features: Path) -> dict[str, Any]:
    """Search counterfactuals for up to 500 declined applicants; return counts and times in milliseconds."""
    model = open_model(read_bundle(bundle_folder))
    names = model.bundle.schema.names
    section = read_policy(Settings().policy).document.sections[0]
    table = pq.read_table(features).to_pandas()
    rows = table.loc[table["sample"] == "HOLD_OUT", list(names)].to_numpy(dtype=np.float64)
    pds = np.array([answer.pd for answer in model.explain_rows(np.ascontiguousarray(rows))])
    declined = rows[pds > section.refer_max_pd][:APPLICANTS]
    recourse, took, scored, found = Recourse(model), [], [], 0
    for row in declined.tolist():
        values = {name: value for name, value in zip(names, row, strict=True) if value == value}  # noqa: PLR0124 - NaN
        begun = time.perf_counter()
        answer = recourse.search(values, section.approve_max_pd)
        took.append((time.perf_counter() - begun) * 1e3)
        scored.append(answer.rows_scored)
        found += bool(answer.counterfactuals)
    return {
        "applicants": len(declined),
        "with_recourse": found,
        "median_ms": statistics.median(took),
        "p99_ms": float(np.quantile(took, 0.99)),
        "median_rows_scored": statistics.median(scored),
    }
