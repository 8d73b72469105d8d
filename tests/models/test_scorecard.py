"""Log-odds, probability, points and grade follow one convention, and the points add up to the score."""

import math

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.bundle_documents import Grade, Scorecard
from models.scorecard import (
    grade_from_pd,
    log_odds_from_margin,
    pd_from_log_odds,
    points_per_log_odds,
    split_score,
    unrounded_score,
)

GRADES = (Grade(grade="A", max_pd=0.02), Grade(grade="B", max_pd=0.10), Grade(grade="C", max_pd=1.0))


def card(**changed: float) -> Scorecard:
    """Return the usual scaling: 600 points at 50:1, 20 points double the odds."""
    usual = {"slope": 1.0, "intercept": 0.0, "base_score": 600, "base_odds": 50.0, "pdo": 20.0}
    return Scorecard.model_validate({**usual, "grades": GRADES, **changed})


def logit(pd: float) -> float:
    """Return the log-odds of a probability."""
    return math.log(pd / (1.0 - pd))


def test_factor_and_offset_are_the_published_ones() -> None:
    """Siddiqi's scaling: 600 points at 50:1, 20 points double the odds."""
    usual = card()

    assert points_per_log_odds(usual) == pytest.approx(28.8539, abs=5e-5)
    assert unrounded_score(usual, 0.0) == pytest.approx(487.1229, abs=5e-5)


@pytest.mark.parametrize(
    ("pd", "score"),
    [(1 / 51, 600.00), (0.01, 619.71), (0.02, 599.42), (0.05, 572.08), (0.10, 550.52), (0.20, 527.12)],
)
def test_a_probability_has_its_published_score(pd: float, score: float) -> None:
    assert unrounded_score(card(), logit(pd)) == pytest.approx(score, abs=5e-3)
    assert split_score(card(), logit(pd), logit(pd), []).score == round(score)


def test_a_score_higher_by_pdo_points_doubles_the_odds_of_good() -> None:
    log_odds = logit(0.07)

    assert unrounded_score(card(), log_odds - math.log(2.0)) == pytest.approx(unrounded_score(card(), log_odds) + 20.0)


@given(low=st.floats(-12, 12), gap=st.floats(1e-6, 5), slope=st.floats(0.1, 3), intercept=st.floats(-3, 3))
@settings(deadline=None, derandomize=True)
def test_a_higher_margin_means_a_higher_pd_and_a_lower_score(
    low: float, gap: float, slope: float, intercept: float
) -> None:
    """A reversed sign anywhere in the chain of functions fails this test."""
    changed = card(slope=slope, intercept=intercept)
    safe, risky = log_odds_from_margin(changed, low), log_odds_from_margin(changed, low + gap)

    assert safe < risky
    assert pd_from_log_odds(safe) < pd_from_log_odds(risky)
    assert unrounded_score(changed, safe) > unrounded_score(changed, risky)
    assert grade_from_pd(changed, pd_from_log_odds(safe)) <= grade_from_pd(changed, pd_from_log_odds(risky))


def test_a_contribution_toward_risk_has_negative_points() -> None:
    split = split_score(card(), 0.5, 0.0, [1.0, -0.5])

    assert split.points[0] < 0 < split.points[1]


@pytest.mark.parametrize("slope", [0.0, -0.5, math.nan, math.inf])
def test_a_calibration_that_reverses_the_ranking_is_rejected(slope: float) -> None:
    with pytest.raises(ValidationError, match="slope"):
        card(slope=slope)


@pytest.mark.parametrize(
    ("log_odds", "pd"),
    [
        (0.0, 0.5),
        (-0.0, 0.5),
        (745.0, 1.0),
        (1e308, 1.0),
        (math.inf, 1.0),
        (-1000.0, 0.0),
        (-1e308, 0.0),
        (-math.inf, 0.0),
    ],
)
def test_extreme_log_odds_have_a_probability_without_overflow(log_odds: float, pd: float) -> None:
    assert pd_from_log_odds(log_odds) == pd


def test_a_tiny_probability_keeps_its_digits() -> None:
    assert pd_from_log_odds(-700.0) == pytest.approx(math.exp(-700.0), rel=1e-12)
    assert math.isnan(pd_from_log_odds(math.nan))


@given(log_odds=st.floats(-30, 30))
@settings(derandomize=True)
def test_the_probabilities_of_good_and_bad_add_up_to_1(log_odds: float) -> None:
    assert pd_from_log_odds(log_odds) + pd_from_log_odds(-log_odds) == pytest.approx(1.0, abs=1e-15)


