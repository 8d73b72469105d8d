"""A score whose explanation does not add up is never returned."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle_documents import Grade, Scorecard
from models.errors import AdditivityError
from models.explained_score import ExplainedScore, _check_additivity, build_explained_score
from models.tolerances import LOG_ODDS_TOLERANCE

CARD = Scorecard(
    slope=0.8,
    intercept=-0.3,
    base_score=600,
    base_odds=50.0,
    pdo=20.0,
    grades=(Grade(grade="A", max_pd=0.1), Grade(grade="B", max_pd=1.0)),
)
BASE_MARGIN = -1.25
PARTS = (0.5, -0.25, 0.0, 0.125)


def answer() -> ExplainedScore:
    """Return an explained score that adds up."""
    return build_explained_score(CARD, BASE_MARGIN, BASE_MARGIN + sum(PARTS), PARTS)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(base_margin=st.floats(-5, 3), parts=st.lists(st.floats(-2, 2), max_size=30))
def test_contributions_that_add_up_are_returned_with_points_that_add_up(base_margin: float, parts: list[float]) -> None:
    found = build_explained_score(CARD, base_margin, math.fsum([base_margin, *parts]), parts)

    assert found.base_value + math.fsum(found.contributions) == pytest.approx(found.log_odds, abs=LOG_ODDS_TOLERANCE)
    assert found.base_points + sum(found.points) == found.score
    assert found.pd == pytest.approx(1.0 / (1.0 + math.exp(-found.log_odds)), rel=1e-12)
    assert found.contributions == tuple(CARD.slope * part for part in parts)
    assert found.residual == pytest.approx(0.0, abs=LOG_ODDS_TOLERANCE)


def test_contributions_are_in_calibrated_log_odds_and_not_in_the_margin() -> None:
    found = answer()

    assert found.margin == BASE_MARGIN + sum(PARTS)
    assert found.log_odds == CARD.slope * found.margin + CARD.intercept
    assert found.base_value == CARD.slope * BASE_MARGIN + CARD.intercept


@pytest.mark.parametrize("index", range(len(PARTS)))
@pytest.mark.parametrize("moved", [1e-6, -1e-6, 1e-8, 1.0])
def test_a_wrong_contribution_is_rejected(index: int, moved: float) -> None:
    parts = list(PARTS)
    parts[index] += moved

    with pytest.raises(AdditivityError, match="contributions miss the log-odds"):
        build_explained_score(CARD, BASE_MARGIN, BASE_MARGIN + sum(PARTS), parts)


def test_a_missing_contribution_is_rejected() -> None:
    with pytest.raises(AdditivityError, match="contributions miss the log-odds"):
        build_explained_score(CARD, BASE_MARGIN, BASE_MARGIN + sum(PARTS), PARTS[1:])


def test_a_base_margin_that_does_not_belong_to_the_contributions_is_rejected() -> None:
    with pytest.raises(AdditivityError, match="contributions miss the log-odds"):
        build_explained_score(CARD, BASE_MARGIN + 0.01, BASE_MARGIN + sum(PARTS), PARTS)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["contribution", "margin", "base margin"])
def test_a_value_that_is_not_finite_is_rejected(place: str, value: float) -> None:
    parts = (value, *PARTS[1:]) if place == "contribution" else PARTS
    margin = value if place == "margin" else BASE_MARGIN + sum(PARTS)
    base_margin = value if place == "base margin" else BASE_MARGIN

    with pytest.raises(AdditivityError):
        build_explained_score(CARD, base_margin, margin, parts)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"residual": math.nan}, "contributions miss the log-odds by nan"),
        ({"residual": 2e-9}, "contributions miss the log-odds"),
        ({"base_points": answer().base_points + 1}, "points do not add up"),
        ({"points": (answer().points[0] + 1, *answer().points[1:])}, "points do not add up"),
        ({"score": answer().score - 1, "base_points": answer().base_points - 1}, "not the rounded value"),
        ({"points": (-10, 5, 2, -3)}, "more than 1 from their exact value"),
        ({"points": (-11, 6, 1, -4)}, "more than 1 from their exact value"),
    ],
)
def test_an_explained_score_with_one_planted_fault_is_rejected(changed: dict[str, Any], message: str) -> None:
    faulty = dataclasses.replace(answer(), **changed)
    if "points" in changed and "exact" in message:  # adjust base_points, so that the planted fault is the only one
        faulty = dataclasses.replace(faulty, base_points=faulty.score - sum(faulty.points))

    _check_additivity(CARD, answer())
    with pytest.raises(AdditivityError, match=message):
        _check_additivity(CARD, faulty)


def test_the_error_message_contains_no_value_of_the_customer() -> None:
    with pytest.raises(AdditivityError) as refusal:
        build_explained_score(CARD, BASE_MARGIN, 0.123456, PARTS)

    assert "0.123" not in str(refusal.value)
