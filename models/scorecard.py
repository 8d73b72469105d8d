"""The scorecard: margin to log-odds, probability of default, points and grade.

The whole product uses one convention: higher log-odds and a higher pd mean more risk, and a higher score means less
risk.

    log_odds = slope * margin + intercept       pd = 1 / (1 + exp(-log_odds))
    score    = offset - factor * log_odds       factor = pdo / ln 2,  offset = base_score - factor * ln(base_odds)

Sources: N. Siddiqi, Credit Risk Scorecards, Wiley 2006, ch. 6 (scaling; 600 points at odds of 50:1 and 20 points to
double the odds); J. Platt, Probabilistic Outputs for Support Vector Machines, 1999 (calibration by slope and intercept);
M. Balinski and H. P. Young, Fair Representation, 1982 (largest remainder, by which the points add up).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from models.bundle_documents import Scorecard


def log_odds_from_margin(card: Scorecard, margin: float) -> float:
    """Return the calibrated log-odds of the bad outcome."""
    return card.slope * margin + card.intercept


def pd_from_log_odds(log_odds: float) -> float:
    """Return the probability of the bad outcome, from 0 to 1.

    The argument is a scalar, because a vectorised `exp` may differ in the last bit. A prediction that is read alone
    must have the same bits as the same prediction in a list.
    """
    # The exponent is never positive, so `exp` cannot overflow.
    if log_odds >= 0.0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1.0 + odds)


def grade_from_pd(card: Scorecard, pd: float) -> str:
    """Return the safest grade whose `max_pd` is at least this pd, or the last grade if there is none."""
    return next((grade.grade for grade in card.grades if pd <= grade.max_pd), card.grades[-1].grade)


def points_per_log_odds(card: Scorecard) -> float:
    """Return how many points one unit of log-odds is worth."""
    return card.pdo / math.log(2.0)


def unrounded_score(card: Scorecard, log_odds: float) -> float:
    """Return the score before it is rounded to an integer."""
    factor = points_per_log_odds(card)
    return card.base_score - factor * math.log(card.base_odds) - factor * log_odds


@dataclass(frozen=True, slots=True)
class ScoreSplit:
    """An integer score and its integer parts: base + sum(points) == score."""

    score: int
    base: int
    points: tuple[int, ...]


def split_score(card: Scorecard, log_odds: float, base_value: float, contributions: Sequence[float]) -> ScoreSplit:
    """Split the rounded score over the features by the method of largest remainder.

    Args:
        card: The scaling of log-odds to points.
        log_odds: Log-odds of the customer.
        base_value: Log-odds of the baseline.
        contributions: Contribution of each feature in log-odds; base_value plus their sum is log_odds.

    Returns:
        Points within 1 of their exact value, 0 where the contribution is 0. The base is the same for every customer of
        a bundle. The score is not clamped.
    """
    factor = points_per_log_odds(card)
    score = round(unrounded_score(card, log_odds))
    base = round(unrounded_score(card, base_value))
    exact = [-factor * contribution for contribution in contributions]
    # Round every part down first. Then add the points that the score still lacks, one each, to the parts with the largest
    # remainders.
    points = [math.floor(value) for value in exact]
    # A feature without a contribution must have 0 points, so it never receives such a point.
    movable = [index for index, value in enumerate(exact) if value != 0.0]
    # The key is the negative remainder. Ties break by schema order, so that the split is reproducible.
    movable.sort(key=lambda index: (points[index] - exact[index], index))
    rest = score - base - sum(points)
    for index in movable[: max(rest, 0)]:
        points[index] += 1
    # Score and base are rounded separately, so the floors can exceed their difference by one point.
    # That point is subtracted where the remainder is smallest, which is at the end of the list.
    for index in movable[: rest - 1 : -1] if rest < 0 else ():
        points[index] -= 1
    return ScoreSplit(score, base, tuple(points))
