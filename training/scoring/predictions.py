"""Predicts many customers at once. The results equal, bit for bit, those of predicting each customer alone."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import AdditivityError
from models.model import Model
from models.scorecard import grade_from_pd, log_odds_from_margin, pd_from_log_odds
from models.tolerances import LOG_ODDS_TOLERANCE

FeatureRows = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The predictions of n rows.

    Attributes:
        log_odds: Calibrated log-odds, length n.
        pds: Probabilities from 0 to 1, length n.
        bands: Names of the grades, length n.
        contributions: Contributions in calibrated log-odds, shape (n, n_features).
    """

    log_odds: list[float]
    pds: list[float]
    bands: list[str]
    contributions: FeatureRows


def predict_pds(model: Model, rows: FeatureRows) -> list[float]:
    """Return the pds of rows of shape (n, n_features), NaN where missing."""
    if not len(rows):
        return []
    card = model.bundle.scorecard
    return [pd_from_log_odds(log_odds_from_margin(card, margin)) for margin in model.scorer.margins(rows).tolist()]


def predict(model: Model, rows: FeatureRows) -> Predictions:
    """Return the predictions of rows of shape (n, n_features), NaN where missing.

    Raises:
        AdditivityError: The base value and the contributions of a row do not add up to the log-odds of the row.
    """
    card = model.bundle.scorecard
    margins, parts = model.scorer.explain(rows)
    log_odds = [log_odds_from_margin(card, margin) for margin in margins.tolist()]
    base_value = log_odds_from_margin(card, model.bundle.baseline.base_margin)
    contributions = card.slope * parts
    for whole, row in zip(log_odds, contributions.tolist(), strict=True):
        residual = whole - math.fsum([base_value, *row])
        if not abs(residual) <= LOG_ODDS_TOLERANCE:  # "not <=" also catches NaN
            raise AdditivityError(
                f"the base value and the contributions must add up to the log-odds within {LOG_ODDS_TOLERANCE:g}, got a "
                f"difference of {residual:.3g}"
            )
    pds = [pd_from_log_odds(one) for one in log_odds]
    return Predictions(log_odds, pds, [grade_from_pd(card, pd) for pd in pds], contributions)
