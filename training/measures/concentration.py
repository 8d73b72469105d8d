"""How much customers crowd into few grades: the Herfindahl-Hirschman index.

Source: European Central Bank, Instructions for reporting the validation results of internal models, 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.errors import DataInvalid


@dataclass(frozen=True, slots=True)
class Concentration:
    """Attributes below, of one distribution over grades; to be read beside that of development.

    Attributes:
        grades: Grades of the master scale, empty ones included.
        hhi: Sum of squared shares; 1 / grades where all are alike, 1 where one holds everybody.
        normalised: (hhi - 1 / grades) / (1 - 1 / grades); 0 to 1, for scales of different length.
    """

    grades: int
    hhi: float
    normalised: float


def concentration(per_grade: Sequence[float]) -> Concentration:
    """Measure how concentrated rows, or amounts, are.

    Args:
        per_grade: Rows, shares or exposure of every grade, none negative; empty grades with 0. At least two grades.

    Raises:
        DataInvalid: Fewer than two grades, a negative number, or nothing in any grade.
    """
    held = np.asarray(per_grade, dtype=np.float64)
    if held.ndim != 1 or len(held) < 2:  # noqa: PLR2004 - one grade cannot be more or less concentrated
        raise DataInvalid("concentration needs at least two grades")
    if not np.isfinite(held).all() or held.min() < 0.0 or held.sum() <= 0.0:
        raise DataInvalid("the grades hold a negative number, a missing one, or nothing at all")
    hhi = float(np.sum((held / held.sum()) ** 2))
    even = 1.0 / len(held)
    return Concentration(len(held), hhi, (hhi - even) / (1.0 - even))
