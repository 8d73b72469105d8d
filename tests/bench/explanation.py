"""Benchmark of explanations, for the released models and for a grid of leaves x trees x features on real data."""

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
    """Check that margins are equal bit for bit; return the largest distance of the contributions from their definition."""
    rows = subject.rows[:CHECKED_ROWS]
    found, contributions = Scorer(subject.score, subject.explain).explain(rows)
    assert np.array_equal(found, margins(subject.booster, rows)), f"{subject.name}: margins differ"
    distance = float(np.abs(contributions - interventional_shap(subject.booster, rows, subject.baseline)).max())
    assert distance <= EXACT, f"{subject.name}: contributions are {distance} off"
    return distance


def one_by_one(subject: Subject, rounds: int) -> dict[str, Any]:
    """Time every way on single rows; at its start, the CPU caches have the data of a different way."""
    return timings(scoring_ways(subject, slow=True), single_rows(subject, ONE_ROW), rounds)


def in_a_loop(subject: Subject, rounds: int) -> dict[str, Any]:
    """Time every way on single rows in a loop, after untimed calls that fill the CPU caches."""
    return timings(scoring_ways(subject, slow=True), single_rows(subject, LOOP), rounds, UNTIMED)


def single_rows(subject: Subject, count: int) -> list[FloatArray]:
    """Return `count` rows spread evenly over the data."""
    step = len(subject.rows) // count
    return [subject.rows[number * step : number * step + 1] for number in range(count)]


def in_batches(subject: Subject, rounds: int) -> dict[str, Any]:
    """Time every way except shap on a batch of 10,000 rows; shap would take minutes."""
    repeats = -(-BATCH // len(subject.rows))
    return timings(scoring_ways(subject, slow=False), [np.tile(subject.rows, (repeats, 1))[:BATCH]], rounds)


def timings(ways: dict[str, Way], batches: list[FloatArray], rounds: int, untimed: int = 0) -> dict[str, Any]:
    """Time the ways on the batches; return the timings by way."""
    found = time_interleaved(ways, YARDSTICK, batches, rounds, untimed)
    return {name: dataclasses.asdict(each) for name, each in found.items()}


def measure_model(subject: Subject, rounds: int) -> dict[str, Any]:
    """Measure one released model on single rows, on single rows in a loop, and on a batch."""
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
    """Measure single rows on every model of the grid; yield the results of each model."""
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
    """Return the folder of a family's active bundle, or of its only bundle.

    Raises:
        ValueError: The family has no bundle, or several bundles and not exactly one active bundle.
    """
    names = set(read_active(bundles, family).values()) or {path.name for path in list_bundle_folders(bundles, family)}
    if len(names) != 1:
        raise ValueError(
            f"{bundles / family}: exactly one bundle is required, found {len(names)}; activate one bundle for all markets"
        )
    return bundles / family / names.pop()
