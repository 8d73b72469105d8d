"""Proves that the exported files say what LightGBM says, before anything is released."""

import math
from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.scoring import Scorer
from training.errors import ModelRefused
from training.export.trees import Ensemble
from training.frozen import thresholds_by_feature

# What adding a few hundred doubles in another order may leave over, in log-odds before calibration.
ADDITIVITY_MAX = 1e-9
MISSING_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Parity:
    """What was compared. A difference raises; it is never a figure here."""

    rows: int
    threshold_rows: int
    missing_rows: int
    residual_max: float


def prove(
    booster: lightgbm.Booster, ensemble: Ensemble, scorer: Scorer, rows: NDArray[np.float64], base_margin: float
) -> Parity:
    """Compare margins, bit for bit, and the sums of contributions on real, threshold and missing rows.

    Raises:
        ModelRefused: A row differs; it is the witness in the message.
    """
    on_thresholds = threshold_rows(ensemble, rows)
    with_gaps = missing_rows(rows)
    residuals = [
        compare(booster, scorer, kind, part, base_margin)
        for kind, part in (("data", rows), ("threshold", on_thresholds), ("missing", with_gaps))
    ]
    return Parity(len(rows), len(on_thresholds), len(with_gaps), max(residuals))


def compare(
    booster: lightgbm.Booster, scorer: Scorer, kind: str, rows: NDArray[np.float64], base_margin: float
) -> float:
    """Compare one kind of rows; gives the largest residual of the sums."""
    wanted = booster.predict(rows, raw_score=True, num_threads=1)
    found = scorer.margins(rows)
    if (wrong := np.flatnonzero(found != wanted)).size:
        row = int(wrong[0])
        raise ModelRefused(
            f"parity: {wrong.size} of {len(rows)} {kind} rows differ; the first is {rows[row].tolist()}: "
            f"LightGBM says {wanted[row]!r}, score.onnx {found[row]!r}"
        )
    residuals = np.abs(found - base_margin - scorer.contributions(rows).sum(axis=1))
    if not residuals.max(initial=0.0) <= ADDITIVITY_MAX:
        row = int(np.argmax(residuals))
        raise ModelRefused(
            f"parity: contributions of {kind} row {rows[row].tolist()} miss its margin by {residuals[row]:.3g}"
        )
    return float(residuals.max(initial=0.0))


def threshold_rows(ensemble: Ensemble, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place rows on every threshold of the model and on both its floating-point neighbours."""
    placed = []
    for feature, thresholds in enumerate(thresholds_by_feature(ensemble)):
        for number, threshold in enumerate(thresholds):
            for value in (math.nextafter(threshold, -math.inf), threshold, math.nextafter(threshold, math.inf)):
                row = rows[(number * 7919 + feature) % len(rows)].copy()
                row[feature] = value
                placed.append(row)
    return np.array(placed).reshape(-1, rows.shape[1])


def missing_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take values away: from one to all of a row's."""
    random = np.random.default_rng(0)
    gaps = rows[random.integers(0, len(rows), MISSING_ROWS)].copy()
    gaps[random.random(gaps.shape) < random.random((len(gaps), 1))] = math.nan
    gaps[0] = math.nan
    return gaps
