"""Logistic regression with a ridge penalty, in which some weights must not be negative.

The sums over rows do not use BLAS, so the result does not depend on the number of threads or cores.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from training.errors import DataInvalid
from training.measures.inputs import Labels

_FloatArray = NDArray[np.float64]

# Strength of the ridge penalty: _RIDGE / 2 times the sum of the squared weights is added to the loss, as with C = 1 in
# scikit-learn. The penalty keeps the weights finite if there are few rows; with many rows its effect is negligible.
_RIDGE = 1.0
_STEPS_MAX = 200
_SLOPE_MAX = 1e-9  # largest slope of the mean loss at the minimum
_HALVINGS_MAX = 40


def fit_logistic(
    features: _FloatArray,
    labels: Labels,
    non_negative: NDArray[np.bool_],
    row_weights: _FloatArray | None = None,
) -> tuple[float, _FloatArray]:
    """Fit an intercept and one weight for each feature by penalised maximum likelihood.

    The loss is strictly convex and the bounds are convex, so there is exactly one minimum. A weight that would be
    negative without its bound is 0. The minimum is found by a projected Newton method (Bertsekas 1982).

    Args:
        features: Shape (n, features).
        labels: Shape (n,); both outcomes occur.
        non_negative: Shape (features,), whether the weight of each feature must not be negative.
        row_weights: Shape (n,); None if every row counts equally.

    Raises:
        DataInvalid: The optimisation did not converge.
    """
    problem = _Problem(features, labels, row_weights)
    bounded = np.concatenate([[False], non_negative])
    bad_rate = float(np.average(labels, weights=row_weights))
    weights = np.zeros(len(bounded))
    weights[0] = np.log(bad_rate / (1.0 - bad_rate))
    loss = problem.loss(weights)
    for _ in range(_STEPS_MAX):
        slope, curvature = problem.derivatives(weights)
        # A weight at its bound stays there if the loss falls only beyond the bound.
        free = ~(bounded & (weights <= 0.0) & (slope >= 0.0))
        if np.max(np.abs(slope[free]), initial=0.0) <= _SLOPE_MAX:
            return float(weights[0]), weights[1:]
        step = np.zeros(len(weights))
        step[free] = -np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
        for halving in range(_HALVINGS_MAX):
            moved = weights + step / 2.0**halving
            moved[bounded] = np.maximum(moved[bounded], 0.0)
            found = problem.loss(moved)
            if found <= loss + 1e-15 * abs(loss):
                break
        weights, loss = moved, found
    raise DataInvalid(
        f"the weights of the logistic regression did not converge in {_STEPS_MAX} steps; remove features that have nearly the same values as others"
    )


class _Problem:
    """The mean penalised loss of a logistic regression, and its derivatives."""

    def __init__(self, features: _FloatArray, labels: Labels, row_weights: _FloatArray | None) -> None:
        self._design = np.column_stack([np.ones(len(labels)), features])
        self._labels = labels
        self._importance = np.ones(len(labels)) if row_weights is None else row_weights / float(np.mean(row_weights))
        self._ridge = np.full(self._design.shape[1], _RIDGE)
        self._ridge[0] = 0.0

    def loss(self, weights: _FloatArray) -> float:
        """Return the mean loss."""
        scores = self._scores(weights)
        losses = self._importance * (np.logaddexp(0.0, scores) - self._labels * scores)
        return float(np.sum(losses) + np.sum(self._ridge * weights * weights) / 2.0) / len(self._labels)

    def derivatives(self, weights: _FloatArray) -> tuple[_FloatArray, _FloatArray]:
        """Return the slope, shape (weights,), and the curvature, shape (weights, weights), of the mean loss."""
        rates = expit(self._scores(weights))
        slope = np.einsum("ij,i->j", self._design, self._importance * (rates - self._labels), optimize=False)
        spread = self._design * (self._importance * rates * (1.0 - rates))[:, None]
        curvature = np.einsum("ij,ik->jk", self._design, spread, optimize=False) + np.diag(self._ridge)
        return (slope + self._ridge * weights) / len(self._labels), curvature / len(self._labels)

    def _scores(self, weights: _FloatArray) -> _FloatArray:
        """Return the log-odds of every row."""
        scores: _FloatArray = np.einsum("ij,j->i", self._design, weights, optimize=False)
        return scores
