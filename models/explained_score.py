"""An explained score: a score with its contributions, which are checked to add up before the score is returned.

The contributions are SHAP values (S. Lundberg and S.-I. Lee, A Unified Approach to Interpreting Model Predictions,
2017), computed by the model's own graph. This module checks their defining property, local accuracy: the base value
plus the contributions is the log-odds, and the base points plus the points is the score.
"""

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

    base_value + sum(contributions) == log_odds within LOG_ODDS_TOLERANCE; base_points + sum(points) == score exactly.

    Attributes:
        margin: The model's output: log-odds before calibration.
        log_odds: Log-odds of the bad outcome, calibrated.
        pd: Probability of the bad outcome, from 0 to 1.
        score: Points of the scorecard; higher is safer.
        grade: Code of the grade on the bundle's master scale.
        base_value: Log-odds of the baseline.
        contributions: Contribution of each feature in log-odds, in the order of the schema; above 0 raises the risk.
        base_points: Points of the baseline.
        points: Points of each feature, in the order of the schema; above 0 lowers the risk.
        residual: What base value and contributions miss of the log-odds: log_odds - base_value - sum(contributions).
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
    """Build an explained score from the outputs of the model's graphs, and check it.

    Args:
        card: Calibration, scaling and grades.
        base_margin: Mean margin of the baseline.
        margin: Margin of the customer.
        margin_contributions: Contribution of each feature to the margin, in log-odds before calibration.

    Raises:
        AdditivityError: The parts do not add up, or one of them is not finite.
    """
    if not all(map(math.isfinite, (margin, base_margin, *margin_contributions))):
        raise AdditivityError("the margin, the base margin or a contribution is not a finite number")
    log_odds = log_odds_from_margin(card, margin)
    base_value = log_odds_from_margin(card, base_margin)
    # Calibration is affine: its slope scales every contribution, and its intercept is part of the base value.
    slope = card.slope
    contributions = tuple([slope * float(part) for part in margin_contributions])
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
        # fsum rounds only once, so this addition contributes almost nothing to the residual.
        residual=log_odds - math.fsum([base_value, *contributions]),
    )
    _check_additivity(card, answer)
    return answer


def _check_additivity(card: Scorecard, answer: ExplainedScore) -> None:
    """Check that contributions and points add up to the score.

    Raises:
        AdditivityError: They do not add up. The message contains no feature value, because it may be logged.
    """
    if not abs(answer.residual) <= LOG_ODDS_TOLERANCE:  # negated, so that NaN fails too
        raise AdditivityError(
            f"contributions miss the log-odds by {answer.residual:.3g}; at most {LOG_ODDS_TOLERANCE:g} is allowed"
        )
    if answer.base_points + sum(answer.points) != answer.score:
        raise AdditivityError("base points and points do not add up to the score")
    if abs(answer.score - unrounded_score(card, answer.log_odds)) > 0.5 + LOG_ODDS_TOLERANCE:
        raise AdditivityError("the score is not the rounded value of its log-odds")
    factor = points_per_log_odds(card)
    for points, contribution in zip(answer.points, answer.contributions, strict=True):
        if abs(points + factor * contribution) > 1 + LOG_ODDS_TOLERANCE or (contribution == 0.0 and points != 0):
            raise AdditivityError("the points of a feature differ by more than 1 from their exact value")
