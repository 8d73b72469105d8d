"""Scores and drivers of many customers at once: the same bits and words as one by one, without what only one needs."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import DoesNotAddUp
from models.explained import RESIDUAL_MAX
from models.model import Model
from models.scorecard import grade_of, log_odds_of, pd_of

Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Risks:
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
    contributions: Rows


def pds_of(model: Model, rows: Rows) -> list[float]:
    """Give the pds of rows of shape (n, n_features), without their explanation."""
    card = model.bundle.scorecard
    return [pd_of(log_odds_of(card, margin)) for margin in model.scorer.margins(rows).tolist()] if len(rows) else []


def risks_of(model: Model, rows: Rows) -> Risks:
    """Score and explain rows of shape (n, n_features), NaN where missing.

    Raises:
        DoesNotAddUp: A row's contributions are not its score.
    """
    card = model.bundle.scorecard
    margins, parts = model.scorer.explain(rows)
    log_odds = [log_odds_of(card, margin) for margin in margins.tolist()]
    base_value = log_odds_of(card, model.bundle.baseline.base_margin)
    contributions = card.slope * parts
    for whole, row in zip(log_odds, contributions.tolist(), strict=True):
        residual = whole - math.fsum([base_value, *row])
        if not abs(residual) <= RESIDUAL_MAX:  # also where it is NaN
            raise DoesNotAddUp(f"contributions miss the log-odds by {residual:.3g}, allowed is {RESIDUAL_MAX:g}")
    pds = [pd_of(one) for one in log_odds]
    return Risks(log_odds, pds, [grade_of(card, pd) for pd in pds], contributions)
