"""The monotonicity sweep: each feature with a sign is swept over its range in real rows, all other values unchanged.

The swept values are the model's own thresholds and one above the last. The model cannot tell apart two values between
the same thresholds, so a sweep that visits all of them is complete and not a sample. Missing values have no place in
the order and are reported separately.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.onnx_scorer import Scorer
from training.sources.samples import Samples
from training.spec import Spec

_ROWS_MAX = 1000
_VALUES_MAX = 200  # a feature with more thresholds is swept over this many, evenly chosen, both ends included


@dataclass(frozen=True, slots=True)
class MonotonicitySweep:
    """The sweep of one feature.

    Attributes:
        feature: Name of the feature.
        sign: 1 if a higher value must never lower the risk, -1 if it must never raise it.
        rows: Number of real rows.
        value_count: Number of values that each row was swept over.
        complete: Whether these are all values that the model can tell apart.
        violations: Number of rows in which the margin moves against the sign anywhere.
        worst_move: Largest move against the sign, in log-odds before calibration; 0 without violations.
        missing_position: Where the margin of a missing value is between the safest (0) and the riskiest (1) value, on
            average; can be outside of 0 to 1. None if the feature changes the margin of no row.
    """

    feature: str
    sign: int
    rows: int
    value_count: int
    complete: bool
    violations: int
    worst_move: float
    missing_position: float | None


def sweep_features(
    spec: Spec, samples: Samples, scorer: Scorer, thresholds: Sequence[NDArray[np.float64]]
) -> tuple[MonotonicitySweep, ...]:
    """Sweep every feature with a sign, for up to 1,000 rows of the hold-out that are drawn with a fixed seed.

    Args:
        spec: Names and signs of the features.
        samples: Rows with their parts.
        scorer: The exported files.
        thresholds: For each feature the thresholds of the model, ascending.
    """
    rows = samples.features(samples.part("HOLD_OUT"))
    chosen = rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:_ROWS_MAX])]
    return tuple(
        _sweep_feature(
            scorer, chosen, column=column, name=feature.name, sign=feature.sign, thresholds=thresholds[column]
        )
        for column, feature in enumerate(spec.features)
        if feature.sign
    )


def _sweep_feature(
    scorer: Scorer,
    rows: NDArray[np.float64],
    *,
    column: int,
    name: str,
    sign: int,
    thresholds: NDArray[np.float64],
) -> MonotonicitySweep:
    """Sweep one feature over all its values in every row."""
    values, complete = _swept_values(thresholds)
    margins = np.column_stack([_margins_with(scorer, rows, column, value) for value in values])
    # Comparing neighbours is enough: a curve without a wrong step has no wrong move between any two values.
    against_sign = np.maximum(0.0, -sign * np.diff(margins, axis=1))
    span = np.ptp(margins, axis=1)
    moved = span > 0.0
    missing = _margins_with(scorer, rows[moved], column, math.nan)
    positions = (missing - margins[moved].min(axis=1)) / span[moved]
    return MonotonicitySweep(
        feature=name,
        sign=sign,
        rows=len(rows),
        value_count=len(values),
        complete=complete,
        violations=int((against_sign > 0.0).any(axis=1).sum()),
        worst_move=float(against_sign.max(initial=0.0)),
        missing_position=float(np.mean(positions)) if moved.any() else None,
    )


def _swept_values(thresholds: NDArray[np.float64]) -> tuple[list[float], bool]:
    """Return a value of each interval, ascending, at most _VALUES_MAX of them, and whether they are all."""
    finite = thresholds[np.isfinite(thresholds)].tolist()
    values = [*finite, math.nextafter(finite[-1], math.inf)] if finite else [0.0]
    if len(values) <= _VALUES_MAX:
        return values, True
    chosen = np.linspace(0, len(values) - 1, _VALUES_MAX).round().astype(int)
    return [values[index] for index in chosen], False


def _margins_with(scorer: Scorer, rows: NDArray[np.float64], column: int, value: float) -> NDArray[np.float64]:
    """Return the margins, shape (n,), with one column set to a value in every row."""
    changed = rows.copy()
    changed[:, column] = value
    return scorer.margins(changed)
