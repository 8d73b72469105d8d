"""Scores and drivers of many customers at once: the same bits and words as one by one, without what only one needs."""

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
    """Scores of n rows.

    Attributes:
        log_odds: Shape (n,).
        pds: Shape (n,).
        bands: n names of grades.
        contributions: Shape (n, n_features), log-odds after calibration.
    """

    log_odds: list[float]
    pds: list[float]
    bands: list[str]
    contributions: FeatureRows


def predict_pds(model: Model, rows: FeatureRows) -> list[float]:
    """Give the pds of rows of shape (n, n_features), without their explanation."""
    card = model.bundle.scorecard
    return (
        [pd_from_log_odds(log_odds_from_margin(card, margin)) for margin in model.scorer.margins(rows).tolist()]
        if len(rows)
        else []
    )


def predict(model: Model, rows: FeatureRows) -> Predictions:
    """Score and explain rows of shape (n, n_features), NaN where missing.

    Raises:
        AdditivityError: A row's contributions are not its score.
    """
    card = model.bundle.scorecard
    margins, parts = model.scorer.explain(rows)
    log_odds = [log_odds_from_margin(card, margin) for margin in margins.tolist()]
    base_value = log_odds_from_margin(card, model.bundle.baseline.base_margin)
    contributions = card.slope * parts
    for whole, row in zip(log_odds, contributions.tolist(), strict=True):
        residual = whole - math.fsum([base_value, *row])
        if not abs(residual) <= LOG_ODDS_TOLERANCE:  # also where it is NaN
            raise AdditivityError(
                f"contributions miss the log-odds by {residual:.3g}, allowed is {LOG_ODDS_TOLERANCE:g}"
            )
    pds = [pd_from_log_odds(one) for one in log_odds]
    return Predictions(log_odds, pds, [grade_from_pd(card, pd) for pd in pds], contributions)
