"""From a margin to log-odds, probability, points and grade.

Conventions, one for the whole product: higher log-odds and pd mean more risk, a higher score means less.

    log_odds = slope * margin + intercept       pd = 1 / (1 + exp(-log_odds))
    score    = offset - factor * log_odds       factor = pdo / ln 2,  offset = base_score - factor * ln(base_odds)

Source of the scaling: Siddiqi 2006, Credit Risk Scorecards, ch. 6 (600 points at 50:1, 20 points double the odds).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from models.bundle_documents import Scorecard


def log_odds_from_margin(card: Scorecard, margin: float) -> float:
    """Calibrate one margin."""
    return card.slope * margin + card.intercept


def pd_from_log_odds(log_odds: float) -> float:
    """Give the probability of the bad outcome. One place and one row at a time: a list and a single read agree."""
    if log_odds >= 0.0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1.0 + odds)


def grade_from_pd(card: Scorecard, pd: float) -> str:
    """Give the first grade whose largest pd is not below this one."""
    return next((grade.grade for grade in card.grades if pd <= grade.max_pd), card.grades[-1].grade)


def points_per_log_odds(card: Scorecard) -> float:
    """Give the points per unit of log-odds."""
    return card.pdo / math.log(2.0)


def unrounded_score(card: Scorecard, log_odds: float) -> float:
    """Give the score before it is rounded to an integer."""
    factor = points_per_log_odds(card)
    return card.base_score - factor * math.log(card.base_odds) - factor * log_odds


@dataclass(frozen=True, slots=True)
class ScoreSplit:
    """A score in integers, split: base + sum(points) == score."""

    score: int
    base: int
    points: tuple[int, ...]


def split_score(card: Scorecard, log_odds: float, base_value: float, contributions: Sequence[float]) -> ScoreSplit:
    """Split the rounded score over the features by largest remainder.

    Args:
        card: The scaling.
        log_odds: Of the customer.
        base_value: Of the baseline, in log-odds.
        contributions: By feature, in log-odds; with base_value they add up to log_odds.

    Returns:
        Points, each within 1 of its exact value, 0 where the contribution is 0. The base is the same
        for every customer of a bundle. The score is not clamped.
    """
    factor = points_per_log_odds(card)
    score = round(unrounded_score(card, log_odds))
    base = round(unrounded_score(card, base_value))
    exact = [-factor * contribution for contribution in contributions]
    points = [math.floor(value) for value in exact]
    movable = [index for index, value in enumerate(exact) if value != 0.0]
    # Largest remainder first; equal remainders in schema order, so that the split is always the same.
    movable.sort(key=lambda index: (points[index] - exact[index], index))
    rest = score - base - sum(points)
    for index in movable[: max(rest, 0)]:
        points[index] += 1
    # Rounding of score and base can leave one point too many; it comes off the smallest remainder.
    for index in movable[: rest - 1 : -1] if rest < 0 else ():
        points[index] -= 1
    return ScoreSplit(score, base, tuple(points))
