"""Concentration of customers in few grades: the Herfindahl-Hirschman index.

Source: European Central Bank, Instructions for reporting the validation results of internal models, 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.errors import DataInvalid


@dataclass(frozen=True, slots=True)
class Concentration:
    """The concentration of a distribution over grades, to compare with that of the development sample.

    Attributes:
        grades: Number of grades of the master scale, including empty grades.
        hhi: Herfindahl-Hirschman index: the sum of squared shares. It is 1 / grades if all shares are equal, and 1 if all
            rows are in one grade.
        normalised: (hhi - 1 / grades) / (1 - 1 / grades); from 0 to 1, comparable between scales of different lengths.
    """

    grades: int
    hhi: float
    normalised: float


def concentration(per_grade: Sequence[float]) -> Concentration:
    """Measure the concentration of rows or amounts.

    Args:
        per_grade: Number of rows, share or exposure of every grade, 0 for an empty grade; at least two grades.

    Raises:
        DataInvalid: There are fewer than two grades, a number is negative or not finite, or all numbers are 0.
    """
    masses = np.asarray(per_grade, dtype=np.float64)
    if masses.ndim != 1 or len(masses) < 2:  # noqa: PLR2004 - one grade cannot be more or less concentrated
        raise DataInvalid("concentration requires at least two grades; add grades to the master scale")
    if not np.isfinite(masses).all() or masses.min() < 0.0 or masses.sum() <= 0.0:
        raise DataInvalid(
            "the numbers of the grades must be finite and not negative, and their sum must be above 0; correct them"
        )
    hhi = float(np.sum((masses / masses.sum()) ** 2))
    even = 1.0 / len(masses)
    return Concentration(len(masses), hhi, (hhi - even) / (1.0 - even))
