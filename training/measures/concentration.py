"""Concentration of customers in few grades: the Herfindahl-Hirschman index.

Source: European Central Bank, Instructions for reporting the validation results of internal models, 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.errors import DataInvalid


@dataclass(frozen=True, slots=True)
class Concentration:
    """The concentration of one distribution over grades; compare it with that of development.

    Attributes:
        grades: Grades of the master scale, empty ones included.
        hhi: Sum of squared shares; 1 / grades if all are equal, 1 if one grade has everybody.
        normalised: (hhi - 1 / grades) / (1 - 1 / grades); 0 to 1, comparable between scales of different length.
    """

    grades: int
    hhi: float
    normalised: float


def concentration(per_grade: Sequence[float]) -> Concentration:
    """Measure the concentration of rows or amounts.

    Args:
        per_grade: Rows, shares or exposure of every grade, none negative; empty grades with 0. At least two grades.

    Raises:
        DataInvalid: Fewer than two grades, a negative number, or nothing in any grade.
    """
    masses = np.asarray(per_grade, dtype=np.float64)
    if masses.ndim != 1 or len(masses) < 2:  # noqa: PLR2004 - one grade cannot be more or less concentrated
        raise DataInvalid("concentration requires at least two grades")
    if not np.isfinite(masses).all() or masses.min() < 0.0 or masses.sum() <= 0.0:
        raise DataInvalid("the masses of grades must be finite and not negative, and their sum above 0")
    hhi = float(np.sum((masses / masses.sum()) ** 2))
    even = 1.0 / len(masses)
    return Concentration(len(masses), hhi, (hhi - even) / (1.0 - even))
