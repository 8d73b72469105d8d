"""The affine calibration in log-odds: log_odds = slope * margin + intercept.

The calibration is fitted by maximum likelihood on the calibration part, which has no rows of the fit part or the hold-out.
Source: Platt 1999, Probabilistic outputs for support vector machines. The smoothing of the targets in Platt's paper is not
used.
"""

import math

import numpy as np
from numpy.typing import NDArray

from training.errors import ModelRejected

_STEPS_MAX = 50
_STEP_MIN = 1e-10


def fit_calibration(margins: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Fit the slope and the intercept by Newton's method.

    Args:
        margins: Raw scores of the model, shape (n,).
        labels: Labels, shape (n,): 1 where the outcome was bad, otherwise 0.

    Returns:
        The slope, which is above 0, and the intercept.

    Raises:
        ModelRejected: All margins are equal, Newton's method does not converge, or the slope is 0 or less. In all cases
            the model does not rank these rows.
    """
    if len(margins) and np.ptp(margins) == 0.0:
        raise ModelRejected(
            "calibration: the model gives every row of the calibration part the same margin, so it cannot rank them; check "
            "that the features vary between customers and say something about the outcome, and that the fit part has enough "
            "rows of both outcomes"
        )
    slope, intercept = 1.0, 0.0
    for _ in range(_STEPS_MAX):
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
        slope, intercept = slope + step_slope, intercept + step_intercept
        if max(abs(step_slope), abs(step_intercept)) < _STEP_MIN:
            if slope > 0.0:
                return slope, intercept
            break
    raise ModelRejected(
        f"calibration: the slope must be above 0, got {slope:.3g}, so the model does not rank the calibration part; check "
        "the features and the split"
    )
