"""One explained score, whose parts are proved to add up before anyone sees it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from models.documents import Scorecard
from models.errors import DoesNotAddUp
from models.scorecard import exact_score_of, factor_of, grade_of, log_odds_of, pd_of, points_of

# What double arithmetic may leave over between the score and the sum of its explanation.
RESIDUAL_MAX = 1e-9


@dataclass(frozen=True, slots=True)
class ExplainedScore:
    """A score and its split over the features, in log-odds and in points.

    base_value + sum(contributions) == log_odds within RESIDUAL_MAX; base_points + sum(points) == score.

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


def explained(
    card: Scorecard, base_margin: float, margin: float, margin_contributions: Sequence[float]
) -> ExplainedScore:
    """Put a score together from what the two graphs gave, and check it.

    Args:
        card: Calibration, scaling and grades.
        base_margin: Mean margin of the baseline.
        margin: Of the customer.
        margin_contributions: By feature, in log-odds before calibration.

    Raises:
        DoesNotAddUp: The parts are not the whole.
    """
    if not all(math.isfinite(number) for number in (margin, base_margin, *margin_contributions)):
        raise DoesNotAddUp("margin, base or a contribution is no finite number")
    log_odds = log_odds_of(card, margin)
    base_value = log_odds_of(card, base_margin)
    contributions = tuple(card.slope * float(part) for part in margin_contributions)
    split = points_of(card, log_odds, base_value, contributions)
    pd = pd_of(log_odds)
    answer = ExplainedScore(
        margin=margin,
        log_odds=log_odds,
        pd=pd,
        score=split.score,
        grade=grade_of(card, pd),
        base_value=base_value,
        contributions=contributions,
        base_points=split.base,
        points=split.points,
        residual=log_odds - math.fsum([base_value, *contributions]),
    )
    check(card, answer)
    return answer


def check(card: Scorecard, answer: ExplainedScore) -> None:
    """Refuse an answer whose columns do not add up. No value is named: the message may be logged."""
    if not abs(answer.residual) <= RESIDUAL_MAX:  # also where it is NaN
        raise DoesNotAddUp(f"contributions miss the log-odds by {answer.residual:.3g}, allowed is {RESIDUAL_MAX:g}")
    if answer.base_points + sum(answer.points) != answer.score:
        raise DoesNotAddUp("points do not add up to the score")
    if abs(answer.score - exact_score_of(card, answer.log_odds)) > 0.5 + RESIDUAL_MAX:
        raise DoesNotAddUp("the score is not the rounded log-odds")
    factor = factor_of(card)
    for points, contribution in zip(answer.points, answer.contributions, strict=True):
        if abs(points + factor * contribution) > 1 + RESIDUAL_MAX or (contribution == 0.0 and points != 0):
            raise DoesNotAddUp("points of a feature are more than 1 from their exact value")
