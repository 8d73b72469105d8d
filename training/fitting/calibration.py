"""The affine calibration in log-odds: log_odds = slope * margin + intercept.

The calibration is fitted by maximum likelihood on the calibration part, which has no rows of the fit part or the hold-out.
Source: Platt 1999, Probabilistic outputs for support vector machines. The smoothing of the targets in Platt's paper is not
used.
"""

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from training.errors import ModelRejected

_STEPS_MAX = 50
_STEP_MIN = 1e-10
_HALVINGS_MAX = 40
_LOSS_ROUNDING = 1e-9  # near the minimum, rounding alone can change the loss by a small share
_NEARLY_PERFECT_AUC = 0.99
ROWS_OF_OUTCOME_MIN = 30  # with fewer rows of one outcome, chance alone can turn the slope of a useful model negative


def fit_calibration(margins: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Fit the slope and the intercept by Newton's method.

    Args:
        margins: Raw scores of the model, shape (n,).
        labels: Labels, shape (n,): 1 where the outcome was bad, otherwise 0.

    Returns:
        The slope, which is above 0, and the intercept.

    Raises:
        ModelRejected: No slope above 0 exists. The message states which of these causes applies, and what to do: one
            outcome is missing, all margins are equal, the margins separate the outcomes perfectly, there are too few
            rows, the model ranks these rows no better than chance, or Newton's method does not converge.
    """
    _check_margins(margins, labels)
    slope, intercept = 1.0, 0.0
    for _ in range(_STEPS_MAX):
        with np.errstate(over="ignore"):  # exp may be infinite, and the probability is then 0
            pd = 1.0 / (1.0 + np.exp(-(slope * margins + intercept)))
        # The gradient and the negative Hessian of the log-likelihood. fsum rounds each sum only once, at the end, so
        # the result does not depend on the order of the rows.
        error, weight = labels - pd, pd * (1.0 - pd)
        gradient = (math.fsum(error * margins), math.fsum(error))
        curvature = (math.fsum(weight * margins * margins), math.fsum(weight * margins), math.fsum(weight))
        determinant = curvature[0] * curvature[2] - curvature[1] ** 2
        if not determinant > 0.0:
            break
        # The Newton step solves the 2 x 2 system by Cramer's rule.
        step_slope = (curvature[2] * gradient[0] - curvature[1] * gradient[1]) / determinant
        step_intercept = (curvature[0] * gradient[1] - curvature[1] * gradient[0]) / determinant
        size = _step_size(margins, labels, (slope, intercept), (step_slope, step_intercept))
        slope, intercept = slope + size * step_slope, intercept + size * step_intercept
        if max(abs(step_slope), abs(step_intercept)) < _STEP_MIN:
            if slope > 0.0:
                return slope, intercept
            break
    raise ModelRejected(_failure(margins, labels, slope))


def _step_size(
    margins: NDArray[np.float64], labels: NDArray[np.int64], start: tuple[float, float], step: tuple[float, float]
) -> float:
    """Return the largest of 1, 1/2, 1/4, ... with which the step does not increase the loss beyond rounding.

    Full Newton steps can diverge if the margins are too extreme, for example those of an overfitted model. After 40
    halvings, the step is so small that it is used without a check.
    """
    least = _loss(margins, labels, *start) * (1.0 + _LOSS_ROUNDING)
    for halvings in range(_HALVINGS_MAX):
        size = 0.5**halvings
        if _loss(margins, labels, start[0] + size * step[0], start[1] + size * step[1]) <= least:
            return size
    return 0.5**_HALVINGS_MAX


def _loss(margins: NDArray[np.float64], labels: NDArray[np.int64], slope: float, intercept: float) -> float:
    """Return the negative log-likelihood of a calibration."""
    log_odds = slope * margins + intercept
    return float(np.sum(np.logaddexp(0.0, np.where(labels == 1, -log_odds, log_odds))))


def _failure(margins: NDArray[np.float64], labels: NDArray[np.int64], slope: float) -> str:
    """Return the message for a calibration whose slope is not above 0, or that did not converge."""
    bads, goods = _count_outcomes(labels)
    auc, rows = float(roc_auc_score(labels, margins)), _describe_rows(labels)
    if auc > _NEARLY_PERFECT_AUC:
        return (
            f"calibration: the model ranks {auc:.1%} of all pairs of the calibration part correctly ({rows}), too well for a "
            "calibration; a feature or one of its categories probably contains the outcome: remove it"
        )
    if min(bads, goods) < ROWS_OF_OUTCOME_MIN:
        return (
            f"calibration: the slope must be above 0, but {rows} are too few to calibrate a model, because chance alone can "
            f"turn its ranking around; use a calibration part with at least {ROWS_OF_OUTCOME_MIN} rows of each outcome"
        )
    if slope > 0.0:
        return (
            f"calibration: the calibration did not converge in {_STEPS_MAX} steps (AUC {auc:.4f}, {rows}), because the margins of "
            f"the model, from {margins.min():.3g} to {margins.max():.3g}, have another scale than log-odds; fit the model with fewer "
            "trees or a smaller learning rate"
        )
    return (
        f"calibration: the model does not rank the calibration part better than chance (AUC {auc:.4f}, {rows}), but the slope "
        "must be above 0; check that the labels of the fit and calibration parts mean the same, and add features that are "
        "related to the outcome"
    )


def _check_margins(margins: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    """Raise ModelRejected if the likelihood has no maximum with a slope above 0."""
    bads, goods = _count_outcomes(labels)
    if not bads or not goods:
        missing = "bad" if not bads else "good"
        raise ModelRejected(
            f"calibration: the calibration part has no {missing} row, got {_describe_rows(labels)}; use a larger "
            "calibration part"
        )
    if np.ptp(margins) == 0.0:
        raise ModelRejected(
            "calibration: the model gives every row of the calibration part the same margin, so it cannot rank them; check "
            "that the features vary between customers and say something about the outcome, and that the fit part has enough "
            "rows of both outcomes"
        )
    bad, good = margins[labels == 1], margins[labels == 0]
    if bad.min() > good.max():
        cause = (
            "a feature or one of its categories probably contains the outcome: remove it"
            if min(bads, goods) >= ROWS_OF_OUTCOME_MIN
            else f"use a calibration part with at least {ROWS_OF_OUTCOME_MIN} rows of each outcome"
        )
        raise ModelRejected(
            f"calibration: the model ranks the calibration part perfectly ({_describe_rows(labels)}), so no probability "
            f"between 0 and 1 can be fitted; {cause}"
        )


def _count_outcomes(labels: NDArray[np.int64]) -> tuple[int, int]:
    """Return the number of bad rows and the number of good rows."""
    bads = int(labels.sum())
    return bads, len(labels) - bads


def _describe_rows(labels: NDArray[np.int64]) -> str:
    """Return the number of bad and good rows as text."""
    bads, goods = _count_outcomes(labels)
    return f"{bads:,} bad and {goods:,} good rows"
