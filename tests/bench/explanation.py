"""What an explanation costs: the released models, and a grid of leaves x trees x features on real data."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.catalog import list_bundle_folders, read_active
from models.onnx_scorer import Scorer
from tests.bench.subjects import BACKGROUND_ROWS, YARDSTICK, Subject, fitted_subject, scoring_ways
from tests.bench.timing import Way, time_interleaved
from tests.oracles import FloatArray, margins
from training.equivalence.reference import interventional_shap
from training.errors import ModelRejected

LEAVES, TREES, COLUMNS = (4, 8, 16, 31), (50, 100, 300), (6, 19, 100)
EXPLAINED, SHAP = "score + explanation", f"shap, interventional, {BACKGROUND_ROWS} rows"
ONE_ROW, BATCH = 50, 10_000
LOOP, UNTIMED = 500, 50
CHECKED_ROWS = 40
EXACT = 1e-9


def _check(subject: Subject) -> float:
    """Return the largest distance of the contributions from their definition; margins must be equal to the bit."""
    rows = subject.rows[:CHECKED_ROWS]
    found, contributions = Scorer(subject.score, subject.explain).explain(rows)
    assert np.array_equal(found, margins(subject.booster, rows)), f"{subject.name}: margins differ"
    distance = float(np.abs(contributions - interventional_shap(subject.booster, rows, subject.baseline)).max())
    assert distance <= EXACT, f"{subject.name}: contributions are {distance} off"
    return distance


def one_by_one(subject: Subject, rounds: int) -> dict[str, Any]:
    """Time one row at a time, every way; each turn starts right after another way has used the caches."""
    return timings(scoring_ways(subject, slow=True), single_rows(subject, ONE_ROW), rounds)


def in_a_loop(subject: Subject, rounds: int) -> dict[str, Any]:
    """Time one row at a time, every way in a loop of its own, after untimed calls."""
    return timings(scoring_ways(subject, slow=True), single_rows(subject, LOOP), rounds, UNTIMED)


def single_rows(subject: Subject, count: int) -> list[FloatArray]:
    """Return `count` rows spread evenly over the data."""
    step = len(subject.rows) // count
    return [subject.rows[number * step : number * step + 1] for number in range(count)]


def in_batches(subject: Subject, rounds: int) -> dict[str, Any]:
    """Time a batch, without shap, which takes minutes."""
    repeats = -(-BATCH // len(subject.rows))
    return timings(scoring_ways(subject, slow=False), [np.tile(subject.rows, (repeats, 1))[:BATCH]], rounds)


def timings(ways: dict[str, Way], batches: list[FloatArray], rounds: int, untimed: int = 0) -> dict[str, Any]:
    """Time the ways; return their figures by name."""
    found = time_interleaved(ways, YARDSTICK, batches, rounds, untimed)
    return {name: dataclasses.asdict(each) for name, each in found.items()}


def measure_model(subject: Subject, rounds: int) -> dict[str, Any]:
    """Measure one released model: one row, in a loop, in batches."""
    return {
        "model": subject.name,
        "trees": subject.booster.num_trees(),
        "features": subject.rows.shape[1],
        "baseline_rows": len(subject.baseline),
        "score_bytes": len(subject.score),
        "explain_bytes": len(subject.explain),
        "distance": _check(subject),
        "one_row": one_by_one(subject, rounds),
        "loop": in_a_loop(subject, max(3, rounds // 2)),
        "batch": in_batches(subject, max(3, rounds // 8)),
    }


def measure_grid(rounds: int, progress: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Measure one row on every model of the grid."""
    for columns in COLUMNS:
        for leaves in LEAVES:
            for trees in TREES:
                begun = time.perf_counter()
                try:
                    subject = fitted_subject(leaves, trees, columns)
                except ModelRejected as refusal:
                    progress(f"{leaves} leaves, {trees} trees, {columns} features: {refusal}")
                    yield {"leaves": leaves, "trees": trees, "features": columns, "refused": str(refusal)}
                    continue
                took = time.perf_counter() - begun
                progress(f"{subject.name}: {len(subject.explain) / 1e6:.1f} MB")
                yield {
                    "leaves": leaves,
                    "trees": trees,
                    "features": columns,
                    "fit_and_export_seconds": took,
                    "explain_bytes": len(subject.explain),
                    "distance": _check(subject),
                    "one_row": one_by_one(subject, rounds),
                }


def find_bundle(bundles: Path, family: str) -> Path:
    """Return the folder of a family's active bundle, or of its only one.

    Raises:
        ValueError: It is not clear which one is meant.
    """
    names = set(read_active(bundles, family).values()) or {path.name for path in list_bundle_folders(bundles, family)}
    if len(names) != 1:
        raise ValueError(f"{bundles / family}: which of {len(names)} bundles? Activate one for all markets")
    return bundles / family / names.pop()
