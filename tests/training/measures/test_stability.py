"""The PSI equals a published example, and simulation shows how often it alarms with and without a shift."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import DataInvalid
from training.measures.bins import CategoryBins, NumberBins, level_bins, quantile_bins
from training.measures.stability import StabilityIndex, psi_from_counts, reference_distribution, stability_index

NOW = np.array([5, 6, 8, 9, 10, 10, 11, 12, 14, 15])


def alarm_share(found: list[StabilityIndex]) -> float:
    """Return the share of the results whose verdict is an alarm."""
    return sum(one.verdict in {"WATCH", "ACT"} for one in found) / len(found)


def compare(rows_then: int, rows_now: int, shift: float, samples: int) -> list[StabilityIndex]:
    """Return the PSIs of `samples` simulated pairs of normal development scores and shifted current scores."""
    generator = np.random.default_rng(rows_then + rows_now)
    found = []
    for _ in range(samples):
        then = generator.normal(size=rows_then)
        bins = quantile_bins(then)
        now = bins.codes(generator.normal(loc=shift, size=rows_now))
        found.append(stability_index(reference_distribution(bins.codes(then), bins), now))
    return found


def test_the_psi_equals_the_published_example() -> None:
    found = psi_from_counts(np.full(10, 10), NOW)

    assert round(found.psi, 4) == 0.0989
    assert (found.reference_rows, found.current_rows, found.bins) == (100, 100, 10)


def test_without_a_shift_the_mean_psi_of_200_rows_in_ten_bins_is_0_09_and_a_third_of_the_psis_exceed_0_10() -> None:
    found = compare(200, 200, shift=0.0, samples=500)

    assert found[0].expected_by_chance == pytest.approx(0.09)
    assert np.mean([one.psi for one in found]) == pytest.approx(0.09, abs=0.007)
    assert np.mean([one.psi >= 0.1 for one in found]) > 0.3


@pytest.mark.parametrize("rows_then", [200, 5000])
def test_without_a_shift_at_most_5_percent_of_markets_with_200_rows_alarm(rows_then: int) -> None:
    found = compare(rows_then, 200, shift=0.0, samples=800)

    assert alarm_share(found) <= 0.05


def test_a_planted_shift_is_detected() -> None:
    assert alarm_share(compare(200, 200, shift=0.5, samples=200)) > 0.8
    assert alarm_share(compare(5000, 1000, shift=0.5, samples=50)) == 1.0
    assert {one.verdict for one in compare(5000, 5000, shift=1.0, samples=5)} == {"ACT"}


def test_with_many_rows_the_critical_value_is_the_chi_square_quantile_times_the_factor_of_the_rows() -> None:
    found = psi_from_counts(np.full(10, 100_000), np.full(10, 100_000))

    # 16.919 is the 95 % quantile of the chi-square distribution with 9 degrees of freedom.
    assert found.critical == pytest.approx(16.919 * 2 / 1_000_000, rel=1e-3)
    assert psi_from_counts(np.full(10, 10), NOW).critical > 16.919 * 2 / 100


def test_a_significant_but_small_shift_is_not_an_alarm() -> None:
    found = psi_from_counts(np.full(10, 100_000), 10_000 * NOW)

    assert found.critical < found.psi < 0.1
    assert found.verdict == "STABLE"


def test_too_few_rows_never_alarm_however_large_the_psi() -> None:
    found = psi_from_counts(np.array([900, 100]), np.array([5, 45]))

    assert found.psi > 1
    assert found.verdict == "TOO_FEW_ROWS"
    assert psi_from_counts(np.array([900, 100]), np.array([5, 45]), rows_min=50).verdict == "ACT"


def test_an_empty_bin_counts_as_half_a_row_and_a_bin_that_is_empty_in_both_samples_does_not_count() -> None:
    found = psi_from_counts(np.array([50, 0, 50]), np.array([100, 0, 0]))

    assert found.bins == 2
    assert found.psi == pytest.approx(0.5 * math.log(2) + (0.005 - 0.5) * math.log(0.005 / 0.5))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=2, max_size=12))
def test_psi_is_the_sum_over_shares_symmetric_and_never_negative(counts: list[tuple[int, int]]) -> None:
    then, now = (np.array(side) for side in zip(*counts, strict=True))
    shares = [(a / now.sum(), e / then.sum()) for e, a in counts]

    found = psi_from_counts(then, now)

    assert found.psi == pytest.approx(sum((a - e) * math.log(a / e) for a, e in shares), abs=1e-12)
    assert found.psi == pytest.approx(psi_from_counts(now, then).psi, abs=1e-12)
    assert found.psi >= 0


def test_unknown_categories_and_missing_values_have_bins_of_their_own() -> None:
    then = ["inn"] * 60 + ["bar"] * 60
    bins = level_bins(then)
    development = reference_distribution(bins.codes(then), bins)

    same = stability_index(development, bins.codes(["bar"] * 100 + ["inn"] * 100))
    strange = stability_index(development, bins.codes(["bar"] * 60 + ["inn"] * 60 + ["ship"] * 60 + [None] * 60))

    assert development.rows == (60, 60, 0, 0)
    assert (same.psi, same.bins, same.verdict) == (0.0, 2, "STABLE")
    assert (strange.bins, strange.verdict) == (4, "ACT")


def test_a_value_equal_to_an_edge_belongs_to_the_bin_below_the_edge() -> None:
    bins = NumberBins((1.0, 2.5))

    assert bins.codes(np.array([-np.inf, 1.0, 1.1, 2.5, 9.0, np.inf, np.nan])).tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert bins.names == ("(-inf, 1]", "(1, 2.5]", "(2.5, inf)", "missing")
    assert CategoryBins(("a", "b")).codes(["b", "c", None, float("nan"), "a"]).tolist() == [1, 2, 3, 3, 0]


def test_quantile_bins_have_equally_many_rows_and_never_separate_equal_values() -> None:
    even = quantile_bins(np.arange(100.0), 4)
    lumpy = quantile_bins(np.array([0.0] * 90 + [1.0] * 5 + [2.0] * 5 + [np.nan] * 50), 10)

    assert np.bincount(even.codes(np.arange(100.0))).tolist() == [25, 25, 25, 25]
    assert lumpy.edges == (0.0,)
    assert quantile_bins(np.full(5, 3.0)).edges == ()


def test_empty_samples_different_bins_and_invalid_edges_are_rejected() -> None:
    with pytest.raises(DataInvalid, match="at least 2 bins"):
        psi_from_counts(np.array([5, 0]), np.array([5, 0]))
    with pytest.raises(DataInvalid, match="one count per bin"):
        psi_from_counts(np.array([5, 0]), np.array([5, 0, 1]))
    with pytest.raises(DataInvalid, match="at least one row"):
        reference_distribution(np.array([], dtype=np.int64), NumberBins((1.0,)))
    with pytest.raises(DataInvalid, match="ascending"):
        NumberBins((2.0, 1.0))
    with pytest.raises(DataInvalid, match="distinct"):
        CategoryBins(("a", "a"))
    with pytest.raises(DataInvalid, match="present"):
        quantile_bins(np.full(3, np.nan))
