"""The affine calibration in log-odds: log_odds = slope * margin + intercept.

Fitted by maximum likelihood on rows that belong neither to the fit part nor to the hold-out. Source: Platt 1999,
Probabilistic outputs for support vector machines; without his smoothing of the targets.
"""

import math

import numpy as np
from numpy.typing import NDArray

from training.errors import ModelRejected

_STEPS_MAX = 50
_STEP_MIN = 1e-10


def fit_calibration(margins: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Fit slope and intercept by Newton's method.

    Args:
        margins: Shape (n,), raw scores of the model.
        labels: Shape (n,), 1 where the outcome was bad.

    Returns:
        Slope (above 0) and intercept.

    Raises:
        ModelRejected: The slope is not above 0, or there is no maximum: the model does not rank these rows.
    """
    slope, intercept = 1.0, 0.0
    for _ in range(_STEPS_MAX):
        pd = 1.0 / (1.0 + np.exp(-(slope * margins + intercept)))
        # Gradient and Hessian of the log-likelihood. fsum rounds every sum once, so the order of rows does not matter.
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
        f"calibration: the slope must be above 0, got {slope:.3g}: the model does not rank the calibration part; check the "
        "features and the split"
    )
