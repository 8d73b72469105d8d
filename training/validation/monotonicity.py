"""The monotone sweep: each feature with a sign goes over its range for real rows, everything else staying as it is.

The values are the model's own thresholds and one above the last. Between two thresholds the model cannot tell values
apart, so where all of them are visited the sweep is complete, not a sample. Missing values stand outside the order
and are reported apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.scoring import Scorer
from training.sources.samples import Samples
from training.spec import Spec

ROWS = 1000
VALUES_MAX = 200  # of a feature with more thresholds, so many evenly chosen ones, both ends among them


@dataclass(frozen=True, slots=True)
class MonotonicitySweep:
    """One feature over its range.

    Attributes:
        sign: 1 where a higher value must never lower the risk, -1 where it must never raise it.
        rows: Real rows that it was swept for.
        values: Visited in each row.
        complete: Whether these are all that the model can tell apart.
        violations: Rows in which the margin moves the wrong way somewhere.
        worst: Largest wrong move of the margin; 0 without one.
        missing: Where a missing value stands between the safest (0) and the riskiest (1) value, on average; may lie
            outside. None where the feature moves no row.
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
    """Sweep every feature with a sign, for up to 1,000 rows of the hold-out, drawn with a fixed seed."""
    rows = samples.features(samples.part("HOLD_OUT"))
    chosen = rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:ROWS])]
    return tuple(
        sweep(scorer, chosen, (place, feature.name, feature.sign), thresholds[place])
        for place, feature in enumerate(spec.features)
        if feature.sign
    )


def sweep(
    scorer: Scorer, rows: NDArray[np.float64], feature: tuple[int, str, int], thresholds: NDArray[np.float64]
) -> MonotonicitySweep:
    """Sweep one feature, given as (place, name, sign)."""
    place, name, sign = feature
    values, complete = values_of(thresholds)
    margins = np.column_stack([margins_at(scorer, rows, place, value) for value in values])
    wrong = np.maximum(0.0, -sign * np.diff(margins, axis=1))
    span = np.ptp(margins, axis=1)
    moved = span > 0.0
    at_missing = margins_at(scorer, rows[moved], place, math.nan)
    return MonotonicitySweep(
        feature=name,
        sign=sign,
        rows=len(rows),
        value_count=len(values),
        complete=complete,
        violations=int((wrong > 0.0).any(axis=1).sum()),
        worst_move=float(wrong.max(initial=0.0)),
        missing_position=float(np.mean((at_missing - margins[moved].min(axis=1)) / span[moved]))
        if moved.any()
        else None,
    )


def values_of(thresholds: NDArray[np.float64]) -> tuple[list[float], bool]:
    """Give a value of every interval, ascending, or VALUES_MAX of them; and whether they are all."""
    finite = thresholds[np.isfinite(thresholds)].tolist()
    values = [*finite, math.nextafter(finite[-1], math.inf)] if finite else [0.0]
    if len(values) <= VALUES_MAX:
        return values, True
    places = np.linspace(0, len(values) - 1, VALUES_MAX).round().astype(int)
    return [values[place] for place in places], False


def margins_at(scorer: Scorer, rows: NDArray[np.float64], place: int, value: float) -> NDArray[np.float64]:
    """Give the margins with one feature set to a value in every row."""
    changed = rows.copy()
    changed[:, place] = value
    return scorer.margins(changed)
