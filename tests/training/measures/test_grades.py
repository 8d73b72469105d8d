"""The tests of single grades equal published p-values, numerical integration and exact sums."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from training.errors import DataInvalid
from training.measures.concentration import concentration
from training.measures.grades import binomial_p_value, grade_tests, jeffreys_p_value

SHARES = (0.03, 0.10, 0.22, 0.28, 0.20, 0.10, 0.05, 0.02)


def test_the_jeffreys_p_values_equal_the_published_ones() -> None:
    assert jeffreys_p_value(6, 2, 0.0367) == pytest.approx(0.0044, abs=5e-5)
    assert jeffreys_p_value(1000, 28, 0.02) == pytest.approx(0.0410, abs=5e-5)


def test_the_binomial_p_value_is_the_probability_of_at_least_as_many_bads() -> None:
    by_sum = math.fsum(math.comb(1000, bads) * 0.02**bads * 0.98 ** (1000 - bads) for bads in range(28, 150))

    assert binomial_p_value(1000, 28, 0.02) == pytest.approx(0.0507, abs=5e-5)
    assert binomial_p_value(1000, 28, 0.02) == pytest.approx(by_sum, rel=1e-9)
    assert binomial_p_value(1000, 0, 0.02) == 1.0


@pytest.mark.parametrize(("rows", "bads", "pd"), [(50, 3, 0.1), (6, 2, 0.0367), (400, 9, 0.02)])
def test_the_jeffreys_p_value_is_the_integral_of_the_posterior_up_to_the_pd(rows: int, bads: int, pd: float) -> None:
    peak = bads / rows

    def density(rate: float) -> float:
        return (rate / peak) ** (bads - 0.5) * ((1 - rate) / (1 - peak)) ** (rows - bads - 0.5)

    below, above = (quad(density, low, high, points=[peak], epsabs=0)[0] for low, high in ((0, pd), (pd, 1)))

    assert jeffreys_p_value(rows, bads, pd) == pytest.approx(below / (below + above), rel=1e-6)


def test_every_grade_is_tested_and_an_empty_one_has_no_p_value() -> None:
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    grades = np.array(["A"] * 6 + ["C"] * 2)

    first, empty, last = grade_tests(labels, grades, {"A": 0.0367, "B": 0.1, "C": 0.2})

    assert first.jeffreys_p == pytest.approx(0.0044, abs=5e-5)
    assert (empty.rows, empty.bad_rate, empty.jeffreys_p, empty.binomial_p) == (0, None, None, None)
    assert last.binomial_p == 1.0


def test_more_bads_than_rows_and_a_pd_above_one_are_rejected() -> None:
    with pytest.raises(DataInvalid, match="got 7 of 6"):
        jeffreys_p_value(6, 7, 0.1)
    with pytest.raises(DataInvalid, match="the pd must lie"):
        binomial_p_value(6, 1, 1.5)


def test_the_concentration_of_eight_grades_equals_the_published_one() -> None:
    found = concentration(SHARES)

    assert (found.grades, round(found.hhi, 4), round(found.normalised, 4)) == (8, 0.1906, 0.0750)
    assert concentration([100 * share for share in SHARES]).hhi == pytest.approx(found.hhi)


def test_concentration_is_0_for_equal_grades_and_1_for_a_single_filled_grade() -> None:
    assert concentration([5, 5, 5, 5]).hhi == pytest.approx(0.25)
    assert concentration([5, 5, 5, 5]).normalised == pytest.approx(0.0)
    assert concentration([0, 7, 0, 0]).normalised == 1.0


@pytest.mark.parametrize("per_grade", [[1], [0, 0], [1, -1], [1, float("nan")]])
def test_the_concentration_of_empty_grades_or_negative_numbers_is_rejected(per_grade: list[float]) -> None:
    with pytest.raises(DataInvalid):
        concentration(per_grade)
