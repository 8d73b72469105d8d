"""Tests of single grades: whether the pd of a grade is high enough for the number of bads in the grade.

Sources: European Central Bank, Instructions for reporting the validation results of internal models, 2019 (the
Jeffreys test); Basel Committee, Working paper 14, 2005 (the binomial test).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from training.errors import DataInvalid
from training.measures.discrimination import bad_rates_by_grade
from training.measures.inputs import Labels


@dataclass(frozen=True, slots=True)
class GradeTest:
    """The tests of one grade. The bad rate and both p-values are None for a grade without rows.

    Attributes:
        grade: Name of the grade.
        rows: Number of rows in the grade.
        bads: Number of bad rows in the grade.
        pd: The pd under test.
        bad_rate: Share of bad rows.
        jeffreys_p: One-sided p-value of the Jeffreys test; a small value means that the pd is too low.
        binomial_p: Probability of at least as many bads if the pd is correct; a small value means that the pd is too low.
    """

    grade: str
    rows: int
    bads: int
    pd: float
    bad_rate: float | None
    jeffreys_p: float | None
    binomial_p: float | None


def jeffreys_p_value(rows: int, bads: int, pd: float) -> float:
    """Return p = F_Beta(D + 1/2, N - D + 1/2)(PD): the posterior probability that the true rate is at most the pd.

    Args:
        rows: N, the number of rows, at least 1.
        bads: D, the number of bad rows, 0 to N.
        pd: PD, the pd under test, in [0, 1].

    Returns:
        One-sided p-value, 0 to 1: below 0.05, the pd is too low at a significance level of 5 %.

    Raises:
        DataInvalid: A number is out of range.
    """
    _check_counts(rows, bads, pd)
    return float(beta.cdf(pd, bads + 0.5, rows - bads + 0.5))


def binomial_p_value(rows: int, bads: int, pd: float) -> float:
    """Return P(X >= D) for a binomial X with N trials and probability PD; arguments as in `jeffreys_p_value`."""
    _check_counts(rows, bads, pd)
    return float(binom.sf(bads - 1, rows, pd))


def grade_tests(labels: Labels, grades: NDArray[np.str_], grade_pds: Mapping[str, float]) -> tuple[GradeTest, ...]:
    """Test every grade of the master scale.

    Args:
        labels: Shape (n,), labels of independent rows.
        grades: Shape (n,), the grade of every row.
        grade_pds: The pd of every grade, the safest grade first. It is either a fixed pd or the mean pd of the grade's
            rows.

    Raises:
        DataInvalid: Shapes do not match, a grade has no pd, or a pd is outside [0, 1].
    """
    found = []
    for rate in bad_rates_by_grade(labels, grades, tuple(grade_pds)):
        rows, bads, pd = rate.rows, rate.bads, grade_pds[rate.grade]
        jeffreys = jeffreys_p_value(rows, bads, pd) if rows else None
        binomial = binomial_p_value(rows, bads, pd) if rows else None
        found.append(GradeTest(rate.grade, rows, bads, pd, rate.bad_rate, jeffreys, binomial))
    return tuple(found)


def _check_counts(rows: int, bads: int, pd: float) -> None:
    """Raise DataInvalid unless 0 <= bads <= rows, rows >= 1, and the pd is a probability."""
    if rows < 1 or not 0 <= bads <= rows:
        raise DataInvalid(f"bads must be from 0 to the number of rows, got {bads} of {rows}; correct the counts")
    if not 0.0 <= pd <= 1.0:
        raise DataInvalid(f"the pd must lie in [0, 1], got {pd}; correct it")
