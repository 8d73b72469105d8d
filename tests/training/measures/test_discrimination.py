"""Ranking measures equal counts of all pairs, scikit-learn, scipy, and values computed by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from training.errors import DataInvalid
from training.measures.discrimination import (
    auc,
    bad_rates_by_grade,
    cap_points,
    capture_at_capacity,
    gini,
    ks,
    lift_at_share,
    pr_auc,
    roc_points,
)

LABELS = np.array([0, 1, 0, 1, 1, 0, 0, 0, 0, 0])
PDS = np.array([0.1, 0.9, 0.2, 0.8, 0.2, 0.3, 0.3, 0.1, 0.4, 0.05])

Outcomes = tuple[NDArray[np.int64], NDArray[np.float64]]


@st.composite
def outcomes(draw: st.DrawFn) -> Outcomes:
    """Draw rows with both outcomes and many ties."""
    size = draw(st.integers(2, 25))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size).filter(lambda drawn: 0 < sum(drawn) < size))
    pds = draw(st.lists(st.integers(0, 6), min_size=size, max_size=size))
    return np.array(labels), np.array(pds) / 6.0


def share_of_pairs(labels: NDArray[np.int64], pds: NDArray[np.float64]) -> float:
    """Return the share of pairs of a bad and a good row that are ranked correctly; a tie counts one half."""
    pairs = list(itertools.product(pds[labels == 1].tolist(), pds[labels == 0].tolist()))
    return sum(1.0 if bad > good else 0.5 if bad == good else 0.0 for bad, good in pairs) / len(pairs)


@settings(deadline=None, max_examples=30)
@given(outcomes())
def test_auc_is_the_share_of_pairs_ranked_correctly_with_ties_one_half(drawn: Outcomes) -> None:
    labels, pds = drawn

    assert auc(labels, pds) == pytest.approx(share_of_pairs(labels, pds), abs=1e-12)
    assert gini(labels, pds) == pytest.approx(2 * share_of_pairs(labels, pds) - 1, abs=1e-12)
    assert auc(labels, pds) == pytest.approx(roc_auc_score(labels, pds), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(outcomes())
def test_ks_pr_auc_and_the_roc_curve_equal_those_of_scipy_and_scikit_learn(drawn: Outcomes) -> None:
    labels, pds = drawn
    false_rate, true_rate, _ = roc_curve(labels, pds, drop_intermediate=False)

    curve = roc_points(labels, pds)

    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # the p-value of very few rows causes warnings; the exact method fails for some other rows
        statistic = ks_2samp(pds[labels == 1], pds[labels == 0], method="asymp").statistic
    assert ks(labels, pds) == pytest.approx(statistic, abs=1e-12)
    assert pr_auc(labels, pds) == pytest.approx(average_precision_score(labels, pds), abs=1e-12)
    assert curve.x == pytest.approx(false_rate, abs=1e-12)
    assert curve.y == pytest.approx(true_rate, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(outcomes())
def test_gini_is_the_accuracy_ratio_of_the_cap_curve(drawn: Outcomes) -> None:
    labels, pds = drawn
    cap = cap_points(labels, pds)

    above_chance = sum(
        (right - left) * (low + high) / 2
        for left, right, low, high in zip(cap.x, cap.x[1:], cap.y, cap.y[1:], strict=False)
    )

    perfect = 1 - labels.mean() / 2
    assert (above_chance - 0.5) / (perfect - 0.5) == pytest.approx(gini(labels, pds), abs=1e-12)


def test_flipping_the_sign_of_the_pd_flips_the_gini() -> None:
    assert gini(LABELS, PDS) > 0.5
    assert gini(LABELS, -PDS) == pytest.approx(-gini(LABELS, PDS))
    assert lift_at_share(LABELS, PDS, 0.2) > 1 > lift_at_share(LABELS, -PDS, 0.2)


def test_lift_and_capture_of_ten_customers_equal_those_counted_by_hand() -> None:
    # The two riskiest rows are both bad. They are 2 of 3 bads, and the bad rate of all rows is 0.3.
    two = capture_at_capacity(LABELS, PDS, 2)

    assert (two.bads, two.precision, two.recall) == (2.0, 1.0, pytest.approx(2 / 3))
    assert two.lift == pytest.approx(1 / 0.3)
    assert lift_at_share(LABELS, PDS, 0.2) == pytest.approx(1 / 0.3)
    assert lift_at_share(LABELS, PDS, 1.0) == 1.0


def test_ties_at_the_end_of_the_call_list_count_proportionally() -> None:
    # The rows at positions 6 and 7 both have the pd 0.2, and one of them is bad, so the first six rows have 2 + 1/2
    # bads.
    assert capture_at_capacity(LABELS, PDS, 6).bads == pytest.approx(2.5)
    assert capture_at_capacity(LABELS, np.zeros(10), 4).lift == pytest.approx(1.0)


def test_a_team_that_can_call_everybody_finds_every_bad() -> None:
    everybody = capture_at_capacity(LABELS, PDS, 5000)

    assert (everybody.customers, everybody.bads, everybody.recall, everybody.lift) == (10, 3.0, 1.0, 1.0)


def test_grades_without_rows_have_no_rate() -> None:
    rates = bad_rates_by_grade(np.array([0, 0, 0, 1, 1]), np.array(["A", "A", "C", "C", "D"]), ("A", "B", "C", "D"))

    assert [(rate.grade, rate.rows, rate.bads, rate.bad_rate) for rate in rates] == [
        ("A", 2, 0, 0.0),
        ("B", 0, 0, None),
        ("C", 2, 1, 0.5),
        ("D", 1, 1, 1.0),
    ]


@pytest.mark.parametrize(
    ("labels", "pds", "problem"),
    [
        ([0, 1], [0.1], "shape"),
        ([], [], "at least one row"),
        ([0, 2], [0.1, 0.2], "labels must be 0"),
        ([0, 1], [0.1, np.nan], "missing"),
        ([0, 0], [0.1, 0.2], "both outcomes"),
    ],
)
def test_rows_that_cannot_be_ranked_are_rejected(labels: list[int], pds: list[float], problem: str) -> None:
    with pytest.raises(DataInvalid, match=problem):
        auc(np.array(labels, dtype=np.int64), np.array(pds))


def test_an_unknown_grade_an_empty_list_and_an_empty_top_share_are_rejected() -> None:
    with pytest.raises(DataInvalid, match="Z"):
        bad_rates_by_grade(LABELS[:1], np.array(["Z"]), ("A",))
    with pytest.raises(DataInvalid, match="capacity"):
        capture_at_capacity(LABELS, PDS, 0)
    with pytest.raises(DataInvalid, match="the share must lie"):
        lift_at_share(LABELS, PDS, 0.0)
