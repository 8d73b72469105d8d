"""One explained score, whose parts are proved to add up before anyone sees it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from models.bundle_documents import Scorecard
from models.errors import AdditivityError
from models.scorecard import (
    grade_from_pd,
    log_odds_from_margin,
    pd_from_log_odds,
    points_per_log_odds,
    split_score,
    unrounded_score,
)
from models.tolerances import LOG_ODDS_TOLERANCE


@dataclass(frozen=True, slots=True)
class ExplainedScore:
    """A score and its split over the features, in log-odds and in points.

    base_value + sum(contributions) == log_odds within LOG_ODDS_TOLERANCE; base_points + sum(points) == score.

    Attributes:
        margin: Log-odds before calibration, as the model gives it.
        log_odds: Log-odds of the bad outcome after calibration.
        pd: Its probability.
        residual: log_odds - base_value - sum(contributions).
    """

    margin: float
    log_odds: float
    pd: float
    score: int
    grade: str
    base_value: float
    contributions: tuple[float, ...]
    base_points: int
    points: tuple[int, ...]
    residual: float


def build_explained_score(
    card: Scorecard, base_margin: float, margin: float, margin_contributions: Sequence[float]
) -> ExplainedScore:
    """Put a score together from what the two graphs gave, and check it.

    Args:
        card: Calibration, scaling and grades.
        base_margin: Mean margin of the baseline.
        margin: Of the customer.
        margin_contributions: By feature, in log-odds before calibration.

    Raises:
        AdditivityError: The parts are not the whole.
    """
    if not all(math.isfinite(number) for number in (margin, base_margin, *margin_contributions)):
        raise AdditivityError("margin, base or a contribution is no finite number")
    log_odds = log_odds_from_margin(card, margin)
    base_value = log_odds_from_margin(card, base_margin)
    contributions = tuple(card.slope * float(part) for part in margin_contributions)
    split = split_score(card, log_odds, base_value, contributions)
    pd = pd_from_log_odds(log_odds)
    answer = ExplainedScore(
        margin=margin,
        log_odds=log_odds,
        pd=pd,
        score=split.score,
        grade=grade_from_pd(card, pd),
        base_value=base_value,
        contributions=contributions,
        base_points=split.base,
        points=split.points,
        residual=log_odds - math.fsum([base_value, *contributions]),
    )
    check_additivity(card, answer)
    return answer


def check_additivity(card: Scorecard, answer: ExplainedScore) -> None:
    """Refuse an answer whose columns do not add up. No value is named: the message may be logged."""
    if not abs(answer.residual) <= LOG_ODDS_TOLERANCE:  # also where it is NaN
        raise AdditivityError(
            f"contributions miss the log-odds by {answer.residual:.3g}, allowed is {LOG_ODDS_TOLERANCE:g}"
        )
    if answer.base_points + sum(answer.points) != answer.score:
        raise AdditivityError("points do not add up to the score")
    if abs(answer.score - unrounded_score(card, answer.log_odds)) > 0.5 + LOG_ODDS_TOLERANCE:
        raise AdditivityError("the score is not the rounded log-odds")
    factor = points_per_log_odds(card)
    for points, contribution in zip(answer.points, answer.contributions, strict=True):
        if abs(points + factor * contribution) > 1 + LOG_ODDS_TOLERANCE or (contribution == 0.0 and points != 0):
            raise AdditivityError("points of a feature are more than 1 from their exact value")
