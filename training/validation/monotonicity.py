"""The monotonicity sweep: checks that the margin never moves against the expected direction (sign) of a feature.

In each real row, a feature is varied over its whole range, while all other values stay unchanged. The values of the sweep are
the thresholds of the model and one value above the last threshold. The model treats all values between two thresholds alike,
so a sweep over all thresholds covers every possible value. Missing values have no position in the order of values and are
reported separately.
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
_VALUES_MAX = (
    200  # a feature with more thresholds is swept over this many evenly chosen thresholds, including both ends
)


@dataclass(frozen=True, slots=True)
class MonotonicitySweep:
    """The sweep of one feature.

    Attributes:
        feature: Name of the feature.
        sign: 1 if a higher value must never lower the risk, -1 if it must never raise it.
        rows: Number of real rows.
        value_count: Number of values that the feature was set to in each row.
        complete: Whether these values cover all threshold intervals of the model.
        violations: Number of rows in which at least one step to the next value moves the margin against the sign.
        worst_move: Largest move against the sign in one step, in the unit of the margin; 0 without violations.
        worst_step: The two values between which this move happens; None without violations.
        worst_row: The values of all features in the row of this move, NaN where missing; None without violations.
        missing_position: Position of the margin of a missing value on a scale from the margin of the safest value (0)
            to that of the riskiest value (1); the mean over the rows. The position can be below 0 or above 1. None if
            the feature does not change the margin of any row.
    """

    feature: str
    sign: int
    rows: int
    value_count: int
    complete: bool
    violations: int
    worst_move: float
    worst_step: tuple[float, float] | None
    worst_row: tuple[float, ...] | None
    missing_position: float | None


def sweep_features(
    spec: Spec, samples: Samples, scorer: Scorer, thresholds: Sequence[NDArray[np.float64]]
) -> tuple[MonotonicitySweep, ...]:
    """Sweep every feature with a sign, for up to 1,000 rows of the hold-out that are drawn with a fixed seed.

    Args:
        spec: Names and signs of the features.
        samples: The rows of all parts.
        scorer: The scorer that runs the exported files.
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


def violation_lines(sweeps: Sequence[MonotonicitySweep], names: Sequence[str]) -> list[str]:
    """Return for each violated constraint what happens in its worst row, and one line with the ways out.

    Args:
        sweeps: The sweeps of all features with a sign.
        names: Names of all features, in the order of the columns.
    """
    violated = [sweep for sweep in sweeps if sweep.worst_step is not None and sweep.worst_row is not None]
    lines = []
    for sweep in violated:
        (low, high), row = sweep.worst_step or (0.0, 0.0), sweep.worst_row or ()
        others = ", ".join(
            f"{name} {'missing' if math.isnan(value) else f'{value:.6g}'}"
            for name, value in zip(names, row, strict=True)
            if name != sweep.feature
        )
        lines.append(
            f"  {sweep.feature} (sign = {sweep.sign}): in {sweep.violations:,} of {sweep.rows:,} rows the margin moves against "
            f"the sign; the worst move is {sweep.worst_move:.3g} from {sweep.feature} {low:.6g} to {high:.6g}, with {others}"
        )
    if lines:
        listed = ", ".join(sweep.feature for sweep in violated)
        lines.append(
            f"  set sign = 0 for {listed} if the expected direction is wrong; otherwise decrease search.max_leaves, or set base "
            "= 'scorecard'"
        )
    return lines


def _sweep_feature(
    scorer: Scorer,
    rows: NDArray[np.float64],
    *,
    column: int,
    name: str,
    sign: int,
    thresholds: NDArray[np.float64],
) -> MonotonicitySweep:
    """Sweep one feature over its values in every row."""
    values, complete = _swept_values(thresholds)
    margins = np.column_stack([_margins_with(scorer, rows, column, value) for value in values])
    # Comparing neighbouring values is enough, because a margin that is monotone in each step is monotone overall.
    against_sign = np.maximum(0.0, -sign * np.diff(margins, axis=1))
    violated = (against_sign > 0.0).any()
    worst = divmod(int(np.argmax(against_sign)), against_sign.shape[1]) if violated else None
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
        worst_step=(values[worst[1]], values[worst[1] + 1]) if worst else None,
        worst_row=tuple(rows[worst[0]].tolist()) if worst else None,
        missing_position=float(np.mean(positions)) if moved.any() else None,
    )


def _swept_values(thresholds: NDArray[np.float64]) -> tuple[list[float], bool]:
    """Return one value of each threshold interval, ascending, and whether all intervals are covered.

    At most _VALUES_MAX values are returned.
    """
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
