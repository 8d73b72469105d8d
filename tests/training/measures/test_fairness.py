"""Group differences equal values computed by hand and by scipy; 95 % of intervals contain the true value."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from training.errors import DataInvalid
from training.measures.fairness import group_fairness
from training.measures.proportions import Estimate, proportion, proportion_difference, proportion_ratio

# Group a has 100 rows: 60 are good, 50 of these are approved; 40 are bad, 10 of these are approved. Group b has 50
# rows: 30 are good, 15 of these are approved; 20 are bad, 3 of these are approved. Groups c and d have 4 and 3 rows,
# all good and approved.
COUNTS = (("a", 0, 50, 10), ("a", 1, 10, 30), ("b", 0, 15, 15), ("b", 1, 3, 17), ("c", 0, 4, 0), ("d", 0, 3, 0))
ROWS = [(name, bad, i < yes) for name, bad, yes, no in COUNTS for i in range(yes + no)]
ATTRIBUTE = [name for name, _, _ in ROWS]
LABELS = np.array([bad for _, bad, _ in ROWS])
APPROVED = np.array([yes for _, _, yes in ROWS])


def known_sample(*estimates: Estimate | None) -> list[Estimate]:
    """Return the estimates; none of them may be None."""
    found = [one for one in estimates if one is not None]
    assert len(found) == len(estimates)
    return found


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300).flatmap(lambda rows: st.tuples(st.integers(0, rows), st.just(rows))))
def test_the_interval_of_a_proportion_equals_wilsons(drawn: tuple[int, int]) -> None:
    hits, rows = drawn
    other = binomtest(hits, rows).proportion_ci(method="wilson")

    found = proportion(hits, rows)

    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=1e-12)
    assert found.low <= found.value <= found.high


def test_the_interval_of_a_difference_equals_newcombes_published_example() -> None:
    # The expected interval of 56/70 - 48/80 is the first example of table II in Newcombe 1998, by method 10.
    found = proportion_difference(proportion(56, 70), proportion(48, 80))

    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize(
    ("first", "second"), [((40, 0.5), (200, 0.7)), ((40, 0.1), (60, 0.2)), ((300, 0.9), (300, 0.8))]
)
def test_gap_and_ratio_cover_the_truth_in_about_95_percent_of_samples(
    first: tuple[int, float], second: tuple[int, float]
) -> None:
    generator = np.random.default_rng(0)
    hits = generator.binomial([first[0], second[0]], [first[1], second[1]], size=(1000, 2))
    shares = [(proportion(int(a), first[0]), proportion(int(b), second[0])) for a, b in hits if b]

    gaps = np.mean(
        [one.low <= first[1] - second[1] <= one.high for one in (proportion_difference(*pair) for pair in shares)]
    )
    ratios = np.mean(
        [one.low <= first[1] / second[1] <= one.high for one in (proportion_ratio(*pair) for pair in shares)]
    )

    assert 0.925 <= gaps <= 0.985
    assert 0.925 <= ratios <= 0.985


def test_the_interval_of_a_ratio_with_few_rows_is_wide_and_contains_the_ratio() -> None:
    none = proportion_ratio(proportion(0, 20), proportion(10, 20))
    certain = proportion_ratio(Estimate(0.4, 0.4, 0.4), Estimate(0.8, 0.8, 0.8))

    assert (none.value, none.low) == (0.0, 0.0)
    assert 0 < none.high < 1
    assert (certain.value, certain.low, certain.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (
        proportion_ratio(proportion(1, 2), proportion(1, 2)).low
        < 1
        < proportion_ratio(proportion(1, 2), proportion(1, 2)).high
    )


def test_the_rates_of_two_groups_equal_those_counted_by_hand() -> None:
    found = group_fairness(LABELS, APPROVED, ATTRIBUTE)
    first, second, _ = found.groups

    assert (found.reference, first.name, first.rows, second.name, second.rows) == ("a", "a", 100, "b", 50)
    assert (first.selection_rate.value, second.selection_rate.value) == (0.6, 0.36)
    impact, selected, tpr, fpr = known_sample(
        second.disparate_impact, second.selection_gap, second.tpr_gap, second.fpr_gap
    )
    assert impact.value == pytest.approx(0.6)
    assert impact.low < 0.6 < impact.high < 0.9
    assert tpr.value == pytest.approx(15 / 30 - 50 / 60)
    assert fpr.value == pytest.approx(3 / 20 - 10 / 40)
    assert selected.low < selected.value < selected.high < 0 < fpr.high
    assert first.disparate_impact is first.selection_gap is first.tpr_gap is first.fpr_gap is None


def test_small_groups_are_pooled_and_marked_if_they_are_still_small() -> None:
    pooled = group_fairness(LABELS, APPROVED, ATTRIBUTE)
    enough = group_fairness(LABELS, APPROVED, ATTRIBUTE, rows_min=5)

    last = pooled.groups[-1]
    assert (last.name, last.rows, last.small, last.fpr, last.fpr_gap) == ("small groups", 7, True, None, None)
    assert pooled.pooled == ("c", "d")
    assert (enough.groups[-1].rows, enough.groups[-1].small) == (7, False)
    assert not any(group.small for group in pooled.groups[:2])


def test_an_attribute_that_is_not_known_is_a_group_but_not_the_reference() -> None:
    attribute = [None if name == "a" else name for name in ATTRIBUTE]

    found = group_fairness(LABELS, APPROVED, attribute)

    assert found.reference == "b"
    assert [group.name for group in found.groups] == ["not known", "b", "small groups"]


def test_without_approvals_in_the_reference_group_there_is_no_ratio() -> None:
    approved = APPROVED & np.array([name != "a" for name in ATTRIBUTE])

    found = group_fairness(LABELS, approved, ATTRIBUTE)

    assert found.groups[1].disparate_impact is None
    assert found.groups[1].selection_gap is not None


def test_a_bootstrap_of_the_selection_gap_has_nearly_the_same_interval() -> None:
    generator = np.random.default_rng(1)
    drawn = generator.binomial(50, 0.36, 20_000) / 50 - generator.binomial(100, 0.6, 20_000) / 100

    gap = group_fairness(LABELS, APPROVED, ATTRIBUTE).groups[1].selection_gap

    assert gap is not None
    assert (gap.low, gap.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.02)


def test_different_lengths_reserved_names_small_groups_and_impossible_proportions_are_rejected() -> None:
    with pytest.raises(DataInvalid, match="one value per row"):
        group_fairness(LABELS, APPROVED, ATTRIBUTE[:3])
    with pytest.raises(DataInvalid, match="reserved group names"):
        group_fairness(LABELS[:1], APPROVED[:1], ["not known"])
    with pytest.raises(DataInvalid, match="a group with at least 1000 rows"):
        group_fairness(LABELS, APPROVED, ATTRIBUTE, rows_min=1000)
    with pytest.raises(DataInvalid, match="got 5 of 4"):
        proportion(5, 4)
    with pytest.raises(DataInvalid, match="must be above 0"):
        proportion_ratio(proportion(1, 4), proportion(0, 4))
    assert math.isfinite(proportion_ratio(proportion(1, 4), proportion(1, 4)).high)