@given(pd=st.floats(1e-6, 1 - 1e-6))
@settings(derandomize=True)
def test_a_probability_is_recovered_from_its_log_odds(pd: float) -> None:
    assert pd_from_log_odds(logit(pd)) == pytest.approx(pd, rel=1e-9)


@pytest.mark.parametrize(
    ("pd", "grade"),
    [(0.0, "A"), (0.02, "A"), (math.nextafter(0.02, 1.0), "B"), (0.10, "B"), (0.5, "C"), (1.0, "C")],
)
def test_the_largest_pd_of_a_grade_belongs_to_the_grade(pd: float, grade: str) -> None:
    assert grade_from_pd(card(), pd) == grade


def test_a_pd_above_the_last_grade_has_the_last_grade() -> None:
    short = card().model_copy(update={"grades": GRADES[:2]})

    assert grade_from_pd(short, 0.9) == "B"


cards = st.builds(
    card,
    base_score=st.integers(0, 1000),
    base_odds=st.floats(0.1, 1000.0),
    pdo=st.one_of(st.floats(0.5, 100.0), st.just(math.log(2.0))),  # with pdo = ln 2, a unit of log-odds is one point
)
parts = st.lists(st.one_of(st.floats(-4, 4), st.just(0.0), st.integers(-3, 3).map(float)), max_size=30)
HALVES = card(pdo=math.log(2.0), base_odds=1.0)  # a score before rounding is exactly base_score - log_odds


@settings(max_examples=500, deadline=None, derandomize=True)
@given(scaling=cards, base_value=st.floats(-6, 2), contributions=parts)
@example(scaling=HALVES, base_value=-0.5, contributions=[2.0, -3.0])
@example(scaling=HALVES, base_value=0.5, contributions=[1.0, 2.0])
@example(scaling=HALVES, base_value=0.5, contributions=[1.0])
@example(scaling=HALVES, base_value=1.5, contributions=[-1.0])
@example(scaling=HALVES, base_value=-1.5, contributions=[-1.0, 0.0])
@example(scaling=HALVES, base_value=0.0, contributions=[0.5, 0.5, -1.0])
@example(scaling=HALVES, base_value=0.0, contributions=[1e-12])
@example(scaling=HALVES, base_value=0.0, contributions=[-1e-300, 0.0])
def test_points_add_up_to_the_score_and_each_is_within_one_of_its_exact_value(
    scaling: Scorecard, base_value: float, contributions: list[float]
) -> None:
    log_odds = math.fsum([base_value, *contributions])
    assume(any(contributions) or log_odds == base_value)

    split = split_score(scaling, log_odds, base_value, contributions)

    assert split.base + sum(split.points) == split.score
    assert abs(split.score - unrounded_score(scaling, log_odds)) <= 0.5
    for points, contribution in zip(split.points, contributions, strict=True):
        assert abs(points + points_per_log_odds(scaling) * contribution) <= 1.0 + 1e-9
        assert points == 0 or contribution != 0.0


@settings(deadline=None, derandomize=True)
@given(scaling=cards, base_value=st.floats(-6, 2), first=parts, second=parts)
def test_the_base_points_are_the_same_for_every_customer(
    scaling: Scorecard, base_value: float, first: list[float], second: list[float]
) -> None:
    bases = {
        split_score(scaling, math.fsum([base_value, *contributions]), base_value, contributions).base
        for contributions in (first, second, [])
    }

    assert bases == {round(unrounded_score(scaling, base_value))}


def test_the_largest_remainder_gets_the_point_and_ties_break_by_schema_order() -> None:
    """The exact points 0.3, 0.6 and 0.1 add up to 1, and so do the exact points 0.5 and 0.5."""
    assert split_score(HALVES, -1.0, 0.0, [-0.3, -0.6, -0.1]).points == (0, 1, 0)
    assert split_score(HALVES, -1.0, 0.0, [-0.5, -0.5]).points == (1, 0)


def test_a_feature_without_a_contribution_never_gets_a_point() -> None:
    assert split_score(HALVES, -1.0, 0.0, [0.0, -0.4, 0.0, -0.6]).points[0::2] == (0, 0)


def test_the_score_is_not_clamped() -> None:
    assert split_score(card(), 60.0, 60.0, []).score < 0
    assert split_score(card(), -60.0, -60.0, []).score > 1000
